from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    Content,
    ImageUse,
    Item,
    Links,
    Outgoing,
    QuickReply,
    Refused,
    Text,
)
from shared.dealers.popbill import wire
from shared.dealers.popbill.gateway import Service, signature
from shared.ids import MessageId
from tests.contract.dealers.fake_gateway import message_id

KEY = "0192f0c1A0000000000000a1"
JPEG = b"\xff\xd8\xff\xe0 a picture"
TALK = AlimTalk("@봉수상점", "022070000338", {"이름": "봉수"}, "봉수님, 주문이 결제되었습니다.", sender="0212345678")
BRAND = BrandMessage("@봉수상점", "(광고) 겨울 세일", sender="0212345678")
SMS = Text("0212345678", "안녕하세요")
MMS = Text("0212345678", "안녕하세요", subject="인사", images=(wire.inline(JPEG),))


def outgoing(content: Content, channel: Channel = Channel.ALIMTALK, key: str = KEY) -> Outgoing:
    return Outgoing(MessageId(message_id(1)), 1, key, channel, "01012345678", content)


def body_of(content: Content, channel: Channel = Channel.ALIMTALK) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(wire.sending_of(outgoing(content, channel)).body)
    return body


def refused(content: Content, channel: Channel = Channel.ALIMTALK, key: str = KEY) -> Refused:
    with pytest.raises(wire.Unsendable) as caught:
        wire.sending_of(outgoing(content, channel, key))
    return caught.value.refusal


def test_a_signature_is_the_one_linkhub_documents() -> None:
    secret, body, date = b"0123456789abcdef", b'{"access_id":"1234567890"}', "2026-11-23T00:00:00Z"
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    signed = f"POST\n{digest}\n{date}\n2.0\n/POPBILL/Token"
    expected = base64.b64encode(hmac.digest(secret, signed.encode(), "sha256")).decode()
    assert signature(secret, body=body, date=date, target="/POPBILL/Token") == expected


@pytest.mark.parametrize(
    ("content", "channel", "path", "key_field"),
    [
        (TALK, Channel.ALIMTALK, "ATS", "requestnum"),
        (BRAND, Channel.FRIENDTALK, "FTS", "requestNum"),
        (SMS, Channel.SMS, "SMS", "requestnum"),
        (SMS, Channel.LMS, "LMS", "requestnum"),
    ],
)
def test_every_channel_has_its_path_and_its_spelling_of_our_key(
    content: Content, channel: Channel, path: str, key_field: str
) -> None:
    sending = wire.sending_of(outgoing(content, channel))
    assert sending.path == path
    assert msgspec.json.decode(sending.body)[key_field] == KEY


@pytest.mark.parametrize(("content", "channel"), [(TALK, Channel.ALIMTALK), (BRAND, Channel.FRIENDTALK)])
def test_the_dealers_own_failover_is_off_in_words(content: Content, channel: Channel) -> None:
    body = body_of(content, channel)
    assert "altSendType" in body
    assert body["altSendType"] is None


def test_buttons_keep_all_that_the_wire_has_a_place_for() -> None:
    buttons = (
        Button("WL", "보기", "https://m.shop.example", "https://shop.example"),
        Button("AL", "앱", scheme_ios="shop://i", scheme_android="shop://a"),
        Button("TN", "전화", phone="0212345678"),
        Button("DS", "배송 조회"),
    )
    assert body_of(replace(TALK, buttons=buttons))["btns"] == [
        {"n": "보기", "t": "WL", "u1": "https://m.shop.example", "u2": "https://shop.example"},
        {"n": "앱", "t": "AL", "u1": "shop://i", "u2": "shop://a"},
        {"n": "전화", "t": "TN", "telNum": "0212345678"},
        {"n": "배송 조회", "t": "DS"},
    ]


@pytest.mark.parametrize(
    ("content", "channel", "named"),
    [
        pytest.param(replace(TALK, header="주문"), Channel.ALIMTALK, "header", id="header"),
        pytest.param(replace(TALK, highlight=Item("a", "b")), Channel.ALIMTALK, "highlight", id="highlight"),
        pytest.param(replace(TALK, items=(Item("a", "b"),)), Channel.ALIMTALK, "items", id="items"),
        pytest.param(replace(TALK, summary=Item("a", "b")), Channel.ALIMTALK, "summary", id="summary"),
        pytest.param(replace(TALK, link=Links("https://x.example")), Channel.ALIMTALK, "link", id="link"),
        pytest.param(
            replace(TALK, quick_replies=(QuickReply("BK", "네"),)), Channel.ALIMTALK, "quick_replies", id="quick"
        ),
        pytest.param(
            replace(TALK, buttons=(Button("BC", "상담", chat_extra="x"),)), Channel.ALIMTALK, "chat_extra", id="chat"
        ),
        pytest.param(
            replace(TALK, buttons=(Button("AL", "앱", "https://m.shop.example"),)),
            Channel.ALIMTALK,
            "url_mobile",
            id="app-link",
        ),
        pytest.param(
            replace(TALK, buttons=(Button("P1", "이미지", plugin_id="p"),)), Channel.ALIMTALK, "plugin_id", id="plugin"
        ),
        pytest.param(replace(BRAND, wide=True), Channel.FRIENDTALK, "wide", id="wide"),
        pytest.param(replace(BRAND, image_link="https://x"), Channel.FRIENDTALK, "image_link", id="link-alone"),
    ],
)
def test_what_the_wire_has_no_place_for_is_refused_by_name(content: Content, channel: Channel, named: str) -> None:
    refusal = refused(content, channel)
    assert refusal.reason == "invalid_request"
    assert named in refusal.detail


