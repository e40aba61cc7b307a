"""One way to run a service: an HTTP server and the loops beside it, which live and die together."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from sqlalchemy import text

from shared.bell import Bell
from shared.errors import BongsuError
from shared.http import problems

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine
    from starlette.types import ASGIApp

    from shared.settings import ServiceSettings


@dataclass
class Health:
    """What ``/healthz`` and ``/readyz`` tell. A loop turns its wheel; a check says whether work can be claimed."""

    checks: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    turned: dict[str, float] = field(default_factory=dict)
    stale_after_seconds: float = 30.0

    def turn(self, loop: str) -> None:
        """Note that ``loop`` has just gone round."""
        self.turned[loop] = asyncio.get_running_loop().time()

    def stuck(self) -> list[str]:
        """Return the loops that have not turned lately."""
        now = asyncio.get_running_loop().time()
        return [name for name, at in self.turned.items() if now - at > self.stale_after_seconds]

    async def failing(self) -> dict[str, str]:
        """Return the checks that fail now, with the kind of error."""
        failed: dict[str, str] = {}
        for name, check in self.checks.items():
            try:
                async with asyncio.timeout(2):
                    await check()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                failed[name] = type(error).__name__
        return failed

    def watch(self, engine: AsyncEngine, kafka_bootstrap_servers: str) -> None:
        """Let readiness depend on Postgres and, if there is one, on Kafka."""

        async def postgres() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

        async def kafka() -> None:
            await reach(kafka_bootstrap_servers)

        self.checks["postgres"] = postgres
        if kafka_bootstrap_servers:
            self.checks["kafka"] = kafka


async def reach(servers: str) -> None:
    """Return once any of ``servers`` (``HOST:PORT,…``) takes a connection. Raises ``OSError`` when none does."""
    refused: OSError = ConnectionRefusedError("no servers are named")
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError as error:
            refused = error
        else:
            writer.close()
            return
    raise refused


def make_app(title: str, health: Health, **options: Any) -> FastAPI:  # noqa: ANN401 - FastAPI's own
    """Return an application with problems for errors, ``/healthz``, ``/readyz`` and ``/metrics``."""
    app = FastAPI(title=title, **options)
    problems.install(app)

    @app.get("/healthz", tags=["operations"], summary="Whether the loops turn")
    async def healthz() -> Response:
        stuck = health.stuck()
        return _json({"ok": not stuck, "stuck": stuck}, 503 if stuck else 200)

    @app.get("/readyz", tags=["operations"], summary="Whether work can be claimed")
    async def readyz() -> Response:
        failing = await health.failing()
        return _json({"ready": not failing, "failing": failing}, 503 if failing else 200)

    @app.get("/metrics", tags=["operations"], summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return app


def _json(body: Mapping[str, object], status: int) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Leave signals to ``run``."""


async def run(
    app: ASGIApp,
    settings: ServiceSettings,
    *,
    stopping: asyncio.Event,
    loops: Sequence[Coroutine[Any, Any, None]],
) -> None:
    """Serve ``app`` and run ``loops`` until SIGTERM or SIGINT sets ``stopping``, or one of them ends or fails.

    A loop that fails takes the process down with its error: it is restarted by whoever runs it, and reads again
    what it had not committed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # else anybody on this machine could say where a call came from
            timeout_graceful_shutdown=5,
            timeout_keep_alive=30,
            lifespan="off",
        )
    )

    async def serve() -> None:
        serving = asyncio.create_task(server._serve())  # noqa: SLF001 - serve() would take the signals over
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        stop.cancel()
        stopping.set()

    async def guarded(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            stopping.set()

    spare_collections()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve())
        for work in loops:
            group.create_task(guarded(work))


async def repeat(
    work: Callable[[], Awaitable[int]],
    *,
    every_seconds: float | Callable[[], Awaitable[float]],
    stopping: asyncio.Event,
    turn: Callable[[], None],
    bell: Bell | None = None,
    at_least_seconds: float = 0.0,
) -> None:
    """Call ``work`` until ``stopping``: at once again while it finds something, else when ``bell`` rings.

    What rings no bell here (another replica's work, what is due by the clock) is found after ``every_seconds``, which
    may be asked for each time. A bell that rings often is heard ``at_least_seconds`` after ``work`` found nothing.
    """
    bell = bell or Bell()
    while not stopping.is_set():
        turn()
        heard = bell.rings
        if not await work():
            seconds = every_seconds if isinstance(every_seconds, float) else await every_seconds()
            await unless(stopping, asyncio.sleep(at_least_seconds))
            await unless(stopping, bell.wait(heard, seconds - at_least_seconds))


async def unless(stopping: asyncio.Event, wait: Coroutine[Any, Any, None]) -> None:
    """Await ``wait``, but no longer than until ``stopping``."""
    waits = [asyncio.ensure_future(wait), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


def spare_collections() -> None:
    """Let the collector run rarely: batches allocate many containers and hardly a cycle.

    At the default threshold it took 40 % of a batching ingest's CPU (measured in the peers' ``pipe.py``).
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def main(work: Coroutine[Any, Any, None]) -> None:
    """Run a service to its end on uvloop; an error is logged with its kind and ends the process with 1."""
    import uvloop  # noqa: PLC0415 - not on every platform; only a process needs it

    try:
        uvloop.run(work)
    except Exception as failure:  # noqa: BLE001 - the top of the process
        errors = failure.exceptions if isinstance(failure, ExceptionGroup) else [failure]
        for error in errors:
            # Where it was raised, and not what it said: a message of the driver may quote a value.
            frames = traceback.extract_tb(error.__traceback__)[-6:]
            where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
            said = str(error) if isinstance(error, BongsuError) else ""  # our own quote nothing
            structlog.get_logger().error("service.died", error=type(error).__name__, said=said, where=where)
        sys.exit(1)
