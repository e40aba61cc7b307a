from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import BadReceipt, LookupMeans, Push, Report
from shared.dealers.codes import REASONS, load_table
from shared.dealers.luna.adapter import Luna, build
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

KEY = "0000000000000000000001a1"


def dealer() -> Luna:
    account = Account(
        name="luna",
        base_url="https://hub.example",
        urls={},
        credentials={"agent_key": "K"},
        timeout_seconds=1,
        batch=1000,
        now=lambda: datetime.now(UTC),
    )
    return build(account)


def body(code: object = "0000", kind: object = "AT", **fields: object) -> bytes:
    said = {"code": code, "message_key": KEY, "message_type": kind, "response_dt": "2023-05-01 09:05:30", **fields}
    return msgspec.json.encode(said)


def read(raw: bytes) -> list[Report]:
    return dealer().read_receipts(raw, {})


def test_what_luna_can_do() -> None:
    capabilities = dealer().capabilities
    assert capabilities.max_batch == 30
    assert capabilities.lookup is LookupMeans.REPLAY
    assert capabilities.push is Push.OPEN
    assert not capabilities.receipts_polled
    assert not any(channel.is_text for channel in capabilities.channels)


def test_a_delivery() -> None:
    assert read(body()) == [
        Report(
            request_key=KEY,
            dealer_message_id=KEY,
            delivered=True,
            code="0000",
            detail="delivered and billed",
            at=datetime(2023, 5, 1, 0, 5, 30, tzinfo=UTC),
            raw=body(),
        )
    ]


@pytest.mark.parametrize(
    ("code", "kind", "delivered", "reason", "leg"),
    [
        ("0000", "AI", True, None, None),
        ("0000", "FT", True, None, None),
        ("0000", "SMS", False, "unknown", Channel.SMS),
        ("1000", "SMS", True, None, Channel.SMS),
        ("1000", "LMS", True, None, Channel.LMS),
        ("1000", "AT", False, "unknown", None),
        ("3005", "AT", None, "delivery_uncertain", None),
        ("3005", "SMS", False, "handset_unreachable", Channel.SMS),
        ("3012", "AT", None, None, None),
        ("3012", "LMS", False, "spam_blocked", Channel.LMS),
        ("3016", "AT", False, "template_mismatch", None),
        ("3016", "SMS", False, "sender_number_blocked", Channel.SMS),
        ("3018", "AT", False, "inactive_kakao_user", None),
        ("3018", "FT", False, "not_friend", None),
        ("3018", "SMS", False, "sender_number_blocked", Channel.SMS),
        ("3019", "AT", False, "not_kakao_user", None),
        ("3022", "FI", False, "night_ban", None),
        ("LS0101", "AT", None, "delivery_uncertain", None),
        ("9150", "SMS", False, "carrier_error", Channel.SMS),
        ("4711", "AT", False, "unknown", None),
    ],
)
def test_a_code_is_read_by_the_type_of_message(
    code: str,
    kind: str,
    delivered: bool | None,  # noqa: FBT001 - a row
    reason: str | None,
    leg: Channel | None,
) -> None:
    [report] = read(body(code, kind))
    assert (report.code, report.delivered, report.reason, report.leg) == (code, delivered, reason, leg)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"{}", id="empty"),
        pytest.param(body(code=None), id="no-code"),
        pytest.param(body(code="00\x00"), id="code-with-a-nul"),
        pytest.param(body(kind=None), id="no-type"),
        pytest.param(body(kind="XX"), id="type-unknown"),
        pytest.param(body(message_key=None), id="no-key"),
        pytest.param(body(message_key="k" * 28), id="key-too-long"),
        pytest.param(body(message_key="01012345678"), id="key-is-a-number"),
        pytest.param(body(message_key="k\n"), id="key-not-printable"),
    ],
)
def test_what_cannot_be_attributed_is_counted_and_left_out(raw: bytes) -> None:
    counter = UNREADABLE_RECEIPTS.labels("luna")
    before = counter._value.get()  # noqa: SLF001 - the client has no other way to read one child
    assert read(raw) == []
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"[{}]", b"{", b"\xff", b'"x"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadReceipt) as refused:
        read(raw)
    assert refused.value.status == 400


@given(st.binary(max_size=300), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_no_bytes_raise_anything_else(raw: bytes, headers: dict[str, str]) -> None:
    try:
        dealer().read_receipts(raw, headers)
    except BadReceipt:
        return


@given(st.fixed_dictionaries({}, optional={name: st.text() | st.integers() for name in ("code", "message_type")}))
def test_only_lunas_two_words_for_success_are_one(fields: dict[str, Any]) -> None:
    for report in read(msgspec.json.encode({"message_key": KEY, **fields})):
        assert not report.delivered or (report.code, report.leg is not None) in {("0000", False), ("1000", True)}


def test_only_0000_is_a_delivery_on_kakao_and_only_1000_of_a_text() -> None:
    lines = load_table("shared.dealers.luna").lines
    delivered = {(code, channel) for (code, channel), meaning in lines.items() if meaning.delivered}
    assert delivered == {
        ("0000", Channel.ALIMTALK),
        ("0000", Channel.FRIENDTALK),
        *(("1000", channel) for channel in (Channel.SMS, Channel.LMS, Channel.MMS)),
    }
    assert all(meaning.reason in REASONS for meaning in lines.values() if meaning.delivered is False)
