"""Timers follow the rule clock: in order, at its speed, and all at once when told to settle."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from bongsu.sandbox.timers import Timers
from shared.clock import FastClock


class _Stopped:
    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def stretch(self, span: timedelta) -> timedelta:
        return span


def test_what_is_due_is_done_in_order() -> None:
    clock, done = _Stopped(), list[str]()
    timers = Timers(clock)
    start = timers.now()
    timers.at(start + 2, done.append, "second")
    timers.at(start + 1, done.append, "first")
    timers.at(start + 9, done.append, "later")
    assert timers.run_due() == 0
    clock.moment += timedelta(seconds=3)
    assert timers.run_due() == 2
    assert done == ["first", "second"]


def test_settling_does_what_follows_too() -> None:
    timers, done = Timers(_Stopped()), list[str]()

    def again(subject: str) -> None:
        done.append(subject)
        timers.at(timers.now() + 60, done.append, subject + " again")

    timers.at(timers.now() + 60, again, "once")
    timers.run_due(until=float("inf"))
    assert done == ["once", "once again"]
    assert len(timers) == 0


async def test_a_fast_clock_brings_an_hour_at_once() -> None:
    clock = FastClock(datetime(2026, 11, 23, tzinfo=UTC), time.time(), 1_000_000)
    timers, came = Timers(clock), asyncio.Event()
    running = asyncio.create_task(timers.run())
    timers.at(timers.now() + 3600, lambda event: event.set(), came)
    await came.wait()
    running.cancel()
