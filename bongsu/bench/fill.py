"""``bongsu bench fill``: a ledger of the size that is wanted, quickly; and how much disk each message takes.

Messages are spread evenly over the last weeks. Of a hundred, 92 were delivered over Kakao, 5 fell back to SMS and 3
failed; all have ended. Everything is made by Postgres itself, a week in a transaction: a past week's tables are filled
before they have indexes, and attached when they have them. Nobody else may use the ledger meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from bongsu.box.postgres import EmbeddedPostgres
from services.metrics.domain import COST, FELL_BACK
from services.metrics.repository import derive_hours
from shared.bus.embedded import PARTITIONS
from shared.contracts.states import Lane
from shared.contracts.topics import DELIVERY, SEND_JOBS
from shared.db.engine import engine_for
from shared.db.migrate import migrate
from shared.db.partitions import PARENTS, attach, bounds, create, name_of, week_of
from shared.errors import BongsuError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

READERS = {
    "metrics": DELIVERY,
    "fallback-decide": DELIVERY,
    "fallback-send": DELIVERY,
    **{f"dispatcher-{lane}": SEND_JOBS[lane] for lane in Lane},
}
"""the groups of the embedded bus, for whom what is filled in is past"""
GROWING = ("events", "event_keys", "idempotency_keys", "messages", "attempts", "transitions", "receipts")
_FAST = {"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "8GB", "autovacuum": "off"}

# What cannot be compressed, for what is sealed: pieces of it are cut out at random places.
_NOISE = os.urandom(1 << 16)
_SEALED = "substring(CAST(:noise AS bytea) FROM 1 + abs(hashint8({n})) % 60000 FOR {size})"

_ID = "(lpad(to_hex({ms}), 12, '0') || '7' || substr({h}, {at}, 3) || 'a' || substr({h}, {at} + 3, 15))::uuid"

_MESSAGES = f"""
    INSERT INTO {{messages}} (id, event_id, person_id, profile, rule, rule_revision, template, template_revision, lane,
        category, fallback, state, final, reason, seq, attempt, channel, dealer, tries, deadline, cost_krw, personal)
    SELECT {_ID.format(ms="ms", h="h", at=1)}, {_ID.format(ms="ms", h="h", at=14)},
           md5((g * 7919 % :people)::text)::uuid, 'shop' || g % 3, 'rule-' || t, 1, 'TEMPLATE-' || t, 1,
           CASE g % 10 WHEN 0 THEN 'mass' ELSE 'normal' END,
           'informational', CASE WHEN kind < 3 THEN 'none' ELSE 'text' END,
           CASE WHEN kind < 3 THEN 'failed' ELSE 'delivered' END, true,
           CASE WHEN kind < 3 THEN (ARRAY['blocked_channel', 'invalid_phone', 'not_kakao_user'])[1 + g % 3] END,
           CASE WHEN kind BETWEEN 3 AND 7 THEN 8 ELSE 4 END, CASE WHEN kind BETWEEN 3 AND 7 THEN 2 ELSE 1 END,
           CASE WHEN kind BETWEEN 3 AND 7 THEN 'sms' ELSE 'alimtalk' END, 'solapi', 1,
           to_timestamp(ms / 1000.0) + interval '2 days',
           CASE WHEN kind < 3 THEN 0 WHEN kind < 8 THEN 18 ELSE 13 END, {_SEALED.format(n="g", size=146)}
    FROM (
        SELECT g, :begin + g * :span / :n AS ms, md5(g::text || :seed) AS h, g * 31 % 100 AS kind, g * 17 % 12 AS t
        FROM generate_series(0, CAST(:n AS bigint) - 1) g
    ) made
"""  # noqa: S608 - put together from constants
_EVENTS = f"""
    INSERT INTO {{events}} (id, source, source_id, type, profile, received_at, personal)
    SELECT event_id, 'bench-fill', right(id::text, 15), 'order.paid', profile, deadline - interval '2 days',
           {_SEALED.format(n="cost_krw + hashtext(id::text)", size=394)}
    FROM {{messages}}
"""  # noqa: S608 - put together from constants
_KEYS = """
    INSERT INTO event_keys (key, event_id)
    SELECT decode(md5(event_id::text), 'hex') AS key, event_id FROM {messages} ORDER BY key
