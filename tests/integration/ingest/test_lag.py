from __future__ import annotations

from datetime import timedelta

import pytest

from services.ingest.lag import Lag
from shared.bus.embedded import EmbeddedSource
from shared.contracts.states import Lane
from shared.contracts.topics import SEND_JOBS
from shared.http.problems import Problem
from tests.integration.ingest.parts import Ingest, make_event


async def test_a_dispatcher_that_is_behind_on_the_embedded_bus_is_seen(ingest: Ingest) -> None:
    lag = Lag(ingest.engine, ingest.clock, timedelta(minutes=5))
    topic = SEND_JOBS[Lane.NORMAL]
    async with EmbeddedSource(ingest.engine, f"dispatcher-{Lane.NORMAL}", [topic]) as source:
        await ingest.take(make_event(), None)
        ingest.clock.time += timedelta(minutes=6)
        await lag.follow()
        assert lag.behind == timedelta(minutes=6)
        with pytest.raises(Problem):
            lag.check()

        jobs = await source.getmany(timeout_seconds=5, max_records=10)
        await source.commit({at: records[-1] for at, records in jobs.items()})
    await ingest.take(make_event("e-2"), None)
    await lag.follow()
    lag.check()


async def test_the_backlog_of_a_campaign_is_no_lag(ingest: Ingest) -> None:
    lag = Lag(ingest.engine, ingest.clock, timedelta(minutes=5))
    async with EmbeddedSource(ingest.engine, f"dispatcher-{Lane.MASS}", [SEND_JOBS[Lane.MASS]]):
        await ingest.take(make_event(), None)
        ingest.clock.time += timedelta(minutes=6)
        await lag.follow()
        lag.check()
