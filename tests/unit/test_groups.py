from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shared.groups import Groups, Overloaded


class Writer:
    """Writes when it is let; keeps what it was given."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.under_way = 0
        self.most = 0

    async def __call__(self, group: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(group))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if 13 in group:
            raise ValueError("all of it")
        return [LookupError(n) if n < 0 else n * 2 for n in group]


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def test_who_comes_while_a_group_is_written_shares_the_next() -> None:
    writer = Writer()
    groups: Groups[int, int] = Groups(writer, cap=4, flights=1)
    tasks = [asyncio.create_task(groups.submit(0))]
    await turns()
    tasks += [asyncio.create_task(groups.submit(n)) for n in range(1, 8)]
    await turns()
    writer.gate.set()
    assert await asyncio.gather(*tasks) == [n * 2 for n in range(8)]
    assert writer.groups == [[0], [1, 2, 3, 4], [5, 6, 7]]


async def test_no_more_flights_than_allowed() -> None:
    writer = Writer()
    groups: Groups[int, int] = Groups(writer, cap=2, flights=3)
    tasks = [asyncio.create_task(groups.submit(n)) for n in range(12)]
    await turns(20)
    writer.gate.set()
    assert await asyncio.gather(*tasks) == [n * 2 for n in range(12)]
    assert writer.most == 3
    assert sorted(n for group in writer.groups for n in group) == list(range(12))


async def test_an_error_of_one_is_its_own_and_an_error_of_the_group_is_of_all() -> None:
    writer = Writer()
    writer.gate.set()
    groups: Groups[int, int] = Groups(writer, flights=1)
    one = await asyncio.gather(*(groups.submit(n) for n in (1, -1, 2)), return_exceptions=True)
    assert [one[0], type(one[1]), one[2]] == [2, LookupError, 4]
    every = await asyncio.gather(*(groups.submit(n) for n in (1, 13)), return_exceptions=True)
    assert [type(each) for each in every] == [ValueError, ValueError]
    assert await groups.submit(3) == 6


async def test_too_many_waiting_are_turned_away_at_once() -> None:
    writer = Writer()
    groups: Groups[int, int] = Groups(writer, cap=1, flights=1, most_waiting=2)
    tasks = [asyncio.create_task(groups.submit(0))]
    await turns()
    tasks += [asyncio.create_task(groups.submit(n)) for n in (1, 2)]
    await turns()
    with pytest.raises(Overloaded):
        await groups.submit(3)
    writer.gate.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4]


async def test_closing_waits_for_what_is_under_way() -> None:
    writer = Writer()
    groups: Groups[int, int] = Groups(writer)
    task = asyncio.create_task(groups.submit(1))
    await turns()
    closing = asyncio.create_task(groups.close())
    await turns()
    assert not closing.done()
    writer.gate.set()
    await closing
    assert await task == 2
