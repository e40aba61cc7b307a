"""What goes over Popbill's wire: our messages as its JSON, and its JSON as our words."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, ImageUse, Outgoing, Refused, Text
from shared.dealers.popbill.gateway import JSON, Service
from shared.dealers.printable import printable
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALIMTALK_CHARACTERS = 1000
"""as its example sendATS_one.py has it"""
BRAND_CHARACTERS: Final = {False: 1000, True: 400}
"""of a friend talk without and with an image; 400 as in its example sendFMS_one.py"""
IMAGE_BYTES: Final = {ImageUse.MMS: 300_000, ImageUse.BRAND: 500_000}
"""of a JPEG; brand: its example sendFMS_one.py; MMS: what the carriers take, as Bizppurio's guide v2.7 states it"""

_INLINE = "data:image/jpeg;base64,"
_REQUEST_NUM = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
"""its example sendATS_one.py: 1 to 36 letters, digits, hyphens and underscores, once per member"""


class Unsendable(Exception):
    """A message that this wire cannot carry as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refused(reason, "", detail)


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that sends one message."""

    service: Service
    path: str
    body: bytes
    content_type: str = JSON


# -- out ---------------------------------------------------------------------------------------------------------


def service_of(channel: Channel) -> Service:
    """Return the service that ``channel`` goes by."""
    return Service.TEXT if channel.is_text else Service.KAKAO


def sending_of(outgoing: Outgoing) -> Sending:
    """Return the call that sends ``outgoing``. Raises ``Unsendable``, naming what is in the way."""
    if not _REQUEST_NUM.fullmatch(outgoing.request_key):
        raise Unsendable("invalid_request", "the request key is not a RequestNum")
    try:
        match outgoing.content:
            case AlimTalk() as alimtalk:
                return Sending(Service.KAKAO, "ATS", msgspec.json.encode(alimtalk_of(outgoing, alimtalk)))
            case BrandMessage() as brand:
                return _brand(outgoing, brand)
            case Text() as text:
                return _text(outgoing, text)
    except UnicodeEncodeError as error:
        raise Unsendable("content_charset", "half of a surrogate pair is no text") from error


def alimtalk_of(outgoing: Outgoing, alimtalk: AlimTalk) -> dict[str, Any]:
    """Return an AlimTalk as Popbill wants it. Raises ``Unsendable``.

    The channel does not travel: a template code belongs to one. ``rcvnm``, the recipient's name in Popbill's console,
    is our key, since that is what its search looks for.
    """
    _only(
        "an AlimTalk",
        header=alimtalk.header,
        highlight=alimtalk.highlight,
        items=alimtalk.items,
        summary=alimtalk.summary,
        link=alimtalk.link,
        quick_replies=alimtalk.quick_replies,
    )
    if len(alimtalk.text) > ALIMTALK_CHARACTERS:
        raise Unsendable("content_too_long", f"over {ALIMTALK_CHARACTERS} characters")
    message = {"rcv": outgoing.to, "rcvnm": outgoing.request_key, "msg": alimtalk.text}
    if alimtalk.title is not None:
        message["emphasizeTitle"] = alimtalk.title
    body: dict[str, Any] = {
        "templateCode": alimtalk.template_code,
        "altSendType": None,
        "msgs": [message],
        "requestnum": outgoing.request_key,
    }
    if alimtalk.sender is not None:
        body["snd"] = alimtalk.sender
    if alimtalk.buttons:
        body["btns"] = [_button_of(button) for button in alimtalk.buttons]
    return body


def _brand(outgoing: Outgoing, brand: BrandMessage) -> Sending:
    _only("a friend talk", wide=brand.wide, image_link=brand.image_link if brand.image is None else None)
    limit = BRAND_CHARACTERS[brand.image is not None]
    if len(brand.text) > limit:
        raise Unsendable("content_too_long", f"over {limit} characters")
    body: dict[str, Any] = {
        "plusFriendID": brand.sender_key,
        "altSendType": None,
        "msgs": [{"rcv": outgoing.to, "rcvnm": outgoing.request_key, "msg": brand.text}],
        "requestNum": outgoing.request_key,
    }
    if brand.sender is not None:
        body["snd"] = brand.sender
    if brand.buttons:
        body["btns"] = [_button_of(button) for button in brand.buttons]
    if brand.advertising:
        body["adsYN"] = True
    if brand.image is None:
        return Sending(Service.KAKAO, "FTS", msgspec.json.encode(body))
    if brand.image_link is not None:
        body["imageURL"] = brand.image_link
    return _with_file(Service.KAKAO, "FMS", outgoing.request_key, body, image_in(brand.image))


