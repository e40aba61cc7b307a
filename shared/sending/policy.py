"""What follows a failed attempt, and when to ask a dealer what became of one. Pure rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.contracts.states import Channel
from shared.dealers.base import Dealer, LookupMeans, NotTaken, Refused
from shared.ledger.book import AfterFailure, GiveUp, RetryAt

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


def after_failure(
    failure: Refused | NotTaken,
    tries: int,
    policy: RetryPolicy,
    *,
    deadline: datetime,
    now: datetime,
    jitter: float,
    speed: float = 1.0,
) -> AfterFailure:
    """Choose what follows a try, the ``tries``-th over its channel, that the dealer certainly did not take.

    ``jitter``, in [0, 1), spreads a delay over its upper half, so that messages which failed together do not come
    back together ("equal jitter": M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    ``speed`` is how far the rule clock moves in a second of the world. No retry starts at or after ``deadline``.
    """
    match failure:
        case Refused():
            return GiveUp()
        case NotTaken():
            if tries >= policy.max_tries and failure.reason not in _UNLIMITED:
                return GiveUp()
            delay = backoff(policy.base_delay, policy.max_delay, tries, jitter)
            if failure.retry_after is not None:
                delay = max(delay, failure.retry_after * (1 + jitter / 4))
            when = now + delay * speed
            return RetryAt(when) if when < deadline else GiveUp()


def backoff(base: timedelta, ceiling: timedelta, tries: int, jitter: float) -> timedelta:
    """Return the delay after the ``tries``-th try: doubled up to ``ceiling``, its upper half by ``jitter``."""
    return min(base * (1 << max(0, min(tries - 1, 20))), ceiling) * (0.5 + jitter / 2)


# -- receipts --------------------------------------------------------------------------------------------------------

_EXPECTED = timedelta(minutes=30)
_DEADLINE = timedelta(hours=80)
"""for a dealer that is not configured any more: the longest of any we know"""


def receipt_expected(dealer: Dealer | None, channel: Channel) -> timedelta:
    """Return after how long a receipt that has not come is asked for; ``dealer`` may not be configured any more."""
    return dealer.capabilities.receipt_expected_within.get(channel, _EXPECTED) if dealer else _EXPECTED


def receipt_deadline(dealer: Dealer | None, channel: Channel) -> timedelta:
    """Return after how long no receipt comes any more; ``dealer`` may not be configured any more."""
    return dealer.capabilities.receipt_deadline.get(channel, _DEADLINE) if dealer else _DEADLINE


def can_confirm(dealer: Dealer | None) -> bool:
    """Whether a reported failure can be asked about once more."""
    return dealer is not None and dealer.capabilities.receipts_polled


def can_be_asked(dealer: Dealer) -> bool:
    """Whether a lookup at ``dealer`` can tell anything."""
    return dealer.capabilities.lookup is not LookupMeans.NONE or dealer.capabilities.receipts_polled
