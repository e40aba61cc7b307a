"""The clock by which a dealer's limit is kept: the database's, but one that neither goes back nor leaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.sending.limit_log import Log

DRIFT = 0.0005
"""seconds by which two clocks part in a second, at most"""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the row's clock is ahead of this process's: from ``low`` to ``high``, at ``at`` (of the process)."""

    low: float
    high: float
    at: float

    def widened(self, now: float) -> Reading:
        """Return what is still certain at ``now``."""
        drift = DRIFT * (now - self.at)
        return Reading(self.low - drift, self.high + drift, now)


def tick(log: Log, clock: float, reading: Reading | None, received: float) -> float:
    """Return the row's time and keep its skew, so that it neither goes back nor leaps, whatever ``clock`` does.

    ``clock`` is the database's, read at the latest at ``received`` (of this process). It may have been set back: then
    the row's time stands still once, and goes on from there. It may have been set forward: a process that read it
    before knows better.
    """
    now = clock + log.skew
    if reading is not None:
        now = min(now, received + reading.widened(received).high)
    now = max(now, log.told)
    log.told, log.skew = now, now - clock
    return now


def compare(reading: Reading | None, now: float, sent: float, received: float) -> Reading:
    """Return what is known of the row's clock, which said ``now`` between ``sent`` and ``received``."""
    fresh = Reading(now - received, now - sent, received)
    if reading is None:
        return fresh
    known = reading.widened(received)
    both = Reading(max(known.low, fresh.low), min(known.high, fresh.high), received)
    return both if both.low <= both.high else fresh
