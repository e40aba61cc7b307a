"""Frequency caps hold to the message, whoever claims at once; what counts, and what does not any more."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from services.dispatcher.handlers import QueueDue
from services.ingest.reading import read_story
from services.ingest.story import explain
from shared.config import Cap
from shared.contracts.states import Category, Channel, Lane
from shared.db.engine import engine_for
from shared.dealers.base import LookupMeans, NotTaken, Refused, SendResult
from shared.ids import PersonId
from tests.integration.sending.world import FakeDealer, build

if TYPE_CHECKING:
    from shared.ids import MessageId
    from tests.integration.sending.world import Insert, World

WAITING = """
    SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


def capped(world: World, *caps: dict[str, object]) -> World:
    """Return the same under ``caps``."""
    return world.configured(world.config.model_copy(update={"caps": tuple(map(Cap.model_validate, caps))}))


async def send(world: World) -> None:
    await world.send(await world.jobs())


async def state(world: World, message: MessageId) -> str:
    return str((await world.message(message))["state"])


async def wait_for_locks(world: World, number: int) -> None:
    """Return once so many sessions wait for a lock."""
    async with asyncio.timeout(20):
        while len(await world.rows(WAITING)) < number:  # noqa: ASYNC110 - Postgres tells nobody
            await asyncio.sleep(0.01)


async def test_of_two_claims_at_once_one_waits_and_counts_the_other(world: World, insert: Insert) -> None:
    """Both stand where each has counted and nothing is written: over two profiles, and two channels."""
    person = PersonId(uuid4())
    await insert(person_id=person)
    await insert(person_id=person, profile="textless", lane=Lane.MASS)
    one = capped(world, {"most": 1, "per": "1d"})
    other = one.replica()
    [first, second] = await one.jobs()
    async with world.engine.connect() as holder:
        await holder.exec_driver_sql("LOCK TABLE attempts IN SHARE MODE")  # read, and not written
        sending = [asyncio.create_task(one.send([first])), asyncio.create_task(other.send([second]))]
        await wait_for_locks(world, 2)
        await holder.rollback()
    await asyncio.gather(*sending)
    assert len(world.dealer.given) == 1
    rows = await world.rows("SELECT state, count(*) AS n FROM messages GROUP BY state ORDER BY state")
    assert rows == [{"state": "sent", "n": 1}, {"state": "suppressed", "n": 1}]


async def test_a_thousand_messages_to_one_person_from_two_dispatchers_and_the_fallback(
    world: World, insert: Insert, database_url: str
) -> None:
    person = PersonId(uuid4())
    for lane, profile, channel in (
        (Lane.NORMAL, "shop", Channel.ALIMTALK),
        (Lane.MASS, "textless", Channel.ALIMTALK),
        (Lane.NORMAL, "shop", Channel.SMS),
        (Lane.MASS, "shop", Channel.LMS),
    ):
        # Tried before, so that none waits for another: each of these may leave at any moment.
        await insert(250, person_id=person, lane=lane, profile=profile, channel=channel, attempt=1)
    one = capped(world, {"most": 3, "per": "1d"})
    engine = engine_for(database_url)
    try:
        claimers = [one, one.replica(engine), one.replica()]
        jobs = await one.jobs()
        batches = [jobs[n::50] for n in range(50)]  # of all kinds in each
        await asyncio.gather(*[claimers[n % 3].send(batch) for n, batch in enumerate(batches)])
    finally:
        await engine.dispose()
    assert len(world.dealer.given) == 3
    rows = await world.rows("SELECT state, reason, final FROM messages")
    assert Counter(map(tuple, (row.values() for row in rows))) == {
        ("sent", None, False): 3,
        ("suppressed", "frequency_cap", True): 997,
    }


async def test_what_is_suppressed_says_which_cap_and_when_it_opens(world: World, insert: Insert) -> None:
    person = PersonId(uuid4())
    [first] = await insert(person_id=person, profile="textless")
    here = capped(world, {"most": 1, "per": "2h", "category": "informational"}, {"most": 5, "per": "1d"})
    await send(here)
    world.clock.pass_(minutes=30)
    [second] = await insert(person_id=person)
    await send(here)
    async with world.engine.connect() as connection:
        story = await read_story(connection, second)
    assert story is not None
    assert (story.summary.state, story.summary.final, story.summary.reason) == ("suppressed", True, "frequency_cap")
    assert "1 message in 2h (informational)" in explain(story)
    assert "That cap has room again from " in explain(story)
    assert "14:00:00 (Seoul)" in explain(story)
    assert await state(world, first) == "sent"
    world.clock.pass_(minutes=90)
    [third] = await insert(person_id=person)
    await send(here)
    assert await state(world, third) == "sent"


