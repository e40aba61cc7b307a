"""The rate limit of a dealer account, shared by every process through one row of Postgres.

A *grant* allows some recipients to be sent. It counts against the limit from the moment it is given until a full
window after its call came back, because the dealer sees the messages somewhere in between; so in every sliding
window, as the dealer sees arrivals, there are at most as many as the limit. A grant whose holder died counts until
``LOST_AFTER``. Times are those of the database, so that clocks of processes do not matter.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.contracts.states import Lane

WINDOW = 1.0
MARGIN = 0.02
"""seconds by which a window is made longer: clocks tick and networks jitter"""
LOST_AFTER = 60.0

SHARE = {Lane.AUTH: 1.0, Lane.NORMAL: 0.95, Lane.MASS: 0.8}
"""how much of the limit a lane may fill: what is left is there for those who wait more urgently"""


@dataclass(frozen=True, slots=True)
class Grant:
    """``n`` recipients that may be sent, at ``at`` (seconds, database time); ``done``: when their call came back."""

    key: str
    n: int
    at: float
    done: float | None = None

    def counts(self, now: float) -> bool:
        """Whether the dealer may still have them in a window that includes ``now``."""
        return now < (self.at + LOST_AFTER if self.done is None else self.done + WINDOW + MARGIN)


def admit(grants: list[Grant], *, now: float, wanted: int, limit: int, share: float) -> tuple[int, float]:
    """Return how many of ``wanted`` may go now and, if none, after how many seconds to ask again.

    Small change is not given while much is wanted, or a backlog would be sent in ones and twos.
    """
    room = max(1, int(limit * share)) - sum(grant.n for grant in grants if grant.counts(now))
    worthwhile = min(wanted, max(1, limit // 10))
    if room >= worthwhile:
        return min(wanted, room), 0.0
    ends = [grant.done + WINDOW + MARGIN - now for grant in grants if grant.done is not None and grant.counts(now)]
    return 0, min([*ends, 0.05]) if ends else 0.05


_LOCK = text("""
    SELECT grants, extract(epoch FROM clock_timestamp())::float8 AS now,
           extract(epoch FROM paused_until)::float8 AS paused_until
    FROM dealer_limits WHERE dealer = :dealer FOR UPDATE
""")
_SAVE = text("UPDATE dealer_limits SET grants = CAST(:grants AS jsonb) WHERE dealer = :dealer")
_CREATE = text("INSERT INTO dealer_limits (dealer) VALUES (:dealer) ON CONFLICT DO NOTHING")
_PAUSE = text("""
    UPDATE dealer_limits SET paused_until = greatest(paused_until, clock_timestamp() + CAST(:span AS interval))
    WHERE dealer = :dealer
""")


@dataclass(frozen=True, slots=True)
class Limits:
    """Grants of all dealers; ``per_second`` is each account's limit."""

    engine: AsyncEngine
    per_second: dict[str, int]

    @asynccontextmanager
    async def take(
        self, dealer: str, wanted: int, lane: Lane, *, waiting: Callable[[], None] = lambda: None
    ) -> AsyncIterator[int]:
        """Wait until some of ``wanted`` recipients may be sent, and give how many (at least one).

        The call to the dealer is made within the block; the grant counts until a window after its end. ``waiting``
        is called at each turn of the wait.
        """
        key = uuid4().hex
        while not (granted := await self._try(dealer, wanted, lane, key)):
            waiting()
        try:
            yield granted
        finally:
            await self._done(dealer, key)

    async def pause(self, dealer: str, span: timedelta) -> None:
        """Let nobody send to ``dealer`` for ``span``: it said that it has enough."""
        async with self.engine.begin() as connection:
            await connection.execute(_PAUSE, {"dealer": dealer, "span": span})

    async def _try(self, dealer: str, wanted: int, lane: Lane, key: str) -> int:
        async with self.engine.begin() as connection:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))  # a lost grant costs a second
            row = (await connection.execute(_LOCK, {"dealer": dealer})).one_or_none()
            if row is None:
                await connection.execute(_CREATE, {"dealer": dealer})
                return 0
            now = row.now
            if row.paused_until is not None and row.paused_until > now:
                granted, wait = 0, min(row.paused_until - now, 0.5)
            else:
                grants = [grant for grant in _read(row.grants) if grant.counts(now)]
                limit = self.per_second[dealer]
                granted, wait = admit(grants, now=now, wanted=wanted, limit=limit, share=SHARE[lane])
                if granted:
                    grants.append(Grant(key, granted, now))
                    await connection.execute(_SAVE, {"dealer": dealer, "grants": _write(grants)})
        if not granted:
            await asyncio.sleep(wait)
        return granted

    async def _done(self, dealer: str, key: str) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))
            row = (await connection.execute(_LOCK, {"dealer": dealer})).one()
            grants = [replace(g, done=row.now) if g.key == key else g for g in _read(row.grants)]
            await connection.execute(_SAVE, {"dealer": dealer, "grants": _write(grants)})


def _read(grants: str | list[list[object]]) -> list[Grant]:
    rows = json.loads(grants) if isinstance(grants, str) else grants
    return [Grant(*row) for row in rows]


def _write(grants: list[Grant]) -> str:
    return json.dumps([[g.key, g.n, g.at, g.done] for g in grants])
