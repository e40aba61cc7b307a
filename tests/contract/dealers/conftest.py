"""A fake gateway, and adapters that talk to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

import pytest

from shared.dealers.codes import load_table
from shared.dealers.solapi.adapter import Solapi
from shared.dealers.solapi.gateway import Gateway
from tests.contract.dealers.fake_gateway import NOW, FakeGateway

Connect = Callable[..., Solapi]


@pytest.fixture
async def fake() -> AsyncIterator[FakeGateway]:
    """A gateway that works until it is told otherwise."""
    gateway = FakeGateway()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    gateway.stop = server.close
    yield gateway
    server.close()


@pytest.fixture
def unused() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make adapters for a port."""
    closing: list[Callable[[], Awaitable[None]]] = []

    def make(
        port: int,
        *,
        timeout_seconds: float = 5.0,
        webhook_secret: str | None = None,
        scheme: str = "http",
        host: str = "127.0.0.1",
    ) -> Solapi:
        salts = count()
        gateway = Gateway(
            f"{scheme}://{host}:{port}",
            api_key="NCS0000000000000",
            api_secret="SECRET0000000000000000000000000",
            timeout_seconds=timeout_seconds,
            now=lambda: NOW,
            salt=lambda: f"salt-{next(salts):08}",
        )
        dealer = Solapi(
            "solapi", gateway, codes=load_table("shared.dealers.solapi"), batch=1000, webhook_secret=webhook_secret
        )
        closing.append(dealer.close)
        return dealer

    yield make
    for close in closing:
        await close()


@pytest.fixture
async def dealer(fake: FakeGateway, connect: Connect) -> Solapi:
    """An adapter that talks to ``fake``."""
    return connect(fake.port)
