"""The bus over the ledger itself, for one machine: what Kafka's brokers do, done by Postgres.

A group's members lease partitions in ``bus_cursors``, by the clock of Postgres. A member that died is known by its
silence, and its partitions go to the others when their lease ends; one that leaves gives them free at once. A cursor
is moved only by its owner. Partitions are shares of people (bucket modulo their number), as with the relay.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

import structlog
from sqlalchemy import text

from shared.bus.base import BusAway, CommitRefused, Record, TopicPartition
from shared.bus.connection import BusConnection, announce, bus_connection
from shared.bus.ledger import END, TOPICS, Entry, Place, read
from shared.contracts.delivery import Interest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from sqlalchemy import Row, TextClause
    from sqlalchemy.ext.asyncio import AsyncEngine

PARTITIONS = 4
"""The same in every process: a cursor belongs to a share of the people, and the shares follow from this number."""

_POLL_SECONDS = 5.0
"""Whoever writes rings the bell: this is a safety net."""
_HELD_BACK_SECONDS, _HELD_BACK_MOST_SECONDS = 0.01, 0.25
_AWAY_SECONDS = 0.5
_LEAVE_SECONDS = 3.0
_GRAVES = UUID("6b1c4a0e-5f0f-4d57-9f6e-8d3c6e3f7a21")

_MAKE_CURSORS = text("""
    INSERT INTO bus_cursors (consumer_group, topic, partition)
    SELECT :group, topic, partition
    FROM unnest(CAST(:topics AS text[])) topic, generate_series(0, CAST(:partitions AS int) - 1) partition
    ON CONFLICT DO NOTHING
""")
_SEEN = text("""
    INSERT INTO bus_members (consumer_group, member, seen_at) VALUES (:group, :me, now())
    ON CONFLICT (consumer_group, member) DO UPDATE SET seen_at = now()
""")
# And forgets those that have died. Seen long after now are the dead of before the clock of Postgres was set back, and
# who lives is back with its next beat; their leases are told by the same.
_MEMBERS = text("""
    WITH gone AS (
        DELETE FROM bus_members
        WHERE consumer_group = :group
          AND seen_at NOT BETWEEN now() - make_interval(secs => CAST(:lease AS float))
                              AND now() + make_interval(secs => CAST(:lease AS float))
        RETURNING member
    )
    SELECT member FROM bus_members WHERE consumer_group = :group AND member NOT IN (SELECT member FROM gone)
""")
# Renews every lease of this member, and moves the cursors that are given on past what is none of theirs.
_RENEW = text("""
    UPDATE bus_cursors c
    SET lease_until = now() + make_interval(secs => CAST(:lease AS float)),
        xid = coalesce(p.xid::xid8, c.xid), position = coalesce(p.position, c.position)
    FROM bus_cursors o
    LEFT JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:xids AS text[]),
                     CAST(:positions AS bigint[])) AS p (topic, partition, xid, position)
           ON p.topic = o.topic AND p.partition = o.partition AND (p.xid::xid8, p.position) > (o.xid, o.position)
    WHERE c.consumer_group = :group AND c.owner = :me
      AND o.consumer_group = c.consumer_group AND o.topic = c.topic AND o.partition = c.partition
    RETURNING c.topic, c.partition, c.xid::text AS xid, c.position
""")
_CLAIM = text("""
    UPDATE bus_cursors c
    SET owner = :me, lease_until = now() + make_interval(secs => CAST(:lease AS float))
    FROM (
        SELECT topic, partition FROM bus_cursors
        WHERE consumer_group = :group AND topic = :topic
          AND (owner IS NULL OR lease_until < now()
               OR lease_until > now() + make_interval(secs => 2 * CAST(:lease AS float)))
          AND partition < CAST(:partitions AS int)
        ORDER BY partition LIMIT :wanted FOR UPDATE SKIP LOCKED
    ) free
    WHERE c.consumer_group = :group AND c.topic = free.topic AND c.partition = free.partition
    RETURNING c.topic, c.partition, c.xid::text AS xid, c.position
