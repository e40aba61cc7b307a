"""What ``bongsu bench path`` compares with: two ways to carry an event to a gateway, durably, that one would write.

``queued``: FastAPI and asyncpg take an event, aiokafka carries it, a consumer sends it, one call a message.
``tuned``: the fewest steps that do it, all in batches: COPY, a batch of records, a claim and a finish by set. Its front
is ``ingest_peers.tuned``. Neither plans by rules, renders, seals, knows an event again, keeps a timeline, takes
receipts in or counts.

``uvicorn bongsu.bench.path_peers:queued`` is the one's front; ``python -m bongsu.bench.path_peers queued|tuned`` are
the workers. ``PEER_DATABASE_URL``, ``PEER_KAFKA`` and ``PEER_GATEWAY`` say where.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError
from aiokafka.structs import ConsumerRecord
from fastapi import FastAPI

from bongsu.bench.ingest_peers import PARTITIONS, TOPIC, Event
from shared.service import spare_collections

QUEUED_TOPIC = "bongsu-bench-queued"
AT_ONCE = 100
"""calls that the consumer of single messages has under way"""
CALLS = 4
"""of up to ``ROWS`` messages that the consumer of batches has under way"""
ROWS = 1000
_GATHER_SECONDS = 0.05
_DATABASE_URL = os.environ.get("PEER_DATABASE_URL", "")
_KAFKA = os.environ.get("PEER_KAFKA", "")
_GATEWAY = os.environ.get("PEER_GATEWAY", "")
_JSON = {"Content-Type": "application/json"}
_TEXT = "가" * 200

SCHEMA = """
    CREATE TABLE queued_messages (
        id uuid NOT NULL PRIMARY KEY, source_id text NOT NULL, type text NOT NULL, phone text NOT NULL,
        facts text NOT NULL, state text NOT NULL DEFAULT 'accepted', gateway_id text, sent_at timestamptz
    );
    CREATE TABLE peer_attempts (
        message_id uuid NOT NULL, number smallint NOT NULL, at timestamptz NOT NULL DEFAULT now(),
        gateway_id text NOT NULL, PRIMARY KEY (message_id, number)
    );
    ALTER TABLE peer_messages SET (fillfactor = 45)
"""
"""beside that of ``ingest_peers``"""

_INSERT = "INSERT INTO queued_messages (id, source_id, type, phone, facts) VALUES ($1, $2, $3, $4, $5)"
_SENT = "UPDATE queued_messages SET state = 'sent', gateway_id = $2, sent_at = now() WHERE id = $1"
_CLAIM = """
    UPDATE peer_messages m SET state = 2 FROM unnest($1::uuid[]) AS c (id)
    WHERE m.id = c.id AND m.state = 1 RETURNING m.id, m.phone, m.facts
"""
_FINISH = """
    WITH made AS (
        INSERT INTO peer_attempts (message_id, number, gateway_id)
        SELECT id, 1, gateway_id FROM unnest($1::uuid[], $2::text[]) AS t (id, gateway_id)
    )
    UPDATE peer_messages m SET state = 3 FROM unnest($1::uuid[]) AS c (id) WHERE m.id = c.id
"""


class _Made(msgspec.Struct):
    ids: list[str]


_made = msgspec.json.Decoder(_Made).decode


@asynccontextmanager
async def _open(app: FastAPI) -> AsyncIterator[None]:
    spare_collections()
    async with asyncpg.create_pool(_DATABASE_URL, min_size=20, max_size=20) as app.state.pool:
        app.state.producer = AIOKafkaProducer(bootstrap_servers=_KAFKA, acks="all", enable_idempotence=True)
        await app.state.producer.start()
        yield
        await app.state.producer.stop()


queued = FastAPI(lifespan=_open)
"""Keeps each event by an INSERT, and writes a record for it."""


@queued.post("/v1/events", status_code=202)
async def accept(event: Event) -> dict[str, str]:
    """Answer once the event is committed, and its record acknowledged."""
    made = uuid4()
    phone, facts = event.data.recipient.phone, event.data.model_dump_json()
    await queued.state.pool.execute(_INSERT, made, event.id, event.type, phone, facts)
    job = msgspec.json.encode({"key": str(made), "to": phone, "text": _TEXT, "facts": facts})
    await queued.state.producer.send_and_wait(QUEUED_TOPIC, job, key=made.bytes)
    return {"id": str(made)}


async def create_topics(bootstrap: str) -> None:
    """Create the topics of both, if they are missing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        with suppress(TopicAlreadyExistsError):
            await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in (TOPIC, QUEUED_TOPIC)])
    finally:
        await admin.close()


async def _consumer(topic: str) -> Any:  # noqa: ANN401 - aiokafka ships no types
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=_KAFKA,
        group_id=topic,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    spare_collections()
    return consumer


async def send_queued() -> None:
    """Send each record by a call of its own, many at once; note each as sent."""
    consumer = await _consumer(QUEUED_TOPIC)
    at_once = asyncio.Semaphore(AT_ONCE)
    async with (
        asyncpg.create_pool(_DATABASE_URL, min_size=20, max_size=20) as pool,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as http,
    ):

        async def send(record: ConsumerRecord) -> None:
            async with at_once:
                async with http.post(f"{_GATEWAY}/send", data=record.value, headers=_JSON) as answer:
                    made = msgspec.json.decode(await answer.read())["id"]
                await pool.execute(_SENT, UUID(bytes=record.key), made)

        while True:
            if batch := await consumer.getmany(timeout_ms=200, max_records=500):
                await asyncio.gather(*(send(record) for records in batch.values() for record in records))
                await consumer.commit()


async def send_tuned() -> None:
    """Claim, send and finish sets of messages, some of them at once."""
    consumer = await _consumer(TOPIC)
    async with (
        asyncpg.create_pool(_DATABASE_URL, min_size=CALLS, max_size=CALLS) as pool,
        aiohttp.ClientSession() as http,
    ):
        under_way: deque[tuple[dict[Any, int], asyncio.Task[None]]] = deque()
        while True:
            batch = await consumer.getmany(timeout_ms=50, max_records=ROWS)
            if batch:
                ids = [UUID(bytes=record.value[:16]) for records in batch.values() for record in records]
                offsets = {partition: records[-1].offset + 1 for partition, records in batch.items()}
                under_way.append((offsets, asyncio.create_task(_send_set(pool, http, ids))))
            done: dict[Any, int] = {}
            while under_way and (len(under_way) >= CALLS or under_way[0][1].done()):
                offsets, task = under_way.popleft()
                await task
                done |= offsets
            if done:
                await consumer.commit(done)
            if sum(map(len, batch.values())) < ROWS:
                await asyncio.sleep(_GATHER_SECONDS)  # a set costs by the set


async def _send_set(pool: asyncpg.Pool, http: aiohttp.ClientSession, ids: Sequence[UUID]) -> None:
    rows = await pool.fetch(_CLAIM, ids)
    if not rows:
        return
    messages = [{"key": str(made), "to": phone, "text": _TEXT, "facts": facts} for made, phone, facts in rows]
    body = msgspec.json.encode({"messages": messages})
    async with http.post(f"{_GATEWAY}/send-many", data=body, headers=_JSON) as answer:
        answer.raise_for_status()
        made = _made(await answer.read()).ids
    await pool.execute(_FINISH, [row[0] for row in rows], made)


if __name__ == "__main__":
    uvloop.run({"queued": send_queued, "tuned": send_tuned}[sys.argv[1]]())
