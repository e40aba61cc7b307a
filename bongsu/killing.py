"""Kills what it runs: SIGKILL at random moments while messages go through, then holds ledger and truth together.

Every dealer that the sandbox speaks is in it, with every fault. Those that cannot be asked leave doubts which end by
their receipt deadlines alone, days later: so when all else has ended, the days pass by a faster clock.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.audit import Finding, audit, claims_nothing, is_blind, is_mute, read_ledger
from bongsu.box import Box, BoxOptions
from bongsu.box.dealers import capabilities_of
from bongsu.demo.day import Occurrence, a_day
from bongsu.demo.feed import Fed, feed
from bongsu.demo.run import truth_of
from services.metrics.repository import differences
from shared.clock import SEOUL, FastClock
from shared.db.engine import engine_for

SPEED = 60.0
"""Rule time to world time: a receipt that is half an hour late comes after 30 seconds, and polling begins after 10."""

DAYS_PASS = 7200.0
"""The speed at which the rest ends: the longest wait for a receipt, 80 hours, is 40 seconds."""

SERVICES = ("ingest", "dispatcher", "dispatcher", "fallback", "metrics")
"""who is killed, the dispatcher twice as often"""

AT_WORK = 0.75
"""the share of a service's kills that wait until it works; the others meet it where it is, mostly starting"""

SHARES = {"solapi": 3, "nhn": 2, "popbill": 2, "bizgo": 2, "luna": 1, "aligo": 1, "bizppurio": 1, "sens": 1}
"""of the AlimTalks, by dealer"""

CARRIERS = ("solapi", "nhn", "popbill", "bizgo", "gabia", "aligo", "bizppurio", "sens")
"""of texts: a profile each"""

SESSION_SECONDS = 2.0
"""How long a dead reader is waited for. A dispatcher dies every ten seconds, and is to work between two deaths."""

STANDSTILL_SECONDS = 8.0
"""When for so long no message has ended, those that are left wait for their deadlines."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do to the system."""

    messages: int
    kills: int
    seed: int
    kafka: bool = False
    pause_seconds: tuple[float, float] = (0.2, 2.0)
    settle_seconds: float = 400.0
    sandbox_profile: str = "mix"
    messages_per_second: int = 300
    data: Path | None = None
    say: Callable[[str], None] = lambda _: None
    """is told how far it is, every now and then"""


@dataclass
class Outcome:
    """What came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    states: Counter[str] = field(default_factory=Counter)
    dispatched: Counter[str] = field(default_factory=Counter)
    """what really left, by dealer"""
    unknown: Counter[str] = field(default_factory=Counter)
    """attempts that ended in doubt, by dealer"""
    blind: set[str] = field(default_factory=set)
    """dealers that leave doubts which nothing can resolve"""
    mute: set[str] = field(default_factory=set)
    """dealers that cannot be asked whether a reported failure stands"""
    findings: list[Finding] = field(default_factory=list)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    """what ledger and dealer say of the findings' examples"""
    seconds: float = 0.0


@dataclass
class _Run:
    """One run under way."""

    plan: Plan
    box: Box
    engine: AsyncEngine
    http: aiohttp.ClientSession
    outcome: Outcome
    fed: Fed = field(default_factory=Fed)


async def run(plan: Plan) -> Outcome:
    """Carry ``plan`` out on a system of its own."""
    began = time.monotonic()
    morning = datetime.now(SEOUL).replace(hour=10, minute=0, second=0, microsecond=0)
    clock = FastClock(morning, time.time(), SPEED)
    options = BoxOptions(
        data=plan.data,
        kafka="local" if plan.kafka else None,
        dealers=tuple(dict.fromkeys((*SHARES, *CARRIERS))),
        shares=SHARES,
        profiles={f"shop-{carrier}": carrier for carrier in CARRIERS},
        fixed_ports=False,
        clock=str(clock),
        sandbox_profile=plan.sandbox_profile,
        messages_per_second=plan.messages_per_second,
        quiet_hours=None,
        log_level="warning",
        env={"BONGSU_BUS_SESSION_SECONDS": str(SESSION_SECONDS)},
    )
    async with Box(options) as box, aiohttp.ClientSession() as http:
        engine = engine_for(box.database_url, pool_size=1)
        try:
            running = _Run(plan, box, engine, http, await _outcome(box))
            async with asyncio.TaskGroup() as group:
                group.create_task(_feed(running, clock))
                group.create_task(_kill(running))
            await _settle(running, clock)
        finally:
            await engine.dispose()
    running.outcome.seconds = time.monotonic() - began
    return running.outcome


async def _outcome(box: Box) -> Outcome:
    """Return an outcome that knows what cannot be asked of which dealer."""
    config = yaml.safe_load((box.directory / "config.yaml").read_text(encoding="utf-8"))
    dealers = await capabilities_of(config["dealers"])
    return Outcome(
        blind={name for name, can in dealers.items() if is_blind(can)},
        mute={name for name, can in dealers.items() if is_mute(can)},
    )


