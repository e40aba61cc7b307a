"""Adapters of Bizppurio: to a gateway of bare bytes, and to the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from bongsu.sandbox import Profile, Sandbox, start_sandbox
from bongsu.sandbox.bizppurio.dialect import credentials
from shared.dealers.account import Account
from shared.dealers.bizppurio.adapter import Bizppurio, build
from tests.contract.dealers.fake_gateway import FakeGateway, Reply

Connect = Callable[..., Bizppurio]
TOKEN = Reply(json={"accesstoken": "token-1", "type": "Bearer", "expired": "20261124090000"})
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make adapters for an address."""
    closing: list[Callable[[], Awaitable[None]]] = []

    def make(base_url: str, *, timeout_seconds: float = 5.0, world: bool = False, **options: object) -> Bizppurio:
        made = build(
            Account(
                name="bizppurio",
                base_url=base_url,
                urls={},
                credentials=credentials(options),
                timeout_seconds=timeout_seconds,
                batch=1000,
                now=(lambda: datetime.now(UTC)) if world else (lambda: NOW),
            )
        )
        closing.append(made.close)
        return made

    yield make
    for close in closing:
        await close()


@pytest.fixture
async def talking(fake: FakeGateway, connect: Connect) -> Bizppurio:
    """An adapter that talks to ``fake``, which gives it a token."""
    fake.on("POST /v1/token", TOKEN)
    return connect(f"http://127.0.0.1:{fake.port}")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without faults."""
    async with start_sandbox(Profile(accept_any_template=True, accept_any_sender=True)) as running:
        yield running


@pytest.fixture
async def bizppurio(sandbox: Sandbox, connect: Connect) -> Bizppurio:
    """An adapter that talks to ``sandbox``."""
    return connect(sandbox.url_of("bizppurio"), timeout_seconds=0.5, world=True)
