"""``bongsu bench lanes``: do codes wait behind a campaign, and do two shops share a lane.

One system, twice measured: idle, and with a backlog of mass messages, half of them of each of two profiles with equal
shares. An event that makes a code comes over HTTP each 100 ms; its wait is from the 202 until the ledger has that the
dealer took it, all on one clock. The dealer is the sandbox, and its limit is what the backlog waits for. What is sent
meanwhile is counted in the ledger. The backlog is written as rows, since to let a million events in takes its time.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.bench.path import PROFILE, Meter, Stalled, percentiles
from bongsu.box import Box, BoxOptions
from shared.catalog.repository import save_rules
from shared.catalog.rule import Rule
from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.crypto import Vault
from shared.db.engine import copy, engine_for
from shared.ids import MessageId, PersonId, new_id
from shared.ledger.personal import Personal, seal_personal

PROFILES = ("first", "second")
EVERY_SECONDS = 0.1
WARM_UP_SECONDS = 5.0
CHUNK = 20_000
TEMPLATE = "MEMBER-JOINED"
RULE = Rule.model_validate({
    "name": "bench-code",
    "on": "code.requested",
    "send": {
        "template": TEMPLATE,
        "lane": "auth",
        "variables": {"고객명": "data.recipient.name", "회원번호": "data.code"},
    },
    "fallback": "none",
})  # fmt: skip
_COLUMNS = (
    "id", "event_id", "person_id", "profile", "rule", "rule_revision", "template", "template_revision", "lane",
    "category", "fallback", "state", "seq", "channel", "dealer", "deadline", "personal",
)  # fmt: skip
_REVISION = text("SELECT max(revision) FROM templates WHERE code = :code")
_PUT_AWAY = text("""
    INSERT INTO backlog (lane, dealer, channel, profile, message_id, seq, deadline)
    SELECT lane, dealer, channel, profile, id, seq, deadline FROM messages WHERE lane = 'mass' AND state = 'queued'
    ORDER BY id
""")
_SENT = text("SELECT profile, count(*) AS n FROM messages WHERE lane = 'mass' AND attempt > 0 GROUP BY profile")
_WAITING = text("SELECT count(*) FROM backlog")
_TAKEN = text("""
    SELECT message_id, extract(epoch FROM min(at))::float8 AS at FROM transitions
    WHERE message_id = ANY(CAST(:ids AS uuid[])) AND state IN ('sent', 'delivered') GROUP BY message_id
