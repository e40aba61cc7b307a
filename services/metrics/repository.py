"""The tables of counts: added to as records come, recounted from the ledger, compared with it, rebuilt.

A week that is dropped from the ledger is recounted a last time, into tables of its own (``stats_…_dropped``). So the
counts always equal a recount of what is kept, and what was dropped.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from services.metrics.domain import (
    COST,
    DOUBLE_CONTACT,
    FELL_BACK,
    UNKNOWN,
    AttemptKey,
    Counts,
    Mark,
    MessageKey,
    Past,
)
from shared.contracts.states import MessageState
from shared.contracts.topics import DELIVERY
from shared.db.partitions import name_of
from shared.ids import first_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

RETENTION = 0x626F6E6773746174
"""any constant: the session lock of whoever drops weeks"""

_EVERY = -1
"""the partition in ``stats_offsets`` that stands for those which have none yet: where a rebuild left off"""
_LAST_POSITION = 2**63 - 1

# -- as records come -------------------------------------------------------------------------------------------------

_LOCK_MARKS = text("""
    SELECT partition, xid::text AS xid, position FROM stats_offsets
    WHERE topic = :topic AND partition = ANY(CAST(:partitions AS int[])) ORDER BY partition FOR UPDATE
""")
_MAKE_MARKS = text("""
    INSERT INTO stats_offsets (topic, partition, xid, position)
    SELECT :topic, p, coalesce(rebuilt.xid, '0'), coalesce(rebuilt.position, 0)
    FROM unnest(CAST(:partitions AS int[])) AS p
    LEFT JOIN stats_offsets AS rebuilt ON rebuilt.topic = :topic AND rebuilt.partition = :every
    ORDER BY p
    ON CONFLICT ON CONSTRAINT stats_offsets_pkey DO NOTHING
""")
_MOVE_MARKS = text("""
    UPDATE stats_offsets o SET xid = c.xid::xid8, position = c.position
    FROM unnest(CAST(:partitions AS int[]), CAST(:xids AS text[]), CAST(:positions AS bigint[]))
         AS c (partition, xid, position)
    WHERE o.topic = :topic AND o.partition = c.partition
""")
_PAST = text("""
    SELECT message_id, seq, state, final, reason FROM transitions
    WHERE message_id = ANY(CAST(:ids AS uuid[])) AND message_id BETWEEN :first AND :last ORDER BY message_id, seq
""")
_ADD_MESSAGES = """
    INSERT INTO {table} AS s (hour, profile, rule, template, lane, state, reason, channel, n)
    SELECT * FROM unnest(
        CAST(:hour AS timestamptz[]), CAST(:profile AS text[]), CAST(:rule AS text[]), CAST(:template AS text[]),
        CAST(:lane AS text[]), CAST(:state AS text[]), CAST(:reason AS text[]), CAST(:channel AS text[]),
        CAST(:n AS bigint[]))
    ON CONFLICT ON CONSTRAINT {table}_pkey DO UPDATE SET n = s.n + excluded.n
"""
_ADD_ATTEMPTS = """
    INSERT INTO {table} AS s (hour, profile, template, channel, dealer, state, reason, n, cost_krw)
    SELECT * FROM unnest(
        CAST(:hour AS timestamptz[]), CAST(:profile AS text[]), CAST(:template AS text[]), CAST(:channel AS text[]),
        CAST(:dealer AS text[]), CAST(:state AS text[]), CAST(:reason AS text[]), CAST(:n AS bigint[]),
        CAST(:cost_krw AS bigint[]))
    ON CONFLICT ON CONSTRAINT {table}_pkey
    DO UPDATE SET n = s.n + excluded.n, cost_krw = s.cost_krw + excluded.cost_krw
"""
_ADD_HOURS = text("""
    INSERT INTO stats_hours AS s (hour, profile, channel, dealer, state, reason, n, cost_krw)
    SELECT hour, profile, channel, dealer, state, reason, sum(n), sum(cost_krw) FROM unnest(
        CAST(:hour AS timestamptz[]), CAST(:profile AS text[]), CAST(:channel AS text[]), CAST(:dealer AS text[]),
        CAST(:state AS text[]), CAST(:reason AS text[]), CAST(:n AS bigint[]), CAST(:cost_krw AS bigint[])
    ) AS c (hour, profile, channel, dealer, state, reason, n, cost_krw)
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT ON CONSTRAINT stats_hours_pkey
    DO UPDATE SET n = s.n + excluded.n, cost_krw = s.cost_krw + excluded.cost_krw
