"""What goes over the wire of Luna's hub: our messages as its JSON, and its answers and receipts as our words."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Item, Outgoing, QuickReply, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_KEY = 27
ALIMTALK_CHARACTERS = 1000
BRAND_CHARACTERS = {"FT": 1000, "FI": 400, "FW": 76}
"""of text, by ``message_type`` (alimtalk-api.md 4.2.1, friendtalk-api.md 4.3)"""

COUNTRY = "82"

_ALIMTALK_BUTTONS = frozenset({"WL", "AL", "DS", "BK", "MD", "BC", "BT", "AC", "P1", "P2", "P3", "BF"})
_BRAND_BUTTONS = frozenset({"WL", "AL", "BK", "MD", "BC", "BT"})
_QUICK_REPLIES = frozenset({"WL", "AL", "BK", "BC", "BT", "BF"})

_LINK = {name: name for name in ("url_mobile", "url_pc", "scheme_android", "scheme_ios", "chat_extra", "chat_event")}
_REPLY_FIELDS = _LINK | {"biz_form_id": "biz_form_id"}
_BUTTON_FIELDS = _REPLY_FIELDS | {
    "plugin_id": "plugin_id",
    "relay_id": "relay_id",
    "one_click_id": "oneclick_id",
    "product_id": "product_id",
}
"""what the hub has a field for, by our name (alimtalk-api.md 4.3, 4.4); there is none for the number of a TN button"""


class CannotSay(Exception):
    """The hub's wire has no way to say this message; nothing was sent. ``reason`` is of our taxonomy."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Unreadable(Exception):
    """An answer or receipt that is not what Luna's documents show."""


# -- out ---------------------------------------------------------------------------------------------------------


def request_of(outgoing: Outgoing) -> tuple[str, bytes]:
    """Return the part of the path that names the kind of message, and the body. Raises ``CannotSay``."""
    if len(outgoing.request_key) > MAX_KEY:
        raise CannotSay("invalid_request", f"the request key has over {MAX_KEY} characters")
    match outgoing.content:
        case AlimTalk() as alimtalk:
            kind, message = "alimtalk", alimtalk_of(outgoing, alimtalk)
        case BrandMessage() as brand:
            kind, message = "friendtalk", brand_of(outgoing, brand)
        case Text():
            raise CannotSay("not_permitted", "the hub sends no texts of its own")
    try:
        return kind, msgspec.json.encode(message)
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise CannotSay("content_charset", "not a text") from error


def alimtalk_of(outgoing: Outgoing, content: AlimTalk) -> dict[str, Any]:
    """Return an AlimTalk; ``failover_message`` is never part of it, so that Luna sends no text after it."""
    if content.link is not None:
        raise CannotSay("invalid_request", "the hub has no field for a link of the message itself")
    message = _message(outgoing, "AI" if content.has_image else "AT", content.sender_key)
    message["template_code"] = content.template_code
    message["message"] = _within(content.text, ALIMTALK_CHARACTERS)
    if content.title is not None:
        message["title"] = content.title
    if content.header is not None:
        message["header"] = content.header
    if attachment := _attachment(content):
        message["attachment"] = attachment
    if content.quick_replies:
        message["supplement"] = {
            "quick_reply": [_link(reply, _QUICK_REPLIES, _REPLY_FIELDS) for reply in content.quick_replies]
        }
    return message


def _attachment(content: AlimTalk) -> dict[str, Any]:
    attachment: dict[str, Any] = {}
    if content.buttons:
        attachment["button"] = [_link(button, _ALIMTALK_BUTTONS, _BUTTON_FIELDS) for button in content.buttons]
    if content.highlight is not None:
        attachment["item_highlight"] = _item(content.highlight)
    item: dict[str, Any] = {}
    if content.items:
        item["list"] = [_item(line) for line in content.items]
    if content.summary is not None:
        item["summary"] = _item(content.summary)
    if item:
        attachment["item"] = item
    return attachment


