"""Spans of time, hours of the day and moments, as people write them in YAML and in events."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_serializer, model_validator

from shared.clock import SEOUL

_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_HOURS = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)")
_TIME = re.compile(r"\d\d:\d\d")
_MOMENT = re.compile(
    r"(?P<day>2\d{3}-\d\d-\d\d)(?:T(?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)(?P<offset>Z|[+-]\d\d:\d\d)?)?", re.ASCII
)


def parse_span(value: object) -> object:
    """Read ``10m``, ``1h30m``, ``2d`` or ISO 8601 (``PT10M``); anything but text passes as it is."""
    if not isinstance(value, str):
        return value
    match = _SPAN.fullmatch(value) or _ISO.fullmatch(value)
    if match is None or not any(match.groups()):
        raise ValueError('want a span of time, as "10m", "1h30m", "2d" or "PT10M"')
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def format_span(value: timedelta) -> str:
    """Return the shortest text that ``parse_span`` reads as ``value``."""
    seconds = int(value.total_seconds())
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def read_moment(value: object, *, in_seoul: bool) -> datetime:
    """Return the moment that ``value`` names, in UTC: RFC 3339, or without an offset where that is ``in_seoul``.

    ``2026-12-01T10:00:00+09:00``, ``2026-12-01T01:00Z``; in Seoul also ``2026-12-01T10:00`` and ``2026-12-01`` (its
    midnight). Raises ``ValueError`` that says what is wrong, and quotes nothing.
    """
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('is no time as "2026-12-01T10:00:00+09:00"')
    if match["offset"] is None and not in_seoul:
        raise ValueError('has no offset from UTC, as "+09:00" at the end of "2026-12-01T10:00:00+09:00"')
    try:
        moment = datetime.fromisoformat(match[0])
    except ValueError:
        raise ValueError("is no day or hour that there is") from None
    return (moment if match["offset"] else moment.replace(tzinfo=SEOUL)).astimezone(UTC)


def _parse_time(value: object) -> object:
    """Read ``10:00``; what YAML 1.1 takes for a number in base 60 is no time."""
    if not isinstance(value, time) and not (isinstance(value, str) and _TIME.fullmatch(value)):
        raise ValueError('want a time of the day in quotes, as "10:00"')
    return value


def _format_time(value: time) -> str:
    return f"{value:%H:%M}"


TimeOfDay = Annotated[time, BeforeValidator(_parse_time), PlainSerializer(_format_time)]
"""in Asia/Seoul, to the minute"""

Span = Annotated[timedelta, BeforeValidator(parse_span), PlainSerializer(format_span)]


class Hours(BaseModel):
    """Hours of the day in Asia/Seoul, from ``start`` up to ``end``; over midnight if ``end`` is earlier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: time
    end: time

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, str):
            match = _HOURS.fullmatch(value)
            if match is None or match[1] == match[2]:
                raise ValueError('want two different times, as "09:00-20:00"')
            return {"start": match[1], "end": match[2]}
        return value

    @model_serializer
    def _write(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"
