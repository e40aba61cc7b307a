"""Things that happen at a rule time: fates, reports, scheduled sendings."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.clock import Clock

T = TypeVar("T")
_AT_ONCE = 500  # then others get their turn
_LOOK_EVERY = 1.0  # seconds of world time: a clock may be set


@dataclass
class TurnedClock:
    """Shows the time of ``clock``, which may be exchanged for another while the sandbox runs."""

    clock: Clock

    def now(self) -> datetime:
        """Return the time."""
        return self.clock.now()

    def stretch(self, span: timedelta) -> timedelta:
        """Return how far the clock moves while ``span`` passes in the world."""
        return self.clock.stretch(span)


class Timers:
    """A queue of calls by rule time, in Unix seconds; one entry is one tuple."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._sequence = itertools.count()
        self._earlier = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def next_at(self) -> float | None:
        """Return when the next thing happens; None for never."""
        return self._queue[0][0] if self._queue else None

    def now(self) -> float:
        """Return the rule time."""
        return self._clock.now().timestamp()

    def at(self, when: float, act: Callable[[T], None], subject: T) -> None:
        """Call ``act(subject)`` at ``when``, never before this returns."""
        heapq.heappush(self._queue, (when, next(self._sequence), act, subject))
        if self._queue[0][0] == when:
            self._earlier.set()

    def run_due(self, until: float | None = None, at_most: int | None = None) -> int:
        """Do what is due (or would be by ``until``); return how much that was."""
        limit = self.now() if until is None else until
        done = 0
        while self._queue and self._queue[0][0] <= limit and done != at_most:
            _, _, act, subject = heapq.heappop(self._queue)
            act(subject)
            done += 1
        return done

    def clear(self) -> None:
        """Forget everything."""
        self._queue.clear()

    async def run(self) -> None:
        """Do things as they come due, until cancelled."""
        while True:
            self._earlier.clear()
            if self.run_due(at_most=_AT_ONCE) == _AT_ONCE:
                await asyncio.sleep(0)
                continue
            wait = _LOOK_EVERY
            if self._queue:
                speed = self._clock.stretch(timedelta(seconds=1)).total_seconds()
                wait = min(wait, max(0.001, (self._queue[0][0] - self.now()) / speed))
            try:
                async with asyncio.timeout(wait):
                    await self._earlier.wait()
            except TimeoutError:
                continue
