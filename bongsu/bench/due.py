"""``bongsu bench due``: a campaign that is due within one minute, and codes and orders beside it.

First nobody else is there: how exact a message with a time of its own is, and how long a code and an order take to
their dealer. Then a campaign of advertising is due within the minute about 20:00, when the night ban begins: how long
until all of it is queued, what codes and orders wait meanwhile, and whether any of it left outside its hours. The
clock of the box is set to the evening for that. What queueing costs is measured apart, over a ledger of its own.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import resource
import shutil
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiohttp
import msgspec
from sqlalchemy import text

from bongsu.bench.path import PROFILE, Meter, Stalled, percentiles
from bongsu.box import Box, BoxOptions
from bongsu.box.postgres import EmbeddedPostgres
from services.dispatcher.handlers import QueueDue
from shared.catalog.repository import save_rules, save_templates
from shared.catalog.rule import Rule
from shared.catalog.template import Template
from shared.clock import SEOUL, Clock, FastClock, SystemClock
from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.crypto import Vault, new_keys
from shared.db.engine import copy, engine_for
from shared.db.migrate import migrate
from shared.ids import PersonId, new_ids
from shared.ledger.personal import Personal, seal_personal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

ALONE = 50_000
"""messages by which the cost of queueing is measured"""
EXACT = 200
"""messages by which it is measured how exact a time is"""
EVERY_SECONDS = 0.1
"""between two codes, and two orders"""
WARM_UP_SECONDS = 5.0
WITHIN = timedelta(minutes=1)
BEFORE_BAN = timedelta(seconds=40)
"""how long before 20:00 the campaign begins"""
PATIENCE_SECONDS = 900.0
CHUNK = 20_000
RESTART = timedelta(seconds=20)
"""how long before the campaign the services go on in the evening"""

_CATALOG = (
    ("CODE", "인증번호 #{번호}를 입력해 주세요.", "code.wanted", Lane.AUTH, Category.INFORMATIONAL),
    ("ORDER", "주문 #{번호}이 접수되었습니다.", "order.made", Lane.NORMAL, Category.INFORMATIONAL),
    ("CAMPAIGN", "(광고) #{번호}", "campaign.begun", Lane.MASS, Category.ADVERTISING),
)
_COLUMNS = (
    "id", "event_id", "person_id", "profile", "rule", "rule_revision", "template", "template_revision", "lane",
    "category", "fallback", "state", "seq", "channel", "dealer", "due_at", "deadline", "personal",
)  # fmt: skip
_LEFT = text("SELECT EXISTS (SELECT FROM messages WHERE lane = 'mass' AND due_at <= :until)")
_WAITS = text("""
    SELECT m.lane, extract(epoch FROM min(t.at) FILTER (WHERE t.state = 'sent') - min(t.at))::float8 AS seconds
    FROM transitions t JOIN messages m ON m.id = t.message_id
    WHERE t.message_id = ANY(CAST(:ids AS uuid[])) GROUP BY m.lane, t.message_id
""")
_LATE = text("""
    SELECT extract(epoch FROM a.opened_at - w.due_at)::float8 AS seconds
    FROM unnest(CAST(:ids AS uuid[]), CAST(:due AS timestamptz[])) AS w (id, due_at)
    JOIN attempts a ON a.message_id = w.id
""")
_OUTSIDE = text("""
    SELECT count(*) AS attempts, count(*) FILTER (WHERE hour < 8 OR hour >= 20) AS outside
    FROM attempts a JOIN messages m ON m.id = a.message_id,
         LATERAL extract(hour FROM a.opened_at AT TIME ZONE 'Asia/Seoul') AS hour
    WHERE m.lane = 'mass'
