from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import BadConfig
from shared.dealers.account import Account
from shared.dealers.base import BadReceipt, Push, Report
from shared.dealers.bizgo.adapter import Bizgo, build
from shared.dealers.telemetry import UNMAPPED_CODES, UNREADABLE_RECEIPTS

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SECRET = "봉수-secret"


def dealer(**credentials: str) -> Bizgo:
    return build(
        Account(
            name="bizgo",
            base_url="https://mars.ibapi.kr",
            urls={},
            credentials={"api_key": "KEY", **credentials},
            timeout_seconds=1,
            batch=200,
            now=lambda: NOW,
        )
    )


def signed(at: datetime = NOW, *, encoding: str = "hex", milliseconds: bool = True) -> dict[str, str]:
    stamp = str(int(at.timestamp() * (1000 if milliseconds else 1)))
    digest = hmac.new(SECRET.encode(), stamp.encode(), hashlib.sha256).digest()
    written = {"hex": digest.hex(), "HEX": digest.hex().upper(), "base64": base64.b64encode(digest).decode()}
    return {"x-ib-timestamp": stamp, "x-ib-signature": written[encoding]}


def body(**fields: object) -> bytes:
    report = {
        "msgKey": "20261123120000000POM101182450000",
        "serviceType": "ALIMTALK",
        "msgType": "AT",
        "sendTime": "2026-11-23T12:00:00.000+09:00",
        "reportTime": "2026-11-23T12:00:01.250+09:00",
        "reportType": "R",
        "reportCode": "10000",
        "reportText": "Success",
        "ref": "key1",
        **fields,
    }
    return msgspec.json.encode({name: value for name, value in report.items() if value is not None})


def test_a_report_names_the_attempt_twice_and_is_answered_by_its_msg_key() -> None:
    adapter = dealer()
    [report] = adapter.read_receipts(body(), {})
    assert report == Report(
        request_key="key1",
        dealer_message_id="20261123120000000POM101182450000",
        delivered=True,
        code="10000",
        detail="delivered",
        at=datetime(2026, 11, 23, 3, 0, 1, 250_000, tzinfo=UTC),
        raw=body(),
    )
    assert adapter.answer_receipts([report]) == b'{"msgKey":"20261123120000000POM101182450000"}'
    assert adapter.answer_receipts([]) == b"{}"


def test_an_unknown_code_is_a_failure_kept_as_it_is_and_counted() -> None:
    counter = UNMAPPED_CODES.labels("bizgo", "alimtalk")
    before = counter._value.get()  # noqa: SLF001 - there is no public getter
    [report] = dealer().read_receipts(body(reportCode="33019", reportText="3019 01012345678"), {})
    assert (report.delivered, report.reason, report.code) == (False, "unknown", "33019")
    assert report.detail == "..."
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise


@pytest.mark.parametrize(
    "fields",
    [
        {"reportCode": None},
        {"reportCode": ""},
        {"reportCode": ["10000"]},
        {"msgKey": None, "ref": None},
        {"msgKey": "가", "ref": " "},
        {"serviceType": "MO", "reportCode": None},
    ],
)
def test_what_is_no_report_is_counted_and_left_out(fields: dict[str, object]) -> None:
    counter = UNREADABLE_RECEIPTS.labels("bizgo")
    before = counter._value.get()  # noqa: SLF001 - there is no public getter
    assert dealer().read_receipts(body(**fields), {}) == []
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-11-23T12:00:01.250", 7, "0001-01-01T00:00:00+09:00"])
def test_a_time_that_is_nobodys_is_none(text: object) -> None:
    [report] = dealer().read_receipts(body(reportTime=text), {})
    assert report.at is None


@pytest.mark.parametrize("encoding", ["hex", "HEX", "base64"])
@pytest.mark.parametrize("milliseconds", [True, False])
def test_a_signature_is_taken_in_every_way_it_may_be_written(encoding: str, milliseconds: bool) -> None:  # noqa: FBT001 - a row
    adapter = dealer(webhook_secret=SECRET)
    assert adapter.capabilities.push is Push.SIGNED
    assert adapter.read_receipts(body(), signed(encoding=encoding, milliseconds=milliseconds))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({**signed(), "x-ib-signature": ""}, id="empty"),
        pytest.param({**signed(), "x-ib-timestamp": "\uff11\uff12\uff13"}, id="digits-of-another-script"),
        pytest.param({**signed(), "x-ib-timestamp": "1" * 17}, id="too-many-digits"),
        pytest.param({**signed(), "x-ib-timestamp": "1795402800001"}, id="another-time"),
        pytest.param(signed(NOW - timedelta(minutes=5, seconds=1)), id="old"),
        pytest.param(signed(NOW + timedelta(minutes=5, seconds=1)), id="to-come"),
    ],
)
def test_a_call_that_is_not_signed_or_not_now_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadReceipt) as refused:
        dealer(webhook_secret=SECRET).read_receipts(body(), headers)
    assert refused.value.status == 401


@given(st.dictionaries(st.sampled_from(["x-ib-timestamp", "x-ib-signature"]), st.text()), st.binary())
def test_no_bytes_and_no_headers_raise_anything_else(headers: dict[str, str], raw: bytes) -> None:
    for adapter in (dealer(), dealer(webhook_secret=SECRET), dealer(reports="polling")):
        try:
            reports = adapter.read_receipts(raw, headers)
        except BadReceipt:
            continue
        msgspec.json.decode(adapter.answer_receipts(reports))


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"7", b'{"msgKey"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused_whole(raw: bytes) -> None:
    with pytest.raises(BadReceipt) as refused:
        dealer().read_receipts(raw, {})
    assert refused.value.status == 400


def test_a_key_whose_reports_are_polled_takes_no_calls() -> None:
    adapter = dealer(reports="polling", webhook_secret=SECRET)
    assert (adapter.capabilities.push, adapter.capabilities.receipts_pulled) == (Push.NONE, True)
    with pytest.raises(BadReceipt):
        adapter.read_receipts(body(), signed())


@pytest.mark.parametrize(
    ("credentials", "named"),
    [
        ({"api_key": "Bearer KEY"}, "dealers.bizgo.credentials.api_key"),
        ({"api_key": "KEY\n"}, "dealers.bizgo.credentials.api_key"),
        ({"reports": "both"}, "dealers.bizgo.credentials.reports"),
    ],
)
def test_a_wrong_credential_is_refused_by_its_place(credentials: dict[str, str], named: str) -> None:
    with pytest.raises(BadConfig, match=named):
        dealer(**credentials)
