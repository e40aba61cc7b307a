"""Cancelling many: it holds at the last step from its answer on, and a chore moves what waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from services.dispatcher.handlers import CancelOrdered, QueueDue
from services.ingest.reading import read_story
from services.ingest.story import explain
from shared.contracts.states import Channel, Lane
from shared.dealers.base import NotTaken, Refused, SendResult
from shared.ids import new_id
from shared.sending.cancellations import AGAIN_AFTER, Cancellation, Filter, order, read
from tests.integration.sending.test_caps import wait_for_locks

if TYPE_CHECKING:
    from tests.integration.sending.world import Insert, World

CAMPAIGN = Filter(campaign="autumn")


async def cancel(world: World, which: Filter = CAMPAIGN) -> UUID:
    world.clock.pass_(seconds=1)  # what was inserted stands a few milliseconds later
    made = new_id(world.clock.now())
    async with world.engine.begin() as connection:
        await order(connection, made, which, by="an operator", why="a wrong price", now=world.clock.now())
    return made


async def standing(world: World, cancellation: UUID) -> Cancellation:
    async with world.engine.connect() as connection:
        found = await read(connection, cancellation)
    assert found is not None
    return found


async def walk(world: World, limit: int = 1000) -> int:
    """Let the chore go on until it finds nothing; return how many pages it took."""
    pages, chore = 0, CancelOrdered(world.engine, world.clock)
    while await chore(limit):
        pages += 1
    return pages


async def states(world: World) -> dict[str, int]:
    rows = await world.rows("SELECT state, count(*) AS n FROM messages GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


@pytest.mark.parametrize(
    ("which", "changes"),
    [
        pytest.param(CAMPAIGN, {"campaign": "autumn"}, id="campaign"),
        pytest.param(Filter(rule="sale"), {"rule": "sale"}, id="rule"),
        pytest.param(Filter(template="LONG"), {"template": "LONG"}, id="template"),
        pytest.param(Filter(profile="textless"), {"profile": "textless"}, id="profile"),
        pytest.param(Filter(lane=Lane.MASS), {"lane": Lane.MASS}, id="lane"),
        pytest.param(Filter(campaign="autumn", lane=Lane.MASS), {"campaign": "autumn", "lane": Lane.MASS}, id="both"),
    ],
)
@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
async def test_at_the_last_step_none_that_is_meant_leaves(
    world: World, insert: Insert, which: Filter, changes: dict[str, Any], channel: Channel
) -> None:
    [message] = await insert(1, channel=channel, **changes)
    [other] = await insert(1, lane=changes.get("lane", Lane.NORMAL))
    if which.lane is Lane.MASS and which.campaign is None:
        await world.execute("UPDATE messages SET lane = 'normal' WHERE id = :id", id=other)
    jobs = await world.jobs()
    made = await cancel(world, which)
    await world.send(jobs)
    row = await world.message(message)
    assert (row["state"], row["final"], row["reason"]) == ("cancelled", True, "cancelled")
    assert (await world.message(other))["state"] == "sent"
    assert (await standing(world, made)).cancelled == 1
    async with world.engine.connect() as connection:
        story = await read_story(connection, message)
    assert story is not None
    assert f"with others (cancellation {made})" in explain(story)


async def test_the_messages_of_some_events(world: World, insert: Insert) -> None:
    event = uuid4()
    [message] = await insert(event_id=event)
    [other] = await insert()
    await cancel(world, Filter(events=(event, uuid4())))
    await world.send(await world.jobs())
    assert (await world.message(message))["state"] == "cancelled"
    assert (await world.message(other))["state"] == "sent"


async def test_it_is_seen_though_it_comes_after_the_job_was_read(world: World, insert: Insert) -> None:
    """It comes while the handle is opened; of two dispatchers, each with half of the jobs in hand."""
    await insert(20, campaign="autumn")
    jobs, opening, cancelled = await world.jobs(), asyncio.Event(), asyncio.Event()
    really_open = world.dealer.open

    async def slowly() -> object:
        opening.set()
        await cancelled.wait()
        return await really_open()

    world.dealer.open = slowly  # type: ignore[method-assign,assignment]  # a step that a test needs
    sending = [
        asyncio.create_task(world.send(jobs[:10])),
        asyncio.create_task(world.replica().send(jobs[10:])),
    ]
    await opening.wait()
    made = await cancel(world)
    cancelled.set()
    await asyncio.gather(*sending)
    assert world.dealer.given == []
    assert await states(world) == {"cancelled": 20}
    assert (await standing(world, made)).cancelled == 20


async def test_it_is_seen_though_it_comes_while_a_claim_waits_for_its_locks(world: World, insert: Insert) -> None:
    await insert(campaign="autumn")
    jobs = await world.jobs()
    async with world.engine.connect() as holder:
        await holder.exec_driver_sql("SELECT 1 FROM messages FOR UPDATE")
        sending = asyncio.create_task(world.send(jobs))
        await wait_for_locks(world, 1)
        await cancel(world)
    await sending
    assert world.dealer.given == []


async def test_what_waits_is_walked_through_in_pages_while_others_go_on(world: World, insert: Insert) -> None:
    later = world.clock.now() + timedelta(hours=1)
    await insert(25, campaign="autumn", state="scheduled", due_at=later)
    await insert(25, campaign="autumn", state="scheduled", due_at=later, held_by="dealer/solapi")
    await insert(30, campaign="autumn")
    others = await insert(30, campaign="winter")
    sent = await insert(5, campaign="autumn", lane=Lane.MASS)
    await world.send([job for job in await world.jobs() if job.message_id in sent])
    made = await cancel(world)
    assert (await standing(world, made)).is_through is False
    sending = asyncio.create_task(world.send(await world.jobs()))
    pages = await walk(world, limit=10)
    await sending
    found = await standing(world, made)
    assert (found.cancelled, found.left, found.is_through) == (80, 5, True)
    assert pages >= 8
    assert await states(world) == {"cancelled": 80, "sent": len(others) + len(sent)}


async def test_what_is_made_afterwards_is_not_touched(world: World, insert: Insert) -> None:
    await cancel(world)
    world.clock.pass_(seconds=1)
    [later] = await insert(campaign="autumn")
    [scheduled] = await insert(campaign="autumn", state="scheduled", due_at=world.clock.now() + timedelta(hours=1))
    await walk(world)
    await world.send(await world.jobs())
    assert (await world.message(later))["state"] == "sent"
    assert (await world.message(scheduled))["state"] == "scheduled"


async def test_what_was_planned_before_and_written_after_it_is_found_by_the_second_walk(
    world: World, insert: Insert
) -> None:
    made = await cancel(world)
    await walk(world)
    world.clock.pass_(seconds=-2)
    [late] = await insert(campaign="autumn", state="scheduled", due_at=world.clock.now() + timedelta(hours=1))
    world.clock.pass_(seconds=2)
    assert await walk(world) == 0  # not its time
    world.clock.time += AGAIN_AFTER
    await walk(world)
    assert (await world.message(late))["state"] == "cancelled"
    assert (await standing(world, made)).cancelled == 1
    assert await world.rows("SELECT 1 FROM cancellations WHERE ended_at IS NULL") == []


@pytest.mark.parametrize("failure", ["retry", "text"])
async def test_what_a_dealer_had_is_neither_tried_again_nor_followed_by_a_text(
    world: World, insert: Insert, failure: str
) -> None:
    [message] = await insert(campaign="autumn")
    answers: dict[str, SendResult] = {"retry": NotTaken("rate_limited"), "text": Refused("not_kakao_user", "3104")}
    world.dealer.answer = lambda _: answers[failure]
    world.dealer.gate = asyncio.Event()
    sending = asyncio.create_task(world.send(await world.jobs()))
    await world.dealer.called.wait()
    made = await cancel(world)
    await walk(world)
    assert (await standing(world, made)).left == 1
    world.dealer.gate.set()
    await sending
    world.dealer.answer = lambda _: None
    world.clock.time += AGAIN_AFTER
    await walk(world)  # both walks are over
    if failure == "text":
        await world.execute(
            "UPDATE messages SET state = 'queued', channel = 'sms', seq = seq + 1, reason = NULL WHERE id = :id",
            id=message,
        )
    world.clock.pass_(minutes=20)
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    await world.send(await world.jobs())
    assert world.dealer.given == []
    assert (await world.message(message))["state"] == "cancelled"
    world.clock.time = (await world.message(message))["deadline"]
    await walk(world)
    assert await world.rows("SELECT 1 FROM cancellations WHERE ended_at IS NULL") == []


async def test_a_claim_and_the_walk_at_once_count_each_message_once(world: World, insert: Insert) -> None:
    await insert(200, campaign="autumn")
    jobs = await world.jobs()
    made = await cancel(world)
    await asyncio.gather(walk(world, limit=20), *[world.replica().send(jobs[n : n + 20]) for n in range(0, 200, 20)])
    await walk(world)
    found = await standing(world, made)
    assert (found.cancelled, found.left) == (200, 0)
    assert await states(world) == {"cancelled": 200}
    steps = await world.rows("SELECT count(*) AS n FROM transitions WHERE state = 'cancelled'")
    assert steps == [{"n": 200}]
