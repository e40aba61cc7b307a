from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bongsu.sandbox import Sandbox, start_sandbox
from shared.dealers.nhn.adapter import Nhn, build
from tests.contract.dealers.fake_gateway import FakeGateway
from tests.contract.dealers.nhn.nhn_world import Recorder, account, at_sandbox


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """A gateway that takes everything."""
    gateway = Recorder()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    yield gateway
    server.close()


@pytest.fixture
async def nhn(fake: FakeGateway) -> AsyncIterator[Nhn]:
    """An adapter that talks to ``fake``."""
    made = build(account(f"http://127.0.0.1:{fake.port}"))
    yield made
    await made.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without faults that takes any template."""
    async with start_sandbox() as running:
        yield running


@pytest.fixture
async def dealer(sandbox: Sandbox) -> AsyncIterator[Nhn]:
    """An adapter that talks to the sandbox."""
    async with at_sandbox(sandbox) as made:
        yield made
