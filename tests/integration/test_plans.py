"""Every query on a hot path goes by its index, over all partitions, and never reads a whole table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.ids import new_id

NOW = datetime.now(UTC)

QUERIES = {
    "due messages": "SELECT id FROM messages WHERE due_at <= now() ORDER BY due_at, id LIMIT 500",
    "messages by id": f"SELECT * FROM messages WHERE id = ANY(ARRAY['{new_id(NOW)}']::uuid[]) ORDER BY id FOR UPDATE",
    "messages of an event": f"SELECT id FROM messages WHERE event_id = '{uuid4()}'",
    "messages of a person": f"SELECT id FROM messages WHERE person_id = '{uuid4()}' ORDER BY id DESC LIMIT 20",
    "attempts of a message": f"SELECT * FROM attempts WHERE message_id = '{new_id(NOW)}'",
    "attempts to ask about": "SELECT message_id, n FROM attempts WHERE check_at <= now() ORDER BY check_at LIMIT 500",
    "attempt of a dealer's id": "SELECT message_id FROM attempts WHERE dealer_message_id = ANY(ARRAY['M1'])",
    "receipts to apply": "SELECT id FROM receipts WHERE apply_at <= now() ORDER BY apply_at, id LIMIT 500",
    "fresh receipts": "SELECT id FROM receipts WHERE apply_at IS NOT NULL AND tried = 0 ORDER BY id DESC LIMIT 250",
    "held messages": "SELECT held_by, count(*) FROM messages WHERE held_by IS NOT NULL GROUP BY held_by",
    "timeline": f"SELECT * FROM transitions WHERE message_id = '{new_id(NOW)}' ORDER BY seq",
    "the ledger's tail": """
        SELECT position FROM transitions t
        WHERE (t.xid, t.position) > ('100'::xid8, 5) AND t.xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY t.xid, t.position LIMIT 500
    """,
    "an event seen before": "SELECT event_id FROM event_keys WHERE key = ANY(ARRAY['\\x00'::bytea])",
    "a request seen before": "SELECT response FROM idempotency_keys WHERE key = ANY(ARRAY['\\x00'::bytea])",
}


@pytest.fixture
async def connection(database: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection to tables with enough in them that reading them whole would cost."""
    async with database.connect() as connection:
        for statement in (
            """
            INSERT INTO messages (id, event_id, person_id, profile, rule, rule_revision, template, template_revision,
                                  lane, category, fallback, state, seq, channel, dealer, deadline, personal)
            SELECT CAST(:first AS uuid), gen_random_uuid(), gen_random_uuid(), 'p', 'r', 1, 't', 1, 'normal',
                   'informational', 'text', 'delivered', 1, 'alimtalk', 'd', now(), ''
            """,
            """
            INSERT INTO transitions (message_id, seq, at, bucket, lane, state)
            SELECT CAST(:first AS uuid), n, now(), 0, 'normal', 'sent' FROM generate_series(1, 20000) n
            """,
        ):
            await connection.execute(text(statement), {"first": new_id(NOW)})
        await connection.execute(text("ANALYZE"))
        # Tables as small as a test's are cheapest to read whole; what is asked is whether an index can serve.
        await connection.execute(text("SET enable_seqscan = off"))
        await connection.execute(text("SET enable_bitmapscan = off"))
        yield connection


@pytest.mark.parametrize("query", list(QUERIES))
async def test_a_hot_query_goes_by_its_index(connection: AsyncConnection, query: str) -> None:
    plan = "\n".join((await connection.execute(text("EXPLAIN " + QUERIES[query].replace(":", "\\:")))).scalars())
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan, plan
    if "LIMIT" in QUERIES[query]:
        assert "Sort Key" not in plan or "Merge Append" in plan, "the order comes from the index: " + plan


async def test_ids_of_a_week_lie_in_its_partition(connection: AsyncConnection) -> None:
    one = f"SELECT * FROM messages WHERE id = '{new_id(NOW)}'"
    plan = "\n".join((await connection.execute(text("EXPLAIN " + one))).scalars())
    assert plan.count("messages_") == plan.count(f"messages_{NOW.isocalendar().year}w{NOW.isocalendar().week:02}"), plan


async def test_partitions_are_made_ahead(connection: AsyncConnection) -> None:
    for weeks in (-1, 0, 5):
        year, week, _ = (NOW + timedelta(weeks=weeks)).isocalendar()
        for parent in ("events", "messages", "attempts", "transitions", "receipts"):
            found = await connection.scalar(text("SELECT to_regclass(:name)"), {"name": f"{parent}_{year}w{week:02}"})
            assert found is not None
