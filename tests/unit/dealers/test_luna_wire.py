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
from shared.dealers.base import AlimTalk, BrandMessage, Button, Content, Item, Links, Outgoing, QuickReply, Text
from shared.dealers.luna import wire
from shared.ids import MessageId

MESSAGE = MessageId(UUID(int=1))
KEY = request_key(MESSAGE, Channel.ALIMTALK, 1)
PLAIN = AlimTalk("SENDER", "A001", {"이름": "봉수"}, "봉수님, 안녕하세요")
BRAND = BrandMessage("SENDER", "새 상품")


def outgoing(content: Content, key: str = KEY) -> Outgoing:
    channel = Channel.FRIENDTALK if isinstance(content, BrandMessage) else Channel.ALIMTALK
    return Outgoing(MESSAGE, 1, key, channel, "01012345678", content)


def said(content: Content) -> dict[str, Any]:
    _, body = wire.request_of(outgoing(content))
    message: dict[str, Any] = msgspec.json.decode(body)
    return message


def refusal(content: Content, key: str = KEY) -> tuple[str, str]:
    with pytest.raises(wire.CannotSay) as refused:
        wire.request_of(outgoing(content, key))
    return refused.value.reason, refused.value.detail


def test_an_alimtalk_goes_as_its_final_text() -> None:
    assert said(PLAIN) == {
        "message_type": "AT",
        "message_key": KEY,
        "sender_key": "SENDER",
        "country_code": "82",
        "recipient_number": "01012345678",
        "template_code": "A001",
        "message": "봉수님, 안녕하세요",
    }


def test_our_key_fits_lunas_field() -> None:
    assert len(request_key(MessageId(UUID(int=2**128 - 1)), Channel.ALIMTALK, 62**4 - 1)) == wire.MAX_KEY


def test_an_image_is_told_by_the_type() -> None:
    assert said(replace(PLAIN, has_image=True))["message_type"] == "AI"


def test_a_summary_needs_no_list() -> None:
    assert said(replace(PLAIN, summary=Item("합계", "9,900원")))["attachment"] == {
        "item": {"summary": {"title": "합계", "description": "9,900원"}}
    }


@pytest.mark.parametrize(
    ("button", "expected"),
    [
        pytest.param(
            Button("WL", "보기", "https://m.example", "https://example"),
            {"name": "보기", "type": "WL", "url_mobile": "https://m.example", "url_pc": "https://example"},
            id="web",
        ),
        pytest.param(Button("DS", "배송 조회"), {"name": "배송 조회", "type": "DS"}, id="delivery"),
        pytest.param(
            Button("BT", "챗봇", chat_extra="x", chat_event="y"),
            {"name": "챗봇", "type": "BT", "chat_extra": "x", "chat_event": "y"},
            id="bot",
        ),
        pytest.param(
            Button("P3", "결제", plugin_id="p", relay_id="r", one_click_id="o", product_id="i"),
            {
                "name": "결제",
                "type": "P3",
                "plugin_id": "p",
                "relay_id": "r",
                "oneclick_id": "o",
                "product_id": "i",
            },
            id="plugin",
        ),
        pytest.param(
            Button("BF", "톡에서 예약하기", biz_form_id="123"),
            {"name": "톡에서 예약하기", "type": "BF", "biz_form_id": 123},
            id="form",
        ),
    ],
)
def test_buttons(button: Button, expected: dict[str, Any]) -> None:
    assert said(replace(PLAIN, buttons=(button,)))["attachment"] == {"button": [expected]}


