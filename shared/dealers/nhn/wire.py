"""What goes to NHN Cloud: our messages as its JSON, grouped into the requests that can carry them.

A request has one template (AlimTalk) or one text (the others) and up to 1,000 recipients. Sources: NHN docs,
``alimtalk-api-guide`` v2.3, ``friendtalkupgrade-api-guide`` (brand message v1.0) and SMS ``api-guide`` v3.0, all
of 2026-06-23.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Outgoing, QuickReply, Refused, Text
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

MAX_RECIPIENTS = 1000
ALIMTALK_CHARACTERS = 1300
"""of the text with its variables, since 2025-10-28 (-2019)"""
MAX_PARAMETER = 1300
"""characters of a parameter's key and of its value (-3048)"""
BRAND_CHARACTERS = 1300
MMS_IMAGES = 3
MAX_BUTTONS = 5

_NO_FAILOVER = {"isResend": False}
"""left out, the failover set up in the console would text as well"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the calls of a channel go; ``prefix`` stands before the appkey."""

    text: bool
    """the SMS service, with its own host, appkey and secret key"""
    prefix: tuple[str, ...]
    send: tuple[str, ...]
    find: tuple[str, ...]
    dates: tuple[str, str]
    """the names of a search's first and last moment"""
    date_format: str


_KST_MINUTE = "%Y-%m-%d %H:%M"
_KST_SECOND = "%Y-%m-%d %H:%M:%S"
_CREATED = ("startCreateDate", "endCreateDate")

BIZMESSAGE = ("alimtalk", "v2.3", "appkeys")
BRAND = ("brand-message", "v1.0", "appkeys")
SMS = ("sms", "v3.0", "appKeys")

_MMS = Place(True, SMS, ("sender", "mms"), ("sender", "mms"), _CREATED, _KST_SECOND)  # noqa: FBT003 - a table
PLACES = {
    Channel.ALIMTALK: Place(False, BIZMESSAGE, ("messages",), ("messages",), _CREATED, _KST_MINUTE),  # noqa: FBT003 - a table
    Channel.FRIENDTALK: Place(
        False,  # noqa: FBT003 - a table
        BRAND,
        ("freestyle-messages",),
        ("messages",),
        ("startRequestDate", "endRequestDate"),  # the one range that brand messages are searched by
        _KST_MINUTE,
    ),
    Channel.SMS: Place(True, SMS, ("sender", "sms"), ("sender", "sms"), _CREATED, _KST_SECOND),  # noqa: FBT003 - a table
    Channel.LMS: _MMS,
    Channel.MMS: _MMS,
}
"""LMS and MMS are one at NHN: an MMS without an attachment is an LMS"""


@dataclass(frozen=True, slots=True)
class Request:
    """One call that sends, and the messages it carries, in the order of its recipients."""

    channel: Channel
    messages: Sequence[Outgoing]
    batch_key: str
    """unique, from the first message's request key: the grouping key of all, and the idempotency key"""
    body: bytes


def requests_of(batch: Sequence[Outgoing]) -> list[Request]:
    """Return the calls that send ``batch``, all of whose messages ``refusal_of`` lets pass."""
    groups: dict[Any, list[Outgoing]] = {}
    for outgoing in batch:
        groups.setdefault((outgoing.channel, _shared_key(outgoing)), []).append(outgoing)
    return [
        _request(some[start : start + MAX_RECIPIENTS])
        for some in groups.values()
        for start in range(0, len(some), MAX_RECIPIENTS)
    ]


def _request(messages: Sequence[Outgoing]) -> Request:
    first = messages[0]
    batch_key = f"b{first.request_key}"
    body = {
        **_shared(first),
        "senderGroupingKey": batch_key,
        "recipientList": [_recipient(outgoing) for outgoing in messages],
    }
    return Request(first.channel, messages, batch_key, msgspec.json.encode(body))


def _shared_key(outgoing: Outgoing) -> Any:  # noqa: ANN401 - anything hashable
    content = outgoing.content
    if isinstance(content, AlimTalk):
        return content.sender_key, content.template_code
    return content


def _shared(outgoing: Outgoing) -> dict[str, Any]:
    match outgoing.content:
        case AlimTalk() as alimtalk:
            return {"senderKey": alimtalk.sender_key, "templateCode": alimtalk.template_code}
        case BrandMessage() as brand:
            body: dict[str, Any] = {
                "senderKey": brand.sender_key,
                "chatBubbleType": "TEXT" if brand.image is None else "IMAGE",
                "content": brand.text,
            }
            if brand.image is not None:
                body["image"] = _present({"imageUrl": str(brand.image), "imageLink": brand.image_link})
            if brand.buttons:
                body["buttons"] = [_brand_button(button) for button in brand.buttons]
            return body
        case Text() as text if outgoing.channel is Channel.SMS:
            return {"body": text.text, "sendNo": text.sender}  # an SMS has no subject
        case Text() as text:
            body = {"title": _title(text), "body": text.text, "sendNo": text.sender}
            if text.images:
                body["attachFileIdList"] = [int(image) for image in text.images]
            return body


