"""What goes over Hanbit's wire: our messages as its JSON, and its JSON as our words (sections of ``contract.md``)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, Button, Outgoing, QuickReply, Refused, Text
from shared.dealers.printable import printable
from shared.text import LMS_BYTES, SMS_BYTES, SUBJECT_BYTES, byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALIMTALK_CHARACTERS: Final = 1000
MAX_MESSAGES: Final = 100  # section 3, and 4 for lookups

_TYPES: Final = {Channel.ALIMTALK: "AT", Channel.SMS: "SMS", Channel.LMS: "LMS"}
_CHANNELS: Final = {type_: channel for channel, type_ in _TYPES.items()}
_BYTES: Final = {Channel.SMS: SMS_BYTES, Channel.LMS: LMS_BYTES}
_BUTTONS: Final = frozenset({"WL", "AL", "DS", "BK", "MD", "AC"})
_QUICK_REPLIES: Final = frozenset({"WL", "AL", "BK"})
_LINKS: Final = {"url_mobile": "mobile", "url_pc": "pc", "scheme_android": "android", "scheme_ios": "ios"}
_NAMED = 5
"""characters named in a refusal, at most"""


class Unsendable(Exception):
    """A message that Hanbit's wire cannot carry as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refused(reason, "", detail)


# -- out (section 3) -----------------------------------------------------------------------------------------------


def message_of(outgoing: Outgoing) -> dict[str, Any]:
    """Return a message as Hanbit wants it. Raises ``Unsendable``, naming what is in the way."""
    common = {"clientKey": outgoing.request_key, "type": _TYPES.get(outgoing.channel), "to": outgoing.to}
    match outgoing.content:
        case AlimTalk() as alimtalk if outgoing.channel is Channel.ALIMTALK:
            return {**common, **_alimtalk(alimtalk)}
        case Text() as text if outgoing.channel in _BYTES:
            return {**common, **_text(outgoing.channel, text)}
        case _:
            raise Unsendable("not_permitted", f"Hanbit has no {outgoing.channel}")


def _alimtalk(alimtalk: AlimTalk) -> dict[str, Any]:
    """``failover`` is ``N`` in every request, since Hanbit takes its absence for ``Y``.

    An image needs no word: Kakao adds it to the template.
    """
    _only(
        "an AlimTalk",
        header=alimtalk.header,
        highlight=alimtalk.highlight,
        items=alimtalk.items,
        summary=alimtalk.summary,
        link=alimtalk.link,
    )
    if alimtalk.sender is None:
        raise Unsendable("invalid_request", "Hanbit wants a sender number for an AlimTalk as well")
    if len(alimtalk.text) > ALIMTALK_CHARACTERS:
        raise Unsendable("content_too_long", f"over {ALIMTALK_CHARACTERS} characters")
    message: dict[str, Any] = {
        "from": alimtalk.sender,
        "text": alimtalk.text,
        "senderKey": alimtalk.sender_key,
        "templateCode": alimtalk.template_code,
        "failover": "N",
    }
    if alimtalk.title is not None:
        message["title"] = alimtalk.title
    if alimtalk.buttons:
        message["buttons"] = [_button("button", button, _BUTTONS) for button in alimtalk.buttons]
    if alimtalk.quick_replies:
        message["quickReplies"] = [_button("quick reply", reply, _QUICK_REPLIES) for reply in alimtalk.quick_replies]
    return message


def _text(channel: Channel, text: Text) -> dict[str, Any]:
    _only(f"an {channel}", images=text.images)
    subject = text.subject if channel is Channel.LMS else None
    if lost := uncarried((subject or "") + text.text):
        raise Unsendable("content_charset", f"no carrier brings {', '.join(map(_named, lost[:_NAMED]))}")
    if byte_length(text.text) > _BYTES[channel]:
        raise Unsendable("content_too_long", f"{byte_length(text.text)} bytes, over {_BYTES[channel]}")
    if subject is not None and byte_length(subject) > SUBJECT_BYTES:
        raise Unsendable("content_too_long", f"a subject of {byte_length(subject)} bytes, over {SUBJECT_BYTES}")
    message = {"from": text.sender, "text": text.text}
    return message if subject is None else {**message, "subject": subject}


