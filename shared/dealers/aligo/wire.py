"""What goes over Aligo's wires: our messages as its form fields, and its JSON, in either encoding, as our words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Outgoing, Refused, Text
from shared.text import byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_RECIPIENTS = 500
"""of one request (AlimTalk API SPEC 2026-03-29; ``/send_mass/``)"""
ALIMTALK_CHARACTERS = 1000
SMS_BYTES = 90
LMS_BYTES = 2000
SUBJECT_BYTES = 44

LINK_TYPES = {
    "AC": "채널 추가",
    "DS": "배송조회",
    "WL": "웹링크",
    "AL": "앱링크",
    "BK": "봇키워드",
    "MD": "메시지전달",
}
"""the buttons that Aligo knows, and what it calls them (API SPEC 2026-03-29, 알림톡 전송)"""

_SUBSTITUTED = "%고객명%"
"""Aligo puts a name in place of this in a text message, and we give it none (SMS API, ``destination``)"""

Fields = list[tuple[str, str]]


# -- out ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """One request: where to, its fields without what authorizes, and the messages in it, in the order of its rows."""

    path: tuple[str, ...]
    fields: Fields
    batch: tuple[Outgoing, ...]
    places: tuple[int, ...]
    """where each of them stands in the whole batch"""

    @property
    def channel(self) -> Channel:
        """Return the channel of all of them."""
        return self.batch[0].channel


def refusal_of(outgoing: Outgoing) -> Refused | None:
    """Say why Aligo's wire cannot carry a message, or None if it can. Nothing is dropped or cut in silence."""
    try:
        urlencode(_shared_fields(outgoing) + _own_fields(outgoing, 1))
    except UnicodeEncodeError:  # half of a surrogate pair
        return Refused("content_charset", "", "not a text")
    match outgoing.content:
        case AlimTalk() as alimtalk:
            return _alimtalk_refusal(alimtalk)
        case Text() as text:
            return _text_refusal(outgoing.channel, text)
        case BrandMessage():
            return Refused("not_permitted", "", "Aligo sends brand messages from registered templates only")


def _alimtalk_refusal(alimtalk: AlimTalk) -> Refused | None:
    without_a_field = {
        "header": alimtalk.header,
        "highlight": alimtalk.highlight,
        "items": alimtalk.items,
        "summary": alimtalk.summary,
        "link": alimtalk.link,
        "quick_replies": alimtalk.quick_replies,
    }
    for name, value in without_a_field.items():
        if value:
            return Refused("invalid_request", "", f"Aligo has no field for {name}")
    for button in alimtalk.buttons:
        if button.kind not in LINK_TYPES:
            return Refused("invalid_request", "", f"Aligo has no buttons of the kind {button.kind}")
    if not alimtalk.sender:
        return Refused("invalid_request", "", "Aligo wants a registered sender number (sender) with every AlimTalk")
    if len(alimtalk.text) > ALIMTALK_CHARACTERS:
        return Refused("content_too_long", "", f"{len(alimtalk.text)} characters of {ALIMTALK_CHARACTERS}")
    return None


def _text_refusal(channel: Channel, text: Text) -> Refused | None:
    if text.images or channel not in {Channel.SMS, Channel.LMS}:
        return Refused("invalid_request", "", "MMS is not sent through Aligo")
    subject = (channel is Channel.LMS and text.subject) or ""
    if lost := uncarried(text.text + subject):
        return Refused("content_charset", "", f"no carrier brings {lost[0]} (U+{ord(lost[0]):04X})")
    if _SUBSTITUTED in text.text:
        return Refused("invalid_request", "", f"Aligo would put a name in place of {_SUBSTITUTED}")
    limit = SMS_BYTES if channel is Channel.SMS else LMS_BYTES
    if (size := byte_length(text.text)) > limit:
        return Refused("content_too_long", "", f"{size} bytes of {limit}")
    if (size := byte_length(subject)) > SUBJECT_BYTES:
        return Refused("content_too_long", "", f"the subject has {size} bytes of {SUBJECT_BYTES}")
    return None


def calls_of(batch: Mapping[int, Outgoing]) -> Iterator[Call]:
    """Yield the requests that carry ``batch``, by place, of which ``refusal_of`` says nothing.

    Within a request every number stands once, for the results tell messages apart by nothing else; so one person's
    second message goes by a later request. A number that is no mobile number goes alone: Aligo counts the rows that
    it refuses, and does not name them.
    """
    waves: defaultdict[int, defaultdict[object, list[int]]] = defaultdict(lambda: defaultdict(list))
    seen: Counter[str] = Counter()
    for place, outgoing in batch.items():
        alone = "" if re.fullmatch(r"01[016789]\d{7,8}", outgoing.to) else outgoing.to
        key = (outgoing.channel, alone, *_shared_fields(outgoing))
        waves[seen[outgoing.to]][key].append(place)
        seen[outgoing.to] += 1
    for _, groups in sorted(waves.items()):
        for group in groups.values():
            for start in range(0, len(group), MAX_RECIPIENTS):
                yield _call(batch, tuple(group[start : start + MAX_RECIPIENTS]))