"""
_ATTEMPTS = """
    INSERT INTO {attempts} (message_id, n, channel, dealer, state, request_key, handle, dealer_message_id, opened_at,
        code, reason, cost_krw)
    SELECT id, n, CASE n WHEN 1 THEN 'alimtalk' ELSE 'sms' END, dealer,
           CASE WHEN state = 'delivered' AND n = attempt THEN 'delivered' ELSE 'failed' END,
           left(md5(id::text), 23) || CASE n WHEN 1 THEN 'a1' ELSE 's2' END,
           'G4V' || upper(left(md5('g' || id::text), 29)), 'M4V' || upper(left(md5(n || id::text), 29)),
           deadline - interval '2 days' + n * interval '400 ms',
           CASE WHEN state = 'delivered' AND n = attempt THEN '4000' ELSE '3104' END,
           CASE WHEN state = 'failed' THEN reason WHEN n < attempt THEN 'not_kakao_user' END,
           CASE WHEN n = attempt THEN cost_krw ELSE 0 END
    FROM {messages}, generate_series(1, attempt) n
"""
_WHY = (
    """{"rule": "rule-1", "profile": "shop1", "template": "TEMPLATE-1", "event_type": "order.paid", """
    """"rule_revision": 1, "template_revision": 1}"""
)
# was, state, final, attempt, channel, before and after of the attempt, code, what the cost changed by, detail
_BEGUN = (
    f"NULL, 'queued', false, NULL::int, 'alimtalk', NULL, NULL, NULL, 0, '{_WHY}'::jsonb",
    "'queued', 'sending', false, 1, 'alimtalk', NULL, 'sending', NULL, 0, NULL",
    "'sending', 'sent', false, 1, 'alimtalk', 'sending', 'sent', NULL, 13, NULL",
)
_LIVES = {
    "delivered": (*_BEGUN, "'sent', 'delivered', true, 1, 'alimtalk', 'sent', 'delivered', '4000', 0, NULL"),
    "failed": (*_BEGUN, "'sent', 'failed', true, 1, 'alimtalk', 'sent', 'failed', '3104', -13, NULL"),
    "fell back": (
        *_BEGUN,
        "'sent', 'failed', false, 1, 'alimtalk', 'sent', 'failed', '3104', -13, NULL",
        "'failed', 'queued', false, NULL, 'sms', NULL, NULL, NULL, 0, '{\"fallback_after\": \"not_kakao_user\"}'",
        "'queued', 'sending', false, 2, 'sms', NULL, 'sending', NULL, 0, NULL",
        "'sending', 'sent', false, 2, 'sms', 'sending', 'sent', NULL, 18, NULL",
        "'sent', 'delivered', true, 2, 'sms', 'sent', 'delivered', '4000', 0, NULL",
    ),
}
_STEPS = ", ".join(f"('{life}', {n}, {step})" for life, steps in _LIVES.items() for n, step in enumerate(steps, 1))
_TRANSITIONS = f"""
    INSERT INTO {{transitions}} (message_id, seq, at, bucket, lane, was, state, final, reason, attempt, channel, dealer,
        attempt_was, attempt_state, code, cost_krw, sent_at, detail)
    SELECT m.id, l.seq, m.deadline - interval '2 days' + (l.seq - 1) * interval '200 ms',
           get_byte(uuid_send(m.person_id), 0), m.lane, l.was, l.state, l.final,
           CASE WHEN l.state <> 'failed' THEN NULL WHEN m.state = 'failed' THEN m.reason ELSE 'not_kakao_user' END,
           l.attempt, l.channel, CASE WHEN l.channel IS NOT NULL THEN m.dealer END, l.attempt_was, l.attempt_state,
           l.code, l.cost_krw, m.deadline - interval '2 days' + l.attempt * interval '400 ms', l.detail
    FROM {{messages}} m
    JOIN (VALUES {_STEPS.replace("{", "{{").replace("}", "}}")}) AS l (
        life, seq, was, state, final, attempt, channel, attempt_was, attempt_state, code, cost_krw, detail
    ) ON l.life = CASE WHEN m.state = 'failed' THEN 'failed' WHEN m.channel = 'sms' THEN 'fell back'
                       ELSE 'delivered' END
