"""Promise P5, and what keeps P1 and P2 while jobs wait: at once or into the backlog, and out of it in turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncConnection

from services.dispatcher.handlers import SendJobs
from services.fallback.handlers import SendTexts
from shared.bus import Received
from shared.bus.base import Record
from shared.config import Config
from shared.contracts.delivery import Delivery
from shared.contracts.jobs import SendJob
from shared.contracts.keys import read_request_key
from shared.contracts.states import Channel, Lane, MessageState
from shared.db.engine import engine_for
from shared.dealers.base import NotTaken
from shared.ids import PersonId
from shared.ledger.book import Book
from shared.ledger.repository import save
from shared.sending import backlog, lanes
from shared.sending.sender import Job
from tests.integration.sending.world import Crash, FakeDealer, Insert, World, build, crash


async def waiting(world: World) -> Counter[str]:
    """Return how many jobs each profile has in the backlog."""
    return Counter(row["profile"] for row in await world.rows("SELECT profile FROM backlog"))


async def states(world: World) -> Counter[str]:
    return Counter(row["state"] for row in await world.rows("SELECT state FROM messages"))


async def pause(world: World) -> None:
    await world.sender.limits.pause("solapi", timedelta(hours=1))


async def go_on(world: World) -> None:
    await world.execute("UPDATE dealer_limits SET paused_until = NULL, version = version + 1")


async def send(world: World, jobs: list[Job]) -> None:
    """Take ``jobs`` in, and see them through."""
    await world.lanes(jobs)
    await world.lanes.idle()


def limited(world: World, **limits: object) -> World:
    """Return the world with other limits."""
    raw = world.config.model_dump(mode="json", by_alias=True)
    raw["dealers"]["solapi"]["limits"] |= limits
    return world.configured(Config.model_validate(raw))


async def looked(world: World) -> None:
    """Let a process that knows of nothing look, draw and end."""
    await world.lanes.look()
    await world.lanes.idle()


def received(job: Job) -> Received[SendJob]:
    value = SendJob(
        message_id=job.message_id,
        person_id=PersonId(uuid4()),
        seq=job.seq,
        channel=job.channel,
        dealer=job.dealer,
        profile="shop",
        deadline=datetime(2026, 1, 1, tzinfo=UTC),  # nobody reads it
    )
    return Received(Record("t", 0, 0, None, b""), value)


async def test_what_can_go_at_once_never_waits_in_the_backlog(world: World, insert: Insert) -> None:
    await insert(500)
    await send(world, await world.jobs())
    assert world.dealer.calls == [500]
    assert await states(world) == {"sent": 500}
    assert await world.rows("SELECT is_called FROM backlog_n_seq") == [{"is_called": False}]


async def test_a_handler_returns_once_all_is_claimed_or_put_away(world: World, insert: Insert) -> None:
    """The record may be committed then: the call has not ended, and the backlog is in the ledger."""
    await insert(3)
    small = limited(world, batch=1, calls=1)
    gate = world.dealer.gate = asyncio.Event()
    await SendJobs(small.lanes, Lane.NORMAL)(list(map(received, await world.jobs())))
    assert await states(world) == {"sending": 1, "queued": 2}
    assert await waiting(world) == {"shop": 2}
    gate.set()
    await small.lanes.idle()
    assert await states(world) == {"sent": 3}
    assert await waiting(world) == {}


async def test_no_more_calls_are_under_way_than_allowed(world: World, insert: Insert) -> None:
    await insert(10)
    small = limited(world, batch=1, calls=3)
    gate = world.dealer.gate = asyncio.Event()
    await small.lanes(await world.jobs())
    assert await states(world) == {"sending": 3, "queued": 7}
    gate.set()
    await small.lanes.idle()
    assert len(world.dealer.given) == 10


# -- whom nobody waits for ---------------------------------------------------------------------------------------------


def with_another_dealer(world: World) -> tuple[World, FakeDealer]:
    raw = world.config.model_dump(by_alias=True, mode="json")
    raw["dealers"]["nhn"] = {**raw["dealers"]["solapi"], "kind": "nhn"}
    raw["profiles"]["shop"]["routes"].append({"dealer": "nhn", "sender_key": "N"})
    other = FakeDealer("nhn")
    return build(world.engine, world.dealer, Config.model_validate(raw), world.vault, world.clock, other), other


async def test_a_paused_dealer_holds_no_other_and_no_lane(world: World, insert: Insert) -> None:
    both, other = with_another_dealer(world)
    await pause(world)
    await insert(20)
    await insert(5, dealer="nhn")
    await insert(5, dealer="nhn", lane=Lane.MASS)
    jobs = await world.jobs()
    for _ in range(2):  # also while the drawers wait
        await both.lanes(jobs)
    assert await waiting(world) == {"shop": 40}  # those that were read again are void
    await both.lanes.finish()
    assert len(other.given) == 10
    assert world.dealer.given == []


async def test_one_shops_5000_do_not_hold_anothers_ten(world: World, insert: Insert) -> None:
    await pause(world)
    await insert(5000, lane=Lane.MASS)
    few = await insert(10, lane=Lane.MASS, profile="textless")
    jobs = await world.jobs()
    jobs.sort(key=lambda job: job.profile == "textless")
    for at in range(0, len(jobs), 500):
        await world.lanes(jobs[at : at + 500])
    assert await waiting(world) == {"shop": 5000, "textless": 10}
    await go_on(world)
    await world.lanes.idle()
    sent = [key for _, _, key in world.dealer.given]
    rows = await world.rows("SELECT request_key FROM attempts WHERE message_id = ANY(:few)", few=few)
    first = sent[: sum(world.dealer.calls[:2])]  # two are drawn at a time, in any order
    assert {row["request_key"] for row in rows} <= set(first)
    assert len(sent) == 5010


async def test_profiles_share_by_their_shares(world: World, insert: Insert) -> None:
    raw = world.config.model_dump(by_alias=True, mode="json")
    raw["profiles"]["shop"]["share"] = 3
    raw["dealers"]["solapi"]["limits"]["batch"] = 10
    weighted = world.configured(Config.model_validate(raw))
    await pause(world)
    await insert(60)
    await insert(60, profile="textless")
    await weighted.lanes(await world.jobs())
    world.dealer.before["send"] = crash
    await go_on(world)
    with pytest.raises(Crash):
        await weighted.lanes.idle()
    left = await waiting(world)
    drawn = {name: 60 - left[name] for name in ("shop", "textless")}
    assert drawn["shop"] + drawn["textless"] >= 10
    assert abs(drawn["shop"] / 3 - drawn["textless"]) <= 1


async def test_an_auth_text_does_not_wait_behind_mass_texts(world: World, insert: Insert) -> None:
    await insert(5, lane=Lane.MASS, channel=Channel.SMS)
    [code] = await insert(lane=Lane.AUTH, channel=Channel.SMS)
    small = limited(world, batch=1, calls=1)
    rows = await world.rows("SELECT * FROM messages ORDER BY lane = 'auth', id")
    texts = [
        Received(
            Record("d", 0, n, None, b""),
            Delivery(
                message_id=row["id"],
                person_id=row["person_id"],
                seq=row["seq"],
                xid=1,
                position=n,
                at=world.clock.now(),
                state=MessageState.QUEUED,
                profile="shop",
                rule="paid",
                template="PAID",
                lane=Lane(row["lane"]),
                category=row["category"],
                channel=Channel.SMS,
                dealer="solapi",
            ),
        )
        for n, row in enumerate(rows)
    ]
    gate = world.dealer.gate = asyncio.Event()
    handle = SendTexts(small.lanes)
    await handle(texts[:5])
    await world.dealer.called.wait()
    world.dealer.called.clear()
    world.dealer.gate = None  # a code's call returns; that of the first mass text does not yet
    await handle(texts[5:])
    await world.dealer.called.wait()
    [(_, _, key)] = world.dealer.given
    assert read_request_key(key) == (code, 1)
    assert await waiting(world) == {"shop": 4}
    gate.set()
    await small.lanes.idle()
    assert await states(world) == {"sent": 6}


async def test_a_dealer_that_is_slow_to_get_ready_is_not_waited_for(
    world: World, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "SLOW", 0.0)
    gate = asyncio.Event()
    opens = world.dealer.open

    async def open_() -> str | NotTaken:
        await gate.wait()
        return await opens()

    monkeypatch.setattr(world.dealer, "open", open_)
    await insert(2)
    await world.lanes(await world.jobs())
    assert await waiting(world) == {"shop": 2}
    gate.set()
    await world.lanes.idle()
    assert await states(world) == {"sent": 2}
    assert len(world.dealer.given) == 2


# -- nothing lost, nothing twice ---------------------------------------------------------------------------------------


async def test_two_processes_draw_each_job_once(world: World, insert: Insert, database_url: str) -> None:
    await insert(400)
    small = limited(world, batch=7)
    await pause(world)
    jobs = await world.jobs()
    async with world.engine.begin() as connection:
        await backlog.put_away(connection, jobs)
        await backlog.put_away(connection, jobs[:100])  # a batch that was read again
    await go_on(world)
    other = engine_for(database_url)
    await asyncio.gather(looked(small), looked(small.replica(other)))
    await looked(small)
    await other.dispose()
    assert len({to for to, _, _ in world.dealer.given}) == len(world.dealer.given) == 400
    assert await states(world) == {"sent": 400}
    assert await waiting(world) == {}


async def dies(*_: object) -> None:
    crash()


async def puts_away_and_dies(connection: AsyncConnection, jobs: list[Job]) -> None:
    await backlog.put_away(connection, jobs)
    await connection.commit()
    crash()


async def saves_and_dies(connection: AsyncConnection, book: Book) -> None:
    await save(connection, book)
    if book.opened:
        crash()


CRASHES: dict[str, Callable[[World, pytest.MonkeyPatch], None]] = {
    "before it is put away": lambda _, patch: patch.setattr("shared.sending.lanes.put_away", dies),
    "after it was put away": lambda _, patch: patch.setattr("shared.sending.lanes.put_away", puts_away_and_dies),
    "before the draw": lambda world, _: world.dealer.before.update(open=crash),
    "after the draw, before its commit": lambda _, patch: patch.setattr("shared.sending.sender.save", saves_and_dies),
    "after the claim": lambda world, _: world.dealer.before.update(send=crash),
    "after the call": lambda world, _: world.dealer.after.update(send=crash),
}


@pytest.mark.parametrize("where", CRASHES)
async def test_a_crash_at_any_step_of_the_backlog_loses_nothing_and_doubles_nothing(
    world: World, insert: Insert, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    await insert(10)
    jobs = await world.jobs()
    await pause(world)
    with monkeypatch.context() as dying:
        CRASHES[where](world, dying)
        if "put away" in where:
            with pytest.raises(Crash):
                await world.lanes(jobs)
        else:
            await world.lanes(jobs)
            await go_on(world)
            with pytest.raises(Crash):
                await world.lanes.idle()
    world.dealer.before, world.dealer.after = {}, {}
    if "put away" not in where:
        assert await waiting(world) == ({} if "claim" in where or "call" in where else {"shop": 10})
    await go_on(world)
    again = world.replica()
    if "put away" in where:
        await again.lanes(jobs)  # nothing was committed on the bus
    await looked(again)
    world.clock.pass_(seconds=40)
    for _ in range(4):
        await again.reconciler()
        world.clock.pass_(minutes=1)
        await world.execute("UPDATE messages SET state = 'queued', due_at = NULL WHERE state = 'scheduled'")
        await send(again, await world.jobs())
    assert Counter(to for to, _, _ in world.dealer.given) == {f"010{n:08}": 1 for n in range(10)}
    assert await waiting(world) == {}


async def test_a_process_draws_only_from_the_lanes_that_it_serves(world: World, insert: Insert) -> None:
    await pause(world)
    await insert(3, lane=Lane.MASS)
    await insert(2, lane=Lane.AUTH)
    await world.lanes(await world.jobs())
    await world.lanes.finish()
    codes = lanes.Lanes(world.sender, frozenset(Channel), {Lane.AUTH})
    await go_on(world)
    await codes.look()
    await codes.idle()
    assert Counter(row["state"] for row in await world.rows("SELECT state FROM messages WHERE lane = 'auth'")) == {
        "sent": 2
    }
    assert await waiting(world) == {"shop": 3}


async def test_what_a_background_call_dies_of_ends_the_process(world: World, insert: Insert) -> None:
    await insert(1)
    gate = world.dealer.gate = asyncio.Event()
    world.dealer.after["send"] = crash
    turned = asyncio.Event()
    running = asyncio.create_task(world.lanes.run(asyncio.Event(), turned.set))
    await turned.wait()
    await world.lanes(await world.jobs())  # its claim is committed
    gate.set()
    with pytest.raises(Crash):
        await running


async def test_a_stop_lets_calls_end_and_leaves_the_rest_where_it_is(world: World, insert: Insert) -> None:
    await insert(5)
    small = limited(world, batch=1, calls=1)
    gate = world.dealer.gate = asyncio.Event()
    await small.lanes(await world.jobs())
    stopping = asyncio.create_task(small.lanes.finish())
    await asyncio.sleep(0)  # it has begun
    gate.set()
    await stopping
    reached = await states(world)
    assert reached["sending"] == 0
    assert reached["sent"] >= 1
    assert (await waiting(world))["shop"] == reached["queued"] >= 3


async def test_what_moved_on_is_void_in_the_backlog(world: World, insert: Insert) -> None:
    await insert(3)
    await pause(world)
    jobs = await world.jobs()
    await world.execute("UPDATE messages SET seq = 9 WHERE id = :id", id=jobs[0].message_id)
    await world.lanes(jobs)
    assert await waiting(world) == {"shop": 2}
    await world.execute("UPDATE messages SET state = 'cancelled', final = true WHERE id = :id", id=jobs[1].message_id)
    await go_on(world)
    await world.lanes.idle()
    assert len(world.dealer.given) == 1
    assert await waiting(world) == {}


async def test_the_backlog_of_a_dealer_that_is_gone_goes_another_way(world: World, insert: Insert) -> None:
    await insert(3, dealer="nhn")
    async with world.engine.begin() as connection:
        await backlog.put_away(connection, await world.jobs())
    await looked(world)  # it knows of solapi alone
    assert await waiting(world) == {}
    rows = await world.rows("SELECT DISTINCT state, dealer FROM messages")
    assert rows == [{"state": "queued", "dealer": "solapi"}]


# -- codes -------------------------------------------------------------------------------------------------------------


async def test_a_code_that_waits_past_its_life_expires_though_no_token_comes(world: World, insert: Insert) -> None:
    await pause(world)
    late = await insert(3, lane=Lane.AUTH, deadline=world.clock.now() + timedelta(minutes=3))
    [order] = await insert()
    await world.lanes(await world.jobs())
    world.clock.pass_(minutes=3)
    assert await world.lanes.look() == 3
    for message in late:
        row = await world.message(message)
        assert (row["state"], row["final"], row["reason"]) == ("expired", True, "expired")
    assert (await world.message(order))["state"] == "queued"
    assert await waiting(world) == {"shop": 1}
    assert await world.lanes.look() == 0
    await world.lanes.finish()


async def test_what_waits_is_shown(world: World, insert: Insert) -> None:
    await pause(world)
    await insert(3, lane=Lane.MASS)
    await world.lanes(await world.jobs())
    await world.lanes.look()
    of = {"lane": "mass", "dealer": "solapi"}
    assert REGISTRY.get_sample_value("bongsu_sending_backlog_jobs", of) == 3
    assert REGISTRY.get_sample_value("bongsu_sending_backlog_oldest_seconds", of) is not None
    await go_on(world)
    await world.lanes.idle()
    await world.lanes.look()
    assert REGISTRY.get_sample_value("bongsu_sending_backlog_jobs", of) is None
