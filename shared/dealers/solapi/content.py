"""Messages as SOLAPI wants them, and what it has no place for, refused by name before any call.

Sources: SOLAPI's Node SDK 6.0.1 of 2026-04-21 (``kakaoButton``, ``kakaoOption``, ``bmsConstraints``), its Python SDK
5.0.3, and its pages on adding messages to a group (developers.solapi.com, ``addGroupMessages``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Outgoing, QuickReply, Refused, Text
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY_FIELD = "bongsu_key"
"""the custom field that carries our request key there and back"""

TYPES = {
    Channel.ALIMTALK: "ATA",
    Channel.FRIENDTALK: "BMS_FREE",
    Channel.SMS: "SMS",
    Channel.LMS: "LMS",
    Channel.MMS: "MMS",
}

ALIMTALK_CHARACTERS = 1000
BRAND_CHARACTERS = 1300
BRAND_LINE_BREAKS = 99
BRAND_BUTTONS = 5
BRAND_BUTTON_NAME = 14
IMAGE_ID = re.compile(r"[\x21-\x7e]{1,32}")

BUTTONS = frozenset({"WL", "AL", "DS", "BK", "MD", "BC", "BT", "AC"})
QUICK_REPLIES = frozenset({"WL", "AL", "BK", "BC", "BT"})
_LINKS = {
    "url_mobile": "linkMo",
    "url_pc": "linkPc",
    "scheme_android": "linkAnd",
    "scheme_ios": "linkIos",
    "chat_extra": "chatExtra",
}
_BRAND_LINKS = {
    "url_mobile": "linkMobile",
    "url_pc": "linkPc",
    "scheme_android": "linkAndroid",
    "scheme_ios": "linkIos",
    "chat_extra": "chatExtra",
}
_BRAND_FIELDS: Mapping[str, frozenset[str]] = {
    "WL": frozenset({"url_mobile", "url_pc"}),
    "AL": frozenset({"url_mobile", "scheme_android", "scheme_ios"}),
    "AC": frozenset(),
    "BK": frozenset({"chat_extra"}),
    "MD": frozenset({"chat_extra"}),
    "BC": frozenset({"chat_extra"}),
    "BT": frozenset({"chat_extra"}),
    "BF": frozenset(),
}
"""kind -> what a button of a brand message may have besides its name"""

_MORE = (
    *_LINKS,
    "chat_event",
    "biz_form_id",
    "plugin_id",
    "relay_id",
    "one_click_id",
    "product_id",
    "phone",
)
"""everything that a button or a quick reply may carry"""

_WEB = re.compile(r"https?://[^\s/?#]*[^\s/?#.]\.[A-Za-z0-9]{1,64}(:\d+)?([/?#]\S*)?", re.ASCII)


# -- what goes out -----------------------------------------------------------------------------------------------


def message_of(outgoing: Outgoing) -> dict[str, Any]:
    """Return a message as SOLAPI wants it, one that ``refusal_of`` lets pass.

    An AlimTalk goes as template and variables, without ``text``: SOLAPI puts the variables into all that Kakao
    inspected (text, title, header, item list, highlight), so a difference of ours in a space or a line break cannot
    make a mismatch (1043, 3103). ``variables`` is there even when empty, as in the SDK's example: it is what chooses
    this way. Buttons and quick replies go along: they alone carry what is not in the template (``chatExtra``).
    """
    message: dict[str, Any] = {
        "to": outgoing.to,
        "country": "82",
        "type": TYPES[outgoing.channel],
        "autoTypeDetect": False,
        "customFields": {KEY_FIELD: outgoing.request_key},
    }
    match outgoing.content:
        case AlimTalk() as alimtalk:
            message["kakaoOptions"] = _alimtalk(alimtalk)
            if alimtalk.sender is not None:
                message["from"] = alimtalk.sender
        case BrandMessage() as brand:
            message["text"] = brand.text
            message["kakaoOptions"] = {"pfId": brand.sender_key, "disableSms": True, "bms": _bms(brand)}
            if brand.sender is not None:
                message["from"] = brand.sender
        case Text() as text:
            message["from"] = text.sender
            message["text"] = text.text
            if text.subject is not None and outgoing.channel is not Channel.SMS:
                message["subject"] = text.subject
            if text.images:
                message["imageId"] = str(text.images[0])
    return message


def _alimtalk(alimtalk: AlimTalk) -> dict[str, Any]:
    options: dict[str, Any] = {
        "pfId": alimtalk.sender_key,
        "templateId": alimtalk.template_code,
        "variables": {f"#{{{name}}}": value for name, value in alimtalk.variables.items()},
        "disableSms": True,
    }
    if alimtalk.buttons:
        options["buttons"] = [
            {"buttonName": button.name, "buttonType": button.kind, **_present(button, _LINKS)}
            for button in alimtalk.buttons
        ]
    if alimtalk.quick_replies:
        options["quickReplies"] = [
            {"name": reply.name, "linkType": reply.kind, **_present(reply, _LINKS)} for reply in alimtalk.quick_replies
        ]
    return options


def _bms(brand: BrandMessage) -> dict[str, Any]:
    """Return a free-form brand message to friends of the channel (I), among the given numbers."""
    bms: dict[str, Any] = {"targeting": "I", "chatBubbleType": "TEXT"}
    if brand.image is not None:
        bms |= {"chatBubbleType": "IMAGE", "imageId": str(brand.image)}
    if brand.image_link is not None:
        bms["imageLink"] = brand.image_link
    if brand.buttons:
        bms["buttons"] = [
            {"linkType": button.kind, "name": button.name, **_present(button, _BRAND_LINKS)} for button in brand.buttons
        ]
    return bms


def _present(part: Button | QuickReply, names: Mapping[str, str]) -> dict[str, str]:
    return {theirs: value for ours, theirs in names.items() if (value := getattr(part, ours)) is not None}


# -- what is refused before any call -----------------------------------------------------------------------------


def refusal_of(outgoing: Outgoing) -> Refused | None:
    """Return why SOLAPI cannot carry a message, or None."""
    match outgoing.content:
        case AlimTalk() as alimtalk:
            return _of_alimtalk(alimtalk)
        case BrandMessage() as brand:
            return _of_brand(brand)
        case Text() as text:
            return _of_text(outgoing.channel, text)


def _of_alimtalk(alimtalk: AlimTalk) -> Refused | None:
    if len(alimtalk.text) > ALIMTALK_CHARACTERS:
        return Refused("content_too_long", "", f"{len(alimtalk.text):,} characters of {ALIMTALK_CHARACTERS:,}")
    return _first(_problems_of_alimtalk(alimtalk))


def _problems_of_alimtalk(alimtalk: AlimTalk) -> Iterator[str]:
    for name in alimtalk.variables:
        if "." in name:
            yield f"variable {name[:20]}: SOLAPI takes no dot in a name"
    if alimtalk.link is not None:
        yield "link: SOLAPI's templates have no representative link"
    for field, parts, kinds in (
        ("buttons", alimtalk.buttons, BUTTONS),
        ("quick_replies", alimtalk.quick_replies, QUICK_REPLIES),
    ):
        for part in parts:
            if part.kind not in kinds:
                yield f"{field}: SOLAPI has none of kind {part.kind}"
            for name in sorted(_set(part) - _LINKS.keys()):
                yield f"{field}: {part.kind} with {name}"


def _of_brand(brand: BrandMessage) -> Refused | None:
    if len(brand.text) > BRAND_CHARACTERS:
        return Refused("content_too_long", "", f"{len(brand.text):,} characters of {BRAND_CHARACTERS:,}")
    if brand.image is not None and not IMAGE_ID.fullmatch(brand.image):
        return Refused("invalid_attachment", "", "image: not an id that SOLAPI gave")
    return _first(_problems_of_brand(brand))


def _problems_of_brand(brand: BrandMessage) -> Iterator[str]:
    if not brand.text:
        yield "text: there is none"
    if (breaks := len(re.findall(r"\r\n|\r|\n", brand.text))) > BRAND_LINE_BREAKS:
        yield f"text: {breaks} line breaks of {BRAND_LINE_BREAKS}"
    if not brand.advertising:
        yield "advertising: a brand message of SOLAPI's always is an advertisement"
    if brand.wide:
        yield "wide: its image would have to be uploaded as a wide one"
    if brand.image_link is not None:
        if brand.image is None:
            yield "image_link: there is no image"
        if not _WEB.fullmatch(brand.image_link):
            yield "image_link: no address that begins with http"
    if len(brand.buttons) > BRAND_BUTTONS:
        yield f"buttons: more than {BRAND_BUTTONS}"
    for button in brand.buttons:
        yield from _problems_of_brand_button(button)


def _problems_of_brand_button(button: Button) -> Iterator[str]:
    if button.kind not in _BRAND_FIELDS:
        yield f"buttons: a brand message has none of kind {button.kind}"
        return
    given = _set(button)
    for name in sorted(given - _BRAND_FIELDS[button.kind]):
        yield f"buttons: {button.kind} with {name}"
    if button.kind == "WL" and button.url_mobile is None:
        yield "buttons: WL without url_mobile"
    if button.kind == "AL" and not given:
        yield "buttons: AL without a link"
    if button.kind != "AC" and not 1 <= len(button.name) <= BRAND_BUTTON_NAME:
        yield f"buttons: a name of {len(button.name)} characters, of {BRAND_BUTTON_NAME}"
    if re.search(r"#\{[^#{}]+\}", button.name):
        yield "buttons: a variable in a name"
    for name in ("url_mobile", "url_pc"):
        if (url := getattr(button, name)) is not None and not _WEB.fullmatch(url):
            yield f"buttons: {name} is no address that begins with http"


def _of_text(channel: Channel, text: Text) -> Refused | None:
    subject = (text.subject or "") if channel is not Channel.SMS else ""
    if lost := uncarried(text.text + subject):
        return Refused("content_charset", "", f"no carrier brings {', '.join(map(_named, lost[:5]))}")
    limit = SMS_BYTES if channel is Channel.SMS else LMS_BYTES
    if (size := byte_length(text.text)) > limit:
        return Refused("content_too_long", "", f"{size:,} bytes of {limit:,}")
    if (size := byte_length(subject)) > SUBJECT_BYTES:
        return Refused("content_too_long", "", f"subject of {size:,} bytes of {SUBJECT_BYTES}")
    wanted = 1 if channel is Channel.MMS else 0
    if len(text.images) != wanted:
        return Refused("invalid_attachment", "", f"images: {len(text.images)}, where {channel} has {wanted}")
    if any(not IMAGE_ID.fullmatch(image) for image in text.images):
        return Refused("invalid_attachment", "", "images: not an id that SOLAPI gave")
    return None


def _set(part: Button | QuickReply) -> set[str]:
    return {name for name in _MORE if getattr(part, name, None) is not None}


def _first(problems: Iterator[str]) -> Refused | None:
    problem = next(problems, None)
    return None if problem is None else Refused("invalid_request", "", problem)


def _named(character: str) -> str:
    shown = f"{character} " if character.isprintable() else ""
    return f"{shown}(U+{ord(character):04X})"