"""  # noqa: S608 - put together from constants
_MS = "(extract(epoch FROM opened_at - n * interval '400 ms') * 1000)::bigint"  # within the message's week
_RECEIPTS = f"""
    INSERT INTO {{receipts}} (id, dealer, via, request_key, dealer_message_id, delivered, code, reason, happened_at,
        received_at, tried, message_id, attempt, personal)
    SELECT {_ID.format(ms=_MS, h="md5(request_key)", at=1)}, dealer,
           'push', request_key, dealer_message_id, state = 'delivered', code, reason, opened_at, opened_at, 1,
           message_id, n, {_SEALED.format(n="hashtext(request_key)", size=660)}
    FROM {{attempts}}
"""  # noqa: S608 - put together from constants
_BORN = "date_trunc('hour', deadline - interval '2 days', 'UTC')"
_COUNT_MESSAGES = f"""
    INSERT INTO stats_messages AS s (hour, profile, rule, template, lane, state, reason, channel, n)
    SELECT {_BORN}, profile, rule, template, lane, state, coalesce(reason, ''),
           CASE state WHEN 'delivered' THEN channel ELSE '' END, count(*)
    FROM {{messages}} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    UNION ALL
    SELECT {_BORN}, profile, rule, template, lane, '{FELL_BACK}', '', 'sms', count(*)
    FROM {{messages}} WHERE channel = 'sms' GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT ON CONSTRAINT stats_messages_pkey DO UPDATE SET n = s.n + excluded.n
"""  # noqa: S608 - put together from constants
_COUNT_ATTEMPTS = f"""
    WITH made AS (
        SELECT date_trunc('hour', a.opened_at, 'UTC') AS hour, m.profile, m.template, a.channel, a.dealer, a.state,
               CASE WHEN a.state = 'failed' THEN a.reason ELSE '' END AS reason, a.cost_krw
        FROM {{attempts}} a JOIN {{messages}} m ON m.id = a.message_id
    )
    INSERT INTO stats_attempts AS s (hour, profile, template, channel, dealer, state, reason, n, cost_krw)
    SELECT hour, profile, template, channel, dealer, state, reason, count(*), 0 FROM made GROUP BY 1, 2, 3, 4, 5, 6, 7
    UNION ALL
    SELECT hour, profile, template, channel, dealer, '{COST}', '', 0, sum(cost_krw)
    FROM made GROUP BY 1, 2, 3, 4, 5 HAVING sum(cost_krw) <> 0
    ON CONFLICT ON CONSTRAINT stats_attempts_pkey
    DO UPDATE SET n = s.n + excluded.n, cost_krw = s.cost_krw + excluded.cost_krw
