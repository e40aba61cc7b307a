"""Whatever came between a message's planning and its call is seen at the last step, on every way and by all at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from services.dispatcher.handlers import QueueDue
from services.ingest.api import Api
from shared.contracts.states import Category, Channel, Lane
from shared.dealers.base import LookupMeans, NotTaken, NotTakenForSure, Refused
from shared.http.auth import ApiKeys, ensure_key
from shared.http.problems import Problem
from shared.sending.stop_store import open_stop
from shared.sending.stops import Pausable, pause
from tests.integration.sending.test_caps import wait_for_locks
from tests.integration.sending.world import Crash, crash

if TYPE_CHECKING:
    from shared.ids import MessageId
    from tests.integration.sending.world import Insert, World

NINE = timedelta(hours=9)  # from noon, when a test begins, to the shop's hours of rest
MORNING = timedelta(hours=20)


async def all_at_once(world: World) -> None:
    """Let three processes claim what is queued."""
    jobs = await world.jobs()
    await asyncio.gather(*[each.send(jobs) for each in (world, world.replica(), world.replica())])


async def queue_due(world: World) -> None:
    for lane in Lane:
        await QueueDue(world.engine, world.clock, lane)()


# -- hours of rest ---------------------------------------------------------------------------------------------------


async def waits_in_line(world: World, insert: Insert, **changes: object) -> None:
    await insert(10, **changes)  # type: ignore[arg-type]  # none of them is a name
    assert len(await world.jobs()) == 10


async def is_retried(world: World, insert: Insert, **changes: object) -> None:
    """Refused for a moment at two to nine, and due again a little later."""
    await insert(10, **changes)  # type: ignore[arg-type]  # as above
    world.dealer.answer = lambda _: NotTaken("rate_limited")
    await world.send(await world.jobs())
    world.dealer.answer = lambda _: None


async def goes_on_as_a_text(world: World, insert: Insert, **changes: object) -> None:
    await insert(10, **changes)  # type: ignore[arg-type]  # as above
    world.dealer.answer = lambda _: Refused("not_kakao_user", "3104")
    await world.send(await world.jobs())
    world.dealer.answer = lambda _: None
    await world.execute("UPDATE messages SET state = 'queued', channel = 'sms', seq = seq + 1, reason = NULL")


async def is_found_after_a_crash(world: World, insert: Insert, **changes: object) -> None:
    """Its sender died before the call, and the dealer certainly has nothing."""
    await insert(10, **changes)  # type: ignore[arg-type]  # as above
    world.dealer.before["send"] = crash
    with pytest.raises(Crash):
        await world.send(await world.jobs())
    del world.dealer.before["send"]
    world.clock.pass_(minutes=1)
    world.dealer.lookup_answer = lambda _: NotTakenForSure("nothing was sent")
    await world.reconciler()
    assert {row["state"] for row in await world.rows("SELECT state FROM messages")} <= {"scheduled", "queued"}


@pytest.mark.parametrize("category", list(Category))
@pytest.mark.parametrize("way", [waits_in_line, is_retried, goes_on_as_a_text, is_found_after_a_crash])
async def test_what_was_under_way_before_the_hours_of_rest_waits_for_the_morning(
    world: World, insert: Insert, way: object, category: Category
) -> None:
    begins = NINE if category is Category.INFORMATIONAL else NINE - timedelta(hours=1)
    noon = world.clock.time
    world.clock.time = noon + begins - timedelta(minutes=2)
    await way(world, insert, category=category)  # type: ignore[operator]  # one of the above
    world.clock.time = noon + begins + timedelta(minutes=10)
    await queue_due(world)
    await all_at_once(world)
    assert world.dealer.given == []
    rows = await world.rows("SELECT state, due_at FROM messages")
    assert {(row["state"], row["due_at"]) for row in rows} == {("scheduled", noon + MORNING)}
    world.clock.time = noon + MORNING
    await queue_due(world)
    await all_at_once(world)
    assert len(world.dealer.given) == 10


async def test_a_replay_of_what_is_in_doubt_waits_for_the_morning(world: World, insert: Insert) -> None:
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.REPLAY, False
    await insert()
    world.clock.time += NINE - timedelta(minutes=2)
    world.dealer.lose = lambda _: False
    await world.send(await world.jobs())
    world.dealer.lose = lambda _: None
    world.clock.pass_(minutes=10)
    await asyncio.gather(world.reconciler(), world.replica().reconciler())
    assert world.dealer.given == []


# -- one message that is called off ----------------------------------------------------------------------------------


async def api_of(world: World) -> Api:
    async with world.engine.begin() as connection:
        await ensure_key(connection, "shop", "bk_1", now=world.clock.now())
    return Api(world.engine, ApiKeys(world.engine), world.vault, world.clock)


async def test_what_is_called_off_while_a_claim_waits_does_not_leave(world: World, insert: Insert) -> None:
    [message] = await insert()
    api, jobs = await api_of(world), await world.jobs()
    async with world.engine.connect() as holder:
        await holder.exec_driver_sql("SELECT 1 FROM messages FOR UPDATE")
        calling_off = asyncio.create_task(api.cancel_message(message, "Bearer bk_1"))
        await wait_for_locks(world, 1)
        sending = asyncio.create_task(world.send(jobs))
        await wait_for_locks(world, 2)
    await asyncio.gather(calling_off, sending)
    assert world.dealer.given == []
    assert (await world.message(message))["state"] == "cancelled"


async def test_a_message_leaves_or_is_called_off_and_never_both(world: World, insert: Insert) -> None:
    ids = await insert(60)
    api, jobs = await api_of(world), await world.jobs()

    async def call_off(message: MessageId) -> bool:
        try:
            await api.cancel_message(message, "Bearer bk_1")
        except Problem as problem:
            if problem.kind != "message-not-cancellable":
                raise
            return False
        return True

    async def dispatch(by: World, n: int) -> None:
        for start in range(n * 5, 60, 10):
            await by.send(jobs[start : start + 5])

    answers, *_ = await asyncio.gather(
        asyncio.gather(*map(call_off, ids)), dispatch(world, 0), dispatch(world.replica(), 1)
    )
    states = [(await world.message(each))["state"] for each in ids]
    assert states == ["cancelled" if called_off else "sent" for called_off in answers]
    assert len(world.dealer.given) == states.count("sent")


# -- a pause ---------------------------------------------------------------------------------------------------------


async def test_once_a_pause_is_answered_no_claim_begins_anywhere(world: World, insert: Insert) -> None:
    """Two dispatchers and a fallback send one message after another: each has one claim under way, at most."""
    for channel in (Channel.ALIMTALK, Channel.SMS):
        await insert(60, channel=channel)
    jobs, processes = await world.jobs(), [world, world.replica(), world.replica()]
    under_way = asyncio.Event()

    async def work(n: int) -> None:
        for job in jobs[n :: len(processes)]:
            await processes[n].send([job])
            under_way.set()

    working = [asyncio.create_task(work(n)) for n in range(len(processes))]
    await under_way.wait()
    async with world.engine.begin() as connection:
        now = datetime.now(UTC)
        await open_stop(connection, pause(Pausable.PROFILE, "shop", ordered_by="x", why="y", now=now))
    before = len(await world.rows("SELECT 1 FROM attempts"))
    await asyncio.gather(*working)
    after = len(await world.rows("SELECT 1 FROM attempts"))
    assert after - before <= len(processes)
    assert after < len(jobs)
    rows = await world.rows("SELECT held_by, count(*) AS n FROM messages WHERE held_by IS NOT NULL GROUP BY held_by")
    assert rows == [{"held_by": "pause/profile/shop", "n": len(jobs) - after}]
