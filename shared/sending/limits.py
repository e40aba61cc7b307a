"""The rate limit of a dealer account, shared by every process through one row of Postgres.

A *grant* allows some recipients to be sent. It counts against the limit from the moment it is given until a full
window after its call came back, because the dealer sees the messages somewhere in between; so in every sliding
window, as the dealer sees arrivals, there are at most as many as the limit. A grant whose holder died counts until
``AFTERMATH`` after somebody saw that its session at Postgres is gone, one whose holder hangs until ``LOST_AFTER``.
Times are those of the database, so that clocks of processes do not matter.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.contracts.states import Lane

WINDOW = 1.0
MARGIN = 0.02
"""seconds by which a window is made longer: clocks tick and networks jitter"""
LOST_AFTER = 60.0
AFTERMATH = 2.0
"""seconds in which a process that lost its session may yet finish its call"""

SHARE = {Lane.AUTH: 1.0, Lane.NORMAL: 0.95, Lane.MASS: 0.8}
"""how much of the limit a lane may fill: what is left is there for those who wait more urgently"""


@dataclass(frozen=True, slots=True)
class Grant:
    """``n`` recipients that may be sent, at ``at`` (seconds, database time); ``done``: when their call came back."""

    key: str
    n: int
    at: float
    done: float | None = None
    session: int | None = None
    """the server process through which the holder got it: gone with the holder"""

    def counts(self, now: float) -> bool:
        """Whether the dealer may still have them in a window that includes ``now``."""
        return now < (self.at + LOST_AFTER if self.done is None else self.done + WINDOW + MARGIN)


@dataclass(slots=True)
class Taken:
    """``n`` recipients may be sent; whoever finds that fewer are sent lowers ``used``, and the rest is given back."""

    n: int
    used: int


def admit(
    grants: list[Grant], *, now: float, wanted: int, limit: int, share: float, least: int = 1
) -> tuple[int, float]:
    """Return how many of ``wanted`` may go now and, if none, after how many seconds to ask again.

    No fewer than ``least`` are given while more is wanted, or a backlog would be sent in ones and twos.
    """
    room = max(1, int(limit * share)) - sum(grant.n for grant in grants if grant.counts(now))
    worthwhile = min(wanted, max(1, least))
    if room >= worthwhile:
        return min(wanted, room), 0.0
    ends = [grant.done + WINDOW + MARGIN - now for grant in grants if grant.done is not None and grant.counts(now)]
    return 0, min([*ends, 0.05]) if ends else 0.05


def bereave(grants: list[Grant], sessions: Mapping[int, float], *, now: float) -> list[Grant]:
    """End the grants whose session is not among ``sessions`` (process id -> when it began) any more."""
    return [
        replace(grant, done=now + AFTERMATH)
        if grant.done is None and grant.session is not None and sessions.get(grant.session, now) > grant.at
        else grant
        for grant in grants
    ]


_LOCK = text("""
    SELECT grants, extract(epoch FROM clock_timestamp())::float8 AS now,
           extract(epoch FROM paused_until)::float8 AS paused_until, pg_backend_pid() AS session
    FROM dealer_limits WHERE dealer = :dealer FOR UPDATE
""")
_SAVE = text("UPDATE dealer_limits SET grants = CAST(:grants AS jsonb) WHERE dealer = :dealer")
_CREATE = text("INSERT INTO dealer_limits (dealer) VALUES (:dealer) ON CONFLICT DO NOTHING")
_PAUSE = text("""
    UPDATE dealer_limits SET paused_until = greatest(paused_until, clock_timestamp() + CAST(:span AS interval))
    WHERE dealer = :dealer
""")
_SESSIONS = text("""
    SELECT pid, coalesce(extract(epoch FROM backend_start), 0)::float8 AS began
    FROM pg_stat_activity WHERE pid = ANY(CAST(:pids AS int[]))
""")
_PAUSED = text("SELECT 1 FROM dealer_limits WHERE dealer = :dealer AND paused_until > clock_timestamp()")
_IN_USE = text("""
    SELECT dealer, grants, extract(epoch FROM clock_timestamp())::float8 AS now,
           CASE WHEN paused_until > clock_timestamp() THEN paused_until END AS paused_until
    FROM dealer_limits
