"""What Bizgo refuses at acceptance, and by which code (field descriptions and error codes of SDK 1.2.0)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_DESTINATIONS = 200
MAX_TTL = 86_400
_MAX_KEY = 200
_MAX_FILES = 3
_BRAND = {"FT": 1300, "FI": 400, "FW": 76}


class Refused(Exception):
    """A request that the service does not take, by this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Strict(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class Link(_Strict):
    """Where a message leads."""

    url_pc: str | None = None
    url_mobile: str | None = None
    scheme_android: str | None = None
    scheme_ios: str | None = None


class QuickReply(Link):
    """A quick reply."""

    type: str | None = None
    name: str | None = None
    chat_extra: str | None = None
    chat_event: str | None = None
    biz_form_id: str | None = None


class Button(QuickReply):
    """A button."""

    target: str | None = None
    plugin_id: str | None = None
    relay_id: str | None = None
    oneclick_id: str | None = None
    product_id: str | None = None
    biz_form_key: str | None = None
    tel_number: str | None = None


class Item(_Strict):
    """A line of an item list, its summary, or its highlight."""

    title: str | None = None
    description: str | None = None


class Items(_Strict):
    """An item list."""

    list: tuple[Item, ...] | None = None
    summary: Item | None = None


class Attachment(_Strict):
    """What hangs on an AlimTalk."""

    button: tuple[Button, ...] = ()
    item: Items | None = None
    item_highlight: Item | None = None


class Supplement(_Strict):
    """The quick replies of an AlimTalk."""

    quick_reply: tuple[QuickReply, ...] = ()


class AlimTalk(_Strict):
    """``alimtalk``."""

    sender_key: str = ""
    template_code: str = ""
    msg_type: str | None = None
    send_type: str | None = None
    response_method: str = "push"
    timeout: str = "180"
    text: str | None = None
    title: str | None = None
    header: str | None = None
    link: Link | None = None
    attachment: Attachment = msgspec.field(default_factory=Attachment)
    supplement: Supplement = msgspec.field(default_factory=Supplement)
    price: str | None = None
    currency_type: str | None = None


class Image(_Strict):
    """The image of a brand message."""

    img_url: str = ""
    img_link: str | None = None


class BrandButton(Link):
    """A button of a brand message."""

    type: str | None = None
    name: str | None = None
    chat_extra: str | None = None
    chat_event: str | None = None
    biz_form_key: str | None = None


class BrandAttachment(_Strict):
    """What hangs on a brand message."""

    button: tuple[BrandButton, ...] = ()
    image: Image | None = None


class Brand(_Strict):
    """``brandmessage``, as far as it is free-form."""

    sender_key: str = ""
    send_type: str | None = None
    msg_type: str | None = None
    text: str = ""
    ad_flag: str = "Y"
    push_alarm: str = "Y"
    adult: str = "N"
    targeting: str | None = None
    header: str | None = None
    attachment: BrandAttachment = msgspec.field(default_factory=BrandAttachment)


class Sms(msgspec.Struct, forbid_unknown_fields=True):
    """``sms``."""

    sender: str = msgspec.field(default="", name="from")
    text: str = ""
    ttl: str = "0"
    originCID: str | None = None  # noqa: N815 - its name


class Mms(Sms):
    """``mms``: an LMS where it has no files."""

    title: str | None = None
    fileKey: tuple[str, ...] | None = None  # noqa: N815 - its name


class Flow(msgspec.Struct, forbid_unknown_fields=True):
    """An item of ``messageFlow``."""

    sms: Sms | None = None
    mms: Mms | None = None
    alimtalk: AlimTalk | None = None
    brandmessage: Brand | None = None
    international: Any = None
    rcs: Any = None
    navertalk: Any = None

    @property
    def message(self) -> Sms | Mms | AlimTalk | Brand:
        """Return the one message it holds. Raises ``Refused``."""
        given = [each for each in (self.sms, self.mms, self.alimtalk, self.brandmessage) if each is not None]
        if self.international is not None or self.rcs is not None or self.navertalk is not None:
            raise Refused("A325")
        if len(given) != 1:
            raise Refused("A300")
        return given[0]


class Destination(_Strict):
    """A recipient."""

    to: str | None = None
    replace_words: dict[str, str] | None = None
    ref: str | None = None


class Send(_Strict):
    """Body of ``POST /send/omni``."""

    destinations: tuple[Destination, ...] = ()
    message_flow: tuple[Flow, ...] = ()
    payment_code: str | None = None
    group_key: str | None = None
    ref: str | None = None
    idempotency_key: str | None = None
    idempotency_ttl: int | None = None


def read(body: bytes) -> Send:
    """Read a request. Raises ``Refused``."""
    try:
        return msgspec.json.decode(body, type=Send)
    except msgspec.ValidationError as error:
        raise Refused("A011") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("A010") from error


def judge(send: Send) -> Sms | Mms | AlimTalk | Brand:
    """Return the message of a request whose form is right. Raises ``Refused``.

    A second item of ``messageFlow`` would be sent where the first fails; the sandbox refuses it, to be noticed.
    """
    if len(send.destinations) > MAX_DESTINATIONS:
        raise Refused("A318")
    if not send.destinations or len(send.message_flow) != 1:
        raise Refused("A300")
    if len(send.payment_code or "") > 20:  # noqa: PLR2004 - of paymentCode
        raise Refused("A310")
    if any(len(ref or "") > _MAX_KEY for ref in (send.ref, *(to.ref for to in send.destinations))):
        raise Refused("A305")
    if send.group_key == "":
        raise Refused("A311")
    if send.idempotency_key is not None:
        if not 0 < len(send.idempotency_key) <= _MAX_KEY:
            raise Refused("A308")
        if send.idempotency_ttl is None or not 0 <= send.idempotency_ttl <= MAX_TTL:
            raise Refused("A309")
    message = send.message_flow[0].message
    for code in _complaints(message, send):
        raise Refused(code)
    return message


def _complaints(message: Sms | Mms | AlimTalk | Brand, send: Send) -> Iterator[str]:
    match message:
        case Mms() | Sms():
            return _of_text(message)
        case AlimTalk():
            return _of_alimtalk(message, send)
        case Brand():
            return _of_brand(message)


def channel_of(message: Sms | Mms | AlimTalk | Brand) -> Channel:
    """Return the channel of a message."""
    match message:
        case Mms():
            return Channel.MMS if message.fileKey else Channel.LMS
        case Sms():
            return Channel.SMS
        case AlimTalk():
            return Channel.ALIMTALK
        case Brand():
            return Channel.FRIENDTALK


def _of_text(text: Sms | Mms) -> Iterator[str]:
    longest = 2000 if isinstance(text, Mms) else 90
    if not re.fullmatch(r"\d{8,12}", text.sender):
        yield "A302"
    if not text.text or not _in_cp949(text.text):
        yield "A303"
    elif len(text.text.encode("cp949")) > longest:
        yield "A328"
    if not text.ttl.isdigit():
        yield "A304"
    if isinstance(text, Mms):
        if len(text.fileKey or ()) > _MAX_FILES:
            yield "A319"
        if text.fileKey == () or (text.title is not None and not _in_cp949(text.title)):
            yield "A217" if text.fileKey == () else "A303"


def _in_cp949(text: str) -> bool:
    try:
        text.encode("cp949")
    except UnicodeEncodeError:
        return False
    return True


def _of_alimtalk(talk: AlimTalk, send: Send) -> Iterator[str]:
    if not 0 < len(talk.sender_key) <= 40:  # noqa: PLR2004 - of a senderKey
        yield "A502"
    if not 0 < len(talk.template_code) <= 30:  # noqa: PLR2004 - of a templateCode
        yield "A505"
    if talk.response_method not in {"push", "polling"}:
        yield "A501"
    if not talk.timeout.isdigit() or not 10 <= int(talk.timeout) <= MAX_TTL:  # noqa: PLR2004 - seconds
        yield "A526"
    yield from _of_way(talk, send)
    yield from _of_frame(talk)
    yield from _of_buttons(talk.attachment.button, 5, ("A503", "A524", "A525"))
    replies = talk.supplement.quick_reply
    yield from _of_buttons(replies, 10, ("A562", "A563", "A564"))
    if any(len(reply.name or "") > 14 for reply in replies):  # noqa: PLR2004 - characters
        yield "A564"


def _of_way(talk: AlimTalk, send: Send) -> Iterator[str]:
    """Judge who renders the text: Bizgo from the template, or the caller."""
    if talk.send_type == "template":
        if any(to.replace_words is None for to in send.destinations):
            yield "A300"
    elif talk.send_type is not None:
        yield "A571"
    elif talk.msg_type not in {"AT", "AI"}:
        yield "A523"
    elif not talk.text:
        yield "A303"
    if len(talk.text or "") > 1300:  # noqa: PLR2004 - characters
        yield "A328"


def _of_frame(talk: AlimTalk) -> Iterator[str]:
    if len(talk.title or "") > 50:  # noqa: PLR2004 - characters
        yield "A300"
    if len(talk.header or "") > 16:  # noqa: PLR2004 - characters
        yield "A565"
    if talk.link is not None and (talk.link.url_pc is None or talk.link.url_mobile is None):
        yield "A300"
    item, highlight = talk.attachment.item, talk.attachment.item_highlight
    if item is not None:
        lines = item.list or ()
        if item.list is not None and not 2 <= len(lines) <= 10:  # noqa: PLR2004 - lines
            yield "A560"
        if not all(_fits(line, 6, 23) for line in lines):
            yield "A560"
        if item.summary is not None and not _fits(item.summary, 6, 14):
            yield "A561"
    longest = (21, 13) if talk.msg_type == "AI" else (30, 19)
    if highlight is not None and not _fits(highlight, *longest):
        yield "A521"


def _fits(item: Item, title: int, description: int) -> bool:
    return 0 < len(item.title or "") <= title and 0 < len(item.description or "") <= description


def _of_buttons(buttons: Sequence[QuickReply | BrandButton], most: int, codes: tuple[str, str, str]) -> Iterator[str]:
    many, kind, name = codes
    if len(buttons) > most:
        yield many
    for button in buttons:
        if not button.type:
            yield kind
        if not button.name:
            yield name


def _of_brand(brand: Brand) -> Iterator[str]:
    if not 0 < len(brand.sender_key) <= 40:  # noqa: PLR2004 - of a senderKey
        yield "A502"
    if brand.send_type != "free":
        yield "A571"
    if brand.msg_type not in _BRAND:
        yield "A523"
    elif not 0 < len(brand.text) <= _BRAND[brand.msg_type]:
        yield "A328" if brand.text else "A303"
    if brand.ad_flag not in {"Y", "N"}:
        yield "A506"
    if (brand.attachment.image is not None) != (brand.msg_type in {"FI", "FW"}):
        yield "A513"
    yield from _of_buttons(brand.attachment.button, 5, ("A503", "A524", "A525"))
    for button in brand.attachment.button:
        lacks_pc = button.type == "WL" and button.url_pc is None
        if lacks_pc or (button.type in {"WL", "AL"} and button.url_mobile is None):
            yield "A503"