def _call(whole: Mapping[int, Outgoing], places: tuple[int, ...]) -> Call:
    batch = tuple(whole[place] for place in places)
    first = batch[0]
    fields = _shared_fields(first)
    if not first.channel.is_text:
        return Call(("akv10", "alimtalk", "send", ""), fields + _numbered(batch), batch, places)
    texts = {outgoing.content.text for outgoing in batch if isinstance(outgoing.content, Text)}
    if len(texts) == 1:
        receivers = ",".join(outgoing.to for outgoing in batch)
        return Call(("send", ""), [*fields, ("receiver", receivers), ("msg", texts.pop())], batch, places)
    return Call(("send_mass", ""), [*fields, ("cnt", str(len(batch))), *_numbered(batch)], batch, places)


def _numbered(batch: Sequence[Outgoing]) -> Fields:
    return [field for n, outgoing in enumerate(batch, 1) for field in _own_fields(outgoing, n)]


def _shared_fields(outgoing: Outgoing) -> Fields:
    """Return what all messages of a request have in common. Aligo's own failover is off in every one.

    ``msg_type`` is always said: left out, Aligo chooses it by a count of its own (SMS API SPEC).
    """
    match outgoing.content:
        case AlimTalk(sender_key=sender_key, template_code=code, sender=sender):
            return [("senderkey", sender_key), ("tpl_code", code), ("sender", sender or ""), ("failover", "N")]
        case Text(sender=sender, subject=subject):
            fields = [("sender", sender), ("msg_type", outgoing.channel.upper())]
            return [*fields, ("title", subject)] if subject and outgoing.channel is not Channel.SMS else fields
        case BrandMessage():
            return []


def _own_fields(outgoing: Outgoing, n: int) -> Fields:
    """Return the fields of the ``n``-th message.

    ``subject_N`` of an AlimTalk is a title for the sender's own lists, not shown to anybody, and required: it
    carries our request key, so that an operator finds a message in Aligo's console.
    """
    match outgoing.content:
        case AlimTalk() as alimtalk:
            fields = [
                (f"receiver_{n}", outgoing.to),
                (f"subject_{n}", outgoing.request_key),
                (f"message_{n}", alimtalk.text),
            ]
            if alimtalk.title is not None:
                fields.append((f"emtitle_{n}", alimtalk.title))
            if alimtalk.buttons:
                buttons = [_button_of(button) for button in alimtalk.buttons]
                fields.append((f"button_{n}", msgspec.json.encode({"button": buttons}).decode()))
            return fields
        case Text(text=text):
            return [(f"rec_{n}", outgoing.to), (f"msg_{n}", text)]
        case BrandMessage():
            return []


def _button_of(button: Button) -> dict[str, str]:
    fields = {
        "name": button.name,
        "linkType": button.kind,
        "linkTypeName": LINK_TYPES.get(button.kind),
        "linkMo": button.url_mobile,
        "linkPc": button.url_pc,
        "linkIos": button.scheme_ios,
        "linkAnd": button.scheme_android,
    }
    return {name: value for name, value in fields.items() if value is not None}


# -- in ----------------------------------------------------------------------------------------------------------


