"""What Bizgo says, as our words. All of it may be missing, of another type, or hostile."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from shared.contracts.states import Channel

OK = "A000"
ALREADY_TAKEN = "A301"
NO_SUCH_DATA = "A820"
RATE_LIMITED = "A020"

_SERVICES = {"SMS": Channel.SMS, "ALIMTALK": Channel.ALIMTALK, "BRANDMESSAGE": Channel.FRIENDTALK}
"""``MMS`` is an LMS as well; no code depends on which"""


class Unreadable(Exception):
    """An answer, or a part of one, that is not what the SDK's models show."""


class Layer(StrEnum):
    """Who speaks: the same code means different things (A401: no key, or a bad ``paymentCode``)."""

    GATEWAY = "gateway"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's envelope. ``code`` is empty where it is no code."""

    layer: Layer
    code: str
    ref: str | None
    data: bytes
    """what the service gave, as JSON; empty for nothing"""

    @property
    def is_ok(self) -> bool:
        """Whether both layers say so."""
        return self.layer is Layer.SERVICE and self.code == OK


class _Common(msgspec.Struct, rename="camel"):
    auth_code: Any = None


class _Service(msgspec.Struct):
    code: Any = None
    ref: Any = None
    data: msgspec.Raw = msgspec.Raw()  # empty where there is none


class _Envelope(msgspec.Struct):
    common: _Common | None = None
    data: _Service | None = None


class Taken(msgspec.Struct, rename="camel"):
    """What became of one recipient at acceptance."""

    to: Any = None
    msg_key: Any = None
    code: Any = None


class Message(msgspec.Struct, rename="camel"):
    """A message as reports and inquiries tell of it."""

    msg_key: Any = None
    service_type: Any = None
    fallback: Any = None
    response_code: Any = None
    """of its acceptance; in inquiries only"""
    report_code: Any = None
    report_text: Any = None
    report_time: Any = None
    ref: Any = None

    @property
    def id(self) -> str | None:
        """Return its ``msgKey``, or None where there is none to be used."""
        return identifier(self.msg_key)

    @property
    def key(self) -> str | None:
        """Return our key, or None where it did not come back."""
        return identifier(self.ref)

    @property
    def code(self) -> str:
        """Return its ``reportCode``, or an empty text for a message that is not reported."""
        return code_of(self.report_code)

    @property
    def is_failover(self) -> bool:
        """Whether it went over a channel that Bizgo fell back to, which no request of ours asks for."""
        return bool(self.fallback == "Y")

    @property
    def channel(self) -> Channel | None:
        """Return the channel its service stands for; None where that is not one channel."""
        return _SERVICES.get(self.service_type) if isinstance(self.service_type, str) else None

    @property
    def at(self) -> datetime | None:
        """Return when it was reported, in UTC; None where no offset says whose time it is."""
        try:
            moment = datetime.fromisoformat(self.report_time) if isinstance(self.report_time, str) else None
            return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
        except (ValueError, OverflowError):  # no time, or one before the first
            return None

    @property
    def words(self) -> str:
        """Return its ``reportText``, short and without anything as long as a phone number."""
        text = self.report_text if isinstance(self.report_text, str) else ""
        printable = "".join(character for character in text if character.isprintable())
        return re.sub(r"\d[\d\s().+-]{5,}\d", "...", printable)[:100]


class _Destinations(msgspec.Struct):
    destinations: list[Taken]


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw] | None = None


class _Polled(msgspec.Struct, rename="camel"):
    report_id: Any = None
    report: list[msgspec.Raw] | None = None


class _File(msgspec.Struct, rename="camel"):
    file_key: Any = None
    img_url: Any = None


class Profile(msgspec.Struct, rename="camel"):
    """A sender profile; ``status`` and ``profile_status`` are ``A`` while it works."""

    status: Any = None
    block: Any = None
    dormant: Any = None
    profile_status: Any = None


class _Profile(msgspec.Struct, rename="camel"):
    sender_profile: Profile | None = None


class _Kakao(msgspec.Struct):
    kakao: _Profile | None = None


_T = TypeVar("_T")


def read(body: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    """Read JSON as a ``kind``. Raises ``Unreadable``."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def read_answer(body: bytes) -> Said:
    """Read an answer's envelope. Raises ``Unreadable`` for what has none."""
    envelope = read(body, _Envelope)
    gateway = envelope.common.auth_code if envelope.common is not None else None
    if gateway not in (None, OK):
        return Said(Layer.GATEWAY, code_of(gateway), None, b"")
    if envelope.data is None or envelope.data.code is None:
        raise Unreadable("no code")
    service = envelope.data
    return Said(Layer.SERVICE, code_of(service.code), identifier(service.ref), bytes(service.data))


def read_destinations(data: bytes) -> list[Taken]:
    """Read what became of each recipient. Raises ``Unreadable``."""
    return read(data, _Destinations).destinations


def read_messages(data: bytes) -> list[tuple[Message, bytes]]:
    """Read the messages of an inquiry, each with its own JSON; none where there is no data. Raises ``Unreadable``."""
    found = read(data, _Messages).messages if data else None
    return [(read(raw, Message), bytes(raw)) for raw in found or ()]


def read_polled(data: bytes) -> tuple[str | None, list[msgspec.Raw]]:
    """Read a batch of polled reports and its id; no id for no batch. Raises ``Unreadable``."""
    polled = read(data, _Polled) if data else _Polled()
    return identifier(polled.report_id), polled.report or []


def read_file(data: bytes) -> str | None:
    """Return how an uploaded image is named. Raises ``Unreadable``."""
    file = read(data, _File)
    name = file.file_key or file.img_url
    return name if isinstance(name, str) and re.fullmatch(r"[\x21-\x7e]{1,500}", name) else None


def read_profile(data: bytes) -> Profile | None:
    """Return a sender profile; None where there is none. Raises ``Unreadable``."""
    kakao = read(data, _Kakao).kakao if data else None
    return kakao.sender_profile if kakao is not None else None


def code_of(value: object) -> str:
    """Return a code fit to be kept, or an empty text."""
    code = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return code if re.fullmatch(r"\w{1,32}", code, re.ASCII) else ""


def identifier(value: object) -> str | None:
    """Return an id fit to be kept and to stand in a path; None for anything else."""
    fits = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:~=+@-]{0,99}", value)
    return str(value) if fits else None
