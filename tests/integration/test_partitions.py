"""The ledger's partitions are made while everybody works."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.partitions import WEEKS_AHEAD, make_partitions

TABLES = ("events", "messages", "attempts", "transitions", "receipts")


async def test_nobody_who_reads_or_writes_is_waited_for(database: AsyncEngine) -> None:
    async with database.connect() as worker, database.begin() as maker:
        for table in TABLES:
            await worker.execute(text(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE"))  # as each INSERT and UPDATE does
        await maker.execute(text("SET LOCAL lock_timeout = '100ms'"))
        assert await make_partitions(maker, now=datetime.now(UTC) + timedelta(weeks=WEEKS_AHEAD)) > 0
        for table in TABLES:
            await worker.execute(text(f"SELECT FROM {table} LIMIT 1 FOR UPDATE"))  # nor does the maker hold anyone up


async def test_a_partition_has_what_its_parent_has(database: AsyncEngine) -> None:
    later = datetime.now(UTC) + timedelta(weeks=3 * WEEKS_AHEAD)
    async with database.begin() as connection:
        made = await make_partitions(connection, now=later)
        assert made == len(TABLES) * (WEEKS_AHEAD + 2)
        assert await make_partitions(connection, now=later) == 0
        rows = await connection.execute(
            text("""
                SELECT p.relname AS parent, count(*) AS n, count(DISTINCT i.n) AS kinds, min(i.n) AS indexes
                FROM pg_inherits JOIN pg_class p ON p.oid = inhparent JOIN pg_class c ON c.oid = inhrelid,
                     LATERAL (SELECT count(*) AS n FROM pg_index WHERE indrelid = c.oid) i
                WHERE p.relkind = 'p' GROUP BY 1
            """)
        )
        for row in rows:
            own = await connection.scalar(
                text("SELECT count(*) FROM pg_index WHERE indrelid = CAST(:parent AS regclass)"), {"parent": row.parent}
            )
            assert (row.kinds, row.indexes) == (1, own), row.parent
