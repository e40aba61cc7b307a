"""Partitions by week, made ahead: an id's time decides where its row lies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.ids import first_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

WEEKS_AHEAD = 5
"""A maintenance loop that died is noticed long before inserts would fail."""

_LOCK = 0x626F6E67  # any constant: serialises makers of partitions

# A message and its attempts are updated a few times each: room on the page keeps those updates off the indexes.
_PARENTS = {
    "events": "",
    "messages": " WITH (fillfactor = 60)",
    "attempts": " WITH (fillfactor = 70)",
    "transitions": "",
    "receipts": " WITH (fillfactor = 85)",
}


def week_of(moment: datetime) -> datetime:
    """Return the Monday, 00:00 UTC, of the week of ``moment``."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


async def make_partitions(connection: AsyncConnection, *, now: datetime) -> int:
    """Create the partitions of last week up to ``WEEKS_AHEAD``; return how many were missing. Calling twice is safe."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LOCK})
    names = [parent + _suffix(week) for parent in _PARENTS for week in _weeks(now)]
    rows = await connection.execute(text("SELECT relname FROM pg_class WHERE relname = ANY(:names)"), {"names": names})
    there = set(rows.scalars())
    made = 0
    for parent, storage in _PARENTS.items():
        for week in _weeks(now):
            if (name := parent + _suffix(week)) in there:
                continue
            low, high = first_id(week), first_id(week + timedelta(weeks=1))
            # CREATE TABLE ... PARTITION OF would lock the parent against everybody, and five parents in one transaction
            # against those who hold one and want another: a deadlock, once a week. To attach locks no reader or writer.
            await connection.execute(text(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL){storage}"))
            await connection.execute(
                text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')")
            )
            made += 1
    return made


def _weeks(now: datetime) -> list[datetime]:
    return [week_of(now) + timedelta(weeks=n) for n in range(-1, WEEKS_AHEAD + 1)]


def _suffix(week: datetime) -> str:
    year, number, _ = week.isocalendar()
    return f"_{year}w{number:02}"
