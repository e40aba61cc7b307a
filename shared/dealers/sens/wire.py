"""What goes over SENS's wire: our messages as its JSON, and what is refused before it gets there."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Item, Outgoing, Refused, Text
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

MAX_RECIPIENTS = 100
"""of one request, on every channel (api.ncloud-docs.com sens-alimtalk-send, sens-sms-send, 2026-10-08)"""
ALIMTALK_CHARACTERS = 1000
BRAND_CHARACTERS = 1300
BRAND_WIDE_CHARACTERS = 76
MMS_IMAGES = 3
_ITEMS = range(2, 11)

_ALIMTALK_BUTTONS = frozenset({"WL", "AL", "DS", "BK", "MD", "AC"})
_BRAND_BUTTONS = frozenset({"WL", "AL", "BK", "MD", "BC", "BT", "BF"})
_TYPES = {Channel.SMS: "SMS", Channel.LMS: "LMS", Channel.MMS: "MMS"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request: messages that may share one, each to a number of its own, so that its answer tells them apart."""

    some: tuple[Outgoing, ...]
    body: bytes


def waves(batch: Iterable[Outgoing]) -> Iterator[list[Call]]:
    """Yield the requests that send ``batch``; those of one wave may leave together.

    The second message to a number is in the second wave: no request names a number twice, and the messages of
    one person leave in their order.
    """
    rows: list[dict[Hashable, list[Outgoing]]] = []
    seen: Counter[str] = Counter()
    for outgoing in batch:
        wave = seen[outgoing.to]
        seen[outgoing.to] += 1
        if wave == len(rows):
            rows.append({})
        rows[wave].setdefault(_head(outgoing), []).append(outgoing)
    for row in rows:
        yield [
            Call(tuple(some[start : start + MAX_RECIPIENTS]), encode(some[start : start + MAX_RECIPIENTS]))
            for some in row.values()
            for start in range(0, len(some), MAX_RECIPIENTS)
        ]


def _head(outgoing: Outgoing) -> Hashable:
    """Return what a request says once, for all of its messages."""
    match outgoing.content:
        case AlimTalk() as alimtalk:
            return outgoing.channel, alimtalk.sender_key, alimtalk.template_code
        case BrandMessage() as brand:
            return outgoing.channel, brand.sender_key, _brand_type(brand)
        case Text() as text:
            return outgoing.channel, text.sender, text.images, _is_advertising(text)


def encode(some: Sequence[Outgoing]) -> bytes:
    """Return the body that sends ``some``, whose head is the same.

    Raises ``UnicodeEncodeError`` for half of a surrogate pair, which is no text.
    """
    first = some[0].content
    messages = [_message_of(outgoing) for outgoing in some]
    body: dict[str, Any]
    match first:
        case AlimTalk():
            body = {"plusFriendId": first.sender_key, "templateCode": first.template_code}
        case BrandMessage():
            body = {"plusFriendId": first.sender_key, "messageType": _brand_type(first), "targeting": "I"}
        case Text():
            body = {
                "type": _TYPES[some[0].channel],
                "contentType": "AD" if _is_advertising(first) else "COMM",
                "countryCode": "82",
                "from": re.sub(r"\D", "", first.sender),
                "content": first.text,
            }
    body["messages"] = messages
    if isinstance(first, Text) and first.images:
        body["files"] = [{"fileId": str(image)} for image in first.images]
    return msgspec.json.encode(body)


def _message_of(outgoing: Outgoing) -> dict[str, Any]:
    match outgoing.content:
        case AlimTalk() as alimtalk:
            return _set(
                countryCode="82",
                to=outgoing.to,
                title=alimtalk.title,
                content=alimtalk.text,
                headerContent=alimtalk.header,
                itemHighlight=alimtalk.highlight and _item(alimtalk.highlight),
                item=_items(alimtalk),
                buttons=[_button(button) for button in alimtalk.buttons] or None,
                useSmsFailover=False,
            )
        case BrandMessage() as brand:
            return _set(
                countryCode="82",
                to=outgoing.to,
                content=brand.text,
                image=_set(imageId=brand.image and str(brand.image), imageLink=brand.image_link) or None,
                buttons=[_button(button) for button in brand.buttons] or None,
                useSmsFailover=False,
            )
        case Text() as text:
            subject = None if outgoing.channel is Channel.SMS else text.subject
            return _set(to=outgoing.to, subject=subject, content=text.text)


def _items(alimtalk: AlimTalk) -> dict[str, Any] | None:
    if not alimtalk.items:
        return None
    return _set(list=[_item(item) for item in alimtalk.items], summary=alimtalk.summary and _item(alimtalk.summary))


def _item(item: Item) -> dict[str, str]:
    return {"title": item.title, "description": item.description}


def _button(button: Button) -> dict[str, Any]:
    return _set(
        type=button.kind,
        name=button.name,
        linkMobile=button.url_mobile,
        linkPc=button.url_pc,
        schemeIos=button.scheme_ios,
        schemeAndroid=button.scheme_android,
        bizFormId=button.biz_form_id,
    )