@pytest.mark.parametrize("answer", ["alimtalk-refused", "not-taken", "moved"])
async def test_a_text_a_retry_and_another_dealer_are_no_second_contact(
    world: World, insert: Insert, answer: str
) -> None:
    raw = world.config.model_dump(by_alias=True, mode="json")
    raw["dealers"]["solapi"]["credentials"] = {}
    raw["dealers"]["nhn"] = {**raw["dealers"]["solapi"], "kind": "nhn"}
    if answer == "moved":
        raw["profiles"]["shop"]["routes"].append({"dealer": "nhn", "sender_key": "N"})
    config = world.config.model_validate({**raw, "caps": [{"most": 1, "per": "1d"}]})
    other = FakeDealer("nhn", lookup_means=LookupMeans.BY_KEY)
    here = build(world.engine, world.dealer, config, world.vault, world.clock, other)
    person = PersonId(uuid4())
    [message] = await insert(person_id=person)
    failures: dict[str, SendResult] = {
        "alimtalk-refused": Refused("not_kakao_user", "3104"),
        "not-taken": NotTaken("rate_limited"),
        "moved": Refused("no_balance", "402"),
    }
    world.dealer.answer = lambda _: failures[answer]
    await send(here)
    assert world.dealer.given == []
    if answer == "alimtalk-refused":
        await world.execute(
            "UPDATE messages SET state = 'queued', channel = 'sms', seq = seq + 1, reason = NULL WHERE id = :id",
            id=message,
        )
    # Nobody else takes its place meanwhile.
    [another] = await insert(person_id=person, lane=Lane.MASS)
    await here.send([job for job in await here.jobs() if job.message_id == another])
    assert await state(world, another) == "suppressed"
    world.dealer.answer = lambda _: None
    world.clock.pass_(minutes=20)
    await QueueDue(world.engine, world.clock, Lane.NORMAL)()
    await send(here)
    assert await state(world, message) == "sent"
    assert len(world.dealer.given) + len(other.given) == 1


@pytest.mark.parametrize("end", ["failed", "expired", "cancelled"])
async def test_a_contact_that_never_was_counts_no_more(world: World, insert: Insert, end: str) -> None:
    person = PersonId(uuid4())
    here = capped(world, {"most": 1, "per": "1d"})
    [message] = await insert(person_id=person, fallback="none" if end == "failed" else "text")
    world.dealer.answer = lambda _: Refused("not_kakao_user", "3104")
    await send(here)
    if end != "failed":  # as it waited for its text
        await world.execute("UPDATE messages SET state = :end, final = true WHERE id = :id", end=end, id=message)
    world.dealer.answer = lambda _: None
    [another] = await insert(person_id=person)
    await send(here)
    assert await state(world, another) == "sent"


@pytest.mark.parametrize("reason", ["delivery_uncertain", "result_timeout", None])
async def test_what_nobody_knows_the_end_of_counts(world: World, insert: Insert, reason: str | None) -> None:
    person = PersonId(uuid4())
    here = capped(world, {"most": 1, "per": "1d"})
    [message] = await insert(person_id=person)
    world.dealer.lose = lambda _: True
    await send(here)
    assert await state(world, message) == "uncertain"
    if reason is not None:  # no receipt can come any more
        await world.execute("UPDATE attempts SET state = 'failed', reason = :reason", reason=reason)
        await world.execute("UPDATE messages SET state = 'failed', final = true")
    world.dealer.lose = lambda _: None
    [another] = await insert(person_id=person)
    await send(here)
    assert await state(world, another) == "suppressed"


async def test_caps_of_a_category_and_a_profile_count_their_own(world: World, insert: Insert) -> None:
    person = PersonId(uuid4())
    here = capped(
        world,
        {"most": 1, "per": "1d", "category": "advertising"},
        {"most": 1, "per": "1d", "profile": "textless"},
        {"most": 3, "per": "1d"},
    )

    async def outcome(person: PersonId = person, **changes: Any) -> str:  # noqa: ANN401 - fields of several types
        [message] = await insert(person_id=person, **changes)
        await send(here)
        world.clock.pass_(seconds=1)
        return await state(world, message)

    assert await outcome(category=Category.ADVERTISING) == "sent"
    assert await outcome(category=Category.ADVERTISING) == "suppressed"
    assert await outcome(profile="textless") == "sent"
    assert await outcome(profile="textless") == "suppressed"
    assert await outcome() == "sent"
    assert await outcome() == "suppressed"
    assert await outcome(lane=Lane.AUTH) == "sent"
    assert await outcome(PersonId(uuid4())) == "sent"


@pytest.mark.parametrize("caps", [[], [{"most": 1, "per": "1d", "profile": "textless"}]])
async def test_where_no_cap_applies_nothing_is_asked(
    world: World, insert: Insert, caps: list[dict[str, object]]
) -> None:
    here = capped(world, *caps)
    asked: list[str] = []

    def note(*given: object) -> None:
        asked.append(str(given[2]))

    event.listen(world.engine.sync_engine, "before_cursor_execute", note)
    await insert()
    await send(here)
    assert len(world.dealer.given) == 1
    assert not [statement for statement in asked if "advisory" in statement or "max(a.opened_at)" in statement]