def _text(outgoing: Outgoing, text: Text) -> Sending:
    channel = outgoing.channel
    if lost := uncarried((text.subject or "") + text.text):
        raise Unsendable("content_charset", f"no carrier brings {', '.join(map(_named, lost[:5]))}")
    if byte_length(text.text) > (SMS_BYTES if channel is Channel.SMS else LMS_BYTES):
        raise Unsendable("content_too_long", f"{byte_length(text.text)} bytes")  # Popbill would cut it silently
    if text.subject is not None and byte_length(text.subject) > SUBJECT_BYTES:
        raise Unsendable("content_too_long", f"a subject of {byte_length(text.subject)} bytes")
    if len(text.images) != (channel is Channel.MMS):
        raise Unsendable("invalid_request", f"{channel} with {len(text.images)} images; an MMS has one, others none")
    message = {"snd": text.sender, "rcv": outgoing.to, "rcvnm": outgoing.request_key, "msg": text.text}
    body: dict[str, Any] = {"snd": text.sender, "content": text.text, "msgs": [message]}
    if text.subject is not None and channel is not Channel.SMS:
        message["sjt"] = body["subject"] = text.subject
    if channel is Channel.MMS:
        body["requestNum"] = outgoing.request_key
        return _with_file(Service.TEXT, "MMS", outgoing.request_key, body, image_in(text.images[0]))
    body["requestnum"] = outgoing.request_key  # in lower case here and at AlimTalk, as its SDK has it
    return Sending(Service.TEXT, channel.value.upper(), msgspec.json.encode(body))


_LINKS: Mapping[str, tuple[str | None, str | None]] = {
    "WL": ("url_mobile", "url_pc"),
    "AL": ("scheme_ios", "scheme_android"),
}
"""what u1 and u2 hold: its example sendATS_one.py; older examples have the schemes the other way round"""


def _button_of(button: Button) -> dict[str, str]:
    """Return a button. Raises ``Unsendable`` for what ``n``, ``t``, ``u1``, ``u2`` and ``telNum`` cannot hold."""
    first, second = _LINKS.get(button.kind, (None, None))
    set_ = {name: value for name in button.__slots__ if (value := getattr(button, name)) is not None}
    carried = {"n": set_.pop("name"), "t": set_.pop("kind")}
    for field, name in (("u1", first), ("u2", second), ("telNum", "phone")):
        if name is not None and name in set_:
            carried[field] = set_.pop(name)
    _only(f"a button {button.kind}", **set_)
    return carried


def _only(what: str, **fields: object) -> None:
    """Raise ``Unsendable`` if one of ``fields``, which Popbill has no place for, is set."""
    for name, value in fields.items():
        if value:
            raise Unsendable("invalid_request", f"Popbill has no field for {name} of {what}")


def _named(character: str) -> str:
    return f"{character} (U+{ord(character):04X})" if character.isprintable() else f"U+{ord(character):04X}"


def inline(image: bytes) -> str:
    """Return an image as its own name: Popbill stores none, it wants the bytes with each message."""
    return _INLINE + base64.b64encode(image).decode()


