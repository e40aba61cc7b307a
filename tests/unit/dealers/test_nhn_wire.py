from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Content, Outgoing, QuickReply, Refused, Text
from shared.dealers.nhn import wire
from shared.ids import MessageId

ALIMTALK = AlimTalk("S" * 40, "ORDER", {"이름": "봉수"}, "봉수님, 주문이 결제되었습니다.")
BRAND = BrandMessage("S" * 40, "이번 주 소식")
TEXT = Text("0212345678", "[봉수상점] 결제 완료")


def outgoing(n: int, content: Content, channel: Channel | None = None) -> Outgoing:
    if channel is None:
        kinds = {AlimTalk: Channel.ALIMTALK, BrandMessage: Channel.FRIENDTALK, Text: Channel.SMS}
        channel = kinds[type(content)]
    message = MessageId(UUID(int=n))
    return Outgoing(message, 1, request_key(message, channel, 1), channel, f"0101{n:07}", content)


def body_of(*batch: Outgoing) -> dict[str, Any]:
    [request] = wire.requests_of(batch)
    return msgspec.json.decode(request.body, type=dict[str, Any])


def test_one_template_is_one_request_with_a_key_for_each_recipient() -> None:
    first, second = outgoing(1, ALIMTALK), outgoing(2, replace(ALIMTALK, variables={"이름": "둘"}))
    body = body_of(first, second)
    assert (body["senderKey"], body["templateCode"]) == ("S" * 40, "ORDER")
    assert body["senderGroupingKey"] == f"b{first.request_key}"
    assert [r["recipientGroupingKey"] for r in body["recipientList"]] == [first.request_key, second.request_key]
    assert [r["templateParameter"] for r in body["recipientList"]] == [{"이름": "봉수"}, {"이름": "둘"}]


def test_the_failover_is_off_for_every_recipient() -> None:
    for content in (ALIMTALK, BRAND):
        body = body_of(outgoing(1, content), outgoing(2, content))
        assert [r["resendParameter"] for r in body["recipientList"]] == [{"isResend": False}] * 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=30))
def test_every_message_is_in_just_one_request_and_batch_keys_differ(kinds: list[tuple[int, int]]) -> None:
    batch = [
        outgoing(n, replace(ALIMTALK, template_code=f"T{a}", sender_key=f"S{b}")) for n, (a, b) in enumerate(kinds)
    ]
    requests = wire.requests_of(batch)
    assert sorted(m.request_key for r in requests for m in r.messages) == sorted(m.request_key for m in batch)
    assert len({request.batch_key for request in requests}) == len(requests) == len(set(kinds))
    for request in requests:
        listed = msgspec.json.decode(request.body)["recipientList"]
        assert [r["recipientGroupingKey"] for r in listed] == [m.request_key for m in request.messages]


def test_a_request_holds_a_thousand_recipients() -> None:
    sizes = [len(request.messages) for request in wire.requests_of([outgoing(n, TEXT) for n in range(2001)])]
    assert sizes == [1000, 1000, 1]


def test_what_no_template_holds_goes_along_by_its_place() -> None:
    buttons = (
        Button("WL", "보기", "https://a.example"),
        Button("BT", "상담", chat_extra="e", chat_event="v"),
        Button("P1", "사진", plugin_id="p", relay_id="r"),
        Button("P3", "결제", one_click_id="o", product_id="q"),
        Button("TN", "전화 연결", phone="02-123-4567"),
    )
    replies = (QuickReply("WL", "보기", "https://a.example"), QuickReply("BC", "상담", chat_extra="x"))
    [recipient] = body_of(outgoing(1, replace(ALIMTALK, buttons=buttons, quick_replies=replies)))["recipientList"]
    assert recipient["buttons"] == [
        {"ordering": 2, "chatExtra": "e", "chatEvent": "v"},
        {"ordering": 3, "relayId": "r"},
        {"ordering": 4, "oneClickId": "o", "productId": "q"},
        {"ordering": 5, "telNumber": "02-123-4567"},
    ]
    assert recipient["quickReplies"] == [{"ordering": 2, "chatExtra": "x"}]


