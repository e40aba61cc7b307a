"""One dealer goes down at noon: what its stop did, and what went through whom, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import SEOUL, FastClock

DOWN = "solapi"
"""the dealer that goes down"""
FROM, UNTIL = 12, 14
"""between these hours of the day in Seoul"""

_HOURS = text("""
    SELECT dealer, extract(hour FROM opened_at AT TIME ZONE 'Asia/Seoul')::int AS hour, count(*) AS sent,
           count(*) FILTER (WHERE state = 'delivered') AS delivered, count(*) FILTER (WHERE state = 'failed') AS failed
    FROM attempts WHERE channel = 'alimtalk' AND (opened_at AT TIME ZONE 'Asia/Seoul')::date = :day
    GROUP BY 1, 2
""")
_MOVED = text("""
    SELECT coalesce(nullif(split_part(detail ->> 'stop', '/', 2), ''), dealer) AS dealer,
           extract(hour FROM at AT TIME ZONE 'Asia/Seoul')::int AS hour, count(*) AS moved
    FROM transitions
    WHERE (detail ->> 'why' = 'stopped' AND state = 'queued' OR detail ? 'moved_to')
      AND (at AT TIME ZONE 'Asia/Seoul')::date = :day
    GROUP BY 1, 2
""")
_STOPS = text("SELECT dealer, reason, since FROM stops WHERE since IS NOT NULL AND scope = 'dealer'")


@dataclass(slots=True)
class Hour:
    """AlimTalks through one dealer in one hour: attempts, what became of them, and messages that went elsewhere."""

    sent: int = 0
    delivered: int = 0
    failed: int = 0
    moved: int = 0


@dataclass(slots=True)
class Stopped:
    """A dealer's stop. Times are rule time."""

    dealer: str
    reason: str
    opened: datetime
    closed: datetime | None = None


@dataclass
class StopWatch:
    """Looks at the stops now and then: one that is over leaves no row."""

    clock: FastClock
    seen: list[Stopped] = field(default_factory=list)

    async def look(self, connection: AsyncConnection) -> None:
        """Note what opened and what closed since the last look."""
        rows = (await connection.execute(_STOPS)).all()
        standing = {row.dealer for row in rows}
        for stopped in self.seen:
            if stopped.closed is None and stopped.dealer not in standing:
                stopped.closed = self.clock.now()
        known = {stopped.dealer for stopped in self.seen if stopped.closed is None}
        self.seen += [
            Stopped(row.dealer, row.reason, self._by_the_rules(row.since)) for row in rows if row.dealer not in known
        ]

    def _by_the_rules(self, world: datetime) -> datetime:
        elapsed = world.timestamp() - self.clock.started
        return self.clock.origin.astimezone(UTC) + timedelta(seconds=elapsed * self.clock.speed)


async def by_hour(connection: AsyncConnection, clock: FastClock) -> dict[str, dict[int, Hour]]:
    """Return the figures of the day on which ``clock`` began, by dealer and hour of the day in Seoul."""
    found: dict[str, dict[int, Hour]] = {}
    day = {"day": clock.origin.astimezone(SEOUL).date()}
    for row in await connection.execute(_HOURS, day):
        found.setdefault(row.dealer, {})[row.hour] = Hour(row.sent, row.delivered, row.failed)
    for row in await connection.execute(_MOVED, day):
        found.setdefault(row.dealer, {}).setdefault(row.hour, Hour()).moved = row.moved
    return found
