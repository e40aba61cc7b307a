"""What is too old is forgotten, and nothing else: whole weeks of the ledger, keys and figures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.metrics import retention
from services.metrics.repository import count_for_good, rebuild
from services.metrics.retention import Forget
from services.metrics.settings import Ages, Settings
from shared.contracts.states import OPEN_ATTEMPTS, MessageState
from shared.crypto import new_keys
from shared.db.engine import engine_for
from shared.db.partitions import PARENTS, Standing, make_partitions, name_of, standings, week_of
from shared.ids import first_id, new_id
from tests.integration.metrics.ledger_of import lives, write
from tests.integration.metrics.test_counting import count_all, wrong
from tests.unit.metrics.stories import BEGIN, Story, tell

DAY = timedelta(days=1)
WEEK = week_of(BEGIN)
AGES = Ages(messages=60 * DAY, events=30 * DAY, requests=10 * DAY, figures=1000 * DAY)
AFTER = BEGIN + 70 * DAY


@dataclass(frozen=True, slots=True)
class Still:
    """A clock that stands."""

    at: datetime

    def now(self) -> datetime:
        return self.at

    def stretch(self, span: timedelta) -> timedelta:
        return span


def ended(n: int, *, seed: int = 1) -> list[Story]:
    """Return ``n`` lives that are over."""
    found = [
        story
        for story in lives(40 * n, seed=seed)
        if story.message.final and all(attempt.state not in OPEN_ATTEMPTS for attempt in story.attempts)
    ]
    return found[:n]


async def keep(ledger: AsyncEngine, stories: Sequence[Story]) -> None:
    """Write ``stories``, with an event and a receipt of the same week, and let all of it be counted."""
    async with ledger.begin() as connection:
        await write(connection, stories)
        for statement in (
            """
            INSERT INTO events (id, source, source_id, type, received_at, personal)
            VALUES (CAST(:id AS uuid), 's', 's', 't', now(), '')
            """,
            """
            INSERT INTO receipts (id, dealer, via, code, received_at, personal)
            VALUES (CAST(:id AS uuid), 'solapi', 'push', '4000', now(), '')
            """,
        ):
            await connection.execute(text(statement), {"id": new_id(BEGIN)})
    await count_all(ledger)


def forget(ledger: AsyncEngine, *, now: datetime = AFTER, ages: Ages = AGES) -> Forget:
    return Forget(ledger, Still(now), ages)


async def tables_of(ledger: AsyncEngine, week: datetime = WEEK) -> dict[str, Standing]:
    async with ledger.connect() as connection:
        return (await standings(connection)).get(week, {})


async def change(ledger: AsyncEngine, statement: str, **values: object) -> None:
    async with ledger.begin() as connection:
        await connection.execute(text(statement), values)


# -- weeks -----------------------------------------------------------------------------------------------------------


async def test_a_week_that_is_too_old_is_dropped_whole_and_others_stay(ledger: AsyncEngine) -> None:
    await keep(ledger, ended(20))
    await forget(ledger, now=WEEK + timedelta(weeks=1) + AGES.messages - timedelta(seconds=1))()
    assert set(await tables_of(ledger)) == set(PARENTS) - {"events"}  # documents go earlier
    await forget(ledger, now=WEEK + timedelta(weeks=1) + AGES.messages)()
    assert await tables_of(ledger) == {}
    assert set(await tables_of(ledger, WEEK + timedelta(weeks=1))) == set(PARENTS) - {"events"}
    assert set(await tables_of(ledger, WEEK + timedelta(weeks=5))) == set(PARENTS)
    async with ledger.connect() as connection:
        for parent in PARENTS:
            assert await connection.scalar(text(f"SELECT count(*) FROM {parent}")) == 0


async def test_the_statistics_of_a_dropped_week_stay_and_can_be_recounted(ledger: AsyncEngine) -> None:
    async with ledger.begin() as connection:
        await make_partitions(connection, now=BEGIN + timedelta(weeks=4))
    later = [tell([n, 3 * n, 7 * n, n], now=BEGIN + timedelta(weeks=3), person=n) for n in range(40)]
    await keep(ledger, [*ended(60), *later])
    assert await wrong(ledger) == []
    await forget(ledger)()
    assert await tables_of(ledger) == {}
    assert await wrong(ledger) == []
    async with ledger.begin() as connection:
        await connection.execute(text("DELETE FROM stats_messages WHERE hour < :later"), {"later": BEGIN + 7 * DAY})
    assert await wrong(ledger)
    async with ledger.begin() as connection:
        await rebuild(connection)
    assert await wrong(ledger) == []


@pytest.mark.parametrize("state", ["scheduled", "queued", "sent"])
async def test_a_week_is_kept_while_a_message_of_it_has_not_ended(ledger: AsyncEngine, state: str) -> None:
    stories = ended(3)
    waiting = tell([0])
    waiting.message.state = MessageState(state)
    await keep(ledger, [*stories, waiting])
    await forget(ledger)()
    assert (await tables_of(ledger)).get("messages") is Standing.ATTACHED
    assert "transitions" in await tables_of(ledger)
    await change(ledger, "UPDATE messages SET final = true, state = 'expired' WHERE NOT final")
    await forget(ledger)()
    assert await tables_of(ledger) == {}


async def test_a_week_is_kept_while_an_attempt_of_it_waits_for_its_receipt(ledger: AsyncEngine) -> None:
    stories = [story for story in ended(20) if story.attempts]
    await keep(ledger, stories)
    one = stories[0].message.id
    await change(ledger, "UPDATE attempts SET state = 'sent' WHERE message_id = :one AND n = 1", one=one)
    await forget(ledger)()
    assert "messages" in await tables_of(ledger)


async def test_a_week_is_kept_until_every_reader_has_read_it(ledger: AsyncEngine) -> None:
    await keep(ledger, ended(5))
    await change(
        ledger,
        "INSERT INTO bus_cursors (consumer_group, topic, partition, xid, position) VALUES ('relay', '', 0, '3', 0)",
    )
    await forget(ledger)()
    assert "messages" in await tables_of(ledger)
    await change(ledger, "UPDATE bus_cursors SET xid = pg_current_xact_id()")
    await forget(ledger)()
    assert await tables_of(ledger) == {}


async def test_receipts_that_wait_are_kept(ledger: AsyncEngine) -> None:
    await keep(ledger, ended(5))
    await change(ledger, "UPDATE receipts SET apply_at = now()")
    await forget(ledger)()
    assert set(await tables_of(ledger)) == {"receipts"}


async def test_a_change_that_comes_while_a_week_leaves_brings_it_back(
    ledger: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(ledger, ended(5))
    await forget(ledger, now=WEEK + AGES.messages)()  # the week before
    looked = 0

    async def not_ended(*_: object) -> UUID | None:
        nonlocal looked
        looked += 1
        return None if looked == 1 else UUID(int=1)

    monkeypatch.setattr(retention, "not_ended", not_ended)
    await forget(ledger)()
    assert looked == 2
    assert (await tables_of(ledger))["messages"] is Standing.ATTACHED
    assert await wrong(ledger) == []


@pytest.mark.parametrize("where", ["count_for_good", "drop", "counted"])
async def test_who_dies_half_way_leaves_the_rest_to_the_next(
    ledger: AsyncEngine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    class Crash(Exception):
        """As if the process died here."""

    async def die(*_: object, **__: object) -> None:
        raise Crash

    async def count_and_die(connection: AsyncConnection, week: datetime, *, now: datetime) -> None:
        await count_for_good(connection, week, now=now)
        raise Crash

    await keep(ledger, ended(30))
    await forget(ledger, now=WEEK + AGES.messages)()  # the week before
    if where == "counted":
        monkeypatch.setattr(retention, "count_for_good", count_and_die)
    else:
        monkeypatch.setattr(retention, where, die)
    once = replace(AGES, events=1000 * DAY)
    with pytest.raises(Crash):
        await forget(ledger, ages=once)()
    assert (await tables_of(ledger))["messages"] is Standing.APART
    monkeypatch.undo()
    await forget(ledger)()
    assert await tables_of(ledger) == {}
    assert await wrong(ledger) == []


async def test_any_number_of_processes_may_try(ledger: AsyncEngine) -> None:
    await keep(ledger, ended(30))
    engines = [engine_for(ledger.url.render_as_string(hide_password=False)) for _ in range(3)]
    await asyncio.gather(*(forget(engine)() for engine in engines))
    for engine in engines:
        await engine.dispose()
    await forget(ledger)()
    assert await tables_of(ledger) == {}
    assert await wrong(ledger) == []


async def test_nobody_who_reads_or_writes_waits_for_a_week_that_leaves(ledger: AsyncEngine) -> None:
    """A transaction that knows the week holds its leaving up, and others pass meanwhile."""
    await keep(ledger, ended(5))
    await forget(ledger, now=WEEK + AGES.messages)()  # the week before
    async with ledger.connect() as reader:
        await reader.execute(text("SELECT count(*) FROM messages"))
        leaving = asyncio.create_task(forget(ledger)())
        async with ledger.connect() as watcher:
            while (await tables_of(ledger))["messages"] is not Standing.LEAVING:  # noqa: ASYNC110 - Postgres tells nobody
                await asyncio.sleep(0.01)
            await watcher.execute(text("SET lock_timeout = '100ms'"))
            for parent in PARENTS:
                await watcher.execute(text(f"LOCK TABLE {parent} IN ROW EXCLUSIVE MODE"))
                await watcher.execute(text(f"SELECT FROM {parent} LIMIT 1 FOR UPDATE"))
            await watcher.rollback()
        assert not leaving.done()
        await reader.rollback()
    await leaving
    assert await tables_of(ledger) == {}


async def test_a_leaving_that_was_cut_short_is_ended_later(ledger: AsyncEngine) -> None:
    await keep(ledger, ended(5))
    await forget(ledger, now=WEEK + AGES.messages)()  # the week before
    impatient = engine_for(ledger.url.render_as_string(hide_password=False), statement_seconds=1)
    async with ledger.connect() as reader:
        await reader.execute(text("SELECT count(*) FROM messages"))
        await forget(impatient)()
        assert (await tables_of(ledger))["messages"] is Standing.LEAVING
        async with ledger.begin() as connection:
            assert await make_partitions(connection, now=BEGIN + timedelta(weeks=20)) > 0
    await forget(impatient)()
    await impatient.dispose()
    assert await tables_of(ledger) == {}
    assert await wrong(ledger) == []


# -- keys and figures ------------------------------------------------------------------------------------------------


async def known(ledger: AsyncEngine, table: str) -> int:
    async with ledger.connect() as connection:
        return int(await connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def turns(ledger: AsyncEngine, now: datetime) -> None:
    """Let a day pass: each hour one share of the keys is looked through."""
    for hour in range(16):
        await forget(ledger, now=now + timedelta(hours=hour))()


async def test_an_event_is_known_as_long_as_its_messages_are_kept(ledger: AsyncEngine) -> None:
    await change(
        ledger,
        "INSERT INTO event_keys SELECT decode(md5(n::text), 'hex'), CAST(:id AS uuid) FROM generate_series(1, 500) n",
        id=first_id(BEGIN),
    )
    await turns(ledger, BEGIN + AGES.messages - DAY)
    assert await known(ledger, "event_keys") == 500
    async with ledger.begin() as connection:
        await write(connection, [tell([0])])  # has not ended: its week stays, and so does what came with it
    await turns(ledger, BEGIN + AGES.messages + 10 * DAY)
    assert await known(ledger, "event_keys") == 500
    await change(ledger, "UPDATE messages SET final = true, state = 'expired' WHERE NOT final")
    await count_all(ledger)
    await turns(ledger, BEGIN + AGES.messages + 20 * DAY)
    assert await known(ledger, "event_keys") == 0


async def test_a_request_is_known_for_its_time(ledger: AsyncEngine) -> None:
    await change(
        ledger,
        """
        INSERT INTO idempotency_keys
        SELECT decode(md5(n::text), 'hex'), '', '', CAST(:at AS timestamptz) + n * interval '1 hour'
        FROM generate_series(1, 240) n
        """,
        at=BEGIN,
    )
    await turns(ledger, BEGIN + AGES.requests + 5 * DAY)
    left = await known(ledger, "idempotency_keys")
    assert 240 - 5 * 24 - 16 <= left <= 240 - 5 * 24


async def test_a_cancellation_is_known_as_long_as_messages_that_it_cancelled(ledger: AsyncEngine) -> None:
    await change(
        ledger,
        """
        INSERT INTO cancellations (id, campaign, before, ordered_by, why, made_at, walk_at, ended_at)
        SELECT gen_random_uuid(), 'c', gen_random_uuid(), 'k', 'w', CAST(:at AS timestamptz), CAST(:at AS timestamptz),
               CAST(:at AS timestamptz) + n * interval '1 day'
        FROM unnest(ARRAY[0, 40, NULL]) AS n
        """,
        at=BEGIN,
    )
    await forget(ledger, now=BEGIN + AGES.messages + 20 * DAY)()
    assert await known(ledger, "cancellations") == 2, "one ended later, and one is open"


async def test_figures_outlive_the_ledger_and_go_too(ledger: AsyncEngine) -> None:
    await keep(ledger, ended(20))
    await forget(ledger)()
    assert await known(ledger, "stats_messages") > 0
    await forget(ledger, now=BEGIN + AGES.figures - DAY)()
    assert await known(ledger, "stats_messages") > 0
    await forget(ledger, now=BEGIN + AGES.figures + DAY)()
    for table in ("messages", "attempts", "hours", "messages_dropped", "attempts_dropped"):
        assert await known(ledger, f"stats_{table}") == 0
    assert await wrong(ledger) == []


def test_figures_are_not_kept_shorter_than_what_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql:///x",
        "CONFIG": "x.yaml",
        "ENCRYPTION_KEYS": new_keys("test"),
        "RETENTION_DAYS": "100",
        "RETENTION_FIGURES_DAYS": "99",
    }.items():
        monkeypatch.setenv(f"BONGSU_{name}", value)
    with pytest.raises(ValidationError, match="BONGSU_RETENTION_FIGURES_DAYS is less"):
        Settings()


def test_names_tell_their_week() -> None:
    assert name_of("messages", datetime(2027, 1, 1, tzinfo=UTC)) == "messages_2026w53"
