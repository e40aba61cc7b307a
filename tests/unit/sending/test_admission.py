"""P4 and P5 on a virtual clock: every window as the dealer sees it, how much of a limit is used, who waits for whom."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.contracts.states import Lane
from shared.sending.admission import (
    BLIND,
    GRACE,
    PACE,
    SLACK,
    Ask,
    Book,
    Granted,
    NotYet,
    admit,
    book_grant,
    take_place,
)
from shared.sending.limit_log import (
    AFTERMATH,
    ENOUGH_CALLS,
    KEPT,
    LOST_AFTER,
    MARGIN,
    RANK,
    STALE,
    WINDOW,
    Ended,
    Log,
    Past,
    Path,
    Rule,
    What,
)
from tests.unit.sending.limits_world import FLOORS, Way, Worker, World, busiest

SECOND = What.UNITS, 1


def world(limit: int, *workers: Worker, seed: int = 1, **more: object) -> World:
    rules = more.pop("rules", (Rule(What.UNITS, 1, limit),))
    return World(rules, workers, random.Random(seed), **more).run()  # type: ignore[arg-type]  # noqa: S311 - as given; a test


def of(lane: Lane, count: int, make: Callable[[], dict[str, object]] = dict) -> list[Worker]:
    return [Worker(lane, **make()) for _ in range(count)]  # type: ignore[arg-type]  # as given


def most(run: World, seconds: int = 1) -> int:
    return busiest([(at, units) for at, units, _ in run.arrivals], seconds)


# -- every window, as the dealer sees it -------------------------------------------------------------------------------

WORKERS = st.builds(
    Worker,
    lane=st.sampled_from(list(Lane)),
    wants=st.sampled_from([1, 7, 40, 1000]),
    pause=st.sampled_from([0.0, 0.005, 0.05, 0.5]),
    starts=st.floats(0, 3),
    stops=st.sampled_from([1e9, 2.5]),
    dies=st.sampled_from([1e9, 1e9, 1.0, 2.0]),
    hangs=st.sampled_from([1e9, 1e9, 1.5]),
    each=st.sampled_from([1, 1, 3]),
)
WAYS = st.builds(
    Way, there=st.floats(0, 0.3), back=st.floats(0, 0.3), jitter=st.sampled_from([0.0, 0.01, 0.1, 0.5, 2.0])
)


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(3, 60),
    workers=st.lists(WORKERS, min_size=1, max_size=6),
    way=WAYS,
    seed=st.integers(0, 10_000),
    ahead=st.sampled_from([0.0, 0.03, 0.1]),
    per_second=st.sampled_from([None, 2, 15]),
)
def test_no_window_ever_holds_more_than_the_limit(
    limit: int, workers: list[Worker], way: Way, seed: int, ahead: float, per_second: int | None
) -> None:
    """However calls last, whoever joins, dies in a call, or hangs with a grant in hand."""
    rules = [Rule(What.UNITS, 1, limit)]
    if per_second is not None:
        rules.append(Rule(What.REQUESTS, 1, per_second))
    run = world(limit, *workers, seed=seed, way=way, ahead=ahead, lasts=4.0, rules=tuple(rules))
    assert most(run) <= limit
    if per_second is not None:
        assert busiest([(at, requests) for at, _, requests in run.arrivals], 1.0) <= per_second


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2]))
def test_a_path_that_nobody_measured_yet_is_taken_for_the_worst(seed: int, jitter: float) -> None:
    way = Way(0.05, 0.05, jitter)
    run = world(40, *of(Lane.AUTH, 5, lambda: {"wants": 5}), seed=seed, way=way, base_known=False, lasts=3.0)
    assert most(run) <= 40


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_windows_of_a_minute_and_a_day_slide_as_well(seed: int) -> None:
    rules = (Rule(What.UNITS, 1, 50), Rule(What.UNITS, 60, 200), Rule(What.REQUESTS, 60, 30))
    workers = [*of(Lane.MASS, 2), *of(Lane.AUTH, 1, lambda: {"wants": 3, "pause": 1.0})]
    run = world(50, *workers, seed=seed, rules=rules, lasts=130.0)
    assert most(run, 60) <= 200
    assert busiest([(at, requests) for at, _, requests in run.arrivals], 60) <= 30


def test_a_day_is_any_twenty_four_hours() -> None:
    rules = (Rule(What.UNITS, 1, 1000), Rule(What.UNITS, 86_400, 5000))
    run = world(1000, Worker(Lane.MASS, pause=900.0), rules=rules, lasts=4 * 86_400.0, patience=86_400.0)
    assert most(run, 86_400) == 5000
    assert sum(units for _, units, _ in run.arrivals) >= 3.8 * 5000


# -- how much of it is used --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "lanes"),
    [
        pytest.param(1000, {Lane.MASS: 6}, id="mass-alone"),
        pytest.param(1000, {Lane.NORMAL: 3}, id="three"),
        pytest.param(1000, {Lane.MASS: 30}, id="thirty"),
        pytest.param(1000, {Lane.MASS: 6, Lane.NORMAL: 6}, id="two-lanes"),
        pytest.param(200, {Lane.MASS: 6}, id="200"),
        pytest.param(5000, {Lane.MASS: 6}, id="5000"),
        pytest.param(10, {Lane.MASS: 3}, id="10"),
    ],
)
def test_with_a_backlog_97_percent_are_used(limit: int, lanes: dict[Lane, int]) -> None:
    run = world(limit, *(worker for lane, count in lanes.items() for worker in of(lane, count)), lasts=62.0)
    assert run.rate(2.0, 61.0) >= 0.97 * limit
    assert most(run) <= limit


@pytest.mark.parametrize("back", [0.02, 0.2, 0.7])
def test_a_slow_dealer_costs_nothing_of_the_limit(back: float) -> None:
    """Only what is uncertain of a call is lost, not how long it takes."""
    run = world(1000, *of(Lane.MASS, 40), way=Way(0.02, back, 0.01), lasts=32.0)
    assert run.rate(2.0, 31.0) >= 970
    assert most(run) <= 1000


def test_a_death_costs_a_few_seconds_of_what_it_held_and_a_joiner_takes_its_place() -> None:
    run = world(1000, *of(Lane.MASS, 3), Worker(Lane.MASS, dies=10.0), Worker(Lane.MASS, starts=20.0), lasts=42.0)
    assert most(run) <= 1000
    assert run.rate(20.0, 41.0) >= 970


def test_questions_are_few_however_high_the_limit() -> None:
    few, many = (world(limit, *of(Lane.MASS, 3, lambda: {"wants": 5000}), lasts=32.0) for limit in (200, 20_000))
    assert many.asks <= 1.1 * few.asks
    assert many.asks / many.lasts < 40


# -- who waits for whom ------------------------------------------------------------------------------------------------


def test_a_code_hardly_waits_beside_a_campaign() -> None:
    code = Worker(Lane.AUTH, wants=1, pause=0.1)
    run = world(1000, *of(Lane.MASS, 6), *of(Lane.NORMAL, 3), code, lasts=62.0)
    assert max(run.waits[Lane.AUTH]) <= 0.2
    assert sum(run.waits[Lane.AUTH]) / len(run.waits[Lane.AUTH]) <= 0.1
    assert run.rate(2.0, 61.0) >= 970


@pytest.mark.parametrize("limit", [10, 1000])
def test_each_lane_that_waits_keeps_its_floor(limit: int) -> None:
    workers = [*of(Lane.MASS, 4), *of(Lane.NORMAL, 4), *of(Lane.AUTH, 6, lambda: {"wants": limit // 10})]
    run = world(limit, *workers, lasts=62.0)
    for lane, share in FLOORS.items():
        assert run.by_lane[lane] >= 0.9 * share * limit * 60
    assert most(run) <= limit
    assert run.by_lane[Lane.AUTH] > run.by_lane[Lane.NORMAL] >= run.by_lane[Lane.MASS]


def test_a_lane_without_a_floor_gets_what_is_left() -> None:
    run = world(100, *of(Lane.MASS, 2), *of(Lane.AUTH, 6, lambda: {"wants": 50}), floors={}, lasts=12.0)
    assert run.by_lane[Lane.MASS] < 200


def test_replicas_of_a_lane_are_served_in_turn() -> None:
    run = world(100, *(workers := of(Lane.MASS, 8)), lasts=60.0)
    assert most(run) <= 100
    assert max(run.waits[Lane.MASS]) <= 3 * len(workers) * 0.1


# -- one question ------------------------------------------------------------------------------------------------------


def book(*rules: Rule, log: Log | None = None) -> Book:
    return Book(log or Log(), rules or (Rule(What.UNITS, 1, 100),), FLOORS)


def ask(lane: Lane = Lane.MASS, wanted: int = 1000, waiter: int = 1, **more: object) -> Ask:
    return Ask(waiter, lane, wanted, **more)  # type: ignore[arg-type]  # as given


def test_lanes_that_can_wait_take_a_tenth_at_a_time_and_codes_all() -> None:
    assert admit([book()], ask(Lane.AUTH), 5.0) == Granted(100, 5.0)
    assert admit([book()], ask(Lane.NORMAL), 5.0) == Granted(10, 5.0)
    held = book()
    book_grant(held, ask(Lane.NORMAL), 10, 5.0, 1)
    assert admit([held], ask(Lane.MASS, ahead=1.0), 5.0) == Granted(10, 5.0 + 10 / (100 * PACE) - SLACK)


def test_while_codes_come_some_room_is_left_for_the_next() -> None:
    def left_by_mass(codes: int, limit: int = 1000, room: int = 60) -> int:
        held = book(Rule(What.UNITS, 1, limit))
        book_grant(held, ask(Lane.AUTH), codes, 4.5, 1)
        book_grant(held, ask(Lane.MASS), limit - codes - room, 4.5, 2)
        said = admit([held], ask(Lane.MASS), 6.0)
        return room - said.messages if isinstance(said, Granted) else room

    assert [left_by_mass(codes) for codes in (0, 1, 10, 600)] == [0, 1, 3, 10], "a hundredth of the limit at most"
    assert left_by_mass(1, limit=99, room=9) == 0, "a small limit has none to leave"


def test_what_is_booked_for_later_is_not_in_a_codes_way_before() -> None:
    """Its room is that of what ends first: both are in no window together."""
    held = book()
    held.log.past = [Past(RANK[Lane.MASS], 88, 1, 0.0, 5.5), Past(RANK[Lane.MASS], 10, 1, 0.0, 5.1)]
    book_grant(held, ask(), 10, 5.1, 1)
    assert admit([held], ask(Lane.AUTH, wanted=2), 5.0) == Granted(2, 5.0)
    book_grant(held, ask(Lane.AUTH), 2, 5.0, 2)
    assert isinstance(admit([held], ask(Lane.AUTH, wanted=1, ahead=0.2), 5.0), NotYet), "it would meet the booked ones"


def test_codes_that_come_together_wait_for_room_for_all_of_them() -> None:
    full = book()
    for n in range(2):
        full.log.past.append(Past(RANK[Lane.MASS], 50, 1, 0.0, 5.01 + n / 100))
    assert admit([full], ask(Lane.AUTH, wanted=3, ahead=1.0), 5.0) == Granted(3, 5.01)
    full.log.past[0] = Past(RANK[Lane.MASS], 1, 1, 0.0, 5.01)
    full.log.past.append(Past(RANK[Lane.MASS], 49, 1, 0.0, 5.5))
    assert admit([full], ask(Lane.AUTH, wanted=1, ahead=1.0), 5.0) == Granted(1, 5.01)
    assert admit([full], ask(Lane.AUTH, wanted=3, ahead=1.0), 5.0) == Granted(3, 5.02), "not one after the other"


def test_a_late_piece_is_caught_up_with_but_no_pieces_come_in_a_row() -> None:
    """One that waited for the slot of a late one would pass its delay on, round after round."""
    some, begun = book(), [0.0]
    for _ in range(5):
        said = admit([some], ask(Lane.MASS, ahead=1.0), begun[-1])
        assert isinstance(said, Granted)
        book_grant(some, ask(), said.messages, said.at, 1)
        begun.append(said.at)
    schedule = [0.0, 0.0, *(0.1 / PACE * n - SLACK for n in range(1, 5))]
    assert begun == pytest.approx(schedule)


def test_few_requests_carry_the_whole_limit() -> None:
    some = book(Rule(What.UNITS, 1, 1000), Rule(What.REQUESTS, 1, 2))
    assert admit([some], ask(), 0.0) == Granted(500, 0.0)
    assert admit([some], ask(one_by_one=True), 0.0) == Granted(1, 0.0)


def test_a_slot_is_booked_as_far_ahead_as_the_asker_needs() -> None:
    full = book()
    grant = book_grant(full, ask(Lane.AUTH), 100, 0.0, 1)
    hoped = 0.0 + WINDOW + MARGIN - BLIND
    assert admit([full], ask(ahead=1.0), 0.5) == NotYet(hoped), "nobody knows when the call comes back"
    assert admit([full], ask(ahead=1.0), 5.0) == NotYet(5.0 + 5.0 / 4 - BLIND), "ever longer, while it does not"
    full.log.settle(Ended(0, 100, 1, 0.0, 0.5, 0.5), grant, 0.5, full.rules)
    frees = 0.5 + WINDOW + MARGIN
    assert admit([full], ask(ahead=0.1), 0.6) == NotYet(frees - 0.1)
    assert admit([full], ask(ahead=0.1), frees - 0.05) == Granted(10, frees)


def test_what_someone_more_urgent_waits_for_is_left_to_it_down_to_a_floor() -> None:
    held = book()
    book_grant(held, ask(Lane.AUTH, waiter=9), 92, 0.0, 1)
    take_place([held], ask(Lane.AUTH, wanted=6, waiter=2), 0.1, 0.2)
    assert admit([held], ask(Lane.NORMAL, wanted=8), 0.1) == Granted(8, 0.1), "its own floor"
    unbound = Book(held.log, held.rules, {})
    assert admit([unbound], ask(Lane.NORMAL, wanted=8), 0.1) == Granted(2, 0.1)
    assert admit([unbound], ask(Lane.AUTH, wanted=6, waiter=2), 0.1) == Granted(6, 0.1)


def test_who_waits_first_is_served_first_and_loses_the_place_by_not_coming() -> None:
    held = book(Rule(What.UNITS, 1, 10))
    grant = book_grant(held, ask(Lane.AUTH, waiter=9), 10, 0.0, 1)
    held.log.settle(Ended(0, 10, 1, 0.0, 0.1, 0.1), grant, 0.1, held.rules)
    for waiter in (1, 2):
        asked = ask(wanted=1, waiter=waiter)
        said = admit([held], asked, 0.2)
        assert isinstance(said, NotYet)
        take_place([held], asked, 0.2, said.again)
    frees = 0.1 + WINDOW + MARGIN
    held.log.past.append(held.log.past.pop())
    held.log.past[0].units = 1
    held.log.out.append(held.log.out.pop()) if held.log.out else None
    book_grant(held, ask(Lane.AUTH, waiter=8), 9, 0.3, 1)
    assert isinstance(admit([held], ask(wanted=1, waiter=2), frees), NotYet)
    assert admit([held], ask(wanted=1, waiter=1), frees) == Granted(1, frees)
    held.log.forget(frees + GRACE + 0.01, held.rules)
    assert isinstance(admit([held], ask(wanted=1, waiter=2), frees + GRACE + 0.01), Granted)


def test_who_waits_for_its_profile_stands_in_nobodys_way() -> None:
    account, profile = book(), book(Rule(What.UNITS, 1, 5))
    book_grant(profile, ask(Lane.NORMAL), 5, 0.0, 1)
    said = admit([account, profile], ask(Lane.NORMAL), 0.1)
    assert isinstance(said, NotYet)
    take_place([account, profile], ask(Lane.NORMAL), 0.1, said.again)
    assert (len(account.log.waiting), len(profile.log.waiting)) == (0, 1)


# -- the log -----------------------------------------------------------------------------------------------------------


def test_what_a_hung_holder_has_counts_for_a_minute_and_a_dead_ones_until_seen() -> None:
    log, rules = Log(), (Rule(What.UNITS, 1, 10),)
    log.grant(4, 1, 0, 0.0, 77)
    log.grant(3, 1, 0, 0.0, 88)
    log.forget(LOST_AFTER - 1, rules)
    assert log.in_use(LOST_AFTER - 1) == 7
    assert {grant.session for grant in log.late(10.0)} == {77, 88}
    log.bury({88: -5.0}, 10.0, rules)
    assert log.in_use(10.0 + AFTERMATH + WINDOW) == 7
    log.forget(10.0 + AFTERMATH + WINDOW + 0.1, rules)
    assert log.in_use(10.0 + AFTERMATH + WINDOW + 0.1) == 3
    log.forget(LOST_AFTER + WINDOW + 0.1, rules)
    assert log.in_use(LOST_AFTER + WINDOW + 0.1) == 0


def test_who_was_not_looked_for_is_not_missed() -> None:
    """Or one call that takes long would make all others of that moment count for seconds."""
    log = Log()
    log.grant(4, 1, 0, 0.0, 77)
    fresh = log.grant(3, 1, 0, 9.9, 88)
    log.bury({}, 10.0, ())
    assert [grant.id for grant in log.out] == [fresh]


def test_a_session_that_began_after_the_grant_is_another() -> None:
    log = Log()
    log.grant(4, 1, 0, 5.0, 77)
    log.bury({77: 6.0}, 10.0, ())
    assert not log.out


def test_a_call_that_comes_back_after_it_was_given_up_counts_again() -> None:
    log, rules = Log(), (Rule(What.UNITS, 1, 10),)
    grant = log.grant(4, 1, 0, 0.0, 77)
    log.forget(70.0, rules)
    log.settle(Ended(0, 4, 1, 0.0, 70.0, None), grant, 70.0, rules)
    assert log.in_use(70.5) == 4


def test_what_was_not_sent_does_not_count() -> None:
    log, rules = Log(), (Rule(What.UNITS, 1, 10), Rule(What.UNITS, 60, 10))
    grant = log.grant(4, 1, 0, 0.0, 77)
    log.settle(Ended(0, 0, 0, 0.0, 0.0, None), grant, 1.0, rules)
    assert (log.out, log.past, log.long) == ([], [], {})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 9), st.sampled_from([0, 1, 2])), max_size=300))
@example([(n / 1000, 1, n % 3) for n in range(300)])
def test_a_log_stays_small_and_counts_no_less(grants: list[tuple[float, int, int]]) -> None:
    log, exact, rules = Log(), list[tuple[float, int]](), (Rule(What.UNITS, 1, 10),)
    for at, units, rank in sorted(grants):
        log.forget(at, rules)
        log.settle(Ended(rank, units, 1, at, at, None), log.grant(units, 1, rank, at, 1), at, rules)
        exact.append((at + WINDOW + MARGIN, units))
        assert log.in_use(at) >= sum(each for until, each in exact if until > at)
    log.forget(4.0, rules)
    assert len(log.past) <= 2 * KEPT


def test_the_least_duration_is_believed_after_some_calls_and_forgotten_after_some_time() -> None:
    path = Path()
    for _ in range(ENOUGH_CALLS - 1):
        path.learn(0.2, 1.0)
        assert path.base(1.0) == 0.0
    path.learn(0.2, 1.0)
    assert path.base(1.0) == 0.2
    path.learn(0.1, 2.0)
    assert path.base(2.0) == 0.1, "a path that became faster is believed at once"
    for now in (100.0, 200.0, 300.0):
        for _ in range(ENOUGH_CALLS):
            path.learn(0.3, now)
    assert path.base(300.0) == 0.3, "one that became slower, a generation later"
    assert path.base(300.0 + STALE + 1) == 0.0


def test_ranks_are_in_the_order_of_lanes() -> None:
    assert sorted(RANK, key=RANK.__getitem__) == list(Lane)
