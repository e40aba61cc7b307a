"""How a service is served."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from pydantic import SecretStr

from bongsu.box.box import free_port
from shared.crypto import new_keys
from shared.service import Health, make_app, run
from shared.settings import ServiceSettings


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """The process as it was: a service takes over its signals and its garbage collector."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_nobody_on_this_machine_says_where_a_call_came_from() -> None:
    """The server by itself would believe ``X-Forwarded-For`` of any local process."""
    app, stopping, port = make_app("test", Health()), asyncio.Event(), free_port()

    @app.get("/who")
    async def who(request: Request) -> str:
        return request.client.host if request.client else ""

    settings = ServiceSettings(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        config=Path("none.yaml"),
        encryption_keys=SecretStr(new_keys("test")),
        port=port,
    )
    serving = asyncio.create_task(run(app, settings, stopping=stopping, loops=[]))
    try:
        transport = httpx.AsyncHTTPTransport(retries=20)  # until it listens
        async with httpx.AsyncClient(transport=transport) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/who", headers={"X-Forwarded-For": "203.0.113.9"})
    finally:
        stopping.set()
        await serving
    assert answer.json() == "127.0.0.1"
