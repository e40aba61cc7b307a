"""Pauses: somebody's word holds at the last step, for every way a message may take, until he takes it back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from services.dispatcher.handlers import LetGo, QueueDue
from services.ingest.reading import read_story
from services.ingest.story import explain
from shared.config import Config
from shared.contracts.states import Lane
from shared.dealers.base import LookupMeans
from shared.sending.stop_store import lift, open_stop
from shared.sending.stops import Pausable, pause, pause_key
from tests.integration.sending.world import FakeDealer, build

if TYPE_CHECKING:
    from tests.integration.sending.world import Insert, World


async def order(world: World, what: Pausable, name: str) -> None:
    async with world.engine.begin() as connection:
        stop = pause(what, name, ordered_by="an operator", why="a wrong price", now=datetime.now(UTC))
        await open_stop(connection, stop)


async def resume(world: World, what: Pausable, name: str) -> None:
    async with world.engine.begin() as connection:
        assert await lift(connection, pause_key(what, name))
    await LetGo(world.sender)()
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    await world.send(await world.jobs())


@pytest.mark.parametrize(
    ("what", "name"),
    [(Pausable.PROFILE, "shop"), (Pausable.TEMPLATE, "PAID"), (Pausable.LANE, "normal"), (Pausable.DEALER, "solapi")],
)
@pytest.mark.parametrize("channel", ["alimtalk", "sms"])
async def test_what_is_paused_waits_until_it_is_resumed(
    world: World, insert: Insert, what: Pausable, name: str, channel: str
) -> None:
    [message] = await insert(channel=channel)
    await order(world, what, name)
    await world.send(await world.jobs())
    assert world.dealer.given == []
    row = await world.message(message)
    assert (row["state"], row["held_by"], row["due_at"]) == ("scheduled", f"pause/{what}/{name}", row["deadline"])
    await LetGo(world.sender)()
    assert (await world.message(message))["held_by"] is not None  # no probe, and no time ends it
    async with world.engine.connect() as connection:
        story = await read_story(connection, message)
    assert story is not None
    assert f"somebody paused the {what} {name}" in explain(story)
    assert "once somebody resumes it" in explain(story)
    await resume(world, what, name)
    assert (await world.message(message))["state"] == "sent"


async def test_a_pause_is_seen_at_the_last_step(world: World, insert: Insert) -> None:
    """It comes while the handle is opened, after the job was read and tokens were taken."""
    [message] = await insert()
    opening, paused = asyncio.Event(), asyncio.Event()
    really_open = world.dealer.open

    async def slowly() -> object:
        opening.set()
        await paused.wait()
        return await really_open()

    world.dealer.open = slowly  # type: ignore[method-assign,assignment]  # a step that a test needs
    sending = asyncio.create_task(world.send(await world.jobs()))
    await opening.wait()
    await order(world, Pausable.PROFILE, "shop")
    paused.set()
    await sending
    assert world.dealer.given == []
    assert (await world.message(message))["state"] == "scheduled"


async def test_what_is_not_paused_goes_on(world: World, insert: Insert) -> None:
    for what, name in ((Pausable.PROFILE, "textless"), (Pausable.TEMPLATE, "LONG"), (Pausable.LANE, "mass")):
        await order(world, what, name)
    await insert()
    await world.send(await world.jobs())
    assert len(world.dealer.given) == 1


async def test_a_paused_dealer_is_gone_round(world: World, insert: Insert) -> None:
    raw = world.config.model_dump(by_alias=True, mode="json")
    raw["dealers"]["solapi"]["credentials"] = {}
    raw["dealers"]["nhn"] = {**raw["dealers"]["solapi"], "kind": "nhn"}
    raw["profiles"]["shop"]["routes"].append({"dealer": "nhn", "sender_key": "N"})
    other = FakeDealer("nhn", lookup_means=LookupMeans.BY_KEY)
    config = Config.model_validate(raw)
    both = build(world.engine, world.dealer, config, world.vault, world.clock, other)
    await order(both, Pausable.DEALER, "solapi")
    [message] = await insert()
    await both.send(await both.jobs())
    await both.send(await both.jobs())
    assert (len(world.dealer.given), len(other.given)) == (0, 1)
    assert (await both.message(message))["dealer"] == "nhn"


async def test_a_pause_past_the_deadline_lets_a_message_expire(world: World, insert: Insert) -> None:
    [message] = await insert()
    await order(world, Pausable.TEMPLATE, "PAID")
    await world.send(await world.jobs())
    world.clock.time = (await world.message(message))["deadline"] + timedelta(seconds=1)
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    assert (await world.message(message))["state"] == "expired"


async def test_a_success_does_not_end_a_pause(world: World, insert: Insert) -> None:
    await insert()
    jobs = await world.jobs()
    world.dealer.gate = asyncio.Event()
    sending = asyncio.create_task(world.send(jobs))
    await world.dealer.called.wait()
    await order(world, Pausable.PROFILE, "shop")
    world.dealer.gate.set()
    await sending
    await insert()
    await world.send(await world.jobs())
    assert len(world.dealer.given) == 1
