"""Keeps the pace of receipts in Postgres, shared by every replica, and looks for attempts that have none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.contracts.states import Channel
from shared.sending.pace import Pace

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

Key = tuple[str, Channel]
"""a dealer, and a channel"""

_ALL = "SELECT dealer, channel, lag_seconds, seen, last_at, silent_since FROM receipt_pace"
_READ = text(_ALL)
_LOCK = text(f"""
    {_ALL} WHERE (dealer, channel) IN (SELECT * FROM unnest(CAST(:dealers AS text[]), CAST(:channels AS text[])))
    ORDER BY dealer, channel FOR UPDATE
""")  # noqa: S608 - put together from constants
_INSERT = """
    INSERT INTO receipt_pace AS p (dealer, channel, lag_seconds, seen, last_at, silent_since)
    VALUES (:dealer, :channel, :lag_seconds, :seen, :last_at, :silent_since)
"""
_SAVE = text(f"""
    {_INSERT} ON CONFLICT (dealer, channel) DO UPDATE
    SET lag_seconds = excluded.lag_seconds, seen = excluded.seen, last_at = excluded.last_at,
        silent_since = excluded.silent_since
""")  # noqa: S608 - as above
_DECLARE = text(f"""
    {_INSERT} ON CONFLICT (dealer, channel) DO UPDATE SET silent_since = excluded.silent_since
    WHERE p.last_at = excluded.last_at AND (p.silent_since IS NULL OR p.silent_since < p.last_at)
""")
# What is stored and not yet looked at is not missing. Open attempts are few, and have an index of their own.
_MISSING = text("""
    WITH w AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:dealers AS text[]), CAST(:channels AS text[]), CAST(:after AS timestamptz[]),
                             CAST(:until AS timestamptz[])) AS w (dealer, channel, after, until)
        WHERE NOT EXISTS (SELECT FROM receipts r WHERE r.dealer = w.dealer AND r.apply_at <= :now AND r.tried = 0)
    )
    SELECT w.dealer, w.channel, count(*) AS n
    FROM w JOIN attempts a ON a.state = 'sent' AND a.dealer = w.dealer AND a.channel = w.channel
                          AND a.opened_at > w.after AND a.opened_at <= w.until
    GROUP BY w.dealer, w.channel
""")
_ASK = text("""
    UPDATE attempts SET check_at = CASE WHEN checks = 0 THEN CAST(:now AS timestamptz) ELSE :again END
    WHERE state = 'sent' AND (message_id, n) IN (
        SELECT message_id, n FROM attempts
        WHERE state = 'sent' AND dealer = :dealer AND channel = :channel AND opened_at <= :until AND check_at > :again
        ORDER BY opened_at DESC LIMIT :n FOR UPDATE SKIP LOCKED
    )
""")


async def read_paces(connection: AsyncConnection) -> dict[Key, Pace]:
    """Return how receipts come, by dealer and channel."""
    return dict(map(_pace, await connection.execute(_READ)))


async def lock_paces(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Pace]:
    """Return those of ``keys`` that are known, and keep others from learning them until the end."""
    asked = {"dealers": [dealer for dealer, _ in keys], "channels": [channel for _, channel in keys]}
    return dict(map(_pace, await connection.execute(_LOCK, asked)))


async def save_pace(connection: AsyncConnection, key: Key, pace: Pace) -> None:
    """Write down how receipts come; the caller holds the lock."""
    await connection.execute(_SAVE, _values(key, pace))


async def declare_silent(connection: AsyncConnection, key: Key, pace: Pace, *, now: datetime) -> bool:
    """Write down that receipts are missing; False if another replica did, or one arrived since ``pace`` was read."""
    declared = await connection.execute(_DECLARE, _values(key, replace(pace, silent_since=now)))
    return bool(declared.rowcount)


async def count_missing(
    connection: AsyncConnection, windows: Mapping[Key, tuple[datetime, datetime]], *, now: datetime
) -> dict[Key, int]:
    """Return how many attempts of each window (made after, up to) were taken and have no receipt."""
    asked = {
        "dealers": [dealer for dealer, _ in windows],
        "channels": [channel for _, channel in windows],
        "after": [after for after, _ in windows.values()],
        "until": [until for _, until in windows.values()],
        "now": now,
    }
    return {(row.dealer, Channel(row.channel)): row.n for row in await connection.execute(_MISSING, asked)}


async def ask_sooner(
    connection: AsyncConnection, key: Key, *, until: datetime, now: datetime, again: datetime, limit: int
) -> int:
    """Let up to ``limit`` attempts made up to ``until``, the latest first, be asked about: now, or ``again`` if they
    were asked about before. Return how many.
    """  # noqa: D205 - one sentence, and longer than a line
    dealer, channel = key
    asked = {"dealer": dealer, "channel": channel, "until": until, "now": now, "again": again, "n": limit}
    return int((await connection.execute(_ASK, asked)).rowcount)


def _values(key: Key, pace: Pace) -> dict[str, Any]:
    dealer, channel = key
    return {
        "dealer": dealer,
        "channel": channel,
        "lag_seconds": pace.lag.total_seconds(),
        "seen": pace.seen,
        "last_at": pace.last_at,
        "silent_since": pace.silent_since,
    }


def _pace(row: Row[Any]) -> tuple[Key, Pace]:
    pace = Pace(timedelta(seconds=row.lag_seconds), row.seen, row.last_at, row.silent_since)
    return (row.dealer, Channel(row.channel)), pace