""")
_ADD = {
    suffix: (
        text(_ADD_MESSAGES.format(table=f"stats_messages{suffix}")),
        text(_ADD_ATTEMPTS.format(table=f"stats_attempts{suffix}")),
    )
    for suffix in ("", "_dropped")
}


async def lock_marks(connection: AsyncConnection, topic: str, partitions: Collection[int]) -> dict[int, Mark]:
    """Return how far each of ``partitions`` is counted, and keep others from counting them until the end."""
    asked = {"topic": topic, "partitions": sorted(set(partitions))}
    rows = (await connection.execute(_LOCK_MARKS, asked)).all()
    if len(rows) < len(asked["partitions"]):
        await connection.execute(_MAKE_MARKS, {**asked, "every": _EVERY})
        rows = (await connection.execute(_LOCK_MARKS, asked)).all()
    return {row.partition: Mark(int(row.xid), row.position) for row in rows}


async def move_marks(connection: AsyncConnection, topic: str, marks: Mapping[int, Mark]) -> None:
    """Note that each partition is counted up to its mark; the caller holds their locks."""
    rows = sorted(marks.items())
    await connection.execute(
        _MOVE_MARKS,
        {
            "topic": topic,
            "partitions": [partition for partition, _ in rows],
            "xids": [str(mark.xid) for _, mark in rows],
            "positions": [mark.position for _, mark in rows],
        },
    )


async def load_past(connection: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, list[Past]]:
    """Return the changes of the messages ``ids``, in their order."""
    found: defaultdict[UUID, list[Past]] = defaultdict(list)
    if ids:
        for row in await connection.execute(_PAST, {"ids": list(ids), "first": min(ids), "last": max(ids)}):
            found[UUID(bytes=row.message_id.bytes)].append(
                Past(row.seq, MessageState(row.state), row.final, row.reason)
            )
    return dict(found)


async def add(connection: AsyncConnection, counts: Counts, *, dropped: bool = False) -> None:
    """Add differences to the tables, in one statement each; ``dropped`` to those of what the ledger has no more."""
    add_messages, add_attempts = _ADD["_dropped" if dropped else ""]
    messages, attempts = counts.tidy()
    if messages:
        columns = {name: [getattr(key, name) for key, _ in messages] for name in MessageKey._fields}
        await connection.execute(add_messages, {**columns, "n": [n for _, n in messages]})
    if attempts:
        columns = {name: [getattr(key, name) for key, *_ in attempts] for name in AttemptKey._fields}
        values = {**columns, "n": [n for _, n, _ in attempts], "cost_krw": [krw for *_, krw in attempts]}
        await connection.execute(add_attempts, values)
        if not dropped:
            await connection.execute(_ADD_HOURS, {name: values[name] for name in values if name != "template"})


# -- recounting ------------------------------------------------------------------------------------------------------

# The hour of a message is read off its id: the first 48 bits are milliseconds.
_BORN = """to_timestamp(
    ('x' || substr(translate({id}::text, '-', ''), 1, 12))::bit(48)::bigint / 3600000 * 3600)"""

# Each change below the horizon is a difference between two rows of its message, told by window functions over all of
# its changes. Not "the last change of each message": two changes of one message may lie on both sides of the horizon
# in the other order, and the counter adds differences.
# ``{transitions}``, ``{messages}`` and ``{which}`` are filled in: the whole ledger, or a part of a week of it.
_MESSAGES_FROM = f"""
    WITH changes AS (
        SELECT *, state || CASE WHEN final THEN '!' ELSE '' END AS standing FROM {{transitions}} {{which}}
    ), entered AS (
        SELECT *, (standing IS DISTINCT FROM lag(standing) OVER (PARTITION BY message_id ORDER BY seq))::int AS enters
        FROM changes
    ), runs AS (
        SELECT *, sum(enters) OVER (PARTITION BY message_id ORDER BY seq) AS run FROM entered
    ), why AS (
        SELECT *, first_value(reason) OVER first AS ended_by, first_value(channel) OVER first AS first_channel
        FROM runs WINDOW first AS (PARTITION BY message_id, run ORDER BY seq)
    ), standings AS (
        SELECT message_id, seq, xid, was, state, channel, attempt_was, attempt_state,
               CASE WHEN state IN ('suppressed', 'expired', 'cancelled') OR (state = 'failed' AND final)
                    THEN coalesce(ended_by, '{UNKNOWN}') ELSE '' END AS end_reason,
               CASE WHEN state = 'delivered' THEN first_channel ELSE '' END AS end_channel
        FROM why
    ), steps AS (
        SELECT *, lag(state) OVER w AS from_state, lag(end_reason) OVER w AS from_reason,
               lag(end_channel) OVER w AS from_channel
        FROM standings WINDOW w AS (PARTITION BY message_id ORDER BY seq)
    ), counted AS (
        SELECT * FROM steps WHERE xid < CAST(:horizon AS text)::xid8
    ), differences AS (
        SELECT message_id, state, end_reason AS reason, end_channel AS channel, 1 AS n FROM counted
        UNION ALL
        SELECT message_id, from_state, from_reason, from_channel, -1 FROM counted WHERE from_state IS NOT NULL
        UNION ALL
        SELECT message_id, '{FELL_BACK}', '', channel, 1 FROM counted
        WHERE was = 'failed' AND state IN ('queued', 'scheduled') AND channel IN ('sms', 'lms', 'mms')
        UNION ALL
        SELECT message_id, '{DOUBLE_CONTACT}', '', channel, 1 FROM counted
        WHERE was = 'delivered' AND attempt_state = 'delivered' AND attempt_was IS DISTINCT FROM 'delivered'
    )
    SELECT {_BORN.format(id="m.id")} AS hour, m.profile, m.rule, m.template, m.lane, d.state, d.reason, d.channel,
           sum(d.n)::bigint AS n
    FROM differences d JOIN {{messages}} m ON m.id = d.message_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 HAVING sum(d.n) <> 0