async def _feed(running: _Run, clock: FastClock) -> None:
    """Tell of events, evenly over the time that the kills take."""
    plan = running.plan
    span = max(15.0, plan.kills * sum(plan.pause_seconds) / 2)
    events = [each.event for each in a_day(clock.now(), plan.messages, plan.seed)]
    step = timedelta(seconds=span * SPEED / len(events))
    begins = clock.now()
    for n, event in enumerate(events):
        event["profile"] = f"shop-{CARRIERS[n % len(CARRIERS)]}"
        # Each to another number, by which the messages of dealers are known whose wire carries no key of ours.
        recipient = {**event["data"]["recipient"], "phone": f"010{20_000_000 + n}"}
        event["data"] = {**event["data"], "recipient": recipient}
    day = [Occurrence(begins + step * n, event) for n, event in enumerate(events)]
    await feed(running.box.urls["ingest"], running.box.api_key, day, clock, running.fed)


async def _kill(running: _Run) -> None:
    """Kill until it was done often enough; services are started again by their supervisor, servers here."""
    plan, box = running.plan, running.box
    chance = random.Random(plan.seed)  # noqa: S311 - the same kills for the same seed
    servers = ("postgres", "kafka") if plan.kafka else ("postgres",)
    began = time.monotonic()
    for n in range(plan.kills):
        await asyncio.sleep(chance.uniform(*plan.pause_seconds))
        # Each server every so often: what restarts in seconds must not be all that is ever seen.
        victim = servers[n // 6 % len(servers)] if n % 6 == 5 else chance.choice(SERVICES)  # noqa: PLR2004
        running.outcome.kills[victim] += 1
        if victim == "postgres" and box.postgres is not None:
            await box.postgres.kill()
            await asyncio.sleep(chance.uniform(0, 0.5))
            await box.postgres.restart()
        elif victim == "kafka" and box.kafka is not None:
            await asyncio.to_thread(box.kafka.kill9)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(box.kafka.up)
        else:
            if chance.random() < AT_WORK:
                await _until_it_works(box, victim)
            while box.family.children[victim].pid is None:  # noqa: ASYNC110 - it is between two lives
                await asyncio.sleep(0.05)
            box.family.children[victim].kill()
        if (n + 1) % 25 == 0 or n + 1 == plan.kills:
            took = time.monotonic() - began
            plan.say(f"{n + 1} of {plan.kills} kills in {took:.0f} s, {running.fed.told} events told")


async def _until_it_works(box: Box, service: str) -> None:
    """Wait until a service is ready, within reason: a slow machine would see nothing but starts."""
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not await box.is_ready(service):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.1)


async def _settle(running: _Run, clock: FastClock) -> None:
    """Wait until nothing is left to find, or the time for it is over."""
    box, outcome = running.box, running.outcome
    deadline = time.monotonic() + running.plan.settle_seconds
    await _post(running, "settle")
    left, since, turned = -1, time.monotonic(), False
    while True:
        still = await _judge(running)
        if not outcome.findings:
            return
        if time.monotonic() > deadline:
            outcome.evidence = await _evidence(running)
            return
        if still != left:
            left, since = still, time.monotonic()
        elif not turned and time.monotonic() > since + STANDSTILL_SECONDS:
            running.plan.say(f"{left} messages have not ended: the dealers get well, and the days pass")
            await _post(running, "faults?replace=1")
            await box.set_clock(FastClock(clock.now(), time.time(), DAYS_PASS))
            turned = True
        await asyncio.sleep(0.5)


async def _judge(running: _Run) -> int:
    """Note what is wrong just now; return how many messages have not ended."""
    outcome, fed = running.outcome, running.fed
    truth = await truth_of(running.http, running.box.urls["sandbox"])
    async with running.engine.begin() as connection:
        ledger = await read_ledger(connection)
    async with running.engine.begin() as connection:
        wrong = list(await differences(connection))
    outcome.findings = audit(ledger, truth, fed.accepted, numbers=fed.numbers, blind=outcome.blind, mute=outcome.mute)
    if wrong:
        outcome.findings.append(Finding("P9", "figures that differ", len(wrong), str(wrong[0])))
    if fed.refused:
        outcome.findings.append(Finding("P11", "refused", len(fed.refused), fed.refused[0]))
    outcome.messages = len(ledger.messages)
    outcome.states = Counter(state for state, _ in ledger.messages.values())
    outcome.dispatched = Counter(row["dealer"] for row in truth)
    outcome.unknown = Counter(attempt.dealer for attempt in ledger.attempts if claims_nothing(attempt))
    return sum(not final for _, final in ledger.messages.values())


_EVIDENCE = text("""
    SELECT to_jsonb(a) AS attempt,
           (SELECT jsonb_agg(to_jsonb(r) - 'personal' ORDER BY r.received_at) FROM receipts r
            WHERE r.request_key = a.request_key OR r.dealer_message_id = a.dealer_message_id) AS receipts,
           (SELECT jsonb_agg(to_jsonb(t) ORDER BY t.seq) FROM transitions t WHERE t.message_id = a.message_id) AS story
    FROM attempts a WHERE a.request_key = ANY(CAST(:examples AS text[])) OR a.message_id::text = ANY(:examples)
""")


async def _evidence(running: _Run) -> list[dict[str, Any]]:
    """Return all that is known of the examples of what was found."""
    truth = await truth_of(running.http, running.box.urls["sandbox"])
    examples = [finding.example for finding in running.outcome.findings]
    async with running.engine.connect() as connection:
        rows = [dict(row) for row in (await connection.execute(_EVIDENCE, {"examples": examples})).mappings()]
    return [*rows, *[{"truth": dict(row)} for row in truth if row["key"] in examples]]


async def _post(running: _Run, what: str) -> None:
    async with running.http.post(f"{running.box.urls['sandbox']}/_sandbox/{what}", json={}) as answer:
        answer.raise_for_status()
