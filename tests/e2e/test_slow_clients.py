"""Slow and greedy clients hold no worker and no memory: over real sockets, against an ingest with narrow bounds."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.db.engine import engine_for
from shared.http.problems import TYPES
from tests.integration.ingest.parts import make_event
from tests.integration.ingest.process import KEY, STRUCTURED, Service, prepared_database, running

BOUNDS = {
    "BONGSU_INGEST_BODY_SECONDS": "0.5",
    "BONGSU_INGEST_BODIES": "3",
    "BONGSU_INGEST_BODY_BYTES": "200000",
    "BONGSU_INGEST_LAG_SECONDS": "5",
}


@pytest.fixture(scope="module")
def service(postgres_url: str) -> Iterator[Service]:
    with (
        prepared_database(postgres_url) as url,
        tempfile.TemporaryDirectory(prefix="bongsu-slow-") as directory,
        running(url, Path(directory), **BOUNDS) as service,
    ):
        yield service


def shop() -> bytes:
    return make_event(str(uuid4()), profile="shop")


class Client:
    """A connection that writes what it is told, when it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def begin(self, length: int, content_type: str = STRUCTURED) -> None:
        """Send the head of a request, and nothing of its body."""
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {content_type}\r\n"
        self.writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())

    async def answer(self) -> tuple[int, str]:
        """Return the status, and the last part of the problem's type."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = json.loads(await self.reader.readexactly(length))
        return int(head.split()[1]), body.get("type", "").removeprefix(TYPES)


@pytest.fixture
async def clients(service: Service) -> AsyncIterator[list[Client]]:
    """As many as are handled at once, and one more."""
    to = urlsplit(service.url)
    made = [Client(*await asyncio.open_connection(to.hostname, to.port)) for _ in range(4)]
    yield made
    for client in made:
        client.writer.close()
    while await service.metric("bongsu_ingest_bodies"):  # noqa: ASYNC110 - another process lets them go
        await asyncio.sleep(0.05)


async def until_handled(service: Service, number: int) -> None:
    while await service.metric("bongsu_ingest_bodies") != number:  # noqa: ASYNC110 - another process takes them
        await asyncio.sleep(0.02)


async def test_a_body_that_does_not_come_is_let_go_and_holds_nobody_up(service: Service, clients: list[Client]) -> None:
    before = await service.counts()
    clients[0].begin(1000)
    clients[1].begin(1000)
    clients[1].writer.write(b"{")
    await until_handled(service, 2)
    assert (await service.post(b"{}")).status == 422, "others are answered meanwhile"
    assert await clients[0].answer() == (408, "body-too-slow")
    assert await clients[1].answer() == (408, "body-too-slow")
    assert await clients[0].reader.read() == b"", "and the connection is closed"
    assert await service.counts() == before


async def test_more_bodies_at_once_are_refused_until_there_is_room(service: Service, clients: list[Client]) -> None:
    for client in clients[:3]:
        client.begin(1000)
    await until_handled(service, 3)
    refused = await service.post(shop())
    assert (refused.status, refused.body["type"]) == (503, TYPES + "unavailable")
    assert refused.headers["Retry-After"]
    for client in clients[:3]:
        assert (await client.answer())[0] == 408
    assert (await service.post(shop())).status == 202


async def test_more_bytes_at_once_are_refused_until_there_is_room(service: Service, clients: list[Client]) -> None:
    for client in clients[:2]:
        client.begin(500_000)
        client.writer.write(b" " * 150_000)
    answers = sorted([await client.answer() for client in clients[:2]])
    assert answers == [(408, "body-too-slow"), (503, "unavailable")]
    assert await service.metric("bongsu_ingest_body_bytes") == 0
    assert (await service.post(shop())).status == 202


async def test_a_stream_whose_client_stops_has_its_answers_and_a_last_line(clients: list[Client]) -> None:
    lines = b"".join(shop() + b"\n" for _ in range(501))  # a group, and one that waits for more
    clients[0].begin(len(lines) + 1000, "application/x-ndjson")
    clients[0].writer.write(lines)
    told = (await clients[0].reader.read()).decode()
    assert told.startswith("HTTP/1.1 200")
    assert told.count('"status":202') == 500
    assert told.count('"status":408') == 1


async def test_far_behind_it_refuses(service: Service) -> None:
    """The embedded bus has a reader that has not read what was accepted long ago."""
    assert (await service.post(shop())).status == 202
    engine = engine_for(service.database_url, pool_size=1)

    async def run(statement: str) -> None:
        async with engine.begin() as connection:
            await connection.execute(text(statement))

    async def until(status: int) -> None:
        while (await service.post(shop())).status != status:  # noqa: ASYNC110 - it looks once a second
            await asyncio.sleep(0.1)

    await run("UPDATE transitions SET at = at - interval '1 minute'")
    await run("""
        INSERT INTO bus_cursors (consumer_group, topic, partition)
        VALUES ('dispatcher', 'bongsu.send-jobs.mass.v1', 0), ('dispatcher', 'bongsu.delivery.v1', 0)
    """)  # campaigns wait for their limit: that is no lag
    await asyncio.sleep(1.5)
    assert (await service.post(shop())).status == 202
    await run("UPDATE bus_cursors SET topic = 'bongsu.send-jobs.normal.v1' WHERE topic LIKE '%mass%'")
    await until(503)
    refused = await service.post(shop())
    assert (refused.body["type"], refused.headers["Retry-After"]) == (TYPES + "unavailable", "10")
    await run("DELETE FROM bus_cursors")
    await until(202)
    await engine.dispose()