""")


@dataclass(frozen=True, slots=True)
class InUse:
    """How much of a limit is in use: ``n`` recipients; until ``paused_until``, if it is set, nobody sends."""

    n: int
    paused_until: datetime | None


async def in_use(connection: AsyncConnection) -> dict[str, InUse]:
    """Return what counts against the limit of each dealer just now."""
    return {
        row.dealer: InUse(sum(grant.n for grant in _read(row.grants) if grant.counts(row.now)), row.paused_until)
        for row in await connection.execute(_IN_USE)
    }


@dataclass(frozen=True, slots=True)
class Limits:
    """Grants of all dealers; ``per_second`` is each account's limit."""

    engine: AsyncEngine
    per_second: dict[str, int]

    @asynccontextmanager
    async def take(
        self, dealer: str, wanted: int, lane: Lane, *, waiting: Callable[[], None] = lambda: None
    ) -> AsyncIterator[Taken]:
        """Wait until some of ``wanted`` recipients may be sent, and give how many (at least one).

        The call to the dealer is made within the block; the grant counts until a window after its end. ``waiting``
        is called at each turn of the wait.
        """
        key = uuid4().hex
        while not (granted := await self._try(dealer, wanted, lane, key)):
            waiting()
        taken = Taken(granted, granted)
        try:
            yield taken
        finally:
            await self._done(dealer, key, taken.used)

    async def pause(self, dealer: str, span: timedelta) -> None:
        """Let nobody send to ``dealer`` for ``span``: it said that it has enough."""
        async with self.engine.begin() as connection:
            await connection.execute(_PAUSE, {"dealer": dealer, "span": span})

    async def is_paused(self, dealer: str) -> bool:
        """Whether nobody may send to ``dealer`` just now, because it had enough."""
        async with self.engine.connect() as connection:
            return (await connection.execute(_PAUSED, {"dealer": dealer})).first() is not None

    async def _try(self, dealer: str, wanted: int, lane: Lane, key: str) -> int:
        async with self.engine.connect() as connection:  # what is not committed is rolled back, and costs no write
            row = (await connection.execute(_LOCK, {"dealer": dealer})).one_or_none()
            if row is None:
                await connection.execute(_CREATE, {"dealer": dealer})
                await connection.commit()
                return 0
            now = row.now
            if row.paused_until is not None and row.paused_until > now:
                granted, wait = 0, min(row.paused_until - now, 0.5)
            else:
                known = _read(row.grants)
                found = await _without_the_dead(connection, known, now)
                grants = [grant for grant in found if grant.counts(now)]
                limit = self.per_second[dealer]
                least = 1 if lane is Lane.AUTH else limit // 10
                granted, wait = admit(grants, now=now, wanted=wanted, limit=limit, share=SHARE[lane], least=least)
                if granted:
                    grants.append(Grant(key, granted, now, session=row.session))
                if granted or found != known:
                    await connection.execute(_SAVE, {"dealer": dealer, "grants": _write(grants)})
                    await connection.commit()  # durable: a grant forgotten by a crash would be given twice
        if not granted:
            await asyncio.sleep(wait)
        return granted

    async def _done(self, dealer: str, key: str, used: int) -> None:
        async with self.engine.begin() as connection:
            # What a crash forgets here, the session that went down with it makes good.
            await connection.execute(text("SET LOCAL synchronous_commit = off"))
            row = (await connection.execute(_LOCK, {"dealer": dealer})).one()
            grants = [replace(g, n=used, done=row.now) if g.key == key else g for g in _read(row.grants)]
            await connection.execute(_SAVE, {"dealer": dealer, "grants": _write([g for g in grants if g.n])})


async def _without_the_dead(connection: AsyncConnection, grants: list[Grant], now: float) -> list[Grant]:
    """Look after the holders, when a call takes longer than most."""
    if not any(grant.done is None and grant.at + WINDOW < now for grant in grants):
        return grants
    rows = await connection.execute(_SESSIONS, {"pids": list({g.session for g in grants if g.done is None})})
    return bereave(grants, {row.pid: row.began for row in rows}, now=now)


def _read(grants: str | list[list[object]]) -> list[Grant]:
    rows = json.loads(grants) if isinstance(grants, str) else grants
    return [Grant(*row) for row in rows]


def _write(grants: list[Grant]) -> str:
    return json.dumps([[g.key, g.n, g.at, g.done, g.session] for g in grants])
