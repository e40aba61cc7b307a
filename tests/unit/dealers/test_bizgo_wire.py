from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.base import (
    AlimTalk,
    Ambiguous,
    BrandMessage,
    Button,
    Content,
    Item,
    Links,
    NotTaken,
    Outgoing,
    QuickReply,
    Refused,
    Text,
)
from shared.dealers.bizgo import content, wire
from shared.dealers.bizgo.gateway import Gateway
from shared.dealers.bizgo.wire import Layer, Said
from shared.dealers.codes import load_table
from shared.dealers.http import Answer, Lost, NotReached
from shared.ids import MessageId

PLAIN = AlimTalk("S" * 40, "order-paid", {"이름": "봉수"}, "봉수님, 결제되었습니다.")
WEB = Button("WL", "보기", "https://m.example", "https://pc.example")


def outgoing(body: Content, channel: Channel = Channel.ALIMTALK) -> Outgoing:
    return Outgoing(MessageId(UUID(int=1)), 1, "key1", channel, "01012345678", body)


def flow(body: Content, channel: Channel = Channel.ALIMTALK) -> Any:  # noqa: ANN401 - JSON
    encoded = content.encode(outgoing(body, channel))
    assert isinstance(encoded, bytes)
    [item] = msgspec.json.decode(encoded)["messageFlow"]
    return item


def refusal(body: Content, channel: Channel = Channel.ALIMTALK) -> tuple[str, str]:
    refused = content.encode(outgoing(body, channel))
    assert isinstance(refused, Refused)
    return refused.reason, refused.detail


# -- out ---------------------------------------------------------------------------------------------------------


def test_a_request_has_one_recipient_one_channel_and_our_key_everywhere() -> None:
    assert content.request_of(outgoing(Text("0212345678", "안녕"), Channel.SMS)) == {
        "destinations": [{"to": "01012345678"}],
        "messageFlow": [{"sms": {"from": "0212345678", "text": "안녕"}}],
        "ref": "key1",
        "groupKey": "key1",
        "idempotencyKey": "key1",
        "idempotencyTtl": 86400,
    }


def test_variables_alone_are_put_in_by_bizgo() -> None:
    request = content.request_of(outgoing(PLAIN))
    assert request["destinations"] == [{"to": "01012345678", "replaceWords": {"이름": "봉수"}}]
    assert request["messageFlow"] == [
        {
            "alimtalk": {
                "senderKey": "S" * 40,
                "templateCode": "order-paid",
                "responseMethod": "push",
                "sendType": "template",
            }
        }
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"variables": {}},
        {"buttons": (WEB,)},
        {"title": "12,000원"},
        {"header": "결제"},
        {"highlight": Item("제목", "설명")},
        {"items": (Item("상품", "감자"), Item("수량", "1"))},
        {"summary": Item("합계", "1원")},
        {"link": Links("https://m.example", "https://pc.example")},
        {"quick_replies": (QuickReply("BK", "문의"),)},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_bizgo_is_not_known_to_fill_in_goes_as_final_text(more: dict[str, Any]) -> None:
    alimtalk = flow(replace(PLAIN, **more))["alimtalk"]
    assert (alimtalk["text"], alimtalk["msgType"]) == (PLAIN.text, "AT")
    assert "sendType" not in alimtalk


def test_an_alimtalk_with_an_image_is_called_so() -> None:
    assert flow(replace(PLAIN, variables={}, has_image=True))["alimtalk"]["msgType"] == "AI"


_KINDS = {
    "BC": {"chat_extra": "x"},
    "BT": {"chat_extra": "x", "chat_event": "e"},
    "BF": {"biz_form_id": "7"},
    "P1": {"plugin_id": "p", "relay_id": "r"},
    "P3": {"plugin_id": "p", "one_click_id": "o", "product_id": "q"},
    "TN": {"phone": "02-1234-5678"},
    "AL": {"scheme_android": "a://", "scheme_ios": "i://"},
}
_NAMES = {
    "chat_extra": "chatExtra",
    "chat_event": "chatEvent",
    "biz_form_id": "bizFormId",
    "plugin_id": "pluginId",
    "relay_id": "relayId",
    "one_click_id": "oneclickId",
    "product_id": "productId",
    "phone": "telNumber",
    "scheme_android": "schemeAndroid",
    "scheme_ios": "schemeIos",
}


