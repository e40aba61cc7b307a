from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import BadConfig
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import BadReceipt, LookupMeans, Push, Report
from shared.dealers.bizppurio.adapter import Bizppurio, build
from shared.dealers.telemetry import UNMAPPED_CODES, UNREADABLE_RECEIPTS
from shared.ids import MessageId

ALIMTALK_KEY = request_key(MessageId(UUID(int=7)), Channel.ALIMTALK, 1)
SMS_KEY = request_key(MessageId(UUID(int=7)), Channel.SMS, 1)


def dealer(**credentials: str) -> Bizppurio:
    return build(
        Account(
            name="bizppurio",
            base_url="https://api.bizppurio.com",
            urls={},
            credentials={"account": "shop", "password": "p", **credentials},
            timeout_seconds=1,
            batch=1000,
            now=lambda: datetime.now(UTC),
        )
    )


def push(result: object = "7000", **fields: object) -> dict[str, Any]:
    return {
        "DEVICE": "AT",
        "CMSGID": "201027134355944sms027420servqer0",
        "MSGID": "1027se_SL4676027383600490148",
        "PHONE": "01012345678",
        "MEDIA": "KAT",
        "UNIXTIME": "1603773837",
        "RESULT": result,
        "WAPINFO": "KAO",
        "REFKEY": ALIMTALK_KEY,
        **fields,
    }


def read(given: object) -> list[Report]:
    return dealer().read_receipts(msgspec.json.encode(given), {})


def test_a_push_is_a_report() -> None:
    assert read(push()) == [
        Report(
            request_key=ALIMTALK_KEY,
            dealer_message_id="201027134355944sms027420servqer0",
            delivered=True,
            code="7000",
            detail="delivered",
            at=datetime(2020, 10, 27, 4, 43, 57, tzinfo=UTC),
            raw=msgspec.json.encode(push()),
        )
    ]


def test_the_push_of_v2_7_names_the_message_by_bizppurios_id_alone() -> None:
    given = push()
    del given["REFKEY"]
    [report] = read(given)
    assert (report.request_key, report.dealer_message_id) == (None, "201027134355944sms027420servqer0")


@pytest.mark.parametrize(
    ("code", "delivered", "reason"),
    [
        ("7000", True, None),
        (7000, True, None),
        ("7305", None, "delivery_uncertain"),
        ("7318", False, "inactive_kakao_user"),
        ("7777", False, "unknown"),
        ("1000", False, "unknown"),
    ],
)
def test_what_a_result_says(code: object, delivered: bool | None, reason: str | None) -> None:  # noqa: FBT001 - a row
    [report] = read(push(code))
    assert (report.delivered, report.reason, report.leg) == (delivered, reason, None)


def test_an_unknown_code_is_counted() -> None:
    counter = UNMAPPED_CODES.labels("bizppurio", "alimtalk")
    before = counter._value.get()  # noqa: SLF001 - the client has no other way to read one child
    read(push("7998"))
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise


def legs(given: object) -> list[tuple[str, bool | None, Channel | None]]:
    return [(report.code, report.delivered, report.leg) for report in read(given)]


def test_a_fallback_of_the_dealers_is_a_leg_of_its_own() -> None:
    both = push("7318", MEDIA="SMS", TELRES="4100", TELTIME="1603773840", RESEND_FLAG="SMS")
    assert legs(both) == [("7318", False, None), ("4100", True, Channel.SMS)]


def test_a_carriers_code_for_an_alimtalk_is_the_fallbacks() -> None:
    assert legs(push("4100", MEDIA="SMS")) == [("4100", True, Channel.SMS)]
    assert legs(push("6600", MEDIA="MMS")) == [("6600", True, Channel.MMS)]
    without_key = push("6600", MEDIA="LMS", DEVICE="AT", REFKEY="somebody-elses")
    assert legs(without_key) == [("6600", True, Channel.LMS)]


def test_our_key_outweighs_what_the_dealer_calls_the_device() -> None:
    assert legs(push("4100", DEVICE="AT", MEDIA="SMS", REFKEY=SMS_KEY)) == [("4100", True, None)]


def test_a_text_is_no_leg_when_nothing_says_that_it_was_an_alimtalk() -> None:
    assert legs(push("4100", DEVICE=None, MEDIA="SMS", REFKEY=None)) == [("4100", True, None)]


def test_a_key_that_holds_the_recipients_number_is_left_out() -> None:
    [report] = read(push(REFKEY="01012345678_1603773837"))
    assert report.request_key is None


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({}, id="empty"),
        pytest.param(push(None), id="no-result"),
        pytest.param(push("70 00"), id="no-code"),
        pytest.param(push(result=True), id="true"),
        pytest.param(push(REFKEY=None, CMSGID=None), id="names-no-message"),
        pytest.param(push(REFKEY="k\x00", CMSGID="m" * 101), id="ids-not-to-be-kept"),
        pytest.param(push(REFKEY=None, CMSGID={"a": 1}), id="object-for-an-id"),
    ],
)
def test_what_says_nothing_is_counted(broken: object) -> None:
    counter = UNREADABLE_RECEIPTS.labels("bizppurio")
    before = counter._value.get()  # noqa: SLF001 - the client has no other way to read one child
    assert read(broken) == []
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"7", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadReceipt) as refused:
        dealer().read_receipts(body, {})
    assert refused.value.status == 400


@pytest.mark.parametrize("time", ["0", "99999999999999", "-1", "1e9", "①", "", None, 1.5, True, "1603773837000"])
def test_a_time_that_is_none_is_left_out(time: object) -> None:
    [report] = read(push(UNIXTIME=time))
    assert report.at is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*push(), "TELRES", "TELTIME", "result"]), json_values | st.just("7000")))
def test_whatever_is_pushed_nothing_else_is_raised(fields: dict[str, Any]) -> None:
    for report in read(fields):
        assert report.request_key or report.dealer_message_id
        for identifier in (report.request_key, report.dealer_message_id, report.code):
            assert identifier is None or (identifier.isascii() and identifier.isprintable())


@given(st.binary())
def test_whatever_bytes_come_nothing_else_is_raised(body: bytes) -> None:
    with suppress(BadReceipt):
        dealer().read_receipts(body, {})


def test_reports_are_pushed_or_pulled() -> None:
    pushed, polled = dealer().capabilities, dealer(receipts="poll").capabilities
    assert (pushed.push, pushed.receipts_polled, pushed.receipts_pulled) == (Push.OPEN, True, False)
    assert (polled.push, polled.receipts_polled, polled.receipts_pulled) == (Push.NONE, False, True)
    assert pushed.lookup is polled.lookup is LookupMeans.NONE
    assert pushed.unconfirmed_for.days == 30
    with pytest.raises(BadConfig, match=r"dealers.bizppurio.credentials.receipts: want push or poll"):
        dealer(receipts="pull")
