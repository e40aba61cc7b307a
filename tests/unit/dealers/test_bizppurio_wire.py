from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Content, Item, Links, Outgoing, QuickReply, Text
from shared.dealers.bizppurio import wire
from shared.dealers.codes import REASONS, load_table
from shared.dealers.http import Answer
from shared.ids import MessageId

MESSAGE = MessageId(UUID(int=7))
ALIMTALK = AlimTalk("KEY", "T1", {"이름": "봉수"}, "봉수님", sender="0212345678")
BRAND = BrandMessage("KEY", "안녕하세요", sender="0212345678")


def outgoing(content: Content, channel: Channel = Channel.ALIMTALK) -> Outgoing:
    return Outgoing(MESSAGE, 1, request_key(MESSAGE, channel, 1), channel, "01012345678", content)


def sent(content: Content, channel: Channel = Channel.ALIMTALK) -> Any:  # noqa: ANN401 - JSON
    return msgspec.json.decode(wire.encode(outgoing(content, channel), "shop"))


def test_the_longest_key_fits_refkey() -> None:
    assert len(request_key(MessageId(UUID(int=2**128 - 1)), Channel.ALIMTALK, 62**4 - 1)) <= 32


def test_no_request_asks_for_a_fallback() -> None:
    assert sent(ALIMTALK).keys() == {"account", "refkey", "type", "from", "to", "content"}


def test_an_alimtalk_with_an_image_is_another_type() -> None:
    message = sent(replace(ALIMTALK, has_image=True))
    assert message["type"] == "ai"
    assert message["content"].keys() == {"ai"}


def test_an_sms_has_no_subject_and_an_lms_may_have_one() -> None:
    text = Text("0212345678", "안녕", subject="제목")
    assert sent(text, Channel.SMS)["content"] == {"sms": {"message": "안녕"}}
    assert sent(text, Channel.LMS)["content"] == {"lms": {"message": "안녕", "subject": "제목"}}


@pytest.mark.parametrize(
    ("content", "channel", "reason", "detail"),
    [
        pytest.param(replace(ALIMTALK, sender=None), Channel.ALIMTALK, "invalid_request", "sender", id="no-sender"),
        pytest.param(
            replace(ALIMTALK, text="가" * 1001), Channel.ALIMTALK, "content_too_long", "1001 characters", id="long"
        ),
        pytest.param(
            replace(ALIMTALK, summary=Item("합계", "1원")), Channel.ALIMTALK, "invalid_request", "summary", id="summary"
        ),
        pytest.param(
            replace(ALIMTALK, buttons=(Button("BF", "톡에서 예약하기", biz_form_id="1"),)),
            Channel.ALIMTALK,
            "invalid_request",
            "button 1: Bizppurio has no kind BF",
            id="business-form",
        ),
        pytest.param(
            replace(ALIMTALK, buttons=(Button("TN", "전화 연결", phone="0212345678"),)),
            Channel.ALIMTALK,
            "invalid_request",
            "no kind TN",
            id="phone",
        ),
        pytest.param(
            replace(ALIMTALK, buttons=(Button("DS", "배송"), Button("P1", "보안", plugin_id="p"))),
            Channel.ALIMTALK,
            "invalid_request",
            "button 2: plugin_id has no place in a P1",
            id="plugin",
        ),
        pytest.param(
            replace(ALIMTALK, buttons=(Button("DS", "배송"),) * 6),
            Channel.ALIMTALK,
            "invalid_request",
            "button: more than 5",
            id="six-buttons",
        ),
        pytest.param(
            replace(ALIMTALK, quick_replies=(QuickReply("BF", "예약", biz_form_id="1"),)),
            Channel.ALIMTALK,
            "invalid_request",
            "quick reply 1: Bizppurio has no kind BF",
            id="quick-reply",
        ),
        pytest.param(replace(ALIMTALK, text="\ud800"), Channel.ALIMTALK, "content_charset", "not a text", id="half"),
        pytest.param(
            replace(BRAND, image="0920msg_1"), Channel.FRIENDTALK, "invalid_attachment", "console", id="no-address"
        ),
        pytest.param(replace(BRAND, wide=True), Channel.FRIENDTALK, "invalid_request", "no image", id="wide"),
        pytest.param(
            replace(BRAND, buttons=(Button("AC", "채널 추가"),)), Channel.FRIENDTALK, "invalid_request", "AC", id="ac"
        ),
        pytest.param(Text("02", "가" * 46), Channel.SMS, "content_too_long", "92 bytes, at most 90", id="sms"),
        pytest.param(Text("02", "가" * 1001), Channel.LMS, "content_too_long", "2002 bytes", id="lms"),
        pytest.param(
            Text("02", "가", subject="가" * 33), Channel.LMS, "content_too_long", "subject: 66 bytes", id="subject"
        ),
        pytest.param(Text("02", "안녕 😀"), Channel.SMS, "content_charset", "'😀' U+1F600", id="emoji"),
        pytest.param(Text("02", "a\u200db"), Channel.LMS, "content_charset", "brings U+200D", id="joiner"),
        pytest.param(Text("02", "가", images=("k",)), Channel.LMS, "invalid_request", "images", id="image-in-lms"),
        pytest.param(Text("02", "가"), Channel.MMS, "invalid_request", "images", id="mms-without"),
        pytest.param(Text("02", "가", images=("k",) * 4), Channel.MMS, "invalid_attachment", "3", id="four-images"),
    ],
)
def test_what_the_wire_has_no_place_for_is_refused(
    content: Content, channel: Channel, reason: str, detail: str
) -> None:
    with pytest.raises(wire.Unfit, match=re.escape(detail)) as unfit:
        wire.encode(outgoing(content, channel), "shop")
    assert unfit.value.reason == reason
    assert reason in REASONS


