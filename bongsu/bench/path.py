"""Sends single events through a running box until their receipts are applied; and what processes cost meanwhile."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.box import Box
from shared.errors import BongsuError

PROFILE = Path(__file__).with_name("path.yaml")
CONNECTIONS = 64
WARM_UP = 200
LIMIT = 100_000
"""messages a second: more than any of this reaches, so that the limit is not what is measured"""
PATIENCE_SECONDS = 300.0

_DELIVERED = text("SELECT count(*) FROM messages WHERE state = 'delivered' AND id >= CAST(:first AS uuid)")
_LATENCIES = text("""
    SELECT extract(epoch FROM min(t.at) FILTER (WHERE t.state = 'sent') - min(t.at))::float8 AS sent,
           extract(epoch FROM max(t.at) FILTER (WHERE t.state = 'delivered') - min(t.at))::float8 AS delivered
    FROM transitions t WHERE t.message_id >= CAST(:first AS uuid) GROUP BY t.message_id
""")


class Stalled(BongsuError):
    """Not everything was delivered in time."""


@dataclass
class Meter:
    """CPU seconds and memory of process trees, by name."""

    roots: dict[str, int]
    before: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        """Begin to count."""
        self.before = {name: _cpu(pid) for name, pid in self.roots.items()}

    def sample(self) -> None:
        """Look at memory: what is resident; of Postgres' processes, without the buffers that they share."""
        for name, pid in self.roots.items():
            used = sum(_resident(process, own=name == "postgres") for process in _tree(pid)) >> 20
            self.peak_mb[name] = max(self.peak_mb.get(name, 0), used)

    def cpu_percent(self, seconds: float) -> dict[str, float]:
        """Return the share of a core that was used in the ``seconds`` since ``start``."""
        return {name: round((_cpu(pid) - self.before[name]) / seconds * 100, 2) for name, pid in self.roots.items()}

    def cpu_per_1000(self, messages: int) -> dict[str, float]:
        """Return CPU seconds per 1,000 messages since ``start``."""
        return {name: round(seconds * 1000 / messages, 3) for name, seconds in self.spent().items()}

    def spent(self) -> dict[str, float]:
        """Return CPU seconds since ``start``."""
        return {name: _cpu(pid) - self.before[name] for name, pid in self.roots.items()}


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):  # a backend that ended: counted among its parent's children
            spent = process.cpu_times()
            total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def _resident(process: psutil.Process, *, own: bool) -> int:
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - memory.shared if own else memory.rss)


async def run(box: Box, engine: AsyncEngine, events: Sequence[dict[str, Any]], meter: Meter) -> dict[str, Any]:
    """Send ``events`` and wait until all their messages are delivered; return the figures of both."""
    bodies = [msgspec.json.encode(event) for event in events]
    meter.start()
    began = time.monotonic()
    answers, first = await _post(box, bodies)
    told = time.monotonic() - began
    while True:
        meter.sample()
        async with engine.connect() as connection:
            delivered = int(await connection.scalar(_DELIVERED, {"first": first}) or 0)
        if delivered >= len(bodies):
            break
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise Stalled(f"{delivered} of {len(bodies)} messages were delivered in {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(0.2)
    took = time.monotonic() - began
    cpu = meter.cpu_per_1000(len(bodies))
    async with engine.connect() as connection:
        rows = (await connection.execute(_LATENCIES, {"first": first})).all()
    return {
        "events_per_second_told": round(len(bodies) / told),
        "messages_per_second_delivered": round(len(bodies) / took),
        "seconds": round(took, 2),
        "http_ms": percentiles([answer * 1000 for answer in answers]),
        "event_to_dealer_ms": percentiles([row.sent * 1000 for row in rows if row.sent is not None]),
        "event_to_receipt_ms": percentiles([row.delivered * 1000 for row in rows if row.delivered is not None]),
        "cpu_seconds_per_1000": {
            **cpu,
            "all_but_sandbox": round(sum(seconds for name, seconds in cpu.items() if name != "sandbox"), 3),
        },
        "memory_mb_rss": meter.peak_mb,
    }


async def _post(box: Box, bodies: Sequence[bytes]) -> tuple[list[float], str]:
    """POST all bodies over ``CONNECTIONS``; return each answer's seconds, and the first message's id."""
    waiting = iter(bodies)
    seconds: list[float] = []
    made: list[str] = []
    headers = {"Authorization": f"Bearer {box.api_key}", "Content-Type": "application/cloudevents+json"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector) as http,
        asyncio.TaskGroup() as group,
    ):

        async def connection() -> None:
            for body in waiting:
                began = time.monotonic()
                async with http.post(f"{box.urls['ingest']}/v1/events", data=body) as answer:
                    said = msgspec.json.decode(await answer.read())
                    if answer.status != HTTPStatus.ACCEPTED:
                        raise Stalled(f"ingest answered {answer.status}: {said.get('title')}")
                seconds.append(time.monotonic() - began)
                made.extend(message["id"] for message in said["messages"])

        for _ in range(CONNECTIONS):
            group.create_task(connection())
    return seconds, min(made)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}
