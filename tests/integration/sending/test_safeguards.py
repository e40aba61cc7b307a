"""Safeguards that ``tests/mutants.py`` could take out unnoticed, until these."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from shared.catalog.template import Template
from shared.config import Config
from shared.db.engine import engine_for
from shared.dealers.base import LookupMeans, Refused
from shared.sending.stop_store import load_stops, take_probe
from tests.integration.sending.test_door import BODY, door
from tests.integration.sending.test_sender import waits_for_a_lock
from tests.integration.sending.world import FakeDealer, Insert, World, build


async def test_the_database_has_the_last_word_on_a_second_open_attempt(world: World, insert: Insert) -> None:
    [message] = await insert()
    await world.send(await world.jobs())
    with pytest.raises(IntegrityError, match="duplicate key value"):
        await world.execute(
            "INSERT INTO attempts (message_id, n, channel, dealer, state, request_key, opened_at, checks, missing,"
            " cost_krw) SELECT message_id, 2, channel, dealer, 'sending', request_key, opened_at, 0, 0, 0"
            " FROM attempts WHERE message_id = :id",
            id=message,
        )
    assert len(await world.attempts(message)) == 1


async def test_the_last_look_at_the_hours_is_after_the_locks(world: World, insert: Insert) -> None:
    """Ten seconds to nine, and a lock that is waited for twenty: less than the lease, which would notice as well."""
    [message] = await insert()
    world.clock.pass_(hours=8, minutes=59, seconds=50)
    jobs = await world.jobs()
    async with world.engine.connect() as holder:
        await holder.exec_driver_sql("SELECT 1 FROM messages FOR UPDATE")
        sending = asyncio.create_task(world.send(jobs))
        await waits_for_a_lock(world)
        world.clock.pass_(seconds=20)
    await sending
    assert (await world.message(message))["state"] == "scheduled"
    assert world.dealer.given == []


async def test_a_call_under_way_is_not_asked_about(world: World, insert: Insert) -> None:
    """A two-phase dealer would be told to close the very group that is being sent."""
    [message] = await insert()
    world.dealer.gate = asyncio.Event()
    sending = asyncio.create_task(world.send(await world.jobs()))
    await world.dealer.called.wait()
    world.clock.pass_(seconds=25)  # of a lease of 30
    assert await world.reconciler() == 0
    world.dealer.gate.set()
    await sending
    assert (await world.message(message))["state"] == "sent"


async def test_what_the_dealer_named_is_not_sent_again_because_a_list_lacks_it(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.lookup_means = LookupMeans.BY_KEY
    await world.send(await world.jobs())
    await world.search_in_vain()
    assert (await world.message(message))["state"] == "sent"


async def test_what_was_settled_meanwhile_is_not_replayed(world: World, insert: Insert) -> None:
    """Its receipt comes between the moment at which a replay was due and the call."""
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.REPLAY, False
    [message] = await insert()
    world.dealer.lose = lambda _: True
    await world.send(await world.jobs())
    [key] = world.dealer.ids
    world.dealer.outcomes[key] = True
    await world.push(key)
    await world.receipts.apply()
    await world.sender.replay(world.dealer, [(message, 1)])
    assert world.dealer.calls == [1]


async def test_a_replay_that_the_dealer_would_still_know_waits_for_the_morning(world: World, insert: Insert) -> None:
    """Lost at five to nine, and due again at five past: the dealer's memory is no reason not to, the hours are."""
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.REPLAY, False
    [message] = await insert()
    world.clock.pass_(hours=8, minutes=55)
    world.dealer.lose = lambda _: False
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    world.clock.pass_(minutes=10)
    assert await world.reconciler() == 1
    assert world.dealer.calls == [1]
    [attempt] = await world.attempts(message)
    assert attempt["check_at"] - world.clock.now() == timedelta(hours=10, minutes=55)


async def test_a_replay_that_stood_still_after_its_last_check_is_not_made(world: World, insert: Insert) -> None:
    """Checked at a minute to nine, and woken at nine past."""
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.REPLAY, False
    await insert()
    world.clock.pass_(hours=8, minutes=55)
    world.dealer.lose = lambda _: False
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    world.clock.pass_(minutes=4)

    class Slow(dict[tuple[str, int], Template]):
        def update(self, *args: object) -> None:  # templates are read after the check
            world.clock.pass_(minutes=10)
            super().update(*args)  # type: ignore[call-overload]  # as they came

    replica = world.replica()
    object.__setattr__(replica.sender, "templates", Slow())
    await replica.reconciler()
    assert world.dealer.calls == [1]
    assert world.dealer.given == []


async def test_what_a_dealer_took_never_moves_though_it_failed(world: World, insert: Insert, config: Config) -> None:
    """A reported failure may be taken back, and then two dealers had delivered."""
    raw = config.model_dump(by_alias=True, mode="json")
    raw["dealers"]["solapi"]["credentials"] = {}
    raw["dealers"]["nhn"] = {**raw["dealers"]["solapi"], "kind": "nhn"}
    raw["profiles"]["shop"]["routes"].append({"dealer": "nhn", "sender_key": "N"})
    raw["profiles"]["shop"]["quiet_hours"] = {}
    backup = FakeDealer("nhn")
    both = build(world.engine, world.dealer, Config.model_validate(raw), world.vault, world.clock, backup)
    [message] = await insert()
    await both.send(await both.jobs())
    [report] = [world.dealer.report(key) for key in world.dealer.ids]
    failed = type(report)(report.request_key, report.dealer_message_id, delivered=False, code="3016",
                          reason="template_mismatch")  # fmt: skip
    await both.tell(failed)
    await both.receipts.apply()
    world.clock.pass_(minutes=5)
    await both.send(await both.jobs())
    row = await both.message(message)
    assert (row["state"], row["dealer"], row["reason"]) == ("failed", "solapi", "template_mismatch")
    assert backup.calls == []


async def test_of_two_that_saw_a_probe_due_one_sends_it(world: World, insert: Insert) -> None:
    await insert(5)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    await world.execute("UPDATE stops SET probe_at = now() - interval '1 second'")
    async with world.engine.begin() as connection:
        [stop] = (await load_stops(connection)).values()  # what both read, before either asked
        asked = [await take_probe(connection, stop, world_now=world.sender.world.now()) for _ in range(2)]
    assert asked == [True, False]


async def test_a_receipt_that_could_not_be_stored_is_not_answered_as_if(world: World) -> None:
    """A dealer that hears 200 never tells again."""
    away = engine_for("postgresql://nobody@127.0.0.1:9/nowhere")
    async with door(world.replica(away)) as client:
        answer = await client.post("/v1/receipts/solapi", content=BODY)
    await away.dispose()
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