@pytest.mark.parametrize("kind", ["WL", "AL", "DS", "BK", "MD", "BC", "BT", "AC", "BF", "P1", "P2", "P3", "TN"])
def test_every_kind_of_button_keeps_its_fields(kind: str) -> None:
    fields = _KINDS.get(kind, {})
    [button] = flow(replace(PLAIN, buttons=(Button(kind, "이름", **fields),)))["alimtalk"]["attachment"]["button"]
    assert button == {"type": kind, "name": "이름", **{_NAMES[name]: value for name, value in fields.items()}}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        pytest.param({"link": Links("https://m.example")}, "link: Bizgo wants url_mobile and url_pc", id="link"),
        pytest.param({"items": (Item("a", "b"),)}, "items: 2 to 10 of them", id="one-item"),
    ],
)
def test_a_field_the_wire_lacks_is_refused_by_name(change: dict[str, Any], detail: str) -> None:
    assert refusal(replace(PLAIN, **change)) == ("invalid_request", detail)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"text": "가" * 1301, "variables": {}}, "text: more than 1300 characters"),
        ({"title": "가" * 51}, "title: more than 50 characters"),
        ({"header": "가" * 17}, "header: more than 16 characters"),
        ({"highlight": Item("가" * 31, "")}, "highlight.title: more than 30 characters"),
        ({"highlight": Item("가" * 22, ""), "has_image": True}, "highlight.title: more than 21 characters"),
        ({"items": (Item("가" * 7, ""), Item("", ""))}, "items.title: more than 6 characters"),
        ({"summary": Item("", "1" * 15)}, "summary.description: more than 14 characters"),
        ({"quick_replies": (QuickReply("BK", "가" * 15),)}, "quick_replies.name: more than 14 characters"),
    ],
)
def test_a_field_that_is_too_long_is_refused_by_name(change: dict[str, Any], detail: str) -> None:
    assert refusal(replace(PLAIN, **change)) == ("content_too_long", detail)


def test_texts_are_counted_in_cp949() -> None:
    sms, lms = Text("02", "똠" * 45), Text("02", "똠" * 1000, subject="가" * 20)
    assert flow(sms, Channel.SMS)["sms"]["text"] == sms.text
    assert flow(lms, Channel.LMS)["mms"] == {"from": "02", "title": lms.subject, "text": lms.text}
    assert refusal(replace(sms, text="똠" * 45 + "a"), Channel.SMS) == ("content_too_long", "text: more than 90 bytes")
    assert refusal(replace(lms, subject="가" * 21), Channel.LMS)[1] == "subject: more than 40 bytes"
    assert refusal(replace(lms, text="a" * 2001), Channel.LMS)[1] == "text: more than 2000 bytes"


@pytest.mark.parametrize(("text", "shown"), [("안녕 😀", "😀 U+1F600"), ("a\u200bb", "U+200B"), ("\ud800", "U+D800")])
def test_what_no_carrier_brings_is_named(text: str, shown: str) -> None:
    assert refusal(Text("02", text), Channel.SMS) == ("content_charset", f"text: no carrier brings {shown}")


def test_half_of_a_surrogate_pair_is_no_text_for_kakao_either() -> None:
    assert refusal(replace(PLAIN, variables={}, text="\ud800"))[0] == "content_charset"


def test_an_mms_has_images_and_no_other_text_has() -> None:
    mms = Text("02", "안녕", images=("FILE1", "FILE2"))
    assert flow(mms, Channel.MMS)["mms"] == {"from": "02", "text": "안녕", "fileKey": ["FILE1", "FILE2"]}
    for text, channel in [
        (replace(mms, images=()), Channel.MMS),
        (mms, Channel.LMS),
        (mms, Channel.SMS),
        (replace(mms, images=("1", "2", "3", "4")), Channel.MMS),
    ]:
        assert refusal(text, channel)[0] == "invalid_request"


BRAND = BrandMessage("S" * 40, "가을 감자", image="https://k.example/a.jpg", image_link="https://example")


