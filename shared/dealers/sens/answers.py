"""What SENS answers, read without trust: every field may be missing, or be anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec


class Unreadable(Exception):
    """An answer that is not what SENS's documents show."""


class Item(msgspec.Struct, rename="camel"):
    """A message as SENS tells of it: in the answer to sending (AlimTalk), in lists, and alone."""

    message_id: Any = None
    to: Any = None
    country_code: Any = None
    request_status_code: Any = None
    request_status_name: Any = None
    message_status_code: Any = None
    message_status_name: Any = None
    status: Any = None
    status_code: Any = None
    status_name: Any = None
    complete_time: Any = None

    @property
    def id(self) -> str | None:
        """Return its id, or None where there is none to be used."""
        return printable(self.message_id)

    @property
    def number(self) -> str | None:
        """Return the recipient as a national number, digits only."""
        if not isinstance(self.to, str):
            return None
        digits = re.sub(r"\D", "", self.to)
        return "0" + digits[2:].removeprefix("0") if digits.startswith("82") else digits

    @property
    def is_named(self) -> bool:
        """Whether it tells the whole number, none of it masked."""
        return isinstance(self.to, str) and re.fullmatch(r"\+?[\d -]{9,}", self.to) is not None

    @property
    def at(self) -> datetime | None:
        """Return when it was done with; None where the time does not say whose it is, as in the documents."""
        try:
            moment = datetime.fromisoformat(self.complete_time)
        except (TypeError, ValueError):
            return None
        return moment if moment.tzinfo is not None else None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a request of several messages, or a list of them."""

    request_id: str | None
    status_code: str
    status_name: str
    items: list[tuple[Item, bytes]]
    next_token: str | None = None


class _Envelope(msgspec.Struct, rename="camel"):
    request_id: Any = None
    status_code: Any = None
    status_name: Any = None
    next_token: Any = None
    messages: list[msgspec.Raw] | None = None


class _Error(msgspec.Struct, rename="camel"):
    error_code: Any = None
    code: Any = None
    message: Any = None
    details: Any = None
    error: Any = None
    errors: Any = None


class Channel(msgspec.Struct, rename="camel"):
    """A KakaoTalk channel of the service."""

    channel_id: Any = None
    channel_status: Any = None
    is_block: Any = None
    is_dormant: Any = None


class Comment(msgspec.Struct, rename="camel"):
    """A word of the inspector's."""

    content: Any = None
    create_time: Any = None


class Template(msgspec.Struct, rename="camel"):
    """A template as SENS has it."""

    template_code: Any = None
    content: Any = None
    template_inspection_status: Any = None
    template_status: Any = None
    comments: Any = None


class _File(msgspec.Struct, rename="camel"):
    file_id: Any = None


_T = TypeVar("_T")


def _read(body: bytes | msgspec.Raw, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def read_messages(body: bytes) -> Answered:
    """Read the answer to sending, or a list; what is no message there is left out. Raises ``Unreadable``."""
    envelope = _read(body, _Envelope)
    items = []
    for raw in envelope.messages or []:
        try:
            items.append((_read(raw, Item), bytes(raw)))
        except Unreadable:
            continue  # its message stays unaccounted for
    return Answered(
        printable(envelope.request_id),
        code(envelope.status_code),
        word(envelope.status_name),
        items,
        _token(envelope.next_token),
    )


def read_message(body: bytes) -> Item:
    """Read one message: alone as AlimTalk has it, or the one of a list as texts have it. Raises ``Unreadable``."""
    messages = read_messages(body).items
    if len(messages) == 1:
        return messages[0][0]
    return _read(body, Item)


def read_channels(body: bytes) -> list[Channel]:
    """Read the channels of a service. Raises ``Unreadable``."""
    return _read(body, list[Channel])


def read_templates(body: bytes) -> list[Template]:
    """Read templates: a list, or the one that was asked for by its code. Raises ``Unreadable``."""
    try:
        return _read(body, list[Template])
    except Unreadable:
        return [_read(body, Template)]


def read_comments(template: Template) -> tuple[str, ...]:
    """Read the inspector's words, oldest first as far as they have a date."""
    try:
        comments = msgspec.convert(template.comments or [], list[Comment])
    except msgspec.ValidationError:
        return ()
    told = [(str(comment.create_time or ""), comment.content) for comment in comments]
    return tuple(text for _, text in sorted(told, key=lambda one: one[0]) if isinstance(text, str) and text)


def read_file(body: bytes) -> str | None:
    """Read the id of an uploaded file. Raises ``Unreadable``."""
    return printable(_read(body, _File).file_id)


def read_error(body: bytes) -> tuple[str, str]:
    """Read the code of an API gateway's refusal, and what it or SENS said, with numbers left out; both may be empty.

    The gateway says ``{"error": {"errorCode", "message", "details"}}``, SENS itself ``{"status", "error", "message"}``
    or ``{"status", "errors": []}``.
    """
    try:
        error = _read(body, _Error)
        inner = msgspec.convert(error.error, _Error) if isinstance(error.error, dict) else error
    except (Unreadable, msgspec.ValidationError):
        return "", ""
    said = [inner.message, inner.details, *(inner.errors if isinstance(inner.errors, list) else [])]
    text = "; ".join(part for part in said if isinstance(part, str))
    return code(inner.error_code), re.sub(r"\+?\d[\d -]{5,}\d", "#", text)[:200]


def printable(value: object) -> str | None:
    """Return an id fit to be kept and to stand in a path, of at most 100 characters; None for anything else."""
    fits = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@=+~-]{0,99}", value)
    return str(value) if fits else None


def _token(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{1,2000}", value) else None


def code(value: object) -> str:
    """Return a code, or an empty text; none is long enough to be a phone number."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[A-Za-z0-9_-]{1,8}", text) else ""


def word(value: object) -> str:
    """Return a word such as ``success``, or an empty text."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]{1,32}", value) else ""
