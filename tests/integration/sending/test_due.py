"""Queueing what is due: a lane at a time, by one statement that does what the ledger's rules say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.dispatcher.handlers import DUE_PAUSE, DUE_REST, QueueDue
from services.dispatcher.repository import is_alone
from shared.contracts.states import Channel, Lane, MessageState
from shared.ids import PersonId
from shared.ledger.repository import load, queue, save
from tests.integration.sending.world import Insert, World

SECOND = timedelta(seconds=1)


async def everything(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Return all messages and transitions, without what is drawn anew each time."""
    found: list[dict[str, Any]] = []
    for query in (
        "SELECT * FROM messages ORDER BY id",
        "SELECT * FROM transitions ORDER BY xid, position",
    ):
        rows = (await connection.execute(text(query))).mappings()
        found += [{name: value for name, value in row.items() if name not in {"xid", "position"}} for row in rows]
    return found


async def test_the_statement_does_what_the_book_does(world: World, insert: Insert) -> None:
    now = world.clock.now()
    due: dict[str, Any] = {"state": "scheduled", "due_at": now}
    ids = [
        *await insert(2, **due, person_id=PersonId(uuid4()), held_by=None),
        *await insert(**due, lane=Lane.MASS, channel=Channel.SMS, dealer="other", attempt=2, seq=9, tries=1),
        *await insert(**due, deadline=now + SECOND, reason="from_before", cost_krw=13),
        *await insert(**due, deadline=now),
        *await insert(**due, deadline=now - SECOND, fallback="none"),
        *await insert(**due, deadline=now, held_by="dealer/solapi"),
    ]
    async with world.engine.connect() as connection:
        moved = await queue(connection, ids, now=now)
        written = await everything(connection)
        await connection.rollback()
    assert moved == {MessageState.QUEUED: 4, MessageState.EXPIRED: 3}
    async with world.engine.connect() as connection:
        book = await load(connection, ids, now=now, attempts=False)
        for message in (book.messages[each] for each in ids):
            if now >= message.deadline:
                book.move(message, MessageState.EXPIRED, final=True, reason="expired")
            else:
                book.move(message, MessageState.QUEUED)
        await save(connection, book)
        assert written == await everything(connection)
        await connection.rollback()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"state": "scheduled", "due_at": 1}, id="not-yet"),
        pytest.param({"state": "scheduled", "due_at": None}, id="no-time"),
        *[pytest.param({"state": state, "due_at": 0}, id=state) for state in MessageState if state != "scheduled"],
    ],
)
async def test_what_is_not_scheduled_or_not_due_is_left(world: World, insert: Insert, changes: dict[str, Any]) -> None:
    if changes["due_at"] is not None:
        changes = {**changes, "due_at": world.clock.now() + timedelta(microseconds=changes["due_at"])}
    ids = await insert(**changes)
    async with world.engine.begin() as connection:
        before = await everything(connection)
        assert await queue(connection, ids, now=world.clock.now()) == {}
        assert await everything(connection) == before


async def test_a_lane_does_not_wait_for_another(world: World, insert: Insert, database: AsyncEngine) -> None:
    """A replica is at work on a campaign, for as long as it likes: a code that is due is queued."""
    due: dict[str, Any] = {"state": "scheduled", "due_at": world.clock.now()}
    campaign = await insert(3, **due, lane=Lane.MASS)
    [code] = await insert(**due, lane=Lane.AUTH)
    async with database.begin() as at_work:
        assert await is_alone(at_work, "due/mass")
        assert await QueueDue(world.engine, world.clock, Lane.MASS)() == 0
        assert await QueueDue(world.engine, world.clock, Lane.AUTH)() == 1
    assert (await world.message(code))["state"] == "queued"
    assert (await world.message(campaign[0]))["state"] == "scheduled"
    assert await QueueDue(world.engine, world.clock, Lane.MASS)() == 3


async def test_the_readers_are_woken(world: World, insert: Insert) -> None:
    await insert(state="scheduled", due_at=world.clock.now())
    async with world.engine.connect() as connection:
        await connection.execute(text("LISTEN bongsu_ledger"))
        await connection.commit()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        heard: list[str] = []
        await driver.add_listener("bongsu_ledger", lambda *said: heard.append(said[2]))
        await QueueDue(world.engine, world.clock, Lane.NORMAL)()
        await connection.execute(text("SELECT 1"))
        assert heard == ["bongsu_ledger"]
        await driver.remove_listener("bongsu_ledger", heard.append)


@pytest.mark.parametrize(
    ("after", "speed", "expected"),
    [
        pytest.param(None, 1, DUE_REST, id="nothing"),
        pytest.param(timedelta(hours=1), 1, DUE_REST, id="far-away"),
        pytest.param(timedelta(seconds=1.5), 1, 1.5, id="soon"),
        pytest.param(timedelta(minutes=1), 60, 1.0, id="by-a-fast-clock"),
        pytest.param(timedelta(0), 1, DUE_PAUSE, id="another-replica-has-it"),
        pytest.param(timedelta(hours=-1), 1, DUE_PAUSE, id="the-clock-stepped-forward"),
    ],
)
async def test_it_rests_until_the_next_is_due(
    world: World, insert: Insert, after: timedelta | None, speed: int, expected: float
) -> None:
    world.clock.speed = speed
    await insert(state="scheduled", due_at=world.clock.now(), lane=Lane.MASS)  # another lane's
    if after is not None:
        await insert(state="scheduled", due_at=world.clock.now() + after)
        await insert(state="scheduled", due_at=world.clock.now() + after + timedelta(hours=1))
    assert await QueueDue(world.engine, world.clock, Lane.NORMAL).rest() == expected
