"""Keeps stops in Postgres, shared by every replica, and lets go what they held."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import text

from shared.sending.stops import Scope, Seen, SeenIn, Stop, StopKey, after, probe_after

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = "scope, dealer, name, reason, seen_in, failures, since, probe_at, probes, ordered_by, why"
_CANCELLING = "cancelling"
_ALL = text(f"SELECT {_COLUMNS} FROM stops")  # noqa: S608 - a constant
# The same, and whether a cancellation is open: in one round trip, since every claim asks.
_ORDERS = text(f"""
    {_ALL.text}
    UNION ALL SELECT '{_CANCELLING}', '', '', '', '', 0, NULL, NULL, 0, NULL, NULL
    WHERE EXISTS (SELECT FROM cancellations WHERE ended_at IS NULL)
""")  # noqa: S608 - constants
_LOCK = text(f"""
    SELECT {_COLUMNS} FROM stops WHERE (scope, dealer, name) = (:scope, :dealer, :name) FOR UPDATE
""")  # noqa: S608 - a constant
_SAVE = text("""
    INSERT INTO stops (scope, dealer, name, reason, seen_in, failures, since, probe_at, probes, ordered_by, why)
    VALUES (:scope, :dealer, :name, :reason, :seen_in, :failures, :since, :probe_at, :probes, :ordered_by, :why)
    ON CONFLICT (scope, dealer, name) DO UPDATE
    SET reason = excluded.reason, seen_in = excluded.seen_in, failures = excluded.failures, since = excluded.since,
        probe_at = excluded.probe_at, probes = excluded.probes, ordered_by = excluded.ordered_by, why = excluded.why
""")
_OPEN = text(f"{_SAVE.text} WHERE stops.since IS NULL")
_DROP = text("DELETE FROM stops WHERE (scope, dealer, name) = (:scope, :dealer, :name)")
_PROBE = text("""
    UPDATE stops SET probes = probes + 1, probe_at = :next
    WHERE (scope, dealer, name) = (:scope, :dealer, :name) AND probe_at <= :now
""")
# Its limit is written into it: for one that the planner does not know it may read weeks in their order, held or not.
_RELEASE = """
    WITH free AS (
        SELECT id FROM messages m
        WHERE held_by IS NOT NULL AND held_by NOT LIKE 'approval/%' AND NOT EXISTS (
            SELECT FROM stops s
            WHERE s.since IS NOT NULL AND (s.scope = 'pause' OR s.dealer = ANY(CAST(:dealers AS text[])))
              AND concat_ws('/', s.scope, s.dealer, nullif(s.name, '')) = m.held_by
        )
        ORDER BY id LIMIT {limit} FOR UPDATE SKIP LOCKED
    )
    UPDATE messages m SET due_at = :now, held_by = NULL FROM free WHERE m.id = free.id
