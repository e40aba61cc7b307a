"""The planner: event, rules and time in; messages, or one refusal with its place, out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bongsu.apply import SHOP, read_directory
from services.ingest.domain import Planned, Planner
from services.ingest.events import Event, read_event
from services.ingest.refusals import Kind, Refusal
from shared.catalog.check import disagreements
from shared.catalog.rule import FARTHEST, Rule
from shared.catalog.template import Template
from shared.config import Profile
from shared.contracts.states import Lane

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)  # 12:00 in Seoul
NIGHT = datetime(2026, 11, 23, 13, tzinfo=UTC)  # 22:00 in Seoul
MORNING = datetime(2026, 11, 23, 23, tzinfo=UTC)  # 08:00 in Seoul, the next day

FILES = read_directory(SHOP)
PROFILE = Profile.model_validate(
    {
        "name": "봉수상점",
        "routes": [{"dealer": "solapi", "sender_key": "K"}],
        "text": {"dealer": "solapi", "from": "0212345678"},
        "quiet_hours": {"informational": "21:00-08:00"},
    }
)
PLANNER = Planner.of(FILES.rules.values(), FILES.templates, {"shop": PROFILE})
ORDER = {"id": "A-1", "product": "머그", "total_krw": 42000, "url": "https://shop.example/o/1"}
SHORT = {"id": "A-1", "product": "머그"}
DELIVERY = {"carrier": "우체국택배", "tracking_number": "123456789012", "url": "https://shop.example/t/1"}
DATA: dict[str, dict[str, Any]] = {
    "lead.created": {"lead": {"id": "L1", "product": "상담", "form": "홈페이지"}},
    "order.paid": {"order": ORDER},
    "order.cancelled": {"order": ORDER},
    "delivery.started": {"order": SHORT, "delivery": DELIVERY},
    "delivery.completed": {"order": SHORT, "delivery": DELIVERY},
    "member.joined": {"member": {"id": "M1"}},
}


def event(type_: str = "order.paid", **changes: Any) -> Event:  # noqa: ANN401 - JSON
    data = {"recipient": {"phone": "010-1234-5678", "name": "김봉수"}, **DATA.get(type_, {})}
    document = {"specversion": "1.0", "id": "1", "source": "/shop", "type": type_, "data": data, **changes}
    read = read_event(msgspec.json.encode(document))
    assert isinstance(read, Event)
    return read


def order_to(phone: str = "010-1234-5678", **changes: object) -> dict[str, Any]:
    return {"recipient": {"phone": phone, "name": "김봉수"}, "order": {**ORDER, **changes}}


def plan(given: Event, now: datetime = NOON) -> Planned:
    planned = PLANNER.plan(given, now)
    assert isinstance(planned, list), planned
    [message] = planned
    return message


def refused(given: Event) -> Refusal:
    refusal = PLANNER.plan(given, NOON)
    assert isinstance(refusal, Refusal)
    return refusal


@pytest.mark.parametrize("type_", sorted(DATA))
def test_every_shipped_event_makes_one_message(type_: str) -> None:
    message = plan(event(type_))
    assert message.phone == "+821012345678"
    assert message.fallback == "text"
    assert message.due_at in {None, NOON + timedelta(minutes=10)}
    assert message.deadline > NOON


def test_the_shipped_rules_and_templates_agree() -> None:
    assert [each for rule in FILES.rules.values() for each in disagreements(rule, FILES.templates)] == []
    for template in FILES.templates.values():
        assert template.buttons, template.code
        assert template.text_message, template.code


def test_an_event_that_no_rule_wants_makes_nothing() -> None:
    assert PLANNER.plan(event("points.expiring"), NOON) == []


def test_a_message_in_hours_of_rest_waits_for_their_end() -> None:
    message = plan(event(), NIGHT)
    assert message.due_at == MORNING
    assert [each.why for each in message.postponed] == ["quiet_hours"]
    assert message.deadline == MORNING + timedelta(hours=24), "its life begins when it may go"


@pytest.mark.parametrize(
    ("changes", "kind", "pointer"),
    [
        ({"profile": "nobody"}, Kind.UNKNOWN_PROFILE, "/profile"),
        ({"data": {}}, None, "/data/recipient"),
        ({"data": {"recipient": {"name": "김"}, "order": ORDER}}, None, "/data/recipient/phone"),
        (
            {"data": {"recipient": {"phone": "+1 650 253 0000", "name": "김"}, "order": ORDER}},
            None,
            "/data/recipient/phone",
        ),
        ({"data": order_to(product=None)}, None, "/data/order/product"),
        (
            {
                "data": {
                    "recipient": {"phone": "010-1234-5678", "name": "김"},
                    "order": {**ORDER, "product": "가" * 1100},
                }
            },
            None,
            "/data/order/product",
        ),
    ],
)
def test_a_refusal_names_the_place(changes: dict[str, Any], kind: Kind | None, pointer: str) -> None:
    refusal = refused(event(**changes))
    assert kind is None or refusal.kind is kind
    assert refusal.pointer == pointer
    assert "650" not in refusal.detail
    assert "가가" not in refusal.detail


def test_the_deadline_of_a_code_does_not_wait() -> None:
    [rule] = [r for r in FILES.rules.values() if r.on == "member.joined"]
    send = rule.send.model_copy(update={"lane": Lane.AUTH})
    auth = rule.model_copy(update={"send": send, "deadline": None, "at": "now"})
    planner = Planner.of([auth], FILES.templates, {"shop": PROFILE})
    planned = planner.plan(event("member.joined"), NIGHT)
    assert isinstance(planned, list)
    assert (planned[0].due_at, planned[0].deadline) == (None, NIGHT + timedelta(minutes=3))


# -- a moment that the event names -------------------------------------------------------------------------------------


def at_moment(named: object, now: datetime = NOON, *, deadline: str = "24h", **at: str) -> Planned | Refusal:
    """Plan a message whose rule goes by ``data.points.expire_at``."""
    body = {"name": "points", "on": "points.expiring", "deadline": deadline, "send": {"template": "T"}}
    rule = Rule.model_validate({**body, "at": {"send_at": "data.points.expire_at", **at}})
    planner = Planner.of([rule], {"T": Template.model_validate({"code": "T", "text": "포인트"})}, {"shop": PROFILE})
    data = {"recipient": {"phone": "010-1234-5678"}, "points": {"expire_at": named}}
    planned = planner.plan(event("points.expiring", data=data), now)
    return planned if isinstance(planned, Refusal) else planned[0]


EXPIRE = "2026-12-01T00:00:00+09:00"
TEN = datetime(2026, 11, 28, 1, tzinfo=UTC)  # 10:00 in Seoul


def test_points_are_told_of_three_days_before_they_expire_at_ten() -> None:
    planned = at_moment(EXPIRE, before="3d", time="10:00")
    assert isinstance(planned, Planned), planned
    assert (planned.due_at, planned.deadline) == (TEN, TEN + timedelta(hours=24))
    assert [(each.why, each.until) for each in planned.postponed] == [("send_at", TEN)]


def test_a_moment_in_quiet_hours_waits_for_their_end() -> None:
    planned = at_moment(EXPIRE, before="3d", time="06:00")
    assert isinstance(planned, Planned), planned
    morning = TEN - timedelta(hours=2)
    assert (planned.due_at, planned.deadline) == (morning, morning + timedelta(hours=24))
    assert [each.why for each in planned.postponed] == ["send_at", "quiet_hours"]


def test_a_moment_a_while_ago_goes_at_once_and_has_so_much_less_time() -> None:
    planned = at_moment(EXPIRE, TEN + timedelta(hours=2), before="3d", time="10:00")
    assert isinstance(planned, Planned), planned
    assert (planned.due_at, planned.deadline) == (None, TEN + timedelta(hours=24))


@pytest.mark.parametrize(
    ("named", "now", "kind", "said"),
    [
        pytest.param(None, NOON, Kind.SEND_AT_INVALID, "is no time", id="null"),
        pytest.param(1764550800, NOON, Kind.SEND_AT_INVALID, "is no time", id="a-number"),
        pytest.param("soon", NOON, Kind.SEND_AT_INVALID, "is no time", id="malformed"),
        pytest.param("2026-12-01T00:00:00", NOON, Kind.SEND_AT_INVALID, "no offset", id="no-offset"),
        pytest.param("2026-02-30T00:00:00Z", NOON, Kind.SEND_AT_INVALID, "no day", id="no-day"),
        pytest.param(EXPIRE, TEN + timedelta(hours=24), Kind.SEND_AT_PASSED, "24h|1d", id="past-its-deadline"),
        pytest.param("2027-02-01T00:00:00Z", NOON, Kind.SEND_AT_TOO_FAR, "30 days ahead", id="too-far"),
        pytest.param("2999-12-31T23:59:59-12:00", NOON, Kind.SEND_AT_TOO_FAR, "30 days", id="for-ever"),
    ],
)
def test_a_moment_that_cannot_be_kept_is_refused_by_its_place(
    named: object, now: datetime, kind: Kind, said: str
) -> None:
    refusal = at_moment(named, now, before="3d", time="10:00")
    assert isinstance(refusal, Refusal), refusal
    assert (refusal.kind, refusal.pointer) == (kind, "/data/points/expire_at")
    assert re.search(said, refusal.detail)
    assert not isinstance(named, str) or named not in refusal.detail


def test_the_farthest_moment_is_planned() -> None:
    far = (NOON + FARTHEST).isoformat()
    planned = at_moment(far)
    assert isinstance(planned, Planned), planned
    assert planned.due_at == NOON + FARTHEST


LIST = {
    "code": "T",
    "text": "예약이 확정되었습니다.",
    "header": "#{이름}님",
    "items": [{"title": "예약일", "description": "#{날짜}"}, {"title": "장소", "description": "강남점"}],
    "summary": {"title": "합계", "description": "#{금액}"},
    "quick_replies": [{"kind": "WL", "name": "보기", "url_mobile": "https://shop.example/#{번호}"}],
}
VALUES = {"이름": "봉수", "날짜": "11월 23일", "금액": "15,000원", "번호": "7"}


@pytest.mark.parametrize(
    ("name", "value", "kind", "said"),
    [
        ("이름", "가" * 16, Kind.TEXT_TOO_LONG, "header of the template 'T' comes to 17 characters"),
        ("날짜", "가" * 24, Kind.TEXT_TOO_LONG, "items[0].description of the template 'T' comes to 24"),
        ("금액", "만 오천 원", Kind.VARIABLE_INVALID, "summary.description of the template 'T' holds more than digits"),
        ("번호", "7 8", Kind.VARIABLE_INVALID, "quick_replies[0] of the template 'T' holds a space in a link"),
    ],
)
def test_what_no_part_of_a_template_takes_is_refused_by_its_place(name: str, value: str, kind: Kind, said: str) -> None:
    rule = {"name": "r", "on": "order.paid", "send": {"template": "T", "variables": {n: f'data."{n}"' for n in VALUES}}}
    planner = Planner.of([Rule.model_validate(rule)], {"T": Template.model_validate(LIST)}, {"shop": PROFILE})
    data = {"recipient": {"phone": "010-1234-5678"}, **VALUES}
    planned = planner.plan(event(data=data), NOON)
    assert isinstance(planned, list), planned
    refusal = planner.plan(event(data={**data, name: value}), NOON)
    assert isinstance(refusal, Refusal)
    assert (refusal.kind, refusal.pointer) == (kind, f"/data/{name}")
    assert said in refusal.detail
    assert value not in refusal.detail


def test_a_brand_message_waits_for_the_morning_and_no_text_follows_it() -> None:
    template = Template.model_validate({"code": "SALE", "kind": "brand", "text": "세일 #{이름}"})
    send = {"template": "SALE", "variables": {"이름": "data.recipient.name"}}
    body = {"name": "r", "on": "order.paid", "category": "advertising", "fallback": "text", "send": send}
    planner = Planner.of([Rule.model_validate(body)], {"SALE": template}, {"shop": PROFILE})
    planned = planner.plan(event(), datetime(2026, 11, 23, 11, 30, tzinfo=UTC))  # half past eight in the evening
    assert isinstance(planned, list)
    assert (planned[0].due_at, planned[0].fallback) == (MORNING, "none")
    long = planner.plan(event(data={"recipient": {"phone": "010-1234-5678", "name": "가" * 1298}}), NOON)
    assert isinstance(long, Refusal)
    assert "over friendtalk, which brings 1,300" in long.detail
