"""The trap that the ledger's order avoids: sequence numbers are drawn in one order and commit in another."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from shared.bus import BusAway, TopicPartition
from shared.bus.connection import BusConnection
from shared.bus.embedded import EmbeddedSource
from shared.bus.ledger import START, read
from shared.bus.relay import relay
from shared.contracts.delivery import Interest, decode_delivery
from shared.contracts.states import Channel, Lane, MessageState
from shared.contracts.topics import DELIVERY, SEND_JOBS
from shared.db.engine import engine_for
from tests.contract.bus.feeding import PATIENCE_SECONDS, Reading, crash_postgres, feed, people, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.bus.base import Outgoing


@dataclass
class MemoryBroker:
    """Takes what the relay publishes; ``broken`` makes it fail once the records are there, ``deaf`` once before."""

    published: list[tuple[TopicPartition, Outgoing]] = field(default_factory=list)
    broken: bool = False
    deaf: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def ids(self) -> list[UUID]:
        return [decode_delivery(r.value).message_id for at, r in self.published if at.topic == DELIVERY]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        pass

    async def partitions_of(self, topic: str) -> int:
        return 3 if topic == DELIVERY else 2

    async def publish(self, batches: Mapping[TopicPartition, Sequence[Outgoing]]) -> None:
        if self.deaf:
            self.deaf = False
            raise BusAway("the broker died before it took the batch")
        async with self.changed:
            self.published += [(at, record) for at, records in batches.items() for record in records]
            self.changed.notify_all()
        if self.broken:
            self.broken = False
            raise BusAway("the broker died after it had taken the batch")

    async def until_has(self, ids: Sequence[UUID]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self.changed:
            await self.changed.wait_for(lambda: set(ids) <= set(self.ids))


@asynccontextmanager
async def relaying(engine: AsyncEngine, broker: MemoryBroker) -> AsyncIterator[asyncio.Task[None]]:
    stopping = asyncio.Event()
    task = asyncio.create_task(relay(engine, lambda: broker, stopping=stopping))
    yield task
    stopping.set()
    if not task.cancelled():
        await task


async def naive(engine: AsyncEngine, last: int) -> tuple[int, list[UUID]]:
    """Read as an outbox relay is usually written."""
    statement = text("SELECT position, message_id FROM transitions WHERE position > :last ORDER BY position")
    async with engine.connect() as connection:
        rows = (await connection.execute(statement, {"last": last})).all()
    return max([last, *(row.position for row in rows)]), [row.message_id for row in rows]


async def test_a_transaction_that_commits_late_is_read_though_a_naive_reader_loses_it(database: AsyncEngine) -> None:
    broker = MemoryBroker()
    source = EmbeddedSource(database, "g", [DELIVERY])
    async with relaying(database, broker), Reading(source) as reading:
        async with database.connect() as slow, database.connect() as quick:
            late = await write(slow, people(5))  # draws its numbers first
            early = await write(quick, people(5))
            await quick.commit()
            last, seen = await naive(database, 0)
            assert sorted(seen) == sorted(early)
            await slow.commit()
        _, rest = await naive(database, last)
        assert rest == []  # so `late` is lost to it for good
        await broker.until_has([*late, *early])
        await reading.until_read([*late, *early])
    assert len(broker.ids) == len(reading.ids) == 10


async def test_rows_behind_a_running_transaction_wait_for_it_and_say_so(database: AsyncEngine) -> None:
    bus = BusConnection(database)
    async with database.connect() as slow:
        late = await write(slow, people(1))
        early = await feed(database, people(1))
        page = await read(bus, DELIVERY, START, limit=10)
        assert (page.entries, page.waiting) == ([], True)
        await slow.commit()
    page = await read(bus, DELIVERY, page.upto, limit=10)
    assert [entry.delivery.message_id for entry in page.entries] == [*late, *early]
    assert not page.waiting
    assert (await read(bus, DELIVERY, page.upto, limit=10)).entries == []
    await bus.close()


async def test_many_writers_at_once_lose_nothing(database: AsyncEngine) -> None:
    broker = MemoryBroker()

    async def write_some() -> list[UUID]:
        return [id_ for _ in range(20) for id_ in await feed(database, people(3))]

    async with relaying(database, broker), Reading(EmbeddedSource(database, "g", [DELIVERY])) as reading:
        ids = [id_ for some in await asyncio.gather(*(write_some() for _ in range(6))) for id_ in some]
        await broker.until_has(ids)
        await reading.until_read(ids)
    assert sorted(reading.ids) == sorted(broker.ids) == sorted(ids)


async def test_pages_end_where_the_next_begins(database: AsyncEngine) -> None:
    ids = [id_ for _ in range(7) for id_ in await feed(database, people(5))]
    bus = BusConnection(database)
    found, at = [], START
    while (page := await read(bus, DELIVERY, at, limit=4)).entries:
        found += [entry.delivery.message_id for entry in page.entries]
        at = page.upto
    assert found == ids
    half = (await read(bus, DELIVERY, START, limit=17)).upto
    below = await read(bus, DELIVERY, START, until=half, limit=100)
    above = await read(bus, DELIVERY, half, limit=100)
    assert [e.delivery.message_id for e in [*below.entries, *above.entries]] == ids
    await bus.close()


async def test_what_a_job_topic_selects_is_what_an_entry_calls_its_job(database: AsyncEngine) -> None:
    for lane in Lane:
        for channel in Channel:
            for state in (MessageState.QUEUED, MessageState.SENT, MessageState.FAILED):
                await feed(database, people(1), lane=lane, channel=channel, states=[state])
    bus = BusConnection(database)
    all_ = (await read(bus, DELIVERY, START, limit=1000)).entries
    for topic in SEND_JOBS.values():
        jobs = (await read(bus, topic, START, limit=1000)).entries
        assert [job.place for job in jobs] == [entry.place for entry in all_ if entry.job_topic == topic]
        assert jobs
    await bus.close()


async def test_reading_the_tail_uses_the_index_even_while_the_tables_look_empty(database: AsyncEngine) -> None:
    bus = BusConnection(database)
    rows = await bus.execute(
        text("""
            EXPLAIN SELECT * FROM transitions t
            WHERE (t.xid, t.position) > ('5'::xid8, 7) AND t.xid < pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY t.xid, t.position LIMIT 500
        """)
    )
    plan = "\n".join(row[0] for row in rows)
    assert "Sort Key: t.xid" in plan  # of the merge of partitions
    assert "Merge Append" in plan
    assert "Index Scan" in plan
    assert "Seq Scan" not in plan
    await bus.close()


async def test_a_relay_that_dies_before_it_notes_its_place_repeats_and_skips_nothing(database: AsyncEngine) -> None:
    broker = MemoryBroker(broken=True)
    ids = await feed(database, people(10))
    async with relaying(database, broker):
        await broker.until_has(ids)
        more = await feed(database, people(10))
        await broker.until_has(more)
    assert broker.ids.count(ids[0]) == 2
    first_seen = list(dict.fromkeys(broker.ids))
    assert len(first_seen) == 20


async def test_a_broker_that_dies_before_it_took_a_batch_gets_it_again(database: AsyncEngine) -> None:
    broker = MemoryBroker(deaf=True)
    ids = await feed(database, people(10))
    async with relaying(database, broker):
        await broker.until_has(ids)
    assert sorted(broker.ids) == sorted(ids)


async def test_a_cancelled_relay_is_followed_by_another_that_skips_nothing(database: AsyncEngine) -> None:
    broker = MemoryBroker()
    ids: list[UUID] = []
    for _ in range(5):
        async with relaying(database, broker) as task:
            ids += await feed(database, people(20))
            async with asyncio.timeout(PATIENCE_SECONDS), broker.changed:
                await broker.changed.wait_for(lambda: bool(broker.published))
            task.cancel()
            await asyncio.wait([task])
    async with relaying(database, broker):
        await broker.until_has(ids)


async def test_of_two_relays_one_leads_and_the_other_follows_it(database: AsyncEngine, database_url: str) -> None:
    other = engine_for(database_url)
    broker = MemoryBroker()
    async with relaying(other, broker):
        async with relaying(database, broker):
            ids = await feed(database, people(30))
            await broker.until_has(ids)
        ids += await feed(database, people(30))
        await broker.until_has(ids)
    assert sorted(broker.ids) == sorted(ids)  # neither repeated what the other did
    await other.dispose()


async def test_the_relay_outlives_a_crash_of_postgres(database: AsyncEngine) -> None:
    broker = MemoryBroker()
    async with relaying(database, broker):
        ids = await feed(database, people(10))
        await broker.until_has(ids)
        await crash_postgres(database)
        more = await feed(database, people(10))
        await broker.until_has(more)


async def test_the_relay_writes_jobs_beside_deliveries_under_the_person(database: AsyncEngine) -> None:
    broker = MemoryBroker()
    persons = people(12)
    ids = await feed(database, persons, lane=Lane.AUTH)
    async with relaying(database, broker):
        await broker.until_has(ids)
    jobs = [(at, record) for at, record in broker.published if at.topic == SEND_JOBS[Lane.AUTH]]
    assert {record.key for _, record in jobs} == {person.bytes for person in persons}
    assert all(at.partition == (record.key or b"")[0] % 2 for at, record in jobs)
    assert {at.topic for at, _ in broker.published} == {DELIVERY, SEND_JOBS[Lane.AUTH]}


@pytest.mark.parametrize("interest", Interest)
async def test_what_is_read_of_an_interest_is_what_it_wants(database: AsyncEngine, interest: Interest) -> None:
    for channel in Channel:
        await feed(database, people(1), channel=channel, states=list(MessageState))
    async with database.begin() as connection:
        await connection.execute(text("UPDATE transitions SET final = true WHERE state = 'failed' AND channel = 'sms'"))
    bus = BusConnection(database)
    all_ = (await read(bus, DELIVERY, START, limit=1000)).entries
    wanted = [entry.place for entry in all_ if interest.wants(entry.delivery)]
    page = await read(bus, DELIVERY, START, limit=1000, interest=interest)
    assert [entry.place for entry in page.entries] == wanted
    assert page.upto >= all_[-1].place  # what is passed over is not read again
    values = [entry.delivery.encode() for entry in all_]
    assert [change for value in values if (change := interest.decode(value))] == [e.delivery for e in page.entries]
    assert wanted
    await bus.close()
