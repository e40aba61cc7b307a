"""Promises P2, P3 and P6 at the sender: what is written down before and after the dealer is called."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import QueuePool, event
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.config import Limits
from shared.contracts.keys import read_request_key
from shared.contracts.states import Category, Channel
from shared.db.engine import engine_for
from shared.dealers.base import Ambiguous, LookupMeans, NotTaken, Outgoing, Refused, SendResult
from shared.ids import PersonId
from shared.sending.sender import Job
from tests.integration.sending.world import Crash, Insert, World, crash


async def states(world: World) -> Counter[str]:
    """Return how many messages are in each state."""
    rows = await world.rows("SELECT state FROM messages")
    return Counter(row["state"] for row in rows)


async def test_a_batch_of_500_is_sent_in_few_statements(world: World, insert: Insert) -> None:
    ids = await insert(500)
    statements: list[str] = []
    event.listen(
        world.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _u, statement, *_: statements.append(statement),
    )
    jobs = await world.jobs()
    statements.clear()
    await world.send(jobs)
    assert len(statements) < 25  # however many messages there are
    assert world.dealer.calls == [500]
    assert await states(world) == {"sent": 500}
    assert Counter(to for to, _, _ in world.dealer.given) == Counter(f"010{n:08}" for n in range(500))
    attempts = await world.rows("SELECT * FROM attempts")
    assert {a["state"] for a in attempts} == {"sent"}
    assert {a["message_id"] for a in attempts} == set(ids)
    for attempt in attempts:
        assert attempt["dealer_message_id"] == world.dealer.ids[attempt["request_key"]]
        assert attempt["handle"] == "G1"
        assert attempt["cost_krw"] == 13


async def test_people_are_served_in_the_order_of_their_jobs(world: World, insert: Insert) -> None:
    await insert(20)
    await world.send(list(reversed(await world.jobs())))
    assert [to for to, _, _ in world.dealer.given] == [f"010{n:08}" for n in reversed(range(20))]


async def test_an_attempt_is_committed_before_the_dealer_is_called(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.gate = asyncio.Event()
    sending = asyncio.create_task(world.send(await world.jobs()))
    await world.dealer.called.wait()
    [attempt] = await world.attempts(message)  # over another connection
    assert (attempt["state"], attempt["handle"]) == ("sending", "G1")
    assert (await world.message(message))["state"] == "sending"
    assert world.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the queue pool that this is
    world.dealer.gate.set()
    await sending
    assert (await world.message(message))["state"] == "sent"


async def test_a_job_read_twice_sends_once(world: World, insert: Insert) -> None:
    [message] = await insert()
    jobs = await world.jobs()
    await world.send([*jobs, *jobs])
    await world.send(jobs)
    assert len(world.dealer.given) == 1
    assert [t["state"] for t in await world.timeline(message)] == ["sending", "sent"]


async def test_two_senders_with_the_same_jobs_send_each_once(world: World, insert: Insert, database_url: str) -> None:
    await insert(200)
    jobs = await world.jobs()
    other = engine_for(database_url)
    backwards = world.replica(other)
    await asyncio.gather(world.send(jobs), backwards.send(list(reversed(jobs))), world.send(jobs[50:]))
    await other.dispose()
    assert len({key for _, _, key in world.dealer.given}) == len(world.dealer.given) == 200
    assert await states(world) == {"sent": 200}


async def test_a_job_of_before_a_change_is_void(world: World, insert: Insert) -> None:
    [message] = await insert()
    [job] = await world.jobs()
    old = Job(job.message_id, job.seq - 1, job.dealer, job.channel, job.lane)
    await world.send([old])
    assert (await world.message(message))["state"] == "queued"
    assert world.dealer.given == []


async def test_a_job_of_no_message_is_void(world: World, insert: Insert) -> None:
    [message] = await insert()
    jobs = await world.jobs()
    await world.execute("DELETE FROM messages")
    await world.send(jobs)
    assert await world.attempts(message) == []


def refuse(_: Outgoing) -> SendResult:
    return Refused("not_kakao_user", "3104", "no KakaoTalk")


def limited(_: Outgoing) -> SendResult:
    return NotTaken("rate_limited", "TooManyRequests", retry_after=timedelta(seconds=0.2))


def riddle(_: Outgoing) -> SendResult:
    return Ambiguous("timeout")


@pytest.mark.parametrize(
    ("answer", "message_state", "attempt_state", "reason"),
    [
        pytest.param(refuse, "failed", "failed", "not_kakao_user", id="refused"),
        pytest.param(limited, "scheduled", "failed", "rate_limited", id="not-taken"),
        pytest.param(riddle, "uncertain", "uncertain", None, id="ambiguous"),
    ],
)
async def test_each_answer_is_recorded(
    world: World,
    insert: Insert,
    answer: Callable[[Outgoing], SendResult],
    message_state: str,
    attempt_state: str,
    reason: str | None,
) -> None:
    [message] = await insert()
    world.dealer.answer = answer
    await world.send(await world.jobs())
    row = await world.message(message)
    assert (row["state"], row["final"], row["cost_krw"]) == (message_state, False, 0)
    [attempt] = await world.attempts(message)
    assert (attempt["state"], attempt["reason"]) == (attempt_state, reason)
    assert (row["due_at"] is not None) == (message_state == "scheduled")
    assert (attempt["check_at"] is not None) == (attempt_state == "uncertain")


async def test_a_batch_of_mixed_answers_goes_each_its_way(world: World, insert: Insert) -> None:
    await insert(40)
    answers: list[SendResult | None] = [None, refuse(None), limited(None), riddle(None)]  # type: ignore[arg-type]  # they ignore it
    world.dealer.answer = lambda outgoing: answers[int(outgoing.to[3:]) % 4]
    await world.send(await world.jobs())
    assert await states(world) == {"sent": 10, "failed": 10, "scheduled": 10, "uncertain": 10}


async def test_a_dealer_that_opens_no_handle_sends_nothing(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.open_answer = NotTaken("dealer_unavailable", detail="connection refused")
    await world.send(await world.jobs())
    assert (await world.message(message))["state"] == "scheduled"
    assert world.dealer.calls == []


async def test_a_dealer_that_has_enough_is_left_alone_for_as_long_as_it_says(world: World, insert: Insert) -> None:
    await insert(2)
    world.dealer.answer = limited
    jobs = await world.jobs()
    await world.send(jobs[:1])
    [row] = await world.rows("SELECT paused_until > clock_timestamp() AS paused FROM dealer_limits")
    assert row["paused"]
    world.dealer.answer = lambda _: None
    await world.send(jobs[1:])  # waits for the end of the pause
    assert await states(world) == {"scheduled": 1, "sent": 1}


# -- the last check --------------------------------------------------------------------------------------------------


async def test_a_message_past_its_deadline_expires(world: World, insert: Insert) -> None:
    [message] = await insert(deadline=world.clock.now())
    await world.send(await world.jobs())
    row = await world.message(message)
    assert (row["state"], row["final"], row["reason"]) == ("expired", True, "expired")
    assert world.dealer.given == []


async def test_the_hours_of_rest_are_checked_before_the_call(world: World, insert: Insert) -> None:
    ids = await insert(2, deadline=world.clock.now() + timedelta(days=2))
    [late] = await insert(deadline=world.clock.now() + timedelta(hours=19))
    jobs = await world.jobs()
    world.clock.pass_(hours=9)  # 21:00 in Seoul
    await world.send(jobs)
    opens = world.clock.now() + timedelta(hours=11)
    for message in ids:
        row = await world.message(message)
        assert (row["state"], row["due_at"]) == ("scheduled", opens)
    assert (await world.message(late))["state"] == "expired"
    assert world.dealer.given == []


async def test_advertising_rests_an_hour_longer(world: World, insert: Insert) -> None:
    [message] = await insert(category=Category.ADVERTISING)
    world.clock.pass_(hours=8)  # 20:00 in Seoul
    await world.send(await world.jobs())
    assert (await world.message(message))["state"] == "scheduled"


async def test_a_wait_for_a_lock_does_not_outwit_the_hours_of_rest(world: World, insert: Insert) -> None:
    [message] = await insert()
    jobs = await world.jobs()
    async with world.engine.connect() as holder:
        await holder.exec_driver_sql("SELECT 1 FROM messages FOR UPDATE")
        sending = asyncio.create_task(world.send(jobs))
        await waits_for_a_lock(world)
        world.clock.pass_(hours=9)  # 21:00 in Seoul
    await sending
    assert (await world.message(message))["state"] == "scheduled"
    assert world.dealer.given == []


async def waits_for_a_lock(world: World) -> None:
    """Return once some session of this database waits for a lock."""
    async with asyncio.timeout(20):
        while not await world.rows(  # noqa: ASYNC110 - Postgres tells nobody
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            await asyncio.sleep(0.01)


async def test_a_process_that_slept_past_its_lease_does_not_call(world: World, insert: Insert) -> None:
    [message] = await insert()
    original = world.sender.vault.open

    def stopped(*args: object) -> bytes:  # rendering stands between claim and call
        world.clock.pass_(seconds=31)
        return original(*args)  # type: ignore[arg-type]  # as they came

    object.__setattr__(world.sender, "vault", type("Slow", (), {"open": staticmethod(stopped)})())
    await world.send(await world.jobs())
    assert world.dealer.given == []
    row = await world.message(message)
    assert (row["state"], row["tries"]) == ("scheduled", 1)


# -- what can be wrong with a message ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"profile": "gone"}, "sender_profile_invalid", id="profile-not-configured"),
        pytest.param({"dealer": "gone", "channel": Channel.SMS}, "sender_profile_invalid", id="dealer-not-configured"),
        pytest.param({"template": "GONE"}, "invalid_request", id="template-unknown"),
        pytest.param({"personal": b""}, "invalid_request", id="erased"),
        pytest.param({"personal": b"\x02k1 not sealed by us"}, "invalid_request", id="garbled"),
        pytest.param({"channel": Channel.SMS, "profile": "textless"}, "invalid_request", id="no-text-route"),
        pytest.param({"channel": Channel.SMS, "template": "MUTE"}, "invalid_request", id="no-text"),
    ],
)
async def test_what_cannot_be_sent_fails_alone(
    world: World, insert: Insert, changes: dict[str, Any], reason: str
) -> None:
    [bad] = await insert(**changes)
    good = await insert(3)
    await world.send(await world.jobs())
    row = await world.message(bad)
    assert (row["state"], row["reason"]) == ("failed", reason)
    assert row["final"] == (row["channel"] == "sms")
    assert {(await world.message(message))["state"] for message in good} == {"sent"}
    assert len(world.dealer.given) == 3


async def test_a_value_that_grew_too_long_fails_alone(world: World, insert: Insert) -> None:
    [bad] = await insert(name="가" * 1000)
    [good] = await insert()
    await world.send(await world.jobs())
    assert (await world.message(bad))["state"] == "failed"
    assert (await world.message(good))["state"] == "sent"


async def test_a_template_that_this_version_cannot_read_fails_alone(world: World, insert: Insert) -> None:
    [bad] = await insert(template="OLD")
    [good] = await insert()
    await world.execute("INSERT INTO templates VALUES ('OLD', 1, true, CAST(:body AS jsonb), now())", body="{}")
    await world.send(await world.jobs())
    assert (await world.message(bad))["state"] == "failed"
    assert (await world.message(good))["state"] == "sent"


async def test_what_a_dealer_says_is_kept_whatever_it_says(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.answer = lambda _: Refused("unknown", "9\x00\ud800", "oh\x00 no\udfff")
    await world.send(await world.jobs())
    [attempt] = await world.attempts(message)
    assert attempt["code"] == "9?"
    assert (await world.timeline(message))[-1]["detail"] == {"said": "oh no?"}


async def test_an_answer_to_an_attempt_that_ended_meanwhile_changes_nothing(world: World, insert: Insert) -> None:
    """The process stood still in the call; the dealer was asked, and a text is queued by now (``tries`` is 0)."""
    [message] = await insert()
    world.dealer.gate = asyncio.Event()
    world.dealer.answer = limited
    sending = asyncio.create_task(world.send(await world.jobs()))
    await world.dealer.called.wait()
    await world.execute("UPDATE attempts SET state = 'failed', check_at = NULL, reason = 'unknown'")
    await world.execute("UPDATE messages SET state = 'queued', channel = 'sms', tries = 0, seq = 9")
    world.dealer.gate.set()
    await sending
    row = await world.message(message)
    assert (row["state"], row["channel"], row["seq"]) == ("queued", "sms", 9)


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_void_jobs_cost_nothing_of_the_limit(world: World, insert: Insert) -> None:
    world.sender.limits.accounts["solapi"] = Limits(messages_per_second=1)  # if they did, a second each
    await insert(1)
    jobs = await world.jobs()
    async with asyncio.timeout(20):
        await world.send(jobs * 60)
    assert len(world.dealer.given) == 1


async def test_a_crash_in_the_call_gives_the_grant_back_a_window_later(
    world: World, insert: Insert, database: AsyncEngine
) -> None:
    await insert(2)
    world.dealer.before["send"] = crash
    jobs = await world.jobs()
    with pytest.raises(Crash):
        await world.send(jobs[:1])
    del world.dealer.before["send"]
    await world.send(jobs[1:])
    assert database.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the queue pool that this is
    assert await states(world) == {"sending": 1, "sent": 1}


async def test_a_slow_dealer_holds_no_connection(world: World, insert: Insert) -> None:
    await insert(5)
    world.dealer.gate = asyncio.Event()
    sending = asyncio.create_task(world.send(await world.jobs()))
    await world.dealer.called.wait()
    pool = world.engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    world.dealer.gate.set()
    await sending
    assert len(world.dealer.given) == 5


async def test_a_persons_messages_leave_one_after_the_other(world: World, insert: Insert) -> None:
    """A call may be many requests at once: two to one person are two calls (promise P7)."""
    world.dealer.lookup_means = LookupMeans.BY_KEY
    person = PersonId(uuid4())
    first, second = await insert(2, person_id=person)
    await insert(3)
    await world.send(await world.jobs())
    assert world.dealer.calls == [4, 1]
    left = [known[0] for _, _, key in world.dealer.given if (known := read_request_key(key))]
    assert left[-1] == max(first, second)
    assert min(first, second) in left[:-1]
