"""What the operator's commands do: opens what they need, calls, and turns what was found into rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.cli.output import in_seoul
from shared.clock import clock_from
from shared.config import Config, load_config
from shared.db.engine import engine_for
from shared.dealers.base import Dealer
from shared.dealers.registry import build_dealers
from shared.errors import BongsuError
from shared.ids import MessageId
from shared.sending.by_hand import Resolver
from shared.sending.in_doubt import START, Place, read_doubts
from shared.sending.overview import balances, check_dealers, in_words, read_overview
from shared.sending.stop_store import held, load_stops
from shared.sending.stop_store import lift as lift_stop
from shared.sending.stops import StopKey
from shared.sending.word import Word

_BALANCE_SECONDS = 10.0
_CHECK_SECONDS = 60.0


@asynccontextmanager
async def database(url: str) -> AsyncIterator[AsyncEngine]:
    """Open the ledger for a command."""
    engine = engine_for(url, pool_size=1)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def _configured(path: Path) -> AsyncIterator[tuple[Config, Mapping[str, Dealer]]]:
    config = load_config(path)
    async with AsyncExitStack() as stack:
        dealers = build_dealers(config)
        for dealer in dealers.values():
            stack.push_async_callback(dealer.close)
        yield config, dealers


# -- dealers ---------------------------------------------------------------------------------------------------------


async def overview(database_url: str, config_path: Path, clock: str) -> list[dict[str, Any]]:
    """Return how each dealer is."""
    async with _configured(config_path) as (config, dealers), database(database_url) as engine:
        async with engine.connect() as connection:
            found = await read_overview(connection, config, dealers, now=clock_from(clock).now())
        left = await balances(dealers, timeout_seconds=_BALANCE_SECONDS)
    return [
        {
            "dealer": each.dealer,
            "kind": each.kind,
            "health": each.health,
            "stops": [in_words(stop) for stop in each.stops],
            "balance_krw": left[each.dealer],
            "limit_per_second": each.per_second,
            "limit_in_use": each.in_use,
            "paused_until": each.paused_until,
            "uncertain": each.uncertain,
            "awaited": each.awaited,
            "oldest_awaited_seconds": each.oldest_awaited and int(each.oldest_awaited.total_seconds()),
            "held": each.held,
            "lookup": each.lookup,
            "push": each.push,
            "polled": each.polled,
        }
        for each in found
    ]


def overview_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``overview`` found as a table shows it."""
    paused = f", paused until {in_seoul(row['paused_until'].isoformat())}" if row["paused_until"] else ""
    oldest = row["oldest_awaited_seconds"]
    return {
        "dealer": row["dealer"] if row["dealer"] == row["kind"] else f"{row['dealer']} ({row['kind']})",
        "health": "\n".join([row["health"], *row["stops"]]),
        "KRW left": "not told" if row["balance_krw"] is None else f"{row['balance_krw']:,}",
        "limit": f"{row['limit_in_use']} of {row['limit_per_second']}/s{paused}",
        "uncertain": row["uncertain"],
        "awaited": row["awaited"] if oldest is None else f"{row['awaited']}, oldest {age(timedelta(seconds=oldest))}",
        "held": row["held"],
        "lookup": row["lookup"],
        "receipts": f"{row['push']}, polled" if row["polled"] else row["push"],
    }


async def check(config_path: Path) -> list[dict[str, Any]]:
    """Verify what is set up at each dealer."""
    async with _configured(config_path) as (config, dealers):
        found = await check_dealers(config, dealers, timeout_seconds=_CHECK_SECONDS)
    return [
        {"dealer": f.dealer, "what": f.what, "profiles": ", ".join(f.profiles), "ok": f.ok, "detail": f.detail}
        for f in found
    ]


# -- stops -----------------------------------------------------------------------------------------------------------