def test_everything_that_an_alimtalk_may_have_is_on_the_wire() -> None:
    full = replace(
        ALIMTALK,
        title="TITLE",
        header="HEADER",
        highlight=Item("HT", "HD"),
        items=(Item("I1", "D1"), Item("I2", "D2")),
        summary=Item("ST", "SD"),
        link=Links("https://LM", "https://LP", "LA://", "LI://"),
        buttons=(
            Button("AL", "B1", "https://M", "https://P", "A://", "I://"),
            Button("BT", "B2", chat_extra="EXTRA", chat_event="EVENT"),
            Button("P3", "B3", one_click_id="ONE", product_id="PRODUCT"),
        ),
        quick_replies=(QuickReply("WL", "Q1", "https://QM", "https://QP"), QuickReply("BC", "Q2", chat_extra="QX")),
    )
    body = wire.encode(outgoing(full), "shop").decode()
    for value in (
        *("KEY", "T1", "봉수님", "TITLE", "HEADER", "HT", "HD", "I1", "D1", "I2", "D2", "ST", "SD", "B1", "B2", "B3"),
        *("https://LM", "https://LP", "LA://", "LI://", "https://M", "https://P", "A://", "I://", "EXTRA", "EVENT"),
        *("ONE", "PRODUCT", "Q1", "https://QM", "https://QP", "Q2", "QX"),
    ):
        assert f'"{value}"' in body


def test_an_answer_of_numbers_or_texts_is_read_alike() -> None:
    body = b'{"code":%s,"description":"Success","refkey":"k","messagekey":"190922175225820#ft002951servj8FU67"}'
    for code in (b"1000", b'"1000"'):
        said = wire.read_answer(Answer(200, body % code))
        assert (said.code, said.refkey, said.messagekey) == ("1000", "k", "190922175225820#ft002951servj8FU67")


def test_the_end_of_a_token_is_korean_time() -> None:
    said = wire.read_answer(Answer(200, b'{"accesstoken":"abc","type":"Bearer","expired":"20261124090000"}'))
    assert said.accesstoken == "abc"
    assert said.expired == datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "", "a" * 5000, 7, None])
def test_a_token_that_is_no_header_is_none(token: object) -> None:
    assert wire.read_answer(Answer(200, msgspec.json.encode({"accesstoken": token}))).accesstoken is None


@pytest.mark.parametrize(
    ("words", "kept"), [("ip blocking in bizppurio", True), ("wrong number 01012345678", False), ("홍길동", False)]
)
def test_a_description_is_repeated_only_if_it_can_name_nobody(words: str, kept: bool) -> None:  # noqa: FBT001 - a row
    said = wire.read_answer(Answer(400, msgspec.json.encode({"code": 3010, "description": words})))
    assert bool(said.words) is kept


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = ("code", "description", "refkey", "messagekey", "filekey", "accesstoken", "expired", "CODE", "report")


@given(st.dictionaries(st.sampled_from(FIELDS), json_values).map(msgspec.json.encode) | st.binary())
def test_whatever_an_answer_holds_it_can_be_read(body: bytes) -> None:
    said = wire.read_answer(Answer(200, body))
    for identifier in (said.refkey, said.messagekey, said.filekey, said.accesstoken):
        assert identifier is None or (identifier.isascii() and identifier.isprintable())
    assert said.code == "" or said.code.replace("_", "a").isalnum()


@given(st.binary() | json_values.map(msgspec.json.encode))
def test_whatever_a_poll_answers_it_is_read_or_unreadable(body: bytes) -> None:
    try:
        items = wire.read_list(body)
    except wire.Unreadable:
        return
    for item in items:
        assert isinstance(wire.read_item(bytes(item)), dict)


@pytest.mark.parametrize(("table", "delivered"), [("codes.csv", ["4100", "6600", "7000"]), ("answers.csv", [])])
def test_only_what_the_documents_call_delivered_is_a_delivery(table: str, delivered: list[str]) -> None:
    lines = load_table("shared.dealers.bizppurio", table).lines
    assert [code for (code, _), meaning in lines.items() if meaning.delivered] == delivered


@pytest.mark.parametrize(
    ("code", "delivered", "reason"),
    [
        ("7000", True, None),
        ("7305", None, "delivery_uncertain"),
        ("7318", False, "inactive_kakao_user"),
        ("7204", False, "template_mismatch"),
        ("4434", False, "sender_number_unregistered"),
        ("4414", False, "no_subscriber"),
        ("6621", False, "content_too_long"),
        ("7999", False, "unknown"),
    ],
)
def test_codes_of_bizppurio(code: str, delivered: bool | None, reason: str | None) -> None:  # noqa: FBT001 - a row
    meaning = load_table("shared.dealers.bizppurio").read(code)
    assert (meaning.delivered, meaning.reason) == (delivered, reason)
