"""What comes from NHN Cloud: results of a request, stored messages, and the hooks of a webhook call.

Both services tell the same in different envelopes; here it becomes one shape. Nothing in an answer is trusted to be
of the type that the guides state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import Outgoing, Report
from shared.dealers.codes import Meaning
from shared.dealers.nhn.gateway import code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    MeaningOf = Callable[[str, Channel], Meaning]
    """what a result code says; it counts codes that our table does not have"""

_JSON = msgspec.json.Decoder()


class _Call(msgspec.Struct):
    hooks: list[msgspec.Raw]
    event: Any = None


_CALL = msgspec.json.Decoder(_Call)
_FAILED = frozenset({"FAILED", "CANCEL", "DUPLICATED", "FAILED_AD"})
_MSG_STATUS = {
    "0": "FAILED",
    "1": "REQUESTED",
    "2": "PROCESSING",
    "3": "COMPLETED",
    "4": "CANCEL",
    "5": "DUPLICATED",
    "6": "FAILED_AD",
    "7": "AD_WAITING",
}
"""``msgStatus`` of the SMS service in the words that its webhook uses (SMS api-guide, 2026-06-23)"""


class Unreadable(Exception):
    """An answer, or a part of one, that is not what the guides show."""


def parsed(body: bytes | msgspec.Raw) -> Any:  # noqa: ANN401 - whatever was sent
    """Return a body. Raises ``Unreadable``."""
    try:
        return _JSON.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def at_path(value: Any, *names: str) -> Any:  # noqa: ANN401 - as ``parsed``
    """Return what stands under ``names``, one in the other, or None."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


# -- sending -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request's answer says of one recipient; ``id`` is None where it cannot be kept."""

    code: str
    words: str
    id: str | None


def results_of(body: bytes, messages: Sequence[Outgoing]) -> dict[str, Taken]:
    """Read what became of each of ``messages``, by request key; those that are not told of are missing.

    An item names its message by our key, else by its place in the request (brand messages: no key comes back), and
    then its number must be right too. Raises ``Unreadable``.
    """
    answer = parsed(body)
    data = at_path(answer, "message") or at_path(answer, "body", "data")
    items = at_path(data, "sendResults") or at_path(data, "sendResultList")
    request_id = at_path(data, "requestId")
    if not isinstance(items, list):
        return {}
    by_key = {outgoing.request_key: outgoing for outgoing in messages}
    results: dict[str, Taken] = {}
    for item in items:
        seq, code = at_path(item, "recipientSeq"), code_of(at_path(item, "resultCode"))
        outgoing = by_key.get(key) if isinstance(key := at_path(item, "recipientGroupingKey"), str) else None
        if outgoing is None and key is None:
            outgoing = _in_place(item, seq, messages)
        if outgoing is None or not code or results.get(outgoing.request_key, _NONE).code == "0":
            continue
        words = at_path(item, "resultMessage")
        results[outgoing.request_key] = Taken(
            code, words if isinstance(words, str) else "", message_id(request_id, seq, outgoing.to)
        )
    return results


_NONE = Taken("", "", None)


def _in_place(item: object, seq: object, messages: Sequence[Outgoing]) -> Outgoing | None:
    if type(seq) is not int or not 1 <= seq <= len(messages):
        return None
    outgoing = messages[seq - 1]
    number = at_path(item, "recipientNo")
    return outgoing if isinstance(number, str) and re.sub(r"\D", "", number) == outgoing.to else None


# -- ids ---------------------------------------------------------------------------------------------------------


def message_id(request_id: object, seq: object, number: object = None) -> str | None:
    """Return ``requestId/recipientSeq``, or None for anything unfit: no such id, or one that holds ``number``."""
    if not isinstance(request_id, str) or type(seq) is not int or not 0 <= seq < 10**9:
        return None
    if not re.fullmatch(r"[\w-]{1,64}", request_id, re.ASCII):
        return None
    if isinstance(number, str) and number and number in request_id:
        return None
    return f"{request_id}/{seq}"


def parts_of(dealer_message_id: str | None) -> tuple[str, int] | None:
    """Return request id and place of a ``message_id``, or None for what is none."""
    match = re.fullmatch(r"([\w-]{1,64})/(\d{1,9})", dealer_message_id or "", re.ASCII)
    return (match[1], int(match[2])) if match else None


# -- stored messages and hooks -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """A message as NHN tells of it, in a list, alone, or in a hook."""

    id: str | None
    request_key: str | None
    status: str
    """COMPLETED, FAILED, CANCEL, DUPLICATED, FAILED_AD, REQUESTED, PROCESSING, AD_WAITING, or nothing"""
    code: str
    """empty while there is none"""
    at: datetime | None
    raw: bytes


