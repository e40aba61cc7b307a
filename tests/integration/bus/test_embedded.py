"""What only the embedded bus does itself: leases, shares, cursors in a table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from shared.bus import CommitRefused, Record, TopicPartition
from shared.bus.connection import BusConnection
from shared.bus.embedded import EmbeddedSource
from shared.bus.open import open_source
from shared.contracts.states import Lane
from shared.contracts.topics import DELIVERY, EVENTS, SEND_JOBS
from shared.db.engine import engine_for
from tests.contract.bus.feeding import PATIENCE_SECONDS, Reading, feed, fetch, people

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncEngine


def last_of(records: Sequence[Record]) -> dict[TopicPartition, Record]:
    return {TopicPartition(record.topic, record.partition): record for record in records}


async def run(engine: AsyncEngine, statement: str) -> Sequence[Any]:
    async with engine.begin() as connection:
        result = await connection.execute(text(statement))
        return result.all() if result.returns_rows else ()


async def test_a_commit_of_a_partition_that_another_owns_is_refused_and_moves_nothing(database: AsyncEngine) -> None:
    await feed(database, people(20))
    async with EmbeddedSource(database, "g", [DELIVERY]) as source:
        held = await fetch(source, 20)
        await run(database, "UPDATE bus_cursors SET owner = gen_random_uuid() WHERE partition = 2")
        with pytest.raises(CommitRefused):
            await source.commit(last_of(held))
        rows = await run(database, "SELECT partition FROM bus_cursors WHERE position > 0 ORDER BY 1")
        assert [row.partition for row in rows] == [0, 1, 3]


async def test_a_member_that_was_taken_for_dead_reads_again_once_it_owns_again(database: AsyncEngine) -> None:
    ids = await feed(database, people(20))
    async with EmbeddedSource(database, "g", [DELIVERY], lease_seconds=1) as source:
        held = await fetch(source, 20)
        await run(database, "UPDATE bus_cursors SET owner = NULL, lease_until = NULL")
        with pytest.raises(CommitRefused):
            await source.commit(last_of(held))
        again = await fetch(source, 20)
        assert {record.offset for record in again} == {record.offset for record in held}
        assert len(again) == len(ids)


async def test_a_drained_pool_costs_no_lease(database_url: str, database: AsyncEngine) -> None:
    small = engine_for(database_url, pool_size=1)
    await feed(database, people(20))
    async with EmbeddedSource(small, "g", [DELIVERY], lease_seconds=0.5) as source:
        held = await fetch(source, 20)
        async with small.connect():  # a handler at work
            first = await run(database, "SELECT min(lease_until) FROM bus_cursors")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await run(database, "SELECT min(lease_until) FROM bus_cursors")) == first:  # noqa: ASYNC110 - Postgres tells nobody
                    await asyncio.sleep(0.05)
            await source.commit(last_of(held))
    await small.dispose()


async def test_partitions_are_shared_topic_by_topic(database_url: str) -> None:
    engines = [engine_for(database_url, pool_size=2) for _ in range(3)]
    topics = list(SEND_JOBS.values())
    readings = [Reading(EmbeddedSource(engine, "g", topics, lease_seconds=1)) for engine in engines]
    shares = text("SELECT topic, owner, count(*) AS n FROM bus_cursors WHERE owner IS NOT NULL GROUP BY 1, 2")
    async with readings[0], readings[1], readings[2], asyncio.timeout(PATIENCE_SECONDS):
        counts: list[int] = []
        while sorted(counts) != [1] * 6 + [2] * 3:
            await asyncio.sleep(0.05)
            async with engines[0].connect() as connection:
                counts = [row.n for row in await connection.execute(shares)]
    for engine in engines:
        await engine.dispose()


async def test_a_clock_that_steps_back_leaves_no_partition_with_the_dead(database: AsyncEngine) -> None:
    """Postgres' clock is set back by an hour, and the dead seem to have been seen an hour from now."""
    ids = await feed(database, people(20))
    async with EmbeddedSource(database, "g", [DELIVERY]):
        pass  # makes the cursors
    await run(database, "INSERT INTO bus_members VALUES ('g', gen_random_uuid(), now() + interval '1 hour')")
    await run(
        database,
        "UPDATE bus_cursors SET owner = m.member, lease_until = now() + interval '1 hour' FROM bus_members m",
    )
    async with Reading(EmbeddedSource(database, "g", [DELIVERY])) as reading:
        await reading.until_read(ids)


async def test_an_idle_topic_is_not_read_from_its_beginning_again(database: AsyncEngine) -> None:
    topic = SEND_JOBS[Lane.AUTH]
    async with Reading(EmbeddedSource(database, "d", [DELIVERY])) as reading:
        await reading.until_read(await feed(database, people(20)))
    async with EmbeddedSource(database, "g", [topic]) as source:
        assert await source.getmany(timeout_seconds=0.1, max_records=10) == {}
    rows = await run(database, "SELECT xid::text::bigint AS xid FROM bus_cursors WHERE consumer_group = 'g'")
    assert all(row.xid > reading.values[-1].xid for row in rows)


async def test_an_open_batch_is_not_passed_by_the_cursor(database: AsyncEngine) -> None:
    ids = await feed(database, people(20))
    async with EmbeddedSource(database, "g", [DELIVERY], lease_seconds=0.3) as source:
        await fetch(source, 20)
        first = await run(database, "SELECT min(lease_until) FROM bus_cursors")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await run(database, "SELECT min(lease_until) FROM bus_cursors")) == first:  # noqa: ASYNC110 - Postgres tells nobody
                await asyncio.sleep(0.05)
    async with Reading(EmbeddedSource(database, "g", [DELIVERY])) as reading:
        await reading.until_read(ids)


async def test_a_record_buried_twice_is_there_once(database: AsyncEngine) -> None:
    await feed(database, people(1))
    async with EmbeddedSource(database, "g", [DELIVERY]) as source:
        (record,) = await fetch(source, 1)
        for _ in range(2):
            await source.bury(record, "unreadable", "why")
    (row,) = await run(database, "SELECT * FROM dead_letters")
    assert (row.topic, row.consumer_group, row.reason, row.detail) == (DELIVERY, "g", "unreadable", "why")
    assert (row.record_offset, row.value, row.key) == (record.offset, record.value, record.key)


async def test_readers_of_one_process_share_a_connection(database: AsyncEngine) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with EmbeddedSource(database, "a", [DELIVERY]), EmbeddedSource(database, "b", [DELIVERY]):
        ((both,),) = await run(database, count)
        async with EmbeddedSource(database, "c", [DELIVERY]):
            ((three,),) = await run(database, count)
    assert three == both


async def test_the_bus_is_chosen_by_the_setting(database: AsyncEngine) -> None:
    assert isinstance(open_source(database, "", "g", [DELIVERY], session_seconds=5), EmbeddedSource)
    assert not isinstance(open_source(database, "127.0.0.1:9092", "g", [DELIVERY], session_seconds=5), EmbeddedSource)
    with pytest.raises(ValueError, match="does not carry"):
        open_source(database, "", "g", [EVENTS], session_seconds=5)


async def test_a_bell_rung_between_looking_and_waiting_is_heard(database: AsyncEngine) -> None:
    bus = BusConnection(database)
    await bus.execute(text("SELECT 1"))
    heard = bus.bell.rings
    await feed(database, people(1))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bus.bell.wait(heard, PATIENCE_SECONDS)
        await bus.bell.wait(heard, PATIENCE_SECONDS)  # it has rung: no wait
    await bus.close()