"""  # noqa: S608 - put together from constants

_ATTEMPTS_FROM = f"""
    WITH standings AS (
        SELECT message_id, attempt, seq, xid, date_trunc('hour', sent_at, 'UTC') AS hour, channel, dealer,
               attempt_state AS state, cost_krw,
               CASE WHEN attempt_state = 'failed' THEN coalesce(reason, '{UNKNOWN}') ELSE '' END AS reason
        FROM (SELECT * FROM {{transitions}} {{which}}) AS changes WHERE attempt_state IS NOT NULL
    ), steps AS (
        SELECT *, lag(state) OVER w AS from_state, lag(reason) OVER w AS from_reason
        FROM standings WINDOW w AS (PARTITION BY message_id, attempt ORDER BY seq)
    ), counted AS (
        SELECT * FROM steps WHERE xid < CAST(:horizon AS text)::xid8
    ), differences AS (
        SELECT message_id, hour, channel, dealer, state, reason, 1 AS n, 0 AS cost_krw FROM counted
        UNION ALL
        SELECT message_id, hour, channel, dealer, from_state, from_reason, -1, 0 FROM counted
        WHERE from_state IS NOT NULL
        UNION ALL
        SELECT message_id, hour, channel, dealer, '{COST}', '', 0, cost_krw FROM counted
    )
    SELECT d.hour, m.profile, m.template, d.channel, d.dealer, d.state, d.reason, sum(d.n)::bigint AS n,
           sum(d.cost_krw)::bigint AS cost_krw
    FROM differences d JOIN {{messages}} m ON m.id = d.message_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(d.n) <> 0 OR sum(d.cost_krw) <> 0
