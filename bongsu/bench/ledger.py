"""``bongsu bench ledger``: whether a ledger grows slow. A small one and a large one, side by side in one run.

Both are filled, both systems run, and everything is asked of one and then of the other, in turn: events over HTTP to
their receipts, the explanation of single messages, the slot heatmap. What is idle meanwhile costs both alike.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
from sqlalchemy import text

from bongsu.bench.fill import GROWING, disk, fill_embedded
from bongsu.bench.path import LIMIT, PROFILE, WARM_UP, Meter, Stalled, percentiles, run
from bongsu.box import Box, BoxOptions
from bongsu.box.postgres import EmbeddedPostgres
from bongsu.demo.day import a_day
from shared.db.engine import engine_for
from shared.ids import first_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

EXPLAINED = 300
"""messages of any age"""
HEATMAPS = 60
_ONE = text("SELECT id FROM messages WHERE id >= :since ORDER BY id LIMIT 1")


@dataclass(frozen=True, slots=True)
class System:
    """A running system over a ledger of its own."""

    box: Box
    engine: AsyncEngine
    http: aiohttp.ClientSession
    filled: Mapping[str, Any]

    async def ask(self, service: str, path: str) -> float:
        """GET ``path`` and return how long it took, in milliseconds."""
        began = time.perf_counter()
        async with self.http.get(self.box.urls[service] + path) as answer:
            await answer.read()
            if not answer.ok:
                raise Stalled(f"{service} answered {answer.status}")
        return (time.perf_counter() - began) * 1000

    async def some_messages(self, moments: Sequence[datetime]) -> list[str]:
        """Return the ids of the first messages that were born after each moment."""
        async with self.engine.connect() as connection:
            found = [await connection.scalar(_ONE, {"since": first_id(moment)}) for moment in moments]
        return [str(each) for each in found if each is not None]


async def bench(sizes: tuple[int, int], *, weeks: int, messages: int, rounds: int, directory: Path) -> dict[str, Any]:
    """Compare ledgers of two sizes, the second of which is the larger one; return all figures."""
    now = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        systems = [await _start(stack, size, weeks, directory / f"{n}-{size}", now) for n, size in enumerate(sizes)]
        paths = await _paths(systems, messages, rounds)
        chance = random.Random(1)  # noqa: S311 - which messages are asked about, no secret
        moments = [now - timedelta(weeks=weeks) * chance.random() for _ in range(EXPLAINED)]
        ids = [await system.some_messages(moments) for system in systems]
        explained: list[list[float]] = [[], []]
        for pair in zip(*ids, strict=False):
            for n, each in enumerate(pair):
                explained[n].append(await systems[n].ask("ingest", f"/v1/messages/{each}"))
        heatmaps: list[list[float]] = [[], []]
        for _ in range(HEATMAPS):
            for n, system in enumerate(systems):
                heatmaps[n].append(await system.ask("metrics", "/v1/stats/slots"))
        lived = [await _vacuumed(system.engine) for system in systems]
    rates = [[each["messages_per_second_delivered"] for each in path] for path in paths]
    names = ("small", "large")
    return {
        "bench": "ledger",
        "at": now.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_after": os.getloadavg()[0]},
        "messages": dict(zip(names, sizes, strict=True)),
        "weeks": weeks,
        "ratios": {
            "throughput": round(statistics.median(b / a for a, b in zip(*rates, strict=True)), 3),
            "explain_p50": _ratio(explained),
            "heatmap_p50": _ratio(heatmaps),
        },
        "messages_per_second": dict(zip(names, rates, strict=True)),
        "cpu_seconds_per_1000": {
            name: [each["cpu_seconds_per_1000"]["all_but_sandbox"] for each in path]
            for name, path in zip(names, paths, strict=True)
        },
        "explain_ms": {name: percentiles(values) for name, values in zip(names, explained, strict=True)},
        "heatmap_ms": {name: percentiles(values) for name, values in zip(names, heatmaps, strict=True)},
        "disk": {
            name: {**system.filled, "gigabytes_after": after}
            for name, system, after in zip(names, systems, lived, strict=True)
        },
    }


async def _start(stack: AsyncExitStack, size: int, weeks: int, directory: Path, now: datetime) -> System:
    """Fill a ledger, unless one is kept from an earlier run, and let a system run over it."""
    kept = EmbeddedPostgres(directory / "postgres").is_made()
    filled = {} if kept else await fill_embedded(directory, size, weeks=weeks, now=now)
    options = BoxOptions(
        data=directory,
        fixed_ports=False,
        sandbox_profile=str(PROFILE),
        messages_per_second=LIMIT,
        quiet_hours=None,
        log_level="warning",
    )
    box = await stack.enter_async_context(Box(options))
    engine = engine_for(box.database_url, pool_size=1, statement_seconds=None)
    stack.push_async_callback(engine.dispose)
    http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {box.api_key}"})
    return System(box, engine, await stack.enter_async_context(http), filled)


async def _paths(systems: Sequence[System], messages: int, rounds: int) -> list[list[dict[str, Any]]]:
    """Send ``messages`` through each system in turn, ``rounds`` times; return the figures of each."""
    wanted = (messages * rounds + WARM_UP) * len(systems)
    day = a_day(datetime.now(UTC), wanted * 3, seed=int(time.time()), lasts=timedelta(days=2))
    events = iter([each.event for each in day if each.event["type"] in {"order.paid", "member.joined"}])

    def some(n: int) -> list[dict[str, Any]]:
        return [next(events) for _ in range(n)]

    for system in systems:
        await run(system.box, system.engine, some(WARM_UP), Meter({}))
    found: list[list[dict[str, Any]]] = [[] for _ in systems]
    for turn in range(rounds):
        order = list(enumerate(systems))
        for n, system in order if turn % 2 == 0 else reversed(order):
            meter = Meter({name: pid for name, pid in system.box.pids.items() if pid is not None})
            found[n].append(await run(system.box, system.engine, some(messages), meter))
    return found


async def _vacuumed(engine: AsyncEngine) -> float:
    """Return how many gigabytes the growing tables take in the end."""
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in GROWING:
            await alone.execute(text(f"VACUUM {table}"))
        sizes = await disk(alone)
    return round(sum(sum(table.values()) for table in sizes.values()) / 1e9, 3)


def _ratio(pair: Sequence[Sequence[float]]) -> float:
    small, large = (statistics.median(values) for values in pair)
    return round(large / small, 3)
