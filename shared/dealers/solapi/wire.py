"""What goes over SOLAPI's wire: requests full of messages, and its JSON as our words."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from shared.contracts.states import Channel
from shared.dealers.printable import printable
from shared.dealers.solapi.content import IMAGE_ID, KEY_FIELD, TYPES, message_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.dealers.base import Outgoing

MAX_RECIPIENTS = 10_000
MAX_BODY_BYTES = 15_000_000
"""of one request that adds messages to a group (documents, addGroupMessages.md: 10,000 and 15 MB)"""

NEW_GROUP = b'{"allowDuplicates":true}'
"""two messages to one number in one batch are two messages, and not a mistake (1026)"""

CHANNELS = {name: channel for channel, name in TYPES.items()}


# -- out ---------------------------------------------------------------------------------------------------------


def encode(outgoing: Outgoing) -> bytes:
    """Return a message as JSON. Raises ``UnicodeEncodeError`` for half of a surrogate pair, which is no text."""
    return msgspec.json.encode(message_of(outgoing))


def requests_of(
    encoded: Sequence[tuple[Outgoing, bytes]], *, max_bytes: int = MAX_BODY_BYTES
) -> Iterator[tuple[list[Outgoing], bytes]]:
    """Yield the bodies that add messages to a group, each with the messages in it, within SOLAPI's limits."""
    some: list[Outgoing] = []
    parts: list[bytes] = []
    size = len(_body([]))
    for outgoing, part in encoded:
        if some and (len(some) == MAX_RECIPIENTS or size + len(part) + 1 > max_bytes):
            yield some, _body(parts)
            some, parts, size = [], [], len(_body([]))
        some.append(outgoing)
        parts.append(part)
        size += len(part) + 1  # and a comma
    if some:
        yield some, _body(parts)


def _body(parts: list[bytes]) -> bytes:
    return b'{"messages":[' + b",".join(parts) + b"]}"


# -- in ----------------------------------------------------------------------------------------------------------


class Unreadable(Exception):
    """An answer, or a part of one, that is not what SOLAPI's documents show."""


class Message(msgspec.Struct, rename="camel"):
    """A message as SOLAPI tells of it: at registration, in lists, and in receipts."""

    message_id: Any = None
    status_code: Any = None
    type: Any = None
    to: Any = None
    custom_fields: Any = None
    date_received: Any = None
    date_reported: Any = None
    date_processed: Any = None

    @property
    def id(self) -> str | None:
        """Return its id, or None where there is none to be used."""
        return printable(self.message_id)

    @property
    def code(self) -> str:
        """Return its ``statusCode``, or an empty text."""
        code = str(self.status_code) if isinstance(self.status_code, str | int) else ""
        return code if re.fullmatch(r"\w{1,32}", code, re.ASCII) else ""

    @property
    def request_key(self) -> str | None:
        """Return our key, or None where it did not come back."""
        fields = self.custom_fields
        return printable(fields.get(KEY_FIELD)) if isinstance(fields, dict) else None

    @property
    def channel(self) -> Channel | None:
        """Return the channel its type stands for.

        A free-form brand message may come back under the name of its bubble (``BMS_TEXT``).
        """
        if not isinstance(self.type, str):
            return None
        return Channel.FRIENDTALK if self.type.startswith("BMS_") else CHANNELS.get(self.type)

    @property
    def number(self) -> str | None:
        """Return the recipient, digits only."""
        return digits(self.to) if isinstance(self.to, str) else None

    @property
    def at(self) -> datetime | None:
        """Return when it was received, else reported, else processed; None where no date has an offset."""
        for text in (self.date_received, self.date_reported, self.date_processed):
            if isinstance(text, str) and (at := _moment(text)) is not None:
                return at
        return None


class Count(msgspec.Struct, rename="camel"):
    """How many messages a group has; ``total`` is seen to lag behind the other two in the documents."""

    total: int = 0
    registered_failed: int = 0
    registered_success: int = 0


class Group(msgspec.Struct, rename="camel"):
    """A group: what goes out together."""

    group_id: str
    status: str | None = None
    date_sent: str | None = None
    count: Count | None = None

    @property
    def is_closed_unsent(self) -> bool:
        """Whether nothing went out by it, and nothing ever will."""
        return self.status == "DELETED" and self.date_sent is None

    @property
    def size(self) -> int:
        """Return how many messages it has at least; 0 when it does not say."""
        if self.count is None:
            return 0
        return max(self.count.total, self.count.registered_failed + self.count.registered_success)


