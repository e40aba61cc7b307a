"""How soon receipts come, and when their silence is an alarm (promise P3). Pure rules, in rule time.

For each dealer and channel one figure is learned: the lag after which ninety-nine of a hundred receipts have come.
Receipts are silent when enough attempts are older than a multiple of it, all of them made after the last receipt
arrived. So nights without traffic, single phones that are switched off and a slow hour raise no alarm; what ends one is
a receipt that comes in time, or many at once. ``shared.sending.silence`` keeps the figures and acts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

ENOUGH = 20
"""attempts without a receipt, none of which a hundredth should be: fewer prove nothing"""
ENOUGH_BACK = 10
"""receipts at once that end a silence however late they are"""
TIMES = 3
"""times the lag, past which a receipt is missing"""
LEARNED = 100
"""receipts that must have been seen before the lag is believed"""

_LATE = 0.01
"""the share of receipts that may take longer than the lag"""
_STEP = 0.05
_STEP_WHILE_LEARNING = 0.1
_DOUBLES_IN = timedelta(hours=1)
"""How fast the lag may grow or shrink: what comes late after an outage must not become what is expected."""
_LEAST, _MOST = timedelta(seconds=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """How receipts come from one dealer over one channel."""

    lag: timedelta
    """how long after its attempt a receipt comes: a slowly moving 99th percentile"""
    seen: int
    """receipts it was learned from"""
    last_at: datetime
    """when the last one arrived, however it came"""
    silent_since: datetime | None = None
    """when they were found to be missing"""


def learn(pace: Pace | None, lags: Sequence[timedelta], *, prior: timedelta, now: datetime) -> Pace:
    """Return the pace after receipts that took ``lags`` (at least one) arrived at ``now``.

    ``prior`` is what the dealer's adapter expects. The lag moves by a share of itself: up for each receipt that took
    longer, down a little for each that did not, so that it rests where a hundredth takes longer (a stochastic
    approximation of a quantile: Robbins and Monro, 1951).
    """
    was = pace or Pace(min(max(4 * sorted(lags)[len(lags) // 2], _LEAST), prior), 0, now)
    late = sum(lag > was.lag for lag in lags)
    surprise = max(-1.0, min(1.0, late - _LATE * len(lags)))
    step = _STEP_WHILE_LEARNING
    if was.seen >= LEARNED:
        step = min(_STEP, math.log(2) * max(now - was.last_at, timedelta()) / _DOUBLES_IN)
    lag = min(max(was.lag * math.exp(step * surprise), _LEAST), _MOST)
    return replace(was, lag=lag, seen=was.seen + len(lags), last_at=max(now, was.last_at))


def patience(pace: Pace | None, *, prior: timedelta, least: timedelta) -> timedelta:
    """Return how old an attempt must be before its receipt is missing.

    While little was learned it goes by ``prior``; ``least`` is what dealers and our own loops may take on any day.
    """
    expected = pace.lag if pace is not None and pace.seen >= LEARNED else prior
    return max(TIMES * expected, least)


def ought_to_be_reported(
    pace: Pace | None, waited: timedelta, *, watched_since: datetime, now: datetime
) -> tuple[datetime, datetime] | None:
    """Return between which times (after, up to) attempts were made of which ``ENOUGH`` without a receipt are silence.

    Only what was made since the last receipt counts, and since somebody listens: what arrived while this process did
    not live is not missing. None while there is no such time, or while the silence is known.
    """
    after = watched_since if pace is None else max(pace.last_at, watched_since)
    known = pace is not None and pace.silent_since is not None and pace.silent_since >= pace.last_at
    until = now - waited
    return (after, until) if after < until and not known else None


def heard(
    pace: Pace | None,
    own: Sequence[timedelta],
    asked: Sequence[timedelta],
    *,
    prior: timedelta,
    least: timedelta,
    now: datetime,
) -> tuple[Pace, bool]:
    """Return the pace after receipts arrived, and whether they end a pause.

    ``own`` came by themselves: they teach, and end a silence. ``asked`` were asked for: what happens is known again,
    so campaigns may go on, while it stays an alarm. A straggler, while receipts are silent, changes nothing.
    """
    waited = patience(pace, prior=prior, least=least)
    if pace is not None and pace.silent_since is not None:
        if not is_over([*own, *asked], waited):
            return pace, False
        silent_since = None if is_over(own, waited) else pace.silent_since
        learned = learn(pace, own, prior=prior, now=now) if own else replace(pace, last_at=max(now, pace.last_at))
        return replace(learned, silent_since=silent_since), True
    if own:
        return learn(pace, own, prior=prior, now=now), False
    return (replace(pace, last_at=max(now, pace.last_at)) if pace is not None else Pace(prior, 0, now)), False


def is_over(lags: Sequence[timedelta], waited: timedelta) -> bool:
    """Return whether receipts that took ``lags`` show that they come again; a straggler does not."""
    return len(lags) >= ENOUGH_BACK or any(lag <= waited for lag in lags)