"""
_RELEASE_ONE = text("""
    WITH one AS (SELECT id FROM messages WHERE held_by = :key ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE messages m SET due_at = :now, held_by = NULL FROM one WHERE m.id = one.id
""")
_HELD = text("SELECT held_by, count(*) AS n FROM messages WHERE held_by IS NOT NULL GROUP BY held_by")


async def load_stops(connection: AsyncConnection) -> dict[StopKey, Stop]:
    """Return every stop, open or counting: there are few."""
    return {stop.key: stop for stop in map(_stop, await connection.execute(_ALL))}


async def load_orders(connection: AsyncConnection) -> tuple[dict[StopKey, Stop], bool]:
    """Return every stop, and whether any cancellation of many is open."""
    rows = (await connection.execute(_ORDERS)).all()
    stops = [_stop(row) for row in rows if row.scope != _CANCELLING]
    return {stop.key: stop for stop in stops}, len(stops) < len(rows)


def in_locking_order(key: StopKey) -> tuple[bool, StopKey]:
    """Return where ``key`` stands when one transaction locks several, so that no two wait for each other.

    The receipts' stops come last: who applies receipts learns of their silence when all else is noted.
    """
    return key.scope is Scope.RECEIPTS, key


async def note(
    connection: AsyncConnection, seen: Mapping[StopKey, Seen], seen_in: SeenIn, *, world_now: datetime
) -> dict[StopKey, Stop]:
    """Take in what a batch showed; return the stops of these keys, as they are now."""
    found: dict[StopKey, Stop] = {}
    for key in sorted(seen, key=in_locking_order):
        row = (await connection.execute(_LOCK, _named(key))).one_or_none()
        was = _stop(row) if row is not None else None
        now = after(was, key, seen[key], seen_in, now=world_now)
        if now is None and was is not None:
            await connection.execute(_DROP, _named(key))
            if was.is_open:
                structlog.get_logger().warning("stop.closed", stop=str(key), reason=was.reason)
        elif now is not None and now != was:
            await _save(connection, now)
            if now.is_open and not (was and was.is_open):
                structlog.get_logger().error("stop.opened", stop=str(key), reason=now.reason)
        if now is not None:
            found[key] = now
    return found


async def open_stop(connection: AsyncConnection, stop: Stop) -> bool:
    """Write down a stop that was not found by counting failures; False if it was open already."""
    opened = bool((await connection.execute(_OPEN, _values(stop))).rowcount)
    if opened:
        structlog.get_logger().error("stop.opened", stop=str(stop.key), reason=stop.reason)
    return opened


async def take_probe(connection: AsyncConnection, stop: Stop, *, world_now: datetime) -> bool:
    """Return whether this process may let one message through an open stop, to see whether it is over."""
    following = world_now + probe_after(stop.reason, stop.probes + 1)
    taken = await connection.execute(_PROBE, {**_named(stop.key), "now": world_now, "next": following})
    return bool(taken.rowcount)


async def lift(connection: AsyncConnection, key: StopKey) -> bool:
    """End a stop by an operator's word; return whether there was one."""
    return bool((await connection.execute(_DROP, _named(key))).rowcount)


async def held(connection: AsyncConnection) -> dict[str, int]:
    """Return how many messages are held, by what holds them: a stop, or a template that no dealer has approved."""
    return {row.held_by: row.n for row in await connection.execute(_HELD)}


async def release(
    connection: AsyncConnection, dealers: Collection[str], *, now: datetime, world_now: datetime, limit: int = 1000
) -> int:
    """Let go up to ``limit`` held messages whose stop is over, and one of each stop whose probe is due.

    A stop of a dealer that is not among ``dealers``, the configured ones, is over: nobody could probe it.
    """
    released = await connection.execute(text(_RELEASE.format(limit=limit)), {"now": now, "dealers": list(dealers)})
    freed = released.rowcount
    for stop in (await load_stops(connection)).values():
        if stop.is_open and stop.probe_at is not None and stop.probe_at <= world_now:
            await connection.execute(_RELEASE_ONE, {"key": str(stop.key), "now": now})
    return int(freed)


async def _save(connection: AsyncConnection, stop: Stop) -> None:
    await connection.execute(_SAVE, _values(stop))


def _values(stop: Stop) -> dict[str, Any]:
    return {
        **_named(stop.key),
        "reason": stop.reason,
        "seen_in": stop.seen_in,
        "failures": stop.failures,
        "since": stop.since,
        "probe_at": stop.probe_at,
        "probes": stop.probes,
        "ordered_by": stop.ordered_by,
        "why": stop.why,
    }


def _named(key: StopKey) -> dict[str, str]:
    return {"scope": key.scope, "dealer": key.dealer, "name": key.name}


def _stop(row: Row[Any]) -> Stop:
    return Stop(
        key=StopKey(Scope(row.scope), row.dealer, row.name),
        reason=row.reason,
        seen_in=SeenIn(row.seen_in),
        failures=row.failures,
        since=row.since,
        probe_at=row.probe_at,
        probes=row.probes,
        ordered_by=row.ordered_by,
        why=row.why,
    )
