"""Which rules hold: the file, an operator's word, warm-up; and the clock that they are kept by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.config import Limits
from shared.contracts.states import Channel, Lane
from shared.sending.limit_log import Log, Rule, What
from shared.sending.limit_rules import DAY, floors_of, rules_of, share_of
from shared.sending.row_clock import DRIFT, Reading, compare, tick


def limits(**given: object) -> Limits:
    return Limits.model_validate(given)


def test_the_file_speaks_unless_an_operator_does() -> None:
    said = limits(messages_per_second=10, requests_per_day=500)
    assert rules_of(said, {}, said, first_at=None, now=0.0) == (
        Rule(What.UNITS, 1, 10),
        Rule(What.REQUESTS, 86_400, 500),
    )
    changed = {"messages_per_second": 3, "messages_per_minute": 60}
    assert rules_of(said, changed, said, first_at=None, now=0.0) == (
        Rule(What.UNITS, 1, 3),
        Rule(What.UNITS, 60, 60),
        Rule(What.REQUESTS, 86_400, 500),
    )


@pytest.mark.parametrize(
    ("day", "share"), [(None, 0.1), (0, 0.1), (0.9, 0.1), (1, 0.19), (5.5, 0.55), (10, 1.0), (900, 1.0)]
)
def test_a_new_account_grows_once_a_day_from_its_first_message(day: float | None, share: float) -> None:
    said = limits(messages_per_second=100, warm_up={"start": 0.1, "days": 10})
    first = None if day is None else 1000.0
    now = 1000.0 + (day or 0) * DAY
    assert share_of(said.warm_up, first, now) == pytest.approx(share)
    [rule] = rules_of(said, {}, said, first_at=first, now=now)
    assert rule.most == int(100 * share_of(said.warm_up, first, now))


def test_no_limit_is_so_small_that_nothing_ever_fits() -> None:
    said = limits(messages_per_second=9, counts_as={"lms": 3}, warm_up={"start": 0.1, "days": 10})
    [rule] = rules_of(said, {}, said, first_at=None, now=0.0)
    assert rule.most == 3


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"messages_per_second": 2, "counts_as": {"lms": 3}}, id="never-room"),
        pytest.param({"per_profile": {"messages_per_day": 2}, "counts_as": {"lms": 3}}, id="never-room-for-a-profile"),
        pytest.param({"floors": {"auth": 0.5, "normal": 0.4, "mass": 0.2}}, id="floors-over-all"),
        pytest.param({"warm_up": {"start": 0, "days": 3}}, id="never-starts"),
        pytest.param({"messages_per_hour": 2}, id="unknown"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        limits(**wrong)


def test_floors_have_defaults() -> None:
    assert floors_of(limits(floors={"mass": 0.0})) == {Lane.NORMAL: 0.10, Lane.MASS: 0.0}
    assert limits().counts_as == dict[Channel, int]()


# -- the row's clock ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-5000, 5000)), max_size=30))
def test_the_rows_time_never_goes_back_and_never_leaps_for_who_watched(steps: list[tuple[float, float]]) -> None:
    """Whatever the database's clock is set to, between any two looks of one process."""
    log, own, offset = Log(), 100.0, 1_000_000.0
    told = tick(log, own + offset, None, own)
    reading = compare(None, told, own, own)
    for passes, step in steps:
        own += passes
        offset += step
        now = tick(log, own + offset, reading, own)
        assert told <= now <= told + passes + DRIFT * passes + 1e-6
        reading, told = compare(reading, now, own, own), now


def test_a_clock_that_is_right_is_followed() -> None:
    log, reading = Log(), None
    for own in (10.0, 11.0, 500.0):
        now = tick(log, own + 50.0, reading, own + 0.001)
        reading = compare(reading, now, own - 0.001, own + 0.001)
        assert now == own + 50.0
        assert log.skew == 0.0
        assert reading.low <= 50.0 <= reading.high


def test_what_two_looks_say_is_taken_together_unless_they_differ() -> None:
    first = compare(None, 110.0, 9.0, 11.0)
    assert first == Reading(99.0, 101.0, 11.0)
    assert compare(first, 111.5, 11.0, 11.0) == Reading(100.5, 100.5, 11.0)
    assert compare(first, 500.0, 11.0, 11.0) == Reading(489.0, 489.0, 11.0)
