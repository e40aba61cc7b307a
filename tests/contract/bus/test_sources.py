"""What every bus promises to a consumer: one suite over Kafka and over the embedded bus."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from shared.bus import Received, TooMuchPoison, TopicPartition, consume
from shared.contracts.delivery import Delivery, decode_delivery
from shared.contracts.jobs import decode_job
from shared.contracts.states import Channel, Lane, MessageState
from shared.contracts.topics import DELIVERY, SEND_JOBS
from tests.contract.bus.feeding import PATIENCE_SECONDS, Reading, feed, fetch, people

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.bus import Record
    from tests.contract.bus.conftest import Bus

LIFE = (MessageState.QUEUED, MessageState.SENDING, MessageState.SENT, MessageState.DELIVERED)


def last_of(records: Sequence[Record]) -> dict[TopicPartition, Record]:
    return {TopicPartition(record.topic, record.partition): record for record in records}


async def test_a_person_is_read_in_the_order_of_the_ledger_and_nothing_is_missing(bus: Bus) -> None:
    persons = people(20)
    ids = [id_ for _ in range(10) for id_ in await feed(bus.engine, persons, states=LIFE)]
    async with Reading(bus.source(DELIVERY)) as reading:
        await reading.until(lambda: len(reading.values) >= len(ids) * len(LIFE))
    places: dict[UUID, list[tuple[int, int]]] = defaultdict(list)
    for value in reading.values:
        places[value.person_id].append((value.xid, value.position))
    assert places.keys() == set(persons)
    assert all(each == sorted(each) for each in places.values())
    assert sorted((v.message_id, v.seq) for v in reading.values) == sorted((i, s) for i in ids for s in (1, 2, 3, 4))
    assert {record.key for record in reading.records} == {person.bytes for person in persons}


async def test_a_person_keeps_to_one_partition_and_people_use_all(bus: Bus) -> None:
    persons = people(40)
    for _ in range(2):
        await feed(bus.engine, persons)
    async with Reading(bus.source(DELIVERY)) as reading:
        await reading.until(lambda: len(reading.values) >= 80)
    partitions = defaultdict(set)
    for record in reading.records:
        partitions[record.key].add(record.partition)
    assert all(len(each) == 1 for each in partitions.values())
    assert set.union(*partitions.values()) == {0, 1, 2, 3}


async def test_jobs_go_to_their_lane_and_text_messages_make_none(bus: Bus) -> None:
    wanted = {lane: await feed(bus.engine, people(3), lane=lane) for lane in Lane}
    await feed(bus.engine, people(3), channel=Channel.SMS)
    await feed(bus.engine, people(3), channel=Channel.LMS)
    await feed(bus.engine, people(3), states=[MessageState.ACCEPTED])
    (after,) = await feed(bus.engine, people(1))
    found: dict[str, list[UUID]] = defaultdict(list)
    async with bus.source(*SEND_JOBS.values()) as source, asyncio.timeout(PATIENCE_SECONDS):
        while sum(map(len, found.values())) < 10:
            for record in await fetch(source, 1):
                job = decode_job(record.value)
                assert (job.channel, job.dealer, job.seq) == (Channel.ALIMTALK, "solapi", 1)
                found[record.topic].append(job.message_id)
        assert await source.getmany(timeout_seconds=0.2, max_records=10) == {}
    wanted[Lane.NORMAL].append(after)
    assert {topic: sorted(ids) for topic, ids in found.items()} == {
        SEND_JOBS[lane]: sorted(ids) for lane, ids in wanted.items()
    }


async def test_a_backlog_in_one_topic_holds_up_no_other(bus: Bus) -> None:
    await feed(bus.engine, people(400), lane=Lane.MASS)
    codes = await feed(bus.engine, people(4), lane=Lane.AUTH)
    await feed(bus.engine, people(400), lane=Lane.MASS)
    async with bus.source(SEND_JOBS[Lane.MASS], SEND_JOBS[Lane.AUTH]) as source, asyncio.timeout(PATIENCE_SECONDS):
        seen: list[Record] = []
        while len({r.value for r in seen if r.topic == SEND_JOBS[Lane.AUTH]}) < len(codes):
            found = await source.getmany(timeout_seconds=0.5, max_records=20)
            await source.commit({at: records[-1] for at, records in found.items()})
            seen += [record for records in found.values() for record in records]
    assert len(seen) < 700  # the codes came amid the campaign, not after it


async def test_what_was_committed_is_not_read_again_and_the_rest_is(bus: Bus) -> None:
    await feed(bus.engine, people(10))
    async with bus.source(DELIVERY) as source:
        done = await fetch(source, 10)
        await source.commit(last_of(done))
        ids = await feed(bus.engine, people(10))
        assert {decode_delivery(record.value).message_id for record in await fetch(source, 10)} == set(ids)
    async with Reading(bus.source(DELIVERY)) as reading:
        await reading.until_read(ids)
    assert sorted(reading.ids) == sorted(ids)


async def test_a_batch_that_a_killed_member_held_is_read_again(bus: Bus) -> None:
    ids = await feed(bus.engine, people(20))
    member = await bus.member(DELIVERY, "hold")
    assert member.stdout is not None
    held: set[str] = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(held) < len(ids):
            held |= set((await member.stdout.readline()).decode().split())
    member.kill()
    await member.wait()
    async with Reading(bus.source(DELIVERY)) as reading:
        await reading.until_read(ids)


async def test_two_members_share_the_work_and_the_dead_ones_goes_on(bus: Bus) -> None:
    ids = await feed(bus.engine, people(40))
    async with Reading(bus.source(DELIVERY)) as reading:
        await reading.until_read(ids)
        member = await bus.member(DELIVERY, "commit")
        assert member.stdout is not None
        by_the_other: set[str] = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not by_the_other:
                ids += await feed(bus.engine, people(40))
                try:
                    line = await asyncio.wait_for(member.stdout.readline(), 0.2)
                except TimeoutError:
                    continue
                by_the_other |= set(line.decode().split())
        before = len(reading.values)
        ids += await feed(bus.engine, people(40))
        await reading.until(lambda: len(reading.values) > before)  # and this one works on
        member.kill()
        by_the_other |= set((await member.stdout.read()).decode().split())
        await member.wait()
        after = await feed(bus.engine, people(40))
        await reading.until_read(after)
        await reading.until(lambda: set(ids) <= {*reading.ids, *map(UUID, by_the_other)})


async def test_a_member_that_leaves_is_followed_at_once(bus: Bus) -> None:
    first = bus.source(DELIVERY, silence_seconds=200.0)
    async with Reading(first) as reading:
        await reading.until_read(await feed(bus.engine, people(20)))
    async with Reading(bus.source(DELIVERY, silence_seconds=200.0)) as reading:
        await reading.until_read(await feed(bus.engine, people(20)))


async def test_a_poison_record_is_buried_with_its_reason_and_passed(bus: Bus) -> None:
    ids = await feed(bus.engine, people(10))
    poison = ids[4]

    def decode(value: bytes) -> Delivery:
        if (decoded := decode_delivery(value)).message_id == poison:
            raise ValueError("cannot be read")
        return decoded

    async with Reading(bus.source(DELIVERY), decode=decode) as reading:
        await reading.until_read([id_ for id_ in ids if id_ != poison])
    async with Reading(bus.source(DELIVERY), decode=decode) as reading:
        await reading.until_read(await feed(bus.engine, people(1)))
    assert poison not in reading.ids
    ((value, reason, detail),) = await bus.buried(DELIVERY)
    assert decode_delivery(value).message_id == poison
    assert (reason, detail) == ("not_of_its_contract", "cannot be read")


async def test_a_run_of_poison_stops_the_reader_and_buries_nothing(bus: Bus) -> None:
    def decode(_: bytes) -> Delivery:
        raise ValueError("a bad deployment")

    async def handle(batch: Sequence[Received[Delivery]]) -> None:
        raise AssertionError(batch)

    await feed(bus.engine, [people(1)[0]] * 15)
    async with bus.source(DELIVERY) as source, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(TooMuchPoison):
            await consume(source, decode, handle, stopping=asyncio.Event())
    assert len(await bus.buried(DELIVERY)) < 10


async def test_a_crash_of_what_carries_it_loses_nothing(bus: Bus) -> None:
    ids = await feed(bus.engine, people(40))
    async with Reading(bus.source(DELIVERY)) as reading:
        await reading.until(lambda: len(reading.values) > 0)
        breaking = asyncio.create_task(bus.break_down())
        for _ in range(5):
            ids += await feed(bus.engine, people(40))
        await breaking
        ids += await feed(bus.engine, people(40))
        await reading.until_read(ids)
