"""The window that judges the limit: compared with a recount, whatever arrives when."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from bongsu.sandbox.meters import SlidingWindow

_ARRIVALS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.999, 1.0, 2.0]), st.integers(1, 50)))


@given(_ARRIVALS)
def test_the_peak_is_that_of_a_recount(arrivals: list[tuple[float, int]]) -> None:
    window = SlidingWindow(1.0)
    times = list(accumulate(wait for wait, _ in arrivals))
    for now, (_, amount) in zip(times, arrivals, strict=True):
        window.add(now, amount)
    recount = [
        sum(amount for then, (_, amount) in zip(times, arrivals, strict=True) if now - 1.0 < then <= now)
        for now in times
    ]
    assert window.peak == max(recount, default=0)


@given(_ARRIVALS, st.integers(1, 60))
def test_room_comes_when_it_was_promised(arrivals: list[tuple[float, int]], amount: int) -> None:
    window, now, limit = SlidingWindow(1.0), 0.0, 60
    for wait, arrived in arrivals:
        now += wait
        window.add(now, arrived)
    wait = window.room_after(now, amount, limit)
    assert wait >= 0
    if wait:
        assert window.at(now + wait / 2) + amount > limit
    assert window.at(now + wait + 1e-6) + amount <= limit


def test_more_than_the_limit_never_has_room() -> None:
    assert SlidingWindow(1.0).room_after(0.0, 61, 60) == float("inf")
