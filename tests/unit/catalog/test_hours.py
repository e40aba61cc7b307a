from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import SEOUL
from shared.config import Profile, QuietHours, Route
from shared.contracts.states import Category, Lane
from shared.hours import ADVERTISING_BAN, contains, next_allowed, next_within

INFO, AD = Category.INFORMATIONAL, Category.ADVERTISING


def profile(category: Category = INFO, start: str = "21:00", end: str = "08:00") -> Profile:
    hours = QuietHours(start=time.fromisoformat(start), end=time.fromisoformat(end))
    return Profile(name="상점", routes=(Route(dealer="d", sender_key="k"),), quiet_hours={category: hours})


def seoul(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, tzinfo=SEOUL)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(seoul(23, 12), seoul(23, 12), id="noon"),
        pytest.param(seoul(23, 20, 59, 59), seoul(23, 20, 59, 59), id="last-second"),
        pytest.param(seoul(23, 21), seoul(24, 8), id="the-start-is-quiet"),
        pytest.param(seoul(23, 23, 59), seoul(24, 8), id="before-midnight"),
        pytest.param(seoul(24, 0), seoul(24, 8), id="midnight"),
        pytest.param(seoul(24, 7, 59, 59), seoul(24, 8), id="last-quiet-second"),
        pytest.param(seoul(24, 8), seoul(24, 8), id="the-end-is-not-quiet"),
        pytest.param(seoul(30, 22), datetime(2026, 12, 1, 8, tzinfo=SEOUL), id="over-the-end-of-a-month"),
    ],
)
def test_quiet_hours_over_midnight(now: datetime, expected: datetime) -> None:
    assert next_allowed(now.astimezone(UTC), INFO, profile(), lane=Lane.NORMAL) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(seoul(23, 12, 30), seoul(23, 14), id="within"),
        pytest.param(seoul(23, 11, 59), seoul(23, 11, 59), id="before"),
        pytest.param(seoul(23, 14), seoul(23, 14), id="after"),
    ],
)
def test_quiet_hours_of_a_siesta(now: datetime, expected: datetime) -> None:
    assert next_allowed(now, INFO, profile(start="12:00", end="14:00"), lane=Lane.NORMAL) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(seoul(23, 19, 59), seoul(23, 19, 59), id="evening"),
        pytest.param(seoul(23, 20), seoul(24, 8), id="eight-at-night"),
        pytest.param(seoul(24, 3), seoul(24, 8), id="dawn"),
    ],
)
def test_advertising_never_goes_by_night(now: datetime, expected: datetime) -> None:
    assert next_allowed(now, AD, profile(INFO), lane=Lane.NORMAL) == expected


def test_hours_of_rest_that_touch_add_up() -> None:
    assert next_allowed(seoul(23, 20), AD, profile(AD, "08:00", "10:00"), lane=Lane.NORMAL) == seoul(24, 10)


def test_quiet_hours_hold_for_their_category_alone() -> None:
    assert next_allowed(seoul(24, 3), INFO, profile(AD), lane=Lane.NORMAL) == seoul(24, 3)


@pytest.mark.parametrize("lane", Lane)
def test_who_waits_for_a_code_is_not_disturbed_by_it(lane: Lane) -> None:
    now = seoul(24, 3)
    assert (next_allowed(now, INFO, profile(), lane=lane) == now) is (lane is Lane.AUTH)


@pytest.mark.parametrize("lane", Lane)
def test_no_lane_lets_advertising_through_at_night(lane: Lane) -> None:
    assert next_allowed(seoul(24, 3), AD, profile(INFO), lane=lane) == seoul(24, 8)


def test_hours_that_leave_no_time_at_all_put_it_off() -> None:
    now = seoul(23, 12)
    assert next_allowed(now, AD, profile(AD, "08:00", "20:00"), lane=Lane.NORMAL) > now


moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
minutes = st.integers(0, 24 * 60 - 1).map(lambda n: time(n // 60, n % 60))


@given(moments, minutes, minutes, st.sampled_from(Category))
def test_what_is_allowed_is_never_in_hours_of_rest(now: datetime, start: time, end: time, category: Category) -> None:
    if start == end:
        return
    hours = QuietHours(start=start, end=end)
    free = next_allowed(now, category, profile(category, start.isoformat(), end.isoformat()), lane=Lane.NORMAL)
    assert free >= now
    if free - now < timedelta(days=3):  # else no hour of the day is free
        assert not contains(hours, free)
        assert category is INFO or not contains(ADVERTISING_BAN, free)


@given(moments, minutes, minutes)
def test_next_within_is_within_and_at_most_a_day_away(now: datetime, start: time, end: time) -> None:
    if start == end:
        return
    hours = QuietHours(start=start, end=end)
    found = next_within(hours, now)
    assert contains(hours, found)
    assert now <= found <= now + timedelta(days=1)
