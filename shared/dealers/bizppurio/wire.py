"""What goes over Bizppurio's wire: our messages as its JSON, and its answers as our words.

Fields are those of the manual v3.0.1 (github.com/BizMsg/WebAPI, 2023-08) and, where that is silent, of the spec
v2.7 (github.com/bizppurio-api/api-documentation, 2021-11); ``link`` is of v3.5 (biztech.gitbook.io/webapi).
"""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Item, Links, Outgoing, QuickReply, Text
from shared.dealers.printable import printable
from shared.text import LMS_BYTES, SMS_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dealers.http import Answer

SUBJECT_BYTES = 64
ALIMTALK_CHARACTERS = 1000
MMS_IMAGES = 3
IMAGE_BYTES = 300_000
BUTTONS = 5
QUICK_REPLIES = 10

SUCCESS = "1000"
NO_SUCH_MESSAGE = "3012"
NOT_REPORTED_YET = "3013"
CANNOT_ASK_AGAIN = "5000"

_TYPES = {Channel.SMS: "sms", Channel.LMS: "lms", Channel.MMS: "mms"}

_WEB = frozenset({"url_mobile", "url_pc"})
_APP = _WEB | {"scheme_android", "scheme_ios"}
_FRIEND_BUTTONS = {
    "WL": _WEB,
    "AL": _APP,
    "BK": frozenset[str](),
    "MD": frozenset[str](),
    "BC": frozenset({"chat_extra"}),
    "BT": frozenset({"chat_extra", "chat_event"}),
}
_BUTTONS = {
    **_FRIEND_BUTTONS,
    "DS": frozenset[str](),
    "AC": frozenset[str](),
    "P1": frozenset[str](),
    "P2": frozenset[str](),
    "P3": frozenset({"one_click_id", "product_id"}),
}
"""P1 to P3 stand in v2.7 only, and without the plugin's id"""
_QUICK_REPLIES = {**_FRIEND_BUTTONS, "DS": frozenset[str]()}
_ON_THE_WIRE = {"one_click_id": "oneclick_id"}


class Unfit(Exception):
    """A message that Bizppurio's wire cannot carry as it is. ``reason`` is of our taxonomy."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


# -- out ---------------------------------------------------------------------------------------------------------


def encode(outgoing: Outgoing, account: str) -> bytes:
    """Return the body of the call that sends ``outgoing``. Raises ``Unfit``.

    Without ``resend`` and ``recontent`` Bizppurio sends nothing else when it fails: there is no other switch.
    """
    kind, sender, content = _content_of(outgoing)
    if not sender:
        raise Unfit("invalid_request", "sender: Bizppurio wants a `from` with every message, an AlimTalk as well")
    message = {
        "account": account,
        "refkey": outgoing.request_key,
        "type": kind,
        "from": sender,
        "to": outgoing.to,
        "content": {kind: content},
    }
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise Unfit("content_charset", "not a text") from error


def _content_of(outgoing: Outgoing) -> tuple[str, str | None, dict[str, Any]]:
    match outgoing.content:
        case AlimTalk() as alimtalk:
            return ("ai" if alimtalk.has_image else "at"), alimtalk.sender, _alimtalk_of(alimtalk)
        case BrandMessage() as brand:
            return "ft", brand.sender, _friendtalk_of(brand)
        case Text() as text:
            return _TYPES[outgoing.channel], text.sender, _text_of(outgoing.channel, text)


def _alimtalk_of(alimtalk: AlimTalk) -> dict[str, Any]:
    _check_length(alimtalk.text)
    content: dict[str, Any] = {
        "senderkey": alimtalk.sender_key,
        "templatecode": alimtalk.template_code,
        "message": alimtalk.text,
    }
    if alimtalk.title is not None:
        content["title"] = alimtalk.title
    if alimtalk.header is not None:
        content["header"] = alimtalk.header
    if alimtalk.summary is not None and not alimtalk.items:
        raise Unfit("invalid_request", "summary: Bizppurio has it below an item list only")
    if alimtalk.items:
        item: dict[str, Any] = {"list": [_item_of(one) for one in alimtalk.items]}
        if alimtalk.summary is not None:
            item["summary"] = _item_of(alimtalk.summary)
        content["item"] = item
    if alimtalk.highlight is not None:
        content["itemhighlight"] = _item_of(alimtalk.highlight)
    if alimtalk.link is not None:
        content["link"] = _set_fields(alimtalk.link)
    if alimtalk.buttons:
        content["button"] = _buttons_of("button", alimtalk.buttons, _BUTTONS, BUTTONS)
    if alimtalk.quick_replies:
        content["quickreply"] = _buttons_of("quick reply", alimtalk.quick_replies, _QUICK_REPLIES, QUICK_REPLIES)
    return content


def _friendtalk_of(brand: BrandMessage) -> dict[str, Any]:
    _check_length(brand.text)
    content: dict[str, Any] = {
        "senderkey": brand.sender_key,
        "message": brand.text,
        "adflag": "Y" if brand.advertising else "N",
        "wide": "Y" if brand.wide else "N",
    }
    if brand.buttons:
        content["button"] = _buttons_of("button", brand.buttons, _FRIEND_BUTTONS, BUTTONS)
    if brand.image is not None:
        if not brand.image.startswith(("https://", "http://")):
            raise Unfit("invalid_attachment", "image: Bizppurio wants the address that its console gave the image")
        content["image"] = {"img_url": str(brand.image)}
        if brand.image_link is not None:
            content["image"]["img_link"] = brand.image_link
    elif brand.wide or brand.image_link is not None:
        raise Unfit("invalid_request", "wide, image_link: there is no image")
    return content


def _text_of(channel: Channel, text: Text) -> dict[str, Any]:
    if (channel is Channel.MMS) != bool(text.images):
        raise Unfit("invalid_request", "images: an MMS has one at least, an SMS and an LMS have none")
    if len(text.images) > MMS_IMAGES:
        raise Unfit("invalid_attachment", f"images: more than {MMS_IMAGES}")
    _check_bytes("text", text.text, SMS_BYTES if channel is Channel.SMS else LMS_BYTES)
    content: dict[str, Any] = {"message": text.text}
    if text.subject is not None and channel is not Channel.SMS:
        _check_bytes("subject", text.subject, SUBJECT_BYTES)
        content["subject"] = text.subject
    if text.images:
        content["file"] = [{"type": "IMG", "key": str(key)} for key in text.images]
    return content


def _check_length(text: str) -> None:
    if len(text) > ALIMTALK_CHARACTERS:
        raise Unfit("content_too_long", f"text: {len(text)} characters, at most {ALIMTALK_CHARACTERS}")


def _check_bytes(what: str, text: str, most: int) -> None:
    if lost := uncarried(text):
        raise Unfit("content_charset", f"{what}: no carrier brings {_name_of(lost[0])}")
    if (length := byte_length(text)) > most:
        raise Unfit("content_too_long", f"{what}: {length} bytes, at most {most}")


def _name_of(character: str) -> str:
    shown = f"{character!r} " if character.isprintable() else ""
    return f"{shown}U+{ord(character):04X}"


def _item_of(item: Item) -> dict[str, str]:
    return {"title": item.title, "description": item.description}


def _buttons_of(
    what: str, buttons: Sequence[Button | QuickReply], kinds: dict[str, frozenset[str]], most: int
) -> list[dict[str, str]]:
    if len(buttons) > most:
        raise Unfit("invalid_request", f"{what}: more than {most}")
    return [_button_of(f"{what} {n}", button, kinds) for n, button in enumerate(buttons, 1)]


def _button_of(where: str, button: Button | QuickReply, kinds: dict[str, frozenset[str]]) -> dict[str, str]:
    if button.kind not in kinds:
        raise Unfit("invalid_request", f"{where}: Bizppurio has no kind {button.kind}")
    given = _set_fields(button)
    wire = {"name": given.pop("name"), "type": given.pop("kind")}
    if homeless := sorted(given.keys() - kinds[button.kind]):
        raise Unfit("invalid_request", f"{where}: {homeless[0]} has no place in a {button.kind} at Bizppurio")
    return wire | {_ON_THE_WIRE.get(name, name): value for name, value in given.items()}


def _set_fields(one: Button | QuickReply | Links) -> dict[str, str]:
    values = {field.name: getattr(one, field.name) for field in fields(one)}
    return {name: value for name, value in values.items() if value is not None}


# -- in ----------------------------------------------------------------------------------------------------------


class Unreadable(Exception):
    """Bytes that are not what Bizppurio's documents show."""


