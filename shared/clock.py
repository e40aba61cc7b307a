"""One clock for all rules: quiet hours, delays, deadlines, slots. It is passed in, never imported.

Two kinds of time must not be mixed. *Rule time* is what this clock tells: it may run faster than the
world (the demo runs a day in a minute). *World time* is how long a call may take or how long a crashed
worker is waited for; ``Clock.stretch`` turns a span of it into the span by which the rule clock moves
meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

SEOUL = ZoneInfo("Asia/Seoul")  # no daylight saving time since 1988


class Clock(Protocol):
    """Tells the time of all rules."""

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        ...

    def stretch(self, span: timedelta) -> timedelta:
        """Return how far this clock moves while ``span`` passes in the world."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The world's time."""

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        return datetime.now(UTC)

    def stretch(self, span: timedelta) -> timedelta:
        """Return ``span``: this clock moves with the world."""
        return span


@dataclass(frozen=True, slots=True)
class FastClock:
    """A clock that showed ``origin`` at the world's ``started`` and runs ``speed`` times as fast.

    All processes of one run are given the same three figures, so they agree.
    """

    origin: datetime
    started: float  # Unix time, seconds
    speed: float

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        elapsed = (time.time() - self.started) * self.speed
        return self.origin.astimezone(UTC) + timedelta(seconds=elapsed)

    def stretch(self, span: timedelta) -> timedelta:
        """Return ``span`` times the speed."""
        return span * self.speed

    def __str__(self) -> str:
        return f"{self.origin.isoformat()}@{self.started}*{self.speed}"


def clock_from(text: str) -> Clock:
    """Return the clock that ``BONGSU_CLOCK`` names: empty for the system's, else ``ORIGIN@STARTED*SPEED``.

    Raises ``ValueError`` for anything else.
    """
    if not text:
        return SystemClock()
    try:
        origin, rest = text.split("@")
        started, speed = rest.split("*")
        clock = FastClock(datetime.fromisoformat(origin), float(started), float(speed))
    except ValueError as error:
        raise ValueError(f"not a clock: {text!r} (want ISO-TIME@UNIX-SECONDS*SPEED)") from error
    if clock.origin.tzinfo is None or clock.speed <= 0:
        raise ValueError(f"not a clock: {text!r} (the origin needs an offset, the speed must be > 0)")
    return clock
