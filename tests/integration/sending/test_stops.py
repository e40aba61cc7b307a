"""A cause that fails everybody stops at the first few; the rest is held, moved, and let go."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from services.dispatcher.handlers import LetGo, QueueDue
from shared.config import Config
from shared.contracts.states import Lane
from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.ids import MessageId
from shared.sending.stop_store import lift, load_stops, note, open_stop
from shared.sending.stops import FEW, FEW_CALLS, Scope, Seen, SeenIn, Stop, StopKey
from tests.integration.sending.test_sender import waits_for_a_lock
from tests.integration.sending.world import FakeDealer, HandClock, Insert, World, build

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


@pytest.fixture
def world(world: World) -> World:
    """Stand still in the world as well: a probe is due when a test says so."""
    still = HandClock(datetime.now(UTC))
    return build(world.engine, world.dealer, world.config, world.vault, world.clock, world_clock=still)


def later(world: World) -> None:
    """Let the world go on until every probe is due."""
    assert isinstance(world.world_clock, HandClock)
    world.world_clock.pass_(hours=1)


async def states(world: World, messages: list[MessageId]) -> Counter[tuple[str, str | None]]:
    rows = [await world.message(each) for each in messages]
    return Counter((row["state"], row["held_by"]) for row in rows)


async def go_on(world: World) -> None:
    """Let held messages go, queue what is due, and send it, as the dispatcher's loops do."""
    await LetGo(world.sender)()
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    await world.send(await world.jobs())


@pytest.mark.parametrize("batch", [1, 10, 100])
async def test_no_balance_fails_a_few_and_holds_the_rest(world: World, insert: Insert, batch: int) -> None:
    messages = await insert(100)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    jobs = await world.jobs()
    for start in range(0, len(jobs), batch):
        await world.send(jobs[start : start + batch])
    assert await states(world, messages) == {("failed", None): FEW, ("scheduled", "dealer/solapi"): 100 - FEW}
    assert sum(world.dealer.calls) <= FEW + batch
    await LetGo(world.sender)()
    assert (await states(world, messages))["scheduled", "dealer/solapi"] == 100 - FEW


async def test_what_an_operator_lifts_goes_out(world: World, insert: Insert) -> None:
    messages = await insert(50)
    world.dealer.answer = lambda _: Refused("template_not_approved", "-3005")
    await world.send(await world.jobs())
    world.dealer.answer = lambda _: None
    async with world.engine.begin() as connection:
        assert await lift(connection, StopKey(Scope.TEMPLATE, "solapi", "PAID"))
    await go_on(world)
    assert await states(world, messages) == {("failed", None): FEW, ("sent", None): 50 - FEW}


async def test_a_probe_that_succeeds_lets_the_others_go(world: World, insert: Insert) -> None:
    messages = await insert(20)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    later(world)
    sizes = len(world.dealer.calls)
    await go_on(world)  # still nothing on the account
    assert world.dealer.calls[sizes:] == [1]
    assert await states(world, messages) == {("failed", None): FEW, ("scheduled", "dealer/solapi"): 20 - FEW}
    world.dealer.answer = lambda _: None
    await go_on(world)
    assert world.dealer.calls[sizes:] == [1], "the next probe waits for its time"
    later(world)
    await go_on(world)
    await go_on(world)
    assert await states(world, messages) == {("failed", None): FEW, ("sent", None): 20 - FEW}
    async with world.engine.connect() as connection:
        assert await load_stops(connection) == {}


async def test_a_message_in_its_hours_of_rest_uses_up_no_probe(world: World, insert: Insert) -> None:
    await insert(20, deadline=world.clock.now() + timedelta(days=2))
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    world.dealer.answer = lambda _: None
    later(world)
    world.clock.pass_(hours=10)  # from noon to 22:00; the shop is quiet until 8:00
    sizes = len(world.dealer.calls)
    await go_on(world)
    assert world.dealer.calls[sizes:] == []
    world.clock.pass_(hours=11)
    await go_on(world)
    assert world.dealer.calls[sizes:] == [1]


async def test_replicas_send_one_probe_between_them(world: World, insert: Insert) -> None:
    await insert(20)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    later(world)
    sizes = len(world.dealer.calls)
    replica = world.replica()
    await LetGo(world.sender)()
    await LetGo(replica.sender)()
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    jobs = await world.jobs()
    await world.send(jobs[:1])
    await replica.send(jobs[1:])
    assert sum(world.dealer.calls[sizes:]) == 1


async def test_a_held_message_expires_at_its_deadline(world: World, insert: Insert) -> None:
    messages = await insert(10)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    world.clock.pass_(days=2)
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    assert await states(world, messages) == {("failed", None): FEW, ("expired", None): 10 - FEW}


async def test_failures_reported_later_hold_the_rest_as_well(world: World, insert: Insert) -> None:
    messages = await insert(30)
    await world.send(await world.jobs())
    reports = [world.dealer.report(key) for key in world.dealer.ids]
    bad = [
        type(r)(r.request_key, r.dealer_message_id, delivered=False, code="3016", reason="template_mismatch")
        for r in reports
    ]
    await world.tell(*bad)
    await world.receipts.apply()
    assert await states(world, messages) == {("failed", None): FEW, ("scheduled", "template/solapi/PAID"): 30 - FEW}