"""  # noqa: S608 - put together from constants
_WHOLE = {"transitions": "transitions", "messages": "messages", "which": ""}
_MESSAGES_FROM_TRANSITIONS = _MESSAGES_FROM.format(**_WHOLE)
_ATTEMPTS_FROM_TRANSITIONS = _ATTEMPTS_FROM.format(**_WHOLE)

# The other way round: no history, only what is true of each message and each attempt now. It cannot tell over which
# channel a message was reached first, nor that it fell back.
_MESSAGES_AS_THEY_ARE = f"""
    SELECT {_BORN.format(id="id")} AS hour, profile, rule, template, lane, state,
           CASE WHEN state IN ('suppressed', 'expired', 'cancelled') OR (state = 'failed' AND final)
                THEN coalesce(reason, '{UNKNOWN}') ELSE '' END AS reason,
           '' AS channel, count(*) AS n
    FROM messages GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608 - put together from constants
_ATTEMPTS_AS_THEY_ARE = f"""
    WITH there AS (
        SELECT date_trunc('hour', a.opened_at, 'UTC') AS hour, m.profile, m.template, a.channel, a.dealer, a.state,
               CASE WHEN a.state = 'failed' THEN coalesce(a.reason, '{UNKNOWN}') ELSE '' END AS reason, a.cost_krw
        FROM attempts a JOIN messages m ON m.id = a.message_id
    )
    SELECT hour, profile, template, channel, dealer, state, reason, count(*) AS n, 0 AS cost_krw
    FROM there GROUP BY 1, 2, 3, 4, 5, 6, 7
    UNION ALL
    SELECT hour, profile, template, channel, dealer, '{COST}', '', 0, sum(cost_krw)
    FROM there GROUP BY 1, 2, 3, 4, 5 HAVING sum(cost_krw) <> 0
"""  # noqa: S608 - put together from constants
_MESSAGES_COUNTED = "SELECT * FROM stats_messages WHERE n <> 0"
_ATTEMPTS_COUNTED = "SELECT * FROM stats_attempts WHERE n <> 0 OR cost_krw <> 0"
_HOURS_FROM_ATTEMPTS = """
    SELECT hour, profile, channel, dealer, state, reason, sum(n) AS n, sum(cost_krw) AS cost_krw
    FROM stats_attempts GROUP BY 1, 2, 3, 4, 5, 6
"""
_HOURS_THAT_DIFFER = text(f"""
    SELECT hour, profile, channel, dealer, state, reason,
           (coalesce(s.n, 0) + coalesce(s.cost_krw, 0))::bigint AS have,
           (coalesce(a.n, 0) + coalesce(a.cost_krw, 0))::bigint AS want
    FROM stats_hours s FULL JOIN ({_HOURS_FROM_ATTEMPTS}) a USING (hour, profile, channel, dealer, state, reason)
    WHERE (coalesce(s.n, 0), coalesce(s.cost_krw, 0)) <> (coalesce(a.n, 0), coalesce(a.cost_krw, 0)) ORDER BY 1, 2
""")  # noqa: S608 - put together from constants
_MESSAGES_DROPPED = "SELECT * FROM stats_messages_dropped"
_ATTEMPTS_DROPPED = "SELECT * FROM stats_attempts_dropped"


async def horizon(connection: AsyncConnection) -> int:
    """Return the lowest transaction that still runs: nothing can be added to the ledger below it any more."""
    found = await connection.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text"))
    return int(found.scalar_one())


async def recount(connection: AsyncConnection, *, upto: int | None = None) -> Counts:
    """Return the tables as ``transitions`` below the horizon ``upto`` (None: the present one) make them, and what was
    dropped.
    """  # noqa: D205 - one sentence, and longer than a line
    found = await _dropped(connection)
    before = {"horizon": str(await horizon(connection) if upto is None else upto)}
    return await _read(connection, _MESSAGES_FROM_TRANSITIONS, _ATTEMPTS_FROM_TRANSITIONS, before, found)


async def recount_present(connection: AsyncConnection) -> Counts:
    """Return the tables as ``messages`` and ``attempts`` make them, without channels and milestones of messages."""
    found = as_present(await _dropped(connection))
    return await _read(connection, _MESSAGES_AS_THEY_ARE, _ATTEMPTS_AS_THEY_ARE, {}, found)


async def counted(connection: AsyncConnection) -> Counts:
    """Return the tables as they stand."""
    return await _read(connection, _MESSAGES_COUNTED, _ATTEMPTS_COUNTED, {}, Counts())


