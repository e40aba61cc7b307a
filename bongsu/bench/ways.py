"""``bongsu bench path``: events over HTTP until a gateway has their messages, beside what else could carry them.

One Postgres, one Kafka and one gateway (20 ms a request) serve all ways, and each takes the same events by its turn,
round after round: bongsu with everything on (validation, rules, rendering, encryption, idempotency, the timeline,
receipts at the rate of the sends, statistics) over Kafka and over the ledger itself, and the peers of
``path_peers``. Load and gateway share the cores, so rates compare within one run only; CPU is steadier.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import msgspec
import yaml
from sqlalchemy import make_url

from bongsu.apply import SHOP, apply_directory
from bongsu.bench import ingest_peers, path_peers
from bongsu.bench.load import Load, generate
from bongsu.bench.path import LIMIT, Meter, Stalled
from bongsu.box import Box, BoxOptions
from bongsu.box.box import free_port
from bongsu.box.postgres import EmbeddedPostgres
from bongsu.box.processes import Child, Family
from bongsu.demo.day import a_day
from bongsu.kafka import KafkaServer
from shared.db.engine import engine_for

CONNECTIONS = 64
BATCH = 500
BATCH_CONNECTIONS = 4
WARM_UP = 1000
READY_SECONDS = 60.0
PATIENCE_SECONDS = 300.0
TOKEN = "bench-receipts-come-here"  # noqa: S105 - of a gateway that lives as long as the bench

Event = Mapping[str, Any]
Pids = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class System:
    """One that carries events, as it is driven."""

    url: str
    pids: Callable[[], Pids]
    """of all processes of its own"""
    settled: Callable[[int], Awaitable[bool]]
    """whether ``n`` messages since it started are done with, down to the last row"""
    headers: Mapping[str, str] = field(default_factory=dict)
    batches: bool = True
    written: Callable[[Event], Event] = lambda event: event
    """an event as it wants it"""
    share: float = 1.0
    """how much of the load it is given: a slow one would take the bench for itself"""
    carried: list[int] = field(default_factory=list)


# The ratio of the first to the second, and what is aimed at; and CPU seconds per 1,000.
GOALS = {
    "of_celery": ("bongsu_kafka", "celery", 20.0),
    "of_queued": ("bongsu_kafka", "queued", 4.0),
    "of_tuned": ("bongsu_kafka", "tuned", 0.4),
    "batches_of_tuned": ("bongsu_kafka_batches", "tuned_batches", 0.3),
}
CPU_GOALS = {"bongsu_kafka": 0.8, "bongsu_kafka_batches": 0.3}


@dataclass
class Bench:
    """All systems of a run, and what they stand on."""

    systems: Mapping[str, System]
    beside: Pids
    """Postgres and Kafka"""
    gateway: str
    http: aiohttp.ClientSession

    async def take(self, name: str, events: Sequence[Event], batch: int) -> dict[str, Any]:
        """Let the system ``name`` carry ``events`` once; return what came of it. Raises ``Stalled``."""
        system = self.systems[name]
        load = _load(system, events, batch)
        meter = Meter({**system.pids(), **self.beside})
        await self._ask("POST", "reset")
        meter.start()
        began = time.monotonic()
        figures = await generate(load)
        if figures.statuses.keys() - {"200", "202"}:
            raise Stalled(f"{name} answered {figures.statuses}: {figures.last_answer[:300]}")
        system.carried.append(len(events))
        await self._until(name, began, meter, lambda: self._has(len(events)))
        stats = await self._ask("GET", "stats")
        await self._until(name, began, meter, lambda: system.settled(sum(system.carried)))
        cpu = meter.cpu_per_1000(len(events))
        took = stats["last"] - figures.began
        return {
            "messages_per_second": round(len(events) / took),
            "settled_per_second": round(len(events) / (time.monotonic() - figures.began)),
            "events_per_second_told": round(len(events) / figures.seconds),
            "http_p50_ms": figures.p50_ms,
            "http_p99_ms": figures.p99_ms,
            "calls": stats["calls"],
            "twice": stats["messages"] - len(events),
            "cpu_seconds_per_1000": {**cpu, "all": round(sum(cpu.values()), 3)},
            "memory_mb": meter.peak_mb,
        }

    async def _has(self, messages: int) -> bool:
        return bool((await self._ask("GET", "stats"))["messages"] >= messages)

    async def _ask(self, method: str, path: str, **body: str) -> dict[str, Any]:
        async with self.http.request(method, f"{self.gateway}/{path}", json=body) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def _until(self, name: str, began: float, meter: Meter, done: Callable[[], Awaitable[bool]]) -> None:
        while not await done():
            meter.sample()
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise Stalled(f"{name} did not carry everything within {PATIENCE_SECONDS:.0f} s")
            await asyncio.sleep(0.1)


def _load(system: System, events: Sequence[Event], batch: int) -> Load:
    source = f"/bench/{time.time_ns()}"  # so that none of them was seen before
    encoded = [msgspec.json.encode(system.written({**event, "source": source})) for event in events]
    kind = "application/json"
    if batch > 1:
        chunks = (encoded[n : n + batch] for n in range(0, len(encoded), batch))
        encoded = [b"[" + b",".join(chunk) + b"]" for chunk in chunks]
        kind = "application/cloudevents-batch+json"
    return Load(
        url=system.url,
        bodies=[body.decode() for body in encoded],
        headers={"Content-Type": kind, **system.headers},
        idempotency_keys=batch == 1 and "Authorization" in system.headers,
        connections=CONNECTIONS if batch == 1 else BATCH_CONNECTIONS,
    )


async def bench(
    messages: int, rounds: int, *, buses: Sequence[str], peers: Path | None = None, python: str = sys.executable
) -> dict[str, Any]:
    """Send ``messages`` single events (and four times as many in batches) each way, ``rounds`` times; return all.

    ``peers`` is a folder with the program ``peer_celery``, and ``python`` one that has what it needs.
    """
    load_before = os.getloadavg()[0]
    day = a_day(datetime.now(UTC), messages * 12, seed=7, lasts=timedelta(days=2))
    many = [each.event for each in day if each.event["type"] in {"order.paid", "member.joined"}][: messages * 4]
    made: dict[str, list[dict[str, Any]]] = {}
    async with _started(buses, peers, python) as running:
        for name, system in running.systems.items():
            await running.take(name, many[: int(WARM_UP * system.share)], 1)
            if system.batches:
                await running.take(name, many[:WARM_UP], BATCH)
        for _ in range(rounds):
            for name, system in running.systems.items():
                taken = await running.take(name, many[: int(messages * system.share)], 1)
                made.setdefault(name, []).append(taken)
            for name, system in running.systems.items():
                if system.batches:
                    made.setdefault(f"{name}_batches", []).append(await running.take(name, many, BATCH))
    ways = {
        name: sorted(rows, key=lambda row: row["messages_per_second"])[len(rows) // 2] for name, rows in made.items()
    }
    return {
        "bench": "path",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": load_before},
        "messages": messages,
        "rounds": rounds,
        "connections": CONNECTIONS,
        "batch": BATCH,
        "ways": ways,
        "ratios": _ratios(ways),
        "every_round": made,
    }


def _ratios(ways: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (ours, theirs, goal) in GOALS.items():
        if ours in ways and theirs in ways:
            rate = ways[ours]["messages_per_second"] / ways[theirs]["messages_per_second"]
            found[name] = {"ratio": round(rate, 2), "goal": goal}
    for name, goal in CPU_GOALS.items():
        if name in ways:
            found[f"{name}_cpu_seconds"] = {"figure": ways[name]["cpu_seconds_per_1000"]["all"], "goal": goal}
    return found


# -- what runs ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _started(buses: Sequence[str], peers: Path | None, python: str) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bongsu-bench-")))
        postgres = EmbeddedPostgres(directory / "postgres")
        await _allow_connections(await postgres.start())
        await postgres.stop()
        admin = await postgres.start()
        stack.push_async_callback(postgres.stop)
        broker = KafkaServer(directory / "kafka")
        await asyncio.to_thread(broker.up)
        stack.callback(broker.down)
        family = Family()
        stack.push_async_callback(family.stop)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        ground = _Ground(directory, admin, broker.bootstrap_servers, family, http, stack)
        gateway = await ground.serve("gateway", "bongsu.bench.gateway:app", {}, options=["--lifespan", "off"])
        systems = {f"bongsu_{bus}": await ground.bongsu(bus, gateway) for bus in buses}
        systems |= await ground.peers(gateway)
        if peers is not None:
            systems["celery"] = await ground.celery(gateway, peers, python)
        if broker.pid is None:
            raise Stalled("Kafka has ended")
        yield Bench(systems, {"postgres": postgres.pid, "kafka": broker.pid}, gateway, http)


async def _allow_connections(admin: str) -> None:
    """Let all systems have their pools, once the server is started again."""
    connection = await asyncpg.connect(admin)
    await connection.execute("ALTER SYSTEM SET max_connections = 400")
    await connection.close()


@dataclass(frozen=True)
class _Ground:
    """What all systems stand on."""

    directory: Path
    admin: str
    bootstrap: str
    family: Family
    http: aiohttp.ClientSession
    stack: AsyncExitStack

    async def bongsu(self, bus: str, gateway: str) -> System:
        """Start a box of its own, over ``bus``, whose dealer is the gateway."""
        url, _ = await self._database(f"bongsu_{bus}")
        config = self.directory / f"{bus}.yaml"
        config.write_text(yaml.safe_dump(_config(f"{gateway}/{bus}"), allow_unicode=True), encoding="utf-8")
        options = BoxOptions(
            database_url=url,
            kafka=self.bootstrap if bus == "kafka" else None,
            config=config,
            fixed_ports=False,
            log_level="warning",
        )
        box = await self.stack.enter_async_context(Box(options))
        engine = engine_for(url, pool_size=1)
        self.stack.push_async_callback(engine.dispose)
        await apply_directory(engine, SHOP, now=datetime.now(UTC))
        where = {"url": f"{box.urls['dispatcher']}/v1/receipts/solapi/{TOKEN}"}
        async with self.http.post(f"{gateway}/{bus}/webhook", json=where) as answer:
            answer.raise_for_status()
        connection = await self._connect(url)
        counted = "SELECT coalesce(sum(n), 0)::int FROM stats_messages WHERE state = 'delivered'"

        async def settled(messages: int) -> bool:
            return bool(await connection.fetchval(counted) >= messages)

        return System(
            url=f"{box.urls['ingest']}/v1/events",
            pids=lambda: {name: pid for name, pid in box.pids.items() if pid is not None},
            settled=settled,
            headers={"Authorization": f"Bearer {box.api_key}"},
        )

    async def peers(self, gateway: str) -> dict[str, System]:
        """Start the peers of ``path_peers``, in a database of their own."""
        url, connection = await self._database("peers")
        await connection.execute(ingest_peers.SCHEMA)
        await connection.execute(path_peers.SCHEMA)
        await path_peers.create_topics(self.bootstrap)
        env = {"PEER_DATABASE_URL": url, "PEER_KAFKA": self.bootstrap, "PEER_GATEWAY": gateway}
        systems: dict[str, System] = {}
        for name, module, table, sent in (
            ("queued", "path_peers", "queued_messages", "'sent'"),
            ("tuned", "ingest_peers", "peer_messages", "3"),
        ):
            front = await self.serve(name, f"bongsu.bench.{module}:{name}", env)
            await self._child(f"{name}-worker", [sys.executable, "-m", "bongsu.bench.path_peers", name], env)
            systems[name] = System(
                url=f"{front}/v1/events",
                pids=self._pids(name, f"{name}-worker"),
                settled=_counts(connection, f"SELECT count(*)::int FROM {table} WHERE state = {sent}"),  # noqa: S608 - ours
                batches=name == "tuned",
            )
        return systems

    async def celery(self, gateway: str, folder: Path, python: str) -> System:
        """Start FastAPI, SQLAlchemy and Celery over a Redis: programs that are no part of this repository."""
        redis = shutil.which("redis-server")
        if redis is None:
            raise Stalled("Celery needs redis-server on the path")
        url, connection = await self._database("celery")
        port = free_port()
        keep = ["--dir", str(self.directory), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        await self._child("redis", [redis, "--port", str(port), "--bind", "127.0.0.1", *keep], {})
        env = {
            "PYTHONPATH": str(folder),
            "PEER_DSN": url,
            "PEER_REDIS": f"redis://127.0.0.1:{port}/0",
            "PEER_GATEWAY": gateway,
            "PEER_POOL": "threads",
            "PEER_DB_POOL": "20",
        }
        await self._child(
            "celery-schema", [python, "-c", "import peer_model; print(peer_model.SCHEMA)"], env, once=True
        )
        await connection.execute((self.directory / "celery-schema.log").read_text())
        front = await self.serve("celery", "peer_celery:app", env, python=python)
        queue = ["-A", "peer_celery:queue", "worker", "-P", "threads", "-c", "100", "-l", "warning"]
        plain = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        await self._child("celery-worker", [python, "-m", "celery", *queue, *plain], env)
        return System(
            url=f"{front}/events",
            pids=self._pids("celery", "celery-worker", "redis"),
            settled=_counts(connection, "SELECT count(*)::int FROM message WHERE status = 'sent'"),
            batches=False,
            written=_as_celery_wants,
            share=0.1,
        )

    async def serve(
        self, name: str, app: str, env: Mapping[str, str], *, options: Sequence[str] = (), python: str = sys.executable
    ) -> str:
        """Start ``app`` on uvicorn; return its URL once it answers."""
        port = free_port()
        fast = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error", *options]
        await self._child(name, [python, "-m", "uvicorn", app, "--port", str(port), *fast], env)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                async with self.http.get(f"{url}/stats"):
                    return url
            except aiohttp.ClientError:
                if time.monotonic() > deadline:
                    raise Stalled(f"{name} did not come up") from None
                await asyncio.sleep(0.1)

    async def _child(self, name: str, command: Sequence[str], env: Mapping[str, str], *, once: bool = False) -> None:
        child = Child(name, command, env, self.directory / f"{name}.log")
        if not once:
            await self.family.add(child)
            return
        with child.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **env}, stdout=log)
            await process.wait()

    def _pids(self, *names: str) -> Callable[[], Pids]:
        children = self.family.children
        return lambda: {name: pid for name in names if (pid := children[name].pid) is not None}

    async def _database(self, name: str) -> tuple[str, asyncpg.Connection]:
        connection = await asyncpg.connect(self.admin)
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()
        url = make_url(self.admin).set(database=name).render_as_string(hide_password=False)
        return url, await self._connect(url)

    async def _connect(self, url: str) -> asyncpg.Connection:
        connection = await asyncpg.connect(url)
        self.stack.push_async_callback(connection.close)
        return connection


def _counts(connection: asyncpg.Connection, query: str) -> Callable[[int], Awaitable[bool]]:
    async def settled(messages: int) -> bool:
        return bool(await connection.fetchval(query) >= messages)

    return settled


def _config(gateway: str) -> dict[str, Any]:
    return {
        "dealers": {
            "solapi": {
                "kind": "solapi",
                "base_url": gateway,
                "credentials": {"api_key": "bench", "api_secret": "bench"},
                "limits": {"messages_per_second": LIMIT, "batch": 1000},
                "prices": {"alimtalk": 13, "sms": 18, "lms": 45},
                "templates": "trusted",
                "receipts": {"token": TOKEN},
            }
        },
        "profiles": {
            "shop": {
                "name": "봉수상점",
                "routes": [{"dealer": "solapi", "sender_key": "KA01PF-bongsu-shop", "from": "0212345678"}],
                "text": {"dealer": "solapi", "from": "0212345678"},
            }
        },
    }


def _as_celery_wants(event: Event) -> Event:
    return {
        "event_id": str(uuid4()),
        "type": event["type"],
        "tenant": "shop",
        "phone": event["data"]["recipient"]["phone"].replace("-", ""),
        "template_code": "ORDER_PAID_V3",
        "variables": {"name": event["data"]["recipient"]["name"], "order_no": event["id"], "amount": "12000"},
        "occurred_at": datetime.now(UTC).isoformat(),
    }
