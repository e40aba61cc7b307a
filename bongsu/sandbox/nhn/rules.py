"""What NHN refuses, in its own codes (NHN docs, 2026-06-23). A refusal of the whole request is raised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RECIPIENTS = 1000
MAX_PARAMETER = 1300
MAX_TEXT = {"alimtalk": 1300, "brand": 1300, "sms": 255, "mms": 4000}
MAX_TITLE = 120
MAX_ATTACHMENT = 300 * 1024
_BUTTONS = frozenset({"WL", "AL", "BK", "MD", "AC", "BT", "BF"})
_NUMBER = re.compile(r"0\d{7,11}")


class Refusal(Exception):
    """The whole request is refused under ``code``."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def read_json(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the body, which must be an object and say that it is JSON."""
    if not headers.get("content-type", "").startswith("application/json"):
        raise Refusal(-9996, "Only application/json Content-type is supported.")
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(-9997, "Client Error.") from error
    if not isinstance(read, dict):
        raise Refusal(-9997, "Client Error.")
    return read


def text(value: Mapping[str, Any], name: str, most: int, *, required: bool = True, code: int = -2000) -> str:
    """Return a field of text that keeps to its length."""
    given = value.get(name)
    if given is None and not required:
        return ""
    if not isinstance(given, str) or (required and not given.strip()):
        raise Refusal(-2001, f"The '{name}' must not be blank.")
    if len(given) > most:
        raise Refusal(code, f"The '{name}' must be at less than or equal to {most}.")
    return given


def recipients(body: Mapping[str, Any], *, too_many: int) -> list[dict[str, Any]]:
    """Return the recipients, each an object with a number and keys that keep to their length."""
    listed = body.get("recipientList")
    if not isinstance(listed, list) or not listed:
        raise Refusal(-2002, "The 'recipientList' must not be null.")
    if len(listed) > MAX_RECIPIENTS:
        raise Refusal(too_many, f"The max recipient size is {MAX_RECIPIENTS}.")
    for recipient in listed:
        if not isinstance(recipient, dict):
            raise Refusal(-9997, "Client Error.")
        text(recipient, "recipientNo", 20)
        text(recipient, "recipientGroupingKey", 100, required=False)
    text(body, "senderGroupingKey", 100, required=False)
    return listed


def is_number(recipient: Mapping[str, Any]) -> bool:
    """Whether the recipient's number may be one."""
    return _NUMBER.fullmatch(recipient["recipientNo"].replace("-", "")) is not None


def check_failover(recipient: Mapping[str, Any]) -> bool:
    """Whether the failover is off for a recipient; asked for, it is refused, since none is set up."""
    resend = recipient.get("resendParameter")
    asked = resend.get("isResend") if isinstance(resend, dict) else None
    if asked is True:
        raise Refusal(-2502, "Please set up plus-friend resend setting.")
    return asked is False


def check_extras(recipient: Mapping[str, Any]) -> None:
    """Check the parts of buttons and quick replies that an AlimTalk's recipient brings."""
    for name in ("buttons", "quickReplies"):
        for part in recipient.get(name) or []:
            if not isinstance(part, dict) or not isinstance(part.get("ordering"), int):
                raise Refusal(-2018, "Button parameter is invalid.")


def parameters(recipient: Mapping[str, Any]) -> dict[str, str]:
    """Return what a recipient's template is filled with."""
    given = recipient.get("templateParameter") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Refusal(-3004, "Please check template parameter.")
    for key, value in given.items():
        if "@" in key:
            raise Refusal(-3347, f"Template parameter key cannot contain '@' character. Invalid key: {key}")
        if max(len(key), len(value)) > MAX_PARAMETER:
            raise Refusal(-3048, "The template parameter's length can not exceed 1300 characters.")
    return given


def check_brand(body: Mapping[str, Any]) -> None:
    """Check a free-form brand message."""
    text(body, "senderKey", 40)
    bubble = body.get("chatBubbleType")
    if bubble not in {"TEXT", "IMAGE"}:
        raise Refusal(4, "chatBubbleType")
    text(body, "content", MAX_TEXT["brand"], code=-2024)
    image = body.get("image")
    if (bubble == "IMAGE") != (isinstance(image, dict) and str(image.get("imageUrl", "")).startswith("http")):
        raise Refusal(-3319, "image field require imageUrl")
    for button in body.get("buttons") or []:
        if button.get("type") not in _BUTTONS:
            raise Refusal(-3328, f"The button type {button.get('type')} is not allowed.")
        text(button, "name", 14)
        if button["type"] == "WL" and not str(button.get("linkMo", "")).startswith("http"):
            raise Refusal(-3310, "The linkMo/linkPc must include http:// or https://")


def check_carried(*texts: str) -> None:
    """Check that carriers bring every character."""
    for given in texts:
        try:
            given.encode("cp949")
        except UnicodeEncodeError as error:
            raise Refusal(-2023, "Unacceptable characters in title and body.") from error
