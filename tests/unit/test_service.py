"""Loops that go by the clock and by a bell; the times of the loop are virtual."""

from __future__ import annotations

import asyncio

from shared.bell import Bell
from shared.service import repeat


class Work:
    """Finds what it is told to; stops the loop when nothing is left to find."""

    def __init__(self, *found: int) -> None:
        self.found = list(found)
        self.stopping = asyncio.Event()
        self.called = asyncio.Event()
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        self.called.set()
        if not self.found:
            self.stopping.set()
            return 0
        return self.found.pop(0)

    def turn(self) -> None:
        """Turn no wheel."""


async def test_it_goes_on_at_once_while_there_is_more() -> None:
    work = Work(3, 2, 1)
    await repeat(work, every_seconds=3600.0, stopping=work.stopping, turn=work.turn)
    assert work.calls == 4


async def test_a_bell_that_rang_while_it_looked_is_heard() -> None:
    """What came between the look and the rest would wait for the next hour."""
    bell = Bell()
    work = Work(0)

    async def look() -> int:
        bell.ring()
        return await work()

    await repeat(look, every_seconds=3600.0, stopping=work.stopping, turn=work.turn, bell=bell)
    assert work.calls == 2


async def test_it_asks_each_time_how_long_to_rest() -> None:
    work = Work(0, 0)
    asked: list[int] = []

    async def rest() -> float:
        asked.append(work.calls)
        return 0.0

    await repeat(work, every_seconds=rest, stopping=work.stopping, turn=work.turn)
    assert asked == [1, 2, 3]


async def test_it_stops_though_it_rests() -> None:
    work = Work(*[0] * 10)
    loop = asyncio.create_task(
        repeat(work, every_seconds=3600.0, stopping=work.stopping, turn=work.turn, at_least_seconds=3600.0)
    )
    await work.called.wait()
    work.stopping.set()
    await loop
    assert work.calls == 1