def test_a_brand_message_is_free_form() -> None:
    message = flow(replace(BRAND, buttons=(WEB,)), Channel.FRIENDTALK)["brandmessage"]
    assert message == {
        "sendType": "free",
        "msgType": "FI",
        "senderKey": "S" * 40,
        "text": "가을 감자",
        "adFlag": "Y",
        "attachment": {
            "button": [{"type": "WL", "name": "보기", "urlPc": "https://pc.example", "urlMobile": "https://m.example"}],
            "image": {"imgUrl": "https://k.example/a.jpg", "imgLink": "https://example"},
        },
    }


@pytest.mark.parametrize(
    ("change", "kind", "longest"),
    [({"image": None, "image_link": None}, "FT", 1300), ({}, "FI", 400), ({"wide": True}, "FW", 76)],
)
def test_a_brand_messages_length_goes_by_its_kind(change: dict[str, Any], kind: str, longest: int) -> None:
    message = replace(BRAND, **change)
    fits = flow(replace(message, text="가" * longest), Channel.FRIENDTALK)["brandmessage"]
    assert fits["msgType"] == kind
    assert refusal(replace(message, text="가" * (longest + 1)), Channel.FRIENDTALK)[0] == "content_too_long"


@pytest.mark.parametrize(
    "change",
    [
        {"image": None},
        {"image": None, "image_link": None, "wide": True},
        {"buttons": (WEB,) * 6},
        {"buttons": (Button("WL", "보기", "https://m.example"),)},
        {"buttons": (Button("AL", "앱"),)},
        {"buttons": (Button("TN", "전화", phone="02"),)},
        {"buttons": (Button("BF", "예약", biz_form_id="7"),)},
    ],
)
def test_what_a_brand_message_cannot_have_is_refused(change: dict[str, Any]) -> None:
    assert refusal(replace(BRAND, **change), Channel.FRIENDTALK)[0] == "invalid_request"


def test_a_message_goes_only_over_its_own_channel() -> None:
    assert refusal(PLAIN, Channel.SMS)[0] == "invalid_request"
    assert refusal(Text("02", "안녕"), Channel.ALIMTALK)[0] == "invalid_request"


# -- in ----------------------------------------------------------------------------------------------------------


def gateway() -> Gateway:
    return Gateway("bizgo", "https://mars.ibapi.kr", api_key="K", timeout_seconds=1)


def answer(status: int, *, gateway_code: str = "A000", code: str | None = None, **more: object) -> Answer:
    body: dict[str, object] = {"common": {"authCode": gateway_code}}
    if code is not None:
        body["data"] = {"code": code, **more}
    return Answer(status, msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(NotReached("POST refused"), NotTaken("dealer_unavailable", detail="POST refused"), id="unreached"),
        pytest.param(Lost("POST cut"), Ambiguous("POST cut"), id="lost"),
        pytest.param(answer(200, code="A000"), Said(Layer.SERVICE, "A000", None, b""), id="ok"),
        pytest.param(answer(200, code="A301"), Said(Layer.SERVICE, "A301", None, b""), id="taken-before-200"),
        pytest.param(answer(400, code="A301"), Said(Layer.SERVICE, "A301", None, b""), id="taken-before-400"),
        pytest.param(answer(400, code="A401"), Refused("invalid_request", "A401", "wrong paymentCode"), id="service"),
        pytest.param(answer(200, code="A327"), Refused("sender_number_unregistered", "A327", "sender number not"
                     " registered"), id="service-within-200"),
        pytest.param(answer(401, gateway_code="A401"), Refused("auth_failed", "A401", "key missing or wrong"),
                     id="gateway"),
        pytest.param(answer(400, code="A777"), Refused("unknown", "A777"), id="unknown-service-code"),
        pytest.param(answer(200, code="A777"), Refused("unknown", "A777"), id="unknown-service-code-200"),
        pytest.param(answer(403, gateway_code="A777"), Refused("unknown", "A777"), id="unknown-gateway-code"),
        pytest.param(answer(200, gateway_code="A777"), Ambiguous("HTTP 200 with the unknown gateway code A777"),
                     id="unknown-gateway-code-200"),
        pytest.param(answer(200, code="A999"), Ambiguous("code A999"), id="broken-within-200"),
        pytest.param(answer(200, code="A950"), Ambiguous("code A950"), id="unknown-of-the-broken"),
        pytest.param(answer(200, code="10000"), Ambiguous("code 10000"), id="a-report-code-accepts-nothing"),
        pytest.param(answer(500, code="A910"), Ambiguous("HTTP 500 A910"), id="500"),
        pytest.param(answer(503, code="A920"), Ambiguous("HTTP 503 A920"), id="503"),
        pytest.param(answer(302, code="A000"), Ambiguous("HTTP 302 A000"), id="redirect"),
        pytest.param(answer(400, code="A000"), Ambiguous("HTTP 400, and its body says that all is well"), id="both"),
        pytest.param(answer(200, code="A020"), NotTaken("rate_limited", "A020", "over the limit of a second"),
                     id="limit-within-200"),
        pytest.param(Answer(429, b"slow down"), NotTaken("rate_limited", "HTTP 429"), id="limit-unread"),
        pytest.param(Answer(401, b"<html>"), Refused("auth_failed", "HTTP 401"), id="401-unread"),
        pytest.param(Answer(404, b""), Refused("invalid_request", "HTTP 404", "not an answer of Bizgo's: is base_url"
                     " right?"), id="404-unread"),
        pytest.param(Answer(408, b""), Ambiguous("HTTP 408, and the answer cannot be read"), id="408-unread"),
        pytest.param(Answer(200, b'{"common":{"authCode":"A0'), Ambiguous("HTTP 200, and the answer cannot be read"),
                     id="cut"),
        pytest.param(answer(200), Ambiguous("HTTP 200, and the answer cannot be read"), id="no-service"),
    ],
)  # fmt: skip
def test_what_is_certain_after_a_call(outcome: Answer | Lost | NotReached, expected: object) -> None:
    assert gateway().read(outcome) == expected


