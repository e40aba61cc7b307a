"""An operator ends a doubt: through the ledger's rules, with a name and a reason, and never against what is known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.handlers import QueueDue
from services.ingest.reading import read_story
from services.ingest.story import detail_of, explain
from shared.config import Unconfirmed
from shared.contracts.states import Category, Lane
from shared.dealers.base import LookupMeans
from shared.ids import MessageId
from shared.sending.by_hand import Resolved, Resolver
from shared.sending.in_doubt import START, Doing, InDoubt, Place, read_doubts
from shared.sending.word import CannotResolve, Says, Word
from tests.integration.sending.world import Insert, World

WHY = "the dealer's console shows it"


async def no_sleep(_: float) -> None:
    """Wait for nothing."""


def resolver(world: World, sleep: Callable[[float], Awaitable[None]] = no_sleep) -> Resolver:
    return Resolver(world.engine, world.config, world.sender.dealers, world.clock, sleep=sleep)


async def resolve(world: World, message: MessageId, says: Says, n: int | None = None) -> Resolved:
    return await resolver(world)(message, n, Word(says, "김당번", WHY))


async def doubts(world: World, after: Place = START, limit: int = 100) -> list[InDoubt]:
    async with world.engine.connect() as connection:
        found = await read_doubts(
            connection,
            config=world.config,
            dealers=world.sender.dealers,
            clock=world.clock,
            after=after,
            limit=limit,
        )
    return list(found)


async def told(world: World, message: MessageId) -> str:
    async with world.engine.connect() as connection:
        story = await read_story(connection, message)
    assert story is not None
    assert detail_of(story.steps[-1]) in explain(story)
    return explain(story)


async def in_doubt(world: World, insert: Insert, means: LookupMeans = LookupMeans.NONE) -> MessageId:
    """Return a message whose answer was lost at a dealer of ``means``."""
    [message] = await insert()
    world.dealer.lookup_means, world.dealer.polled = means, False
    world.dealer.lose = lambda _: True
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    assert (await world.message(message))["state"] == "uncertain"
    return message


async def test_delivered_by_hand_is_delivered_and_says_who(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    found = await resolve(world, message, Says.DELIVERED)
    assert (found.n, found.state) == (1, "delivered")
    row = await world.message(message)
    assert (row["state"], row["final"], row["cost_krw"]) == ("delivered", True, 13)
    [attempt] = await world.attempts(message)
    assert (attempt["state"], attempt["check_at"]) == ("delivered", None)
    said = """
        SELECT said ->> 'as' AS what, said ->> 'by' AS who, said ->> 'why' AS why
        FROM (SELECT detail -> 'by_hand' AS said FROM transitions WHERE message_id = :id ORDER BY seq DESC LIMIT 1) t
    """
    assert await world.rows(said, id=message) == [{"what": "delivered", "who": "김당번", "why": WHY}]
    assert "김당번 ended the doubt as delivered" in await told(world, message)


async def test_failed_by_hand_lets_a_text_follow(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    assert (await resolve(world, message, Says.FAILED)).state == "failed"
    row = await world.message(message)
    assert (row["final"], row["reason"]) == (False, "dealer_error"), "the fallback decides"
    assert WHY in await told(world, message)


async def test_not_taken_by_hand_goes_out_again_by_the_ordinary_rule(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    world.clock.pass_(minutes=3)
    found = await resolve(world, message, Says.NOT_TAKEN)
    assert found.state == "scheduled"
    assert found.due_at is not None
    assert found.due_at > world.clock.now()
    world.clock.pass_(minutes=1)
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    await world.send(await world.jobs())
    assert [each["state"] for each in await world.attempts(message)] == ["failed", "sent"]
    assert "not taken" in await told(world, message)


async def test_not_taken_past_the_deadline_is_not_tried_again(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    world.clock.pass_(hours=23, minutes=30)
    assert (await resolve(world, message, Says.NOT_TAKEN)).state == "failed"


async def test_not_taken_is_not_believed_before_the_dealer_would_show_it(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    world.clock.pass_(minutes=1)
    with pytest.raises(CannotResolve, match="may show it yet"):
        await resolve(world, message, Says.NOT_TAKEN)
    assert (await world.message(message))["state"] == "uncertain"


async def test_what_kakao_has_was_taken(world: World, insert: Insert) -> None:
    shop = world.config.profiles["shop"].model_copy(update={"unconfirmed": {Category.INFORMATIONAL: Unconfirmed.WAIT}})
    world = world.configured(world.config.model_copy(update={"profiles": {"shop": shop}}))
    [message] = await insert()
    await world.send(await world.jobs())
    [key] = world.dealer.ids
    await world.tell(world.dealer.unconfirmed(key))
    await world.receipts.apply()
    world.clock.pass_(hours=1)
    assert [each.doing for each in await doubts(world)] == [Doing.KAKAO]
    with pytest.raises(CannotResolve, match="Kakao"):
        await resolve(world, message, Says.NOT_TAKEN)
    assert (await resolve(world, message, Says.DELIVERED)).state == "delivered"


async def test_only_a_doubt_can_be_ended(world: World, insert: Insert) -> None:
    [message] = await insert()
    with pytest.raises(CannotResolve, match="was not tried"):
        await resolve(world, message, Says.DELIVERED)
    await world.send(await world.jobs())
    for says in Says:
        with pytest.raises(CannotResolve, match="receipt is awaited"):
            await resolve(world, message, says)
    [key] = world.dealer.ids
    world.dealer.outcomes[key] = True
    await world.push(key)
    await world.receipts.apply()
    before = await world.timeline(message)
    for says in Says:
        with pytest.raises(CannotResolve, match="it is delivered"):
            await resolve(world, message, says)
    with pytest.raises(CannotResolve, match="no attempt 7"):
        await resolve(world, message, Says.FAILED, 7)
    with pytest.raises(CannotResolve, match="no message"):
        await resolve(world, MessageId(UUID(int=1)), Says.FAILED)
    assert await world.timeline(message) == before


async def test_a_call_under_way_is_not_resolved(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.gate = asyncio.Event()
    call = asyncio.create_task(world.send(await world.jobs()))
    await world.dealer.called.wait()
    with pytest.raises(CannotResolve, match="under way"):
        await resolve(world, message, Says.NOT_TAKEN)
    world.dealer.gate.set()
    await call
    assert (await world.message(message))["state"] == "sent"


async def test_what_ended_in_doubt_may_yet_be_said_to_be_delivered(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    world.clock.pass_(hours=25)
    await world.reconciler()
    row = await world.message(message)
    assert (row["state"], row["reason"]) == ("failed", "delivery_uncertain")
    for says in (Says.FAILED, Says.NOT_TAKEN):
        with pytest.raises(CannotResolve, match="ended already"):
            await resolve(world, message, says)
    assert (await resolve(world, message, Says.DELIVERED)).state == "delivered"


async def test_a_late_receipt_corrects_a_wrong_word_and_nothing_takes_delivered_back(
    world: World, insert: Insert
) -> None:
    message = await in_doubt(world, insert)
    [key] = world.dealer.ids
    await resolve(world, message, Says.FAILED)
    world.dealer.outcomes[key] = True
    await world.push(key)
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"
    world.dealer.outcomes[key] = False
    await world.push(key)
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"


async def test_two_operators_and_a_receipt_leave_one_end(world: World, insert: Insert, database: AsyncEngine) -> None:
    del database
    message = await in_doubt(world, insert)
    [key] = world.dealer.ids
    world.dealer.outcomes[key] = True
    await world.push(key)
    world.clock.pass_(minutes=3)
    answers = await asyncio.gather(
        resolve(world, message, Says.NOT_TAKEN),
        resolve(world, message, Says.FAILED),
        world.receipts.apply(),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Resolved) for each in answers) <= 1
    assert (await world.message(message))["state"] == "delivered"
    steps = [step["attempt_state"] for step in await world.timeline(message)]
    assert steps.count("failed") <= 1


async def test_a_replay_under_way_is_waited_for(world: World, insert: Insert) -> None:
    """Else the replay would deliver one, and what follows the word another."""
    message = await in_doubt(world, insert, LookupMeans.REPLAY)
    world.dealer.ids.clear()  # the first request never arrived
    world.dealer.given.clear()
    world.dealer.gate = asyncio.Event()
    world.dealer.called.clear()
    world.clock.pass_(minutes=3)
    asking = asyncio.create_task(world.reconciler())
    await world.dealer.called.wait()
    waited: list[float] = []

    async def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        assert world.dealer.gate is not None
        world.dealer.gate.set()
        await asking

    with pytest.raises(CannotResolve, match="receipt is awaited"):
        await resolver(world, meanwhile)(message, None, Word(Says.NOT_TAKEN, "김당번", WHY))
    assert waited == [60.0]  # a call begins within a lease of its last check, and lasts as long at most
    assert (await world.message(message))["state"] == "sent"
    assert len(world.dealer.given) == 1


async def test_nobody_asks_while_a_word_waits(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert, LookupMeans.REPLAY)
    calls = len(world.dealer.calls)

    async def meanwhile(_: float) -> None:
        world.clock.pass_(seconds=30)
        assert await world.reconciler() == 0

    world.clock.pass_(minutes=3)
    found = await resolver(world, meanwhile)(message, None, Word(Says.FAILED, "김당번", WHY))
    assert found.state == "failed"
    assert len(world.dealer.calls) == calls


@pytest.mark.parametrize(
    ("means", "doing", "then"),
    [
        pytest.param(LookupMeans.TWO_PHASE, Doing.LOOKUP, "fallback", id="asked"),
        pytest.param(LookupMeans.REPLAY, Doing.REPLAY, "fallback", id="replayed"),
        pytest.param(LookupMeans.NONE, Doing.RECEIPT, "fallback", id="waited-for"),
    ],
)
async def test_a_doubt_says_why_and_what_is_done(
    world: World, insert: Insert, means: LookupMeans, doing: Doing, then: str
) -> None:
    message = await in_doubt(world, insert, means)
    [found] = await doubts(world)
    assert (found.message_id, found.n, found.dealer, found.why) == (message, 1, "solapi", "timeout")
    assert (found.doing, found.then) == (doing, then)
    assert found.until == found.opened_at + timedelta(hours=24)
    assert found.next_at is not None
    assert found.opened_at < found.next_at <= found.until


async def test_doubts_come_in_pages(world: World, insert: Insert) -> None:
    messages = await insert(25)
    world.dealer.lose = lambda _: True
    await world.send(await world.jobs())
    seen: list[MessageId] = []
    place = START
    while page := await doubts(world, place, 10):
        seen += [each.message_id for each in page]
        place = (page[-1].message_id, page[-1].n)
    assert seen == messages
    assert "0100000" not in repr(await doubts(world)), "no number of anybody"


async def test_a_doubt_at_a_dealer_that_is_configured_no_more_is_shown(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    async with world.engine.connect() as connection:
        [found] = await read_doubts(connection, config=world.config, dealers={}, clock=world.clock, limit=10)
    assert (found.message_id, found.doing) == (message, Doing.RECEIPT)


@pytest.mark.parametrize("text", ["", "  ", "x" * 301, "two\nlines", "called 010-1234-5678", "+82 10 1234 5678 said"])
def test_what_does_not_belong_into_a_timeline_is_refused(text: str) -> None:
    with pytest.raises(CannotResolve, match=r"--(by|why)"):
        Word(Says.FAILED, "kim", text)
    with pytest.raises(CannotResolve, match=r"--(by|why)"):
        Word(Says.FAILED, text, "seen")


def test_order_numbers_are_no_phones() -> None:
    assert Word(Says.FAILED, "김당번", "order 20261123-000001, ticket 4711, M-0101234567890123")
