from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.dealers.base import BadReceipt, Report
from shared.dealers.codes import load_table
from shared.dealers.solapi.adapter import Solapi
from shared.dealers.solapi.gateway import Gateway
from shared.dealers.telemetry import UNMAPPED_CODES, UNREADABLE_RECEIPTS

SECRET = "봉수-secret"
GIVEN = {"x-solapi-secret": hashlib.sha1(SECRET.encode(), usedforsecurity=False).hexdigest()}


def dealer(secret: str | None = None) -> Solapi:
    gateway = Gateway(
        "https://api.solapi.com",
        api_key="K",
        api_secret="S",
        timeout_seconds=1,
        now=lambda: datetime.now(UTC),
        salt=lambda: "never used",
    )
    return Solapi("solapi", gateway, codes=load_table("shared.dealers.solapi"), batch=1000, webhook_secret=secret)


def item(code: str = "4000", **fields: object) -> dict[str, Any]:
    return {
        "messageId": "M4V1",
        "groupId": "G4V1",
        "type": "ATA",
        "to": "01012345678",
        "statusCode": code,
        "customFields": {"bongsu_key": "key-1"},
        "dateReceived": "2026-11-23T00:00:04.000Z",
        **fields,
    }


def read(*items: object) -> list[Report]:
    return dealer().read_receipts(msgspec.json.encode(items), {})


def test_bare_items_and_envelopes_may_mix() -> None:
    enveloped = {"eventDataId": "E1", "data": item(messageId="M4V2"), "retryCount": 0}
    bare, wrapped = read(item(), enveloped)
    assert bare == Report(
        request_key="key-1",
        dealer_message_id="M4V1",
        delivered=True,
        code="4000",
        detail="delivered",
        at=datetime(2026, 11, 23, 0, 0, 4, tzinfo=UTC),
        raw=msgspec.json.encode(item()),
    )
    assert (wrapped.event_id, wrapped.dealer_message_id) == ("E1", "M4V2")
    assert wrapped.raw == msgspec.json.encode(enveloped)


@pytest.mark.parametrize(
    ("code", "delivered", "reason"),
    [
        ("2000", None, None),
        ("3000", None, None),
        ("3104", False, "not_kakao_user"),
        ("3107", False, "inactive_kakao_user"),
        ("1999", False, "unknown"),
        ("3199", False, "unknown"),
        ("4001", None, None),
        ("TEST1000", None, None),
    ],
)
def test_what_a_code_says(code: str, delivered: bool | None, reason: str | None) -> None:  # noqa: FBT001 - a row
    [report] = read(item(code))
    assert (report.delivered, report.reason, report.code) == (delivered, reason, code)


def test_a_code_may_come_as_a_number() -> None:
    [report] = read(item() | {"statusCode": 3104})
    assert report.reason == "not_kakao_user"


def test_an_unknown_code_is_counted() -> None:
    counter = UNMAPPED_CODES.labels("solapi", "alimtalk")
    before = counter._value.get()  # noqa: SLF001 - the client has no other way to read one child
    read(item("3998"))
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(None, id="null"),
        pytest.param(7, id="number"),
        pytest.param([item()], id="array"),
        pytest.param({}, id="empty"),
        pytest.param({"groupId": "G4V1", "status": "COMPLETE", "count": {}}, id="report-on-a-group"),
        pytest.param({"eventDataId": "E", "data": {"groupId": "G4V1"}}, id="group-in-an-envelope"),
        pytest.param({"eventDataId": "E", "data": "text"}, id="no-object-in-the-envelope"),
        pytest.param(item() | {"statusCode": None}, id="no-code"),
        pytest.param(item() | {"statusCode": "4000\x00"}, id="code-with-a-nul"),
        pytest.param(item() | {"messageId": None, "customFields": None}, id="names-no-message"),
        pytest.param(item() | {"messageId": "M\x00", "customFields": {"bongsu_key": "k\x00"}}, id="nul-in-the-ids"),
    ],
)
def test_an_unreadable_item_does_not_refuse_its_neighbours(broken: object) -> None:
    counter = UNREADABLE_RECEIPTS.labels("solapi")
    before = counter._value.get()  # noqa: SLF001 - the client has no other way to read one child
    assert [report.request_key for report in read(item(), broken, item())] == ["key-1", "key-1"]
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise


def test_bytes_that_are_no_utf_8_spoil_one_item() -> None:
    body = b"[" + msgspec.json.encode(item()) + b',{"statusCode":"\xff"}]'
    assert len(dealer().read_receipts(body, {})) == 1


@pytest.mark.parametrize("missing", ["messageId", "customFields"])
def test_either_id_is_enough(missing: str) -> None:
    assert len(read(item() | {missing: None})) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b"[{]", b"[1,]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_array_is_refused(body: bytes) -> None:
    with pytest.raises(BadReceipt) as refused:
        dealer().read_receipts(body, {})
    assert refused.value.status == 400


def test_an_empty_array_is_fine() -> None:
    assert read() == []


@pytest.mark.parametrize("headers", [GIVEN, {"x-solapi-secret": GIVEN["x-solapi-secret"].upper()}])
def test_the_right_secret_is_let_in(headers: dict[str, str]) -> None:
    assert len(dealer(SECRET).read_receipts(msgspec.json.encode([item()]), headers)) == 1


@pytest.mark.parametrize("given", [None, "", SECRET, "0" * 40, "é"])
def test_a_wrong_secret_is_refused_before_the_body_is_read(given: str | None) -> None:
    headers = {} if given is None else {"x-solapi-secret": given}
    with pytest.raises(BadReceipt) as refused:
        dealer(SECRET).read_receipts(b"not even JSON", headers)
    assert refused.value.status == 401
    assert SECRET not in refused.value.detail
