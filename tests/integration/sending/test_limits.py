"""P4: the limit of an account over replicas, in every sliding second, as the dealer sees arrivals."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.contracts.states import Lane
from shared.db.engine import engine_for
from shared.sending.limits import WINDOW, Grant, Limits, admit

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