def test_an_lms_has_a_title_and_an_mms_its_images() -> None:
    long = Text("0212345678", "봉수상점 안내\n" + "가" * 100)
    assert body_of(outgoing(1, long, Channel.LMS))["title"] == "봉수상점 안내"
    assert body_of(outgoing(1, replace(long, subject="제목"), Channel.LMS))["title"] == "제목"
    assert body_of(outgoing(1, replace(long, images=("7", "8")), Channel.MMS))["attachFileIdList"] == [7, 8]
    first_line_too_long = Text("0212345678", "똠" * 99)
    assert body_of(outgoing(1, first_line_too_long, Channel.LMS))["title"] == "똠" * 20
    assert "title" not in body_of(outgoing(1, replace(TEXT, subject="제목")))


@pytest.mark.parametrize(
    ("content", "channel", "reason", "detail"),
    [
        pytest.param(replace(TEXT, text="완료 😀"), Channel.SMS, "content_charset", "😀 (U+1F600)", id="emoji"),
        pytest.param(replace(TEXT, text="\ud800"), Channel.SMS, "content_charset", "(U+D800)", id="half-a-pair"),
        pytest.param(replace(TEXT, text="가" * 46), Channel.SMS, "content_too_long", "92 bytes of 90", id="sms"),
        pytest.param(replace(TEXT, text="가" * 1001), Channel.LMS, "content_too_long", "2,002 bytes", id="lms"),
        pytest.param(replace(TEXT, subject="가" * 21), Channel.LMS, "content_too_long", "subject of 42", id="subject"),
        pytest.param(TEXT, Channel.MMS, "invalid_attachment", "images: 0", id="mms-without"),
        pytest.param(replace(TEXT, images=("1",)), Channel.LMS, "invalid_attachment", "images: 1", id="lms-with"),
        pytest.param(replace(TEXT, images=("x",)), Channel.MMS, "invalid_attachment", "NHN gave", id="not-an-id"),
        pytest.param(replace(ALIMTALK, text="가" * 1301), Channel.ALIMTALK, "content_too_long", "1,301", id="text"),
        pytest.param(replace(ALIMTALK, variables={"a@b": ""}), Channel.ALIMTALK, "invalid_request", "no @", id="at"),
        pytest.param(
            replace(ALIMTALK, variables={"a": "가" * 1301}), Channel.ALIMTALK, "variable_too_long", "a:", id="parameter"
        ),
        pytest.param(
            replace(ALIMTALK, variables={"a": "\udfff"}), Channel.ALIMTALK, "content_charset", "pair", id="pair"
        ),
        pytest.param(replace(BRAND, wide=True), Channel.FRIENDTALK, "invalid_request", "wide", id="wide"),
        pytest.param(
            replace(BRAND, advertising=False), Channel.FRIENDTALK, "invalid_request", "advertising", id="not-an-ad"
        ),
        pytest.param(
            replace(BRAND, image_link="https://a.example"), Channel.FRIENDTALK, "invalid_request", "image", id="link"
        ),
        pytest.param(
            replace(BRAND, buttons=(Button("AC", "채널 추가"),)), Channel.FRIENDTALK, "invalid_request", "AC", id="ac"
        ),
    ],
)
def test_what_nhn_cannot_carry_is_refused_with_the_field(
    content: Content, channel: Channel, reason: str, detail: str
) -> None:
    refused = wire.refusal_of(outgoing(1, content, channel))
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert detail in refused.detail


@given(st.text(), st.text(), st.sampled_from([Channel.SMS, Channel.LMS]))
def test_what_is_not_refused_can_be_sent(text: str, subject: str, channel: Channel) -> None:
    message = outgoing(1, Text("0212345678", text, subject), channel)
    if wire.refusal_of(message) is None:
        assert body_of(message)["body"] == text


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_what_is_not_refused_can_be_sent_to_kakao(text: str, variables: dict[str, str]) -> None:
    message = outgoing(1, replace(ALIMTALK, text=text, variables=variables))
    if wire.refusal_of(message) is None:
        [recipient] = body_of(message)["recipientList"]
        assert recipient.get("templateParameter", {}) == variables
