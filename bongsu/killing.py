"""Kills what it runs: SIGKILL at random moments while messages go through, then holds ledger and truth together."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp

from bongsu.audit import Finding, audit, read_ledger
from bongsu.box import Box, BoxOptions
from bongsu.demo.day import Occurrence, a_day
from bongsu.demo.feed import Fed, feed
from bongsu.demo.run import truth_of
from services.metrics.repository import differences
from shared.clock import SEOUL, FastClock
from shared.db.engine import engine_for

SPEED = 60.0
"""Rule time to world time: a receipt that is half an hour late comes after 30 seconds, and polling begins after 10."""

SERVICES = ("ingest", "dispatcher", "dispatcher", "fallback", "metrics")
"""who is killed, the dispatcher twice as often"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do to the system."""

    messages: int
    kills: int
    seed: int
    kafka: bool = False
    pause_seconds: tuple[float, float] = (0.2, 2.0)
    settle_seconds: float = 240.0
    sandbox_profile: str = "rough"
    messages_per_second: int = 300
    data: Path | None = None


@dataclass
class Outcome:
    """What came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    states: Counter[str] = field(default_factory=Counter)
    dispatched: int = 0
    findings: list[Finding] = field(default_factory=list)
    uncertain: int = 0
    seconds: float = 0.0


async def run(plan: Plan) -> Outcome:
    """Carry ``plan`` out on a system of its own."""
    began = time.monotonic()
    chance = random.Random(plan.seed)  # noqa: S311 - the same kills for the same seed
    morning = datetime.now(SEOUL).replace(hour=10, minute=0, second=0, microsecond=0)
    clock = FastClock(morning, time.time(), SPEED)
    options = BoxOptions(
        data=plan.data,
        kafka="local" if plan.kafka else None,
        fixed_ports=False,
        clock=str(clock),
        sandbox_profile=plan.sandbox_profile,
        messages_per_second=plan.messages_per_second,
        quiet_hours=None,
        log_level="warning",
    )
    outcome, fed = Outcome(), Fed()
    async with Box(options) as box:
        pause = sum(plan.pause_seconds) / 2
        day = _spread(plan, clock, span_seconds=max(15.0, plan.kills * pause))
        async with asyncio.TaskGroup() as group:
            group.create_task(feed(box.urls["ingest"], box.api_key, day, clock, fed))
            group.create_task(_kill(box, plan, chance, outcome))
        await _settle(box, plan, fed, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _spread(plan: Plan, clock: FastClock, *, span_seconds: float) -> list[Occurrence]:
    """Return the events, evenly over ``span_seconds`` of world time from now."""
    events = [each.event for each in a_day(clock.now(), plan.messages, plan.seed)]
    step = timedelta(seconds=span_seconds * SPEED / len(events))
    return [Occurrence(clock.now() + step * n, event) for n, event in enumerate(events)]


async def _kill(box: Box, plan: Plan, chance: random.Random, outcome: Outcome) -> None:
    """Kill until it was done often enough; services are started again by their supervisor, servers here."""
    servers = ("postgres", "kafka") if plan.kafka else ("postgres",)
    for n in range(plan.kills):
        await asyncio.sleep(chance.uniform(*plan.pause_seconds))
        # Each server every so often: what restarts in seconds must not be all that is ever seen.
        victim = servers[n // 6 % len(servers)] if n % 6 == 5 else chance.choice(SERVICES)  # noqa: PLR2004
        outcome.kills[victim] += 1
        if victim == "postgres" and box.postgres is not None:
            await box.postgres.kill()
            await asyncio.sleep(chance.uniform(0, 0.5))
            await box.postgres.restart()
        elif victim == "kafka" and box.kafka is not None:
            await asyncio.to_thread(box.kafka.kill9)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(box.kafka.up)
        else:
            while box.family.children[victim].pid is None:  # noqa: ASYNC110 - it is between two lives
                await asyncio.sleep(0.05)
            box.family.children[victim].kill()


async def _settle(box: Box, plan: Plan, fed: Fed, outcome: Outcome) -> None:
    """Wait until nothing is left to find, or the time for it is over."""
    engine = engine_for(box.database_url, pool_size=1)
    deadline = time.monotonic() + plan.settle_seconds
    try:
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{box.urls['sandbox']}/_sandbox/settle") as answer:
                await answer.read()
            while True:
                truth = await truth_of(http, box.urls["sandbox"])
                async with engine.begin() as connection:
                    ledger = await read_ledger(connection)
                async with engine.begin() as connection:
                    wrong = list(await differences(connection))
                outcome.findings = audit(ledger, truth, fed.accepted)
                if wrong:
                    outcome.findings.append(Finding("P9", "figures that differ", len(wrong), str(wrong[0])))
                if fed.refused:
                    outcome.findings.append(Finding("P11", "refused", len(fed.refused), fed.refused[0]))
                if not outcome.findings or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.5)
        outcome.messages = len(ledger.messages)
        outcome.states = Counter(state for state, _ in ledger.messages.values())
        outcome.dispatched = len(truth)
    finally:
        await engine.dispose()
