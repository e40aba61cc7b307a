"""Reads events: CloudEvents 1.0 (https://github.com/cloudevents/spec), structured, an array of such, or binary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from services.ingest.refusals import Kind, Refusal

_LONGEST = {"id": 256, "source": 1024, "type": 256, "profile": 100, "campaign": 100}
"""Characters; the specification sets no bound, an index does."""


class Event(msgspec.Struct, frozen=True):
    """An event as it came. ``document`` is all of it, for rules to look into; both are personal data."""

    source: str
    id: str
    type: str
    profile: str | None
    campaign: str | None
    """our own extension attribute: what its messages can be cancelled by"""
    document: dict[str, Any]
    raw: bytes

    def __repr__(self) -> str:
        return f"Event({self.type!r}, …)"  # never what it says of people into a log or a traceback

    @property
    def key(self) -> bytes:
        """What makes it the same event when it comes again: source and id."""
        return hashlib.sha256(f"{self.source}\0{self.id}".encode()).digest()[:16]


def read_event(raw: bytes) -> Event | Refusal:
    """Return the event in ``raw``, or why it is none."""
    document = _decoded(raw)
    if isinstance(document, Refusal):
        return document
    if not isinstance(document, dict):
        return _no_event("The body is not a JSON object. Send one event as an object.", "")
    return _judged(document, raw)


def split_array(raw: bytes) -> list[bytes] | Refusal:
    """Return the events of an array, each as it was written, or why it is none."""
    try:
        return [bytes(each) for each in _array(raw)]
    except (ValueError, RecursionError) as error:
        return _broken(error, "Send a JSON array of events")


_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _decoded(raw: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds, or the refusal of what is none
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        return _broken(error, "Send one JSON object")


def _broken(error: ValueError | RecursionError, instead: str) -> Refusal:
    what = "nested too deeply" if isinstance(error, RecursionError) else _where(error)
    return Refusal(Kind.BROKEN_JSON, f"The body cannot be read as JSON in UTF-8: {what}. {instead}.")


def _judged(document: dict[str, Any], raw: bytes) -> Event | Refusal:
    return _wrong(document) or Event(
        document["source"],
        document["id"],
        document["type"],
        document.get("profile"),
        document.get("campaign"),
        document,
        raw,
    )


def read_binary(headers: Mapping[bytes, bytes], body: bytes) -> Event | Refusal:
    """Return the event whose attributes stand in ``ce-`` headers and whose data is ``body``, or why it is none.

    As if it had come structured (HTTP Protocol Binding 1.0.2, section 3.1).
    """
    document: dict[str, Any] = {
        name[3:].decode("latin-1"): unquote(value.decode("latin-1"))
        for name, value in headers.items()
        if name.startswith(b"ce-")
    }
    data = _decoded(body)
    if isinstance(data, Refusal):
        return data
    document["data"] = data
    return _judged(document, msgspec.json.encode(document))


def _wrong(document: dict[str, Any]) -> Refusal | None:
    """Return what keeps ``document`` from being an event."""
    if (version := document.get("specversion")) != "1.0":
        said = "is missing" if version is None else "is not 1.0"
        return _no_event(f'specversion {said}. Set "specversion": "1.0".', "/specversion")
    for name in ("id", "source", "type", "profile", "campaign"):
        if wrong := _attribute(document, name):
            return _no_event(wrong, f"/{name}")
    if wrong := _time(document.get("time")):
        return _no_event(wrong, "/time")
    if "data_base64" in document:
        return _no_event('data_base64 cannot be used here. Send "data" as a JSON object.', "/data_base64")
    if not isinstance(document.get("data"), dict):
        return _no_event("data is missing or not an object. Send the event's facts as an object.", "/data")
    return None


def _no_event(detail: str, pointer: str) -> Refusal:
    return Refusal(Kind.NOT_AN_EVENT, detail, pointer)


def _where(error: ValueError) -> str:
    """Return what the parser said of the place, nothing of what stands there."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return str(error).removeprefix("JSON is malformed: ") if isinstance(error, msgspec.DecodeError) else "bad number"


def _attribute(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None:
        return None if name in {"profile", "campaign"} else f"{name} is missing. Send it as a text."
    if not isinstance(value, str) or not value:
        return f"{name} is not a text of at least one character. Send it as a JSON string."
    if len(value) > _LONGEST[name]:
        return f"{name} is longer than {_LONGEST[name]:,} characters. Send a shorter one."
    if not value.isprintable():
        return f"{name} holds a control character. Send it without."
    return None


def _time(value: object) -> str | None:
    if value is None:
        return None
    try:
        if isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None:
            return None
    except ValueError:
        pass
    return 'time is not a time with an offset. Send it as RFC 3339, "2026-11-23T09:00:00+09:00", or leave it out.'
