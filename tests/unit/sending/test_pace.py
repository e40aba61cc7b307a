"""Promise P3: the silence of receipts is found soon, and nothing else is taken for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.sending.pace import (
    ENOUGH,
    ENOUGH_BACK,
    LEARNED,
    TIMES,
    Pace,
    heard,
    is_over,
    learn,
    ought_to_be_reported,
    patience,
)

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
PRIOR = timedelta(minutes=10)
LEAST = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
LOOK_EVERY = timedelta(seconds=5)

lags = st.lists(st.floats(0, 100_000).map(lambda s: timedelta(seconds=s)), min_size=1, max_size=300)


@dataclass
class Dealer:
    """Traffic, receipts that take their time, and the rule as ``silence.py`` puts it together."""

    now: datetime = NOON
    pace: Pace | None = None
    waiting: list[tuple[datetime, datetime]] = field(default_factory=list)
    """when a receipt arrives, when its attempt was made"""
    lost: list[datetime] = field(default_factory=list)
    """when attempts were made whose receipts never come"""
    alarms: list[datetime] = field(default_factory=list)
    began: datetime = NOON

    @property
    def waited(self) -> timedelta:
        return patience(self.pace, prior=PRIOR, least=LEAST)

    def send(self, lag: timedelta | None) -> None:
        if lag is None:
            self.lost.append(self.now)
        else:
            heappush(self.waiting, (self.now + lag, self.now))

    def go_on(self, until: datetime) -> None:
        """Let time pass: receipts arrive, and the rule looks every few seconds."""
        while self.now < until:
            self.now = min(self.now + LOOK_EVERY, until)
            arrived: list[timedelta] = []
            while self.waiting and self.waiting[0][0] <= self.now:
                at, made = heappop(self.waiting)
                arrived.append(at - made)
            if arrived:
                self.pace, _ = heard(self.pace, arrived, [], prior=PRIOR, least=LEAST, now=self.now)
            self.look()

    def look(self) -> None:
        window = ought_to_be_reported(self.pace, self.waited, watched_since=self.began, now=self.now)
        if window is None:
            return
        after, until = window
        missing = [made for made in (*self.lost, *(made for _, made in self.waiting)) if after < made <= until]
        if len(missing) >= ENOUGH:
            self.alarms.append(self.now)
            self.pace = replace(self.pace or Pace(PRIOR, 0, self.began), silent_since=self.now)


def stream(dealer: Dealer, *, seconds: int, every: float, lag: Callable[[], timedelta | None]) -> None:
    """Send a message ``every`` so many seconds, for so long."""
    end = dealer.now + timedelta(seconds=seconds)
    while dealer.now < end:
        for _ in range(max(1, round(LOOK_EVERY.total_seconds() / every))):
            dealer.send(lag())
        dealer.go_on(dealer.now + max(LOOK_EVERY, timedelta(seconds=every)))


def usual(seed: int, *, typical: float = 3.0) -> Callable[[], timedelta]:
    """Return lags as dealers have them: a few seconds, some minutes, now and then hours (a phone that is off)."""
    chance = random.Random(seed)  # noqa: S311 - a test's choices, no secret

    def lag() -> timedelta:
        share = chance.random()
        if share < 0.005:
            return timedelta(hours=chance.uniform(0.5, 8))
        return timedelta(seconds=typical * chance.lognormvariate(0, 0.6))

    return lag


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    every=st.sampled_from([0.05, 0.3, 2.0, 20.0]),
    typical=st.sampled_from([0.5, 3.0, 30.0]),
)
def test_receipts_that_come_as_usual_raise_no_alarm(seed: int, every: float, typical: float) -> None:
    """With traffic and with little, over a night without any, and in the rush of the morning after it."""
    dealer, lag = Dealer(), usual(seed, typical=typical)
    stream(dealer, seconds=600, every=every, lag=lag)
    dealer.go_on(dealer.now + timedelta(hours=11))
    for _ in range(500):
        dealer.send(lag())
    stream(dealer, seconds=300, every=every, lag=lag)
    dealer.go_on(dealer.now + timedelta(hours=1))
    assert dealer.alarms == []


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), every=st.sampled_from([0.1, 0.5, 2.0]), typical=st.sampled_from([0.5, 3.0, 30.0]))
def test_a_silence_is_found_within_the_learned_lag_and_once(seed: int, every: float, typical: float) -> None:
    dealer = Dealer()
    stream(dealer, seconds=900, every=every, lag=usual(seed, typical=typical))
    dealer.waiting.clear()
    stopped, waited = dealer.now, dealer.waited
    stream(dealer, seconds=int(waited.total_seconds() * 3) + 600, every=every, lag=lambda: None)
    [alarm] = dealer.alarms
    assert alarm - stopped <= waited + ENOUGH * timedelta(seconds=every) + 3 * LOOK_EVERY
    assert waited <= max(LEAST, TIMES * PRIOR)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_receipts_that_come_back_end_it_and_leave_the_lag_as_it_was(seed: int) -> None:
    """However late they come: an outage must not teach that receipts take hours."""
    dealer, lag = Dealer(), usual(seed)
    stream(dealer, seconds=900, every=0.5, lag=lag)
    assert dealer.pace is not None
    before = dealer.pace.lag
    stream(dealer, seconds=3600, every=0.5, lag=lambda: None)
    assert len(dealer.alarms) == 1
    for made in dealer.lost:
        heappush(dealer.waiting, (dealer.now + SECOND, made))
    dealer.lost.clear()
    stream(dealer, seconds=600, every=0.5, lag=lag)
    assert dealer.pace.silent_since is None
    assert len(dealer.alarms) == 1
    assert dealer.pace.lag < 2 * before + 10 * SECOND


def test_a_dealer_that_never_reported_is_found_too() -> None:
    """The webhook was never set: for a month nobody knew that nothing arrived."""
    dealer = Dealer()
    stream(dealer, seconds=3600, every=5.0, lag=lambda: None)
    [alarm] = dealer.alarms
    assert alarm - NOON <= TIMES * PRIOR + ENOUGH * 5 * SECOND + 2 * LOOK_EVERY


@given(count=st.integers(0, ENOUGH - 1), hours=st.integers(1, 200))
def test_too_few_to_tell_are_no_silence(count: int, hours: int) -> None:
    dealer = Dealer(pace=Pace(5 * SECOND, LEARNED, NOON))
    for _ in range(count):
        dealer.now += SECOND
        dealer.send(None)
    dealer.now += timedelta(hours=hours)
    dealer.look()
    assert dealer.alarms == []


def test_what_was_sent_while_nobody_listened_is_not_missing() -> None:
    """A dispatcher that comes back after an hour finds attempts whose receipts nobody took."""
    restarted = NOON + timedelta(hours=1)
    pace = Pace(5 * SECOND, LEARNED, NOON)
    window = ought_to_be_reported(pace, LEAST, watched_since=restarted, now=restarted + 2 * LEAST)
    assert window == (restarted, restarted + LEAST)
    assert ought_to_be_reported(pace, LEAST, watched_since=restarted, now=restarted + LEAST / 2) is None


def test_a_silence_that_is_known_is_not_found_again_before_something_arrived() -> None:
    """So what an operator lifts stays lifted."""
    silent = Pace(5 * SECOND, LEARNED, NOON, silent_since=NOON + LEAST)
    later = NOON + timedelta(hours=5)
    assert ought_to_be_reported(silent, LEAST, watched_since=NOON, now=later) is None
    asked_for = replace(silent, last_at=NOON + 2 * LEAST)
    assert ought_to_be_reported(asked_for, LEAST, watched_since=NOON, now=later) is not None


@pytest.mark.parametrize(
    ("taken", "over"),
    [
        pytest.param([timedelta(hours=3)], False, id="a-straggler"),
        pytest.param([timedelta(hours=3)] * ENOUGH_BACK, True, id="all-at-once"),
        pytest.param([timedelta(hours=3), 5 * SECOND], True, id="one-in-time"),
        pytest.param([], False, id="nothing"),
    ],
)
def test_what_ends_a_silence(taken: Sequence[timedelta], over: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_over(taken, LEAST) == over


@pytest.mark.parametrize(
    ("own", "asked", "alarm", "pause_ends"),
    [
        pytest.param([5 * SECOND], [], False, True, id="by-itself-in-time"),
        pytest.param([], [5 * SECOND], True, True, id="asked-for-in-time"),
        pytest.param([timedelta(hours=3)], [], True, False, id="a-straggler"),
        pytest.param([timedelta(hours=3)], [5 * SECOND], True, True, id="a-straggler-and-one-asked-for"),
        pytest.param([], [timedelta(hours=3)] * ENOUGH_BACK, True, True, id="many-asked-for"),
        pytest.param([timedelta(hours=3)] * ENOUGH_BACK, [], False, True, id="the-backlog"),
    ],
)
def test_what_arrives_while_receipts_are_silent(
    own: list[timedelta],
    asked: list[timedelta],
    alarm: bool,  # noqa: FBT001 - a column of the table
    pause_ends: bool,  # noqa: FBT001 - as above
) -> None:
    silent, now = Pace(5 * SECOND, LEARNED, NOON, silent_since=NOON + LEAST), NOON + timedelta(hours=4)
    after, ends = heard(silent, own, asked, prior=PRIOR, least=LEAST, now=now)
    assert ((after.silent_since is not None), ends) == (alarm, pause_ends)
    assert after.last_at == (now if pause_ends else NOON)


@given(lags, st.integers(0, 10_000), st.integers(0, 30 * 24 * 3600))
def test_the_lag_moves_slowly_and_stays_within_reason(taken: list[timedelta], seen: int, idle: int) -> None:
    pace = Pace(20 * SECOND, seen, NOON)
    now = NOON + timedelta(seconds=idle)
    after = learn(pace, taken, prior=PRIOR, now=now)
    assert 0.9 <= after.lag / pace.lag <= 1.11
    assert (after.seen, after.last_at) == (seen + len(taken), now)
    assert after.silent_since is None


@given(lags)
def test_what_is_learned_first_is_no_more_than_the_adapter_expects(taken: list[timedelta]) -> None:
    first = learn(None, taken, prior=PRIOR, now=NOON)
    assert SECOND * 0.9 <= first.lag <= PRIOR * 1.11
    assert patience(first, prior=PRIOR, least=LEAST) == TIMES * PRIOR or first.seen >= LEARNED


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), batch=st.sampled_from([1, 5, 50, 500]), typical=st.sampled_from([2.0, 60.0]))
def test_the_lag_settles_where_a_hundredth_takes_longer(seed: int, batch: int, typical: float) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's choices, no secret
    pace, now = None, NOON
    for _ in range(60_000 // batch):
        now += timedelta(minutes=10)
        taken = [timedelta(seconds=typical * chance.lognormvariate(0, 0.6)) for _ in range(batch)]
        pace = learn(pace, taken, prior=PRIOR, now=now)
    assert pace is not None
    sample = [timedelta(seconds=typical * chance.lognormvariate(0, 0.6)) for _ in range(5000)]
    later = sum(lag > pace.lag for lag in sample) / len(sample)
    assert later < 0.06
    assert pace.lag < 12 * typical * SECOND


def test_time_that_runs_backwards_does_no_harm() -> None:
    pace = Pace(20 * SECOND, LEARNED, NOON)
    after = learn(pace, [SECOND], prior=PRIOR, now=NOON - timedelta(minutes=5))
    assert (after.lag, after.last_at) == (pace.lag, NOON)
