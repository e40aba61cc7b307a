"""A gateway made of bare bytes, so that a test says exactly when a connection breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import msgspec

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, OpenAttempt, Outgoing, Text
from shared.ids import MessageId

GROUP = "G4V20261123090000ABCDEFGHIJKLMNO"
NOW = datetime(2026, 11, 23, 0, 0, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """Return method and path without the query."""
        return f"{self.method} {self.path.partition('?')[0]}"

    def query(self, name: str) -> list[str]:
        """Return the values of a parameter."""
        pairs = (pair.partition("=") for pair in unquote(self.path.partition("?")[2]).split("&"))
        return [value for key, _, value in pairs if key == name]

    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """Return the body."""
        return msgspec.json.decode(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``cut_after`` ends the connection after so many bytes of it: 0 before any, -1 before the last."""

    status: int = 200
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut_after: int | None = None

    def encode(self) -> bytes:
        """Return the bytes that go out."""
        body = msgspec.json.encode(self.json) if self.raw is None else self.raw
        headers = {"content-length": str(len(body)), "content-type": "application/json"} | self.headers
        head = f"HTTP/1.1 {self.status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        return (head.encode() + b"\r\n" + body)[: self.cut_after]


CUT = Reply(cut_after=0)
SILENCE = None
"""the request is read and never answered"""

Handler = Callable[[Request], "Reply | None"]


class FakeGateway:
    """Answers by the method and path of a request; what a test does not say, works."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replies: dict[str, list[Reply | Handler | None]] = {}
        self.port = 0
        self.stop: Callable[[], None] = lambda: None
        self._ids = count(1)

    def on(self, line: str, *replies: Reply | Handler | None) -> None:
        """Answer requests to ``line`` by ``replies`` in turn, the last for ever."""
        self.replies[line] = list(replies)

    def lines(self) -> list[str]:
        """Return what was called, in order."""
        return [request.line for request in self.requests]

    def reply(self, request: Request) -> Reply | None:
        """Return the answer to a request."""
        scripted = self.replies.get(request.line)
        if scripted:
            reply = scripted.pop(0) if len(scripted) > 1 else scripted[0]
            return reply(request) if callable(reply) else reply
        return self.works(request)

    def works(self, request: Request) -> Reply:
        """Answer as a gateway without faults does."""
        match request.line.split("/messages/v4/groups"):
            case ["POST ", ""]:
                return Reply(json=group("PENDING"))
            case ["PUT ", _]:
                return Reply(json={"errorCount": 0, "resultList": self.registered(request)})
            case ["POST ", _]:
                return Reply(json=group("SENDING", dateSent="2026-11-23T00:00:01.000Z"))
        raise AssertionError(request.line)

    def registered(self, request: Request, **changes: object) -> list[dict[str, Any]]:
        """Register every message of a PUT, each with ``changes``."""
        return [
            {
                "to": message["to"],
                "type": message["type"],
                "country": "82",
                "messageId": f"M4V{next(self._ids):04}",
                "statusCode": "2000",
                "accountId": "1",
                "customFields": message["customFields"],
                **changes,
            }
            for message in request.json()["messages"]
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                reply = self.reply(request)
                if reply is None:
                    await reader.read()  # until the client gives up
                    break
                writer.write(reply.encode())
                await writer.drain()
                if reply.cut_after is not None:
                    break
        except ConnectionError:
            pass  # the client went first
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *rest = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body)


def group(status: str, **fields: object) -> dict[str, Any]:
    """Return a group as SOLAPI shows it, as far as it matters."""
    return {"groupId": GROUP, "status": status, "dateSent": None, "log": [], **fields}


def alimtalk(n: int, *, to: str = "", variables: dict[str, str] | None = None) -> Outgoing:
    """Return the ``n``-th AlimTalk."""
    content = AlimTalk("KA01PF1", "KA01TP1", variables or {"이름": "봉수"}, "봉수님", sender="0212345678")
    return Outgoing(message_id(n), 1, f"key-{n}", Channel.ALIMTALK, to or f"0101234{n:04}", content)


def sms(n: int) -> Outgoing:
    """Return the ``n``-th SMS."""
    return Outgoing(message_id(n), 1, f"key-{n}", Channel.SMS, f"0101234{n:04}", Text("0212345678", "안녕"))


def message_id(n: int) -> MessageId:
    """Return the ``n``-th id."""
    return MessageId(UUID(int=n))


def attempt(n: int, *, handle: str | None = GROUP, dealer_message_id: str | None = None) -> OpenAttempt:
    """Return the ``n``-th attempt, to be looked up."""
    return OpenAttempt(message_id(n), 1, f"key-{n}", Channel.ALIMTALK, f"0101234{n:04}", handle, dealer_message_id, NOW)


def stored(n: int, code: str, **fields: object) -> tuple[str, dict[str, Any]]:
    """Return the ``n``-th message as SOLAPI's lists show it, with its id."""
    identifier = f"M4V{n:04}"
    message = {
        "messageId": identifier,
        "type": "ATA",
        "to": f"0101234{n:04}",
        "statusCode": code,
        "customFields": {"bongsu_key": f"key-{n}"},
        "dateReceived": None,
        "dateReported": "2026-11-23T00:00:05.000Z",
        **fields,
    }
    return identifier, message


def page(messages: Sequence[tuple[str, dict[str, Any]]], next_key: str | None = None) -> Reply:
    """Return a page of a list."""
    return Reply(json={"limit": 500, "messageList": dict(messages), "nextKey": next_key})