def test_quick_replies() -> None:
    replies = (QuickReply("BK", "문의"), QuickReply("BF", "톡에서 설문하기", biz_form_id="7"))
    assert said(replace(PLAIN, quick_replies=replies))["supplement"] == {
        "quick_reply": [
            {"name": "문의", "type": "BK"},
            {"name": "톡에서 설문하기", "type": "BF", "biz_form_id": 7},
        ]
    }


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        pytest.param(replace(PLAIN, link=Links("https://m.example")), "invalid_request", "link", id="link"),
        pytest.param(
            replace(PLAIN, buttons=(Button("TN", "전화 연결", phone="15881588"),)), "invalid_request", "TN", id="call"
        ),
        pytest.param(replace(PLAIN, buttons=(Button("WL", "x", phone="1"),)), "invalid_request", "phone", id="phone"),
        pytest.param(
            replace(PLAIN, buttons=(Button("BF", "x", biz_form_id="a"),)), "invalid_request", "form", id="form"
        ),
        pytest.param(replace(PLAIN, quick_replies=(QuickReply("DS", "x"),)), "invalid_request", "DS", id="reply"),
        pytest.param(replace(PLAIN, text="가" * 1001), "content_too_long", "1001", id="alimtalk-too-long"),
        pytest.param(replace(PLAIN, text="\ud800"), "content_charset", "not a text", id="surrogate"),
        pytest.param(replace(BRAND, wide=True), "invalid_request", "image", id="wide-without-image"),
        pytest.param(replace(BRAND, image_link="https://x"), "invalid_request", "image", id="link-without-image"),
        pytest.param(replace(BRAND, image="i", text="가" * 401), "content_too_long", "400", id="image-too-long"),
        pytest.param(
            replace(BRAND, image="i", wide=True, text="가" * 77), "content_too_long", "76", id="wide-too-long"
        ),
        pytest.param(replace(BRAND, buttons=(Button("AC", "채널 추가"),)), "invalid_request", "AC", id="brand-button"),
        pytest.param(Text("0212345678", "안녕"), "not_permitted", "texts", id="text"),
    ],
)
def test_what_luna_cannot_say_is_refused_before_a_call(content: Content, reason: str, detail: str) -> None:
    refused = refusal(content)
    assert refused[0] == reason
    assert detail in refused[1]


def test_a_key_that_luna_would_cut_is_refused() -> None:
    assert refusal(PLAIN, key="k" * 28)[0] == "invalid_request"


@pytest.mark.parametrize(
    ("content", "kind", "attachment"),
    [
        pytest.param(BRAND, "FT", None, id="text"),
        pytest.param(
            replace(BRAND, image="https://i.example/1.jpg", image_link="https://example"),
            "FI",
            {"image": {"img_url": "https://i.example/1.jpg", "img_link": "https://example"}},
            id="image",
        ),
        pytest.param(replace(BRAND, image="i", wide=True), "FW", {"image": {"img_url": "i"}}, id="wide"),
    ],
)
def test_brand_messages(content: BrandMessage, kind: str, attachment: dict[str, Any] | None) -> None:
    message = said(content)
    assert wire.request_of(outgoing(content))[0] == "friendtalk"
    assert (message["message_type"], message["ad_flag"], message.get("attachment")) == (kind, "Y", attachment)
    assert said(replace(content, advertising=False))["ad_flag"] == "N"


printable = st.text(max_size=8)
links = st.none() | st.just("https://example/#x")
buttons = st.builds(
    Button,
    st.sampled_from(["WL", "AL", "DS", "BK", "MD", "BC", "BT", "AC", "BF", "P1", "P2", "P3", "TN", "XX"]),
    printable,
    url_mobile=links,
    scheme_ios=links,
    chat_extra=links,
    biz_form_id=st.none() | st.sampled_from(["1", "a", ""]),
    plugin_id=links,
    phone=links,
)
items = st.builds(Item, printable, printable)
alimtalks = st.builds(
    AlimTalk,
    sender_key=printable,
    template_code=printable,
    variables=st.just({}),
    text=st.text(max_size=1100),
    buttons=st.lists(buttons, max_size=3).map(tuple),
    title=st.none() | printable,
    header=st.none() | printable,
    highlight=st.none() | items,
    items=st.lists(items, max_size=3).map(tuple),
    summary=st.none() | items,
)


@given(alimtalks)
def test_luna_is_never_asked_for_a_text_of_its_own(content: AlimTalk) -> None:
    try:
        message = said(content)
    except wire.CannotSay:
        return
    assert "failover_message" not in message
    assert message["message"] == content.text
    assert len(message.get("attachment", {}).get("button", [])) == len(content.buttons)


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_unreadable(body: bytes) -> None:
    try:
        wire.read(body)
    except wire.Unreadable:
        return


json_values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from(["code", "message_key", "message_type", "response_dt"]), json_values))
def test_whatever_fields_hold_a_report_can_be_asked(fields: dict[str, Any]) -> None:
    report = wire.read(msgspec.json.encode(fields))
    assert report.key is None or (report.key.isascii() and report.key.isprintable() and not report.key.isdigit())
    assert report.result == "" or report.result.isalnum()
    assert report.channel in {None, *Channel}
    assert report.at is None or report.at.tzinfo is not None
