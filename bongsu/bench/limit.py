"""``bongsu bench limit``: does the limit hold, how much of it is used, what does it cost. The sandbox is the judge.

Three workers with a backlog send through the real adapter against the sandbox (20 ms a request), the first of them
also a code every 100 ms; a fourth is killed and a fifth joins half-way. The sandbox counts every sliding second by its
own clock when messages leave. Workers keep no ledger, so that the limit is what is measured. What the limiter costs is
measured apart: the same workers ask and wait, and call nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import uvloop

from bongsu.bench.path import Meter
from bongsu.box.postgres import EmbeddedPostgres
from bongsu.sandbox import DEFAULT_API_KEY, DEFAULT_API_SECRET, DEFAULT_SENDER
from shared.config import Config
from shared.contracts.states import Channel, Lane
from shared.db.engine import engine_for
from shared.db.migrate import migrate
from shared.dealers.base import Accepted, Dealer, Outgoing, Text
from shared.dealers.registry import build_dealers
from shared.errors import BongsuError
from shared.ids import MessageId
from shared.sending.limits import Limits
from shared.service import spare_collections

WORKERS = 3
SENDERS = 5
"""calls that a worker has under way at once"""
LATENCY_SECONDS = 0.02
WARM_UP_SECONDS = 6.0
DEALER = "solapi"


class WorkerFailed(BongsuError):
    """A worker ended before it should."""


# -- a worker ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is told, as JSON."""

    number: int
    database_url: str
    sandbox_url: str
    limit: int
    calls: bool
    codes: bool

    def config(self) -> Config:
        """Return the configuration of a service that uses the sandbox."""
        account = {
            "kind": "solapi",
            "base_url": f"{self.sandbox_url}/solapi",
            "credentials": {"api_key": DEFAULT_API_KEY, "api_secret": DEFAULT_API_SECRET},
            "limits": {"messages_per_second": self.limit, "batch": 10_000},
        }
        routes = [{"dealer": DEALER, "sender_key": "pf"}]
        return Config.model_validate({"dealers": {DEALER: account}, "profiles": {"p": {"name": "p", "routes": routes}}})


