"""Forgets what is too old: weeks of the ledger as whole partitions, figures and keys by their age.

A week goes when all of it has ended and has been read, and only then (promise P1). Its figures stay (promise P9), so
the order is what survives a crash between any two lines:

1. The table of messages is detached. From here on nothing of the week can change: what moves a message locks its row.
2. The week is recounted, into the tables of what was dropped; this and the note that it was done is one transaction.
3. The tables are dropped.

What a process leaves half done, the next one takes up where it stands. Nobody who reads or writes is waited for with
a lock in hand: ``DETACH … CONCURRENTLY`` waits first, and what it locks then nobody can know of any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.metrics import telemetry
from services.metrics.repository import (
    RETENTION,
    count_for_good,
    forget_figures,
    is_counted_for_good,
    is_unread,
    not_ended,
)
from services.metrics.settings import Ages
from shared.clock import Clock
from shared.db.away import is_away
from shared.db.partitions import Standing, attach, detach, drop, name_of, standings
from shared.ids import first_id

WEEK = timedelta(weeks=1)
_OF_MESSAGES = ("messages", "attempts", "transitions")
_PAGES = 2000
"""pages of a table of keys (16 MB) that one transaction looks through: readers of the ledger wait for each"""
_SHARES = 16
"""partitions of a table of keys (migration 0001)"""
_FORGET_CANCELLATIONS = text("DELETE FROM cancellations WHERE ended_at < :before")
"""no message names them any more"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Forget:
    """Forgets; any number of processes may try, and one at a time does."""

    engine: AsyncEngine
    clock: Clock
    ages: Ages

    async def __call__(self) -> int:
        """Drop and delete what is too old; return 0: there is never more to do at once. A database away has time."""
        try:
            async with self._alone() as connection:
                if connection is not None:
                    await self._forget(connection)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("retention.interrupted", error=type(error).__name__)
        return 0

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[AsyncConnection | None]:
        """Give a connection that commits each statement, or None while another process is at it."""
        async with self.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            if not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": RETENTION}):
                yield None
                return
            try:
                yield connection
            finally:
                try:
                    await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": RETENTION})
                except Exception:
                    await connection.invalidate()  # the lock ends with its session
                    raise

    async def _forget(self, connection: AsyncConnection) -> None:
        now = self.clock.now()
        kept = 0
        weeks = await standings(connection)
        for week, tables in weeks.items():
            age = now - (week + WEEK)
            if age >= self.ages.messages and not tables.keys().isdisjoint(_OF_MESSAGES):
                kept += not await self._drop_week(connection, week, tables)
            if age >= self.ages.events and "events" in tables:
                await self._drop(connection, "events", week, tables)
            if age >= self.ages.messages and "receipts" in tables:
                await self._drop_receipts(connection, week, tables)
        telemetry.WEEKS_KEPT.set(kept)
        left = [week for week, tables in (await standings(connection)).items() if "messages" in tables]
        oldest = min(left, default=now)
        kept_since = min(now - self.ages.messages, oldest)
        await self._forget_keys(connection, now, kept_since)
        await connection.execute(_FORGET_CANCELLATIONS, {"before": kept_since})
        async with self.engine.begin() as transaction:
            await forget_figures(transaction, min(now - self.ages.figures, oldest))

    # -- a week ------------------------------------------------------------------------------------------------------

    async def _drop_week(self, connection: AsyncConnection, week: datetime, tables: Mapping[str, Standing]) -> bool:
        """Drop messages, attempts and transitions of ``week``; return whether they could go."""
        standing = tables.get("messages")
        if standing is Standing.ATTACHED and not await self._is_over(connection, week):
            return False
        if standing is not None:
            await detach(connection, "messages", week, standing)
            if not await is_counted_for_good(connection, week):
                if not await self._is_over(connection, week):  # a change that came in between
                    await attach(connection, "messages", week)
                    return False
                async with self.engine.begin() as transaction:
                    await count_for_good(transaction, week, now=self.clock.now())
        gone = {"messages": Standing.APART}
        for parent in _OF_MESSAGES:
            if parent in tables:
                await self._drop(connection, parent, week, {**tables, **gone})
        return True

    async def _is_over(self, connection: AsyncConnection, week: datetime) -> bool:
        """Return whether all of ``week`` has ended and was read by all readers of the ledger."""
        if (message := await not_ended(connection, week)) is not None:
            log.warning("retention.week_kept", week=f"{week:%Y-%m-%d}", why="not ended", message_id=str(message))
            return False
        if await is_unread(connection, week):
            log.warning("retention.week_kept", week=f"{week:%Y-%m-%d}", why="not read")
            return False
        return True

    async def _drop_receipts(self, connection: AsyncConnection, week: datetime, tables: Mapping[str, Standing]) -> None:
        waiting = await connection.scalar(
            text(f"SELECT EXISTS (SELECT FROM {name_of('receipts', week)} WHERE apply_at IS NOT NULL)")  # noqa: S608 - a constant
        )
        if not waiting:
            await self._drop(connection, "receipts", week, tables)

    async def _drop(
        self, connection: AsyncConnection, parent: str, week: datetime, tables: Mapping[str, Standing]
    ) -> None:
        await drop(connection, parent, week, tables[parent])
        telemetry.DROPPED.labels(parent).inc()
        log.info("retention.dropped", table=name_of(parent, week))

    # -- keys --------------------------------------------------------------------------------------------------------

    async def _forget_keys(self, connection: AsyncConnection, now: datetime, kept_since: datetime) -> None:
        """Delete old keys of one share of each table, another each hour: so all are looked through within a day.

        A key is known for as long as its row is there, so it holds for all replicas and at every moment. A table is
        read from its begin to its end, a piece a transaction, and each page once: there is no index for it to keep.
        """
        share = int(now.astimezone(UTC).timestamp()) // 3600 % _SHARES
        for table, condition, before in (
            ("event_keys", "event_id < CAST(:before AS uuid)", first_id(kept_since)),
            ("idempotency_keys", "created_at < :before", now - self.ages.requests),
        ):
            name = f"{table}_{share:02}"
            pages = await connection.scalar(
                text("SELECT pg_relation_size(CAST(:name AS regclass)) / current_setting('block_size')::int"),
                {"name": name},
            )
            for page in range(0, int(pages or 0), _PAGES):
                result = await connection.execute(
                    text(f"""
                        DELETE FROM {name} WHERE {condition}
                        AND ctid >= CAST(CAST(:low AS text) AS tid) AND ctid < CAST(CAST(:high AS text) AS tid)
                    """),  # noqa: S608 - constants
                    {"before": before, "low": f"({page},0)", "high": f"({page + _PAGES},0)"},
                )
                telemetry.FORGOTTEN.labels(table).inc(result.rowcount)
