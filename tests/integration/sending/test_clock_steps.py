"""A clock that is set back, by seconds and by an hour, and one that leaps: nothing twice, nothing at night, no end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from services.dispatcher.handlers import QueueDue
from shared.clock import SEOUL
from shared.contracts.states import Category, Lane
from shared.ids import PersonId
from tests.integration.sending.in_turn import send_in_turn
from tests.integration.sending.world import Crash, crash

if TYPE_CHECKING:
    from tests.integration.sending.world import Insert, World

STEPS = [timedelta(seconds=3), timedelta(hours=1)]
by_steps = pytest.mark.parametrize("step", STEPS, ids=["seconds", "an-hour"])


def in_seoul(world: World, hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Return that time of the world's day."""
    return world.clock.now().astimezone(SEOUL).replace(hour=hour, minute=minute, second=second)


async def queue(world: World) -> int:
    return await QueueDue(world.engine, world.clock, Lane.NORMAL)()


@by_steps
async def test_what_is_due_goes_once_the_clock_has_caught_up(world: World, insert: Insert, step: timedelta) -> None:
    [first, second] = await insert(2, state="scheduled", due_at=world.clock.now() + timedelta(seconds=1))
    world.clock.time -= step
    assert await queue(world) == 0
    world.clock.time += step + timedelta(seconds=1)
    assert await queue(world) == 2
    world.clock.time -= step
    assert await queue(world) == 0
    await world.send(await world.jobs())
    world.clock.time += step
    assert await queue(world) == 0
    await world.send(await world.jobs())
    assert len(world.dealer.given) == len({first, second})


@by_steps
async def test_a_clock_that_steps_back_into_the_night_stops_what_was_queued(
    world: World, insert: Insert, step: timedelta
) -> None:
    """Due at eight, queued at eight, and it is a moment before eight again when the last check is made."""
    world.clock.time = in_seoul(world, 8)
    [message] = await insert(state="scheduled", due_at=world.clock.now(), category=Category.ADVERTISING)
    assert await queue(world) == 1
    world.clock.time -= step
    await world.send(await world.jobs())
    assert world.dealer.given == []
    row = await world.message(message)
    assert (row["state"], row["due_at"]) == ("scheduled", in_seoul(world, 8))
    world.clock.time += step
    assert await queue(world) == 1
    await world.send(await world.jobs())
    assert len(world.dealer.given) == 1


@pytest.mark.parametrize("hour", [20, 23])
async def test_a_clock_that_leaps_into_the_night_stops_what_was_queued(world: World, insert: Insert, hour: int) -> None:
    world.clock.time = in_seoul(world, 19, 59, 59)
    [message] = await insert(category=Category.ADVERTISING, deadline=world.clock.now() + timedelta(days=2))
    jobs = await world.jobs()
    world.clock.time = in_seoul(world, hour)
    await world.send(jobs)
    assert world.dealer.given == []
    assert (await world.message(message))["due_at"] == in_seoul(world, 8) + timedelta(days=1)


@by_steps
async def test_what_has_expired_stays_so(world: World, insert: Insert, step: timedelta) -> None:
    [queued] = await insert(deadline=world.clock.now())
    [scheduled] = await insert(state="scheduled", due_at=world.clock.now(), deadline=world.clock.now())
    jobs = await world.jobs()
    await world.send(jobs)
    await queue(world)
    world.clock.time -= step
    await world.send(jobs)
    await queue(world)
    assert {(await world.message(each))["state"] for each in (queued, scheduled)} == {"expired"}
    assert world.dealer.given == []


@by_steps
async def test_a_crashed_attempt_is_asked_about_though_the_clock_was_set_back(
    world: World, insert: Insert, step: timedelta
) -> None:
    [message] = await insert()
    world.dealer.after["send"] = crash
    with pytest.raises(Crash):
        await world.send(await world.jobs())
    del world.dealer.after["send"]
    world.clock.time -= step
    later = world.replica()
    for _ in range(4):
        later.clock.pass_(minutes=20)
        await later.reconciler()
        await later.receipts.apply()
    assert len(world.dealer.given) == 1
    assert (await world.message(message))["state"] == "sent"


async def test_a_process_that_slept_does_not_call_though_the_clock_was_set_back(world: World, insert: Insert) -> None:
    """It stood still for longer than its lease before the call, and the clock says that no time has passed."""
    [message] = await insert()
    readings = iter([0.0, world.policy.lease.total_seconds()])  # before the claim, and before the call
    sender = replace(world.sender, monotonic=lambda: next(readings))
    await send_in_turn(sender, await world.jobs())
    assert world.dealer.calls == []
    assert (await world.message(message))["state"] == "scheduled"  # it is tried again


@by_steps
async def test_a_receipt_is_applied_whatever_the_clock_says(world: World, insert: Insert, step: timedelta) -> None:
    """Kept by the old time, it would wait for that to come again."""
    [message] = await insert()
    await world.send(await world.jobs())
    [key] = world.dealer.ids
    world.dealer.outcomes[key] = True
    await world.push(key)
    world.clock.time -= step
    assert await world.receipts.apply() == 1
    assert (await world.message(message))["state"] == "delivered"


@by_steps
async def test_a_person_gets_messages_in_their_order(world: World, insert: Insert, step: timedelta) -> None:
    person = PersonId(uuid4())
    ids = await insert(2, person_id=person)
    jobs = await world.jobs()
    world.clock.time -= step
    await world.send(jobs)
    assert [key for _, _, key in world.dealer.given] == [
        attempt["request_key"] for each in ids for attempt in await world.attempts(each)
    ]