""")


async def bench(messages: int, rate: int, seconds: float, *, kafka: bool) -> dict[str, Any]:
    """Measure codes without and with ``messages`` in the backlog at ``rate`` messages a second; return all figures."""
    options = BoxOptions(
        kafka="local" if kafka else None,
        fixed_ports=False,
        profiles=dict.fromkeys(PROFILES),
        sandbox_profile=str(PROFILE),
        messages_per_second=rate,
        quiet_hours=None,
        log_level="warning",
        codes_apart=True,
    )
    async with Box(options) as box:
        engine = engine_for(box.database_url, pool_size=2, statement_seconds=None)
        try:
            async with engine.begin() as connection:
                await save_rules(connection, [RULE], now=datetime.now(UTC))
            await asyncio.sleep(WARM_UP_SECONDS)
            await _codes(box, engine, WARM_UP_SECONDS)
            idle = await _codes(box, engine, seconds)
            began = time.monotonic()
            await _fill(box, engine, messages, sealed=int(rate * (2 * seconds + 60)))
            filled = time.monotonic() - began
            meter = Meter({name: pid for name, pid in box.pids.items() if pid is not None})
            await asyncio.sleep(WARM_UP_SECONDS)
            meter.start()
            before, at = await _sent(engine), time.monotonic()
            loaded = await _codes(box, engine, seconds, meter)
            after, took = await _sent(engine), time.monotonic() - at
            cores = {name: round(spent / took, 2) for name, spent in meter.cpu_per_1000(1000).items()}
            async with engine.connect() as connection:
                waiting = int((await connection.execute(_WAITING)).scalar_one())
        finally:
            await engine.dispose()
    sent = {profile: after[profile] - before[profile] for profile in PROFILES}
    return {
        "bench": "lanes",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_after": os.getloadavg()[0]},
        "bus": "kafka" if kafka else "embedded",
        "backlog": {"messages": messages, "seconds_to_fill": round(filled, 1), "waiting_in_the_end": waiting},
        "limit_per_second": rate,
        "code_ms": {"idle": percentiles(idle), "loaded": percentiles(loaded)},
        "p99_ratio": round(percentiles(loaded)["p99"] / percentiles(idle)["p99"], 2),
        "mass_sent": sent,
        "mass_use_of_limit": round(sum(sent.values()) / took / rate, 3),
        "share_of_the_first": round(sent[PROFILES[0]] / max(1, sum(sent.values())), 4),
        "memory_mb_rss": meter.peak_mb,
        "cpu_cores": cores,
    }


async def _codes(box: Box, engine: AsyncEngine, seconds: float, meter: Meter | None = None) -> list[float]:
    """Ask for a code each 100 ms; return what each waited from its 202 until the dealer had it, in milliseconds."""
    answered: dict[UUID, float] = {}
    headers = {"Authorization": f"Bearer {box.api_key}", "Content-Type": "application/cloudevents+json"}
    async with aiohttp.ClientSession(headers=headers) as http, asyncio.TaskGroup() as group:

        async def ask(n: int) -> None:
            async with http.post(f"{box.urls['ingest']}/v1/events", data=_event(n)) as answer:
                said = msgspec.json.decode(await answer.read())
                if not answer.ok or not said["messages"]:
                    raise Stalled(f"ingest answered {answer.status}: {said.get('title', 'no message')}")
            answered[UUID(said["messages"][0]["id"])] = time.time()

        began = time.monotonic()
        for n in range(int(seconds / EVERY_SECONDS)):
            await asyncio.sleep(max(0.0, began + n * EVERY_SECONDS - time.monotonic()))
            group.create_task(ask(n))
            if meter is not None and n % 10 == 0:
                meter.sample()
    until = time.monotonic() + 60
    while True:
        async with engine.connect() as connection:
            rows = (await connection.execute(_TAKEN, {"ids": list(answered)})).all()
        if len(rows) == len(answered):
            return [max(0.0, row.at - answered[row.message_id]) * 1000 for row in rows]
        if time.monotonic() > until:
            raise Stalled(f"{len(rows)} of {len(answered)} codes reached the dealer")
        await asyncio.sleep(0.5)


def _event(n: int) -> bytes:
    recipient = {"phone": f"010-{2000 + n % 8000}-{time.time_ns() // 1000 % 10000:04}", "name": "김봉수"}
    return msgspec.json.encode({
        "specversion": "1.0",
        "type": RULE.on,
        "source": "/bench/lanes",
        "id": f"{time.time_ns()}",
        "profile": PROFILES[0],
        "data": {"recipient": recipient, "code": f"{n:06}"},
    })  # fmt: skip


async def _fill(box: Box, engine: AsyncEngine, messages: int, sealed: int) -> None:
    """Let ``messages`` wait in the backlog, which is there in one moment.

    To seal a million takes longer than all the rest: only the first ``sealed`` of each profile, more than can be sent
    while codes are measured, can be opened.
    """
    vault, now = Vault.from_text(box.keys), datetime.now(UTC)
    deadline = now + timedelta(hours=24)
    async with engine.connect() as connection:
        revision = int((await connection.execute(_REVISION, {"code": TEMPLATE})).scalar_one())
    half, personal = messages // 2, b""
    for first in range(0, messages, CHUNK):
        rows = []
        for n in range(first, min(first + CHUNK, messages)):
            message = MessageId(new_id(now))
            if n % half < sealed:
                told = Personal(f"+8210{20_000_000 + n:08}", "김봉수", {"고객명": "김봉수", "회원번호": str(n)})
                personal = seal_personal(vault, told, message)
            profile = PROFILES[n >= half]  # one shop's half a million, and then the other's
            rows.append((
                message, message, PersonId(new_id(now)), profile, "bench", 1, TEMPLATE, revision, Lane.MASS,
                Category.INFORMATIONAL, "none", MessageState.QUEUED, 1, Channel.ALIMTALK, "solapi", deadline,
                personal,
            ))  # fmt: skip
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))
            await copy(connection, "messages", _COLUMNS, rows)
    async with engine.begin() as connection:
        await connection.execute(_PUT_AWAY)
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text("VACUUM (ANALYZE) messages, backlog"))


async def _sent(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        found = {row.profile: int(row.n) for row in await connection.execute(_SENT)}
    return {profile: found.get(profile, 0) for profile in PROFILES}
