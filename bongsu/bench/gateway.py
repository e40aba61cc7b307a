"""The dealer of ``bongsu bench path``: takes whatever it is sent, 20 ms a request, and says when it had how many.

``uvicorn bongsu.bench.gateway:app``. It costs hardly any CPU, where the sandbox plays a dealer in full and costs as
much as a service. SOLAPI's three calls are there for bongsu, with the receipts that follow; ``/send`` (one message a
call) and ``/send-many`` for what it is compared with.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import aiohttp
import msgspec

LATENCY_SECONDS = 0.02
RECEIPTS_A_CALL = 500
"""and all of a group's at once: the rate of the receipts is that of the sends"""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Stats(msgspec.Struct):
    """What came since the last reset. ``last`` is when the latest came, by the clock that all processes share."""

    messages: int = 0
    calls: int = 0
    last: float = 0.0


class _Message(msgspec.Struct):
    to: str
    customFields: dict[str, str]  # noqa: N815 - SOLAPI's


class _Messages(msgspec.Struct):
    messages: list[_Message]


class _Many(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Webhook(msgspec.Struct):
    url: str


_messages = msgspec.json.Decoder(_Messages).decode
_many = msgspec.json.Decoder(_Many).decode
_webhook = msgspec.json.Decoder(_Webhook).decode


class Gateway:
    """Counts messages, and tells of each that it was delivered."""

    def __init__(self) -> None:
        self.stats = Stats()
        self._webhooks: dict[str, str] = {}
        self._groups: dict[str, list[dict[str, Any]]] = {}
        self._number = itertools.count(1)
        self._http: aiohttp.ClientSession | None = None
        self._telling: set[asyncio.Task[None]] = set()

    async def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """Do what a request asks for. What is SOLAPI's stands under the name of an account."""
        parts = path.strip("/").split("/")
        match (method, parts):
            case ("GET", ["stats"]):
                return msgspec.structs.asdict(self.stats)
            case ("POST", ["reset"]):
                self.stats = Stats()
                return {}
            case ("POST", [account, "webhook"]):
                self._webhooks[account] = _webhook(body).url
                return {}
        await asyncio.sleep(LATENCY_SECONDS)
        return self._take(parts, body)

    def _take(self, parts: Sequence[str], body: bytes) -> dict[str, Any]:
        match parts:
            case ["send"]:
                self._count(1)
                return {"id": str(next(self._number))}
            case ["send-many"]:
                many = _many(body).messages
                self._count(len(many))
                return {"ids": [str(next(self._number)) for _ in many]}
            case [account, "messages", "v4", "groups", *rest]:
                return self._group(account, rest, body)
        return {"errorCode": "ResourceNotFound"}

    def _group(self, account: str, rest: Sequence[str], body: bytes) -> dict[str, Any]:
        match rest:
            case []:
                group = f"G{next(self._number)}"
                self._groups[group] = []
                return {"groupId": group, "status": "PENDING"}
            case [group, "messages"]:
                registered = [self._registered(message) for message in _messages(body).messages]
                self._groups[group] += registered
                return {"resultList": registered}
            case [group, "send"]:
                sent = self._groups.pop(group)
                self._count(len(sent))
                self._tell(self._webhooks[account], sent)
                return {"groupId": group, "status": "SENDING"}
        return {"errorCode": "ResourceNotFound"}

    def _registered(self, message: _Message) -> dict[str, Any]:
        return {
            "messageId": f"M{next(self._number)}",
            "statusCode": "2000",
            "type": "ATA",
            "to": message.to,
            "customFields": message.customFields,
        }

    def _count(self, messages: int) -> None:
        self.stats.messages += messages
        self.stats.calls += 1
        self.stats.last = time.monotonic()

    def _tell(self, webhook: str, sent: Sequence[dict[str, Any]]) -> None:
        for n in range(0, len(sent), RECEIPTS_A_CALL):
            receipts = [{**message, "statusCode": "4000"} for message in sent[n : n + RECEIPTS_A_CALL]]
            task = asyncio.create_task(self._post(webhook, msgspec.json.encode(receipts)))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _post(self, webhook: str, receipts: bytes) -> None:
        if self._http is None:
            self._http = aiohttp.ClientSession()
        async with self._http.post(webhook, data=receipts, headers={"Content-Type": "application/json"}) as answer:
            await answer.read()
            answer.raise_for_status()


_gateway = Gateway()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request, as ASGI."""
    part = await receive()
    body: bytes = part.get("body", b"")
    while part.get("more_body"):
        part = await receive()
        body += part.get("body", b"")
    answer = msgspec.json.encode(await _gateway.answer(scope["method"], scope["path"], body))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
