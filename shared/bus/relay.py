"""Brings the ledger to Kafka: every transition to the delivery topic, every job to its lane's topic.

All processes that run ``relay`` compete for one session lock of Postgres, and one leads. It publishes a page, waits
until every record is acknowledged, and only then moves the cursor, by compare-and-set. So a record may be repeated
(after a crash in between, or while two believe that they lead) and none is skipped, and in a partition every first
appearance comes after those of all that stand before it in the ledger. Whatever fails, the leader gives up its
connection, and with it the lead, waits, and competes anew: a broker or a Postgres that is away ends no process.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text

from shared.bus import telemetry
from shared.bus.base import BusAway, Outgoing, Producer, TopicPartition
from shared.bus.connection import BusConnection
from shared.bus.ledger import TOPICS, Entry, Place, read
from shared.contracts.topics import DELIVERY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

_LOCK = 0x626F6E6772656C79  # any constant: whose session holds it, leads
_STANDBY_SECONDS = 1.0
_BACKOFF_SECONDS = 1.0
_POLL_SECONDS = 5.0
_HELD_BACK_SECONDS, _HELD_BACK_MOST_SECONDS = 0.01, 0.25
_FAREWELL_SECONDS = 2.0
_PAGE = 2000
_PACE_SECONDS = 0.02
"""From one page to the next, unless it is full: the first change after a pause goes at once, and under load pages are
larger. A record costs little beside the batches of a page, one for each partition, here and at the broker."""

_LEAD = text("SELECT pg_try_advisory_lock(:key)")
_BEGIN = text("""
    INSERT INTO bus_cursors (consumer_group, topic, partition) VALUES ('relay', '', 0) ON CONFLICT DO NOTHING
""")
_WHERE = text("SELECT xid::text AS xid, position FROM bus_cursors WHERE consumer_group = 'relay'")
_MOVE = text("""
    UPDATE bus_cursors SET xid = CAST(:xid AS text)::xid8, position = :position
    WHERE consumer_group = 'relay' AND topic = '' AND partition = 0
      AND xid = CAST(:old_xid AS text)::xid8 AND position = :old_position
    RETURNING partition
""")

log = structlog.get_logger(__name__)


class _Deposed(BusAway):
    """The cursor was moved by another leader."""


async def relay(
    engine: AsyncEngine,
    open_producer: Callable[[], AbstractAsyncContextManager[Producer]],
    *,
    stopping: asyncio.Event,
    on_turn: Callable[[], None] = lambda: None,
) -> None:
    """Relay until ``stopping`` is set, or stand by while another process does.

    ``open_producer`` is called for each term of leading, as ``functools.partial(KafkaProducer, servers)``.
    """
    working = asyncio.create_task(_work(engine, open_producer, stopping, on_turn))
    ending = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=_FAREWELL_SECONDS)  # a page under way had better be noted
    finally:
        ending.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _work(
    engine: AsyncEngine,
    open_producer: Callable[[], AbstractAsyncContextManager[Producer]],
    stopping: asyncio.Event,
    on_turn: Callable[[], None],
) -> None:
    while not stopping.is_set():
        bus = BusConnection(engine)
        try:
            if not await _lead(bus, stopping, on_turn):
                return
            telemetry.RELAY_LEADER.set(1)
            log.info("relay_leads")
            async with open_producer() as producer:
                await _serve(bus, producer, stopping, on_turn)
        except BusAway as error:
            telemetry.RELAY_FAILURES.inc()
            log.warning("relay_backs_off", error=str(error))
            await _pause(stopping, _BACKOFF_SECONDS)
        finally:
            telemetry.RELAY_LEADER.set(0)
            await bus.close()  # gives up the lock


async def _lead(bus: BusConnection, stopping: asyncio.Event, on_turn: Callable[[], None]) -> bool:
    while not stopping.is_set():
        on_turn()
        (row,) = await bus.execute(_LEAD, {"key": _LOCK})
        if row[0]:
            return True
        await _pause(stopping, _STANDBY_SECONDS)
    return False


async def _serve(bus: BusConnection, producer: Producer, stopping: asyncio.Event, on_turn: Callable[[], None]) -> None:
    await bus.execute(_BEGIN)
    (row,) = await bus.execute(_WHERE)
    cursor = Place(int(row.xid), row.position)
    held_back = _HELD_BACK_SECONDS
    loop = asyncio.get_running_loop()
    while not stopping.is_set():
        on_turn()
        heard, next_at = bus.bell.rings, loop.time() + _PACE_SECONDS
        page = await read(bus, DELIVERY, cursor, limit=_PAGE)
        if page.entries:
            await producer.publish(await _batches(producer, page.entries))
            cursor = await _move(bus, cursor, page.entries[-1].place)
            telemetry.RELAY_LAST.set(page.entries[-1].delivery.at.timestamp())
            held_back = _HELD_BACK_SECONDS
            if len(page.entries) < _PAGE:
                await _pause(stopping, next_at - loop.time())
        elif page.waiting:
            await bus.bell.wait(heard, held_back)
            held_back = min(held_back * 2, _HELD_BACK_MOST_SECONDS)
        else:
            await _rest(bus, stopping, heard)


async def _rest(bus: BusConnection, stopping: asyncio.Event, heard: int) -> None:
    """Return when the bell rings, the safety net is due, or it is time to stop."""
    waits = [
        asyncio.ensure_future(bus.bell.wait(heard, _POLL_SECONDS)),
        asyncio.ensure_future(stopping.wait()),
    ]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _batches(producer: Producer, entries: Sequence[Entry]) -> dict[TopicPartition, list[Outgoing]]:
    partitions = {topic: await producer.partitions_of(topic) for topic in TOPICS}
    batches: dict[TopicPartition, list[Outgoing]] = {}
    for entry in entries:
        key, job_topic = entry.delivery.person_id.bytes, entry.job_topic
        for topic in (DELIVERY,) if job_topic is None else (DELIVERY, job_topic):
            partition = TopicPartition(topic, entry.bucket % partitions[topic])
            batches.setdefault(partition, []).append(Outgoing(key, entry.value(topic)))
    for partition, records in batches.items():
        telemetry.RELAY_RECORDS.labels(partition.topic).inc(len(records))
    return batches


async def _move(bus: BusConnection, old: Place, new: Place) -> Place:
    moved = await bus.execute(
        _MOVE,
        {
            "xid": str(new.xid),
            "position": new.position,
            "old_xid": str(old.xid),
            "old_position": old.position,
        },
    )
    if not moved:
        raise _Deposed("another process leads")
    return new


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
