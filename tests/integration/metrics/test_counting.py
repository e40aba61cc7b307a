"""Promise P9: the counts equal a recount of the ledger, whatever is repeated, dies or runs beside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.metrics import handlers, queries
from services.metrics.domain import Counts
from services.metrics.handlers import Count
from services.metrics.repository import add, compare, counted, differences, horizon, rebuild
from shared.bus import Received, Record, Source, TopicPartition, consume
from shared.bus.open import open_source
from shared.clock import SystemClock
from shared.contracts.delivery import Delivery, decode_delivery
from shared.contracts.topics import DELIVERY
from tests.integration.metrics.ledger_of import lives, transitions_in, write, write_changes
from tests.unit.metrics.stories import expected, tell


class Crash(Exception):
    """As if the process died here."""


@dataclass
class CutCommits:
    """A source whose process dies before some of its commits: what was handled will be read again."""

    source: Source
    left: int
    """commits until the next death"""

    async def __aenter__(self) -> Self:
        await self.source.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.source.__aexit__(kind, error, at)

    async def getmany(self, *, timeout_seconds: float, max_records: int) -> Mapping[TopicPartition, Sequence[Record]]:
        return await self.source.getmany(timeout_seconds=timeout_seconds, max_records=max_records)

    async def commit(self, done: Mapping[TopicPartition, Record]) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1
        await self.source.commit(done)

    async def bury(self, record: Record, reason: str, detail: str) -> None:
        await self.source.bury(record, reason, detail)


@dataclass
class Until:
    """Counts, and stops once the whole ledger was seen."""

    count: Count
    wanted: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    seen: set[tuple[object, int]] = field(default_factory=set)

    async def __call__(self, received: Sequence[Received[Delivery]]) -> None:
        await self.count(received)
        self.seen |= {(each.value.message_id, each.value.seq) for each in received}
        if len(self.seen) >= self.wanted:
            self.stopping.set()


async def count_all(ledger: AsyncEngine, *, group: str = "metrics", die_after: int | None = None) -> int:
    """Count the whole ledger, dying before every ``die_after``-th commit; return how often it died."""
    until = Until(Count(ledger, SystemClock()), await transitions_in(ledger))
    died = 0
    while not until.stopping.is_set():
        own = open_source(ledger, "", group, [DELIVERY], session_seconds=5)
        source = own if die_after is None else CutCommits(own, die_after)
        with suppress(Crash):
            async with source:
                await consume(source, decode_delivery, until, stopping=until.stopping, max_records=40)
            return died
        died += 1
    return died


async def wrong(ledger: AsyncEngine) -> list[object]:
    async with ledger.connect() as connection:
        return list(await differences(connection))


async def test_counts_equal_both_recounts_and_the_stories(ledger: AsyncEngine) -> None:
    stories = lives(150)
    async with ledger.begin() as connection:
        await write(connection, stories)
    assert await wrong(ledger)  # nothing is counted yet
    await count_all(ledger)
    assert await wrong(ledger) == []
    async with ledger.connect() as connection:
        assert compare(await counted(connection), expected(stories), "stories") == []
        assert await queries.oldest_uncounted(connection) is None


async def test_a_death_between_counting_and_committing_counts_nothing_twice(ledger: AsyncEngine) -> None:
    async with ledger.begin() as connection:
        await write(connection, lives(100, seed=2))
    assert await count_all(ledger, die_after=2) >= 3
    assert await wrong(ledger) == []


async def test_a_death_inside_the_transaction_counts_nothing(
    ledger: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ledger.begin() as connection:
        await write(connection, lives(40, seed=3))

    async def add_and_die(connection: AsyncConnection, counts: Counts) -> None:
        await add(connection, counts)
        raise Crash

    monkeypatch.setattr(handlers, "add", add_and_die)
    with pytest.raises(Crash):
        async with open_source(ledger, "", "metrics", [DELIVERY], session_seconds=5) as source:
            await consume(source, decode_delivery, Count(ledger, SystemClock()), stopping=asyncio.Event())
    async with ledger.connect() as connection:
        assert not (await counted(connection)).messages
    monkeypatch.undo()
    await count_all(ledger)
    assert await wrong(ledger) == []


async def test_readers_of_the_same_partitions_count_once(ledger: AsyncEngine) -> None:
    """A partition that changes hands in the middle of a batch is read by two for a moment."""
    async with ledger.begin() as connection:
        await write(connection, lives(80, seed=4))
    await asyncio.gather(*(count_all(ledger, group=f"metrics-{n}") for n in range(3)))
    assert await wrong(ledger) == []


async def test_a_rebuild_mends_what_was_broken_and_the_consumer_goes_on_behind_it(ledger: AsyncEngine) -> None:
    async with ledger.begin() as connection:
        await write(connection, lives(40, seed=5))
    await count_all(ledger)
    async with ledger.begin() as connection:
        await connection.execute(text("UPDATE stats_messages SET n = n + 1"))
        await connection.execute(text("DELETE FROM stats_attempts WHERE state = 'delivered'"))
    assert await wrong(ledger)
    async with ledger.begin() as connection:
        await rebuild(connection)
    assert await wrong(ledger) == []
    async with ledger.begin() as connection:
        await write(connection, lives(40, seed=6, profile="other"))
    await count_all(ledger, group="from-the-first-record-again")
    assert await wrong(ledger) == []


async def test_a_rebuild_leaves_to_the_consumer_what_lies_beyond_a_running_transaction(ledger: AsyncEngine) -> None:
    """A message's first change lies beyond the horizon, its others before it: their transactions overlapped."""
    story = tell([1, 0, 0, 0, 0])
    first, *rest = story.records
    async with ledger.connect() as early, ledger.connect() as running, ledger.connect() as late:
        await early.execute(text("SELECT pg_current_xact_id()"))
        held = int((await running.execute(text("SELECT pg_current_xact_id()::text"))).scalar_one())
        story.records = [first]
        await write(late, [story])
        await late.commit()
        await write_changes(early, rest)
        await early.commit()
        async with ledger.begin() as connection:
            await rebuild(connection)
            assert await horizon(connection) == held
    await count_all(ledger)
    assert await wrong(ledger) == []


async def test_a_rebuild_before_anything_was_counted_stands_for_every_partition(ledger: AsyncEngine) -> None:
    async with ledger.begin() as connection:
        await write(connection, lives(40, seed=7))
    async with ledger.begin() as connection:
        await rebuild(connection)
    await count_all(ledger)
    assert await wrong(ledger) == []


async def test_rebuilds_while_a_consumer_runs_are_exact(ledger: AsyncEngine) -> None:
    async with ledger.begin() as connection:
        await write(connection, lives(150, seed=8))

    async def again_and_again() -> None:
        for _ in range(5):
            async with ledger.begin() as connection:
                await rebuild(connection)

    await asyncio.gather(count_all(ledger), again_and_again())
    assert await wrong(ledger) == []
