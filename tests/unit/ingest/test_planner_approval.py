"""A message whose template no dealer of its profile has approved is refused by name, or waits, as its rule says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec
import pytest

from services.ingest.domain import Planned, Planner
from services.ingest.events import Event, read_event
from services.ingest.refusals import Kind, Refusal
from shared.catalog.rule import Rule
from shared.catalog.template import Template
from shared.config import Profile
from shared.copies.rules import Closed

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
SHOP = Profile.model_validate(
    {"name": "봉수상점", "routes": [{"dealer": "nhn", "sender_key": "N"}, {"dealer": "luna", "sender_key": "L"}]}
)
OPENED = Template.model_validate({"code": "OPENED", "text": "[봉수상점] 매장이 열렸습니다."})
NOWHERE: Closed = frozenset({("nhn", "N", "OPENED"), ("luna", "L", "OPENED")})


def plan(closed: Closed, unapproved: Literal["refuse", "hold"] | None = None) -> list[Planned] | Refusal:
    body = {"name": "opened", "on": "shop.opened", "send": {"template": "OPENED"}}
    rule = Rule.model_validate(body if unapproved is None else {**body, "unapproved": unapproved})
    document = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "shop.opened"}
    event = read_event(msgspec.json.encode({**document, "data": {"recipient": {"phone": "010-1234-5678"}}}))
    assert isinstance(event, Event)
    return Planner.of([rule], {"OPENED": OPENED}, {"shop": SHOP}, closed).plan(event, NOON)


def dealers(planned: list[Planned] | Refusal) -> list[str]:
    assert isinstance(planned, list)
    return [route.dealer for route in planned[0].routes]


@pytest.mark.parametrize("unapproved", [None, "refuse"])
def test_it_is_refused_by_name(unapproved: Literal["refuse"] | None) -> None:
    refusal = plan(NOWHERE, unapproved)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.TEMPLATE_NOT_APPROVED
    for name in ("OPENED", "opened", "shop", "nhn", "luna"):
        assert name in refusal.detail
    assert (refusal.as_problem().status, refusal.as_problem().kind) == (409, "template-not-approved")


def test_it_is_taken_where_the_rule_says_to_hold_it() -> None:
    assert dealers(plan(NOWHERE, "hold")) == ["nhn", "luna"], "whichever approves it first"


@pytest.mark.parametrize("unapproved", ["refuse", "hold"])
def test_one_dealer_that_has_approved_is_enough(unapproved: Literal["refuse", "hold"]) -> None:
    assert dealers(plan(NOWHERE - {("luna", "L", "OPENED")}, unapproved)) == ["luna"]
    assert dealers(plan(frozenset(), unapproved)) == ["nhn", "luna"]


def test_another_channels_template_of_the_same_name_is_another() -> None:
    assert dealers(plan(frozenset({("nhn", "OTHER", "OPENED"), ("luna", "L", "SHUT")}))) == ["nhn", "luna"]