""")
_MOVE = """
    UPDATE bus_cursors c
    SET xid = p.xid::xid8, position = p.position{more}
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:xids AS text[]),
                CAST(:positions AS bigint[])) AS p (topic, partition, xid, position)
    WHERE c.consumer_group = :group AND c.owner = :me AND c.topic = p.topic AND c.partition = p.partition
    RETURNING c.topic, c.partition
"""
_COMMIT = text(_MOVE.format(more=""))
_RELEASE = text(_MOVE.format(more=", owner = NULL, lease_until = NULL"))
_LEAVE = text("DELETE FROM bus_members WHERE consumer_group = :group AND member = :me")
_BURY = text("""
    INSERT INTO dead_letters (id, topic, partition, record_offset, consumer_group, reason, detail, key, value)
    VALUES (:id, :topic, :partition, :offset, :group, :reason, :detail, :key, :value)
    ON CONFLICT DO NOTHING
""")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Share:
    """A partition that this member owns."""

    read: Place
    """everything up to here was looked at; what is not done of it is ``ready`` or ``out``"""
    cursor: Place
    """what is noted in the database"""
    ready: deque[Entry] = field(default_factory=deque)
    out: dict[int, Place] = field(default_factory=dict)
    """given to the handler and not committed: position to place, in order"""

    @property
    def done(self) -> Place:
        """Where a new owner would go on: the end of what was looked at, once nothing of it is open."""
        return self.cursor if self.ready or self.out else self.read


class EmbeddedSource:
    """A member of a consumer group that reads the ledger. Begins at the ledger's first row.

    A Postgres that is away brings no records and refuses commits; when it is back, the member joins again.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        group: str,
        topics: Sequence[str],
        *,
        interest: Interest = Interest.ALL,
        partitions: int = PARTITIONS,
        lease_seconds: float = 5.0,
    ) -> None:
        if foreign := set(topics) - TOPICS:
            raise ValueError(f"the embedded bus does not carry {', '.join(sorted(foreign))}")
        self._engine = engine
        self._group = group
        self._topics = tuple(topics)
        self._interest = interest
        self._partitions = partitions
        self._lease_seconds = lease_seconds
        self._me = uuid4()
        self._shares: dict[TopicPartition, _Share] = {}
        self._session: int | None = None
        """the session with Postgres in which the shares were read"""
        self._bus: BusConnection
        self._stack = AsyncExitStack()
        self._grouping = asyncio.Lock()
        self._balanced_at = float("-inf")
        self._renew_at = float("-inf")
        self._changes_seen = -1
        self._rings_heard = -1
        self._look_at = float("-inf")
        self._held_back = _HELD_BACK_SECONDS

    async def __aenter__(self) -> Self:
        self._bus = await self._stack.enter_async_context(bus_connection(self._engine))
        try:
            async with self._engine.begin() as connection:  # the pool's commits are durable
                await connection.execute(
                    _MAKE_CURSORS,
                    {"group": self._group, "topics": list(self._topics), "partitions": self._partitions},
                )
            await self._balance()
        except BaseException:
            await self._stack.aclose()
            raise
        beating = asyncio.create_task(self._beat())
        self._stack.push_async_callback(_cancel, beating)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            with suppress(BusAway, TimeoutError):  # then the lease runs out instead
                await asyncio.wait_for(self._leave(), _LEAVE_SECONDS)
        finally:
            await self._stack.aclose()

    async def getmany(self, *, timeout_seconds: float, max_records: int) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what is there; each topic gets its share, so that a backlog in one holds up no other."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        while True:
            try:
                await self._balance_when_due()
                await self._look_when_due(max_records)
            except BusAway as error:
                log.warning("bus_away", group=self._group, error=str(error))
                self._forget()
                self._rings_heard = self._bus.bell.rings
                self._look_at = loop.time() + _AWAY_SECONDS
            if any(share.ready for share in self._shares.values()):
                return self._take(max_records)
            left = until - loop.time()
            if left <= 0:
                return {}
            rest = max(0.0, min(left, self._look_at - loop.time()))
            await self._bus.bell.wait(self._rings_heard, rest)

    async def commit(self, done: Mapping[TopicPartition, Record]) -> None:
        """Note what is done, where this member is still the owner. Raises ``CommitRefused`` when it is not."""
        places: dict[TopicPartition, Place] = {}
        for at, record in done.items():
            share = self._shares.get(at)
            place = share.out.get(record.offset) if share else None
            if place is not None:
                places[at] = place
        try:
            rows = await self._execute(_COMMIT, **_columns(places)) if places else ()
        except BusAway as error:
            self._forget()
            raise CommitRefused("Postgres does not answer") from error
        noted = {TopicPartition(row.topic, row.partition) for row in rows}
        for at in noted & self._shares.keys():
            share = self._shares[at]
            share.cursor = places[at]
            share.out = {position: p for position, p in share.out.items() if p > places[at]}
        if noted != done.keys():
            for at in done.keys() - noted:
                self._shares.pop(at, None)
            raise CommitRefused("partitions have a new owner")

    async def bury(self, record: Record, reason: str, detail: str) -> None:
        """Put ``record`` into the table of dead letters, once however often it is buried."""
        async with self._engine.begin() as connection:
            await connection.execute(
                _BURY,
                {
                    "id": uuid5(_GRAVES, f"{self._group}/{record.topic}/{record.partition}/{record.offset}"),
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                    "group": self._group,
                    "reason": reason,
                    "detail": detail,
                    "key": record.key,
                    "value": record.value,
                },
            )

    # -- reading -------------------------------------------------------------------------------------------------

    async def _look_when_due(self, limit: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._bus.bell.rings == self._rings_heard and now < self._look_at:
            return
        heard = self._bus.bell.rings
        waiting, more = False, False
        for topic in self._topics:
            shares = {at: share for at, share in self._shares.items() if at.topic == topic}
            if shares and not any(share.ready for share in shares.values()):
                held, full = await self._look(topic, shares, limit)
                waiting, more = waiting or held, more or full
            elif shares:
                more = True
        self._rings_heard = heard
        now = asyncio.get_running_loop().time()
        if more:
            self._look_at = now
        elif waiting:
            self._look_at = now + self._held_back
            self._held_back = min(self._held_back * 2, _HELD_BACK_MOST_SECONDS)
            return
        else:
            self._look_at = now + _POLL_SECONDS
        self._held_back = _HELD_BACK_SECONDS

    async def _look(self, topic: str, shares: Mapping[TopicPartition, _Share], limit: int) -> tuple[bool, bool]:
        """Fill ``shares`` from where the hindmost stand, up to where the next one does; they go on together.

        Return whether rows are held back by a running transaction, and whether there is more to read at once.
        """
        places = sorted({share.read for share in shares.values()})
        start, until = places[0], places[1] if len(places) > 1 else END
        reading = {at.partition: share for at, share in shares.items() if share.read == start}
        page = await read(
            self._bus,
            topic,
            start,
            until=until,
            partitions=self._partitions,
            owned=list(reading),
            limit=limit,
            interest=self._interest,
            session=self._session,
        )
        for entry in page.entries:
            reading[entry.bucket % self._partitions].ready.append(entry)
        for share in reading.values():
            share.read = page.upto
        return page.waiting, bool(page.entries) or until is not END

    def _take(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]] = {}
        quota = -(-max_records // len(self._topics))
        room = max_records
        for most in (quota, max_records):  # first to each topic its part, then what is left to any
            for topic in self._topics:
                taken = 0
                for at, share in self._shares.items():
                    while at.topic == topic and share.ready and taken < most and room:
                        entry = share.ready.popleft()
                        share.out[entry.delivery.position] = entry.place
                        found.setdefault(at, []).append(_record(at, entry))
                        taken += 1
                        room -= 1
        return found

    def _forget(self) -> None:
        """Give up all that is only remembered, to go on from the cursors in the database.

        A Postgres that crashed gives transaction ids again that it had given and not written down. So a place read up
        to before the crash may lie above changes that are committed after it. A cursor in the database cannot: its own
        transaction has a higher id, and was written down.
        """
        self._shares.clear()
        self._session = None
        self._balanced_at = float("-inf")

    # -- the group -----------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Keep the leases, however long the handler takes; between two batches ``_balance`` does."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._lease_seconds / 12, self._renew_at - loop.time()))
            try:
                async with self._grouping:
                    if loop.time() >= self._renew_at:
                        await self._renew()
            except BusAway as error:
                log.warning("bus_heartbeat_failed", group=self._group, error=str(error))
                self._forget()

    async def _balance_when_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._bus.group_changes != self._changes_seen or now >= self._balanced_at + self._lease_seconds / 3:
            await self._balance()

    async def _balance(self) -> None:
        """Give free what is above this member's share, and claim what is free up to it."""
        async with self._grouping:
            changes = self._bus.group_changes
            await self._renew()
            rows = await self._execute(_MEMBERS, lease=self._lease_seconds)
            members = sorted({self._me, *(row.member for row in rows)})
            changed = False
            for n, topic in enumerate(self._topics):
                mine = [at for at in self._shares if at.topic == topic]
                fair = fair_share(self._partitions, len(members), members.index(self._me) + n)
                if len(mine) > fair:
                    # A handler may be at work on some; those go at a later turn.
                    idle = [at for at in mine if not self._shares[at].out][: len(mine) - fair]
                    await self._release(idle)
                    changed = changed or bool(idle)
                elif len(mine) < fair:
                    rows = await self._execute(
                        _CLAIM,
                        topic=topic,
                        partitions=self._partitions,
                        wanted=fair - len(mine),
                        lease=self._lease_seconds,
                    )
                    self._own(rows)
            if changed or self._changes_seen == -1:
                await announce(self._bus)
            self._changes_seen = max(changes, self._changes_seen)
            self._balanced_at = asyncio.get_running_loop().time()

    async def _renew(self) -> None:
        self._renew_at = asyncio.get_running_loop().time() + self._lease_seconds / 2
        await self._execute(_SEEN)
        moved = {at: share.done for at, share in self._shares.items() if share.done != share.cursor}
        rows = await self._execute(_RENEW, **_columns(moved), lease=self._lease_seconds)
        owned = {TopicPartition(row.topic, row.partition) for row in rows}
        for at in self._shares.keys() - owned:
            log.info("partition_lost", group=self._group, topic=at.topic, partition=at.partition)
            del self._shares[at]
        for at, place in moved.items():
            if at in self._shares:
                self._shares[at].cursor = max(self._shares[at].cursor, place)
        self._own(row for row in rows if TopicPartition(row.topic, row.partition) not in self._shares)

    def _own(self, rows: Iterable[Row[Any]]) -> None:
        for row in rows:
            place = Place(int(row.xid), row.position)
            self._shares[TopicPartition(row.topic, row.partition)] = _Share(place, place)
            self._look_at = float("-inf")

    async def _release(self, partitions: Sequence[TopicPartition]) -> None:
        if partitions:
            done = {at: self._shares.pop(at).done for at in partitions}
            await self._execute(_RELEASE, **_columns(done))

    async def _leave(self) -> None:
        async with self._grouping:
            await self._release(list(self._shares))
            await self._execute(_LEAVE)
            await announce(self._bus)

    async def _execute(self, statement: TextClause, **parameters: object) -> Sequence[Row[Any]]:
        if self._session is None:
            self._session = await self._bus.session()
        return await self._bus.execute(
            statement, {"group": self._group, "me": self._me, **parameters}, session=self._session
        )


def fair_share(partitions: int, members: int, rank: int) -> int:
    """Return how many of ``partitions`` the member of this ``rank`` (modulo ``members``) should own."""
    each, left = divmod(partitions, members)
    return each + (rank % members < left)


def _columns(places: Mapping[TopicPartition, Place]) -> dict[str, list[Any]]:
    return {
        "topics": [at.topic for at in places],
        "partitions": [at.partition for at in places],
        "xids": [str(place.xid) for place in places.values()],
        "positions": [place.position for place in places.values()],
    }


def _record(at: TopicPartition, entry: Entry) -> Record:
    return Record(
        topic=at.topic,
        partition=at.partition,
        offset=entry.delivery.position,
        key=entry.delivery.person_id.bytes,
        value=entry.value(at.topic),
    )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
