from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus import CommitRefused, Poison, Received, Record, TooMuchPoison, TopicPartition, consume
from shared.bus.embedded import fair_share
from shared.errors import Permanent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self


def record(offset: int, value: bytes = b"1", partition: int = 0) -> Record:
    return Record("t", partition, offset, b"k", value)


@dataclass
class FakeSource:
    """Hands out the batches it is given, then asks to stop."""

    batches: deque[Sequence[Record]]
    stopping: asyncio.Event
    refuse: bool = False
    committed: list[dict[TopicPartition, int]] = field(default_factory=list)
    buried: list[tuple[int, str, str]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        pass

    async def getmany(
        self,
        *,
        timeout_seconds: float,  # noqa: ARG002 - of the protocol
        max_records: int,  # noqa: ARG002
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        if not self.batches:
            self.stopping.set()
            return {}
        found: dict[TopicPartition, list[Record]] = {}
        for each in self.batches.popleft():
            found.setdefault(TopicPartition(each.topic, each.partition), []).append(each)
        return found

    async def commit(self, done: Mapping[TopicPartition, Record]) -> None:
        if self.refuse:
            raise CommitRefused
        self.committed.append({at: record.offset for at, record in done.items()})

    async def bury(self, record: Record, reason: str, detail: str) -> None:
        self.buried.append((record.offset, reason, detail))


def source_of(*batches: Sequence[Record], refuse: bool = False) -> FakeSource:
    return FakeSource(deque(batches), asyncio.Event(), refuse)


async def test_a_batch_is_handled_whole_and_committed_by_partition() -> None:
    source = source_of([record(1), record(5, partition=1), record(2)], [record(3)])
    batches: list[list[int]] = []

    async def handle(batch: Sequence[Received[int]]) -> None:
        batches.append([received.record.offset for received in batch])
        assert all(received.value == 1 for received in batch)

    await consume(source, int, handle, stopping=source.stopping)
    assert batches == [[1, 2, 5], [3]]
    one, two = TopicPartition("t", 0), TopicPartition("t", 1)
    assert source.committed == [{one: 2, two: 5}, {one: 3}]


async def test_poison_of_decoding_and_of_handling_is_buried_before_the_commit() -> None:
    source = source_of([record(1), record(2, b"x"), record(3), record(4, b"p"), record(5)])

    def decode(value: bytes) -> int:
        if value == b"p":
            raise Permanent("too_old", "of 2019")
        return int(value)

    async def handle(batch: Sequence[Received[int]]) -> list[Poison]:
        return [Poison(received.record, "unwanted", "is 3") for received in batch if received.record.offset == 3]

    await consume(source, decode, handle, stopping=source.stopping)
    reasons = {offset: (reason, detail) for offset, reason, detail in source.buried}
    assert reasons.keys() == {2, 3, 4}
    assert (reasons[3], reasons[4]) == (("unwanted", "is 3"), ("too_old", "of 2019"))
    assert reasons[2][0] == "not_of_its_contract"
    assert len(source.committed) == 1


async def test_a_batch_of_nothing_but_poison_is_not_given_to_the_handler() -> None:
    source = source_of([record(1, b"x")])

    async def handle(batch: Sequence[Received[int]]) -> None:
        raise AssertionError(batch)

    await consume(source, int, handle, stopping=source.stopping)
    assert len(source.committed) == len(source.buried) == 1


@pytest.mark.parametrize("size", [1, 3, 20])
async def test_a_run_of_poison_stops_the_loop_whatever_the_size_of_its_batches(size: int) -> None:
    bad = [record(n, b"x") for n in range(20)]
    source = source_of([record(-1)], *(bad[n : n + size] for n in range(0, 20, size)))

    async def handle(batch: Sequence[Received[int]]) -> None:
        assert len(batch) == 1

    with pytest.raises(TooMuchPoison):
        await consume(source, int, handle, stopping=source.stopping)
    assert len(source.buried) <= 9


async def test_a_good_record_ends_a_run() -> None:
    source = source_of(*([*(record(9 * n + m, b"x") for m in range(9)), record(1000 + n)] for n in range(5)))

    async def handle(batch: Sequence[Received[int]]) -> None:
        assert len(batch) == 1

    await consume(source, int, handle, stopping=source.stopping)
    assert len(source.buried) == 45


async def test_an_error_of_the_handler_goes_through_uncommitted() -> None:
    source = source_of([record(1), record(2, b"x")])

    async def handle(batch: Sequence[Received[int]]) -> None:
        raise ConnectionError(len(batch))

    with pytest.raises(ConnectionError):
        await consume(source, int, handle, stopping=source.stopping)
    assert not source.committed
    assert not source.buried


async def test_a_refused_commit_is_let_go() -> None:
    source = source_of([record(1)], [record(2)], refuse=True)
    seen: list[int] = []
    turns: list[None] = []

    async def handle(batch: Sequence[Received[int]]) -> None:
        seen.extend(received.record.offset for received in batch)

    await consume(source, int, handle, stopping=source.stopping, on_turn=lambda: turns.append(None))
    assert seen == [1, 2]
    assert len(turns) == 3


async def test_a_small_batch_lingers_for_more() -> None:
    source = source_of([record(1)], [record(2)], [record(3)])
    sizes: list[int] = []

    async def handle(batch: Sequence[Received[int]]) -> None:
        sizes.append(len(batch))

    await consume(source, int, handle, stopping=source.stopping, linger_seconds=0.001)
    assert sizes == [2, 1]


@given(partitions=st.integers(1, 64), members=st.integers(1, 20), turn=st.integers(0, 5))
def test_shares_are_fair_and_cover_everything(partitions: int, members: int, turn: int) -> None:
    shares = [fair_share(partitions, members, rank + turn) for rank in range(members)]
    assert sum(shares) == partitions
    assert max(shares) - min(shares) <= 1
