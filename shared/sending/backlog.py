"""The backlog in Postgres: jobs that wait for tokens, by line; put away, drawn, and swept past their deadlines.

A row is put away before its record is committed on the bus, and deleted in the transaction that opens its attempt. So
it needs no lease: whoever dies before the commit leaves it where it was. A job that is read again is put away twice,
and the second row is void when it is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from shared.contracts.states import CHANNELS, LANES, Channel, Lane, MessageState
from shared.ledger.repository import load, save
from shared.sending.sender import Job
from shared.sending.sharing import Turn, share_out

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

# What moved on meanwhile is left out. The order is that of the bus.
_PUT_AWAY = text("""
    INSERT INTO backlog (lane, dealer, channel, profile, message_id, seq, deadline)
    SELECT m.lane, m.dealer, m.channel, m.profile, m.id, m.seq, m.deadline
    FROM unnest(CAST(:ids AS uuid[]), CAST(:seqs AS int[])) WITH ORDINALITY AS j (id, seq, place)
    JOIN messages m ON m.id = j.id AND m.seq = j.seq
    WHERE m.id BETWEEN :first AND :last AND m.state = 'queued'
    ORDER BY j.place
""")
# From key to key: a look at each line and profile, however many rows wait.
_STANDING = text("""
    WITH RECURSIVE standing AS (
        (SELECT lane, dealer, channel, profile, since FROM backlog ORDER BY lane, dealer, channel, profile, n LIMIT 1)
        UNION ALL
        SELECT b.* FROM standing s CROSS JOIN LATERAL (
            SELECT lane, dealer, channel, profile, since FROM backlog
            WHERE (lane, dealer, channel, profile) > (s.lane, s.dealer, s.channel, s.profile)
            ORDER BY lane, dealer, channel, profile, n LIMIT 1
        ) b
    )
    SELECT lane, dealer, channel, profile, extract(epoch FROM now() - since)::float8 AS waited FROM standing
""")
_PROFILES = text("""
    WITH RECURSIVE standing AS (
        (
            SELECT profile FROM backlog WHERE (lane, dealer, channel) = (:lane, :dealer, :channel)
            ORDER BY profile LIMIT 1
        )
        UNION ALL
        SELECT b.profile FROM standing s CROSS JOIN LATERAL (
            SELECT profile FROM backlog
            WHERE (lane, dealer, channel) = (:lane, :dealer, :channel) AND profile > s.profile
            ORDER BY profile LIMIT 1
        ) b
    )
    SELECT profile FROM standing
""")
_WAITING = text("""
    SELECT count(*) FROM (
        SELECT FROM backlog WHERE (lane, dealer, channel) = (:lane, :dealer, :channel) LIMIT :most
    ) at_most
""")
_WAITING_OF_ONE = text("""
    SELECT count(*) FROM (
        SELECT FROM backlog WHERE (lane, dealer, channel, profile) = (:lane, :dealer, :channel, :profile) LIMIT :most
    ) at_most
""")
# By their place in the table, which what is locked does not leave: no index has to be asked again.
_DRAW = text("""
    DELETE FROM backlog WHERE ctid = ANY(ARRAY(
        SELECT f.ctid FROM unnest(CAST(:profiles AS text[]), CAST(:shares AS int[])) AS s (profile, share)
        CROSS JOIN LATERAL (
            SELECT b.ctid FROM backlog b
            WHERE (b.lane, b.dealer, b.channel, b.profile) = (:lane, :dealer, :channel, s.profile)
            ORDER BY b.n LIMIT s.share FOR UPDATE SKIP LOCKED
        ) f
    ))
    RETURNING n, message_id, seq, profile
""")
_LATE = text("""
    DELETE FROM backlog WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM backlog WHERE deadline <= :now ORDER BY deadline LIMIT :most FOR UPDATE SKIP LOCKED
    ))
    RETURNING message_id, seq
