"""The service as a process: it counts, answers, shows its metrics and leaves when told to."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.http.auth import ensure_key, new_key
from tests.integration.metrics.ledger_of import lives, write
from tests.unit.metrics.stories import BEGIN

CONFIG = """
dealers:
  solapi: {kind: solapi, base_url: "http://127.0.0.1:9", prices: {alimtalk: 13, sms: 18, lms: 45}}
profiles:
  shop:
    name: 봉수상점
    routes: [{dealer: solapi, sender_key: KA01}]
    text: {dealer: solapi, from: "0212345678"}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


async def test_the_process_counts_answers_and_leaves(ledger: AsyncEngine, database_url: str, tmp_path: Path) -> None:
    stories, key, port = lives(60, seed=21), new_key(), free_port()
    async with ledger.begin() as connection:
        await write(connection, stories)
        await ensure_key(connection, "test", key, now=BEGIN)
    config = tmp_path / "bongsu.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    secret = base64.b64encode(os.urandom(32)).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.metrics",
        env={
            **os.environ,
            "BONGSU_DATABASE_URL": database_url,
            "BONGSU_CONFIG": str(config),
            "BONGSU_ENCRYPTION_KEYS": f"person:{secret},one:{secret}",
            "BONGSU_PORT": str(port),
            "BONGSU_METRICS_REFRESH_SECONDS": "0.2",
        },
    )
    try:
        headers = {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as client:
            while await _status(client, "/readyz") != 200:
                assert process.returncode is None
                await asyncio.sleep(0.05)  # another process: there is no event to wait for
            while (await _json(client, "/v1/stats/funnel"))["messages"] != len(stories):  # noqa: ASYNC110 - no event of another process
                await asyncio.sleep(0.05)
            async with client.get("/metrics") as answer:
                assert "bongsu_metrics_records_total" in await answer.text()
            assert await _status(client, "/healthz") == 200
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _status(client: aiohttp.ClientSession, path: str) -> int:
    try:
        async with client.get(path) as answer:
            return answer.status
    except aiohttp.ClientConnectionError:
        return 0


async def _json(client: aiohttp.ClientSession, path: str) -> dict[str, int]:
    async with client.get(path) as answer:
        found: dict[str, int] = await answer.json()
    return found