class Unreadable(Exception):
    """An answer, or a part of one, that is not what Aligo's documents show."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in Aligo's envelope."""

    code: int
    """``code``, or ``result_code`` of the SMS host; which value means success differs from call to call"""
    message: str
    """its own words, without what could be a phone number"""
    body: Mapping[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of its list; what is none there is left out. Raises ``Unreadable`` without a list."""
        rows = self.body.get("list")
        if not isinstance(rows, list):
            raise Unreadable("no list")
        return [row for row in rows if isinstance(row, dict)]


def read_reply(body: bytes) -> Reply:
    """Read an answer of either host. Raises ``Unreadable``.

    The SMS host is seen to answer in EUC-KR (GnuCms' tests), whatever its content type says.
    """
    for encoding in ("utf-8-sig", "cp949"):
        try:
            value = msgspec.json.decode(body.decode(encoding))
        except UnicodeDecodeError:
            continue
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreadable("not JSON") from error
        if not isinstance(value, dict):
            raise Unreadable("not an object")
        code = number_in(value, "code", "result_code")
        if code is None:
            raise Unreadable("no code")
        return Reply(code, _words(value.get("message")), value)
    raise Unreadable("neither UTF-8 nor EUC-KR")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a send call says was taken. Aligo counts, and does not say which rows were refused."""

    mid: str | None
    taken: int | None
    refused: int | None


def read_alimtalk_receipt(reply: Reply) -> Receipt:
    """Read the answer to ``/akv10/alimtalk/send/``."""
    info = reply.body.get("info")
    if not isinstance(info, dict):
        return Receipt(None, None, None)
    return Receipt(request_id(info.get("mid")), number_in(info, "scnt"), number_in(info, "fcnt"))


def read_text_receipt(reply: Reply) -> Receipt:
    """Read the answer to ``/send/`` or ``/send_mass/``."""
    body = reply.body
    return Receipt(request_id(body.get("msg_id")), number_in(body, "success_cnt"), number_in(body, "error_cnt"))


@dataclass(frozen=True, slots=True)
class Row:
    """A message as a list of results shows it."""

    to: str
    """national number, digits only"""
    code: str
    """of our tables: ``Q`` while it waits, else Aligo's letter or the word for its state"""
    detail: str
    at: datetime | None


WAITING = "Q"
"""Aligo's mark on the id of a message that is still being sent; for us, of any that has no result"""

_STATES = {
    "발송완료": "done",
    "전송완료": "done",
    "전송중": WAITING,
    "대기": WAITING,
    "예약대기": WAITING,
    "예약대기중": WAITING,
}
"""``sms_state``, as public clients of ``/sms_list/`` read it; Aligo publishes no list of them"""
_FAILED = re.compile("실패|오류|불가|거부|거절|취소|반송|차단|결번|없는 번호")


def read_alimtalk_row(row: Mapping[str, Any]) -> Row:
    """Read a row of ``/akv10/history/detail/``. Raises ``Unreadable``.

    ``rslt`` is "0" for a delivery, without a ``rslt_message``; one public client shows "0000" instead. ``status``
    tells of the format of the number alone, and is not read.
    """
    identifier, rslt, why = _text(row, "msgid"), _text(row, "rslt"), _words(row.get("rslt_message"))
    if identifier.startswith("Q") or not rslt:
        code = WAITING
    elif rslt == "0" and why:
        code = "0+"  # both a success and a reason against it: no code of the table, so it waits and is counted
    else:
        code = rslt
    at = _moment(row, "rsltdate") or _moment(row, "reportdate") or _moment(row, "sentdate")
    return Row(national(_text(row, "phone")), _printable_code(code), why, at)


def read_text_row(row: Mapping[str, Any]) -> Row:
    """Read a row of ``/sms_list/``: a letter in ``rslt`` if there is one, else ``sms_state``. Raises ``Unreadable``."""
    state = _words(row.get("sms_state")).strip()
    code = _text(row, "rslt") or _STATES.get(state)
    if code is None:
        code = ("failed" if _FAILED.search(state) else "other") if state else WAITING
    at = None if code == WAITING else _moment(row, "send_date")
    return Row(national(_text(row, "receiver")), _printable_code(code), state, at)


def number_in(value: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these fields that holds a whole number, as a number or in digits; None without one."""
    for name in names:
        found = value.get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        if isinstance(found, str) and re.fullmatch(r"-?\d{1,9}", found.strip(), re.ASCII):
            return int(found)
    return None


def request_id(value: object) -> str | None:
    """Return the id of a request, fit to be kept; None for anything else, and for what may be a phone number."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[1-9A-Za-z][0-9A-Za-z_-]{0,39}", text, re.ASCII) else None


def national(number: str) -> str:
    """Return a number as we write it: digits only, with 0 for +82."""
    digits = re.sub(r"\D", "", number)
    return "0" + digits[2:].removeprefix("0") if digits.startswith("82") else digits


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value).strip()
    raise Unreadable(name)


def _printable_code(code: str) -> str:
    return code if re.fullmatch(r"[\w+-]{1,16}", code, re.ASCII) else "other"


def _words(value: object) -> str:
    """Return a text of Aligo's to be shown: bounded, and nothing in it that could be a phone number."""
    return re.sub(r"\+?\d[\d\s.-]{5,}\d", "...", value)[:200] if isinstance(value, str) else ""


def _moment(row: Mapping[str, Any], name: str) -> datetime | None:
    value = row.get(name)
    try:
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=SEOUL) if isinstance(value, str) else None
    except ValueError:  # 0000-00-00 00:00:00, and whatever else
        return None
