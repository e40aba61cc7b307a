"""What follows a try that the dealer certainly did not take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dealers.base import NotTaken, Refused
from shared.ledger.book import AfterFailure, GiveUp, RetryAt
from shared.sending.policy import DEFAULT, after_failure, backoff

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
AWAY = NotTaken("dealer_unavailable")


def follow(
    failure: Refused | NotTaken,
    tries: int = 1,
    *,
    deadline: timedelta = timedelta(hours=1),
    jitter: float = 0.0,
    speed: float = 1.0,
) -> AfterFailure:
    return after_failure(failure, tries, DEFAULT, deadline=NOON + deadline, now=NOON, jitter=jitter, speed=speed)


@pytest.mark.parametrize(
    ("failure", "tries", "expected"),
    [
        pytest.param(Refused("not_kakao_user", "3104"), 1, GiveUp(), id="refused"),
        pytest.param(AWAY, 1, RetryAt(NOON + timedelta(seconds=0.5)), id="first-retry"),
        pytest.param(AWAY, 3, RetryAt(NOON + timedelta(seconds=2)), id="doubled"),
        pytest.param(NotTaken("dealer_error"), DEFAULT.max_tries, GiveUp(), id="tries-spent"),
        pytest.param(
            NotTaken("rate_limited"), 50, RetryAt(NOON + timedelta(minutes=5)), id="a-limit-is-no-fault-of-the-message"
        ),
        pytest.param(
            NotTaken("rate_limited", retry_after=timedelta(seconds=7)),
            1,
            RetryAt(NOON + timedelta(seconds=7)),
            id="as-long-as-the-dealer-says",
        ),
    ],
)
def test_what_follows(failure: Refused | NotTaken, tries: int, expected: AfterFailure) -> None:
    assert follow(failure, tries) == expected


def test_no_retry_starts_at_or_after_the_deadline() -> None:
    assert follow(AWAY, deadline=timedelta(seconds=0.5)) == GiveUp()


def test_a_retry_waits_in_the_worlds_time() -> None:
    assert follow(AWAY, speed=1000) == RetryAt(NOON + timedelta(seconds=500))


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_stays_between_half_of_it_and_its_ceiling(tries: int, jitter: float) -> None:
    delay = backoff(timedelta(seconds=1), timedelta(minutes=1), tries, jitter)
    full = min(60.0, 2.0 ** min(tries - 1, 20))
    assert full / 2 <= delay.total_seconds() <= full
