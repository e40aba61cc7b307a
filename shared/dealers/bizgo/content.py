"""Our messages as Bizgo's JSON, and what of them its wire cannot carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Item, Links, QuickReply, Refused, Text
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.dealers.base import Outgoing

IDEMPOTENCY_SECONDS = 86_400
"""the longest that Bizgo remembers an ``idempotencyKey`` (SDK 1.2.0, SendOmniRequest)"""

ALIMTALK_CHARACTERS = 1300
MMS_IMAGES = 3
_BRAND_CHARACTERS = {"FT": 1300, "FI": 400, "FW": 76}
_TITLE, _HEADER = 50, 16
_ITEM, _SUMMARY = (6, 23), (6, 14)
_HIGHLIGHT, _HIGHLIGHT_BY_IMAGE = (30, 19), (21, 13)
_ITEMS = range(2, 11)
_QUICK_REPLY = 14
_BRAND_BUTTON = 28
_BRAND_BUTTONS = 5
"""all by the field descriptions of SDK 1.2.0"""


class Unfit(Exception):
    """A message that Bizgo's wire does not carry as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refused(reason, "", detail)


def encode(outgoing: Outgoing) -> bytes | Refused:
    """Return the body of the request that sends ``outgoing``, or why there is none."""
    try:
        return msgspec.json.encode(request_of(outgoing))
    except Unfit as unfit:
        return unfit.refusal
    except UnicodeEncodeError:
        return Refused("content_charset", "", "half of a surrogate pair, which is no text")


def request_of(outgoing: Outgoing) -> dict[str, Any]:
    """Return the request that sends ``outgoing`` alone.

    An ``idempotencyKey`` is the request's, and attempts are replayed one by one: so a request has one recipient.
    ``messageFlow`` has one item: a second one would be Bizgo's own failover. Raises ``Unfit``.
    """
    key = outgoing.request_key
    destination: dict[str, Any] = {"to": outgoing.to}
    match outgoing.content:
        case AlimTalk() as alimtalk if outgoing.channel is Channel.ALIMTALK:
            flow = {"alimtalk": _alimtalk(alimtalk)}
            if is_rendered_there(alimtalk):
                destination["replaceWords"] = dict(alimtalk.variables)
        case BrandMessage() as brand if outgoing.channel is Channel.FRIENDTALK:
            flow = {"brandmessage": _brand(brand)}
        case Text() as text if outgoing.channel.is_text:
            flow = _text(text, outgoing.channel)
        case _:
            raise Unfit("invalid_request", f"not a message for {outgoing.channel}")
    return {
        "destinations": [destination],
        "messageFlow": [flow],
        "ref": key,
        "groupKey": key,
        "idempotencyKey": key,
        "idempotencyTtl": IDEMPOTENCY_SECONDS,
    }


def is_rendered_there(alimtalk: AlimTalk) -> bool:
    """Whether Bizgo is to put the variables into the inspected text itself.

    It is documented to do so in text and title only, so it is asked to where there is nothing else.
    """
    return bool(alimtalk.variables) and not (
        alimtalk.buttons
        or alimtalk.quick_replies
        or alimtalk.title
        or alimtalk.header
        or alimtalk.highlight
        or alimtalk.items
        or alimtalk.summary
        or alimtalk.link
    )


# -- AlimTalk ----------------------------------------------------------------------------------------------------


def _alimtalk(alimtalk: AlimTalk) -> dict[str, Any]:
    base = {
        "senderKey": alimtalk.sender_key,
        "templateCode": alimtalk.template_code,
        "responseMethod": "push",  # fails at once for whom Kakao cannot push to, so that a text can follow
    }
    if is_rendered_there(alimtalk):
        return {**base, "sendType": "template"}
    return {
        **base,
        "msgType": "AI" if alimtalk.has_image else "AT",
        "text": _within("text", alimtalk.text, ALIMTALK_CHARACTERS),
        **_set(
            title=None if alimtalk.title is None else _within("title", alimtalk.title, _TITLE),
            header=None if alimtalk.header is None else _within("header", alimtalk.header, _HEADER),
            link=None if alimtalk.link is None else _link(alimtalk.link),
            attachment=attachment_of(
                alimtalk.buttons, alimtalk.items, alimtalk.summary, alimtalk.highlight, has_image=alimtalk.has_image
            ),
            supplement=supplement_of(alimtalk.quick_replies),
        ),
    }


def _link(link: Links) -> dict[str, str]:
    if link.url_mobile is None or link.url_pc is None:
        raise Unfit("invalid_request", "link: Bizgo wants url_mobile and url_pc")
    return _schemes(link)


def attachment_of(
    buttons: Sequence[Button],
    items: Sequence[Item],
    summary: Item | None,
    highlight: Item | None,
    *,
    has_image: bool = False,
) -> dict[str, Any] | None:
    """Return what hangs on an AlimTalk or its template; None for nothing. Raises ``Unfit``."""
    item: dict[str, Any] = {}
    if items:
        if len(items) not in _ITEMS:
            raise Unfit("invalid_request", "items: 2 to 10 of them")
        item["list"] = [_item("items", each, *_ITEM) for each in items]
    if summary is not None:
        item["summary"] = _item("summary", summary, *_SUMMARY)
    longest = _HIGHLIGHT_BY_IMAGE if has_image else _HIGHLIGHT
    return (
        _set(
            button=[_button(button) for button in buttons] or None,
            item=item or None,
            itemHighlight=None if highlight is None else _item("highlight", highlight, *longest),
        )
        or None
    )