def record_of(item: object, raw: bytes = b"") -> Record | None:
    """Read a message, as it came in ``raw``; None where it names none."""
    number = at_path(item, "recipientNo")
    identifier = message_id(at_path(item, "requestId"), at_path(item, "recipientSeq"), number)
    key = _key(at_path(item, "recipientGroupingKey"), number)
    key = key or _key(at_path(item, "recipientGropuingKey"), number)  # so spelled in the SMS webhook guide's sample
    if identifier is None and key is None:
        return None
    status = at_path(item, "messageStatus")
    if not isinstance(status, str):
        status = _MSG_STATUS.get(str(at_path(item, "msgStatus")), "")
    when = at_path(item, "receiveDate") or at_path(item, "resultDate")
    return Record(
        identifier,
        key,
        status if re.fullmatch(r"[A-Z_]{1,20}", status) else "",
        code_of(at_path(item, "resultCode")),
        moment(when),
        raw or msgspec.json.encode(item),
    )


def _key(value: object, number: object) -> str | None:
    """Return a grouping key that may be kept: others may use one account with us, and have numbers for keys."""
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,100}", value):
        return None
    return None if isinstance(number, str) and number and number in value else value


def records_of(body: bytes) -> tuple[list[Record], int]:
    """Read a list of messages, and how many the search found. Raises ``Unreadable``."""
    answer = parsed(body)
    page = at_path(answer, "messageSearchResultResponse")
    items = at_path(page, "messages") if page is not None else at_path(answer, "body", "data")
    total = at_path(page, "totalCount") if page is not None else at_path(answer, "body", "totalCount")
    if not isinstance(items, list):
        raise Unreadable("no list of messages")
    records = [record for item in items if (record := record_of(item)) is not None]
    return records, max(len(items), total if type(total) is int else 0)


def single_of(body: bytes) -> Record | None:
    """Read one message, None where the answer holds none. Raises ``Unreadable``."""
    answer = parsed(body)
    item = at_path(answer, "message") or at_path(answer, "body", "data")
    record = record_of(item)
    if record is None and item:
        raise Unreadable("a message without a name")
    return record


def report_of(record: Record, channel: Channel, meaning_of: MeaningOf, *, event_id: str | None = None) -> Report:
    """Return the report that ``record`` makes. What has no code is never a success."""
    code = record.code or record.status
    meaning = meaning_of(code, channel) if code else Meaning(delivered=None)
    if meaning.delivered and record.status in _FAILED:
        meaning = Meaning(delivered=None, text=f"code {code} and status {record.status} contradict each other")
    return Report(
        request_key=record.request_key,
        dealer_message_id=record.id,
        delivered=meaning.delivered,
        code=code,
        reason=meaning.reason,
        detail=meaning.text,
        at=record.at,
        event_id=event_id,
        raw=record.raw,
    )


def hooks_of(body: bytes) -> Iterator[tuple[Record, Channel, str | None] | None]:
    """Read a webhook call: its results one by one, None for one that cannot be read. Raises ``Unreadable``.

    Hooks of other events (template inspected, opted out, country blocked) are no reports and are left out.
    """
    try:
        call = _CALL.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error
    return map(_hook_of, call.hooks) if call.event == "MESSAGE_RESULT_UPDATE" else iter(())


def _hook_of(raw: msgspec.Raw) -> tuple[Record, Channel, str | None] | None:
    try:
        hook = parsed(raw)
    except Unreadable:
        return None
    kind, sender = at_path(hook, "kakaoMessageType"), at_path(hook, "senderType")
    if isinstance(kind, str):
        channel = Channel.ALIMTALK if kind.startswith("ALIMTALK") else Channel.FRIENDTALK
    elif isinstance(sender, str):
        channel = Channel.SMS  # the codes of LMS and MMS are the same
    else:
        return None
    record = record_of(hook, bytes(raw))
    if record is None or not (record.code or record.status):
        return None
    event_id = at_path(hook, "hookId")
    fits = isinstance(event_id, str) and re.fullmatch(r"[\x21-\x7e]{1,100}", event_id)
    return record, channel, event_id if fits else None


def moment(text: object) -> datetime | None:
    """Read ``2026-11-23 09:00:00``, with ``T`` or ``.0`` too: NHN writes Seoul's time and no zone."""
    if not isinstance(text, str) or len(text) <= len("2026-11-23"):
        return None
    try:
        read = datetime.fromisoformat(text.removesuffix(".0"))
    except ValueError:
        return None
    if not 2000 <= read.year < 2200:  # noqa: PLR2004 - what every clock and database can tell
        return None
    return read if read.tzinfo is not None else read.replace(tzinfo=SEOUL)
