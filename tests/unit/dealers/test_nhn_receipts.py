from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter

from shared.dealers.account import Account
from shared.dealers.base import BadReceipt, Push, Report
from shared.dealers.nhn.adapter import Nhn, build
from shared.dealers.telemetry import UNMAPPED_CODES, UNREADABLE_RECEIPTS

SIGNATURE = "a-word-of-ours"
GIVEN = {"x-toast-webhook-signature": SIGNATURE}
KEY = "0000000000000000000001a1"


def dealer(signature: str | None = None) -> Nhn:
    credentials = {"appkey": "A", "secret_key": "S"} | ({"webhook_signature": signature} if signature else {})
    now = lambda: datetime(2026, 11, 23, tzinfo=UTC)  # noqa: E731 - never asked
    return build(Account("nhn", "https://nhn.example", {}, credentials, 1.0, 1000, now))


def hook(code: str = "1000", **fields: object) -> dict[str, Any]:
    return {
        "hookId": "20261123090003GcSUXthVA00",
        "kakaoMessageType": "ALIMTALK_NORMAL",
        "requestId": "20261123090000ReZQ6KZzAH0",
        "recipientSeq": 1,
        "requestDate": "2026-11-23 09:00:00",
        "receiveDate": "2026-11-23 09:00:02",
        "recipientNo": "01012345678",
        "resultCode": code,
        "senderGroupingKey": f"b{KEY}",
        "recipientGroupingKey": KEY,
        **fields,
    }


def text_hook(code: str = "1000", **fields: object) -> dict[str, Any]:
    kept = {name: value for name, value in hook(code).items() if name != "kakaoMessageType"}
    return {**kept, "senderType": "NORMAL_SMS", "messageStatus": "COMPLETED", **fields}


def call(*hooks: object, event: str = "MESSAGE_RESULT_UPDATE") -> bytes:
    return msgspec.json.encode(
        {"hooksId": "1", "webhookConfigId": "2", "productName": "x", "appKey": "A", "event": event, "hooks": hooks}
    )


def read(*hooks: object) -> list[Report]:
    return dealer().read_receipts(call(*hooks), {})


def counted(counter: Counter, *labels: str) -> float:
    return next(iter(counter.labels(*labels).collect())).samples[0].value


def test_a_hook_is_a_report() -> None:
    assert read(hook()) == [
        Report(
            request_key=KEY,
            dealer_message_id="20261123090000ReZQ6KZzAH0/1",
            delivered=True,
            code="1000",
            detail="delivered",
            at=datetime(2026, 11, 23, 0, 0, 2, tzinfo=UTC),
            event_id="20261123090003GcSUXthVA00",
            raw=msgspec.json.encode(hook()),
        )
    ]


def test_a_text_is_read_by_the_codes_of_texts() -> None:
    kakao, sms, brand = read(hook("3018"), text_hook("3018"), hook("3018", kakaoMessageType="BRAND_MESSAGE_NORMAL"))
    assert (kakao.reason, sms.reason, brand.reason) == (
        "inactive_kakao_user",
        "sender_number_blocked",
        "inactive_kakao_user",
    )


def test_the_samples_misspelled_key_counts_and_so_does_a_t_in_the_date() -> None:
    misspelled = text_hook(recipientGropuingKey=KEY, receiveDate="2026-11-23T09:00:02")
    del misspelled["recipientGroupingKey"]
    [report] = read(misspelled)
    assert (report.request_key, report.at) == (KEY, datetime(2026, 11, 23, 0, 0, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("fields", "delivered", "reason"),
    [
        ({"resultCode": "1000", "messageStatus": "FAILED"}, None, None),
        ({"resultCode": None, "messageStatus": "COMPLETED"}, None, None),
        ({"resultCode": None, "messageStatus": "FAILED"}, False, "unknown"),
        ({"resultCode": None, "messageStatus": "DUPLICATED"}, False, "duplicate_suppressed"),
        ({"resultCode": "9876"}, False, "unknown"),
        ({"resultCode": 1000}, True, None),
        ({"resultCode": True, "messageStatus": "COMPLETED"}, None, None),
    ],
)
def test_nothing_but_the_code_of_success_is_a_delivery(
    fields: dict[str, object],
    delivered: bool | None,  # noqa: FBT001 - a row
    reason: str | None,
) -> None:
    [report] = read({**text_hook(), **fields})
    assert (report.delivered, report.reason) == (delivered, reason)


def test_a_code_that_the_table_does_not_have_is_counted() -> None:
    before = counted(UNMAPPED_CODES, "nhn", "alimtalk")
    read(hook("9876"))
    assert counted(UNMAPPED_CODES, "nhn", "alimtalk") == before + 1


def test_unreadable_hooks_are_counted_and_spare_their_neighbours() -> None:
    before = counted(UNREADABLE_RECEIPTS, "nhn")
    bad: list[object] = [
        None,
        7,
        [],
        {},
        hook(requestId=None, recipientGroupingKey=None),
        {**hook(), "kakaoMessageType": 3},
    ]
    assert len(read(*bad, hook())) == 1
    assert counted(UNREADABLE_RECEIPTS, "nhn") == before + len(bad)


def test_other_events_are_no_reports() -> None:
    template = {"senderKey": "S", "templateCode": "T", "status": "TSC03", "hookId": "1"}
    assert dealer().read_receipts(call(template, event="TEMPLATE_STATUS_UPDATE"), {}) == []


def test_an_id_or_key_with_the_number_in_it_is_not_kept() -> None:
    assert read(hook(requestId="x01012345678x"))[0].dealer_message_id is None
    assert read(hook(recipientGroupingKey="user-01012345678"))[0].request_key is None


def test_the_signature_is_asked_for_where_one_is_configured() -> None:
    assert dealer().capabilities.push is Push.OPEN
    assert dealer(SIGNATURE).capabilities.push is Push.TOKEN
    assert len(dealer(SIGNATURE).read_receipts(call(hook()), GIVEN)) == 1
    for headers in ({}, {"x-toast-webhook-signature": ""}, {"x-toast-webhook-signature": SIGNATURE + "x"}):
        with pytest.raises(BadReceipt) as refused:
            dealer(SIGNATURE).read_receipts(call(hook()), headers)
        assert refused.value.status == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"hooks":{}}', b'{"hooks":', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(BadReceipt) as refused:
        dealer().read_receipts(body, {})
    assert refused.value.status == 400


def test_a_hook_too_deep_to_read_spares_its_neighbours() -> None:
    deep = msgspec.Raw(b'{"requestId":' + b"[" * 900 + b"]" * 900 + b"}")
    assert len(read(deep, hook())) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*hook(), "messageStatus", "senderType"]), JSON))
def test_no_hook_breaks_the_reading(fields: dict[str, object]) -> None:
    for kind in (hook, text_hook):
        reports = read({**kind(), **fields}, hook())
        assert reports[-1] == read(hook())[0]
        for report in reports:
            assert report.request_key or report.dealer_message_id
            assert "01012345678" not in f"{report.request_key} {report.dealer_message_id} {report.code}"
            assert report.delivered is not True or report.code == "1000"
            if report.at is not None:
                report.at.astimezone(UTC)


@given(st.binary() | JSON.map(msgspec.json.encode), st.dictionaries(st.just("x-toast-webhook-signature"), st.text()))
def test_no_bytes_raise_anything_but_bad_receipt(body: bytes, headers: dict[str, str]) -> None:
    for account in (dealer(), dealer(SIGNATURE)):
        with suppress(BadReceipt):
            account.read_receipts(body, headers)
