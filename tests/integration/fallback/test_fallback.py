"""A failed AlimTalk becomes a text, waits for morning, or stays failed and says why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.dispatcher.handlers import QueueDue
from services.fallback.handlers import DecideFallback, SendTexts
from shared.bus import Received, Record
from shared.contracts.delivery import Delivery
from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.dealers.base import Outgoing, Refused, SendResult
from shared.ids import MessageId, PersonId
from tests.integration.sending.world import Insert, World

NOWHERE = Record("t", 0, 0, None, b"")


def refuse(outgoing: Outgoing) -> SendResult | None:
    return Refused("not_kakao_user", "3104") if outgoing.channel is Channel.ALIMTALK else None


async def records(world: World) -> list[Received[Delivery]]:
    """Return the last change of each message, as the delivery topic brings it."""
    rows = await world.rows("""
        SELECT DISTINCT ON (t.message_id) t.*, t.xid::text AS xid, m.person_id, m.profile, m.rule, m.template,
               m.category
        FROM transitions t JOIN messages m ON m.id = t.message_id ORDER BY t.message_id, t.seq DESC
    """)
    return [Received(NOWHERE, _delivery(row)) for row in rows]


def _delivery(row: dict[str, Any]) -> Delivery:
    return Delivery(
        message_id=MessageId(row["message_id"]),
        person_id=PersonId(row["person_id"]),
        seq=row["seq"],
        xid=int(row["xid"]),
        position=row["position"],
        at=row["at"],
        state=MessageState(row["state"]),
        final=row["final"],
        profile=row["profile"],
        rule=row["rule"],
        template=row["template"],
        lane=Lane(row["lane"]),
        category=Category(row["category"]),
        channel=Channel(row["channel"]),
        dealer=row["dealer"],
    )


async def decide(world: World) -> None:
    handler = DecideFallback(world.engine, world.config, world.vault, world.clock, world.sender.dealers)
    batch = await records(world)
    await handler(batch)
    await handler(batch)  # read again: decided already


async def send(world: World) -> None:
    handler = SendTexts(world.lanes)
    batch = await records(world)
    await handler(batch)
    await handler(batch)
    await world.lanes.idle()


@pytest.mark.parametrize(("template", "channel", "cost"), [("PAID", "sms", 18), ("LONG", "lms", 45)])
async def test_a_text_goes_where_kakao_cannot(
    world: World, insert: Insert, template: str, channel: str, cost: int
) -> None:
    [message] = await insert(template=template)
    world.dealer.answer = refuse
    await world.send(await world.jobs())
    await decide(world)
    await send(world)
    [(_, over, key)] = world.dealer.given
    assert over == channel
    world.dealer.outcomes[key] = True
    await world.push(key)
    await world.receipts.apply()
    row = await world.message(message)
    assert (row["state"], row["channel"], row["cost_krw"], row["final"]) == ("delivered", channel, cost, True)
    states = [t["state"] for t in await world.timeline(message)]
    assert states == ["sending", "failed", "queued", "sending", "sent", "delivered"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"profile": "textless"}, "no_text_route", id="no-route"),
        pytest.param({"template": "MUTE"}, "no_text_route", id="no-text"),
    ],
)
async def test_a_message_that_no_text_follows_ends_and_says_why(
    world: World, insert: Insert, changes: dict[str, Any], why: str
) -> None:
    [message] = await insert(**changes)
    world.dealer.answer = refuse
    await world.send(await world.jobs())
    await decide(world)
    row = await world.message(message)
    assert (row["state"], row["final"], row["reason"]) == ("failed", True, "not_kakao_user")
    assert (await world.timeline(message))[-1]["detail"] == {"no_fallback": why}
    assert world.dealer.given == []


async def test_a_rule_without_fallback_ends_at_once(world: World, insert: Insert) -> None:
    [message] = await insert(fallback="none")
    world.dealer.answer = refuse
    await world.send(await world.jobs())
    row = await world.message(message)
    assert (row["state"], row["final"]) == ("failed", True)


async def test_a_text_that_fails_is_the_end(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.answer = lambda _: Refused("no_subscriber", "3032")
    await world.execute("UPDATE messages SET channel = 'sms'")
    await world.send(await world.jobs())
    row = await world.message(message)
    assert (row["state"], row["final"], row["reason"]) == ("failed", True, "no_subscriber")


async def test_a_text_waits_for_the_end_of_rest_and_then_goes(world: World, insert: Insert) -> None:
    """P6: the failure came in the evening, and so would the text."""
    [message] = await insert()
    world.dealer.answer = refuse
    await world.send(await world.jobs())
    world.clock.pass_(hours=9, minutes=30)  # half past nine in the evening
    await decide(world)
    row = await world.message(message)
    assert (row["state"], row["channel"]) == ("scheduled", "sms")
    due = QueueDue(world.engine, world.clock, Lane.NORMAL)
    assert await due() == 0
    world.clock.time = row["due_at"] + timedelta(seconds=1)
    assert await due() == 1
    await send(world)
    assert [channel for _, channel, _ in world.dealer.given] == ["sms"]


async def test_a_kakao_success_that_comes_before_the_text_leaves_stops_it(world: World, insert: Insert) -> None:
    [message] = await insert()
    await world.send(await world.jobs())
    [(_, _, key)] = world.dealer.given
    world.dealer.outcomes[key] = False
    await world.push(key)
    await world.receipts.apply()
    await decide(world)
    assert (await world.message(message))["state"] == "queued"
    world.dealer.outcomes[key] = True
    await world.push(key)
    await world.receipts.apply()
    await send(world)
    assert len(world.dealer.given) == 1
    assert (await world.message(message))["state"] == "delivered"


async def test_a_kakao_success_after_the_text_is_a_double_contact_with_its_cost(world: World, insert: Insert) -> None:
    [message] = await insert()
    await world.send(await world.jobs())
    [(_, _, first)] = world.dealer.given
    world.dealer.outcomes[first] = False
    await world.push(first)
    await world.receipts.apply()
    await decide(world)
    await send(world)
    second = world.dealer.given[1][2]
    world.dealer.outcomes |= {first: True, second: True}
    await world.push(second, first)
    await world.receipts.apply()
    row = await world.message(message)
    assert (row["state"], row["cost_krw"]) == ("delivered", 13 + 18)
    assert (await world.timeline(message))[-1]["detail"] == {"double_contact": ["alimtalk", "sms"]}
