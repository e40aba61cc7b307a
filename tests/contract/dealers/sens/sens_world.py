"""A sandbox, the adapter that a service would build for it, and messages to numbers of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

from bongsu.sandbox import DEFAULT_SENDER, Profile, Sandbox, start_sandbox
from bongsu.sandbox.sens.dialect import DEFAULT_CHANNEL, DEFAULT_TEMPLATE, SensDialect, credentials
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import AlimTalk, BrandMessage, Content, OpenAttempt, Outgoing, Text
from shared.dealers.sens.adapter import Sens, build
from shared.ids import MessageId

_numbers = count(1)


@asynccontextmanager
async def running(profile: Profile | None = None) -> AsyncIterator[Sandbox]:
    """Run a sandbox of SENS."""
    async with start_sandbox(profile) as sandbox:
        yield sandbox


@asynccontextmanager
async def adapter_of(sandbox: Sandbox, **changed: str) -> AsyncIterator[Sens]:
    """Build the adapter, with ``changed`` credentials."""
    dealer = build(
        Account(
            name="sens",
            base_url=sandbox.url_of("sens"),
            urls={},
            credentials=credentials() | changed,
            timeout_seconds=1.5,
            batch=1000,
            now=lambda: datetime.now(UTC),
        )
    )
    try:
        yield dealer
    finally:
        await dealer.close()


def dialect_of(sandbox: Sandbox) -> SensDialect:
    """Return SENS's part of a sandbox."""
    dialect = sandbox.dialects["sens"]
    assert isinstance(dialect, SensDialect)
    return dialect


CONTENTS: Mapping[Channel, Content] = {
    Channel.ALIMTALK: AlimTalk(DEFAULT_CHANNEL, DEFAULT_TEMPLATE, {"이름": "봉수"}, "봉수님, 환영합니다."),
    Channel.FRIENDTALK: BrandMessage(DEFAULT_CHANNEL, "새 물건이 왔습니다."),
    Channel.SMS: Text(DEFAULT_SENDER, "[봉수상점] 결제 완료"),
    Channel.LMS: Text(DEFAULT_SENDER, "주문이 결제되었습니다.\n" * 5, "결제 안내"),
}


def some(amount: int, channel: Channel = Channel.ALIMTALK, content: Content | None = None) -> list[Outgoing]:
    """Return messages, each to a number that no other message goes to."""
    return [
        Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", channel, f"0105{n:07}", content or CONTENTS[channel])
        for n in (next(_numbers) for _ in range(amount))
    ]


def attempt(outgoing: Outgoing, dealer_message_id: str | None, **fields: Any) -> OpenAttempt:  # noqa: ANN401 - its fields
    """Return the attempt of a message as the reconciler would look it up."""
    return OpenAttempt(
        **{
            "message_id": outgoing.message_id,
            "n": 1,
            "request_key": outgoing.request_key,
            "channel": outgoing.channel,
            "to": outgoing.to,
            "handle": None,
            "dealer_message_id": dealer_message_id,
            "opened_at": datetime.now(UTC),
            **fields,
        }
    )