def _recipient(outgoing: Outgoing) -> dict[str, Any]:
    recipient: dict[str, Any] = {"recipientNo": outgoing.to}
    match outgoing.content:
        case AlimTalk() as alimtalk:
            if alimtalk.variables:
                recipient["templateParameter"] = dict(alimtalk.variables)
            if buttons := _extras(alimtalk.buttons):
                recipient["buttons"] = buttons
            if replies := _extras(alimtalk.quick_replies):
                recipient["quickReplies"] = replies
            recipient["resendParameter"] = _NO_FAILOVER
        case BrandMessage():
            recipient["targeting"] = "I"  # friends of the channel, among the given numbers
            recipient["resendParameter"] = _NO_FAILOVER
        case Text():
            pass
    recipient["recipientGroupingKey"] = outgoing.request_key
    return recipient


def _extras(parts: Sequence[Button | QuickReply]) -> list[dict[str, Any]]:
    """Return what is not in the template: names and links are, NHN fills them in."""
    extras = []
    for n, part in enumerate(parts, 1):
        fields: dict[str, Any] = {"chatExtra": part.chat_extra, "chatEvent": part.chat_event}
        if isinstance(part, Button):
            fields |= {
                "relayId": part.relay_id,
                "oneClickId": part.one_click_id,
                "productId": part.product_id,
                "telNumber": part.phone,
            }
        if present := _present(fields):
            extras.append({"ordering": n, **present})
    return extras


def _brand_button(button: Button) -> dict[str, Any]:
    return _present(
        {
            "name": button.name,
            "type": button.kind,
            "linkMo": button.url_mobile,
            "linkPc": button.url_pc,
            "schemeAndroid": button.scheme_android,
            "schemeIos": button.scheme_ios,
            "chatExtra": button.chat_extra,
            "chatEvent": button.chat_event,
        }
    )


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _title(text: Text) -> str:
    """Return the subject, which NHN requires of an LMS (-2014): without one, the beginning of the text."""
    if text.subject:
        return text.subject
    first = text.text.strip().partition("\n")[0]
    return first.encode("cp949")[:SUBJECT_BYTES].decode("cp949", errors="ignore")


# -- what is refused before any call -----------------------------------------------------------------------------


def refusal_of(outgoing: Outgoing) -> Refused | None:
    """Return why NHN cannot carry a message, or None."""
    match outgoing.content:
        case AlimTalk() as alimtalk:
            refusal = _of_alimtalk(alimtalk)
        case BrandMessage() as brand:
            refusal = _of_brand(brand)
        case Text() as text:
            refusal = _of_text(outgoing.channel, text)
    if refusal is None:
        try:
            msgspec.json.encode((_shared(outgoing), _recipient(outgoing)))
        except UnicodeEncodeError:
            return Refused("content_charset", "", "half of a surrogate pair is no text")
    return refusal


def _of_alimtalk(alimtalk: AlimTalk) -> Refused | None:
    if len(alimtalk.text) > ALIMTALK_CHARACTERS:
        return Refused("content_too_long", "", f"{len(alimtalk.text):,} characters of {ALIMTALK_CHARACTERS:,}")
    for name, value in alimtalk.variables.items():
        if "@" in name:
            return Refused("invalid_request", "", f"variable {name}: NHN takes no @ in a name")
        if max(len(name), len(value)) > MAX_PARAMETER:
            return Refused("variable_too_long", "", f"variable {name[:20]}: over {MAX_PARAMETER:,} characters")
    return None


def _of_brand(brand: BrandMessage) -> Refused | None:
    problems = {
        "advertising: a brand message of NHN's always is an advertisement": not brand.advertising,
        "wide: its image would have to be uploaded as a wide one": brand.wide,
        "image_link: there is no image": brand.image is None and brand.image_link is not None,
        f"buttons: more than {MAX_BUTTONS}": len(brand.buttons) > MAX_BUTTONS,
    }
    for button in brand.buttons:
        problems |= {
            f"buttons: {button.kind} is not for friends": button.kind not in {"WL", "AL", "BK", "MD", "BT"},
            "buttons: biz_form_id": button.biz_form_id is not None,
            "buttons: plugin": any((button.plugin_id, button.relay_id, button.one_click_id, button.product_id)),
            "buttons: phone": button.phone is not None,
        }
    for problem, holds in problems.items():
        if holds:
            return Refused("invalid_request", "", problem)
    if len(brand.text) > BRAND_CHARACTERS:
        return Refused("content_too_long", "", f"{len(brand.text):,} characters of {BRAND_CHARACTERS:,}")
    return None


def _of_text(channel: Channel, text: Text) -> Refused | None:
    subject = text.subject or ""
    if lost := uncarried(text.text + subject):
        return Refused("content_charset", "", f"no carrier brings {', '.join(map(_named, lost[:5]))}")
    limit = SMS_BYTES if channel is Channel.SMS else LMS_BYTES
    if (size := byte_length(text.text)) > limit:
        return Refused("content_too_long", "", f"{size:,} bytes of {limit:,}")
    if channel is not Channel.SMS and (size := byte_length(subject)) > SUBJECT_BYTES:
        return Refused("content_too_long", "", f"subject of {size:,} bytes of {SUBJECT_BYTES}")
    least, most = (1, MMS_IMAGES) if channel is Channel.MMS else (0, 0)
    if not least <= len(text.images) <= most:
        return Refused("invalid_attachment", "", f"images: {len(text.images)}, where {channel} has {least} to {most}")
    if any(not (image.isascii() and image.isdigit()) for image in text.images):
        return Refused("invalid_attachment", "", "images: not an id that NHN gave")
    return None


def _named(character: str) -> str:
    shown = f"{character} " if character.isprintable() else ""
    return f"{shown}(U+{ord(character):04X})"
