"""Which rules hold for an account or a profile just now: what the file says, what an operator says, and warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.contracts.states import Lane
from shared.sending.limit_log import Rule, What

if TYPE_CHECKING:
    from shared.config import Allowed, Limits, WarmUp

SECONDS = {"second": 1, "minute": 60, "day": 86_400}
NAMES = {f"{what}_per_{span}": (what, seconds) for what in What for span, seconds in SECONDS.items()}
"""``messages_per_second`` and its like -> what is counted, and the window in seconds"""
FLOORS = {Lane.NORMAL: 0.10, Lane.MASS: 0.05}
"""share of a limit that more urgent lanes leave one that waits, where the file says nothing"""
DAY = 86_400.0


def rules_of(
    allowed: Allowed, changed: Mapping[str, int], limits: Limits, *, first_at: float | None, now: float
) -> tuple[Rule, ...]:
    """Return what holds at ``now``. ``changed``: what an operator said, by name; ``first_at``: the first message.

    A changed limit is taken as it is: who sets one by hand knows of the warm-up.
    """
    share = share_of(limits.warm_up, first_at, now)
    largest = max(limits.counts_as.values(), default=1)
    found = []
    for name, (what, seconds) in NAMES.items():
        most = getattr(allowed, name)
        if name in changed:
            most = changed[name]
        elif most is not None:
            most = int(most * share)
        if most is not None:
            # Below this nothing would ever fit.
            found.append(Rule(what, seconds, max(most, largest if what is What.UNITS else 1)))
    return tuple(found)


def share_of(warm_up: WarmUp | None, first_at: float | None, now: float) -> float:
    """Return the share of its limits that an account may use: it grows once a day, evenly."""
    if warm_up is None:
        return 1.0
    day = 0 if first_at is None else int(max(0.0, now - first_at) // DAY)
    return min(1.0, warm_up.start + (1 - warm_up.start) * day / warm_up.days)


def floors_of(limits: Limits) -> dict[Lane, float]:
    """Return the floor of each lane."""
    return {**FLOORS, **limits.floors}
