"""P4: the limit of an account over replicas, as the dealer sees arrivals: the row, its times, deaths and changes.

What is granted is decided by rules that ``tests/unit/sending/test_admission.py`` tries on a virtual clock.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from asyncpg import InterfaceError, PostgresError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.config import Allowed
from shared.config import Limits as Account
from shared.contracts.states import Channel, Lane
from shared.db.engine import engine_for
from shared.sending import limit_log
from shared.sending.limit_log import LOST_AFTER, WINDOW, Log
from shared.sending.limit_standing import in_use
from shared.sending.limit_store import Row, at_rows, change, read, write
from shared.sending.limits import Limits

PER_SECOND = 50


def limits_of(engine: AsyncEngine, per_second: int, **more: object) -> Limits:
    return Limits(engine, {"d": Account.model_validate({"messages_per_second": per_second, **more})})


@asynccontextmanager
async def used(limits: Limits, wanted: int, lane: Lane = Lane.AUTH, **more: object) -> AsyncIterator[int]:
    """Take, and call at once."""
    async with limits.take("d", wanted, lane, **more) as taken, taken.calling():  # type: ignore[arg-type]  # as given
        yield taken.n


@pytest.mark.parametrize("lane", list(Lane))
async def test_no_sliding_second_holds_more_than_the_limit(
    database: AsyncEngine, database_url: str, lane: Lane
) -> None:
    other = engine_for(database_url)
    arrivals: list[float] = []

    async def sender(engine: AsyncEngine, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a test
        limits, left = limits_of(engine, PER_SECOND), 60
        while left:
            async with limits.take("d", min(left, 20), lane) as taken, taken.calling():
                await asyncio.sleep(chance.uniform(0, 0.1))  # the way to the dealer
                arrivals.extend([time.monotonic()] * taken.n)
                await asyncio.sleep(chance.uniform(0, 0.1))
                left -= taken.n
                taken.answered = True
        await limits.close()

    await asyncio.gather(sender(database, 1), sender(database, 2), sender(other, 3))
    await other.dispose()
    assert len(arrivals) == 180
    arrivals.sort()
    windows = [sum(start <= at < start + WINDOW for at in arrivals) for start in arrivals]
    assert max(windows) <= PER_SECOND


async def test_two_that_read_the_same_are_not_both_granted(database: AsyncEngine) -> None:
    """Nobody holds a lock: the slower one finds that the row was written, and reads again."""
    async with at_rows(database) as driver:
        first, second = [(await read(driver, ["d"]))["d"] for _ in range(2)]
        assert await write(driver, [first])
        assert not await write(driver, [second])


async def test_of_two_rows_both_are_written_or_none(database: AsyncEngine) -> None:
    async with at_rows(database) as driver:
        rows = await read(driver, ["d", "d/shop"])
        assert await write(driver, [rows["d/shop"]])
        assert not await write(driver, list(rows.values()))
    assert (await row_of(database, "d")).version == rows["d"].version


async def test_many_askers_of_one_process_are_never_given_too_much(database: AsyncEngine) -> None:
    limits = limits_of(database, 30)
    async with asyncio.timeout(30):
        got = await asyncio.gather(*(one(limits) for _ in range(40)))
    assert sum(got) == 40
    assert (await row_of(database)).log.last_id == 40


async def one(limits: Limits) -> int:
    async with used(limits, 1) as n:
        return n


async def test_a_holder_that_was_killed_is_missed_soon(
    database: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only after the minute for which one that hangs is waited for."""
    monkeypatch.setattr(limit_log, "LOOK_AFTER", 0.0)
    monkeypatch.setattr(limit_log, "AFTERMATH", 0.1)
    other = engine_for(database_url)
    dying = limits_of(other, 10)
    dead = dying.take("d", 10, Lane.AUTH)
    await dead.__aenter__()  # taken, and never given back
    await other.dispose()  # as SIGKILL: the session at Postgres is gone
    async with asyncio.timeout(LOST_AFTER / 2), used(limits_of(database, 10), 10) as n:
        assert n == 10
    dying.desks.clear()


async def test_a_holder_that_hangs_is_waited_for(database: AsyncEngine, database_url: str) -> None:
    other = engine_for(database_url)
    hanging, limits = limits_of(other, 1), limits_of(database, 1)
    async with used(hanging, 1):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5), used(limits, 1):
                    pass
    await hanging.close()
    await other.dispose()


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_a_small_limit_serves_every_lane(database: AsyncEngine, limit: int) -> None:
    limits = limits_of(database, limit)
    for lane in Lane:
        async with limits.take("d", 100, lane) as taken:
            assert 1 <= taken.n <= limit
            taken.used = 0  # nothing was sent: given back at once
    await limits.close()
    log = (await row_of(database)).log
    assert (log.out, log.past) == ([], [])


