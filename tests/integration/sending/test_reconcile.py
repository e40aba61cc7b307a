"""P1 and P2: a crash between any two steps; the dealer is asked, nothing is sent twice, and every message ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.dispatcher.handlers import QueueDue
from shared.contracts.states import Channel, Lane
from shared.dealers.base import Accepted, LookupMeans, NotFound, OpenAttempt, Outgoing, SendResult
from shared.ids import MessageId
from shared.sending.reconcile import Reconciler
from tests.integration.sending.world import Insert, World


class CrashError(RuntimeError):
    """The process is gone."""


def crash() -> None:
    raise CrashError


async def settle(world: World) -> None:
    """Let time pass as the loops see it, until nothing is left to do."""
    replica = world.replica()
    for _ in range(12):
        world.clock.pass_(seconds=40)
        await replica.reconciler()
        await replica.receipts.apply()
        await world.execute(
            "UPDATE messages SET state = 'queued', due_at = NULL, seq = seq + 1 WHERE state = 'scheduled'"
        )
        await replica.send(await world.jobs())
        for key in world.dealer.ids:
            world.dealer.outcomes.setdefault(key, True)
        await world.push(*world.dealer.ids)
        await replica.receipts.apply()


@pytest.mark.parametrize("step", ["open", "send"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_step_loses_nothing_and_doubles_nothing(
    world: World, insert: Insert, step: str, when: str
) -> None:
    messages = await insert(20)
    getattr(world.dealer, when)[step] = crash
    with pytest.raises(CrashError):
        await world.send(await world.jobs())
    getattr(world.dealer, when).clear()
    await settle(world)
    assert {(await world.message(each))["state"] for each in messages} == {"delivered"}
    numbers = [number for number, _, _ in world.dealer.given]
    assert len(numbers) == len(set(numbers)) == 20


async def test_a_crash_before_the_record_loses_nothing_and_doubles_nothing(world: World, insert: Insert) -> None:
    messages = await insert(20)
    results = world.sender._record  # noqa: SLF001 - the step that the crash precedes

    async def gone(*_: object) -> None:
        crash()

    sender = type(world.sender)
    original, sender._record = sender._record, gone  # type: ignore[assignment, method-assign]  # noqa: SLF001 - likewise
    try:
        with pytest.raises(CrashError):
            await world.send(await world.jobs())
    finally:
        sender._record = original  # type: ignore[method-assign]  # noqa: SLF001 - likewise
    assert results is not None
    assert {(await world.message(each))["state"] for each in messages} == {"sending"}
    await settle(world)
    assert {(await world.message(each))["state"] for each in messages} == {"delivered"}
    assert len(world.dealer.given) == 20


@pytest.mark.parametrize("taken", [True, False])
async def test_a_lost_answer_is_looked_up_and_never_sent_blindly(world: World, insert: Insert, taken: bool) -> None:  # noqa: FBT001 - a parameter
    [message] = await insert()
    world.dealer.lose = lambda _: taken
    await world.send(await world.jobs())
    assert (await world.message(message))["state"] == "uncertain"
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    assert len(world.dealer.calls) == 1, "nothing is sent while it is uncertain"
    await settle(world)
    assert (await world.message(message))["state"] == "delivered"
    assert len(world.dealer.given) == 1
    assert len(await world.attempts(message)) == (1 if taken else 2)


async def test_a_handle_is_closed_before_its_attempts_go_back_to_the_queue(world: World, insert: Insert) -> None:
    """A process that was thought dead wakes up and calls: the dealer refuses, since its group is gone."""
    [message] = await insert()
    world.dealer.before["send"] = crash
    with pytest.raises(CrashError):
        await world.send(await world.jobs())
    world.dealer.before.clear()
    world.clock.pass_(seconds=40)
    await world.reconciler()
    [handle] = world.dealer.handles
    assert world.dealer.handles[handle] == "closed"
    [late] = await world.dealer.send(handle, [await outgoing(world, message)])
    assert not isinstance(late, Accepted)
    assert world.dealer.given == []


async def outgoing(world: World, message: MessageId) -> Outgoing:
    [attempt] = await world.attempts(message)
    [row] = await world.rows("SELECT channel FROM messages")
    return Outgoing(message, 1, attempt["request_key"], row["channel"], "01000000000", content=None)  # type: ignore[arg-type]  # never read


async def test_not_found_counts_only_after_the_index_had_time_and_twice(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.lookup_means = LookupMeans.BY_KEY
    world.dealer.lose = lambda _: False
    await world.send(await world.jobs())

    def nothing(_: OpenAttempt) -> NotFound:
        return NotFound("never heard of it")

    world.dealer.lookup_answer = nothing
    for _ in range(4):
        world.clock.pass_(seconds=20)
        await world.reconciler()
        assert (await world.message(message))["state"] == "uncertain", "its index may lag"
    world.clock.pass_(seconds=120)
    await world.reconciler()
    assert (await world.message(message))["state"] == "uncertain", "once is not enough"
    world.clock.pass_(seconds=300)
    await world.reconciler()
    assert (await world.message(message))["state"] == "scheduled"
    assert len(world.dealer.given) == 0


async def test_a_dealer_that_says_late_that_it_took_it_is_believed(world: World, insert: Insert) -> None:
    """The sender stands still in its call for minutes; meanwhile the dealer is searched, twice, in vain."""
    world.dealer.lookup_means = LookupMeans.BY_KEY
    world.dealer.gate = asyncio.Event()
    [message] = await insert()
    sending = asyncio.create_task(world.send(await world.jobs()))
    await world.dealer.called.wait()
    for _ in range(12):
        world.clock.pass_(seconds=31)
        await world.reconciler()
    assert (await world.message(message))["state"] == "scheduled"
    world.dealer.gate.set()
    await sending
    world.dealer.gate = None
    world.clock.pass_(minutes=20)
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    await world.send(await world.jobs())
    assert len(world.dealer.given) == 1
    world.dealer.outcomes = dict.fromkeys(world.dealer.ids, True)
    await world.tell(*[world.dealer.report(key) for key in world.dealer.ids])
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"


async def test_a_dealer_that_cannot_be_asked_keeps_it_uncertain_until_the_deadline(
    world: World, insert: Insert
) -> None:
    [message] = await insert()
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.NONE, False
    world.dealer.lose = lambda _: True
    await world.send(await world.jobs())
    for _ in range(20):
        world.clock.pass_(hours=1)
        await world.reconciler()
    assert (await world.message(message))["state"] == "uncertain"
    world.clock.pass_(hours=5)
    await world.reconciler()
    row = await world.message(message)
    assert (row["state"], row["reason"]) == ("failed", "delivery_uncertain")
    assert len(world.dealer.calls) == 1, "the default never sends again"


async def test_replicas_ask_about_an_attempt_once(world: World, insert: Insert) -> None:
    await insert(10)
    world.dealer.lose = lambda _: True
    await world.send(await world.jobs())
    world.clock.pass_(seconds=10)
    assert await world.reconciler() + await world.replica().reconciler() == 10
    asked = [attempt.request_key for batch in world.dealer.lookups for attempt in batch]
    assert len(asked) == len(set(asked)) == 10


async def test_replays_go_over_one_channel_in_calls_that_the_dealer_takes(
    world: World, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.REPLAY, False
    await insert(3)
    await insert(2, channel=Channel.SMS)
    world.dealer.lose = lambda _: False
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    world.clock.pass_(seconds=10)
    calls: list[list[Channel]] = []
    send = world.dealer.send

    async def noted(handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:
        calls.append([outgoing.channel for outgoing in batch])
        return await send(handle, batch)

    monkeypatch.setattr(world.dealer, "send", noted)
    solapi = world.config.dealers["solapi"]
    small = solapi.model_copy(update={"limits": solapi.limits.model_copy(update={"batch": 2})})
    await world.configured(world.config.model_copy(update={"dealers": {"solapi": small}})).reconciler()
    assert sorted(calls) == [["alimtalk"], ["alimtalk", "alimtalk"], ["sms", "sms"]]


async def test_a_dealer_that_has_enough_holds_up_no_question(world: World, insert: Insert) -> None:
    """What it would be sent again waits; the round ends, and with it what others are asked."""
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.REPLAY, False
    [message] = await insert()
    world.dealer.lose = lambda _: False
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    await world.sender.limits.pause("solapi", timedelta(hours=1))
    world.clock.pass_(seconds=10)
    async with asyncio.timeout(60):
        assert await world.reconciler() == 1
    await world.execute("UPDATE dealer_limits SET paused_until = NULL")
    world.clock.pass_(minutes=1)
    await world.reconciler()
    assert (await world.message(message))["state"] == "sent"


async def test_a_long_round_shows_that_it_lives(world: World, insert: Insert) -> None:
    await insert(450)
    await world.send(await world.jobs())
    world.clock.pass_(minutes=20)
    turns: list[int] = []
    world.dealer.before["lookup"] = lambda: turns.append(len(world.dealer.lookups))
    turned = 0

    def turn() -> None:
        nonlocal turned
        turned += 1

    await Reconciler(world.sender, turn)()
    assert turns == [0, 1, 2]
    assert turned == 3
