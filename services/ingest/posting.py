"""``POST /v1/events``: one event, an array of them, or a stream of lines, each answered once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache

import msgspec
from starlette.types import Receive, Scope, Send

from services.ingest.events import Event, read_binary, read_event, split_array
from services.ingest.handlers import Intake, claim_of
from services.ingest.lag import Lag
from services.ingest.lines import lines_of
from services.ingest.refusals import Kind, Refusal
from services.ingest.repository import Claim, Stored
from shared.http.auth import ApiKeys
from shared.http.body import Bodies, Body
from shared.http.problems import Problem

_KEY_CHARACTERS = 255
_SEND_SECONDS = 30.0
"""that a client may leave the answers to its lines unread"""

Headers = dict[bytes, bytes]


class Mode(Enum):
    """How events come."""

    STRUCTURED = auto()
    BINARY = auto()
    BATCH = auto()
    LINES = auto()


_MODES = {
    "application/json": Mode.STRUCTURED,
    "application/cloudevents+json": Mode.STRUCTURED,
    "application/cloudevents-batch+json": Mode.BATCH,
    "application/x-ndjson": Mode.LINES,
}


@dataclass(frozen=True, slots=True)
class Posting:
    """The endpoint, as an ASGI application."""

    keys: ApiKeys
    intake: Intake
    bodies: Bodies
    lag: Lag
    in_flight: set[bytes] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take in what a request brings, and answer."""
        headers: Headers = dict(scope["headers"])
        api_key = await self.keys.check(headers.get(b"authorization", b"").decode("latin-1"))
        mode = _mode(headers.get(b"content-type", b""), binary=b"ce-specversion" in headers or b"ce-id" in headers)
        key = read_idempotency_key(headers.get(b"idempotency-key"))
        self.lag.check()
        with self.bodies.open(receive, headers.get(b"content-length", b"").decode("latin-1")) as body:
            if mode is Mode.LINES:
                await self._take_lines(body, key, send)
                return
            raw = await body.read()
            claim = None if key is None else claim_of(api_key.bytes, key, raw)
            with self._flying(claim):
                if mode is Mode.BATCH:
                    status, answer = await self._take_batch(raw, claim)
                else:
                    event = read_binary(headers, raw) if mode is Mode.BINARY else read_event(raw)
                    status, answer = 202, await self._take_one(event, claim)
            await send({"type": "http.response.start", "status": status, "headers": _headers(answer)})
            await send({"type": "http.response.body", "body": answer})

    async def _take_one(self, event: Event | Refusal, claim: Claim | None) -> bytes:
        outcome = await self.intake.take(event, claim)
        if isinstance(outcome, Refusal):
            raise outcome.as_problem()
        return outcome.response

    async def _take_batch(self, raw: bytes, claim: Claim | None) -> tuple[int, bytes]:
        """Return the answer to an array of events: 202 if each of them was accepted, else 207."""
        events = split_array(raw)
        if isinstance(events, Refusal):
            raise events.as_problem()
        if claim is not None:
            earlier = await self.intake.claim_batch(claim)
            if isinstance(earlier, Refusal):
                raise earlier.as_problem()
            if earlier is not None:
                return _status_of(earlier.response), earlier.response
        outcomes = await self.intake.take_batch([read_event(each) for each in events])
        _check_some_were_judged(outcomes)
        answer = b"[" + b",".join(map(_entry, outcomes)) + b"]"
        if claim is not None and not any(map(_is_unavailable, outcomes)):
            await self.intake.answer_batch(claim, answer)
        return 202 if all(isinstance(each, Stored) for each in outcomes) else 207, answer

    async def _take_lines(self, body: Body, key: str | None, send: Send) -> None:
        """Answer each line with a line, group by group, so that memory does not grow with their number.

        Once the first group is written, so is the status; what ends the stream after that is told in a last line.
        """
        if key is not None:
            raise Refusal(
                Kind.IDEMPOTENCY_KEY_INVALID,
                "A stream of lines has no Idempotency-Key. Send it without; source and id make each event known again.",
            ).as_problem()
        started = False
        try:
            async for events in lines_of(body, self.bodies.longest):
                outcomes = await self.intake.take_batch(events)
                if not started:
                    _check_some_were_judged(outcomes)
                    await send({"type": "http.response.start", "status": 200, "headers": _LINES_HEADERS})
                    started = True
                await _send_some(send, b"".join(_entry(each) + b"\n" for each in outcomes))
                if any(map(_is_unavailable, outcomes)):
                    break  # what follows would overtake it
        except Problem as problem:
            if not started:
                raise
            await _send_some(send, msgspec.json.encode(problem.as_dict()) + b"\n")
        if not started:
            await send({"type": "http.response.start", "status": 200, "headers": _LINES_HEADERS})
        await send({"type": "http.response.body", "body": b""})

    @contextmanager
    def _flying(self, claim: Claim | None) -> Iterator[None]:
        """Let no other request under the same idempotency key be handled meanwhile."""
        if claim is None:
            yield
            return
        if claim.key in self.in_flight:
            raise Refusal(
                Kind.IDEMPOTENCY_KEY_IN_FLIGHT,
                "A request under this Idempotency-Key is being handled just now. Wait for its answer, "
                "or send the same request again in a second.",
                headers={"Retry-After": "1"},
            ).as_problem()
        self.in_flight.add(claim.key)
        try:
            yield
        finally:
            self.in_flight.discard(claim.key)


