"""What follows a try that the dealer certainly did not take."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Profile, Uncertain, Unconfirmed
from shared.contracts.states import Category, Channel
from shared.dealers.base import Capabilities, LookupMeans, NotTaken, Push, Refused
from shared.ledger.book import AfterFailure, Close, GiveUp, RetryAt
from shared.sending.policy import (
    DEFAULT,
    Absent,
    Await,
    Case,
    Doubt,
    FindOut,
    Means,
    Overdue,
    Unsure,
    backoff,
    decide,
)

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
AWAY = NotTaken("dealer_unavailable")
LASTS = timedelta(hours=24)

ABLE = Capabilities(
    channels=frozenset({Channel.ALIMTALK}),
    max_batch=100,
    lookup=LookupMeans.NONE,
    lookup_batch=100,
    not_found_after=timedelta(minutes=2),
    push=Push.OPEN,
    receipts_polled=False,
    receipt_expected_within={},
    receipt_deadline={Channel.ALIMTALK: LASTS},
    replay_within=timedelta(hours=2),
)
CASE = Case(
    capabilities=ABLE,
    channel=Channel.ALIMTALK,
    uncertain=Uncertain.FALLBACK,
    unconfirmed=Unconfirmed.WAIT,
    deadline=NOON + timedelta(hours=12),
    opened_at=NOON,
    tries=1,
    now=NOON,
)


def follow(
    failure: Refused | NotTaken,
    tries: int = 1,
    *,
    deadline: timedelta = timedelta(hours=1),
    jitter: float = 0.0,
    speed: float = 1.0,
) -> AfterFailure:
    decision = decide(failure, replace(CASE, tries=tries, deadline=NOON + deadline, jitter=jitter, speed=speed))
    assert isinstance(decision, RetryAt | GiveUp)
    return decision


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


# -- doubt: by what the dealer can do, and never by its name ----------------------------------------------------------

FIRST = NOON + DEFAULT.first_lookup / 2


@pytest.mark.parametrize(
    ("can", "case", "expected"),
    [
        pytest.param({"lookup": LookupMeans.TWO_PHASE}, {}, FindOut(Means.LOOKUP, FIRST), id="two-phase"),
        pytest.param({"lookup": LookupMeans.BY_KEY}, {}, FindOut(Means.LOOKUP, FIRST), id="by-key"),
        pytest.param({"lookup": LookupMeans.REPLAY}, {}, FindOut(Means.REPLAY, FIRST), id="replay"),
        pytest.param(
            {"lookup": LookupMeans.REPLAY},
            {"replays_at": NOON + timedelta(hours=1)},
            FindOut(Means.REPLAY, NOON + timedelta(hours=1)),
            id="a-replay-may-deliver-and-keeps-the-hours-of-rest",
        ),
        pytest.param(
            {"lookup": LookupMeans.REPLAY},
            {"now": NOON + timedelta(hours=2)},
            Await(NOON + LASTS),
            id="no-replay-of-what-the-dealer-forgot",
        ),
        pytest.param(
            {"lookup": LookupMeans.REPLAY}, {"deadline": NOON}, Await(NOON + LASTS), id="no-replay-past-the-deadline"
        ),
        pytest.param(
            {"lookup": LookupMeans.REPLAY, "receipts_polled": True},
            {"has_id": True},
            FindOut(Means.LOOKUP, FIRST),
            id="a-lookup-before-a-replay",
        ),
        pytest.param({"receipts_polled": True}, {"has_id": True}, FindOut(Means.LOOKUP, FIRST), id="by-its-own-id"),
        pytest.param({"receipts_polled": True}, {}, Await(NOON + LASTS), id="polled-but-without-an-id"),
        pytest.param({}, {}, Await(NOON + LASTS), id="nobody-can-be-asked"),
    ],
)
def test_a_doubt_is_resolved_by_the_surest_means(
    can: dict[str, object], case: dict[str, object], expected: FindOut | Await
) -> None:
    able = replace(ABLE, **can)  # type: ignore[arg-type]  # fields by name
    assert decide(Doubt(), replace(CASE, capabilities=able, **case)) == expected  # type: ignore[arg-type]  # likewise


@given(
    st.sampled_from(LookupMeans),
    st.sets(st.sampled_from(["polled", "has_id"])),
    st.timedeltas(timedelta(0), timedelta(days=5)),
    st.sampled_from(Uncertain),
)
def test_a_doubt_never_sends_and_always_ends(
    lookup: LookupMeans, knows: set[str], age: timedelta, uncertain: Uncertain
) -> None:
    able = replace(ABLE, lookup=lookup, receipts_polled="polled" in knows)
    case = replace(CASE, capabilities=able, has_id="has_id" in knows, now=NOON + age, uncertain=uncertain)
    match decide(Doubt(), case):
        case FindOut(means, at):
            assert at > case.now
            assert means is Means.LOOKUP or case.now < min(case.deadline, NOON + able.replay_within)
        case Await(until):
            assert until == NOON + LASTS
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize(
    ("uncertain", "case", "expected"),
    [
        pytest.param(Uncertain.FALLBACK, {}, GiveUp(), id="a-text"),
        pytest.param(Uncertain.HOLD, {}, Close(), id="nothing"),
        pytest.param(Uncertain.RESEND, {}, RetryAt(NOON), id="again-when-somebody-chose-so"),
        pytest.param(Uncertain.RESEND, {"deadline": NOON}, GiveUp(), id="not-again-past-the-deadline"),
    ],
)
def test_when_no_receipt_can_come_the_category_decides(
    uncertain: Uncertain, case: dict[str, object], expected: AfterFailure
) -> None:
    assert decide(Overdue(), replace(CASE, uncertain=uncertain, **case)) == expected  # type: ignore[arg-type]  # by name


def test_what_kakao_cannot_confirm_is_waited_for_or_texted() -> None:
    assert decide(Unsure(), CASE) == Await(NOON + timedelta(days=3))
    assert decide(Unsure(), replace(CASE, unconfirmed=Unconfirmed.TEXT)) == GiveUp()


def test_what_a_dealer_certainly_does_not_have_is_tried_again() -> None:
    assert decide(Absent(), CASE) == follow(AWAY)


@pytest.mark.parametrize(
    ("category", "uncertain"),
    [(Category.INFORMATIONAL, Uncertain.FALLBACK), (Category.ADVERTISING, Uncertain.HOLD)],
)
def test_by_default_nothing_is_resent_and_kakao_is_waited_for(category: Category, uncertain: Uncertain) -> None:
    profile = Profile.model_validate({"name": "봉수상점", "routes": [{"dealer": "solapi", "sender_key": "K"}]})
    assert profile.when_uncertain(category) is uncertain
    assert profile.when_unconfirmed(category) is Unconfirmed.WAIT