def image_in(name: str) -> bytes:
    """Return the image that ``inline`` named. Raises ``Unsendable``."""
    try:
        if not name.startswith(_INLINE):
            raise Unsendable("invalid_attachment", "an image that this dealer was not given")
        return base64.b64decode(name.removeprefix(_INLINE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unsendable("invalid_attachment", "an image that cannot be read") from error


def _with_file(service: Service, path: str, key: str, body: Mapping[str, Any], image: bytes) -> Sending:
    """Return a call in two parts, ``form`` with the JSON and ``file``; the key makes a boundary that no image has."""
    boundary = f"bongsu-{key}"
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="form"\r\n\r\n'.encode(),
        msgspec.json.encode(body),
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{key}.jpg"\r\n'.encode(),
        b"Content-Type: application/octet-stream\r\n\r\n",
        image,
        f"\r\n--{boundary}--\r\n".encode(),
    )
    return Sending(service, path, b"".join(parts), f"multipart/form-data; boundary={boundary}")


# -- in ----------------------------------------------------------------------------------------------------------


class Unreadable(Exception):
    """An answer that is not what Popbill's SDK reads."""


class Sent(msgspec.Struct, rename="camel"):
    """A message as Popbill tells of it (``KakaoSentDetail`` and ``SentMessage`` of its Java SDK)."""

    state: Any = None
    result: Any = None
    receipt_num: Any = None
    request_num: Any = None
    send_dt: Any = msgspec.field(default=None, name="sendDT")
    result_dt: Any = msgspec.field(default=None, name="resultDT")

    @property
    def result_code(self) -> str:
        """Return what became of it, once Popbill has a result: with the state 3, or dated; else an empty text."""
        code = _number(self.result)
        return code if code not in {"", "0"} and (_number(self.state) == "3" or moment(self.result_dt)) else ""

    @property
    def state_code(self) -> str:
        """Return its state, as our table writes it."""
        return f"state-{_number(self.state) or 'none'}"

    @property
    def at(self) -> datetime | None:
        """Return when its result came, or else when it was sent."""
        return moment(self.result_dt) or moment(self.send_dt)


class SentInfo(msgspec.Struct, rename="camel"):
    """A request over Kakao and its messages (``KakaoSentInfo``); the counts say in words what a code says."""

    msgs: list[Sent] | None = None
    receipt_num: Any = None
    request_num: Any = None
    success_cnt: Any = None
    fail_cnt: Any = None


class Found(msgspec.Struct):
    """A page of what a search found."""

    total: int
    sent: list[Sent] = msgspec.field(name="list")


class KakaoChannel(msgspec.Struct, rename={"id": "plusFriendID"}):
    """A Kakao channel of the member's."""

    id: str


class Sender(msgspec.Struct):
    """A sender number of the member's."""

    number: str


class Template(msgspec.Struct, rename={"code": "templateCode", "text": "template", "changed": "stateDT"}):
    """A template; Popbill lists those that are approved. ``channel`` is its ``plusFriendID``."""

    code: str
    text: str = ""
    channel: Any = msgspec.field(default=None, name="plusFriendID")
    changed: Any = None


class _Receipt(msgspec.Struct, rename="camel"):
    receipt_num: Any = None


class _Point(msgspec.Struct, rename="camel"):
    remain_point: Any = None


_T = TypeVar("_T")


def read(body: bytes, type_: type[_T]) -> _T:
    """Read an answer. Raises ``Unreadable``."""
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def read_receipt_num(body: bytes) -> str | None:
    """Return the receipt number of a request that was taken, or None where the answer gives none."""
    try:
        return printable(read(body, _Receipt).receipt_num, 40)
    except Unreadable:
        return None


def read_point(body: bytes) -> int:
    """Return the points left (a point is a KRW). Raises ``Unreadable``."""
    point = read(body, _Point).remain_point  # written as a number or in quotes: its SDK takes both
    try:
        return int(float(point))
    except (TypeError, ValueError, OverflowError) as error:
        raise Unreadable("remainPoint is no number") from error


def read_sent(service: Service, body: bytes) -> tuple[list[Sent], bool | None]:
    """Read the messages of a request, and what its counts say of them: delivered, failed, or nothing at all.

    Raises ``Unreadable``.
    """
    if body.strip() == b"null":
        return [], None
    if service is Service.TEXT:
        return read(body, list[Sent]), None
    info = read(body, SentInfo)
    for sent in info.msgs or ():
        sent.receipt_num = sent.receipt_num or info.receipt_num
        sent.request_num = sent.request_num or info.request_num
    return info.msgs or [], _counted(_number(info.success_cnt), _number(info.fail_cnt))


def _counted(succeeded: str, failed: str) -> bool | None:
    if succeeded not in {"", "0"}:
        return True
    return False if failed not in {"", "0"} else None


def moment(value: object) -> datetime | None:
    """Read ``yyyyMMddHHmmss``, in Seoul; None for anything else."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{14}", value, re.ASCII):
        return None
    try:
        return datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=SEOUL)
    except ValueError:
        return None


def digits(numbers: Iterable[str]) -> set[str]:
    """Return phone numbers as digits only."""
    return {re.sub(r"\D", "", number) for number in numbers}


def _number(value: object) -> str:
    """Return a number of one to eight digits, which Popbill writes as such or in quotes; else an empty text."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"\d{1,8}", text, re.ASCII) else ""
