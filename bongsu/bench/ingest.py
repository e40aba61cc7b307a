"""``bongsu bench ingest``: how fast events are taken in, beside what else could take them, in one run on one machine.

Each server is one uvicorn process, and takes the same events by its turn, round after round: a bare echo, FastAPI with
a pydantic body, the same with one INSERT a request, a hand-tuned endpoint that commits groups by COPY, and ingest with
everything on (API key, validation, rules, rendering, encryption, both idempotencies, the first rows of the timeline).
No dispatcher runs. Load and Postgres share the cores, so rates compare within one run only; CPU is steadier.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import yaml
from sqlalchemy import make_url

from bongsu.apply import SHOP, apply_directory
from bongsu.bench.ingest_peers import SCHEMA
from bongsu.bench.load import Figures, Load, generate
from bongsu.bench.path import Meter
from bongsu.box.box import free_port
from bongsu.box.postgres import EmbeddedPostgres
from bongsu.box.processes import Child, Family
from bongsu.demo.day import a_day
from bongsu.kafka import KafkaServer
from shared.crypto import new_keys
from shared.db.engine import engine_for
from shared.db.migrate import migrate
from shared.errors import BongsuError
from shared.http.auth import ensure_key, new_key

CONNECTIONS = 64
BATCH = 500
BATCH_CONNECTIONS = 4
READY_SECONDS = 60.0
CONFIG = {
    "dealers": {"solapi": {"kind": "solapi", "base_url": "http://127.0.0.1:1"}},
    "profiles": {
        "shop": {
            "name": "봉수상점",
            "routes": [{"dealer": "solapi", "sender_key": "KA01PF"}],
            "text": {"dealer": "solapi", "from": "0212345678"},
        }
    },
}


class Failed(BongsuError):
    """A server did not come up, or did not take what it was sent."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to take events in: which server, and how it is sent them."""

    server: str
    batch: int = 1
    idempotency_keys: bool = False
    content_type: str = "application/cloudevents+json"


WAYS: Mapping[str, Way] = {
    "echo": Way("echo"),
    "pydantic": Way("pydantic"),
    "insert": Way("insert"),
    "tuned": Way("tuned"),
    "ingest": Way("ingest", idempotency_keys=True),
    "ingest_without_keys": Way("ingest"),
    "tuned_batches": Way("tuned", BATCH),
    "ingest_batches": Way("ingest", BATCH, content_type="application/cloudevents-batch+json"),
}
"""``ingest`` gives each request an Idempotency-Key beside the event's own ``source`` and ``id``."""

GOALS = {
    "ingest_of_insert": ("ingest", "insert", 3.0),
    "ingest_of_tuned": ("ingest", "tuned", 0.6),
    "batches_of_tuned": ("ingest_batches", "tuned_batches", 0.4),
}