""")
_PUT_OFF = text("SELECT count(*) FROM messages WHERE lane = 'mass' AND due_at > :until")


# -- messages that are scheduled ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filler:
    """Writes scheduled messages down, without the events that made them."""

    engine: AsyncEngine
    vault: Vault
    clock: Clock
    dealer: str

    async def __call__(self, due: Sequence[datetime], lane: Lane) -> list[UUID]:
        """Write a message for each time of ``due``; return their ids."""
        code, _, event, _, category = next(each for each in _CATALOG if each[3] is lane)
        made: list[UUID] = []
        for start in range(0, len(due), CHUNK):
            some = due[start : start + CHUNK]
            ids = new_ids(self.clock.now(), len(some))
            people = [PersonId(UUID(bytes=os.urandom(16))) for _ in some]
            rows = [
                (
                    message, message, person, "shop", event, 1, code, 1, lane, category, "none",
                    MessageState.SCHEDULED, 1, Channel.ALIMTALK, self.dealer, at, at + timedelta(hours=24),
                    seal_personal(self.vault, Personal(f"+8210{n:08d}", None, {"번호": str(n)}), message),
                )
                for n, (message, person, at) in enumerate(zip(ids, people, some, strict=True), start)
            ]  # fmt: skip
            async with self.engine.begin() as connection:
                await connection.execute(text("SET LOCAL synchronous_commit = off"))
                await copy(connection, "messages", _COLUMNS, rows)
            made += ids
        return made


def spread(number: int, begin: datetime, within: timedelta) -> list[datetime]:
    """Return ``number`` times, evenly from ``begin``."""
    return [begin + within * n / number for n in range(number)]


# -- the cost of queueing ----------------------------------------------------------------------------------------------


async def _alone(messages: int) -> dict[str, Any]:
    """Queue messages by the dispatcher's own loop, with nobody to read what is queued."""
    directory = Path(tempfile.mkdtemp(prefix="bongsu-due-"))
    postgres = EmbeddedPostgres(directory / "pg")
    engine = engine_for(await postgres.start())
    clock = SystemClock()
    try:
        await migrate(engine, now=clock.now())
        fill = Filler(engine, Vault.from_text(new_keys("bench")), clock, "solapi")
        await fill([clock.now()] * messages, Lane.MASS)
        due = QueueDue(engine, clock, Lane.MASS)
        meter = Meter({"postgres": postgres.pid})
        meter.start()
        own, began, longest, queued = _own_cpu(), time.monotonic(), 0.0, 0
        while True:
            at = time.monotonic()
            if not (some := await due()):
                break
            queued += some
            longest = max(longest, time.monotonic() - at)
        took = time.monotonic() - began
        return {
            "messages": queued,
            "messages_per_second": round(queued / took),
            "longest_transaction_ms": round(longest * 1000, 1),
            "cpu_seconds_per_1000": {
                "dispatcher": round((_own_cpu() - own) * 1000 / queued, 4),
                **meter.cpu_per_1000(queued),
            },
        }
    finally:
        await engine.dispose()
        await postgres.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# -- codes and orders --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traffic:
    """Codes and orders, one of each every ``EVERY_SECONDS``."""

    http: aiohttp.ClientSession
    url: str
    engine: AsyncEngine

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[list[str]]:
        """Let them come within the block, which is given the ids of their messages."""
        ids: list[str] = []
        async with asyncio.TaskGroup() as group:
            coming = group.create_task(self._come(ids, group))
            try:
                yield ids
            finally:
                coming.cancel()

    async def _come(self, ids: list[str], group: asyncio.TaskGroup) -> None:
        while True:
            for event in ("code.wanted", "order.made"):
                group.create_task(self._post(event, ids))
            await asyncio.sleep(EVERY_SECONDS)

    async def _post(self, event: str, ids: list[str]) -> None:
        number = random.randrange(10**8)  # noqa: S311 - a phone number that nobody has
        body = {
            "specversion": "1.0",
            "id": os.urandom(8).hex(),
            "source": "bench",
            "type": event,
            "data": {"recipient": {"phone": f"010{number:08d}"}, "no": str(number)},
        }
        async with self.http.post(f"{self.url}/v1/events", data=msgspec.json.encode(body)) as answer:
            said = msgspec.json.decode(await answer.read())
            if answer.status != HTTPStatus.ACCEPTED:
                raise Stalled(f"ingest answered {answer.status}: {said.get('title')}")
            ids += [message["id"] for message in said["messages"]]

    async def waits(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return what they waited from their 202 to their dealer, in milliseconds, once all have left."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            async with self.engine.connect() as connection:
                rows = (await connection.execute(_WAITS, {"ids": list(ids)})).all()
            if all(row.seconds is not None for row in rows) or time.monotonic() > until:
                break
            await asyncio.sleep(0.5)
        found: dict[str, Any] = {}
        for lane in (Lane.AUTH, Lane.NORMAL):
            times = [row.seconds * 1000 for row in rows if row.lane == lane and row.seconds is not None]
            missing = sum(row.lane == lane and row.seconds is None for row in rows)
            found[lane] = {"n": len(times), "not_sent": missing, "ms": percentiles(times)}
        return found


# -- the bench ---------------------------------------------------------------------------------------------------------


async def bench(messages: int, *, limit: int, idle_seconds: float) -> dict[str, Any]:
    """Measure a campaign of ``messages`` at a dealer that takes ``limit`` a second; return all figures."""
    found = {
        "bench": "due",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]},
        "messages": messages,
        "dealer_limit_per_second": limit,
        "queueing_alone": await _alone(min(messages, ALONE)),
    }
    clock = FastClock(datetime.now(SEOUL).replace(hour=15), time.time(), 1.0)
    options = BoxOptions(
        fixed_ports=False,
        sandbox_profile=str(PROFILE),
        messages_per_second=limit,
        quiet_hours=None,
        log_level="warning",
        clock=str(clock),
    )
    async with Box(options) as box:
        engine = engine_for(box.database_url, pool_size=2)
        headers = {"Authorization": f"Bearer {box.api_key}", "Content-Type": "application/cloudevents+json"}
        try:
            async with aiohttp.ClientSession(headers=headers) as http:
                await apply_catalog(engine, clock)
                fill = Filler(engine, Vault.from_text(box.keys), clock, "solapi")
                traffic = Traffic(http, box.urls["ingest"], engine)
                return {**found, **await _measure(box, traffic, fill, messages, idle_seconds)}
        finally:
            await engine.dispose()


