"""P4: the limit of an account over replicas, in every sliding second, as the dealer sees arrivals."""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.contracts.states import Lane
from shared.db.engine import engine_for
from shared.sending.limits import LOST_AFTER, WINDOW, Grant, Limits, admit

PER_SECOND = 50


@pytest.mark.parametrize("lane", list(Lane))
async def test_no_sliding_second_holds_more_than_the_limit(
    database: AsyncEngine, database_url: str, lane: Lane
) -> None:
    other = engine_for(database_url)
    arrivals: list[float] = []

    async def sender(engine: AsyncEngine, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a test
        limits, left = Limits(engine, {"d": PER_SECOND}), 60
        while left:
            async with limits.take("d", min(left, 20), lane) as taken:
                await asyncio.sleep(chance.uniform(0, 0.1))  # the way to the dealer
                arrivals.extend([time.monotonic()] * taken.n)
                await asyncio.sleep(chance.uniform(0, 0.1))
                left -= taken.n

    await asyncio.gather(sender(database, 1), sender(database, 2), sender(other, 3))
    await other.dispose()
    assert len(arrivals) == 180
    arrivals.sort()
    windows = [sum(start <= at < start + WINDOW for at in arrivals) for start in arrivals]
    assert max(windows) <= PER_SECOND


@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 0.5), st.floats(0, 0.5), st.booleans()), max_size=60),
    st.integers(1, 30),
)
def test_admit_keeps_every_window_on_a_virtual_clock(calls: list[tuple[int, float, float, bool]], limit: int) -> None:
    """Each call wants some, arrives somewhere between grant and end, and may never end (its process died)."""
    now, grants, arrivals = 0.0, list[Grant](), list[tuple[float, int]]()
    for wanted, before, after, dies in calls:
        granted, wait = admit(grants, now=now, wanted=wanted, limit=limit, share=1.0)
        if not granted:
            assert wait > 0
            now += wait
            continue
        assert granted <= wanted
        arrives = now + before
        arrivals.append((arrives, granted))
        grants.append(Grant(str(len(grants)), granted, now, None if dies else arrives + after))
        now += 0.01
    for start, _ in arrivals:
        assert sum(n for at, n in arrivals if start <= at < start + WINDOW) <= limit


async def test_a_lane_leaves_room_for_those_who_wait_more_urgently(database: AsyncEngine) -> None:
    limits = Limits(database, {"d": 100})
    async with (
        limits.take("d", 1000, Lane.MASS) as mass,
        limits.take("d", 1000, Lane.NORMAL) as normal,
        limits.take("d", 1000, Lane.AUTH) as auth,
    ):
        assert (mass.n, normal.n, auth.n) == (80, 15, 5)


async def test_a_holder_that_was_killed_is_missed_soon(database: AsyncEngine, database_url: str) -> None:
    """Not only after the minute for which one that hangs is waited for."""
    other = engine_for(database_url)
    dying = Limits(other, {"d": 10})
    async with dying.engine.connect():
        while not await dying._try("d", 10, Lane.AUTH, "key"):  # noqa: SLF001 - taken, and never given back
            pass
    await other.dispose()  # as SIGKILL: the session at Postgres is gone
    async with asyncio.timeout(LOST_AFTER / 2), Limits(database, {"d": 10}).take("d", 10, Lane.AUTH) as taken:
        assert taken.n == 10


async def test_a_holder_that_hangs_is_waited_for(database: AsyncEngine, database_url: str) -> None:
    other = engine_for(database_url)
    hanging, limits = Limits(other, {"d": 1}), Limits(database, {"d": 1})
    async with hanging.take("d", 1, Lane.AUTH):
        turns = [await limits._try("d", 1, Lane.AUTH, "key") for _ in range(40)]  # noqa: SLF001 - two seconds of waiting
    assert set(turns) == {0}
    await other.dispose()


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_a_small_limit_serves_every_lane(database: AsyncEngine, limit: int) -> None:
    limits = Limits(database, {"d": limit})
    for lane in Lane:
        async with limits.take("d", 100, lane) as taken:
            assert 1 <= taken.n <= limit
            taken.used = 0  # nothing was sent: given back at once
    assert (await _grants(database)) == []


async def test_a_pause_holds_for_all_replicas_and_is_never_shortened(database: AsyncEngine, database_url: str) -> None:
    other = engine_for(database_url)
    limits, replica = Limits(database, {"d": 10}), Limits(other, {"d": 10})
    async with limits.take("d", 1, Lane.AUTH):
        pass
    await limits.pause("d", timedelta(minutes=5))
    await replica.pause("d", timedelta(seconds=1))
    assert await replica._try("d", 1, Lane.AUTH, "key") == 0  # noqa: SLF001 - one turn of the wait
    async with database.connect() as connection:
        left = (
            await connection.exec_driver_sql("SELECT paused_until - clock_timestamp() FROM dealer_limits")
        ).scalar_one()
    assert left > timedelta(minutes=4)
    await other.dispose()


async def test_a_crash_within_the_call_still_ends_the_grant(database: AsyncEngine) -> None:
    limits = Limits(database, {"d": 10})
    with pytest.raises(ZeroDivisionError):
        async with limits.take("d", 10, Lane.AUTH):
            raise ZeroDivisionError
    [grant] = await _grants(database)
    assert grant[3] is not None, "its call has come back, and a window later all is free again"


async def _grants(engine: AsyncEngine) -> list[list[object]]:
    async with engine.connect() as connection:
        found = (await connection.exec_driver_sql("SELECT grants FROM dealer_limits")).scalar_one()
    grants: list[list[object]] = json.loads(found) if isinstance(found, str) else found
    return grants