async def test_a_pause_holds_for_all_replicas_and_is_never_shortened(database: AsyncEngine, database_url: str) -> None:
    other = engine_for(database_url)
    limits, replica = limits_of(database, 10), limits_of(other, 10)
    async with used(limits, 1):
        pass
    await limits.pause("d", timedelta(minutes=5))
    await replica.pause("d", timedelta(seconds=1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), used(replica, 1):
            pass
    async with database.connect() as connection:
        left = await connection.scalar(text("SELECT paused_until - clock_timestamp() FROM dealer_limits"))
        shown = (await in_use(connection))["d"]
    assert left > timedelta(minutes=4)
    assert shown.paused_until is not None
    await replica.close()
    await other.dispose()


async def test_a_crash_within_the_call_still_ends_the_grant(database: AsyncEngine) -> None:
    limits = limits_of(database, 10)
    with pytest.raises(ZeroDivisionError):
        async with used(limits, 10):
            raise ZeroDivisionError
    await limits.close()
    log = (await row_of(database)).log
    assert not log.out
    assert [past.units for past in log.past] == [10], "its call has come back, and a window later all is free again"


async def test_the_end_of_a_call_is_told_without_another_question(database: AsyncEngine) -> None:
    limits = limits_of(database, 10)
    async with used(limits, 10):
        pass
    telling = limits.desks["d"].telling
    assert telling is not None
    await telling
    assert not (await row_of(database)).log.out


async def test_a_session_that_was_ended_costs_one_try(database: AsyncEngine, database_url: str) -> None:
    """The pool does not see what the driver says; the next question has another connection."""
    other = engine_for(database_url)
    limits = limits_of(other, 10)
    async with used(limits, 1):
        pass
    await limits.tell()
    async with database.begin() as connection:
        sessions = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle'"
        await connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM ({sessions}) AS idle"))
    with pytest.raises((PostgresError, InterfaceError)):
        await one(limits)
    assert await one(limits) == 1
    await limits.close()
    await other.dispose()


async def test_a_changed_limit_holds_for_who_waits(database: AsyncEngine) -> None:
    limits = limits_of(database, 1, messages_per_day=1)
    async with used(limits, 1):
        pass
    waiting = asyncio.create_task(one(limits))
    async with database.begin() as connection:
        await change(connection, "d", {"messages_per_day": 100}, "min@example.com")
    async with asyncio.timeout(30):
        assert await waiting == 1
    row = await row_of(database)
    assert (row.changed_by, row.changed_at is not None) == ("min@example.com", True)


async def test_what_a_message_counts_as_is_by_its_channel(database: AsyncEngine) -> None:
    limits = limits_of(database, 10, counts_as={"lms": 3})
    async with used(limits, 10, channel=Channel.LMS) as n:
        assert n == 3
    async with used(limits, 10, channel=Channel.SMS) as n:
        assert n == 1


async def test_a_profile_keeps_its_own_limit_besides_the_accounts(database: AsyncEngine) -> None:
    limits = limits_of(database, 10, per_profile={"messages_per_second": 4})
    async with (
        used(limits, 10, profile="a") as first,
        used(limits, 10, profile="b") as second,
        used(limits, 10, profile="c") as third,
    ):
        assert (first, second, third) == (4, 4, 2)
    assert limits.by_profile("d")
    assert Allowed() == Account().per_profile


async def test_requests_are_counted_one_a_call_or_one_a_message(database: AsyncEngine) -> None:
    limits = limits_of(database, 100, requests_per_day=5)
    async with used(limits, 20) as n:
        assert n == 20
    async with used(limits, 20, one_by_one=True) as n:
        assert n == 4


async def test_the_databases_clock_may_step_in_both_directions(database: AsyncEngine) -> None:
    """The row's time stands still where the clock goes back; a process that read the clock before sees a leap."""
    limits = limits_of(database, 5)
    async with used(limits, 5):
        pass
    await limits.tell()
    for step in (-3600.0, 3600.0):
        row = await row_of(database)
        # As if the clock stepped: what the row knows of it is off by as much.
        log = row.log
        log.skew += step
        async with at_rows(database) as driver:
            assert await write(driver, [replace(row, log=log)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), used(limits, 1):
                pass
    async with asyncio.timeout(10), used(limits, 1) as n:
        assert n == 1


async def row_of(engine: AsyncEngine, key: str = "d") -> Row:
    async with at_rows(engine) as driver:
        row = (await read(driver, [key]))[key]
    assert isinstance(row.log, Log)
    return row