class Said(msgspec.Struct):
    """An answer, as far as it says something of a kind that can be used."""

    code: str = ""
    """four digits, or empty"""
    refkey: str | None = None
    messagekey: str | None = None
    filekey: str | None = None
    accesstoken: str | None = None
    expired: datetime | None = None
    words: str = ""
    """``description`` where it is nothing but words, so that it cannot hold a number or a name"""


def read_answer(answer: Answer) -> Said:
    """Read an answer; what cannot be read in it is left empty."""
    try:
        given = read_fields(answer.body)
    except Unreadable:
        return Said()
    expired = given.get("EXPIRED")
    token = given.get("ACCESSTOKEN")
    words = given.get("DESCRIPTION")
    return Said(
        code=code_of(given.get("CODE")),
        refkey=printable(given.get("REFKEY")),
        messagekey=printable(given.get("MESSAGEKEY")),
        filekey=printable(_trimmed(given.get("FILEKEY"))),
        accesstoken=token if isinstance(token, str) and re.fullmatch(r"[\x21-\x7e]{1,4096}", token) else None,
        expired=_moment(expired) if isinstance(expired, str) else None,
        words=words if isinstance(words, str) and re.fullmatch(r"[A-Za-z ,.'-]{1,64}", words) else "",
    )


def read_fields(body: bytes | msgspec.Raw) -> dict[str, Any]:
    """Read an object, its names in capitals: pushes have them so, polls do not. Raises ``Unreadable``."""
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error
    return {name.upper(): value for name, value in given.items()}


def read_list(body: bytes) -> list[msgspec.Raw]:
    """Split the answer to a poll into its reports. Raises ``Unreadable``, also when it says that it failed."""
    try:
        polled = msgspec.json.decode(body, type=_Polled)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error
    if code_of(polled.code) != SUCCESS:
        raise Unreadable("the poll failed")
    return polled.report or []


def read_item(item: bytes) -> dict[str, Any]:
    """Return a polled report's fields, names in capitals; none where it is no object."""
    try:
        return read_fields(item)
    except Unreadable:
        return {}


class _Polled(msgspec.Struct):
    code: Any = None
    report: list[msgspec.Raw] | None = None


def code_of(value: object) -> str:
    """Return a code, which may come as a number or as text, or an empty text."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"\w{1,32}", text, re.ASCII) else ""


def _trimmed(value: object) -> object:
    return value.strip() if isinstance(value, str) else value  # the sample of v2.7 has a space before the key


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=SEOUL)
    except ValueError:
        return None
