"""Promise P5: profiles share a lane fairly, whatever comes and goes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shared.sending.sharing import Turn, share_out

SHARES = {"a": 1, "b": 3, "c": 2, "d": 1}
PRESENT = st.lists(st.tuples(st.integers(1, 40), st.sets(st.sampled_from(["b", "d"]))), min_size=1, max_size=60)


@given(PRESENT)
def test_two_that_are_always_there_differ_by_one_turn_at_most(draws: list[tuple[int, set[str]]]) -> None:
    turn, got = Turn(), Counter[str]()
    for room, others in draws:
        given_, turn = share_out(room, {name: SHARES[name] for name in {"a", "c", *others}}, turn)
        assert sum(given_.values()) == room
        got.update(given_)
        assert abs(got["a"] / SHARES["a"] - got["c"] / SHARES["c"]) <= 1


@given(st.lists(st.integers(1, 7), min_size=1, max_size=100))
def test_the_size_of_draws_does_not_matter(rooms: list[int]) -> None:
    turn, got = Turn(), Counter[str]()
    for room in rooms:
        given_, turn = share_out(room, SHARES, turn)
        got.update(given_)
    at_once, ended = share_out(sum(rooms), SHARES, Turn())
    assert (+got, turn) == (Counter(at_once), ended)


@given(st.integers(1, 500), st.integers(1, 20))
def test_one_that_comes_back_does_not_claim_the_past(alone: int, room: int) -> None:
    _, turn = share_out(alone, {"a": 1}, Turn())
    given_, _ = share_out(2 * room, {"a": 1, "b": 1}, turn)
    assert given_ == {"a": room, "b": room}


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 9), min_size=1), st.text(max_size=3))
def test_nobody_starves(shares: dict[str, int], last: str) -> None:
    """Within a round each has had its turn, though draws are of one message."""
    turn, got = Turn(last, 1), Counter[str]()
    for _ in range(2 * sum(shares.values())):
        given_, turn = share_out(1, shares, turn)
        got.update(given_)
    assert all(got[profile] >= share for profile, share in shares.items())


def test_nothing_is_shared_out_where_nobody_waits() -> None:
    assert share_out(5, {}, Turn("a", 1)) == ({}, Turn("a", 1))
    assert share_out(0, SHARES, Turn()) == ({}, Turn("a", 1))
