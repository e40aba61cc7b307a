"""A client that signs, and messages to send: what the tests of the wire stand on."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from bongsu.sandbox import (
    DEFAULT_API_KEY,
    DEFAULT_API_SECRET,
    DEFAULT_CHANNEL,
    DEFAULT_SENDER,
    Sandbox,
)

NO_LIMITS = {"messages_per_second": 0, "sends_per_window": 0, "lookups_per_window": 0}


def sign(
    api_key: str = DEFAULT_API_KEY,
    secret: str = DEFAULT_API_SECRET,
    date: str | None = None,
    salt: str | None = None,
    *,
    capital: bool = False,
) -> str:
    date = date or datetime.now(UTC).isoformat()
    salt = salt or secrets.token_hex(16)
    signature = hmac.new(secret.encode(), (date + salt).encode(), hashlib.sha256).hexdigest()
    key, when = ("ApiKey", "Date") if capital else ("apiKey", "date")
    return f"HMAC-SHA256 {key}={api_key}, {when}={date}, salt={salt}, signature={signature}"


def sms(to: str = "01000000001", text: str = "안녕하세요", **other: object) -> dict[str, Any]:
    return {"to": to, "from": DEFAULT_SENDER, "text": text, **other}


def alimtalk(to: str = "01000000001", **options: object) -> dict[str, Any]:
    kakao = {"pfId": DEFAULT_CHANNEL, "templateId": "TPL", "disableSms": True, **options}
    return {"to": to, "from": DEFAULT_SENDER, "kakaoOptions": kakao}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Any


@dataclass(frozen=True, slots=True)
class Client:
    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: object = None, *, authorization: str | None = None) -> Answer:
        headers = {"Authorization": sign() if authorization is None else authorization}
        async with self.session.request(method, self.sandbox.url + path, json=body, headers=headers) as answer:
            return Answer(answer.status, msgspec.json.decode(await answer.read()), answer.headers)

    async def group(self, *messages: dict[str, Any], **options: object) -> str:
        """Open a group and register messages, all of which must be accepted."""
        opened = await self.call("POST", "/messages/v4/groups", options)
        group_id: str = opened.body["groupId"]
        added = await self.add(group_id, *messages)
        assert added.body["errorCount"] == 0, added.body
        return group_id

    async def add(self, group_id: str, *messages: dict[str, Any]) -> Answer:
        return await self.call("PUT", f"/messages/v4/groups/{group_id}/messages", {"messages": messages})

    async def send(self, group_id: str) -> Answer:
        return await self.call("POST", f"/messages/v4/groups/{group_id}/send", {})

    async def code(self, message: dict[str, Any]) -> str:
        """Register a message alone; return its status code."""
        opened = await self.call("POST", "/messages/v4/groups", {})
        added = await self.add(opened.body["groupId"], message)
        (result,) = added.body["resultList"]
        return str(result["statusCode"])


Start = Callable[..., Awaitable[Client]]


@dataclass(slots=True)
class Receiver:
    """Takes webhooks; answers with the next of ``statuses``, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    calls: list[tuple[Any, Any]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for _, events in self.calls for event in events]

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append((request.headers, msgspec.json.decode(await request.read())))
        self.came.set()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)
