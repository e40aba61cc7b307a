"""What Gabia's contract tests share: a sandbox, the adapter as a service builds it, and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

from bongsu.sandbox import Profile, Sandbox, SandboxSettings
from bongsu.sandbox.gabia.dialect import Gabia as GabiaDialect
from bongsu.sandbox.gabia.dialect import credentials
from shared.config import Config
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import Accepted, Dealer, LookupResult, OpenAttempt, Outgoing, SendResult, Text
from shared.dealers.registry import build_dealers
from shared.ids import MessageId

SHORT = Text("0212345678", "[봉수상점] 결제 100% 완료 & 감사")
LONG = Text("0212345678", '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")

_numbers = count(1)


def outgoing(content: Text = SHORT, n: int | None = None) -> Outgoing:
    """Make an attempt of its own message, with a key as the engine writes it."""
    n = next(_numbers) if n is None else n
    message = MessageId(UUID(int=n))
    channel = Channel.SMS if content is SHORT else Channel.LMS
    return Outgoing(message, 1, request_key(message, channel, 1), channel, f"010{n:08}", content)


def attempt(sent: Outgoing, result: SendResult | None = None) -> OpenAttempt:
    """Return what the engine knows of an attempt when it asks."""
    taken = result.dealer_message_id if isinstance(result, Accepted) else None
    now = datetime.now(UTC)
    return OpenAttempt(sent.message_id, sent.n, sent.request_key, sent.channel, sent.to, None, taken, now)


def gabia_of(sandbox: Sandbox) -> GabiaDialect:
    """Return Gabia's part of a sandbox."""
    dialect = sandbox.dialects["gabia"]
    assert isinstance(dialect, GabiaDialect)
    return dialect


@asynccontextmanager
async def sandbox_with(options: dict[str, Any] | None = None, **profile: object) -> AsyncIterator[Sandbox]:
    """Run a sandbox that records what it is sent."""
    made = Profile.model_validate(
        {**profile, "dealers": {"gabia": {"options": {"shows_pending": False, **(options or {})}}}}
    )
    sandbox = Sandbox(SandboxSettings(made, record=True))
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


@asynccontextmanager
async def dealer_at(base_url: str, *, timeout_seconds: float = 5.0, **changed: str) -> AsyncIterator[Dealer]:
    """Build the dealer as a service does; ``changed`` are credentials. Nothing is known of the log, as by default."""
    dealer = {
        "kind": "gabia",
        "base_url": base_url,
        "credentials": {**credentials({"shows_pending": False}), **changed},
        "timeout_seconds": timeout_seconds,
    }
    kakao = {"kind": "solapi", "base_url": "http://127.0.0.1:1", "credentials": {"api_key": "K", "api_secret": "S"}}
    profile = {"name": "봉수상점", "routes": [{"dealer": "kakao", "sender_key": "x"}]}
    config = Config.model_validate({"dealers": {"gabia": dealer, "kakao": kakao}, "profiles": {"shop": profile}})
    built = build_dealers(config)
    try:
        yield built["gabia"]
    finally:
        for each in built.values():
            await each.close()


async def look_up(dealer: Dealer, sent: Outgoing, result: SendResult | None = None) -> LookupResult:
    """Ask about one attempt."""
    [answer] = await dealer.lookup([attempt(sent, result)])
    return answer
