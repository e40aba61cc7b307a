"""What goes over Gabia's wire: a text as form fields, and its JSON as our words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from shared.contracts.states import Channel
from shared.dealers.base import Outgoing, Refused, Text
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Sequence

FORM = "application/x-www-form-urlencoded"
SUCCESS: Final = "200"
"""``code`` of what was taken; whatever else stands there, and HTTP's status says 200 all the same"""
PATHS: Final = {Channel.SMS: "sms", Channel.LMS: "lms"}
_BYTES: Final = {Channel.SMS: SMS_BYTES, Channel.LMS: LMS_BYTES}
_NAMED = 5
"""characters named in a refusal, at most"""
_DETAIL = 200


class Unsendable(Exception):
    """A message that Gabia cannot be given."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refused(reason, "", detail)


# -- out ---------------------------------------------------------------------------------------------------------


def form_of(outgoing: Outgoing) -> bytes:
    """Return the fields that send a text. Raises ``Unsendable``, naming what is in the way.

    ``reqdate`` is left out: it reserves, and bongsu never does.
    """
    content, channel = outgoing.content, outgoing.channel
    if not isinstance(content, Text) or channel not in PATHS:
        raise Unsendable("not_permitted", f"Gabia is asked for SMS and LMS only, not for {channel}")
    if content.images:
        raise Unsendable("invalid_request", "images: an SMS or LMS has no place for them")
    subject = content.subject if channel is not Channel.SMS else None
    if lost := uncarried((subject or "") + content.text):
        raise Unsendable("content_charset", f"no carrier brings {', '.join(map(_named, lost[:_NAMED]))}")
    if byte_length(content.text) > _BYTES[channel]:
        raise Unsendable("content_too_long", f"{byte_length(content.text)} bytes, over {_BYTES[channel]}")
    if subject is not None and byte_length(subject) > SUBJECT_BYTES:
        raise Unsendable("content_too_long", f"a subject of {byte_length(subject)} bytes, over {SUBJECT_BYTES}")
    fields = {
        "phone": outgoing.to,
        "callback": content.sender,
        "message": content.text,
        "refkey": outgoing.request_key,
    }
    if subject is not None:
        fields["subject"] = subject
    return urlencode(fields).encode()


def _named(character: str) -> str:
    return f"{character} (U+{ord(character):04X})" if character.isprintable() else f"U+{ord(character):04X}"


# -- in ----------------------------------------------------------------------------------------------------------


class Unreadable(Exception):
    """An answer that is not what Gabia's clients read."""


class Said(msgspec.Struct):
    """An answer. ``code`` is ``"200"``, a word, or ``false`` beside a ``code_detail``."""

    code: Any = None
    message: Any = None
    code_detail: Any = None
    data: Any = None

    @property
    def word(self) -> str:
        """Return the code as our table writes it; empty where there is none to be used."""
        if self.code is False:
            return "false"
        return code_of(self.code)

    def detail(self, without: str = "") -> str:
        """Return what it says in words, without the number ``without``."""
        words = [word for word in (self.code_detail, self.message) if isinstance(word, str) and word]
        return plain(" - ".join(words), without)

    def insert_id(self, without: str) -> str | None:
        """Return Gabia's id of a message it took; None where there is none, or it holds the number ``without``."""
        given = self.data.get("INSERT_ID") if isinstance(self.data, dict) else None
        text = str(given) if isinstance(given, int | str) and not isinstance(given, bool) else ""
        return text if re.fullmatch(r"[0-9]{1,20}", text) and not (without and without in text) else None

    @property
    def left(self) -> int | None:
        """Return how many SMS the account has left (``/api/user/info``)."""
        given = self.data.get("sms_count") if isinstance(self.data, dict) else None
        text = str(given) if isinstance(given, int | str) and not isinstance(given, bool) else ""
        return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message."""

    code: str
    """``SUCC``, ``FAIL``, or whatever else stands there; empty where nothing does"""
    detail: str


class _Token(msgspec.Struct):
    access_token: Any = None
    expires_in: Any = None


_T = TypeVar("_T")


def _read(body: bytes, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def read_said(body: bytes) -> Said:
    """Read an answer. Raises ``Unreadable``."""
    return _read(body, Said)


def read_token(body: bytes) -> tuple[str, int] | None:
    """Read a token and its seconds to live, an hour where it does not say; None where there is none."""
    try:
        given = _read(body, _Token)
    except Unreadable:
        return None
    token, lasts = given.access_token, given.expires_in
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,4096}", token):
        return None
    known = isinstance(lasts, int) and not isinstance(lasts, bool) and lasts > 0
    return token, min(int(lasts), 86_400) if known else 3600


def read_results(said: Said, request_key: str, number: str) -> Sequence[Result] | None:
    """Return what the log shows under ``request_key``; None where it cannot be told whether that is all.

    Each item has a ``CODE``; ``MESG`` and ``SMS_REFKEY`` are seen in the older XML interface. An item under another
    key is not ours, and shows that the answer is not one to our question.
    """
    if said.data is None:
        return [] if said.word == SUCCESS else None
    if not isinstance(said.data, list) or (not said.data and said.word != SUCCESS):
        return None
    results = []
    for item in said.data:
        if not isinstance(item, dict):
            return None
        key = item.get("SMS_REFKEY", item.get("REFKEY", request_key))
        if key != request_key:
            return None
        words = item.get("MESG", item.get("MESSAGE"))
        results.append(Result(code_of(item.get("CODE")), plain(words, number) if isinstance(words, str) else ""))
    return results


def code_of(value: object) -> str:
    """Return a code fit to be kept: letters, digits and ``_``; else an empty text."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"\w{1,40}", text, re.ASCII) and not re.search(r"\d{9}", text) else ""


def plain(text: str, number: str) -> str:
    """Return words of Gabia's fit for a timeline: bounded, printable, without the recipient's number."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    without = printable.replace(number, "(number)") if number else printable
    return re.sub(r"\b0\d{1,2}-?\d{3,4}-?\d{4}\b", "(number)", without)[:_DETAIL]
