"""Spans of time and hours of the day, as people write them in YAML."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_serializer, model_validator

_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_HOURS = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)")


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
