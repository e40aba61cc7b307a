"""``python -m services.ingest`` as a process of its own, and a database for it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from sqlalchemy import make_url, text

from bongsu.apply import SHOP, apply_directory
from shared.crypto import new_keys
from shared.db.engine import engine_for
from shared.http.auth import ensure_key

KEY = "bk_test"
STRUCTURED = "application/cloudevents+json"
KEYS = new_keys("test")

CONFIG = """
dealers:
  solapi: {kind: solapi, base_url: "http://127.0.0.1:1"}
profiles:
  shop:
    name: 봉수상점
    routes: [{dealer: solapi, sender_key: KA01PF}]
    text: {dealer: solapi, from: "0212345678"}
  branch:
    name: 봉수상점 2호점
    routes: [{dealer: solapi, sender_key: KA02PF}]
"""


@dataclass
class Answer:
    """What the service said."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Service:
    """A running ingest."""

    url: str
    database_url: str
    process: subprocess.Popen[bytes]
    log: Path

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | io.BytesIO | AsyncIterator[bytes] | None = None,
        **headers: str | None,
    ) -> Answer:
        """Make a request, by default with a valid key and an event's content type."""
        given = {"Authorization": f"Bearer {KEY}", "Content-Type": STRUCTURED}
        given |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        for name in (n for n, value in headers.items() if value is None):
            given.pop(name.replace("_", "-"))
        if isinstance(body, bytes):
            body = io.BytesIO(body)  # of any size, and with its length declared
        skipped = ["Content-Type"] if "Content-Type" not in given else []
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30), skip_auto_headers=skipped) as http,
            http.request(method, self.url + path, data=body, headers=given) as response,
        ):
            raw = await response.read()
            told: dict[str, str] = dict(response.headers)
            if response.content_type == "application/x-ndjson":
                return Answer(response.status, told, [json.loads(line) for line in raw.splitlines()])
            is_json = "json" in response.content_type
            return Answer(response.status, told, json.loads(raw) if is_json else raw.decode())

    async def post(self, body: bytes | AsyncIterator[bytes], **headers: str | None) -> Answer:
        """Send an event."""
        return await self.call("POST", "/v1/events", body, **headers)

    async def counts(self) -> tuple[int, ...]:
        """Return how much the ledger holds."""
        engine = engine_for(self.database_url, pool_size=2)
        tables = ("events", "event_keys", "idempotency_keys", "messages", "transitions")
        try:
            async with engine.connect() as connection:
                return tuple([await connection.scalar(text(f"SELECT count(*) FROM {name}")) for name in tables])
        finally:
            await engine.dispose()

    async def metric(self, sample: str) -> float:
        """Return the value of a sample of ``/metrics``, 0 while there is none."""
        page = (await self.call("GET", "/metrics")).body
        found = re.search(rf"^{re.escape(sample)} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def running(database_url: str, directory: Path, **settings: str) -> Iterator[Service]:
    """A service process over a database that is prepared."""
    (directory / "config.yaml").write_text(CONFIG, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "BONGSU_DATABASE_URL": database_url,
        "BONGSU_CONFIG": str(directory / "config.yaml"),
        "BONGSU_ENCRYPTION_KEYS": KEYS,
        "BONGSU_PORT": str(port),
        **settings,
    }
    log = directory / "ingest.log"
    with log.open("ab") as errors:
        process = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=environment, stderr=errors)
    service = Service(f"http://127.0.0.1:{port}", database_url, process, log)
    try:
        asyncio.run(_until_ready(service))
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) in {0, -signal.SIGKILL}, log.read_text()


async def _until_ready(service: Service) -> None:
    async with asyncio.timeout(60):
        while service.process.poll() is None:
            try:
                if (await service.call("GET", "/readyz")).status == 200:
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    raise AssertionError(service.log.read_text())


@contextmanager
def prepared_database(postgres_url: str) -> Iterator[str]:
    """A migrated database with the shipped rules and an API key."""
    name = f"bongsu_{uuid4().hex[:12]}"
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)

    async def execute(statement: str) -> None:
        engine = engine_for(postgres_url, pool_size=1)
        async with engine.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text(statement))
        await engine.dispose()

    async def prepare() -> None:
        await execute(f"CREATE DATABASE {name} TEMPLATE bongsu_template STRATEGY wal_log")
        engine = engine_for(url, pool_size=1)
        await apply_directory(engine, SHOP, now=datetime.now(UTC))
        async with engine.begin() as connection:
            await ensure_key(connection, "test", KEY, now=datetime.now(UTC))
        await engine.dispose()

    asyncio.run(prepare())
    yield url
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))