async def apply_catalog(engine: AsyncEngine, clock: Clock) -> None:
    """Load the rules and templates of codes, orders and a campaign, and wait until ingest has seen them."""
    templates = [Template.model_validate({"code": code, "text": words}) for code, words, *_ in _CATALOG]
    rules = [
        Rule.model_validate(
            {
                "name": event,
                "on": event,
                "send": {"template": code, "lane": lane, "variables": {"번호": "data.no"}},
                "category": category,
            }
        )
        for code, _, event, lane, category in _CATALOG
    ]
    async with engine.begin() as connection:
        await save_templates(connection, templates, now=clock.now())
        await save_rules(connection, rules, now=clock.now())
    await asyncio.sleep(WARM_UP_SECONDS)


async def _measure(box: Box, traffic: Traffic, fill: Filler, messages: int, idle_seconds: float) -> dict[str, Any]:
    clock, engine = fill.clock, fill.engine
    async with traffic.beside():
        await asyncio.sleep(WARM_UP_SECONDS)
    due = spread(EXACT, clock.now() + timedelta(seconds=2), timedelta(seconds=10))
    exact = await fill(due, Lane.NORMAL)
    await asyncio.sleep(14)
    async with engine.connect() as connection:
        late = [row.seconds * 1000 for row in await connection.execute(_LATE, {"ids": exact, "due": due})]
    async with traffic.beside() as ids:
        await asyncio.sleep(idle_seconds)
    idle = await traffic.waits(ids)

    ban = datetime.now(SEOUL).replace(hour=20, minute=0, second=0, microsecond=0)
    begin = (ban - BEFORE_BAN).astimezone(UTC)
    until = begin + WITHIN
    began = time.monotonic()
    await fill(spread(messages, begin, WITHIN), Lane.MASS)
    filled = time.monotonic() - began
    evening = FastClock(begin - RESTART, time.time(), 1.0)
    await box.set_clock(evening)
    await asyncio.sleep(max(0.0, (begin - evening.now()).total_seconds()))
    meter = Meter({name: pid for name, pid in box.pids.items() if pid is not None})
    meter.start()
    began = time.monotonic()
    async with traffic.beside() as ids:
        while True:
            meter.sample()
            async with engine.connect() as connection:
                left = bool(await connection.scalar(_LEFT, {"until": until}))
            if not left and evening.now() > until:
                break
            if time.monotonic() - began > PATIENCE_SECONDS:
                break
            await asyncio.sleep(0.25)
        took = time.monotonic() - began
        behind = (evening.now() - until).total_seconds()
    busy = await traffic.waits(ids)
    async with engine.connect() as connection:
        outside = (await connection.execute(_OUTSIDE)).one()
        put_off = await connection.scalar(_PUT_OFF, {"until": until})
    return {
        "idle": {"late_ms": {"n": len(late), **percentiles(late)}, "to_dealer": idle},
        "filled_per_second": round(messages / filled),
        "due": {
            "all_queued": not left,
            "seconds": round(took, 1),
            "seconds_after_the_last_was_due": round(behind, 1),
            "to_dealer": busy,
            "attempts": outside.attempts,
            "attempts_outside_their_hours": outside.outside,
            "put_off_to_the_morning": put_off,
            "cpu_seconds": {
                name: round(seconds * messages / 1000, 1) for name, seconds in meter.cpu_per_1000(messages).items()
            },
            "memory_mb_rss": meter.peak_mb,
        },
        "ratios": {
            lane: {cut: _ratio(busy[lane]["ms"][cut], idle[lane]["ms"][cut]) for cut in ("p50", "p99")} for lane in idle
        },
    }


def _ratio(busy: float, idle: float) -> float:
    return round(busy / idle, 2) if idle else float("nan")
