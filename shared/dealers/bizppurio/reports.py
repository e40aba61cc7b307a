"""Bizppurio's report on a message, pushed or polled, as reports in our words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.contracts.keys import read_request_key, request_key
from shared.contracts.states import Channel
from shared.dealers.base import Report
from shared.dealers.bizppurio import wire
from shared.dealers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.dealers.codes import Meaning

    ReadCode = Callable[[str, Channel | None], Meaning]
    """what a ``RESULT`` says; it counts codes that our table does not have"""

_MEDIA = {
    "SMS": Channel.SMS,
    "LMS": Channel.LMS,
    "MMS": Channel.MMS,
    "KAT": Channel.ALIMTALK,
    "KFT": Channel.FRIENDTALK,
    "KFP": Channel.FRIENDTALK,
    "KFW": Channel.FRIENDTALK,
}
"""``MEDIA``: what was really sent"""

_DEVICES = {"AT": Channel.ALIMTALK, "AI": Channel.ALIMTALK, "FT": Channel.FRIENDTALK, **_MEDIA}
"""``DEVICE``: what was asked for. The documents show ``SMS`` only; the others are the types of a request."""

_EARLIEST, _LATEST = 946_684_800, 4_102_444_800
"""2000 and 2100: what lies outside is no time in seconds"""


def reports_of(given: Mapping[str, Any], raw: bytes, meaning_of: ReadCode) -> list[Report]:
    """Return what a report says of its attempt, and of the dealer's own fallback where there was one.

    A code tells its medium (4 SMS, 6 LMS and MMS, 7 Kakao), so a carrier's code for what was asked for as a Kakao
    message, in ``RESULT`` or ``TELRES``, is the fallback's. Raises ``wire.Unreadable``.
    """
    code = wire.code_of(given.get("RESULT"))
    key, message_id = _id_of(given, "REFKEY"), _id_of(given, "CMSGID")
    if not code or not (key or message_id):
        raise wire.Unreadable("it names no message or no result")
    asked = _asked(key, given.get("DEVICE"))
    media = _named(_MEDIA, given.get("MEDIA"))

    def report(code: str, at: object) -> Report:
        own = _medium(code, media)
        meaning = meaning_of(code, own)
        return Report(
            request_key=key,
            dealer_message_id=message_id,
            delivered=meaning.delivered,
            code=code,
            reason=meaning.reason,
            detail=meaning.text,
            at=_moment(at),
            raw=raw,
            leg=own if own is not None and own.is_text and asked is not None and not asked.is_text else None,
        )

    asked = asked or _medium(code, media)
    reports = [report(code, given.get("UNIXTIME"))]
    fallback = wire.code_of(given.get("TELRES"))
    if fallback and fallback != code and not (asked and asked.is_text):
        reports.append(report(fallback, given.get("TELTIME")))
    return reports


def _id_of(given: Mapping[str, Any], name: str) -> str | None:
    """Return an id, unless it holds the recipient's number: others who send by the account make such keys."""
    value, phone = printable(given.get(name)), given.get("PHONE")
    holds = value is not None and isinstance(phone, str) and bool(phone) and phone in value
    return None if holds else value


def _asked(key: str | None, device: object) -> Channel | None:
    """Return over which channel the attempt went: our key says it, else the dealer."""
    ours = read_request_key(key) if key else None
    if ours is not None:
        return next((channel for channel in Channel if request_key(ours[0], channel, ours[1]) == key), None)
    return _named(_DEVICES, device)


def _medium(code: str, media: Channel | None) -> Channel | None:
    match code[0]:
        case "4":
            return Channel.SMS
        case "6":
            return media if media in {Channel.LMS, Channel.MMS} else Channel.LMS
        case "7":
            return media if media is Channel.FRIENDTALK else Channel.ALIMTALK
        case _:
            return media


def _named(table: Mapping[str, Channel], name: object) -> Channel | None:
    return table.get(name.upper()) if isinstance(name, str) else None


def _moment(value: object) -> datetime | None:
    """Return a time given in seconds of the Unix era, as text or number."""
    text = str(value) if isinstance(value, str | int) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LATEST))):
        return None
    seconds = int(text)
    return datetime.fromtimestamp(seconds, UTC) if _EARLIEST <= seconds < _LATEST else None
