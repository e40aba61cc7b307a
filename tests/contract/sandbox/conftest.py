"""A sandbox in this process, and a receiver of its webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from bongsu.sandbox import Profile, start_sandbox
from shared.clock import Clock
from tests.contract.sandbox.wire import NO_LIMITS, Client, Receiver, Start


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a sandbox with these parts of a profile; return a client of it."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def _start(webhook_url: str | None = None, clock: Clock | None = None, **profile: object) -> Client:
            parts = {"accept_any_template": True, "limits": NO_LIMITS, "seed": 1, **profile}
            sandbox = await stack.enter_async_context(
                start_sandbox(Profile.model_validate(parts), webhook_url=webhook_url, clock=clock)
            )
            return Client(sandbox, session)

        yield _start


@asynccontextmanager
async def _receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/receipts", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/receipts"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with _receiving() as receiver:
        yield receiver
