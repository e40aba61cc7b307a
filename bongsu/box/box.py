"""Wires Postgres, bus, sandbox and the four services together as processes, and waits until they are ready."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import yaml

from bongsu.apply import SHOP, apply_directory
from bongsu.box.dealers import config_for
from bongsu.box.postgres import EmbeddedPostgres
from bongsu.box.processes import Child, Family
from bongsu.kafka import KafkaServer
from bongsu.sandbox.__main__ import find_profile
from bongsu.sandbox.admin import merged
from shared.clock import FastClock, clock_from
from shared.contracts.states import Lane
from shared.crypto import new_keys
from shared.db.engine import engine_for
from shared.db.migrate import migrate
from shared.errors import BongsuError
from shared.http.auth import ensure_key

SERVICES = ("ingest", "dispatcher", "fallback", "metrics")
CODES = "codes"
"""a dispatcher that sends nothing else"""
PORTS = {"ingest": 8000, "dispatcher": 8001, "fallback": 8002, "metrics": 8003, CODES: 8004, "sandbox": 8009}
READY_WITHIN = timedelta(seconds=60)


class BoxFailed(BongsuError):
    """The system did not come up; the text says what to look at."""


@dataclass(frozen=True, kw_only=True)
class BoxOptions:
    """What ``bongsu up`` can be told."""

    data: Path | None = None
    """kept between runs; None for a temporary directory that is removed"""
    database_url: str | None = None
    """None for an embedded Postgres"""
    kafka: str | None = None
    """bootstrap servers; ``local`` starts a Kafka of our own; None for the embedded bus"""
    config: Path | None = None
    """None for the sandbox, which plays ``dealers``"""
    dealers: tuple[str, ...] = ("solapi",)
    """kinds, in the order of the routes"""
    shares: Mapping[str, int] = field(default_factory=dict)
    """of the messages, by dealer; none for all through the first, the others standing by"""
    profiles: Mapping[str, str | None] = field(default_factory=lambda: {"shop": None})
    """by name, who carries their texts; None for the first dealer that has any"""
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """what is different at a dealer from the faults of ``sandbox_profile``: a patch (RFC 7396)"""
    fixed_ports: bool = True
    """the ports of the design; False for free ones"""
    clock: str = ""
    sandbox_profile: str = "calm"
    """a name of a shipped fault profile, or a path"""
    messages_per_second: int = 500
    """the limit of each dealer"""
    quiet_hours: str | None = "21:00-08:00"
    log_level: str = "info"
    codes_apart: bool = False
    """a dispatcher of their own for codes"""
    env: dict[str, str] = field(default_factory=dict)
    """settings for all services"""


@dataclass
class Box:
    """A running system. Use as an async context manager."""

    options: BoxOptions
    directory: Path = field(init=False)
    postgres: EmbeddedPostgres | None = None
    kafka: KafkaServer | None = None
    family: Family = field(default_factory=Family)
    urls: dict[str, str] = field(default_factory=dict)
    api_key: str = ""
    database_url: str = ""
    bootstrap: str = ""
    keys: str = ""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def pids(self) -> dict[str, int | None]:
        """Process ids by name; None between two lives."""
        pids: dict[str, int | None] = {name: child.pid for name, child in self.family.children.items()}
        if self.postgres is not None:
            pids["postgres"] = self.postgres.pid
        if self.kafka is not None:
            pids["kafka"] = self.kafka.pid
        return pids

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        if self.options.data is None:
            self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bongsu-")))
        else:
            self.directory = self.options.data.expanduser().resolve()
            self.directory.mkdir(parents=True, exist_ok=True)
        self._choose_ports()
        self._stack.push_async_callback(self.family.stop)  # should the rest not start
        await asyncio.gather(self._start_postgres(), self._start_kafka(), self._start_sandbox())
        self._stack.push_async_callback(self.family.stop)  # before Postgres goes
        await self._prepare_database()
        env = await self._environment()
        for name, told in self._services().items():
            port = str(urlsplit(self.urls[name]).port)
            service = "dispatcher" if name == CODES else name
            await self._child(name, [f"services.{service}"], {**env, **told, "BONGSU_PORT": port})
        await self._until_ready()

    def _services(self) -> dict[str, dict[str, str]]:
        """Return the processes of services, and what each alone is told."""
        services: dict[str, dict[str, str]] = {name: {} for name in SERVICES}
        if self.options.codes_apart:
            services["dispatcher"] = {"BONGSU_DISPATCH_LANES": f"{Lane.NORMAL},{Lane.MASS}"}
            services[CODES] = {"BONGSU_DISPATCH_LANES": Lane.AUTH}
        return services

    def _choose_ports(self) -> None:
        for name, port in PORTS.items():
            if name == CODES and not self.options.codes_apart:
                continue
            if name == "sandbox" and self.options.config is not None:
                continue
            if self.options.fixed_ports:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        raise BoxFailed(
                            f"port {port} ({name}) is taken: stop what listens there, or is bongsu up already?"
                        )
            chosen = port if self.options.fixed_ports else free_port()
            self.urls[name] = f"http://127.0.0.1:{chosen}"

    async def _start_postgres(self) -> None:
        if self.options.database_url is not None:
            self.database_url = self.options.database_url
            return
        self.postgres = EmbeddedPostgres(self.directory / "postgres")
        self.database_url = await self.postgres.start()
        self._stack.push_async_callback(self.postgres.stop)

    async def _start_kafka(self) -> None:
        if self.options.kafka is None:
            return
        if self.options.kafka == "local":
            self.kafka = KafkaServer(self.directory / "kafka")
            await asyncio.to_thread(self.kafka.up)
            self._stack.push_async_callback(asyncio.to_thread, self.kafka.down)
            self.bootstrap = self.kafka.bootstrap_servers
        else:
            self.bootstrap = self.options.kafka
        from shared.bus.kafka import create_topics  # noqa: PLC0415 - it takes a while to import

        await create_topics(self.bootstrap)

    async def _prepare_database(self) -> None:
        clock = clock_from(self.options.clock)
        engine = engine_for(self.database_url, pool_size=2)
        try:
            await migrate(engine, now=clock.now())
            if self.options.config is None:
                await apply_directory(engine, SHOP, now=clock.now())
            self.api_key = self._kept("api-key", lambda: "bk_" + secrets.token_urlsafe(24))
            async with engine.begin() as connection:
                await ensure_key(connection, "box", self.api_key, now=clock.now())
        finally:
            await engine.dispose()

    async def set_clock(self, clock: FastClock) -> None:
        """Let everything go on by another clock: the services stop, the sandbox is told, the services start anew."""
        for name in reversed(self._services()):
            await self.family.children[name].stop()
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.urls['sandbox']}/_sandbox/clock", json={"clock": str(clock)}) as answer,
        ):
            answer.raise_for_status()
        for name in self._services():
            child = self.family.children[name]
            child.env = {**child.env, "BONGSU_CLOCK": str(clock)}
            await child.start()
        await self._until_ready()

    async def _environment(self) -> dict[str, str]:
        self.keys = self._kept("encryption-keys", lambda: new_keys("box"))
        config = self.options.config
        if config is None:
            config = self.directory / "config.yaml"
            made = await config_for(
                self.options.dealers,
                self.urls["sandbox"],
                profiles=self.options.profiles,
                shares=self.options.shares,
                messages_per_second=self.options.messages_per_second,
                quiet_hours=self.options.quiet_hours,
                receipt_token=self._receipt_token(),
            )
            config.write_text(yaml.safe_dump(made, allow_unicode=True), encoding="utf-8")
        return {
            "BONGSU_DATABASE_URL": self.database_url,
            "BONGSU_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "BONGSU_CONFIG": str(config),
            "BONGSU_ENCRYPTION_KEYS": self.keys,
            "BONGSU_CLOCK": self.options.clock,
            "BONGSU_LOG_LEVEL": self.options.log_level,
            **self.options.env,
        }

    async def _start_sandbox(self) -> None:
        if self.options.config is not None:
            return
        port = str(urlsplit(self.urls["sandbox"]).port)
        arguments = [
            "bongsu.sandbox",
            "--port",
            port,
            "--profile",
            str(self._sandbox_profile()),
            "--webhook",
            f"{self.urls['dispatcher']}/v1/receipts/{{dealer}}/{self._receipt_token()}",
        ]
        if self.options.clock:
            arguments += ["--clock", self.options.clock]
        await self._child("sandbox", arguments, {"BONGSU_LOG_LEVEL": self.options.log_level, **self.options.env})

    def _sandbox_profile(self) -> Path:
        """Write the fault profile with the limits that the services are configured for."""
        named = find_profile(self.options.sandbox_profile)
        try:
            raw = yaml.safe_load(named.read_text(encoding="utf-8"))
        except OSError as error:
            raise BoxFailed(f"no fault profile {self.options.sandbox_profile!r}: {error.strerror}") from error
        limits = {**raw.get("limits", {}), "messages_per_second": self.options.messages_per_second}
        faults = raw.get("faults", {})
        dealers = {name: {"faults": merged(faults, patch)} for name, patch in self.options.faults.items()}
        whole = merged(raw, {"limits": limits, "dealers": dealers})
        path = self.directory / "sandbox.yaml"
        path.write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
        return path

    async def _child(self, name: str, module: list[str], env: dict[str, str]) -> None:
        command = [sys.executable, "-m", *module]
        await self.family.add(Child(name, command, env, self.directory / f"{name}.log"))

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_WITHIN.total_seconds()
        before = {name: child.restarts for name, child in self.family.children.items()}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as http:
            for name, url in self.urls.items():
                while not await _is_ready(http, url):
                    restarts = self.family.children[name].restarts - before[name]
                    if loop.time() > deadline or restarts > 3:  # noqa: PLR2004 - gives up
                        raise BoxFailed(f"{name} did not become ready; the end of its log:\n{self.tail(name)}")
                    await asyncio.sleep(0.05)

    def _receipt_token(self) -> str:
        return self._kept("receipt-token", lambda: secrets.token_urlsafe(24))

    async def is_ready(self, name: str) -> bool:
        """Return whether a service, or the sandbox, says that it can work."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as http:
            return await _is_ready(http, self.urls[name])

    def tail(self, name: str, size: int = 1500) -> str:
        """Return the end of a child's log."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-size:]

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        path = self.directory / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(make(), encoding="ascii")
        return path.read_text(encoding="ascii")


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return answer.status == 200  # noqa: PLR2004 - HTTP's own
    except (aiohttp.ClientError, TimeoutError):
        return False


def free_port() -> int:
    """Return a TCP port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