@dataclass
class Bench:
    """The servers of a run."""

    urls: Mapping[str, str]
    pids: Mapping[str, int]
    api_key: str

    async def take(self, way: Way, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Send ``events`` once; return what came of it. Raises ``Failed`` if any was refused."""
        source = f"/bench/{time.time_ns()}"  # so that none of them was seen before
        encoded = [msgspec.json.encode({**event, "source": source}) for event in events]
        if way.batch > 1:
            chunks = (encoded[n : n + way.batch] for n in range(0, len(encoded), way.batch))
            encoded = [b"[" + b",".join(chunk) + b"]" for chunk in chunks]
        load = Load(
            url=self.urls[way.server] + "/v1/events",
            bodies=[body.decode() for body in encoded],
            headers={"Authorization": f"Bearer {self.api_key}", "Content-Type": way.content_type},
            idempotency_keys=way.idempotency_keys,
            connections=CONNECTIONS if way.batch == 1 else BATCH_CONNECTIONS,
        )
        meter = Meter({"server": self.pids[way.server], "postgres": self.pids["postgres"]})
        meter.start()
        figures = await generate(load)
        spent = meter.cpu_per_1000(len(events))  # seconds a thousand is milliseconds each
        _check(way, figures)
        return {
            "events_per_second": round(len(events) / figures.seconds),
            "p50_ms": figures.p50_ms,
            "p99_ms": figures.p99_ms,
            "max_ms": figures.max_ms,
            "cpu_ms_per_event": {**spent, "load": round(figures.cpu_seconds * 1000 / len(events), 3)},
        }


def _check(way: Way, figures: Figures) -> None:
    if figures.statuses.keys() - {"202", "200"}:
        raise Failed(f"{way.server} answered {figures.statuses}: {figures.last_answer[:300]}")
    if way.server == "ingest" and way.batch > 1:
        answers = msgspec.json.decode(figures.last_answer)
        if refused := [each for each in answers if each["status"] != 202]:  # noqa: PLR2004 - accepted
            raise Failed(f"ingest refused {len(refused)} of a batch of {len(answers)}: {refused[0]}")


async def bench(events: int, rounds: int, *, kafka: bool, only: Sequence[str] = ()) -> dict[str, Any]:
    """Send ``events`` single events (and five times as many in batches) each way, ``rounds`` times; return all."""
    ways = {name: way for name, way in WAYS.items() if not only or name in only}
    load_before = os.getloadavg()[0]
    made: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    many = [each.event for each in _events(events * 5)]
    async with _started({way.server for way in ways.values()}, kafka=kafka) as running:
        for way in ways.values():
            await running.take(way, many[: max(200, way.batch * 4)])  # to warm up
        for _ in range(rounds):
            for name, way in ways.items():
                made[name].append(await running.take(way, many if way.batch > 1 else many[:events]))
    results = {name: _middle(rows) for name, rows in made.items()}
    return {
        "bench": "ingest",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": load_before},
        "events": events,
        "rounds": rounds,
        "connections": CONNECTIONS,
        "batch": BATCH,
        "kafka": kafka,
        "ways": results,
        "ratios": _ratios(results),
        "every_round": made,
    }


def _events(n: int) -> Sequence[Any]:
    day = a_day(datetime.now(UTC), n * 3, seed=7, lasts=timedelta(days=2))
    return [each for each in day if each.event["type"] in {"order.paid", "member.joined"}][:n]


def _middle(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the round of the median rate."""
    return sorted(rows, key=lambda row: row["events_per_second"])[len(rows) // 2]


def _ratios(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (ours, theirs, goal) in GOALS.items():
        if ours in results and theirs in results:
            rate = results[ours]["events_per_second"] / results[theirs]["events_per_second"]
            found[name] = {"ratio": round(rate, 2), "goal": goal}
    if "ingest" in results:
        found["p99_of_p50"] = {"ratio": round(results["ingest"]["p99_ms"] / results["ingest"]["p50_ms"], 1), "goal": 5}
    return found


@asynccontextmanager
async def _started(servers: set[str], *, kafka: bool) -> AsyncIterator[Bench]:
    """Start Postgres and ``servers``, each with a database of its own."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bongsu-bench-")))
        postgres = EmbeddedPostgres(directory / "postgres")
        admin = await postgres.start()
        stack.push_async_callback(postgres.stop)
        bootstrap = ""
        if kafka:
            broker = KafkaServer(directory / "kafka")
            await asyncio.to_thread(broker.up)
            stack.callback(broker.down)
            bootstrap = broker.bootstrap_servers
        api_key = new_key()
        ours = await _prepare(admin, "bongsu", api_key)
        theirs = await _create(admin, "peers")
        connection = await asyncpg.connect(theirs)
        await connection.execute(SCHEMA)
        await connection.close()
        family = Family()
        stack.push_async_callback(family.stop)
        urls: dict[str, str] = {}
        for name in servers:
            port = free_port()
            urls[name] = f"http://127.0.0.1:{port}"
            if name == "ingest":
                command, env = _ingest(directory, ours, port, bootstrap)
            else:
                command, env = _peer(name, port), {"PEER_DATABASE_URL": theirs, "PEER_KAFKA": bootstrap}
            await family.add(Child(name, command, env, directory / f"{name}.log"))
        for name, url in urls.items():
            await _answers(name, url, directory / f"{name}.log")
        pids = {name: child.pid for name, child in family.children.items()}
        yield Bench(urls, {"postgres": postgres.pid, **{n: pid for n, pid in pids.items() if pid}}, api_key)


def _ingest(directory: Path, database_url: str, port: int, bootstrap: str) -> tuple[list[str], dict[str, str]]:
    config = directory / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG, allow_unicode=True), encoding="utf-8")
    return [sys.executable, "-m", "services.ingest"], {
        "BONGSU_DATABASE_URL": database_url,
        "BONGSU_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "BONGSU_CONFIG": str(config),
        "BONGSU_ENCRYPTION_KEYS": new_keys("bench"),
        "BONGSU_PORT": str(port),
        "BONGSU_LOG_LEVEL": "warning",
    }


def _peer(name: str, port: int) -> list[str]:
    options = [
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "error",
    ]
    if name == "echo":
        options += ["--lifespan", "off"]
    return [sys.executable, "-m", "uvicorn", f"bongsu.bench.ingest_peers:{name}", *options]


async def _create(admin: str, name: str) -> str:
    connection = await asyncpg.connect(admin)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return make_url(admin).set(database=name).render_as_string(hide_password=False)


async def _prepare(admin: str, name: str, api_key: str) -> str:
    """Return the URL of a migrated database with the shipped rules and an API key."""
    url = await _create(admin, name)
    engine = engine_for(url, pool_size=1)
    now = datetime.now(UTC)
    await migrate(engine, now=now)
    await apply_directory(engine, SHOP, now=now)
    async with engine.begin() as connection:
        await ensure_key(connection, "bench", api_key, now=now)
    await engine.dispose()
    return url


async def _answers(name: str, url: str, log: Path) -> None:
    """Return once ``url`` answers, whatever it says."""
    deadline = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as http:
        while True:
            try:
                async with http.get(f"{url}/readyz"):
                    return
            except (aiohttp.ClientError, TimeoutError):
                if time.monotonic() > deadline:
                    raise Failed(f"{name} did not come up; its log is {log}") from None
                await asyncio.sleep(0.1)
