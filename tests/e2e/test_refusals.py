"""Promise P11: any bad input gets a problem with a stable type, the field, and what to do; never a 500, never half.

Against ``python -m services.ingest``, as a process of its own over a real Postgres.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.db.engine import engine_for
from shared.http.auth import ensure_key
from shared.http.problems import TYPES
from tests.integration.ingest.parts import make_data, make_event
from tests.integration.ingest.process import KEY, STRUCTURED, Service, prepared_database, running

LIMIT = 1024 * 1024
NOBODY = "019ab0f1-2a7c-7d21-9b44-0a1b2c3d4e5f"


@pytest.fixture(scope="module")
def service(postgres_url: str) -> Iterator[Service]:
    """One service for all refusals of this file: none of them leaves anything behind."""
    with (
        prepared_database(postgres_url) as url,
        tempfile.TemporaryDirectory(prefix="bongsu-refusals-") as directory,
        running(url, Path(directory)) as service,
    ):
        yield service


def shop(**changed: object) -> bytes:
    """An event of the shop, with an id of its own."""
    return make_event(str(uuid4()), **{"profile": "shop", **changed})


def recipient(**changed: object) -> dict[str, object]:
    """Data whose recipient differs."""
    return {**make_data(), "recipient": {"phone": "010-1234-5678", "name": "김봉수", **changed}}


def order(**changed: object) -> dict[str, object]:
    """Data whose order differs."""
    return {**make_data(), "order": {"id": "A-1", "product": "봉수 머그컵", "total_krw": 15000, **changed}}


def without(name: str) -> bytes:
    """An event without an attribute."""
    return json.dumps({k: v for k, v in json.loads(shop()).items() if k != name}).encode()


SECRET = "010-7777-6666"
LONG = "가" * 1000

REFUSALS = [
    # body, status, kind, pointer
    pytest.param(b"", 400, "broken-json", None, id="empty-body"),
    pytest.param(b'{"specversion": "1.0",', 400, "broken-json", None, id="cut-off"),
    pytest.param(b"\xff\xfe{}", 400, "broken-json", None, id="not-utf-8"),
    pytest.param(b'{"a": "\xff"}', 400, "broken-json", None, id="not-utf-8-within"),
    pytest.param(b"\xef\xbb\xbf" + shop(), 400, "broken-json", None, id="byte-order-mark"),
    pytest.param(b'{"a": NaN}', 400, "broken-json", None, id="nan"),
    pytest.param(b'{"a": "\\ud800"}', 400, "broken-json", None, id="half-a-character"),
    pytest.param(b'{"a": 1e999}', 400, "broken-json", None, id="number-out-of-range"),
    pytest.param(b'{"data":' * 50_000, 400, "broken-json", None, id="nested-too-deeply"),
    pytest.param(b"[]", 422, "not-an-event", "", id="a-list"),
    pytest.param(b'"order.paid"', 422, "not-an-event", "", id="a-text"),
    pytest.param(b"null", 422, "not-an-event", "", id="null"),
    pytest.param(without("specversion"), 422, "not-an-event", "/specversion", id="no-specversion"),
    pytest.param(shop(specversion="0.3"), 422, "not-an-event", "/specversion", id="another-version"),
    pytest.param(shop(specversion=1.0), 422, "not-an-event", "/specversion", id="a-number-for-a-version"),
    pytest.param(without("id"), 422, "not-an-event", "/id", id="no-id"),
    pytest.param(shop(id=7), 422, "not-an-event", "/id", id="id-is-a-number"),
    pytest.param(shop(id=""), 422, "not-an-event", "/id", id="id-is-empty"),
    pytest.param(shop(id="a\0b"), 422, "not-an-event", "/id", id="id-holds-a-nul"),
    pytest.param(shop(id="x" * 257), 422, "not-an-event", "/id", id="id-is-too-long"),
    pytest.param(without("source"), 422, "not-an-event", "/source", id="no-source"),
    pytest.param(without("type"), 422, "not-an-event", "/type", id="no-type"),
    pytest.param(shop(type="order\npaid"), 422, "not-an-event", "/type", id="type-holds-a-line-break"),
    pytest.param(shop(time="yesterday"), 422, "not-an-event", "/time", id="time-is-none"),
    pytest.param(shop(time="2026-11-23T09:00:00"), 422, "not-an-event", "/time", id="time-without-offset"),
    pytest.param(without("data"), 422, "not-an-event", "/data", id="no-data"),
    pytest.param(shop(data=[1]), 422, "not-an-event", "/data", id="data-is-a-list"),
    pytest.param(shop(data_base64="AA=="), 422, "not-an-event", "/data_base64", id="binary-data"),
    pytest.param(shop(profile=1), 422, "not-an-event", "/profile", id="profile-is-a-number"),
    pytest.param(shop(profile="nobody"), 422, "unknown-profile", "/profile", id="unknown-profile"),
    pytest.param(shop(profile=None), 422, "unknown-profile", "/profile", id="nobody-says-who-sends"),
    pytest.param(
        shop(type="shop.opened", profile="nobody"), 422, "unknown-profile", "/profile", id="unknown-profile-no-rule"
    ),
    pytest.param(shop(data={"order": {}}), 422, "phone-missing", "/data/recipient", id="no-recipient"),
    pytest.param(shop(data={"recipient": "010"}), 422, "phone-missing", "/data/recipient", id="recipient-is-a-text"),
    pytest.param(shop(data={"recipient": {}}), 422, "phone-missing", "/data/recipient/phone", id="no-phone"),
    pytest.param(shop(data=recipient(phone=None)), 422, "phone-missing", "/data/recipient/phone", id="phone-null"),
    pytest.param(shop(data=recipient(phone=1012345678)), 422, "phone-missing", "/data/recipient/phone", id="number"),
    pytest.param(
        shop(data=recipient(phone="+1 650 253 0000")), 422, "phone-not-reachable", "/data/recipient/phone", id="foreign"
    ),
    pytest.param(
        shop(data=recipient(phone="02-312-3456")), 422, "phone-not-reachable", "/data/recipient/phone", id="landline"
    ),
    pytest.param(
        shop(data=recipient(phone="0502-1234-5678")), 422, "phone-not-reachable", "/data/recipient/phone", id="safe"
    ),
    pytest.param(
        shop(data=recipient(phone="전화번호")), 422, "phone-not-reachable", "/data/recipient/phone", id="no-number"
    ),
    pytest.param(shop(data={"recipient": {"phone": SECRET}}), 422, "variable-missing", "/data/order/id", id="no-order"),
    pytest.param(shop(data=order(product=None)), 422, "variable-missing", "/data/order/product", id="variable-null"),
    pytest.param(shop(data=order(product=" ")), 422, "variable-missing", "/data/order/product", id="variable-blank"),
    pytest.param(shop(data=order(total_krw="x")), 422, "variable-missing", "/data/order/total_krw", id="no-number-in"),
    pytest.param(shop(data=order(product=["a"])), 422, "variable-invalid", "/data/order/product", id="variable-list"),
    pytest.param(shop(data=order(product=True)), 422, "variable-invalid", "/data/order/product", id="variable-true"),
    pytest.param(shop(data=order(product="a\0")), 422, "variable-invalid", "/data/order/product", id="variable-nul"),
    pytest.param(shop(data=order(product="#{x}")), 422, "variable-invalid", "/data/order/product", id="variable-in-it"),
    pytest.param(shop(data=order(id="A 1")), 422, "variable-invalid", "/data/order/id", id="space-in-a-link"),
    pytest.param(
        shop(data=order(product=LONG)), 422, "text-too-long", "/data/order/product", id="over-1000-characters"
    ),
]


@pytest.mark.parametrize(("body", "status", "kind", "pointer"), REFUSALS)
async def test_a_bad_event_is_refused(
    service: Service, body: bytes, status: int, kind: str, pointer: str | None
) -> None:
    before = await service.counts()
    answer = await service.post(body, Idempotency_Key=str(uuid4()))
    assert (answer.status, answer.body["type"]) == (status, TYPES + kind)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert answer.body.get("pointer") == pointer
    assert re.search(r"(Send|Set|Use) ", answer.body["detail"]), "says what to do"
    assert SECRET not in str(answer.body)
    assert await service.counts() == before, "leaves nothing behind"


async def test_the_fixed_part_and_short_values_may_be_1000_characters_and_no_more(service: Service) -> None:
    lengths = {}
    for size in range(700, 1000):
        answer = await service.post(shop(data=order(product="가" * size)))
        lengths[size] = answer.status
        if answer.status != 202:
            assert "1,001 characters" in answer.body["detail"]
            break
    assert lengths[max(lengths)] == 422


async def test_a_body_over_a_megabyte_is_refused_by_its_declared_length(service: Service) -> None:
    answer = await service.post(shop(data=order(product="x" * LIMIT)))
    assert (answer.status, answer.body["type"]) == (413, TYPES + "body-too-large")


async def test_a_body_over_a_megabyte_is_refused_while_it_streams(service: Service) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    answer = await service.post(endless())
    assert (answer.status, answer.body["type"]) == (413, TYPES + "body-too-large")


async def test_a_body_of_a_megabyte_is_read(service: Service) -> None:
    answer = await service.post(b" " * (LIMIT - 10))
    assert (answer.status, answer.body["type"]) == (400, TYPES + "broken-json")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", None, "application/json; charset=euc-kr", "application/x-www-form-urlencoded"],
)
async def test_another_content_type_is_refused(service: Service, content_type: str | None) -> None:
    answer = await service.post(shop(), Content_Type=content_type)
    assert (answer.status, answer.body["type"]) == (415, TYPES + "unsupported-media-type")
    assert STRUCTURED in answer.body["detail"]


@pytest.mark.parametrize("content_type", [STRUCTURED, "application/json", "application/json; charset=UTF-8"])
async def test_both_content_types_are_taken(service: Service, content_type: str) -> None:
    assert (await service.post(shop(), Content_Type=content_type)).status == 202


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, "Bearer 열쇠"]
)
async def test_no_key_or_a_wrong_one_is_refused(service: Service, authorization: str | None) -> None:
    before = await service.counts()
    for method, path in (
        ("POST", "/v1/events"),
        ("GET", "/v1/messages"),
        ("GET", f"/v1/messages/{uuid4()}"),
        ("POST", f"/v1/messages/{uuid4()}/cancel"),
    ):
        answer = await service.call(method, path, shop() if path == "/v1/events" else None, Authorization=authorization)
        assert (answer.status, answer.body["type"]) == (401, TYPES + "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await service.counts() == before


async def test_a_revoked_key_is_refused(service: Service) -> None:
    engine = engine_for(service.database_url, pool_size=1)
    async with engine.begin() as connection:
        await ensure_key(connection, "gone", "bk_gone", now=datetime.now(UTC))
        await connection.execute(text("UPDATE api_keys SET revoked_at = now() WHERE name = 'gone'"))
    await engine.dispose()
    assert (await service.post(shop(), Authorization="Bearer bk_gone")).status == 401


@pytest.mark.parametrize("key", ["", "x" * 256, "한글", "tab\there"])
async def test_a_key_that_is_none_is_refused(service: Service, key: str) -> None:
    answer = await service.post(shop(), Idempotency_Key=key)
    assert (answer.status, answer.body["type"]) == (400, TYPES + "idempotency-key-invalid")


async def test_a_key_used_for_another_body_is_refused(service: Service) -> None:
    key, body = str(uuid4()), shop()
    first = await service.post(body, Idempotency_Key=key)
    before = await service.counts()
    other = await service.post(shop(), Idempotency_Key=key)
    assert (other.status, other.body["type"]) == (422, TYPES + "idempotency-key-reused")
    again = await service.post(body, Idempotency_Key=key)
    assert (again.status, again.body) == (202, first.body)
    assert await service.counts() == before


async def test_a_key_in_flight_is_refused_and_the_first_request_succeeds(service: Service) -> None:
    key, body = str(uuid4()), shop()
    engine = engine_for(service.database_url, pool_size=2)
    async with engine.connect() as holder, engine.connect() as watcher:
        await holder.execute(text("LOCK TABLE event_keys IN EXCLUSIVE MODE"))  # the first cannot be written yet
        first = asyncio.create_task(service.post(body, Idempotency_Key=key))
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database "
                       "WHERE datname = current_database())")  # fmt: skip
        while not await watcher.scalar(waiting):  # noqa: ASYNC110 - Postgres tells nobody that a lock is waited for
            await asyncio.sleep(0.01)
        second = await service.post(body, Idempotency_Key=key)
        assert (second.status, second.body["type"]) == (409, TYPES + "idempotency-key-in-flight")
        assert second.headers["Retry-After"]
        await holder.rollback()
        answer = await first
    await engine.dispose()
    assert answer.status == 202
    assert (await service.post(body, Idempotency_Key=key)).body == answer.body


async def test_an_event_that_no_rule_wants_is_accepted_and_counted(service: Service) -> None:
    name = "bongsu_ingest_events_without_rule_total"
    before = await service.metric(name)
    answer = await service.post(shop(type="shop.opened", data={}))
    assert (answer.status, answer.body["messages"], answer.body["duplicate"]) == (202, [], False)
    assert await service.metric(name) == before + 1


async def test_refusals_are_counted_by_type(service: Service) -> None:
    name = 'bongsu_ingest_refusals_total{type="broken-json"}'
    before = await service.metric(name)
    await service.post(b"{")
    assert await service.metric(name) == before + 1


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", f"/v1/messages/{NOBODY}", 404, "message-not-found"),
        ("POST", f"/v1/messages/{NOBODY}/cancel", 404, "message-not-found"),
        ("GET", "/v1/messages/not-an-id", 400, "invalid-parameter"),
        ("GET", "/v1/messages?state=lost", 400, "invalid-parameter"),
        ("GET", "/v1/messages?limit=0", 400, "invalid-parameter"),
        ("GET", "/v1/messages?cursor=nonsense", 400, "invalid-cursor"),
        ("GET", "/v1/messages?phone=02-312-3456", 422, "phone-not-reachable"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/events", 405, "method-not-allowed"),
    ],
)
async def test_other_calls_are_refused_alike(service: Service, method: str, path: str, status: int, kind: str) -> None:
    answer = await service.call(method, path)
    assert (answer.status, answer.body["type"]) == (status, TYPES + kind)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_message_can_be_read_listed_and_cancelled_until_it_leaves(service: Service) -> None:
    accepted = (await service.post(shop(data=recipient(phone="010-2222-3333")))).body
    (made,) = accepted["messages"]
    told = (await service.call("GET", f"/v1/messages/{made['id']}")).body
    assert {"state", "reason", "channel", "rule", "template", "profile", "lane", "category", "variant"} <= told.keys()
    assert [step["state"] for step in told["timeline"]] == ["accepted", "queued"]
    assert "the rule order-paid (revision 1)" in told["explanation"]
    assert "김봉수" not in str(told)

    page = (await service.call("GET", "/v1/messages?phone=01022223333")).body
    assert [message["id"] for message in page["messages"]] == [made["id"]]

    for _ in range(2):
        answer = await service.call("POST", f"/v1/messages/{made['id']}/cancel")
        assert (answer.status, answer.body["state"]) == (200, "cancelled")
    told = (await service.call("GET", f"/v1/messages/{made['id']}")).body
    assert [step["state"] for step in told["timeline"]] == ["accepted", "queued", "cancelled"]


async def test_a_message_that_left_cannot_be_cancelled(service: Service) -> None:
    (made,) = (await service.post(shop())).body["messages"]
    engine = engine_for(service.database_url, pool_size=1)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE messages SET state = 'sent' WHERE id = :id"), {"id": made["id"]})
    await engine.dispose()
    answer = await service.call("POST", f"/v1/messages/{made['id']}/cancel")
    assert (answer.status, answer.body["type"]) == (409, TYPES + "message-not-cancellable")
    assert "the dealer has it already" in answer.body["detail"]


async def test_pages_follow_one_another(service: Service) -> None:
    for _ in range(5):
        await service.post(shop(profile="branch"))
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await service.call("GET", f"/v1/messages?profile=branch&limit=2{cursor}")).body
        seen += [message["id"] for message in page["messages"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)


async def test_the_page_of_the_api_names_every_problem(service: Service) -> None:
    page = (await service.call("GET", "/openapi.json")).body
    answers = str(page["paths"]["/v1/events"]["post"]["responses"])
    documented = (Path(__file__).parents[2] / "docs" / "problems.md").read_text(encoding="utf-8")
    for kind in {parameters.values[2] for parameters in REFUSALS}:
        assert TYPES + str(kind) in answers
        assert f"`{kind}`" in documented


def test_nothing_went_wrong_and_nothing_personal_was_logged(service: Service) -> None:
    log = service.log.read_text()
    assert "http.unforeseen" not in log
    assert "김봉수" not in log
    assert "1234-5678" not in log
    assert SECRET not in log
