"""Promise P1 for ingest alone: killed at any moment, what it answered 202 is there, once, and repeating is safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from shared.db.engine import engine_for
from tests.integration.ingest.parts import make_data, make_event
from tests.integration.ingest.process import Service, prepared_database, running

EVENTS = 400
KILLS = 4


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """A database with rules and a key."""
    with prepared_database(postgres_url) as url:
        yield url


def test_killed_while_it_takes_events_in_it_loses_and_doubles_none(database: str, tmp_path: Path) -> None:
    bodies = {f"e-{n}": make_event(f"e-{n}", profile="shop", data=make_data(f"0101234{n:04}")) for n in range(EVENTS)}
    answered: dict[str, Any] = {}
    chance = random.Random(11)  # noqa: S311 - moments, no secrets
    for life in range(KILLS + 1):
        kill_after = chance.randrange(1, 60) if life < KILLS else None
        with running(database, tmp_path) as service:
            asyncio.run(send_all(service, bodies, answered, kill_after))
    assert answered.keys() == bodies.keys()
    asyncio.run(check(database, answered))


async def send_all(
    service: Service, bodies: dict[str, bytes], answered: dict[str, Any], kill_after: int | None
) -> None:
    """Send what is not answered yet, 40 at once; kill the service after so many answers, with some under way.

    In the last life (``kill_after`` is None) all are sent once more: each is to get the answer that it got before.
    """
    seen = 0
    gate = asyncio.Semaphore(40)

    async def send(name: str) -> None:
        nonlocal seen
        async with gate:
            try:
                answer = await service.post(bodies[name], Idempotency_Key=name)
            except aiohttp.ClientError:
                return  # the service is gone: nobody knows, and the next life is asked again
        if answer.status == 202:
            assert answered.setdefault(name, answer.body) == answer.body, "what was answered once is answered again"
            seen += 1
            if seen == kill_after:
                service.process.kill()

    await asyncio.gather(*(send(name) for name in bodies if kill_after is None or name not in answered))


async def check(database: str, answered: dict[str, Any]) -> None:
    engine = engine_for(database, pool_size=1)
    async with engine.connect() as connection:
        events = (await connection.execute(text("SELECT source_id, count(*) FROM events GROUP BY 1"))).all()
        messages = (await connection.execute(text("SELECT event_id, count(*) FROM messages GROUP BY 1"))).all()
        steps = (await connection.execute(text("SELECT message_id, count(*) FROM transitions GROUP BY 1"))).all()
        ids = {str(row[0]) for row in await connection.execute(text("SELECT id FROM messages"))}
    await engine.dispose()
    assert {row[0] for row in events} == answered.keys()
    assert {row[1] for row in events} == {row[1] for row in messages} == {1}
    assert len(messages) == len(steps) == EVENTS
    assert {row[1] for row in steps} == {1}
    assert {answer["messages"][0]["id"] for answer in answered.values()} == ids
