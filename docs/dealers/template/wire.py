"""What goes over the dealer's wire: our messages as its requests, and its answers as our words.

Nothing here calls, waits or decides. FILL IN 4 and 5 stand where the dealer's own names and shapes go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from shared.contracts.states import Channel
from shared.dealers.base import Outgoing, Refused, Text
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_MESSAGES: Final = 100
"""FILL IN 6: in one call, of sending and of looking up"""

_TYPES: Final = {Channel.SMS: "SMS", Channel.LMS: "LMS"}
_BYTES: Final = {Channel.SMS: SMS_BYTES, Channel.LMS: LMS_BYTES}
_NAMED = 5
"""characters named in a refusal, at most"""


class Unsendable(Exception):
    """A message that this wire cannot carry as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refused(reason, "", detail)


# -- out -----------------------------------------------------------------------------------------------------------


def message_of(outgoing: Outgoing) -> dict[str, Any]:
    """Return a message as the dealer wants it. Raises ``Unsendable``, naming what is in the way.

    FILL IN 4: every field of base.AlimTalk, BrandMessage and Text has a place in the request, or a refusal that
    names it: title, header, highlight, items, summary, link, quick replies, each kind of button and each of its
    fields. Nothing is dropped silently. The dealer's own fallback is off, in words, in every request.
    """
    content, channel = outgoing.content, outgoing.channel
    if not isinstance(content, Text) or channel not in _TYPES:
        raise Unsendable("not_permitted", f"no {channel} here")
    if content.images:
        raise Unsendable("invalid_request", "there is no field for images")
    subject = content.subject if channel is Channel.LMS else None
    if lost := uncarried((subject or "") + content.text):
        raise Unsendable("content_charset", f"no carrier brings {', '.join(map(_named, lost[:_NAMED]))}")
    if byte_length(content.text) > _BYTES[channel]:
        raise Unsendable("content_too_long", f"{byte_length(content.text)} bytes, over {_BYTES[channel]}")
    if subject is not None and byte_length(subject) > SUBJECT_BYTES:
        raise Unsendable("content_too_long", f"a subject of {byte_length(subject)} bytes, over {SUBJECT_BYTES}")
    message = {
        "key": outgoing.request_key,
        "type": _TYPES[channel],
        "to": outgoing.to,
        "from": content.sender,
        "text": content.text,
    }
    return message if subject is None else {**message, "subject": subject}


def _named(character: str) -> str:
    return f"{character} (U+{ord(character):04X})" if character.isprintable() else f"U+{ord(character):04X}"


def encode(messages: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the body that sends messages. FILL IN 4: JSON, form fields, or whatever it is."""
    return msgspec.json.encode({"messages": list(messages)})


# -- in ------------------------------------------------------------------------------------------------------------


class Unreadable(Exception):
    """An answer, or a part of one, that is not what the contract shows."""


class Told(msgspec.Struct):
    """What the dealer tells of one message: in the answer to sending it, in a lookup, in a receipt.

    FILL IN 5: the dealer's names. Fields are ``Any`` and checked below, so that one of a wrong type does not make its
    neighbours unreadable.
    """

    key: Any = None
    id: Any = None
    code: Any = None

    @property
    def request_key(self) -> str | None:
        """Return our key."""
        return printable(self.key)

    @property
    def dealer_message_id(self) -> str | None:
        """Return the dealer's id of it."""
        return printable(self.id)

    @property
    def result(self) -> str:
        """Return the code, or an empty text where there is none to be used."""
        return code_of(self.code)


class _List(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Error(msgspec.Struct):
    code: Any = None


_T = TypeVar("_T")


def _read(body: bytes | msgspec.Raw, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def read_items(body: bytes) -> list[msgspec.Raw]:
    """Split an answer or a receipt call into its items. Raises ``Unreadable``."""
    return _read(body, _List).messages


def read_told(item: msgspec.Raw) -> Told:
    """Read an item. Raises ``Unreadable``."""
    return _read(item, Told)


def read_error(body: bytes) -> str:
    """Return the code of an answer that is no success, or an empty text."""
    try:
        return code_of(_read(body, _Error).code)
    except Unreadable:
        return ""


def code_of(value: object) -> str:
    """Return a code fit to be kept. FILL IN 5: what a code looks like here."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"\w{1,8}", text, re.ASCII) else ""


def printable(value: object) -> str | None:
    """Return an id fit to be kept: ASCII without spaces, bounded; None for anything else."""
    fits = isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{1,64}", value)
    return str(value) if fits else None
