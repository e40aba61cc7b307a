"""``bongsu bench memory``: what each process takes: while nothing happens, at full load, with a backlog; and to start.

A box is started as by ``bongsu up``, with a new ledger: seconds until it is ready, and until the first message was
delivered. Then the CPU of each process while nothing happens; then events as fast as they are taken; then a campaign
that is due at once, which the dealer takes as fast as it comes.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from bongsu.bench.due import Filler, apply_catalog
from bongsu.bench.path import LIMIT, PROFILE, WARM_UP, Meter, run
from bongsu.box import Box, BoxOptions
from bongsu.demo.day import a_day
from shared.clock import SEOUL, Clock, FastClock
from shared.contracts.states import Lane
from shared.crypto import Vault
from shared.db.engine import engine_for

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

FIRST = 20
"""events by which the first delivery is seen: enough for a percentile"""
SETTLE_SECONDS = 10.0
_WAITING = text("SELECT count(*) FROM messages WHERE lane = 'mass' AND state IN ('scheduled', 'queued')")


async def bench(messages: int, *, events: int, seconds: float) -> dict[str, Any]:
    """Measure with a backlog of ``messages``, each phase for about ``seconds``; return all figures."""
    # An afternoon, in which advertising may go.
    clock = FastClock(datetime.now(SEOUL).replace(hour=12), time.time(), 1.0)
    options = BoxOptions(
        clock=str(clock),
        fixed_ports=False,
        sandbox_profile=str(PROFILE),
        messages_per_second=LIMIT,
        quiet_hours=None,
        log_level="warning",
    )
    day = a_day(datetime.now(UTC), (events + WARM_UP) * 3, seed=int(time.time()), lasts=timedelta(days=2))
    told = [each.event for each in day if each.event["type"] in {"order.paid", "member.joined"}]
    command = await _command_line()
    began = time.monotonic()
    async with Box(options) as box:
        ready = time.monotonic() - began
        engine = engine_for(box.database_url, pool_size=2)
        try:
            await run(box, engine, told[:FIRST], Meter({}))
            first = time.monotonic() - began
            await run(box, engine, told[FIRST:WARM_UP], Meter({}))
            phases = await _phases(box, engine, clock, told[WARM_UP : WARM_UP + events], messages, seconds)
        finally:
            await engine.dispose()
    return {
        "bench": "memory",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_after": os.getloadavg()[0]},
        "start": {
            "command_line_seconds": round(command, 1),
            "ready_seconds": round(ready, 1),
            "first_delivery_seconds": round(first, 1),
        },
        **phases,
    }


async def _command_line() -> float:
    """Return how long it takes until `bongsu` itself has begun."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bongsu", "up", "--help", stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    return time.monotonic() - began


async def _phases(
    box: Box, engine: AsyncEngine, clock: Clock, events: list[dict[str, Any]], messages: int, seconds: float
) -> dict[str, Any]:
    roots = {name: pid for name, pid in box.pids.items() if pid is not None}
    await asyncio.sleep(SETTLE_SECONDS)
    idle = Meter(roots)
    idle.start()
    await _sample(idle, seconds)
    used = idle.cpu_percent(seconds)

    load = Meter(roots)
    path = await run(box, engine, events, load)

    await apply_catalog(engine, clock)
    fill = Filler(engine, Vault.from_text(box.keys), clock, "solapi")
    backlog = Meter(roots)
    backlog.start()
    await fill([clock.now()] * messages, Lane.MASS)
    await _sample(backlog, seconds)
    async with engine.connect() as connection:
        waiting = int(await connection.scalar(_WAITING) or 0)
    return {
        "idle": {"cpu_percent": used, "memory_mb_rss": idle.peak_mb},
        "load": {
            "messages_per_second_delivered": path["messages_per_second_delivered"],
            "memory_mb_rss": path["memory_mb_rss"],
        },
        "backlog": {"messages": messages, "left": waiting, "memory_mb_rss": backlog.peak_mb},
    }


async def _sample(meter: Meter, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        meter.sample()
        await asyncio.sleep(1)