async def stops(database_url: str) -> list[dict[str, Any]]:
    """Return every stop, open or counting, and what else holds messages."""
    async with database(database_url) as engine, engine.connect() as connection:
        known = await load_stops(connection)
        waiting = await held(connection)
    rows = [
        {
            "stop": str(key),
            "state": "open" if stop.is_open else "counting",
            "reason": stop.reason,
            "failures": stop.failures,
            "held": waiting.pop(str(key), 0),
            "since": stop.since and stop.since.isoformat(timespec="seconds"),
            "next_probe": stop.probe_at and stop.probe_at.isoformat(timespec="seconds"),
            "by": stop.ordered_by,
            "why": stop.why,
        }
        for key, stop in sorted(known.items())
    ]
    # What is left waits for no stop: it is about to go on, or for a dealer to approve its template.
    for name, count in sorted(waiting.items()):
        reason = "template_not_approved" if StopKey.parse(name) is None else "over"
        other: dict[str, Any] = {"stop": name, "state": "waiting", "reason": reason, "failures": 0, "held": count}
        rows.append({**other, "since": None, "next_probe": None, "by": None, "why": None})
    return rows


async def lift(database_url: str, name: str) -> int:
    """End a stop; return how many messages were held for it. Raises ``BongsuError`` for one that is none."""
    key = StopKey.parse(name)
    if key is None:
        raise BongsuError(f"{name!r} is no stop: want SCOPE/DEALER[/NAME] as `bongsu stops list` shows it")
    async with database(database_url) as engine, engine.begin() as connection:
        count = (await held(connection)).get(str(key), 0)
        if not await lift_stop(connection, key):
            raise BongsuError(f"there is no stop {name} (any more); `bongsu stops list` shows those there are")
    return count


# -- doubts ----------------------------------------------------------------------------------------------------------


async def doubts(database_url: str, config_path: Path, clock: str, *, after: str, limit: int) -> dict[str, Any]:
    """Return a page of attempts in doubt, and where the next one begins (None: there is none)."""
    place = START if not after else _whole(after)
    rules = clock_from(clock)
    async with (
        _configured(config_path) as (config, dealers),
        database(database_url) as engine,
        engine.connect() as connection,
    ):
        page = await read_doubts(connection, config=config, dealers=dealers, clock=rules, after=place, limit=limit + 1)
    shown, now = page[:limit], rules.now()
    rows = [
        {
            "attempt": f"{each.message_id}/{each.n}",
            **{name: value for name, value in asdict(each).items() if name != "n"},
            "age_seconds": int((now - each.opened_at).total_seconds()),
        }
        for each in shown
    ]
    return {"uncertain": rows, "next": rows[-1]["attempt"] if len(page) > limit else None}


def doubt_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``doubts`` found as a table shows it."""
    return {
        "attempt": row["attempt"],
        "dealer": row["dealer"],
        "channel": row["channel"],
        "age": age(timedelta(seconds=row["age_seconds"])),
        "why": row["why"],
        "what is done": row["doing"],
        "next": "" if row["next_at"] is None else in_seoul(row["next_at"].isoformat()),
        "until": in_seoul(row["until"].isoformat()),
        "then": row["then"],
    }


async def resolve(database_url: str, config_path: Path, clock: str, attempt: str, word: Word) -> dict[str, Any]:
    """End a doubt by hand. Raises ``CannotResolve``."""
    message_id, n = _place(attempt)
    async with _configured(config_path) as (config, dealers), database(database_url) as engine:
        found = await Resolver(engine, config, dealers, clock_from(clock))(message_id, n, word)
    return {"attempt": f"{found.message_id}/{found.n}", "state": found.state, "due_at": found.due_at}


def _place(text: str) -> tuple[MessageId, int | None]:
    message, slash, n = text.partition("/")
    try:
        return MessageId(UUID(message)), int(n) if slash else None
    except ValueError as error:
        raise BongsuError(f"{text!r} names no attempt: want a message's id, or ID/N for its Nth attempt") from error


def _whole(text: str) -> Place:
    message, n = _place(text)
    return message, n or 0


def age(span: timedelta) -> str:
    """Return a span as people say it: ``45 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
    seconds = int(span.total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