@pytest.mark.parametrize(
    ("content", "channel", "reason", "detail"),
    [
        (replace(SMS, text="안녕😀"), Channel.SMS, "content_charset", "U+1F600"),
        (replace(SMS, text="가" * 46), Channel.SMS, "content_too_long", "92 bytes"),
        (replace(SMS, text="가" * 1001), Channel.LMS, "content_too_long", "2002 bytes"),
        (replace(SMS, subject="가" * 21), Channel.LMS, "content_too_long", "42 bytes"),
        (replace(SMS, text="\ud800"), Channel.SMS, "content_charset", "U+D800"),
        (replace(MMS, images=()), Channel.MMS, "invalid_request", "0 images"),
        (MMS, Channel.LMS, "invalid_request", "1 images"),
        (replace(MMS, images=("file-1",)), Channel.MMS, "invalid_attachment", "not given"),
        (replace(MMS, images=("data:image/jpeg;base64,%",)), Channel.MMS, "invalid_attachment", "read"),
        (replace(TALK, text="가" * 1001), Channel.ALIMTALK, "content_too_long", "1000"),
        (replace(TALK, text="\ud800"), Channel.ALIMTALK, "content_charset", "surrogate"),
        (replace(BRAND, text="가" * 401, image=wire.inline(JPEG)), Channel.FRIENDTALK, "content_too_long", "400"),
    ],
)
def test_what_cannot_be_carried_is_refused_before_any_call(
    content: Content, channel: Channel, reason: str, detail: str
) -> None:
    refusal = refused(content, channel)
    assert refusal.reason == reason
    assert detail in refusal.detail


def test_a_key_that_is_no_request_number_is_never_sent() -> None:
    assert refused(SMS, Channel.SMS, "a/b").reason == "invalid_request"
    assert refused(SMS, Channel.SMS, "x" * 37).reason == "invalid_request"


def test_an_image_travels_beside_the_form() -> None:
    sending = wire.sending_of(outgoing(MMS, Channel.MMS))
    assert sending.content_type == f"multipart/form-data; boundary=bongsu-{KEY}"
    form, file = sending.body.split(f"--bongsu-{KEY}".encode())[1:3]
    assert msgspec.json.decode(form.partition(b"\r\n\r\n")[2])["msgs"][0]["sjt"] == "인사"
    assert file.partition(b"\r\n\r\n")[2] == JPEG + b"\r\n"


def test_an_image_in_a_friend_talk_may_lead_somewhere() -> None:
    brand = replace(BRAND, image=wire.inline(JPEG), image_link="https://shop.example")
    sending = wire.sending_of(outgoing(brand, Channel.FRIENDTALK))
    assert sending.path == "FMS"
    assert b'"imageURL":"https://shop.example"' in sending.body


@given(st.binary(max_size=200))
def test_an_image_is_its_own_name(image: bytes) -> None:
    name = wire.inline(image)
    assert name.isascii()
    assert name.isprintable()
    assert wire.image_in(name) == image


def test_limits_of_images_are_known_for_every_use() -> None:
    assert set(wire.IMAGE_BYTES) == set(ImageUse)


@given(st.binary(), st.sampled_from(list(Service)))
def test_whatever_answers_come_nothing_but_unreadable_is_raised(body: bytes, service: Service) -> None:
    assert wire.read_receipt_num(body) is None
    for read in (lambda: wire.read_sent(service, body), lambda: wire.read(body, wire.Found)):
        try:
            read()
        except wire.Unreadable:
            continue


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("state", "result", "resultDT", "sendDT", "receiptNum", "requestNum"), _json)
    )
)
def test_a_message_of_any_shape_has_codes_that_can_be_kept(item: dict[str, Any]) -> None:
    [sent], _ = wire.read_sent(Service.TEXT, msgspec.json.encode([item]))
    for code in (sent.result_code, sent.state_code):
        assert code.isascii()
        assert len(code) <= 14
    assert sent.at is None or sent.at.tzinfo is not None


@pytest.mark.parametrize(
    ("item", "result"),
    [
        ({"state": 3, "result": 100}, "100"),
        ({"state": "3", "result": "100"}, "100"),
        ({"state": 2, "result": 100}, ""),
        ({"state": 2, "result": 100, "resultDT": "20261123090000"}, "100"),
        ({"state": 3, "result": None}, ""),
        ({"state": 3, "result": 0}, ""),
        ({"state": 3, "result": True}, ""),
    ],
)
def test_a_result_counts_once_popbill_has_it(item: dict[str, Any], result: str) -> None:
    [sent], _ = wire.read_sent(Service.TEXT, msgspec.json.encode([item]))
    assert sent.result_code == result


def test_a_moment_is_in_seoul() -> None:
    assert wire.moment("20261123090000") == datetime(2026, 11, 23, tzinfo=UTC)
    assert wire.moment("20261399000000") is None
    assert wire.moment("") is None
    assert wire.moment(20261123090000) is None


def test_counts_say_in_words_what_became_of_a_request() -> None:
    def counted(**counts: object) -> bool | None:
        return wire.read_sent(Service.KAKAO, msgspec.json.encode({"msgs": [], **counts}))[1]

    assert counted(successCnt="1", failCnt="0") is True
    assert counted(successCnt=0, failCnt=1) is False
    assert counted(successCnt="0", failCnt="0") is None
    assert counted() is None