class _Entry(msgspec.Struct):
    status: int


_statuses = msgspec.json.Decoder(list[_Entry]).decode
_LINES_HEADERS = [(b"content-type", b"application/x-ndjson"), (b"connection", b"close")]


def _headers(answer: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]


def _entry(outcome: Stored | Refusal) -> bytes:
    """Return what one event of several is answered: as it were alone, with its status."""
    if isinstance(outcome, Stored):
        return b'{"status":202,' + outcome.response[1:]
    return msgspec.json.encode(outcome.as_problem().as_dict())


def _status_of(answer: bytes) -> int:
    return 202 if all(each.status == 202 for each in _statuses(answer)) else 207  # noqa: PLR2004 - HTTP's own


def _is_unavailable(outcome: Stored | Refusal) -> bool:
    return isinstance(outcome, Refusal) and outcome.kind is Kind.UNAVAILABLE


def _check_some_were_judged(outcomes: Sequence[Stored | Refusal]) -> None:
    """Raise the 503 of the first where all of ``outcomes`` are that: it is the answer to the whole."""
    if outcomes and all(map(_is_unavailable, outcomes)) and isinstance(outcomes[0], Refusal):
        raise outcomes[0].as_problem()


async def _send_some(send: Send, lines: bytes) -> None:
    """Send a part of the answer. Raises ``TimeoutError`` if the client leaves what was sent before unread."""
    async with asyncio.timeout(_SEND_SECONDS):
        await send({"type": "http.response.body", "body": lines, "more_body": True})


@lru_cache(maxsize=100)
def _mode(content_type: bytes, *, binary: bool) -> Mode:
    """Return how events come. Raises a 415 ``Problem``."""
    media_type, _, parameters = content_type.decode("latin-1").lower().partition(";")
    mode = _MODES.get(media_type.strip())
    charset = parameters.replace(" ", "").replace('"', "").partition("charset=")[2].partition(";")[0]
    if mode is None or charset not in {"", "utf-8", "utf8"}:
        raise Refusal(
            Kind.UNSUPPORTED_MEDIA_TYPE,
            "The content type is not one that events come in. Send JSON in UTF-8 with the header Content-Type: "
            "application/cloudevents+json, or an array of events as application/cloudevents-batch+json, or an event a "
            "line as application/x-ndjson.",
            headers={"Accept-Post": ", ".join(_MODES)},
        ).as_problem()
    return Mode.BINARY if binary and media_type.strip() == "application/json" else mode


def read_idempotency_key(written: bytes | None) -> str | None:
    """Return the key in an ``Idempotency-Key`` header. Raises a 400 ``Problem`` for what can be none."""
    if written is None:
        return None
    key = written.decode("latin-1")
    if not 0 < len(key) <= _KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise Refusal(
            Kind.IDEMPOTENCY_KEY_INVALID,
            f"An Idempotency-Key has 1 to {_KEY_CHARACTERS} printable ASCII characters; a UUID is a good one.",
        ).as_problem()
    return key
