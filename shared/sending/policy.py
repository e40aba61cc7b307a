"""What happens after each failure: one pure function, the same for every dealer, that reads what a dealer can do.

An attempt in doubt is looked up, else replayed under the same key, else its receipt is waited for; and when no receipt
can come any more the policy of the message's category decides. Nothing here sends anything again on a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shared.config import Uncertain, Unconfirmed
from shared.contracts.states import Channel
from shared.dealers.base import Capabilities, Dealer, LookupMeans, NotTaken, Refused
from shared.ledger.book import Attempt, Close, GiveUp, RetryAt

_UNLIMITED = frozenset({"rate_limited", "dealer_unavailable"})
"""Not the message's fault and likely to pass: tried again, further and further apart, until the deadline."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how far apart. Delays are world time: they wait for a gateway, not for an hour of the day."""

    max_tries: int = 6
    base_delay: timedelta = timedelta(seconds=1)
    max_delay: timedelta = timedelta(minutes=10)
    lease: timedelta = timedelta(seconds=30)
    """how long an attempt may be under way before it is taken for crashed; longer than any call may last"""
    first_lookup: timedelta = timedelta(seconds=2)


DEFAULT = RetryPolicy()


# -- what can be wrong with an attempt -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Doubt:
    """Nobody here knows whether the dealer has it: a lost answer, a crashed sender."""


@dataclass(frozen=True, slots=True)
class Absent:
    """It was looked up, and the dealer certainly does not have it."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """Kakao sent it and has no confirmation; it may yet arrive (3005, 7305 and their like)."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """No receipt can come any more, and what became of it is not known."""


Failure = Refused | NotTaken | Doubt | Absent | Unsure | Overdue


@dataclass(frozen=True, slots=True)
class Case:
    """All that decides, besides the failure. Times are rule time; ``speed`` is rule seconds in a world second."""

    capabilities: Capabilities | None
    """None for a dealer that is not configured any more"""
    channel: Channel
    uncertain: Uncertain
    unconfirmed: Unconfirmed
    deadline: datetime
    """of the message: no try starts at or after it"""
    opened_at: datetime
    """of the attempt"""
    tries: int
    """attempts over this channel"""
    now: datetime
    checks: int = 0
    """how often the dealer was asked about the attempt"""
    has_id: bool = False
    """the dealer gave an id for it"""
    replays_at: datetime | None = None
    """when hours of rest allow that it goes out, should the first request not have arrived; None for now"""
    jitter: float = 0.0
    """in [0, 1)"""
    speed: float = 1.0


# -- what to do about it ---------------------------------------------------------------------------------------------


class Means(StrEnum):
    """How to learn what became of an attempt."""

    LOOKUP = "lookup"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class FindOut:
    """Ask the dealer at ``at``."""

    means: Means
    at: datetime


@dataclass(frozen=True, slots=True)
class Await:
    """Wait for a receipt until then."""

    until: datetime


Decision = RetryAt | GiveUp | Close | FindOut | Await


def decide(failure: Failure, case: Case, policy: RetryPolicy = DEFAULT) -> Decision:
    """Choose what follows ``failure``."""
    match failure:
        case Refused():
            return GiveUp()
        case NotTaken():
            return _again(failure, case, policy)
        case Absent():
            return _again(NotTaken("dealer_unavailable"), case, policy)
        case Doubt():
            return _find_out(case, policy)
        case Unsure():
            return _wait(case)
        case Overdue():
            return _settle(case)


def _again(failure: NotTaken, case: Case, policy: RetryPolicy) -> RetryAt | GiveUp:
    """Try again, if the tries and the deadline allow it."""
    if case.tries >= policy.max_tries and failure.reason not in _UNLIMITED:
        return GiveUp()
    delay = backoff(policy.base_delay, policy.max_delay, case.tries, case.jitter)
    if failure.retry_after is not None:
        delay = max(delay, failure.retry_after * (1 + case.jitter / 4))
    return _before(case.deadline, case.now + delay * case.speed)


def _wait(case: Case) -> Await | GiveUp:
    """Wait for Kakao's confirmation, unless the category would rather have a text at once."""
    match case.unconfirmed:
        case Unconfirmed.WAIT:
            return Await(case.opened_at + (case.capabilities.unconfirmed_for if case.capabilities else _UNCONFIRMED))
        case Unconfirmed.TEXT:
            return GiveUp()