"""  # noqa: S608 - put together from constants


class NothingToFill(BongsuError):
    """No ledger was named, or none that can be filled."""


@dataclass(frozen=True, slots=True)
class Part:
    """The messages that are to be made of one week."""

    week: datetime
    begin: datetime
    end: datetime
    messages: int


def parts(messages: int, weeks: int, *, now: datetime) -> list[Part]:
    """Spread ``messages`` evenly over ``weeks`` weeks, of which the last is that of ``now`` and is filled up to it."""
    first = week_of(now) - timedelta(weeks=weeks - 1)
    found: list[Part] = []
    done = 0
    for n in range(weeks):
        week = first + timedelta(weeks=n)
        end = min(week + timedelta(weeks=1), now)
        upto = int(messages * ((end - first) / (now - first)))
        if upto > done:
            found.append(Part(week, week, end, upto - done))
        done = upto
    return found


async def fill(engine: AsyncEngine, messages: int, *, weeks: int, now: datetime) -> dict[str, Any]:
    """Add ``messages`` to a ledger that nobody uses; return how long each step took, in seconds."""
    took: dict[str, float] = {}
    began = time.monotonic()
    await migrate(engine, now=now)
    turns = asyncio.Semaphore(os.cpu_count() or 1)
    seed = os.urandom(8).hex()

    async def one(part: Part) -> None:
        async with turns:
            await _fill_week(engine, part, people=max(messages // 4, 1), seed=seed)

    async with asyncio.TaskGroup() as group:
        for part in parts(messages, weeks, now=now):
            group.create_task(one(part))
    took["rows_and_indexes"] = time.monotonic() - began
    began = time.monotonic()
    async with engine.begin() as connection:
        await derive_hours(connection)
        await _let_pass(connection)
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text("VACUUM (ANALYZE)"))
    took["vacuum_and_analyze"] = time.monotonic() - began
    return {name: round(seconds, 1) for name, seconds in took.items()}


async def _fill_week(engine: AsyncEngine, part: Part, *, people: int, seed: str) -> None:
    async with engine.begin() as connection:
        for setting in ("maintenance_work_mem = '512MB'", "work_mem = '128MB'", "synchronous_commit = off"):
            await connection.execute(text(f"SET LOCAL {setting}"))
        tables = {parent: name_of(parent, part.week) for parent in PARENTS}
        found = await connection.execute(
            text("SELECT relname FROM pg_class WHERE relname = ANY(:names)"), {"names": list(tables.values())}
        )
        there = set(found.scalars())
        apart = [parent for parent in PARENTS if tables[parent] not in there]
        for parent in apart:
            # What is written into a table of the same transaction needs no log, where the server keeps that to a
            # minimum; and indexes are built in one go.
            await create(connection, parent, part.week, like="INCLUDING DEFAULTS INCLUDING COMMENTS")
        values = {
            "begin": _ms(part.begin),
            "span": _ms(part.end) - _ms(part.begin),
            "n": part.messages,
            "people": people,
            "seed": seed + part.week.isoformat(),
            "noise": _NOISE,
        }
        for statement in (
            _MESSAGES,
            _EVENTS,
            _KEYS,
            _ATTEMPTS,
            _TRANSITIONS,
            _RECEIPTS,
            _COUNT_MESSAGES,
            _COUNT_ATTEMPTS,
        ):
            await _execute(connection, statement.format(**tables), values)
        for parent in apart:
            await _index(connection, parent, tables[parent])
            await connection.execute(text(_checked(tables[parent], part.week, _KEY_OF[parent])))
    async with engine.begin() as connection:
        for parent in apart:
            await attach(connection, parent, part.week)
            await connection.execute(text(f"ALTER TABLE {tables[parent]} DROP CONSTRAINT of_its_week"))


_KEY_OF = {"events": "id", "messages": "id", "attempts": "message_id", "transitions": "message_id", "receipts": "id"}


def _checked(table: str, week: datetime, key: str) -> str:
    """Return a statement that looks through ``table`` before it is attached, which then need not."""
    low, high = bounds(week)
    return f"ALTER TABLE {table} ADD CONSTRAINT of_its_week CHECK ({key} >= '{low}' AND {key} < '{high}')"


async def _index(connection: AsyncConnection, parent: str, table: str) -> None:
    """Give ``table`` the indexes of ``parent``: to attach it would build them as well, one table at a time."""
    rows = await connection.execute(
        text("""
            SELECT pg_get_indexdef(i.indexrelid) AS made, pg_get_constraintdef(c.oid) AS key
            FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid
            WHERE i.indrelid = CAST(:parent AS regclass)
        """),
        {"parent": parent},
    )
    for row in rows.all():
        if row.key is not None:
            await connection.execute(text(f"ALTER TABLE {table} ADD {row.key}"))
        else:
            columns = re.sub(r"^CREATE (UNIQUE )?INDEX \S+ ON ONLY \S+", rf"CREATE \1INDEX ON {table}", row.made)
            await connection.execute(text(columns))


async def _execute(connection: AsyncConnection, statement: str, values: Mapping[str, Any]) -> None:
    wanted = set(re.findall(r"(?<!:):(\w+)", statement)) & values.keys()
    await connection.execute(text(statement), {name: values[name] for name in wanted})


async def _let_pass(connection: AsyncConnection) -> None:
    """Move all readers past what was filled in: their services have nothing to do with it."""
    place = {"position": 2**63 - 1}
    for group, topic in READERS.items():
        await connection.execute(
            text("""
                INSERT INTO bus_cursors (consumer_group, topic, partition, xid, position)
                SELECT :group, :topic, n, pg_current_xact_id(), :position
                FROM generate_series(0, CAST(:partitions AS int) - 1) n
                ON CONFLICT ON CONSTRAINT bus_cursors_pkey
                DO UPDATE SET xid = excluded.xid, position = excluded.position
            """),
            {"group": group, "topic": topic, "partitions": PARTITIONS, **place},
        )
    for change in (
        "UPDATE bus_cursors SET xid = pg_current_xact_id(), position = :position WHERE consumer_group = 'relay'",
        "UPDATE stats_offsets SET xid = pg_current_xact_id(), position = :position",
    ):
        await connection.execute(text(change), place)
    await connection.execute(
        text("""
            INSERT INTO stats_offsets (topic, partition, xid, position)
            VALUES (:topic, -1, pg_current_xact_id(), :position) ON CONFLICT DO NOTHING
        """),
        {"topic": DELIVERY, **place},
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


async def disk(connection: AsyncConnection) -> dict[str, dict[str, int]]:
    """Return how many bytes each growing table takes over all its partitions: rows, what lies apart, indexes."""
    rows = await connection.execute(
        text("""
            SELECT name, sum(pg_relation_size(relid))::bigint AS rows,
                   sum(pg_table_size(relid) - pg_relation_size(relid))::bigint AS apart,
                   sum(pg_indexes_size(relid))::bigint AS indexes
            FROM unnest(CAST(:names AS text[])) name, pg_partition_tree(name::regclass) GROUP BY name
        """),
        {"names": list(GROWING)},
    )
    found = {row.name: {"rows": row.rows, "apart": row.apart, "indexes": row.indexes} for row in rows}
    return {name: found[name] for name in GROWING}


async def fill_embedded(directory: Path, messages: int, *, weeks: int, now: datetime) -> dict[str, Any]:
    """Fill the ledger that ``bongsu up --data DIRECTORY`` uses, with as little of a log as Postgres can keep."""
    server = EmbeddedPostgres(directory / "postgres")
    if server.runs():
        raise NothingToFill(f"the ledger of {directory} is in use: stop its `bongsu up` first")
    url = await server.start()
    try:
        url = await _restarted(server, url, [f"SET {name} = '{value}'" for name, value in _FAST.items()])
        async with _engine(url) as engine:
            took = await fill(engine, messages, weeks=weeks, now=now)
            async with engine.connect() as connection:
                sizes = await disk(connection)
        await _restarted(server, url, [f"RESET {name}" for name in _FAST])
    finally:
        await server.stop()
    return {"seconds": took, **per_message(sizes, messages)}


async def fill_at(url: str, messages: int, *, weeks: int, now: datetime) -> dict[str, Any]:
    """Fill the ledger of a Postgres that runs; what was in it stays, and counts in what is told of the disk."""
    async with _engine(url) as engine:
        took = await fill(engine, messages, weeks=weeks, now=now)
        async with engine.connect() as connection:
            sizes = await disk(connection)
            held = int(await connection.scalar(text("SELECT count(*) FROM messages")) or 0)
    return {"seconds": took, **per_message(sizes, held)}


def per_message(sizes: Mapping[str, Mapping[str, int]], messages: int) -> dict[str, Any]:
    """Return bytes a message by table, and of a message with its attempts and transitions alone."""
    of = {name: {kind: round(size / messages) for kind, size in table.items()} for name, table in sizes.items()}
    totals = {name: sum(table.values()) / messages for name, table in sizes.items()}
    return {
        "gigabytes": round(sum(totals.values()) * messages / 1e9, 3),
        "bytes_per_message": {
            "message_attempts_transitions": round(
                sum(totals[name] for name in ("messages", "attempts", "transitions"))
            ),
            "everything": round(sum(totals.values())),
            "by_table": of,
        },
    }


@asynccontextmanager
async def _engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = engine_for(url, pool_size=os.cpu_count() or 1, statement_seconds=None)
    try:
        yield engine
    finally:
        await engine.dispose()


async def _restarted(server: EmbeddedPostgres, url: str, changes: Sequence[str]) -> str:
    """Change settings of ``server`` that want a restart; return where it is found then."""
    async with _engine(url) as engine, engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for change in changes:
            await alone.execute(text(f"ALTER SYSTEM {change}"))
        await alone.execute(text("CHECKPOINT"))  # a stop waits for it, and not for ever
    await server.stop()
    return await server.start()


async def bench(messages: int, *, weeks: int, data: Path | None, database_url: str | None) -> dict[str, Any]:
    """Fill the one ledger that is named; return all figures."""
    now = datetime.now(UTC)
    if data is not None:
        figures = await fill_embedded(data, messages, weeks=weeks, now=now)
    elif database_url is not None:
        figures = await fill_at(database_url, messages, weeks=weeks, now=now)
    else:
        raise NothingToFill("name a ledger: --data DIR or --database-url URL")
    return {"bench": "fill", "at": now.isoformat(timespec="seconds"), "messages": messages, "weeks": weeks, **figures}
