"""What the tests of the bus write into the ledger, and how they read from a source."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from sqlalchemy import text

from shared.bus import Poison, Received, Record, Source, consume
from shared.bus.ledger import ring
from shared.contracts.delivery import Delivery, decode_delivery
from shared.contracts.states import Channel, Lane, MessageState
from shared.ids import PersonId, bucket_of, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

PATIENCE_SECONDS = 60.0

_MESSAGE = text("""
    INSERT INTO messages (id, event_id, person_id, profile, rule, rule_revision, template, template_revision, lane,
                          category, fallback, state, seq, channel, dealer, deadline, personal)
    VALUES (:id, :id, :person, 'shop', 'order-paid', 1, 'order-paid', 1, :lane, 'informational', 'now', 'queued', 1,
            :channel, 'solapi', :deadline, '')
""")
_TRANSITION = text("""
    INSERT INTO transitions (message_id, seq, at, bucket, lane, was, state, channel, dealer)
    VALUES (:id, :seq, :at, :bucket, :lane, :was, :state, :channel, 'solapi')
""")


def people(number: int) -> list[PersonId]:
    """Return people who fall into all partitions alike."""
    return [PersonId(UUID(int=uuid4().int & (1 << 120) - 1 | (n * 37 % 256) << 120)) for n in range(number)]


async def write(
    connection: AsyncConnection,
    persons: Sequence[PersonId],
    *,
    lane: Lane = Lane.NORMAL,
    channel: Channel = Channel.ALIMTALK,
    states: Sequence[MessageState] = (MessageState.QUEUED,),
) -> list[UUID]:
    """Write one message a person that went through ``states``; return the messages."""
    now = datetime.now(UTC)
    ids = [new_id(now) for _ in persons]
    await connection.execute(
        _MESSAGE,
        [
            {"id": id_, "person": person, "lane": lane, "channel": channel, "deadline": now + timedelta(days=1)}
            for id_, person in zip(ids, persons, strict=True)
        ],
    )
    await connection.execute(
        _TRANSITION,
        [
            {
                "id": id_,
                "seq": seq,
                "at": now,
                "bucket": bucket_of(person),
                "lane": lane,
                "was": states[seq - 2] if seq > 1 else None,
                "state": state,
                "channel": channel,
            }
            for seq, state in enumerate(states, 1)
            for id_, person in zip(ids, persons, strict=True)
        ],
    )
    await ring(connection)
    return ids


async def feed(
    engine: AsyncEngine,
    persons: Sequence[PersonId],
    *,
    lane: Lane = Lane.NORMAL,
    channel: Channel = Channel.ALIMTALK,
    states: Sequence[MessageState] = (MessageState.QUEUED,),
) -> list[UUID]:
    """``write`` in a transaction of its own, once Postgres is there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with engine.begin() as connection:
                    return await write(connection, persons, lane=lane, channel=channel, states=states)
            except Exception:  # noqa: BLE001 - the server is being restarted; the timeout ends it
                await asyncio.sleep(0.1)


async def crash_postgres(engine: AsyncEngine) -> None:
    """Kill a backend: the server throws every connection out and recovers from its log."""
    async with engine.connect() as connection:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        os.kill(pid, signal.SIGKILL)
        await connection.invalidate()


class Reading:
    """A consumer at work: runs ``consume`` over ``source`` and keeps what it handled. Use as a context manager."""

    def __init__(
        self, source: Source, *, decode: Callable[[bytes], Delivery] = decode_delivery, max_records: int = 50
    ) -> None:
        self._source = source
        self._decode = decode
        self._max_records = max_records
        self._stopping = asyncio.Event()
        self._handled = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.records: list[Record] = []
        self.values: list[Delivery] = []

    async def __aenter__(self) -> Self:
        await self._source.__aenter__()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stopping.set()
        try:
            if self._task is not None:
                await self._task
        finally:
            await self._source.__aexit__(kind, error, at)

    @property
    def ids(self) -> list[UUID]:
        """The messages read, as often as they were."""
        return [value.message_id for value in self.values]

    async def until(self, enough: Callable[[], bool]) -> None:
        """Return once ``enough`` holds; fail when it does not in time, or the loop ended."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._handled:
            await self._handled.wait_for(lambda: enough() or (self._task is not None and self._task.done()))
        assert enough()

    async def until_read(self, ids: Sequence[UUID]) -> None:
        """Return once every message of ``ids`` was read."""
        wanted = set(ids)
        await self.until(lambda: wanted <= set(self.ids))

    async def _run(self) -> None:
        try:
            await consume(
                self._source,
                self._decode,
                self._handle,
                stopping=self._stopping,
                max_records=self._max_records,
                timeout_seconds=0.1,
            )
        finally:
            async with self._handled:
                self._handled.notify_all()

    async def _handle(self, batch: Sequence[Received[Delivery]]) -> Sequence[Poison]:
        async with self._handled:
            self.records += [received.record for received in batch]
            self.values += [received.value for received in batch]
            self._handled.notify_all()
        return ()


async def fetch(source: Source, number: int) -> list[Record]:
    """Return at least ``number`` records of ``source``, uncommitted."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(records) < number:
            found = await source.getmany(timeout_seconds=0.5, max_records=100)
            records += [record for each in found.values() for record in each]
    return records


__all__ = [
    "PATIENCE_SECONDS", "Reading", "crash_postgres", "feed", "fetch", "people", "write",
]  # fmt: skip