""")
_COUNT = text("SELECT lane, dealer, count(*) AS n FROM backlog GROUP BY lane, dealer")


class Line(NamedTuple):
    """Jobs that wait for the same tokens; ``profile`` only where the dealer limits each profile."""

    lane: Lane
    dealer: str
    channel: Channel
    profile: str | None


class Standing(NamedTuple):
    """A profile that has a backlog, and how long its first job has waited."""

    lane: Lane
    dealer: str
    channel: Channel
    profile: str
    waited_seconds: float


async def put_away(connection: AsyncConnection, jobs: Sequence[Job]) -> None:
    """Let ``jobs`` wait, in their order; those that are void are left out."""
    ids = [job.message_id for job in jobs]
    asked = {"ids": ids, "seqs": [job.seq for job in jobs], "first": min(ids), "last": max(ids)}
    await connection.execute(_PUT_AWAY, asked)


async def standing(connection: AsyncConnection) -> list[Standing]:
    """Return every profile of every line that has a backlog."""
    rows = await connection.execute(_STANDING)
    return [Standing(LANES[row.lane], row.dealer, CHANNELS[row.channel], row.profile, row.waited) for row in rows]


async def count(connection: AsyncConnection) -> dict[tuple[Lane, str], int]:
    """Return how many wait, by lane and dealer; it reads the whole backlog's index."""
    return {(LANES[row.lane], row.dealer): row.n for row in await connection.execute(_COUNT)}


async def waiting(connection: AsyncConnection, line: Line, most: int) -> int:
    """Return how many wait in ``line``, or ``most`` if they are more."""
    statement = _WAITING if line.profile is None else _WAITING_OF_ONE
    return int((await connection.execute(statement, {**_named(line), "most": most})).scalar_one())


async def expire(connection: AsyncConnection, *, now: datetime, most: int) -> int:
    """End up to ``most`` messages that wait past their deadline; return how many rows went.

    No token comes for them, perhaps for hours: nobody would tell that a code is not worth sending any more.
    """
    late = (await connection.execute(_LATE, {"now": now, "most": most})).all()
    book = await load(connection, {row.message_id for row in late}, now=now, attempts=False)
    for row in late:
        message = book.messages.get(row.message_id)
        if message is not None and message.state is MessageState.QUEUED and message.seq == row.seq:
            book.move(message, MessageState.EXPIRED, final=True, reason="expired")
    await save(connection, book)
    return len(late)


@dataclass(slots=True)
class Draw:
    """Takes up to ``room`` jobs out of ``line``, shared among its profiles."""

    line: Line
    room: int
    shares: Mapping[str, int]
    """of each profile; 1 for one that is not named"""
    turns: dict[Line, Turn]
    """where draws ended, by line: where the next begins, also if this one is still under way"""
    began: Turn | None = None
    """where this one began; it does so anew after it was looked at and rolled back"""

    def of(self, room: int) -> Draw:
        """Return the same for ``room`` jobs."""
        return replace(self, room=room)

    async def __call__(self, connection: AsyncConnection) -> list[Job]:
        """Delete and return the jobs, in the order in which they were put away; what others have locked is left."""
        named, rest = _named(self.line), self.room
        rows: list[Row[Any]] = []
        shares = {profile: self.shares.get(profile, 1) for profile in await self._profiles(connection)}
        is_first = self.began is None  # from here to where it ends nothing is waited for: draws share one turn
        turn = self.began = self.began or self.turns.get(self.line, Turn())
        while rest and shares:
            given, turn = share_out(rest, shares, turn)
            if is_first:
                self.turns[self.line] = turn
            asked = {"profiles": list(given), "shares": list(given.values())}
            drawn = (await connection.execute(_DRAW, {**named, **asked})).all()
            rows += drawn
            rest -= len(drawn)
            got = Counter(row.profile for row in drawn)
            # What one leaves because it has no more goes to the others.
            shares = {profile: share for profile, share in shares.items() if got[profile] == given.get(profile, 0)}
        rows.sort(key=lambda row: row.n)
        line = self.line
        return [Job(row.message_id, row.seq, line.dealer, line.channel, line.lane, row.profile) for row in rows]

    async def _profiles(self, connection: AsyncConnection) -> list[str]:
        if self.line.profile is not None:
            return [self.line.profile]
        return [row.profile for row in await connection.execute(_PROFILES, _named(self.line))]


def _named(line: Line) -> dict[str, str]:
    named: dict[str, str] = {"lane": line.lane, "dealer": line.dealer, "channel": line.channel}
    return named if line.profile is None else {**named, "profile": line.profile}