async def test_one_failure_that_is_told_often_is_one(world: World, insert: Insert) -> None:
    [message] = await insert()
    await world.send(await world.jobs())
    [report] = [world.dealer.report(key) for key in world.dealer.ids]
    bad = replace(report, delivered=False, code="3016", reason="template_mismatch")
    await world.tell(*[bad] * FEW)
    await world.receipts.apply()
    assert await states(world, [message]) == {("failed", None): 1}
    async with world.engine.connect() as connection:
        [stop] = (await load_stops(connection)).values()
    assert (stop.failures, stop.is_open) == (1, False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(StopKey(Scope.DEALER, "solapi"), StopKey(Scope.TEMPLATE, "solapi", "PAID"), id="as-answers-note"),
        pytest.param(
            StopKey(Scope.TEMPLATE, "solapi", "PAID"), StopKey(Scope.RECEIPTS, "solapi", "kakao"), id="as-receipts-do"
        ),
    ],
)
async def test_who_probes_and_who_notes_do_not_wait_for_each_other(
    world: World, insert: Insert, database: AsyncEngine, first: StopKey, second: StopKey
) -> None:
    await insert(lane=Lane.MASS)
    world_now = world.sender.world.now()
    async with database.begin() as connection:
        for key in (second, first):  # where the rows lie says nothing of their order
            assert await open_stop(connection, Stop(key, "no_balance", SeenIn.ANSWER, FEW, world_now, world_now))
    async with database.begin() as noting:
        await note(noting, {first: Seen(1, "auth_failed")}, SeenIn.ANSWER, world_now=world_now)
        sending = asyncio.create_task(world.send(await world.jobs()))
        await waits_for_a_lock(world)
        await note(noting, {second: Seen(1, "auth_failed")}, SeenIn.ANSWER, world_now=world_now)
    await sending
    assert world.dealer.calls == [1]


@pytest.fixture
def two_ways(world: World, config: Config) -> tuple[World, FakeDealer]:
    backup = FakeDealer("nhn")
    shop = config.profiles["shop"].model_dump(by_alias=True, mode="json")
    raw = config.model_dump(by_alias=True, mode="json")
    raw["dealers"]["nhn"] = raw["dealers"]["solapi"]
    raw["profiles"]["shop"] = {**shop, "routes": [*shop["routes"], {"dealer": "nhn", "sender_key": "N"}]}
    raw["profiles"]["shop"]["quiet_hours"] = {}
    for dealer in raw["dealers"].values():
        dealer["credentials"] = {}
    changed = Config.model_validate(raw)
    return build(
        world.engine, world.dealer, changed, world.vault, world.clock, backup, world_clock=world.world_clock
    ), backup


async def test_what_was_certainly_not_taken_moves_to_another_dealer(
    two_ways: tuple[World, FakeDealer], insert: Insert
) -> None:
    world, backup = two_ways
    messages = await insert(30)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    await world.send(await world.jobs())
    assert await states(world, messages) == {("sent", None): 30}
    assert len(backup.given) == 30


async def test_a_dealer_that_is_away_is_left_after_a_few_calls(
    two_ways: tuple[World, FakeDealer], insert: Insert
) -> None:
    world, backup = two_ways
    first = await insert(FEW_CALLS)
    world.dealer.answer = lambda _: NotTaken("dealer_unavailable")
    for job in await world.jobs():
        await world.send([job])
    later = await insert(20)
    await world.send(await world.jobs())  # turned away, and queued for the other
    await world.send(await world.jobs())
    assert await states(world, later) == {("sent", None): 20}
    world.clock.pass_(minutes=1)
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    await world.send(await world.jobs())
    await world.send(await world.jobs())
    assert await states(world, first) == {("sent", None): FEW_CALLS}
    numbers = [number for number, _, _ in [*world.dealer.given, *backup.given]]
    assert len(numbers) == len(set(numbers)) + FEW_CALLS  # the helper numbers each insert from 0


async def test_what_is_in_doubt_never_moves(two_ways: tuple[World, FakeDealer], insert: Insert) -> None:
    world, backup = two_ways
    messages = await insert(FEW_CALLS + 2)
    world.dealer.answer = lambda _: Ambiguous("timeout")
    for job in (await world.jobs())[:FEW_CALLS]:
        await world.send([job])
    await world.send(await world.jobs())
    await world.send(await world.jobs())
    assert await states(world, messages) == {("uncertain", None): FEW_CALLS, ("sent", None): 2}
    assert len(backup.given) == 2


async def test_a_dealer_that_stalls_holds_up_nobody_elses_messages(
    two_ways: tuple[World, FakeDealer], insert: Insert
) -> None:
    world, backup = two_ways
    stalled, others = await insert(3), await insert(3, dealer="nhn")
    world.dealer.gate = asyncio.Event()
    backup.after["send"] = world.dealer.gate.set  # the other dealer ends its stall: it must have been called meanwhile
    async with asyncio.timeout(30):
        await world.send(await world.jobs())
    assert await states(world, [*stalled, *others]) == {("sent", None): 6}
