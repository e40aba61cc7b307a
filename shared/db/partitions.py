"""Partitions by week, made ahead: an id's time decides where its row lies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.ids import first_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

WEEKS_AHEAD = 5
"""A maintenance loop that died is noticed long before inserts would fail."""

_LOCK = 0x626F6E67  # any constant: serialises makers of partitions

PARENTS = ("events", "messages", "attempts", "transitions", "receipts")

# Why these: docs/adr/0013.
_EARLY = "autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05"
_ONCE = "autovacuum_freeze_min_age = 0"
_STORAGE = {
    "events": _ONCE,
    "messages": f"fillfactor = 60, {_EARLY}",
    "attempts": f"fillfactor = 90, {_EARLY}",
    "transitions": _ONCE,
    "receipts": f"fillfactor = 100, {_EARLY}",
}


def week_of(moment: datetime) -> datetime:
    """Return the Monday, 00:00 UTC, of the week of ``moment``."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def name_of(parent: str, week: datetime) -> str:
    """Return the name of the partition of ``parent`` for the week that begins at ``week``."""
    year, number, _ = week.isocalendar()
    return f"{parent}_{year}w{number:02}"


async def make_partitions(connection: AsyncConnection, *, now: datetime) -> int:
    """Create the partitions of last week up to ``WEEKS_AHEAD``; return how many were missing. Calling twice is safe."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LOCK})
    weeks = [week_of(now) + timedelta(weeks=n) for n in range(-1, WEEKS_AHEAD + 1)]
    names = [name_of(parent, week) for parent in PARENTS for week in weeks]
    rows = await connection.execute(text("SELECT relname FROM pg_class WHERE relname = ANY(:names)"), {"names": names})
    there = set(rows.scalars())
    missing = [(parent, week) for parent in PARENTS for week in weeks if name_of(parent, week) not in there]
    for parent, week in missing:
        # CREATE TABLE ... PARTITION OF would lock the parent against everybody, and five parents in one transaction
        # against those who hold one and want another: a deadlock, once a week. To attach locks no reader or writer.
        await create(connection, parent, week)
        await attach(connection, parent, week)
    return len(missing)


async def create(connection: AsyncConnection, parent: str, week: datetime, *, like: str = "INCLUDING ALL") -> str:
    """Create the table that is to be ``parent``'s partition of ``week``, and return its name."""
    name = name_of(parent, week)
    await connection.execute(text(f"CREATE TABLE {name} (LIKE {parent} {like}) WITH ({_STORAGE[parent]})"))
    return name


async def attach(connection: AsyncConnection, parent: str, week: datetime) -> None:
    """Make the table of ``week`` a partition of ``parent``; no reader or writer waits for it."""
    low, high = bounds(week)
    await connection.execute(
        text(f"ALTER TABLE {parent} ATTACH PARTITION {name_of(parent, week)} FOR VALUES FROM ('{low}') TO ('{high}')")
    )


def bounds(week: datetime) -> tuple[str, str]:
    """Return the least id of ``week``, and the least of the next."""
    return str(first_id(week)), str(first_id(week + timedelta(weeks=1)))


# -- taking away -----------------------------------------------------------------------------------------------------


class Standing(StrEnum):
    """How the table of a week stands to its parent."""

    ATTACHED = "attached"
    LEAVING = "leaving"
    """its detaching was begun and not ended; queries pass it over already"""
    APART = "apart"


async def standings(connection: AsyncConnection) -> dict[datetime, dict[str, Standing]]:
    """Return the weeks that have tables, oldest first, and how each parent's table stands."""
    rows = await connection.execute(
        text("""
            SELECT c.relname AS name,
                   CASE WHEN i.inhrelid IS NULL THEN 'apart' WHEN i.inhdetachpending THEN 'leaving' ELSE 'attached' END
                   AS standing
            FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
            WHERE c.relkind = 'r' AND c.relnamespace = CAST(current_schema() AS regnamespace)
              AND c.relname ~ '^[a-z]+_[0-9]{4}w[0-9]{2}$'
        """)
    )
    found: dict[datetime, dict[str, Standing]] = {}
    for row in rows:
        parent, _, suffix = row.name.rpartition("_")
        if parent in PARENTS:
            week = datetime.strptime(f"{suffix}-1", "%Gw%V-%u").replace(tzinfo=UTC)
            found.setdefault(week, {})[parent] = Standing(row.standing)
    return dict(sorted(found.items()))


async def detach(connection: AsyncConnection, parent: str, week: datetime, standing: Standing) -> None:
    """Part the table of ``week`` from ``parent``; it waits for the transactions that know it, and nobody for it.

    Wants a connection that commits each statement. One that is cut short leaves the table ``LEAVING``.
    """
    name = name_of(parent, week)
    if standing is not Standing.APART:
        how = "FINALIZE" if standing is Standing.LEAVING else "CONCURRENTLY"
        await connection.execute(text(f"ALTER TABLE {parent} DETACH PARTITION {name} {how}"))


async def drop(connection: AsyncConnection, parent: str, week: datetime, standing: Standing) -> None:
    """Take the table of ``week`` away for good, as ``detach`` does; its room on the disk is free at once."""
    await detach(connection, parent, week, standing)
    await connection.execute(text(f"DROP TABLE {name_of(parent, week)}"))