def supplement_of(quick_replies: Sequence[QuickReply]) -> dict[str, Any] | None:
    """Return the quick replies; None for none. Raises ``Unfit``."""
    return {"quickReply": [_quick_reply(reply) for reply in quick_replies]} if quick_replies else None


def _item(field: str, item: Item, title: int, description: int) -> dict[str, str]:
    return {
        "title": _within(f"{field}.title", item.title, title),
        "description": _within(f"{field}.description", item.description, description),
    }


def _button(button: Button) -> dict[str, str]:
    return {
        "type": button.kind,
        "name": button.name,
        **_schemes(button),
        **_set(
            chatExtra=button.chat_extra,
            chatEvent=button.chat_event,
            pluginId=button.plugin_id,
            relayId=button.relay_id,
            oneclickId=button.one_click_id,
            productId=button.product_id,
            bizFormId=button.biz_form_id,
            telNumber=button.phone,
        ),
    }


def _quick_reply(reply: QuickReply) -> dict[str, str]:
    return {
        "type": reply.kind,
        "name": _within("quick_replies.name", reply.name, _QUICK_REPLY),
        **_schemes(reply),
        **_set(chatExtra=reply.chat_extra, chatEvent=reply.chat_event, bizFormId=reply.biz_form_id),
    }


def _schemes(place: Links | Button | QuickReply) -> dict[str, str]:
    return _set(
        urlPc=place.url_pc,
        urlMobile=place.url_mobile,
        schemeAndroid=place.scheme_android,
        schemeIos=place.scheme_ios,
    )


# -- brand messages ----------------------------------------------------------------------------------------------


def _brand(brand: BrandMessage) -> dict[str, Any]:
    """Return a free-form brand message; who gets it is whoever is a friend of the channel, so no ``targeting``."""
    if brand.image is None and (brand.wide or brand.image_link is not None):
        raise Unfit("invalid_request", "image: a wide message and an image_link want one")
    kind = "FT" if brand.image is None else "FW" if brand.wide else "FI"
    if len(brand.buttons) > _BRAND_BUTTONS:
        raise Unfit("invalid_request", f"buttons: at most {_BRAND_BUTTONS}")
    image = None if brand.image is None else {"imgUrl": brand.image, **_set(imgLink=brand.image_link)}
    attachment = _set(button=[_brand_button(button) for button in brand.buttons] or None, image=image)
    return {
        "sendType": "free",
        "msgType": kind,
        "senderKey": brand.sender_key,
        "text": _within("text", brand.text, _BRAND_CHARACTERS[kind]),
        "adFlag": "Y" if brand.advertising else "N",
        **_set(attachment=attachment or None),
    }


def _brand_button(button: Button) -> dict[str, str]:
    for field in ("plugin_id", "relay_id", "one_click_id", "product_id", "phone", "biz_form_id"):
        if getattr(button, field) is not None:
            raise Unfit("invalid_request", f"buttons.{field}: a brand message of Bizgo has no such field")
    if button.kind in {"WL", "AL"} and button.url_mobile is None:
        raise Unfit("invalid_request", f"buttons.url_mobile: a button {button.kind} wants it")
    if button.kind == "WL" and button.url_pc is None:
        raise Unfit("invalid_request", "buttons.url_pc: a button WL wants it")
    return {
        "type": button.kind,
        "name": _within("buttons.name", button.name, _BRAND_BUTTON),
        **_schemes(button),
        **_set(chatExtra=button.chat_extra, chatEvent=button.chat_event),
    }


# -- texts -------------------------------------------------------------------------------------------------------


def _text(text: Text, channel: Channel) -> dict[str, Any]:
    if bool(text.images) != (channel is Channel.MMS) or len(text.images) > MMS_IMAGES:
        raise Unfit("invalid_request", f"images: an MMS has 1 to {MMS_IMAGES}, other texts have none")
    if channel is Channel.SMS:
        return {"sms": {"from": text.sender, "text": _carried("text", text.text, SMS_BYTES)}}
    return {
        "mms": {
            "from": text.sender,
            **_set(title=None if text.subject is None else _carried("subject", text.subject, SUBJECT_BYTES)),
            "text": _carried("text", text.text, LMS_BYTES),
            **_set(fileKey=list(text.images) or None),
        }
    }


def _carried(field: str, text: str, longest: int) -> str:
    """Return ``text`` if carriers bring it. Raises for a character that they do not, or too many."""
    if lost := uncarried(text):
        raise Unfit("content_charset", f"{field}: no carrier brings " + ", ".join(_names(lost)))
    if byte_length(text) > longest:
        raise Unfit("content_too_long", f"{field}: more than {longest} bytes")
    return text


def _names(characters: Sequence[str]) -> Iterator[str]:
    for character in characters[:5]:
        shown = character if character.isprintable() else ""
        yield f"{shown} U+{ord(character):04X}".strip()


def _within(field: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise Unfit("content_too_long", f"{field}: more than {longest} characters")
    return text


def _set(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {name: value for name, value in fields.items() if value is not None}