def _button(what: str, button: Button | QuickReply, kinds: frozenset[str]) -> dict[str, str]:
    """Return a button or quick reply. Raises ``Unsendable`` for a kind or a field that Hanbit does not have."""
    if button.kind not in kinds:
        raise Unsendable("invalid_request", f"Hanbit has no {what} {button.kind}")
    given = {name: getattr(button, name) for name in button.__slots__ if getattr(button, name) is not None}
    carried = {"type": given.pop("kind"), "name": given.pop("name")}
    carried |= {_LINKS[name]: given.pop(name) for name in _LINKS if name in given}
    _only(f"a {what} {button.kind}", **given)
    return carried


def _only(what: str, **fields: object) -> None:
    """Raise ``Unsendable`` if one of ``fields``, which Hanbit has no place for, is set: nothing is dropped silently."""
    for name, value in fields.items():
        if value:
            raise Unsendable("invalid_request", f"Hanbit has no field for {name} of {what}")


def _named(character: str) -> str:
    return f"{character} (U+{ord(character):04X})" if character.isprintable() else f"U+{ord(character):04X}"


def encode(messages: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the body that sends messages."""
    return msgspec.json.encode({"messages": list(messages)})


# -- in (sections 3 to 6) ------------------------------------------------------------------------------------------


class Unreadable(Exception):
    """An answer, or a part of one, that is not what the contract shows."""


class Told(msgspec.Struct, rename="camel"):
    """What Hanbit tells of a message: in the answer to sending it, in a lookup, in an event.

    Fields are ``Any`` and read below: one of a wrong type must not make its neighbours unreadable.
    """

    client_key: Any = None
    message_id: Any = None
    event_id: Any = None
    type: Any = None
    code: Any = None
    done_at: Any = None

    @property
    def key(self) -> str | None:
        """Return our key."""
        return printable(self.client_key, 64)

    @property
    def id(self) -> str | None:
        """Return Hanbit's id."""
        return printable(self.message_id, 64)

    @property
    def result(self) -> str:
        """Return the code, or an empty text where there is none to be used."""
        return code_of(self.code)

    @property
    def channel(self) -> Channel | None:
        """Return the channel that its type stands for."""
        return _CHANNELS.get(self.type) if isinstance(self.type, str) else None

    @property
    def at(self) -> datetime | None:
        """Return when it ended."""
        if not isinstance(self.done_at, str):
            return None
        try:
            moment = datetime.fromisoformat(self.done_at)
        except ValueError:
            return None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=SEOUL)


class Account(msgspec.Struct, rename="camel"):
    """The account (section 6)."""

    balance_krw: int
    sender_numbers: list[str]
    sender_keys: list[str]


class _Results(msgspec.Struct):
    results: list[msgspec.Raw]


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Events(msgspec.Struct):
    events: list[msgspec.Raw]


class _Error(msgspec.Struct):
    code: Any = None


_T = TypeVar("_T")


def _read(body: bytes | msgspec.Raw, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def read_told(item: msgspec.Raw) -> Told:
    """Read what is told of one message. Raises ``Unreadable``."""
    return _read(item, Told)


def read_results(body: bytes) -> list[Told]:
    """Read what became of the messages of a call; what is no result is left out. Raises ``Unreadable``."""
    told = []
    for item in _read(body, _Results).results:
        try:
            told.append(read_told(item))
        except Unreadable:
            continue  # its message stays unaccounted for, which is not taken for a refusal
    return told


def read_found(body: bytes) -> list[tuple[Told, bytes]]:
    """Read what a lookup found, each with its own JSON.

    Raises ``Unreadable``, also for one item: what is skipped here would be taken for absent.
    """
    return [(read_told(item), bytes(item)) for item in _read(body, _Messages).messages]


def read_events(body: bytes) -> list[msgspec.Raw]:
    """Split the body of a receipt call into its items. Raises ``Unreadable``."""
    return _read(body, _Events).events


def read_account(body: bytes) -> Account:
    """Read the account. Raises ``Unreadable``."""
    return _read(body, Account)


def read_error(body: bytes) -> str:
    """Return the code of an answer that is no success, or an empty text."""
    try:
        return code_of(_read(body, _Error).code)
    except Unreadable:
        return ""


def code_of(value: object) -> str:
    """Return a code fit to be kept: four digits, as text or number; else an empty text."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"\d{4}", text, re.ASCII) else ""
