"""P7 at its edges: what a person's messages may not overtake."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from services.dispatcher.handlers import LetGo, QueueDue
from shared.config import Limits
from shared.contracts.keys import read_request_key
from shared.contracts.states import Lane
from shared.ids import PersonId

if TYPE_CHECKING:
    from shared.ids import MessageId
    from tests.integration.sending.world import Insert, World


def left(world: World) -> list[MessageId]:
    """Return the messages that reached a person, in their order."""
    return [known[0] for _, _, key in world.dealer.given if (known := read_request_key(key))]


async def go_on(world: World) -> None:
    """Let what is due in a moment be queued and sent, a few times."""
    for _ in range(3):
        world.clock.pass_(seconds=1)
        await QueueDue(world.engine, world.clock, Lane.NORMAL)()
        await world.send(await world.jobs())


@pytest.mark.parametrize("batch", ["apart", "together"])
async def test_a_new_owner_waits_for_the_call_of_the_old_one(world: World, insert: Insert, batch: str) -> None:
    """The partition moves while the first message is in its call; the new owner reads both jobs."""
    ids = await insert(2, person_id=PersonId(uuid4()))
    jobs = await world.jobs()
    gate = world.dealer.gate = asyncio.Event()
    if batch == "together":
        # The old owner has both in hand, and calls for one at a time.
        world.sender.limits.accounts["solapi"] = Limits(messages_per_second=1)
    old = asyncio.create_task(world.send(jobs if batch == "together" else jobs[:1]))
    await world.dealer.called.wait()
    world.dealer.gate = None
    new = asyncio.create_task(world.replica().send(jobs))
    await asyncio.wait({new}, timeout=3)
    gate.set()
    await asyncio.gather(old, new)
    await go_on(world)
    assert left(world) == ids


async def test_what_rested_goes_before_what_comes_when_the_rest_is_over(world: World, insert: Insert) -> None:
    person = PersonId(uuid4())
    [first] = await insert(person_id=person, state="scheduled", due_at=world.clock.now())
    world.clock.pass_(seconds=0.05)
    [second] = await insert(person_id=person)
    await world.send(await world.jobs())
    await go_on(world)
    assert left(world) == [first, second]


async def test_what_was_held_goes_before_what_comes_when_the_stop_is_over(world: World, insert: Insert) -> None:
    person, later = PersonId(uuid4()), world.clock.now()
    [first] = await insert(person_id=person, state="scheduled", due_at=later, held_by="dealer/solapi")
    world.clock.pass_(seconds=0.05)
    [second] = await insert(person_id=person)
    await world.send(await world.jobs())  # the stop has just gone
    await LetGo(world.sender)()
    await go_on(world)
    assert left(world) == [first, second]


async def test_what_is_retried_or_resting_holds_up_nobody(world: World, insert: Insert) -> None:
    person = PersonId(uuid4())
    await insert(person_id=person, state="scheduled", due_at=world.clock.now(), attempt=1)
    await insert(person_id=person, state="scheduled", due_at=world.clock.now() + timedelta(hours=9))
    due = world.clock.now() + timedelta(hours=20)
    await insert(person_id=person, state="scheduled", due_at=due, held_by="approval/shop/PAID")
    await insert(person_id=person, lane="mass")
    await insert(person_id=person, profile="textless")
    await insert()
    [last] = await insert(person_id=person)
    await world.send([job for job in await world.jobs() if job.message_id == last])
    assert left(world) == [last]


async def test_a_message_that_waits_its_turn_says_so(world: World, insert: Insert) -> None:
    person = PersonId(uuid4())
    ids = await insert(2, person_id=person)
    [_, second] = await world.jobs()
    await world.send([second])
    assert left(world) == []
    [*_, step] = await world.timeline(ids[1])
    assert (step["state"], step["detail"]["why"]) == ("scheduled", "order")
