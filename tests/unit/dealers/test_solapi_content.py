"""What goes on SOLAPI's wire, and what is refused by name because it has no place there."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    ImageUse,
    Item,
    Links,
    Outgoing,
    QuickReply,
    Refused,
    Text,
)
from shared.dealers.solapi.content import message_of, refusal_of
from shared.dealers.solapi.storage import refusal_of_image
from shared.ids import MessageId

PAGE = "https://shop.example/a"
ALIMTALK = AlimTalk("KA01PF1", "KA01TP1", {"이름": "봉수"}, "봉수님")
BRAND = BrandMessage("KA01PF1", "봄")
TEXT = Text("0212345678", "안녕")
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def sent(content: AlimTalk | BrandMessage | Text, channel: Channel | None = None) -> Outgoing:
    if channel is None:
        channel = {AlimTalk: Channel.ALIMTALK, BrandMessage: Channel.FRIENDTALK, Text: Channel.LMS}[type(content)]
    return Outgoing(MessageId(UUID(int=1)), 1, "k", channel, "01012345678", content)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"variables": {"이.름": "x"}}, "variable 이.름: SOLAPI takes no dot in a name"),
        ({"link": Links(PAGE)}, "link: SOLAPI's templates have no representative link"),
        ({"buttons": (Button("TN", "전화 연결", phone="0212345678"),)}, "buttons: SOLAPI has none of kind TN"),
        ({"buttons": (Button("P1", "x", plugin_id="p"),)}, "buttons: SOLAPI has none of kind P1"),
        ({"buttons": (Button("BF", "톡에서 예약하기", biz_form_id="7"),)}, "buttons: SOLAPI has none of kind BF"),
        ({"buttons": (Button("BT", "봇", chat_event="e"),)}, "buttons: BT with chat_event"),
        ({"quick_replies": (QuickReply("BF", "예약"),)}, "quick_replies: SOLAPI has none of kind BF"),
        ({"quick_replies": (QuickReply("BT", "봇", chat_event="e"),)}, "quick_replies: BT with chat_event"),
    ],
)
def test_what_an_alimtalk_cannot_have_here_is_named(change: dict[str, Any], detail: str) -> None:
    assert refusal_of(sent(replace(ALIMTALK, **change))) == Refused("invalid_request", "", detail)


def test_what_solapi_renders_stays_off_the_wire_and_is_not_refused() -> None:
    full = replace(
        ALIMTALK,
        title="제목",
        header="머리",
        highlight=Item("a", "b"),
        items=(Item("a", "b"),),
        summary=Item("합계", "1원"),
        has_image=True,
    )
    assert refusal_of(sent(full)) is None
    assert message_of(sent(full))["kakaoOptions"] == message_of(sent(ALIMTALK))["kakaoOptions"]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"text": ""}, "text: there is none"),
        ({"text": "\n" * 100 + "x"}, "text: 100 line breaks of 99"),
        ({"advertising": False}, "advertising: a brand message of SOLAPI's always is an advertisement"),
        ({"wide": True, "image": "ST01FZ1"}, "wide: its image would have to be uploaded as a wide one"),
        ({"image_link": PAGE}, "image_link: there is no image"),
        ({"image": "ST01FZ1", "image_link": "shop://a"}, "image_link: no address that begins with http"),
        ({"buttons": (Button("AC", "x"),) * 6}, "buttons: more than 5"),
        ({"buttons": (Button("DS", "배송"),)}, "buttons: a brand message has none of kind DS"),
        ({"buttons": (Button("WL", "보기"),)}, "buttons: WL without url_mobile"),
        ({"buttons": (Button("WL", "보기", PAGE, scheme_ios="a://"),)}, "buttons: WL with scheme_ios"),
        ({"buttons": (Button("AL", "앱"),)}, "buttons: AL without a link"),
        ({"buttons": (Button("AL", "앱", PAGE, PAGE),)}, "buttons: AL with url_pc"),
        ({"buttons": (Button("WL", "가" * 15, PAGE),)}, "buttons: a name of 15 characters, of 14"),
        ({"buttons": (Button("WL", "#{이름}", PAGE),)}, "buttons: a variable in a name"),
        (
            {"buttons": (Button("WL", "보기", "https://shop"),)},
            "buttons: url_mobile is no address that begins with http",
        ),
        ({"buttons": (Button("BF", "예약", biz_form_id="7"),)}, "buttons: BF with biz_form_id"),
        ({"buttons": (Button("BT", "봇", chat_event="e"),)}, "buttons: BT with chat_event"),
    ],
)
def test_what_a_brand_message_cannot_have_here_is_named(change: dict[str, Any], detail: str) -> None:
    assert refusal_of(sent(replace(BRAND, **change))) == Refused("invalid_request", "", detail)


@pytest.mark.parametrize("url", [PAGE, "http://shop.example", "https://shop.example:8443/a?b=#c", "https://a.b.co.kr"])
def test_addresses_that_pass(url: str) -> None:
    assert refusal_of(sent(replace(BRAND, buttons=(Button("WL", "보기", url),)))) is None


@pytest.mark.parametrize(
    ("outgoing", "reason"),
    [
        (sent(replace(ALIMTALK, text="가" * 1001)), "content_too_long"),
        (sent(replace(BRAND, text="가" * 1301)), "content_too_long"),
        (sent(replace(BRAND, image="x" * 33)), "invalid_attachment"),
        (sent(replace(TEXT, text="안녕 😀")), "content_charset"),
        (sent(replace(TEXT, subject="😀")), "content_charset"),
        (sent(replace(TEXT, text="가" * 46), Channel.SMS), "content_too_long"),
        (sent(replace(TEXT, text="가" * 1001)), "content_too_long"),
        (sent(replace(TEXT, subject="가" * 21)), "content_too_long"),
        (sent(replace(TEXT, images=("ST01FZ1",))), "invalid_attachment"),
        (sent(TEXT, Channel.MMS), "invalid_attachment"),
        (sent(replace(TEXT, images=("ST01FZ1",) * 2), Channel.MMS), "invalid_attachment"),
        (sent(replace(TEXT, images=("not an id",)), Channel.MMS), "invalid_attachment"),
    ],
)
def test_what_is_too_long_or_not_carried(outgoing: Outgoing, reason: str) -> None:
    refusal = refusal_of(outgoing)
    assert refusal is not None
    assert refusal.reason == reason


def test_a_character_that_no_carrier_brings_is_named() -> None:
    refusal = refusal_of(sent(replace(TEXT, text="안녕 😀")))
    assert refusal is not None
    assert refusal.detail == "no carrier brings 😀 (U+1F600)"


_WORDS = st.none() | st.text("가나다abc", min_size=1, max_size=9)
_LINKS = st.none() | st.sampled_from([PAGE, "https://shop.example/b", "shop://a"])
_KINDS = st.sampled_from(["WL", "AL", "DS", "BK", "MD", "BC", "BT", "AC", "BF", "P1", "P2", "P3", "TN"])


def parts(kind: type[Button | QuickReply]) -> st.SearchStrategy[Any]:
    given_by = {field.name: _LINKS if field.name.startswith(("url", "scheme")) else _WORDS for field in fields(kind)}
    return st.builds(kind, **given_by | {"kind": _KINDS, "name": st.text("가나다", min_size=1, max_size=14)})


@given(st.lists(parts(Button), max_size=2), st.lists(parts(QuickReply), max_size=2))
def test_nothing_of_a_button_is_dropped_in_silence(buttons: list[Button], replies: list[QuickReply]) -> None:
    for content in (
        replace(ALIMTALK, buttons=tuple(buttons), quick_replies=tuple(replies)),
        replace(BRAND, buttons=tuple(buttons)),
    ):
        if refusal_of(sent(content)) is not None:
            continue
        wire = msgspec.json.encode(message_of(sent(content))).decode()
        shown: list[Button | QuickReply] = [*buttons, *(replies if isinstance(content, AlimTalk) else [])]
        for part in shown:
            for field in fields(part):
                value = getattr(part, field.name)
                assert value is None or f'"{value}"' in wire, field.name


@pytest.mark.parametrize(
    ("use", "image", "taken"),
    [
        (ImageUse.MMS, JPEG, True),
        (ImageUse.MMS, PNG, False),
        (ImageUse.MMS, JPEG + bytes(200 * 1024), False),
        (ImageUse.BRAND, JPEG + bytes(200 * 1024), True),
        (ImageUse.BRAND, PNG, True),
        (ImageUse.BRAND, b"GIF89a", False),
        (ImageUse.BRAND, PNG + bytes(5 * 1024 * 1024), False),
    ],
)
def test_images(use: ImageUse, image: bytes, taken: bool) -> None:  # noqa: FBT001 - a table
    refusal = refusal_of_image(use, image)
    assert (refusal is None) is taken
    assert refusal is None or refusal.reason == "invalid_attachment"
