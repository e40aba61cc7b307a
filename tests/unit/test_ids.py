"""Ids in the order in which they were made, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.ids import Births, born_at

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)

steps = st.lists(
    st.tuples(st.floats(-3600, 3600).map(lambda seconds: timedelta(seconds=seconds)), st.integers(1, 5)),
    min_size=1,
    max_size=50,
)


@given(steps)
def test_ids_grow_though_the_clock_steps_back_by_up_to_an_hour(steps: list[tuple[timedelta, int]]) -> None:
    births = Births()
    made = [each for step, number in steps for each in births.new(NOW + step, number)]
    assert all(a < b for a, b in pairwise(made))
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}
    assert max(map(born_at, made)) <= NOW + HOUR


def test_ids_of_one_millisecond_grow() -> None:
    births = Births()
    made = [births.new(NOW, 1)[0] for _ in range(1000)]
    assert made == sorted(made)
    assert {born_at(each) for each in made} == {NOW}


def test_ids_are_born_when_the_clock_says_once_it_has_caught_up() -> None:
    births = Births()
    births.new(NOW, 1)
    [held] = births.new(NOW - HOUR, 1)
    [later] = births.new(NOW + HOUR, 1)
    assert (born_at(held), born_at(later)) == (NOW, NOW + HOUR)


def test_a_clock_that_was_wrong_by_days_is_followed() -> None:
    """Else ids would lie in a week to come until then, and perhaps in one that has no table."""
    births = Births()
    births.new(NOW + timedelta(days=40), 1)
    [made] = births.new(NOW, 1)
    assert born_at(made) == NOW


def test_two_processes_make_no_id_twice() -> None:
    one, other = Births(), Births()
    made = [each for births in (one, other) for _ in range(500) for each in births.new(NOW, 2)]
    assert len(set(made)) == len(made)