def _set(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {name: value for name, value in fields.items() if value is not None}


def _brand_type(brand: BrandMessage) -> str:
    if brand.wide:
        return "WIDE_IMAGE"
    return "TEXT" if brand.image is None else "IMAGE"


def _is_advertising(text: Text) -> bool:
    """Whether the text calls itself an advertisement, as the law wants it to: SENS has a type for those."""
    return text.text.startswith("(광고)")


# -- what never gets there ---------------------------------------------------------------------------------------


def refusal(outgoing: Outgoing) -> Refused | None:
    """Return why a message cannot go, or None: SENS would refuse a whole request for one such message, or cut it."""
    if not (outgoing.to.isascii() and outgoing.to.isdigit()):
        return Refused("invalid_phone", "", "not digits only")
    match outgoing.content:
        case AlimTalk() as alimtalk:
            reason = _alimtalk_refusal(alimtalk)
        case BrandMessage() as brand:
            reason = _brand_refusal(brand)
        case Text() as text:
            reason = _text_refusal(outgoing.channel, text)
    if reason is not None:
        return reason
    try:
        encode([outgoing])
    except UnicodeEncodeError:
        return Refused("content_charset", "", "half of a surrogate pair is no text")
    return None


def _alimtalk_refusal(alimtalk: AlimTalk) -> Refused | None:
    lacking = {
        "a link of the message itself": alimtalk.link,
        "quick replies": alimtalk.quick_replies,
        "a summary without items": alimtalk.summary and not alimtalk.items,
    }
    for what, is_set in lacking.items():
        if is_set:
            return _cannot_carry(what)
    if not alimtalk.text:
        return Refused("invalid_request", "", "no text")
    if alimtalk.items and len(alimtalk.items) not in _ITEMS:
        return Refused("invalid_request", "", f"{len(alimtalk.items)} items; a list has 2 to 10")
    if len(alimtalk.text) > ALIMTALK_CHARACTERS:
        return Refused("content_too_long", "", f"over {ALIMTALK_CHARACTERS} characters")
    return _button_refusal(alimtalk.buttons, _ALIMTALK_BUTTONS)


def _brand_refusal(brand: BrandMessage) -> Refused | None:
    if not brand.advertising:
        return _cannot_carry("a brand message that is no advertisement")
    if not brand.text:
        return Refused("invalid_request", "", "no text")
    if brand.image is None and (brand.wide or brand.image_link):
        return Refused("invalid_request", "", "a wide message, and a link of an image, want an image")
    most = BRAND_WIDE_CHARACTERS if brand.wide else BRAND_CHARACTERS
    if len(brand.text) > most:
        return Refused("content_too_long", "", f"over {most} characters")
    return _button_refusal(brand.buttons, _BRAND_BUTTONS)


def _button_refusal(buttons: Sequence[Button], kinds: frozenset[str]) -> Refused | None:
    for button in buttons:
        if button.kind not in kinds:
            return _cannot_carry(f"a button {button.kind}")
        wanted = {
            "WL": (button.url_mobile,),
            "AL": (button.scheme_android, button.scheme_ios),
            "BF": (button.biz_form_id,),
        }
        if not all(wanted.get(button.kind, (True,))):
            return Refused("invalid_request", "", f"a button {button.kind} lacks what SENS wants of it")
        known = {"chat_extra": button.chat_extra, "chat_event": button.chat_event, "phone": button.phone}
        plugin = {"plugin_id": button.plugin_id, "relay_id": button.relay_id}
        bought = {"one_click_id": button.one_click_id, "product_id": button.product_id}
        form = {} if button.kind == "BF" else {"biz_form_id": button.biz_form_id}
        for name, value in {**known, **plugin, **bought, **form}.items():
            if value is not None:
                return _cannot_carry(f"a button's {name}")
    return None


def _text_refusal(channel: Channel, text: Text) -> Refused | None:
    subject = "" if channel is Channel.SMS else text.subject or ""
    if not text.text:
        return Refused("invalid_request", "", "no text")
    if lost := uncarried(text.text + subject):
        return Refused("content_charset", "", f"no carrier brings {lost[0]!r} (U+{ord(lost[0]):04X})")
    most = SMS_BYTES if channel is Channel.SMS else LMS_BYTES
    for what, words, limit in (("a text", text.text, most), ("a subject", subject, SUBJECT_BYTES)):
        if (length := byte_length(words)) > limit:
            return Refused("content_too_long", "", f"{what} of {length} bytes, at most {limit}")
    if channel is Channel.MMS and not 0 < len(text.images) <= MMS_IMAGES:
        return Refused("invalid_attachment", "", f"an MMS has one to {MMS_IMAGES} images")
    return _cannot_carry(f"images of an {channel.upper()}") if text.images and channel is not Channel.MMS else None


def _cannot_carry(what: str) -> Refused:
    return Refused("invalid_request", "", f"SENS has no place for {what}")
