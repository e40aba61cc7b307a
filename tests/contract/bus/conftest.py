"""Both buses, made alike: the same tests feed the ledger and read from either."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import text

from bongsu.kafka import KafkaServer
from shared.bus.kafka import KafkaProducer, create_topics
from shared.bus.relay import relay
from shared.contracts.topics import ALL, dead_letters
from tests.contract.bus.feeding import PATIENCE_SECONDS, crash_postgres
from tests.contract.bus.sources import SILENCE_SECONDS, source_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.bus import Source


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """A real Kafka of this run."""
    directory = Path(tempfile.mkdtemp(prefix="bongsu-kafka-"))
    server = KafkaServer(directory)
    server.up()
    yield server
    server.down()
    shutil.rmtree(directory, ignore_errors=True)


async def reset(server: KafkaServer) -> None:
    """Empty every topic."""
    names = [*ALL, *map(dead_letters, ALL)]
    server.up()
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
    await admin.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await admin.delete_topics(sorted(set(names) & set(await admin.list_topics())))
        # What is written before they are gone may go to a topic that dies.
        while set(names) & set(await admin.list_topics()):  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(0.02)
        await admin.close()
        made = 0
        while made < len(names):  # a deleted topic's name may be taken a moment longer
            made += len(await create_topics(server.bootstrap_servers, partitions=4))


class Bus(ABC):
    """What the suite needs of a bus, whichever it is."""

    servers = ""

    def __init__(self, engine: AsyncEngine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.group = f"group-{uuid4().hex[:8]}"

    def source(self, *topics: str, silence_seconds: float = SILENCE_SECONDS) -> Source:
        """Return another member of the group of this test."""
        return source_for(self.engine, self.servers, self.group, topics, silence_seconds=silence_seconds)

    async def member(self, topic: str, then: str) -> asyncio.subprocess.Process:
        """Start another member in a process of its own; see ``member.py``."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.contract.bus.member", self.url, self.servers, self.group, topic, then),
            stdout=asyncio.subprocess.PIPE,
            limit=2**20,
        )

    @abstractmethod
    async def break_down(self) -> None:
        """Crash what carries the bus; it comes back."""

    @abstractmethod
    async def buried(self, topic: str) -> Sequence[tuple[bytes, str, str]]:
        """Return value, reason and detail of the dead letters of ``topic``."""


class EmbeddedBus(Bus):
    async def break_down(self) -> None:
        await crash_postgres(self.engine)

    async def buried(self, topic: str) -> Sequence[tuple[bytes, str, str]]:
        statement = text("SELECT value, reason, detail FROM dead_letters WHERE topic = :topic")
        async with self.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(statement, {"topic": topic})]


class KafkaBus(Bus):
    def __init__(self, engine: AsyncEngine, url: str, server: KafkaServer) -> None:
        super().__init__(engine, url)
        self._server = server
        self.servers = server.bootstrap_servers

    async def break_down(self) -> None:
        await asyncio.to_thread(self._server.kill9)
        await asyncio.to_thread(self._server.up)

    async def buried(self, topic: str) -> Sequence[tuple[bytes, str, str]]:
        async with AIOKafkaConsumer(
            dead_letters(topic), bootstrap_servers=self.servers, auto_offset_reset="earliest"
        ) as consumer:
            found = await consumer.getmany(timeout_ms=5000)
        letters = [(record.value, dict(record.headers)) for records in found.values() for record in records]
        return [(value, headers["reason"].decode(), headers["detail"].decode()) for value, headers in letters]


@pytest.fixture(params=["embedded", "kafka"])
async def bus(request: pytest.FixtureRequest, database: AsyncEngine, database_url: str) -> AsyncIterator[Bus]:
    """Each bus in turn; a relay is at work on Kafka's."""
    if request.param == "embedded":
        yield EmbeddedBus(database, database_url)
        return
    server: KafkaServer = request.getfixturevalue("kafka_server")
    await reset(server)
    stopping = asyncio.Event()
    opener = partial(KafkaProducer, server.bootstrap_servers)
    relaying = asyncio.create_task(relay(database, opener, stopping=stopping))
    yield KafkaBus(database, database_url, server)
    stopping.set()
    await relaying
