"""Runs the day: the box on a fast clock, the feed, the wait for the last receipt, the report, the verdict."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.audit import Finding, audit, read_ledger
from bongsu.box import Box, BoxOptions
from bongsu.demo.day import Occurrence, a_day
from bongsu.demo.feed import Fed, feed
from bongsu.demo.outage import DOWN, FROM, UNTIL, StopWatch, by_hour
from bongsu.demo.report import Report, print_report
from services.metrics.repository import differences
from shared.clock import SEOUL, FastClock
from shared.db.engine import engine_for

OPENS_AT = 8
"""the hour in Seoul at which the day begins"""
LASTS = timedelta(hours=16)
"""until midnight; then the night passes, so that what waited for the morning goes out"""
ENDS_AFTER = timedelta(hours=24.5)
"""half past eight the next morning"""
HEAD_START_SECONDS = 12
"""world time that starting takes: the day begins when the system is up"""
SETTLE_SECONDS = 45
QUIET = ("21:00", "08:00")
SHARES = {"nhn": 25, "solapi": 60, "popbill": 15}
"""of the AlimTalks, by dealer; texts go through the first"""

_COUNTS = text("SELECT state, final, count(*) AS n FROM messages GROUP BY 1, 2")
_LOOK_EVERY = 0.1  # seconds: stops, of which one moment is two minutes of the day
_COUNT_EVERY = 0.5
_STATES = ("scheduled", "queued", "sending", "uncertain", "sent", "delivered", "failed", "expired")
_COLOURS = {"delivered": "green", "failed": "red", "expired": "red", "uncertain": "yellow"}


@dataclass
class Progress:
    """What the live display shows."""

    clock: FastClock
    fed: Fed
    events: int
    counts: Counter[str] = field(default_factory=Counter)
    note: str = ""
    stops: StopWatch = field(init=False)

    def __post_init__(self) -> None:
        """Watch the stops by the same clock."""
        self.stops = StopWatch(self.clock)

    def __rich__(self) -> Group:
        """Draw it."""
        now = self.clock.now().astimezone(SEOUL)
        passed = (self.clock.now() - self.clock.origin).total_seconds() / ENDS_AFTER.total_seconds()
        bar = ProgressBar(total=100, completed=min(100, max(0, passed * 100)), width=40)
        table = Table.grid(padding=(0, 2))
        for state in _STATES:
            table.add_column(justify="right", style=_COLOURS.get(state, ""))
        table.add_row(*_STATES, style="dim")
        table.add_row(*(f"{self.counts[state]:,}" for state in _STATES))
        head = Text(f"{now:%a %H:%M} in Seoul   {self.fed.told:,} of {self.events:,} events told   {self.note}")
        return Group(head, bar, table)


async def run_demo(*, events: int, seed: int, speed: float, kafka: bool, data: Path | None) -> int:
    """Run the day and report; return the exit status: 1 if a promise is broken."""
    console = Console()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    bus = "Apache Kafka" if kafka else "the embedded bus"
    console.print(
        f"[bold]bongsu demo[/]: a shop's day on Postgres, {bus} and a sandbox that plays three dealers with every fault"
        f" on,\nof which {DOWN} is down from {FROM}:00 to {UNTIL}:00\n"
    )
    began = time.monotonic()
    head_start = HEAD_START_SECONDS + (12 if kafka else 0)
    today = datetime.now(SEOUL).replace(hour=OPENS_AT, minute=0, second=0, microsecond=0)
    clock = FastClock(today, time.time() + head_start, speed)
    day = a_day(today, events, seed, lasts=LASTS)
    options = BoxOptions(
        data=data,
        kafka="local" if kafka else None,
        fixed_ports=False,
        clock=str(clock),
        dealers=tuple(SHARES),
        shares=SHARES,
        sandbox_profile="mix",
        faults={DOWN: {"outages": {f"{today:%a} {FROM:02}:00-{UNTIL:02}:00".lower(): "cut_before"}}},
        messages_per_second=300,
        quiet_hours="-".join(QUIET),
        log_level="warning",
    )
    progress = Progress(clock, Fed(), len(day), note="starting")
    with Live(progress, console=console, refresh_per_second=4, transient=True) as live:
        async with Box(options) as box:
            engine = engine_for(box.database_url, pool_size=2)
            try:
                report = await _through_the_day(box, engine, day, progress)
            finally:
                await engine.dispose()
            live.stop()
            report.seconds = time.monotonic() - began
            report.restarts = sum(child.restarts for child in box.family.children.values())
    return print_report(console, report)


async def _through_the_day(box: Box, engine: AsyncEngine, day: Sequence[Occurrence], progress: Progress) -> Report:
    clock, fed = progress.clock, progress.fed
    watching = asyncio.create_task(_watch(engine, progress))
    try:
        progress.note = ""
        await feed(box.urls["ingest"], box.api_key, day, clock, fed)
        progress.note = "the night passes"
        rest = (clock.origin + ENDS_AFTER - clock.now()) / clock.stretch(timedelta(seconds=1))
        await asyncio.sleep(max(0.0, rest))
        progress.note = "the last receipts come in"
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{box.urls['sandbox']}/_sandbox/settle") as answer:
                await answer.read()
            findings = await _settle(engine, http, box, fed)
            return await _gather(engine, http, box, progress, findings)
    finally:
        watching.cancel()


async def _watch(engine: AsyncEngine, progress: Progress) -> None:
    counted = 0.0
    while True:
        async with engine.connect() as connection:
            await progress.stops.look(connection)
            if time.monotonic() > counted + _COUNT_EVERY:
                rows = (await connection.execute(_COUNTS)).all()
                counts: Counter[str] = Counter()
                for state, _, n in rows:
                    counts[state] += n
                progress.counts, counted = counts, time.monotonic()
        await asyncio.sleep(_LOOK_EVERY)


async def _settle(engine: AsyncEngine, http: aiohttp.ClientSession, box: Box, fed: Fed) -> list[Finding]:
    """Wait until ledger and truth agree, or have had time to; return what is left to say."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        truth = await truth_of(http, box.urls["sandbox"])
        async with engine.connect() as connection:
            findings = audit(await read_ledger(connection), truth, fed.accepted)
        if not findings or time.monotonic() > deadline:
            return findings
        await asyncio.sleep(0.5)


