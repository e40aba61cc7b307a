"""What dealers tell of our templates, and which routes that closes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalog.template import Template
from shared.config import Config
from shared.contracts.states import Channel, MessageState
from shared.copies.rules import (
    Closed,
    Copy,
    CopyKey,
    approval_of,
    changes,
    compare,
    dormant_soon,
    granted,
    lists_due,
    open_routes,
    to_ask_alone,
    wanted_copies,
)
from shared.dealers.templates import TemplateCopy, TemplateStatus
from shared.ids import PersonId, new_id
from shared.ledger.book import Book, Hold, Message, MoveTo
from shared.routes import choose_route
from shared.sending.sender import Job, claim
from shared.sending.stops import FEW, Gate, Scope, SeenIn, Stop, StopKey, Verdicts, other_dealer

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)
CONFIG = Config.model_validate(
    {
        "dealers": {name: {"kind": name, "base_url": "http://127.0.0.1:9"} for name in ("nhn", "luna", "gabia")},
        "profiles": {
            "shop": {
                "name": "봉수상점",
                "routes": [
                    {"dealer": "nhn", "sender_key": "N", "share": 1},
                    {"dealer": "luna", "sender_key": "L", "share": 0},
                ],
            },
            "sister": {"name": "봉수자매", "routes": [{"dealer": "nhn", "sender_key": "N2"}]},
        },
    }
)
SHOP = CONFIG.profiles["shop"]
PAID = Template.model_validate({"code": "PAID", "text": "결제 완료", "codes": {"luna": "L-PAID"}})
AT_NHN, AT_LUNA = CopyKey("nhn", "N", "PAID"), CopyKey("luna", "L", "L-PAID")
BOTH = frozenset({("nhn", "N", "PAID"), ("luna", "L", "PAID")})
NHN_ALONE = frozenset({("luna", "L", "PAID")})
LUNA_ALONE = frozenset({("nhn", "N", "PAID")})
Make = Callable[..., Message]


def copy(key: CopyKey = AT_NHN, status: TemplateStatus = TemplateStatus.APPROVED, **changed: Any) -> Copy:  # noqa: ANN401 - any field
    fields = {"template": "PAID", "comments": (), "changed_at": None, "checked_at": NOON, **changed}
    return Copy(key=key, status=status, **fields)


def kept(*copies: Copy) -> dict[CopyKey, Copy]:
    return {each.key: each for each in copies}


# -- what is asked ---------------------------------------------------------------------------------------------------


def test_each_template_is_wanted_at_each_route_under_the_dealers_own_code() -> None:
    wanted = wanted_copies(CONFIG, [PAID], {"nhn", "luna"})
    assert wanted == {AT_NHN: "PAID", AT_LUNA: "PAID", CopyKey("nhn", "N2", "PAID"): "PAID"}


def test_a_brand_message_has_no_copies() -> None:
    brand = Template.model_validate({"code": "SALE", "kind": "brand", "text": "세일"})
    assert wanted_copies(CONFIG, [brand], {"nhn", "luna"}) == {}


def test_a_dealer_that_cannot_be_asked_is_not() -> None:
    assert wanted_copies(CONFIG, [PAID], {"luna"}) == {AT_LUNA: "PAID"}
    assert wanted_copies(CONFIG, [PAID], set()) == {}


@pytest.mark.parametrize(
    ("known", "due"),
    [
        pytest.param({}, True, id="never-asked"),
        pytest.param(kept(copy()), False, id="just-asked"),
        pytest.param(kept(copy(checked_at=NOON - TEN_MINUTES)), True, id="long-ago"),
        pytest.param(kept(copy(template="OLD")), True, id="under-another-name-of-ours"),
    ],
)
def test_a_list_is_asked_for_when_something_in_it_is_new_or_old(known: dict[CopyKey, Copy], *, due: bool) -> None:
    assert lists_due({AT_NHN: "PAID"}, known, now=NOON, every=TEN_MINUTES) == ([("nhn", "N")] if due else [])


def test_what_a_list_lacks_is_asked_for_by_itself_until_the_dealer_says_it_is_missing() -> None:
    told = {"PAID": TemplateCopy("PAID", TemplateStatus.APPROVED)}
    assert to_ask_alone([AT_NHN], {}, told) == []
    assert to_ask_alone([AT_NHN], {}, {}) == ["PAID"]
    assert to_ask_alone([AT_NHN], kept(copy()), {}) == ["PAID"]
    assert to_ask_alone([AT_NHN], kept(copy(status=TemplateStatus.MISSING)), {}) == []


def test_the_dealers_word_is_kept_with_the_inspectors() -> None:
    rejected = TemplateCopy("PAID", TemplateStatus.REJECTED, "…", ("변수가 너무 많습니다",), NOON)
    sent = copy(last_sent_at=NOON - TEN_MINUTES)
    [found] = compare({AT_NHN: "PAID"}, kept(sent), {"PAID": rejected}, now=NOON)
    assert (found.status, found.comments, found.changed_at) == (TemplateStatus.REJECTED, rejected.comments, NOON)
    assert found.last_sent_at == sent.last_sent_at, "what we know ourselves stays"
    [change] = changes([found], kept(sent))
    assert (change.was, change.copy) == (TemplateStatus.APPROVED, found)
    assert changes([found], kept(found)) == []


def test_what_the_dealer_does_not_know_is_missing() -> None:
    [found] = compare({AT_NHN: "PAID"}, {}, {}, now=NOON)
    assert found.status is TemplateStatus.MISSING
    assert [change.was for change in changes([found], {})] == [None]


@pytest.mark.parametrize(
    ("status", "sent", "changed", "soon"),
    [
        pytest.param("approved", 335, None, True, id="a-month-left"),
        pytest.param("approved", 334, None, False, id="more-than-a-month-left"),
        pytest.param("approved", None, 340, True, id="never-sent"),
        pytest.param("approved", 340, 10, False, id="released-lately"),
        pytest.param("approved", None, None, False, id="nothing-known"),
        pytest.param("dormant", 400, 400, False, id="too-late"),
    ],
)
def test_a_warning_comes_a_month_before_a_template_falls_dormant(
    status: str, sent: int | None, changed: int | None, *, soon: bool
) -> None:
    def ago(days: int | None) -> datetime | None:
        return None if days is None else NOON - timedelta(days=days)

    one = copy(status=TemplateStatus(status), last_sent_at=ago(sent), changed_at=ago(changed))
    assert dormant_soon([one], now=NOON) == ([one] if soon else [])


# -- which routes are open -------------------------------------------------------------------------------------------


def test_routes_are_open_where_nothing_else_is_known() -> None:
    assert open_routes(frozenset(), SHOP, "PAID") == SHOP.routes
    assert [route.dealer for route in open_routes(LUNA_ALONE, SHOP, "PAID")] == ["luna"]
    assert open_routes(BOTH, SHOP, "PAID") == ()
    assert open_routes(BOTH, SHOP, "SHIPPED") == SHOP.routes, "of another template nothing is said"
    assert open_routes(BOTH, CONFIG.profiles["sister"], "PAID"), "nor of another profile's channel"


def test_a_standby_that_is_left_alone_takes_all() -> None:
    left = open_routes(LUNA_ALONE, SHOP, "PAID")
    assert choose_route(left, PersonId(new_id(NOON))) == SHOP.routes[1]


@pytest.mark.parametrize("profile", ["shop", "a/b", "봉수 상점"])
def test_a_hold_ends_when_any_route_opens(profile: str) -> None:
    hold, profiles = approval_of(profile, "PAID"), {profile: SHOP}
    assert granted([hold], profiles, BOTH) == []
    assert granted([hold], profiles, NHN_ALONE) == [hold]
    assert granted([hold], profiles, LUNA_ALONE) == [hold]
    assert granted([hold], {}, BOTH) == [hold], "the profile is gone: what follows is said where it is sent"


# -- what the last check before a call does ----------------------------------------------------------------------------


def job_of(message: Message) -> Job:
    return Job(message.id, message.seq, message.dealer, message.channel, message.lane)


def claim_one(message: Message, gate: Gate) -> int:
    book = Book(NOON, {message.id: message})
    return len(claim(book, [job_of(message)], CONFIG, gate, handle=None, check_at=NOON))


def down(dealer: str) -> dict[StopKey, Stop]:
    key = StopKey(Scope.DEALER, dealer)
    return {key: Stop(key, "no_balance", SeenIn.ANSWER, FEW, NOON, NOON + TEN_MINUTES)}


def test_a_message_goes_round_a_closed_route(make_message: Make) -> None:
    message = make_message(dealer="nhn", template="PAID")
    assert claim_one(message, Gate({}, closed=LUNA_ALONE)) == 0
    assert (message.state, message.dealer) == (MessageState.QUEUED, "luna")
    assert claim_one(message, Gate({}, closed=LUNA_ALONE)) == 1


def test_a_message_waits_while_every_route_is_closed(make_message: Make) -> None:
    message = make_message(dealer="nhn", template="PAID")
    assert claim_one(message, Gate({}, closed=BOTH)) == 0
    assert (message.state, message.held_by) == (MessageState.SCHEDULED, "approval/shop/PAID")
    assert message.due_at == message.deadline, "and no longer than it is good for"


def test_where_the_open_route_is_stopped_the_message_waits_there(make_message: Make) -> None:
    message = make_message(dealer="nhn", template="PAID")
    gate = Gate(down("luna"), closed=LUNA_ALONE)
    assert claim_one(message, gate) == 0
    assert (message.state, message.dealer) == (MessageState.QUEUED, "luna")
    assert claim_one(message, gate) == 0
    assert (message.state, message.held_by) == (MessageState.SCHEDULED, "dealer/luna")


def test_a_text_does_not_mind_what_kakao_approved(make_message: Make) -> None:
    message = make_message(dealer="nhn", template="PAID", channel=Channel.SMS)
    assert claim_one(message, Gate({}, closed=BOTH)) == 1


def test_no_message_moves_to_a_dealer_that_has_not_approved(make_message: Make) -> None:
    message = make_message(dealer="nhn", template="PAID")
    assert other_dealer(message, SHOP, {}, {"nhn"}) == "luna"
    assert other_dealer(message, SHOP, {}, {"nhn"}, NHN_ALONE) is None
    verdicts = Verdicts({}, {}, NHN_ALONE)
    assert not isinstance(verdicts.on(message, "nhn", Channel.ALIMTALK, "no_balance", SHOP, {"nhn"}), MoveTo), (
        "it would be refused there"
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it only makes messages
@given(
    closed=st.frozensets(st.sampled_from(sorted(BOTH))),
    stopped=st.sets(st.sampled_from(["nhn", "luna"])),
    own=st.sampled_from(["nhn", "luna"]),
)
def test_a_detour_leads_to_an_open_route_or_nowhere(
    make_message: Make, closed: Closed, stopped: set[str], own: str
) -> None:
    """Whatever is closed or stopped: never from one closed route to another, never past one that is open."""
    message = make_message(dealer=own, template="PAID")
    stops = {key: stop for dealer in stopped for key, stop in down(dealer).items()}
    detour = Gate(stops, closed=closed).detour(message, SHOP)
    ways = {route.dealer for route in open_routes(closed, SHOP, "PAID")}
    match detour:
        case None:
            assert own in ways
        case MoveTo(dealer):
            assert own not in ways
            assert dealer in ways
        case Hold(by):
            assert not ways
            assert granted([by], {"shop": SHOP}, closed) == []