class Page(msgspec.Struct, rename="camel"):
    """Part of a list of messages, by their id."""

    message_list: dict[str, msgspec.Raw]
    next_key: str | None = None


class _Registration(msgspec.Struct, rename="camel"):
    result_list: list[msgspec.Raw]


class _Balance(msgspec.Struct):
    balance: float
    point: float = 0


class _File(msgspec.Struct, rename="camel"):
    file_id: Any


class _Channel(msgspec.Struct, rename="camel"):
    channel_id: str


class _Envelope(msgspec.Struct, rename="camel"):
    event_data_id: Any = None
    data: msgspec.Raw = msgspec.Raw()  # empty where there is none


_MESSAGE = msgspec.json.Decoder(Message)
_GROUP = msgspec.json.Decoder(Group)
_PAGE = msgspec.json.Decoder(Page)
_REGISTRATION = msgspec.json.Decoder(_Registration)
_BALANCE = msgspec.json.Decoder(_Balance)
_FILE = msgspec.json.Decoder(_File)
_CHANNEL = msgspec.json.Decoder(_Channel)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_NUMBERS = msgspec.json.Decoder(list[str | dict[str, Any]])


_T = TypeVar("_T")


def _read(decoder: msgspec.json.Decoder[_T], body: bytes | msgspec.Raw) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def read_group(body: bytes) -> Group:
    """Read a group. Raises ``Unreadable``."""
    return _read(_GROUP, body)


def read_registration(body: bytes) -> list[Message]:
    """Read what became of the messages added to a group; what is no message there is left out.

    Raises ``Unreadable``.
    """
    messages = []
    for item in _read(_REGISTRATION, body).result_list:
        try:
            messages.append(_read(_MESSAGE, item))
        except Unreadable:
            continue  # its message stays unaccounted for, which is not taken for a refusal
    return messages


def read_page(body: bytes) -> tuple[list[tuple[Message, bytes]], str | None]:
    """Read a page of stored messages, each with its own JSON, and the key of the next page.

    Raises ``Unreadable``.
    """
    page = _read(_PAGE, body)
    stored = [(_read(_MESSAGE, raw), bytes(raw)) for raw in page.message_list.values()]
    return stored, page.next_key


def read_balance(body: bytes) -> int:
    """Read what is left in KRW: cash and points, which both pay for messages. Raises ``Unreadable``."""
    account = _read(_BALANCE, body)
    return int(account.balance + account.point)


def read_file_id(body: bytes) -> str:
    """Read the id of a file that was uploaded. Raises ``Unreadable``."""
    file_id = _read(_FILE, body).file_id
    if not isinstance(file_id, str) or not IMAGE_ID.fullmatch(file_id):
        raise Unreadable("no id")
    return file_id


def read_channel_id(body: bytes) -> str:
    """Read the id of a KakaoTalk channel. Raises ``Unreadable``."""
    return _read(_CHANNEL, body).channel_id


def read_numbers(body: bytes) -> set[str]:
    """Read the sender numbers that may be used, digits only. Raises ``Unreadable``.

    The documents show texts; one public client was given objects with ``phoneNumber``.
    """
    numbers = set()
    for item in _read(_NUMBERS, body):
        number = item.get("phoneNumber") if isinstance(item, dict) else item
        if isinstance(number, str):
            numbers.add(digits(number))
    return numbers


def read_items(body: bytes) -> list[msgspec.Raw]:
    """Split the body of a webhook call into its items. Raises ``Unreadable`` when it is no JSON array."""
    return _read(_ITEMS, body)


def read_item(item: msgspec.Raw) -> tuple[Message, str | None]:
    """Read a webhook's item, bare or in an envelope, and the id of the event. Raises ``Unreadable``."""
    envelope = _read(_ENVELOPE, item)
    message = _read(_MESSAGE, envelope.data if bytes(envelope.data) else item)
    return message, printable(envelope.event_data_id)


def digits(number: str) -> str:
    """Return a telephone number without what stands between its digits."""
    return re.sub(r"\D", "", number)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None  # nobody says whose time it would be