def _settle(case: Case) -> RetryAt | GiveUp | Close:
    """End what will never be known, as the category says."""
    match case.uncertain:
        case Uncertain.FALLBACK:
            return GiveUp()
        case Uncertain.HOLD:
            return Close()
        case Uncertain.RESEND:
            return _before(case.deadline, case.now)


def _before(deadline: datetime, when: datetime) -> RetryAt | GiveUp:
    return RetryAt(when) if when < deadline else GiveUp()


def _find_out(case: Case, policy: RetryPolicy) -> FindOut | Await:
    """Choose the surest means that the dealer has for an attempt in doubt."""
    means = means_of(case)
    if means is None:
        return Await(case.opened_at + receipt_span(case.capabilities, case.channel))
    delay = backoff(policy.first_lookup, timedelta(minutes=5), case.checks, case.jitter) * case.speed
    at = case.now + delay
    if means is Means.REPLAY and case.replays_at is not None:
        at = max(at, case.replays_at)
    return FindOut(means, at)


def means_of(case: Case) -> Means | None:
    """Return how the dealer can tell of an attempt in doubt; None where only a receipt can."""
    can = case.capabilities
    if can is None:
        return None
    if can_look_up(can, has_id=case.has_id):
        return Means.LOOKUP
    remembers = case.now < case.opened_at + can.replay_within
    if can.lookup is LookupMeans.REPLAY and remembers and case.now < case.deadline:
        return Means.REPLAY
    return None


def can_look_up(can: Capabilities, *, has_id: bool = True) -> bool:
    """Whether the dealer tells what became of an attempt, by our key or, where it gave one, by its own id."""
    return can.lookup in {LookupMeans.TWO_PHASE, LookupMeans.BY_KEY} or (has_id and can.receipts_polled)


def backoff(base: timedelta, ceiling: timedelta, tries: int, jitter: float) -> timedelta:
    """Return the delay after the ``tries``-th try: doubled up to ``ceiling``, its upper half by ``jitter``.

    That messages which failed together do not come back together ("equal jitter": M. Brooker, "Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015).
    """
    return min(base * (1 << max(0, min(tries - 1, 20))), ceiling) * (0.5 + jitter / 2)


# -- receipts --------------------------------------------------------------------------------------------------------

_EXPECTED = timedelta(minutes=30)
_DEADLINE = timedelta(hours=80)
_UNCONFIRMED = timedelta(days=30)
"""for a dealer that is not configured any more: the longest of any we know"""


def receipt_expected(dealer: Dealer | None, channel: Channel) -> timedelta:
    """Return after how long a receipt that has not come is asked for; ``dealer`` may not be configured any more."""
    return dealer.capabilities.receipt_expected_within.get(channel, _EXPECTED) if dealer else _EXPECTED


def receipt_span(capabilities: Capabilities | None, channel: Channel) -> timedelta:
    """Return after how long no receipt comes any more."""
    return capabilities.receipt_deadline.get(channel, _DEADLINE) if capabilities else _DEADLINE


def receipt_deadline(dealer: Dealer | None, attempt: Attempt) -> timedelta:
    """Return after how long no receipt for ``attempt`` comes any more; ``dealer`` may not be configured any more."""
    capabilities = dealer.capabilities if dealer else None
    if attempt.is_unconfirmed:
        return capabilities.unconfirmed_for if capabilities else _UNCONFIRMED
    return receipt_span(capabilities, attempt.channel)


def can_confirm(dealer: Dealer | None) -> bool:
    """Whether a reported failure can be asked about once more."""
    return dealer is not None and dealer.capabilities.receipts_polled
