"""When a stop opens, what it holds, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Profile
from shared.contracts.states import Channel
from shared.dealers.codes import REASONS
from shared.ledger.book import GiveUp, Hold, Message, MoveTo
from shared.sending.stops import (
    FEW,
    FEW_CALLS,
    Evidence,
    Gate,
    Scope,
    Seen,
    SeenIn,
    Stop,
    StopKey,
    Verdicts,
    after,
    key_for,
    keys_of,
    other_dealer,
    probe_after,
)

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
DEALER = StopKey(Scope.DEALER, "solapi")
ALONE = Profile.model_validate({"name": "봉수상점", "routes": [{"dealer": "solapi", "sender_key": "K"}]})
TWO_WAYS = Profile.model_validate(
    {"name": "봉수상점", "routes": [{"dealer": "solapi", "sender_key": "K"}, {"dealer": "nhn", "sender_key": "N"}]}
)
Make = Callable[..., Message]


def an_open(key: StopKey = DEALER, reason: str = "no_balance", seen_in: SeenIn = SeenIn.ANSWER) -> Stop:
    return Stop(key, reason, seen_in, FEW, NOON, NOON + timedelta(seconds=30))


def follow(*batches: Seen, key: StopKey = DEALER, seen_in: SeenIn = SeenIn.ANSWER) -> Stop | None:
    stop: Stop | None = None
    for seen in batches:
        stop = after(stop, key, seen, seen_in, now=NOON)
    return stop


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_only_everybodys_trouble_stops_anything(reason: str) -> None:
    """One person's block, number or text must never hold the next person's message."""
    own = {"not_kakao_user", "blocked_channel", "invalid_phone", "variable_too_long", "content_too_long", "opted_out"}
    for channel in Channel:
        key = key_for(reason, channel=channel, dealer="solapi", profile="shop", template="PAID")
        assert key is None or reason not in own


def test_the_first_few_open_it_and_one_success_between_them_does_not() -> None:
    few, success = [Seen(1, "no_balance")] * FEW, Seen(succeeded=True)
    stop = follow(*few)
    assert stop is not None
    assert stop.is_open
    assert stop.probe_at is not None
    between = follow(*few[:-1], success, *few[:-1])
    assert between is not None
    assert not between.is_open
    assert follow(*few, success) is None


def test_a_dealer_is_away_after_so_many_calls_however_large() -> None:
    assert not (follow(*[Seen(1, "dealer_unavailable")] * (FEW_CALLS - 1)) or an_open()).is_open
    assert (follow(*[Seen(1, "dealer_unavailable")] * FEW_CALLS) or Stop(DEALER, "", SeenIn.ANSWER, 0)).is_open


def test_what_showed_in_receipts_ends_by_a_receipt() -> None:
    key = StopKey(Scope.TEMPLATE, "solapi", "PAID")
    stop = an_open(key, "template_mismatch", SeenIn.RECEIPT)
    assert after(stop, key, Seen(succeeded=True), SeenIn.ANSWER, now=NOON) == stop
    assert after(stop, key, Seen(succeeded=True), SeenIn.RECEIPT, now=NOON) is None


def test_another_failure_does_not_change_what_a_stop_is_for() -> None:
    stop = an_open()
    assert after(stop, DEALER, Seen(9, "dealer_unavailable"), SeenIn.ANSWER, now=NOON) == stop


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_a_stop_is_open_only_after_enough_failures_in_a_row(batches: list[tuple[int, bool]]) -> None:
    stop, row = None, 0
    for failures, succeeded in batches:
        was_open = stop is not None and stop.is_open
        stop = after(stop, DEALER, Seen(failures, "no_balance", succeeded), SeenIn.ANSWER, now=NOON)
        row = 0 if succeeded else row + failures
        assert (stop is not None and stop.is_open) == ((row >= FEW or was_open) and not succeeded)


def test_probes_become_rarer_up_to_a_ceiling() -> None:
    waits = [probe_after("no_balance", n) for n in range(20)]
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(minutes=30)
    assert probe_after("dealer_unavailable", 0) < probe_after("no_balance", 0)


def test_one_call_counts_once_for_a_dealer_that_is_away(make_message: Make) -> None:
    evidence = Evidence({})
    for _ in range(500):
        evidence.failure(make_message(), Channel.ALIMTALK, "solapi", "dealer_unavailable")
    assert evidence.seen == {DEALER: Seen(1, "dealer_unavailable")}


def test_a_stop_lets_one_message_through_for_each_probe(make_message: Make) -> None:
    gate = Gate({DEALER: an_open()}, {DEALER})
    assert gate.bars(make_message()) is None
    assert gate.bars(make_message()) == an_open()


def test_a_probe_is_not_spent_on_a_message_that_something_else_holds(make_message: Make) -> None:
    message = make_message()
    template = keys_of(message)[2]
    gate = Gate({DEALER: an_open(), template: an_open(template, "template_not_approved")}, {DEALER})
    assert gate.bars(message) == an_open(template, "template_not_approved")
    assert gate.probes == {DEALER}


def test_a_text_does_not_wait_for_a_template(make_message: Make) -> None:
    message = make_message(channel=Channel.SMS)
    template = StopKey(Scope.TEMPLATE, "solapi", message.template)
    assert Gate({template: an_open(template)}).bars(message) is None


def test_a_campaign_fails_a_few_times_and_the_rest_is_held(make_message: Make) -> None:
    """That it does not turn into thousands of paid texts."""
    verdicts = Verdicts({}, {DEALER: an_open()})
    messages = [make_message() for _ in range(100)]
    outcomes = [verdicts.on(m, "solapi", Channel.ALIMTALK, "no_balance", ALONE, {"solapi"}) for m in messages]
    assert outcomes[:FEW] == [GiveUp()] * FEW
    assert outcomes[FEW:] == [Hold("dealer/solapi", m.deadline) for m in messages[FEW:]]


def test_a_failed_probe_is_held_again(make_message: Make) -> None:
    verdicts, message = Verdicts({DEALER: an_open()}, {DEALER: an_open()}), make_message()
    outcome = verdicts.on(message, "solapi", Channel.ALIMTALK, "no_balance", ALONE, {"solapi"})
    assert outcome == Hold("dealer/solapi", message.deadline)


def test_with_another_way_nobody_waits(make_message: Make) -> None:
    message = make_message()
    assert other_dealer(message, TWO_WAYS, {DEALER: an_open()}, {"solapi"}) == "nhn"
    verdicts = Verdicts({}, {DEALER: an_open()})
    assert verdicts.on(message, "solapi", Channel.ALIMTALK, "no_balance", TWO_WAYS, {"solapi"}) == MoveTo("nhn")


def test_a_message_is_not_sent_to_and_fro(make_message: Make) -> None:
    assert other_dealer(make_message(), TWO_WAYS, {}, {"solapi", "nhn"}) is None