def brand_of(outgoing: Outgoing, content: BrandMessage) -> dict[str, Any]:
    """Return a brand message, which goes by the names of the former 친구톡."""
    if content.image is None and (content.wide or content.image_link is not None):
        raise CannotSay("invalid_request", "a wide message, or a link of the image, wants an image")
    kind = "FT" if content.image is None else "FW" if content.wide else "FI"
    message = _message(outgoing, kind, content.sender_key)
    message["message"] = _within(content.text, BRAND_CHARACTERS[kind])
    message["ad_flag"] = "Y" if content.advertising else "N"
    attachment: dict[str, Any] = {}
    if content.buttons:
        attachment["button"] = [_link(button, _BRAND_BUTTONS, _LINK) for button in content.buttons]
    if content.image is not None:
        attachment["image"] = {"img_url": content.image}
        if content.image_link is not None:
            attachment["image"]["img_link"] = content.image_link
    if attachment:
        message["attachment"] = attachment
    return message


def _message(outgoing: Outgoing, message_type: str, sender_key: str) -> dict[str, Any]:
    return {
        "message_type": message_type,
        "message_key": outgoing.request_key,
        "sender_key": sender_key,
        "country_code": COUNTRY,
        "recipient_number": outgoing.to,
    }


def _within(text: str, characters: int) -> str:
    if len(text) > characters:
        raise CannotSay("content_too_long", f"{len(text)} characters, and Luna takes {characters}")
    return text


def _item(item: Item) -> dict[str, str]:
    return {"title": item.title, "description": item.description}


def _link(link: Button | QuickReply, kinds: frozenset[str], names: Mapping[str, str]) -> dict[str, Any]:
    if link.kind not in kinds:
        raise CannotSay("invalid_request", f"Luna has no {link.kind} here")
    said: dict[str, Any] = {"name": link.name, "type": link.kind}
    for field in fields(link):
        value = getattr(link, field.name)
        if value is None or field.name in {"kind", "name"}:
            continue
        if field.name not in names:
            raise CannotSay("invalid_request", f"Luna has no field for the {field.name} of a {link.kind}")
        said[names[field.name]] = form_id(value) if field.name == "biz_form_id" else value
    return said


def form_id(text: str) -> int:
    """Return the id of a business form, which Luna wants as a number. Raises ``CannotSay``."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise CannotSay("invalid_request", "the id of a business form is a number at Luna")
    return int(text)


# -- in ----------------------------------------------------------------------------------------------------------


class Said(msgspec.Struct):
    """An answer of the hub, or a receipt: both have the same fields."""

    code: Any = None
    message_key: Any = None
    message_type: Any = None
    response_dt: Any = None

    @property
    def result(self) -> str:
        """Return the code, or an empty text where there is none to be used."""
        code = "" if isinstance(self.code, bool) or not isinstance(self.code, str | int) else str(self.code)
        return code if re.fullmatch(r"[0-9A-Za-z]{1,16}", code, re.ASCII) else ""

    @property
    def key(self) -> str | None:
        """Return the message key, if it can be one of ours: those have a letter, and a phone number has none."""
        key = self.message_key
        fits = isinstance(key, str) and re.fullmatch(r"[!-~]{1,27}", key) and re.search(r"[A-Za-z]", key)
        return str(key) if fits else None

    @property
    def channel(self) -> Channel | None:
        """Return the channel that the code is about; None for a type that Luna does not document.

        FT, FI and the rest are brand messages. Kakao's new names for them begin with B; Luna does not show those.
        """
        kind = self.message_type
        if not isinstance(kind, str):
            return None
        if kind in {"SMS", "LMS", "MMS"}:
            return Channel(kind.lower())
        if kind in {"AT", "AI"}:
            return Channel.ALIMTALK
        return Channel.FRIENDTALK if re.fullmatch(r"[FB][TIWLCMPA]", kind) else None

    @property
    def at(self) -> datetime | None:
        """Return when it happened. Luna writes no offset; that it is Korean time is inferred, not documented."""
        text = self.response_dt
        if not isinstance(text, str):
            return None
        try:
            return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=SEOUL)
        except ValueError:
            return None


_SAID = msgspec.json.Decoder(Said)


def read(body: bytes) -> Said:
    """Read an answer or a receipt. Raises ``Unreadable`` for what is no JSON object."""
    try:
        return _SAID.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error
