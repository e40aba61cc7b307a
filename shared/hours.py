"""Hours of rest (promise P6), in Asia/Seoul: when a message may go.

Pure functions, asked when a message is planned and again at the last moment before it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Protocol

from shared.clock import SEOUL
from shared.contracts.states import Category, Lane

if TYPE_CHECKING:
    from shared.config import Profile

_ROUNDS = 8
"""Hours that shut each other out end here: what comes back is later than now, and asked again then."""


class HoursOfDay(Protocol):
    """From ``start`` up to, not with, ``end``; over midnight if ``end`` is earlier."""

    @property
    def start(self) -> time: ...  # noqa: D102 - the class says it

    @property
    def end(self) -> time: ...  # noqa: D102 - the class says it


@dataclass(frozen=True, slots=True)
class _Hours:
    start: time
    end: time


ADVERTISING_BAN = _Hours(time(20), time(8))
"""The law forbids 21:00-08:00 (정보통신망법 제50조), Kakao also the hour before: the stricter satisfies both."""


def contains(hours: HoursOfDay, moment: datetime) -> bool:
    """Return whether ``moment`` lies within ``hours``."""
    at = moment.astimezone(SEOUL).time()
    if hours.start < hours.end:
        return hours.start <= at < hours.end
    return at >= hours.start or at < hours.end


def next_time(at: time, moment: datetime) -> datetime:
    """Return the first time after ``moment`` at which a clock in Seoul shows ``at``, in UTC."""
    local = moment.astimezone(SEOUL)
    found = datetime.combine(local.date(), at, SEOUL)
    return (found if found > local else found + timedelta(days=1)).astimezone(UTC)


def next_within(hours: HoursOfDay, moment: datetime) -> datetime:
    """Return ``moment`` if it lies within ``hours``, else when they next begin."""
    return moment if contains(hours, moment) else next_time(hours.start, moment)


def next_allowed(now: datetime, category: Category, profile: Profile, *, lane: Lane) -> datetime:
    """Return ``now`` if a message of ``category`` may go now, else when it first may.

    It may not in the profile's quiet hours of its category, nor, as advertising, between 20:00 and 08:00. What someone
    waits for (the lane ``auth``) disturbs nobody, and is in no quiet hours; the ban on advertising asks for no lane.
    """
    rest: list[HoursOfDay] = []
    if lane is not Lane.AUTH and (quiet := profile.quiet_hours.get(category)) is not None:
        rest.append(quiet)
    if category is Category.ADVERTISING:
        rest.append(ADVERTISING_BAN)
    moment = now
    for _ in range(_ROUNDS):
        for hours in rest:
            if contains(hours, moment):
                moment = next_time(hours.end, moment)
                break
        else:
            return moment
    return moment