@given(st.integers(200, 599), st.binary())
def test_no_answer_makes_it_raise_and_only_a000_is_well(status: int, body: bytes) -> None:
    said = gateway().read(Answer(status, body))
    assert not (isinstance(said, Said) and said.is_ok)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["A000", "A301", "10000"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["common", "data", "code", "authCode", "ref", "destinations", "msgKey", "messages", "report"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_odd_json_is_read_or_unreadable(value: object) -> None:
    body = msgspec.json.encode(value)
    for read in (wire.read_answer, wire.read_destinations, wire.read_messages, wire.read_polled, wire.read_file):
        try:
            read(body)
        except wire.Unreadable:
            continue


@pytest.mark.parametrize("value", [None, 7, "", "..", "a/b", "a b", "가", "a" * 101, "-x", "a\n"])
def test_no_id_leaves_its_place_in_a_path(value: object) -> None:
    assert wire.identifier(value) is None


def test_the_words_of_a_report_hide_numbers() -> None:
    message = wire.Message(report_text="실패 010-1234-5678 (3018)\n" + "x" * 200)
    assert message.words.startswith("실패 ...")
    assert "1234" not in message.words
    assert len(message.words) <= 100


# -- codes -------------------------------------------------------------------------------------------------------


def test_the_same_code_means_what_its_layer_says() -> None:
    service, gate = load_table("shared.dealers.bizgo"), load_table("shared.dealers.bizgo", "gateway.csv")
    assert (service.reason("A401"), gate.reason("A401")) == ("invalid_request", "auth_failed")


def test_only_10000_and_a_polled_ms03_are_deliveries() -> None:
    lines = load_table("shared.dealers.bizgo").lines
    assert [code for (code, _), meaning in lines.items() if meaning.delivered] == ["10000", "MS03"]
    assert load_table("shared.dealers.bizgo").read("ME09").delivered is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("A020", "rate_limited"),
        ("A301", "duplicate"),
        ("A306", "invalid_phone"),
        ("A320", "quota_exceeded"),
        ("A322", "spam_blocked"),
        ("A324", "opted_out"),
        ("A327", "sender_number_unregistered"),
        ("A330", "night_ban"),
        ("A502", "sender_profile_invalid"),
        ("A505", "template_not_found"),
        ("A564", "button_mismatch"),
    ],
)
def test_codes_of_the_service(code: str, reason: str) -> None:
    assert load_table("shared.dealers.bizgo").reason(code) == reason