async def _dropped(connection: AsyncConnection) -> Counts:
    return await _read(connection, _MESSAGES_DROPPED, _ATTEMPTS_DROPPED, {}, Counts())


@dataclass(frozen=True)
class Difference:
    """A figure of which the counts and the ledger say different things."""

    source: str
    """what was recounted: ``transitions``, the ``present`` state of messages and attempts, or (for the counts without
    templates) those of ``attempts``"""
    row: str
    """in words: the columns of its key"""
    counted: int
    recounted: int


async def differences(connection: AsyncConnection) -> list[Difference]:
    """Return where the counts differ from the ledger, recounted in two ways; the empty list is the promise (P9).

    Wants a transaction in which nothing was read yet: all is read from one snapshot. What the consumer has not come to
    shows as a difference, so call it when nothing is under way.
    """
    await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    have = await counted(connection)
    found = compare(have, await recount(connection), "transitions")
    found += compare(as_present(have), await recount_present(connection), "present")
    rows = await connection.execute(_HOURS_THAT_DIFFER)
    return found + [Difference("attempts", " ".join(map(str, row[:6])), row.have, row.want) for row in rows]


def compare(have: Counts, want: Counts, source: str) -> list[Difference]:
    """Return the rows in which ``have`` and ``want`` differ."""
    found: list[Difference] = []
    for mine, theirs in (
        (have.messages, want.messages),
        (have.attempts, want.attempts),
        (have.cost_krw, want.cost_krw),
    ):
        rows: dict[MessageKey | AttemptKey, tuple[int, int]] = {
            key: (mine.get(key, 0), theirs.get(key, 0)) for key in {*mine, *theirs}
        }
        found += [Difference(source, _in_words(key), n, m) for key, (n, m) in sorted(rows.items()) if n != m]
    return found


def _in_words(key: MessageKey | AttemptKey) -> str:
    return " ".join(f"{name}={value}" for name, value in key._asdict().items() if value != "")


def as_present(counts: Counts) -> Counts:
    """Return ``counts`` without what the present state of messages cannot tell (see ``recount_present``)."""
    plain = Counts(attempts=counts.attempts, cost_krw=counts.cost_krw)
    for key, n in counts.messages.items():
        if key.state not in {FELL_BACK, DOUBLE_CONTACT}:
            plain.messages[key._replace(channel="")] += n
    return plain


async def rebuild(connection: AsyncConnection) -> None:
    """Replace the counts by a recount, exactly, while consumers run or not: they wait, and go on where it left off.

    A week that is being dropped is waited for: between its last count and its leaving it would be counted twice or not.
    """
    await connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": RETENTION})
    await connection.execute(text("LOCK TABLE stats_offsets IN EXCLUSIVE MODE"))
    bound = await horizon(connection)
    await connection.execute(text("DELETE FROM stats_messages"))
    await connection.execute(text("DELETE FROM stats_attempts"))
    for table, query in (
        ("stats_messages", _MESSAGES_FROM_TRANSITIONS),
        ("stats_attempts", _ATTEMPTS_FROM_TRANSITIONS),
    ):
        await connection.execute(text(f"INSERT INTO {table} {query}"), {"horizon": str(bound)})
    await add(connection, await _dropped(connection))
    await derive_hours(connection)
    mark = {"topic": DELIVERY, "every": _EVERY, "xid": str(bound - 1), "position": _LAST_POSITION}
    await connection.execute(
        text("""
            UPDATE stats_offsets SET xid = CAST(:xid AS text)::xid8, position = CAST(:position AS bigint)
            WHERE topic = :topic
        """),
        {key: mark[key] for key in ("topic", "xid", "position")},
    )
    await connection.execute(
        text("""
            INSERT INTO stats_offsets (topic, partition, xid, position)
            VALUES (:topic, :every, CAST(:xid AS text)::xid8, CAST(:position AS bigint))
            ON CONFLICT ON CONSTRAINT stats_offsets_pkey DO NOTHING
        """),
        mark,
    )


async def derive_hours(connection: AsyncConnection) -> None:
    """Make the counts without templates anew, from those with."""
    await connection.execute(text("DELETE FROM stats_hours"))
    await connection.execute(text(f"INSERT INTO stats_hours {_HOURS_FROM_ATTEMPTS}"))


