"""What must not stop the loops for everybody else: each of these once ended the process, at every start anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from services.dispatcher.handlers import EndForgotten, LetGo, QueueDue
from services.dispatcher.repository import due_messages, is_alone
from services.fallback.handlers import DecideFallback
from shared.config import Config
from shared.contracts.states import Lane
from shared.db.engine import engine_for
from shared.dealers.base import Refused, Report, StillUnknown
from shared.ids import PersonId
from shared.sending.receipts import Receipts, keep
from shared.sending.reconcile import Reconciler
from shared.sending.stop_store import open_stop, release
from shared.sending.stops import FEW, Scope, SeenIn, Stop, StopKey
from tests.integration.fallback.test_fallback import records
from tests.integration.sending.world import FakeDealer, Insert, World, build

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.crypto import Vault
    from shared.ids import MessageId

ELSEWHERE = Config.model_validate(
    {
        "dealers": {"other": {"kind": "solapi", "base_url": "http://127.0.0.1:9"}},
        "profiles": {"shop": {"name": "봉수상점", "routes": [{"dealer": "other", "sender_key": "KEY"}]}},
    }
)


async def in_doubt(world: World, insert: Insert) -> MessageId:
    """Return a message that the dealer took, though its answer was lost."""
    [message] = await insert()
    world.dealer.lose = lambda _: True
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    return message


async def test_an_erased_person_is_looked_up_by_what_is_left(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    await world.execute("UPDATE messages SET personal = ''")
    world.clock.pass_(seconds=10)
    assert await world.reconciler() == 1
    [[asked]] = world.dealer.lookups
    assert asked.to == ""
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "sent"


async def test_a_dealer_that_was_taken_out_leaves_no_attempt_open_for_good(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    [gone_on] = await insert()
    await world.send(await world.jobs())
    reconciler = Reconciler(replace(world.sender, dealers={}, config=ELSEWHERE))
    for _ in range(90):
        world.clock.pass_(hours=1)
        await reconciler()
    assert (await world.message(message))["reason"] == "delivery_uncertain"
    assert (await world.message(gone_on))["reason"] == "result_timeout"
    assert world.dealer.lookups == []


async def test_what_a_dealer_that_was_taken_out_held_goes_another_way(
    world: World, insert: Insert, vault: Vault
) -> None:
    """Nobody probes it any more: what it held would wait for its deadline."""
    world_now = world.sender.world.now()
    key = StopKey(Scope.DEALER, "solapi")
    async with world.engine.begin() as connection:
        assert await open_stop(connection, Stop(key, "no_balance", SeenIn.ANSWER, FEW, world_now))
    [message] = await insert()
    await world.send(await world.jobs())
    assert (await world.message(message))["held_by"] == "dealer/solapi"
    other = build(world.engine, FakeDealer("other"), ELSEWHERE, vault, world.clock)
    assert await LetGo(other.sender)() == 1
    assert await QueueDue(other.engine, other.clock, Lane.NORMAL)() == 1
    for _ in range(2):  # it is queued anew for the other
        await other.send(await other.jobs())
    row = await other.message(message)
    assert (row["state"], row["dealer"]) == ("sent", "other")


@pytest.mark.parametrize("delivered", [True, False, None])
async def test_a_receipt_of_a_dealer_that_was_taken_out_is_applied(
    world: World,
    insert: Insert,
    delivered: bool | None,  # noqa: FBT001 - a column of the table
) -> None:
    message = await in_doubt(world, insert)
    [key] = world.dealer.ids
    if delivered is not None:
        world.dealer.outcomes[key] = delivered
    await world.push(key)
    assert await Receipts(replace(world.sender, dealers={}, config=ELSEWHERE)).apply() == 1
    expected = {True: "delivered", False: "failed", None: "sent"}[delivered]
    assert (await world.message(message))["state"] == expected


async def test_a_receipt_with_bytes_that_postgres_refuses_is_kept(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    [key] = world.dealer.ids
    odd = Report(key, "M\x001\ud800", delivered=True, code="40\x0000", raw=b"\x00")
    async with world.engine.begin() as connection:
        await keep(connection, world.vault, "solapi", "push", [odd], now=world.clock.now())
    assert await world.receipts.apply() == 1
    assert (await world.message(message))["state"] == "delivered"
    [attempt] = await world.attempts(message)
    assert (attempt["code"], attempt["dealer_message_id"]) == ("4000", "M1?")


async def test_an_answer_without_our_key_is_the_answer_to_our_question(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    [key] = world.dealer.ids
    world.dealer.outcomes[key] = True
    world.dealer.lookup_answer = lambda _: world.dealer.report(key, by_id_alone=True)
    world.clock.pass_(seconds=10)
    await world.reconciler()
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"


async def test_a_later_receipt_may_know_an_attempt_by_the_dealers_id_alone(world: World, insert: Insert) -> None:
    """The answer to sending was lost, so the id was first heard in a receipt, which said that it failed."""
    message = await in_doubt(world, insert)
    [key] = world.dealer.ids
    world.dealer.outcomes[key] = False
    await world.push(key)
    await world.receipts.apply()
    world.dealer.outcomes[key] = True
    await world.push(key, by_id_alone=True)
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"


# -- the receipt deadline ----------------------------------------------------------------------------------------------


async def test_after_a_long_absence_the_dealer_is_asked_before_anything_ends(world: World, insert: Insert) -> None:
    message = await in_doubt(world, insert)
    [key] = world.dealer.ids
    world.dealer.outcomes[key] = True
    world.clock.pass_(hours=40)  # nobody ran; the pushed receipts found nobody
    await world.reconciler()
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"


async def test_a_dealer_that_does_not_answer_at_the_deadline_is_asked_for_a_day_more(
    world: World, insert: Insert
) -> None:
    message = await in_doubt(world, insert)
    world.dealer.lookup_answer = lambda _: StillUnknown("connection refused")
    world.clock.pass_(hours=30)
    await world.reconciler()
    assert (await world.message(message))["state"] == "uncertain"
    world.clock.pass_(hours=20)
    await world.reconciler()
    row = await world.message(message)
    assert (row["state"], row["reason"]) == ("failed", "delivery_uncertain")


# -- deciding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param("UPDATE messages SET template = 'GONE'", id="template-gone"),
        pytest.param("UPDATE messages SET personal = ''", id="erased"),
        pytest.param("UPDATE messages SET profile = 'gone'", id="profile-gone"),
        pytest.param("UPDATE templates SET body = '{}'", id="template-unreadable"),
        pytest.param(
            "UPDATE templates SET body = jsonb_set(body, '{text_message}', to_jsonb(repeat('#{name}', 400)))",
            id="text-too-long",
        ),
    ],
)
async def test_a_message_whose_text_cannot_be_made_ends_and_its_neighbours_go_on(
    world: World, insert: Insert, spoil: str
) -> None:
    [bad] = await insert(name="김" * 8)
    world.dealer.answer = lambda _: Refused("not_kakao_user", "3104")
    await world.send(await world.jobs())
    await world.execute(spoil)
    decide = DecideFallback(world.engine, world.config, world.vault, world.clock)
    await decide(await records(world))
    row = await world.message(bad)
    assert (row["state"], row["final"], row["reason"]) == ("failed", True, "not_kakao_user")


# -- the clock ---------------------------------------------------------------------------------------------------------


async def test_what_waited_for_one_moment_goes_in_the_order_in_which_it_came(world: World, insert: Insert) -> None:
    """P7: at 08:00 all that rested is due at once."""
    due_at = world.clock.now()
    ids = await insert(30, state="scheduled", due_at=due_at)
    # where the rows lie says nothing of their order
    await world.execute("UPDATE messages SET tries = 0 WHERE id = ANY(CAST(:ids AS uuid[]))", ids=ids[::2])
    due = QueueDue(world.engine, world.clock, Lane.NORMAL)
    assert [await due(limit=7) for _ in range(6)] == [7, 7, 7, 7, 2, 0]
    rows = await world.rows("SELECT message_id FROM transitions ORDER BY xid, position")
    assert [row["message_id"] for row in rows] == ids


async def test_replicas_queue_what_is_due_once(world: World, insert: Insert, database_url: str) -> None:
    await insert(20, state="scheduled", due_at=world.clock.now())
    other = engine_for(database_url)
    async with other.begin() as held:  # another replica has some of them in hand
        await held.exec_driver_sql("SELECT id FROM messages ORDER BY id LIMIT 5 FOR UPDATE")
        assert await QueueDue(world.engine, world.clock, Lane.NORMAL)() == 15
    await other.dispose()
    assert await QueueDue(world.engine, world.clock, Lane.NORMAL)() == 5
    assert len(await world.rows("SELECT 1 FROM transitions")) == 20


async def test_replicas_do_not_part_what_is_due_at_one_moment(
    world: World, insert: Insert, database: AsyncEngine
) -> None:
    """One has a person's first message in hand and stands still: nobody queues the second before it (promise P7)."""
    ids = await insert(2, person_id=PersonId(uuid4()), state="scheduled", due_at=world.clock.now())
    async with database.begin() as slow:
        assert await is_alone(slow, "due/normal")
        assert await due_messages(slow, Lane.NORMAL, now=world.clock.now(), limit=1) == ids[:1]
        assert await QueueDue(world.engine, world.clock, Lane.NORMAL)() == 0
    assert await QueueDue(world.engine, world.clock, Lane.NORMAL)() == 2
    rows = await world.rows("SELECT message_id FROM transitions ORDER BY xid, position")
    assert [row["message_id"] for row in rows] == ids