async def work(told: Work) -> None:
    """Say that it begins, send until stdin closes, then print what codes waited."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    config = told.config()
    engine = engine_for(told.database_url)
    limits = Limits(engine, {DEALER: config.dealers[DEALER].limits})
    dealer = build_dealers(config)[DEALER]
    numbers, waits = itertools.count(told.number * 10_000_000), list[float]()
    wants = max(1, told.limit // 5)
    tasks = [asyncio.create_task(_send(limits, dealer, Lane.MASS, wants, numbers, told)) for _ in range(SENDERS)]
    if told.codes:
        tasks.append(asyncio.create_task(_codes(limits, dealer, numbers, told, waits)))
    closed = asyncio.create_task(_stdin_closes())
    await asyncio.wait([closed, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await limits.close()
    await dealer.close()
    await engine.dispose()
    sys.stdout.write(json.dumps(waits) + "\n")


async def _send(limits: Limits, dealer: Dealer, lane: Lane, wanted: int, numbers: Iterator[int], told: Work) -> None:
    while True:
        await _call(limits, dealer, lane, wanted, numbers, told)


async def _codes(limits: Limits, dealer: Dealer, numbers: Iterator[int], told: Work, waits: list[float]) -> None:
    while True:
        await asyncio.sleep(0.1)
        began = time.monotonic()
        waits.append(await _call(limits, dealer, Lane.AUTH, 1, numbers, told) - began)


async def _call(limits: Limits, dealer: Dealer, lane: Lane, wanted: int, numbers: Iterator[int], told: Work) -> float:
    """Make one call; return when it was granted (monotonic)."""
    async with limits.take(DEALER, wanted, lane) as taken:
        if not told.calls:
            async with taken.calling():
                await asyncio.sleep(2 * LATENCY_SECONDS)
            taken.answered = True
            return taken.opens
        batch = [_message(next(numbers)) for _ in range(taken.n)]
        handle = await dealer.open()
        if not isinstance(handle, str):
            taken.used = 0
            return taken.opens
        async with taken.calling(prepares=dealer.capabilities.prepares):
            results = await dealer.send(handle, batch)
        taken.answered = any(isinstance(result, Accepted) for result in results)
    return taken.opens


def _message(number: int) -> Outgoing:
    key = MessageId(UUID(int=number))
    return Outgoing(key, 1, f"{key}:1", Channel.SMS, f"010{number:08d}", Text(DEFAULT_SENDER, "code 1234"))


async def _stdin_closes() -> None:
    await asyncio.to_thread(sys.stdin.read)


# -- the bench ---------------------------------------------------------------------------------------------------------


async def bench(rates: Sequence[int], seconds: float) -> dict[str, Any]:
    """Measure each of ``rates`` (messages a second) for ``seconds``; return all figures."""
    directory = Path(tempfile.mkdtemp(prefix="bongsu-bench-"))
    postgres = EmbeddedPostgres(directory / "pg")
    url = await postgres.start()
    try:
        engine = engine_for(url, pool_size=1)
        await migrate(engine, now=datetime.now(UTC))
        await engine.dispose()
        found = {str(rate): await _bench_rate(rate, seconds, url, postgres.pid, directory) for rate in rates}
    finally:
        await postgres.kill()
        shutil.rmtree(directory, ignore_errors=True)
    return {
        "bench": "limit",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]},
        "seconds": seconds,
        "workers": f"{WORKERS}, one that is killed and one that joins half-way",
        "ledger": False,
        "rates": found,
    }


async def _bench_rate(rate: int, seconds: float, url: str, postgres_pid: int, directory: Path) -> dict[str, Any]:
    async with _sandbox(directory, rate) as sandbox, aiohttp.ClientSession() as http:

        async def stats() -> dict[str, Any]:
            async with http.get(f"{sandbox}/_sandbox/stats") as answer:
                found: dict[str, Any] = await answer.json()
                return {**found, "read_at": time.monotonic()}

        await _forget(url)
        told = [Work(n, url, sandbox, rate, calls=True, codes=n == 0) for n in range(WORKERS + 1)]
        workers = await asyncio.gather(*map(_start, told))
        await asyncio.sleep(WARM_UP_SECONDS)
        before = await stats()
        await asyncio.sleep(seconds / 2)
        dead = workers.pop()
        dead.send_signal(signal.SIGKILL)
        await dead.wait()
        at_death = await stats()
        workers.append(await _start(Work(WORKERS + 1, url, sandbox, rate, calls=True, codes=False)))
        await asyncio.sleep(seconds / 2)
        after = await stats()
        waits, *_ = [await _stop(worker) for worker in workers]
    return {
        "windows_exceeded": after["windows_exceeded"],
        "most_in_a_second": after["max_in_a_second"],
        "use": _use(before, after, rate),
        "use_before_the_kill": _use(before, at_death, rate),
        "code_waits_ms": _summary(waits),
        "alone": await _alone(rate, min(seconds, 10.0), url, postgres_pid),
    }


async def _alone(rate: int, seconds: float, url: str, postgres_pid: int) -> dict[str, Any]:
    """Measure the limiter without calls: CPU of the workers and of Postgres, as a share of one core."""
    await _forget(url)
    told = [Work(n, url, "http://127.0.0.1:1", rate, calls=False, codes=False) for n in range(WORKERS)]
    workers = await asyncio.gather(*map(_start, told))
    await asyncio.sleep(WARM_UP_SECONDS)
    meter = Meter({"postgres": postgres_pid, **{f"worker{n}": worker.pid for n, worker in enumerate(workers)}})
    writes = await _writes(url)
    meter.start()
    began = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    spent = meter.cpu_per_1000(1000)
    writes = await _writes(url) - writes
    for worker in workers:
        await _stop(worker)
    return {
        "writes_per_second": round(writes / took, 1),
        "core_share": round(sum(spent.values()) / took, 4),
        "core_share_postgres": round(spent["postgres"] / took, 4),
    }


def _use(before: dict[str, Any], after: dict[str, Any], rate: int) -> float:
    sent = after["dispatched"] - before["dispatched"]
    return round(float(sent / (after["read_at"] - before["read_at"]) / rate), 4)


def _summary(waits: Sequence[float]) -> dict[str, float]:
    if len(waits) < 2:  # noqa: PLR2004 - quantiles want two
        return {}
    cuts = statistics.quantiles([max(0.0, wait) * 1000 for wait in waits], n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "most": round(max(waits) * 1000, 1)}


async def _forget(url: str) -> None:
    engine = engine_for(url, pool_size=1)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM dealer_limits")
    await engine.dispose()


async def _writes(url: str) -> int:
    engine = engine_for(url, pool_size=1)
    async with engine.connect() as connection:
        found = await connection.exec_driver_sql("SELECT coalesce(sum(version), 0)::bigint FROM dealer_limits")
        writes = int(found.scalar_one())
    await engine.dispose()
    return writes


@asynccontextmanager
async def _sandbox(directory: Path, rate: int) -> AsyncIterator[str]:
    """Run a sandbox that counts and refuses nothing; give its address."""
    profile = directory / "judge.json"
    limits = {"messages_per_second": rate, "sends_per_window": 0, "lookups_per_window": 0, "enforced": False}
    calls = {"default": {"latency": LATENCY_SECONDS}}
    told = {"accept_any_template": True, "keep_texts": False, "limits": limits, "faults": {"calls": calls}}
    profile.write_text(json.dumps(told))
    command = [sys.executable, "-m", "bongsu.sandbox", "--port", "0", "--profile", str(profile)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        ready = await process.stdout.readline()
        if not ready:
            raise WorkerFailed("the sandbox did not start")
        yield json.loads(ready)["sandbox"]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _start(told: Work) -> asyncio.subprocess.Process:
    """Start a worker; return when it begins."""
    values = json.dumps({name: getattr(told, name) for name in Work.__slots__})
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bongsu.bench.limit",
        values,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None  # noqa: S101 - a pipe was asked for
    await worker.stdout.readline()
    return worker


async def _stop(worker: asyncio.subprocess.Process) -> list[float]:
    """Let a worker end; return what codes waited at it."""
    said, _ = await worker.communicate(b"")
    if worker.returncode != 0:
        raise WorkerFailed(f"a worker ended with {worker.returncode}")
    waits: list[float] = json.loads(said)
    return waits


if __name__ == "__main__":
    spare_collections()
    uvloop.run(work(Work(**json.loads(sys.argv[1]))))