async def _read(
    connection: AsyncConnection, messages: str, attempts: str, parameters: Mapping[str, object], found: Counts
) -> Counts:
    """Add what two queries return to ``found``, and return it."""
    for row in await connection.execute(text(messages), dict(parameters)):
        found.messages[MessageKey(*(getattr(row, name) for name in MessageKey._fields))] += row.n
    for row in await connection.execute(text(attempts), dict(parameters)):
        key = AttemptKey(*(getattr(row, name) for name in AttemptKey._fields))
        if row.n:
            found.attempts[key] += row.n
        if row.cost_krw:
            found.cost_krw[key] += int(row.cost_krw)
    return found


# -- dropping --------------------------------------------------------------------------------------------------------

_OF = "WHERE message_id >= CAST(:low AS uuid) AND message_id < CAST(:high AS uuid)"


async def is_counted_for_good(connection: AsyncConnection, week: datetime) -> bool:
    """Return whether ``count_for_good`` has been at ``week``."""
    found = await connection.execute(
        text("SELECT EXISTS (SELECT FROM dropped_weeks WHERE week = :week)"), {"week": week.date()}
    )
    return bool(found.scalar_one())


async def count_for_good(connection: AsyncConnection, week: datetime, *, now: datetime) -> None:
    """Recount ``week``, whose table of messages is apart so that nothing of it changes, to what was dropped.

    By hours: a week's changes together would be sorted on disk.
    """
    tables = {name: name_of(name, week) for name in ("transitions", "messages")}
    messages, attempts = (query.format(**tables, which=_OF) for query in (_MESSAGES_FROM, _ATTEMPTS_FROM))
    counts = Counts()
    for low, high in hours_of(week):
        given = {"low": low, "high": high, "horizon": str(await horizon(connection))}
        await _read(connection, messages, attempts, given, counts)
    await add(connection, counts, dropped=True)
    await connection.execute(
        text("INSERT INTO dropped_weeks (week, counted_at) VALUES (:week, :now)"), {"week": week.date(), "now": now}
    )


async def not_ended(connection: AsyncConnection, week: datetime) -> UUID | None:
    """Return a message of ``week`` that has not ended, or of which an attempt has not; None when all have."""
    query = text(f"""
        SELECT id FROM {name_of("messages", week)} WHERE NOT final AND id >= :low AND id < :high
        UNION ALL
        SELECT message_id FROM {name_of("attempts", week)}
        WHERE state IN ('sending', 'uncertain', 'sent') AND message_id >= :low AND message_id < :high
        LIMIT 1
    """)  # noqa: S608 - put together from constants
    for low, high in hours_of(week):
        if (found := await connection.scalar(query, {"low": low, "high": high})) is not None:
            return UUID(bytes=found.bytes)
    return None


async def is_unread(connection: AsyncConnection, week: datetime) -> bool:
    """Return whether a reader of the ledger has not come to the last change of ``week``."""
    found = await connection.execute(
        text(f"""
            WITH latest AS (
                SELECT xid, position FROM {name_of("transitions", week)} ORDER BY xid DESC, position DESC LIMIT 1
            )
            SELECT EXISTS (SELECT FROM bus_cursors c, latest l WHERE (c.xid, c.position) < (l.xid, l.position))
        """)  # noqa: S608 - put together from constants
    )
    return bool(found.scalar_one())


async def forget_figures(connection: AsyncConnection, before: datetime) -> int:
    """Delete counts of hours before ``before``; return how many rows."""
    deleted = 0
    for table in (
        "stats_messages",
        "stats_attempts",
        "stats_hours",
        "stats_messages_dropped",
        "stats_attempts_dropped",
    ):
        result = await connection.execute(text(f"DELETE FROM {table} WHERE hour < :before"), {"before": before})  # noqa: S608 - a constant
        deleted += result.rowcount
    return deleted


def hours_of(week: datetime) -> list[tuple[UUID, UUID]]:
    """Return the bounds of the ids of each hour of ``week``: a part that is small in any ledger."""
    hours = [week + timedelta(hours=n) for n in range(7 * 24 + 1)]
    return [(first_id(low), first_id(high)) for low, high in pairwise(hours)]
