"""What Bizppurio looks at in a message: what it refuses at once, and what Kakao or the carrier refuses later."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from shared.contracts.states import Channel
from shared.text import byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bongsu.sandbox.profile import Profile, Template

CHANNELS = {
    "sms": Channel.SMS,
    "lms": Channel.LMS,
    "mms": Channel.MMS,
    "at": Channel.ALIMTALK,
    "ai": Channel.ALIMTALK,
    "ft": Channel.FRIENDTALK,
}

_COMMON = frozenset({"account", "refkey", "type", "from", "to", "content"})
"""More is documented (country, userinfo, resend, ...); bongsu sends none of it, and a fallback least of all."""
_LENGTHS = {"account": 20, "refkey": 32, "from": 16, "to": 16}

_WEB = frozenset({"url_mobile", "url_pc"})
_APP = _WEB | {"scheme_ios", "scheme_android"}
_BUTTONS: dict[str, Collection[str]] = {
    "WL": _WEB,
    "AL": _APP,
    "DS": (),
    "BK": (),
    "MD": (),
    "BC": ("chat_extra",),
    "BT": ("chat_extra", "chat_event"),
    "AC": (),
    "P1": (),
    "P2": (),
    "P3": ("oneclick_id", "product_id"),
}
_OF_FRIENDS = frozenset({"WL", "AL", "BK", "MD", "BC", "BT"})
_OF_QUICK_REPLIES = _OF_FRIENDS | {"DS"}


class Invalid(Exception):
    """2000: the message is not valid; the text says why, for whoever reads a test."""


def check(message: Mapping[str, Any], files: Collection[str]) -> tuple[Channel, Mapping[str, Any]]:
    """Return the channel and the content of a message. Raises ``Invalid``. ``files`` are keys of uploaded files."""
    _only(message, _COMMON)
    for name, most in _LENGTHS.items():
        _text(message, name, most)
    for name in ("from", "to"):
        _that(message[name].isdigit(), name)
    kind = _text(message, "type", 3)
    _that(kind in CHANNELS, "type")
    content = message.get("content")
    _that(isinstance(content, dict) and content.keys() == {kind}, "content")
    inner = message["content"][kind]
    _that(isinstance(inner, dict), "content")
    match kind:
        case "sms" | "lms" | "mms":
            _check_text(kind, inner, files)
        case "at" | "ai":
            _check_alimtalk(inner)
        case _:
            _check_friendtalk(inner)
    return CHANNELS[kind], inner


def _check_text(kind: str, content: Mapping[str, Any], files: Collection[str]) -> None:
    names = {"sms": {"message"}, "lms": {"message", "subject"}, "mms": {"message", "subject", "file"}}[kind]
    _only(content, names)
    _text(content, "message", None)
    for name, most in (("message", 90 if kind == "sms" else 2000), ("subject", 64)):
        value = content.get(name, "")
        _that(isinstance(value, str) and not uncarried(value) and byte_length(value) <= most, name)
    if kind == "mms":
        given = content.get("file")
        _that(isinstance(given, list) and 1 <= len(given) <= 3, "file")  # noqa: PLR2004 - v2.7, MMS
        for one in content["file"]:
            _that(isinstance(one, dict) and one.get("type") == "IMG" and one.get("key") in files, "file")


def _check_alimtalk(content: Mapping[str, Any]) -> None:
    _only(
        content,
        {
            *("senderkey", "templatecode", "message", "title", "header", "item", "itemhighlight", "link"),
            *("button", "quickreply"),
        },
    )
    _text(content, "message", 1000)
    _text(content, "senderkey", 40)
    _text(content, "templatecode", 32)
    for name, most in (("title", 50), ("header", 16)):
        if name in content:
            _text(content, name, most)
    if "item" in content:
        _check_items(content["item"])
    if "itemhighlight" in content:
        _check_item(content["itemhighlight"], 30, 19)
    if "link" in content:
        _only(content["link"], _APP)
    _check_buttons(content.get("button", []), _BUTTONS.keys(), 5)
    _check_buttons(content.get("quickreply", []), _OF_QUICK_REPLIES, 10)


def _check_items(given: object) -> None:
    _that(isinstance(given, dict) and isinstance(given.get("list"), list) and bool(given["list"]), "item")
    assert isinstance(given, dict)  # noqa: S101 - just seen
    _only(given, {"list", "summary"})
    for one in given["list"]:
        _check_item(one, 6, 23)
    if "summary" in given:
        _check_item(given["summary"], 6, 14)


def _check_item(given: object, title: int, description: int) -> None:
    _that(isinstance(given, dict), "item")
    assert isinstance(given, dict)  # noqa: S101 - just seen
    _only(given, {"title", "description"})
    _text(given, "title", title)
    _text(given, "description", description)


def _check_friendtalk(content: Mapping[str, Any]) -> None:
    _only(content, {"senderkey", "message", "button", "image", "userkey", "adflag", "wide"})
    _text(content, "message", 1000)
    _text(content, "senderkey", 40)
    for name in ("adflag", "wide"):
        _that(content.get(name, "Y") in {"Y", "N"}, name)
    if "image" in content:
        _only(content["image"], {"img_url", "img_link"})
        _text(content["image"], "img_url", None)
    _check_buttons(content.get("button", []), _OF_FRIENDS, 5)


def _check_buttons(given: object, kinds: Collection[str], most: int) -> None:
    _that(isinstance(given, list) and len(given) <= most, "button")
    assert isinstance(given, list)  # noqa: S101 - just seen
    for button in given:
        _that(isinstance(button, dict) and button.get("type") in kinds, "button type")
        _only(button, {"name", "type", *_BUTTONS[button["type"]]})
        _text(button, "name", 28)
        if button["type"] == "WL":
            _text(button, "url_mobile", None)
        if button["type"] == "AL":
            two_of = {"scheme_ios", "scheme_android", "url_mobile"}
            _that(len(two_of & button.keys()) >= 2, "button AL")  # noqa: PLR2004 - v2.7, AL


def _text(given: Mapping[str, Any], name: str, most: int | None) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value or (most is not None and len(value) > most):
        raise Invalid(name)
    return value


def _only(given: object, names: Collection[str]) -> None:
    """Refuse what bongsu has no reason to send, which Bizppurio might overlook."""
    _that(isinstance(given, dict) and given.keys() <= set(names), "field")


def _that(holds: bool, what: str) -> None:  # noqa: FBT001 - it reads as an assertion
    if not holds:
        raise Invalid(what)


# -- later -------------------------------------------------------------------------------------------------------


def fate(profile: Profile, channel: Channel, sender: str, content: Mapping[str, Any]) -> str | None:
    """Return how a message is sure to end, or None: the call is accepted all the same."""
    match channel:
        case Channel.ALIMTALK:
            return None if profile.accept_any_template else _of_template(profile, content)
        case Channel.FRIENDTALK:
            known = any(content["senderkey"] in account.channels for account in profile.accounts)
            return None if known or profile.accept_any_template else "7105"
        case _:
            known = profile.accept_any_sender or any(sender in account.senders for account in profile.accounts)
            return None if known else "sender_number_unregistered"


def _of_template(profile: Profile, content: Mapping[str, Any]) -> str | None:
    if not any(content["senderkey"] in account.channels for account in profile.accounts):
        return "7105"
    template = next((one for one in profile.templates if one.template_id == content["templatecode"]), None)
    if template is None or template.status != "APPROVED" or template.pf_id != content["senderkey"]:
        return "7315"
    if not _fits(template, content["message"]):
        return "7204"
    kinds = [button["type"] for button in content.get("button", [])]
    return None if kinds == [button.button_type for button in template.buttons] else "7327"


def _fits(template: Template, text: str) -> bool:
    pattern = "(.+)".join(re.escape(part) for part in re.split(r"#\{[^}]*\}", template.content))
    return re.fullmatch(pattern, text, re.DOTALL) is not None