async def truth_of(http: aiohttp.ClientSession, sandbox: str) -> list[dict[str, Any]]:
    """Return every message that the sandbox really sent."""
    async with http.get(f"{sandbox}/_sandbox/truth") as answer:
        return [msgspec.json.decode(line) for line in (await answer.read()).splitlines() if line]


async def _gather(
    engine: AsyncEngine, http: aiohttp.ClientSession, box: Box, progress: Progress, findings: list[Finding]
) -> Report:
    """Collect what the report shows, over the API that a user has."""
    headers = {"Authorization": f"Bearer {box.api_key}"}

    async def get(service: str, path: str) -> dict[str, Any]:
        async with http.get(box.urls[service] + path, headers=headers) as answer:
            answer.raise_for_status()
            return dict(msgspec.json.decode(await answer.read()))

    async with http.get(f"{box.urls['sandbox']}/_sandbox/stats") as answer:
        sandbox = dict(msgspec.json.decode(await answer.read()))
    recounted = await _recounted(engine)
    if recounted:
        findings = [*findings, Finding("P9", "figures that differ from the recount", len(recounted), str(recounted[0]))]
    limit = box.options.messages_per_second
    for dealer, sent in sandbox["by_dealer"].items():
        if over := sent["windows_exceeded"]:
            findings = [*findings, Finding("P4", f"seconds with more than {limit} recipients at {dealer}", over)]
    if restless := await _in_quiet_hours(engine):
        findings = [*findings, Finding("P6", "attempts opened in quiet hours", restless)]
    async with engine.connect() as connection:
        hours = await by_hour(connection, progress.clock)
    return Report(
        fed=progress.fed,
        hours=hours,
        stopped=progress.stops.seen,
        funnel=await get("metrics", "/v1/stats/funnel"),
        reasons=await get("metrics", "/v1/stats/reasons"),
        slots=await get("metrics", "/v1/stats/slots"),
        costs=await get("metrics", "/v1/stats/costs"),
        explained=[await get("ingest", f"/v1/messages/{each}") for each in await _worth_explaining(engine)],
        sandbox=sandbox,
        limit=limit,
        findings=findings,
    )


async def _recounted(engine: AsyncEngine) -> list[object]:
    """Return where the figures differ from a recount, once the metrics service had time to count the last change."""
    found: list[object] = []
    for _ in range(20):
        async with engine.begin() as connection:
            found = list(await differences(connection))
        if not found:
            break
        await asyncio.sleep(0.25)
    return found


async def _in_quiet_hours(engine: AsyncEngine) -> int:
    query = text("""
        SELECT count(*) FROM attempts
        WHERE (opened_at AT TIME ZONE 'Asia/Seoul')::time >= CAST(:start AS text)::time
           OR (opened_at AT TIME ZONE 'Asia/Seoul')::time < CAST(:end AS text)::time
    """)
    async with engine.connect() as connection:
        return int(await connection.scalar(query, {"start": QUIET[0], "end": QUIET[1]}) or 0)


async def _worth_explaining(engine: AsyncEngine) -> list[str]:
    """Pick four: one that went round a dealer that was down, one whose answer was lost, one that a text had to carry,
    one that failed.
    """  # noqa: D205 - one sentence
    picks = (
        """SELECT message_id FROM transitions WHERE detail ->> 'why' = 'stopped' AND state = 'queued'
           AND message_id IN (SELECT id FROM messages WHERE state = 'delivered' AND channel = 'alimtalk')
           ORDER BY position LIMIT 1""",
        """SELECT message_id FROM transitions WHERE state = 'uncertain'
           AND message_id IN (SELECT id FROM messages WHERE state = 'delivered') ORDER BY position LIMIT 1""",
        """SELECT id FROM messages WHERE state = 'delivered' AND channel IN ('sms', 'lms')
           ORDER BY attempt, id LIMIT 1""",
        "SELECT id FROM messages WHERE state IN ('failed', 'expired') ORDER BY attempt DESC, id LIMIT 1",
    )
    found: list[str] = []
    async with engine.connect() as connection:
        for pick in picks:
            message = await connection.scalar(text(pick))
            if message is not None and str(message) not in found:
                found.append(str(message))
    return found