async def test_replicas_do_not_part_what_a_stop_held(world: World, insert: Insert, database: AsyncEngine) -> None:
    person, later = PersonId(uuid4()), world.clock.now() + timedelta(hours=1)
    ids = await insert(2, person_id=person, state="scheduled", due_at=later, held_by="dealer/solapi")
    async with database.begin() as slow:
        assert await is_alone(slow, "stops")
        times = {"now": world.clock.now(), "world_now": world.sender.world.now()}
        assert await release(slow, world.config.dealers, **times, limit=1) == 1
        assert await LetGo(world.sender)() == 0
    assert await LetGo(world.sender)() == 1
    assert await QueueDue(world.engine, world.clock, Lane.NORMAL)() == 2
    rows = await world.rows("SELECT message_id FROM transitions ORDER BY xid, position")
    assert [row["message_id"] for row in rows] == ids


async def test_what_is_due_past_its_deadline_expires(world: World, insert: Insert) -> None:
    [message] = await insert(state="scheduled", due_at=world.clock.now(), deadline=world.clock.now())
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    row = await world.message(message)
    assert (row["state"], row["final"], row["due_at"]) == ("expired", True, None)


async def test_a_stopped_process_does_not_keep_its_locks(database: AsyncEngine) -> None:
    """SIGSTOP within a transaction would hold up every replica, and all readers of the ledger."""
    async with database.connect() as connection:
        found = (await connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert found == "15s"


async def test_waits_for_a_gateway_are_the_worlds_however_fast_the_clock(world: World, insert: Insert) -> None:
    """At a thousandfold speed a lease, a first question and a retry are as far away in the world as at any other."""
    world.clock.speed = 1000
    await insert(1)
    world.dealer.lose = lambda _: False
    [job] = await world.jobs()
    await world.send([job])
    [attempt] = await world.attempts(job.message_id)
    assert attempt["check_at"] - attempt["opened_at"] == timedelta(seconds=1500)
    world.clock.pass_(seconds=2000)
    await world.reconciler()
    row = await world.message(job.message_id)
    assert (row["state"], row["due_at"] - world.clock.now()) == ("scheduled", timedelta(seconds=750))


async def test_what_the_bus_lost_ends_after_its_deadline(world: World, insert: Insert) -> None:
    [jobless] = await insert()
    [undecided] = await insert(state="failed", reason="not_kakao_user")
    [sleeping] = await insert(state="scheduled", due_at=world.clock.now() + timedelta(days=3))
    sweep = EndForgotten(world.engine, world.clock)
    deadline = (await world.message(jobless))["deadline"]
    world.clock.time = deadline + timedelta(minutes=9)
    assert await sweep() == 0  # it may yet come
    world.clock.pass_(minutes=2)
    assert await sweep() == 2
    assert await sweep() == 0
    rows = [await world.message(each) for each in (jobless, undecided, sleeping)]
    assert [(row["state"], row["final"]) for row in rows] == [("expired", True), ("failed", True), ("scheduled", False)]
