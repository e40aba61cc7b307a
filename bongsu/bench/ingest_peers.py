"""What ``bongsu bench ingest`` compares with: from an echo that keeps nothing to the least that keeps every event.

``uvicorn bongsu.bench.ingest_peers:NAME``, where NAME is ``echo``, ``pydantic``, ``insert`` or ``tuned``.
``PEER_DATABASE_URL`` names a database of their own, and ``PEER_KAFKA`` a broker for ``tuned``, if there is one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer
from asyncpg.pgproto.pgproto import UUID
from fastapi import FastAPI
from pydantic import BaseModel, Field

from shared.service import spare_collections

TOPIC = "bongsu-bench-jobs"
PARTITIONS = 12
SCHEMA = """
    CREATE TABLE peer_messages (
        id uuid NOT NULL PRIMARY KEY,
        source_id text NOT NULL,
        state smallint NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now(),
        type text NOT NULL,
        phone text NOT NULL,
        facts text NOT NULL
    )
"""
_COLUMNS = ("id", "source_id", "type", "phone", "facts")
_INSERT = "INSERT INTO peer_messages (id, source_id, type, phone, facts) VALUES ($1, $2, $3, $4, $5)"
_DATABASE_URL = os.environ.get("PEER_DATABASE_URL", "")
_KAFKA = os.environ.get("PEER_KAFKA", "")
_GROUP = 500
_JOB = b"j" * 118
"""with the id before it, as long as a job that says where to go"""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def _read(receive: Receive) -> bytes:
    part = await receive()
    body: bytes = part.get("body", b"")
    while part.get("more_body"):
        part = await receive()
        body += part.get("body", b"")
    return body


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body: what HTTP alone costs."""
    await _answer(send, await _read(receive))


class _Recipient(BaseModel):
    phone: str = Field(min_length=9)
    name: str


class _Data(BaseModel, extra="allow"):
    recipient: _Recipient


class Event(BaseModel):
    """An event, as far as it is looked at."""

    specversion: str
    id: str
    source: str
    type: str
    data: _Data


pydantic = FastAPI()
"""Validates the body and keeps nothing."""


@pydantic.post("/v1/events", status_code=202)
async def validate(event: Event) -> dict[str, str]:
    """Answer with the event's id."""
    return {"event_id": event.id}


@asynccontextmanager
async def _pooled(app: FastAPI) -> AsyncIterator[None]:
    spare_collections()
    async with asyncpg.create_pool(_DATABASE_URL, min_size=8, max_size=8) as app.state.pool:
        yield


insert = FastAPI(lifespan=_pooled)
"""Validates the body and keeps it by one INSERT a request."""


@insert.post("/v1/events", status_code=202)
async def keep(event: Event) -> dict[str, str]:
    """Answer once the event is committed."""
    made = uuid4()
    facts = event.data.model_dump_json()
    await insert.state.pool.execute(_INSERT, made, event.id, event.type, event.data.recipient.phone, facts)
    return {"event_id": str(made)}


class _Tuned:
    """The fewest steps that keep an event: groups of what waits, one COPY, one batch of records.

    Nothing is judged but that the fields are there; nothing is planned, rendered, sealed or known again.
    """

    def __init__(self, pool: asyncpg.Pool, producer: AIOKafkaProducer | None) -> None:
        self._pool = pool
        self._producer = producer
        self._partitions = itertools.cycle(range(PARTITIONS))
        self._counter = itertools.count(int.from_bytes(os.urandom(6), "big"))
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[bytes]]] = []
        self._flush: asyncio.Task[None] | None = None

    async def take(self, events: Sequence[dict[str, Any]]) -> list[bytes]:
        """Return the ids of ``events`` once they are committed, and acknowledged by Kafka if there is one."""
        ids = self._new_ids(len(events))
        rows = [
            (UUID(made), e["id"], e["type"], e["data"]["recipient"]["phone"], msgspec.json.encode(e["data"]).decode())
            for made, e in zip(ids, events, strict=True)
        ]
        async with self._pool.acquire() as connection:
            await connection.copy_records_to_table("peer_messages", records=rows, columns=_COLUMNS)
        if self._producer is not None:
            batch = self._producer.create_batch()
            for made in ids:
                if batch.append(key=made, value=made + _JOB, timestamp=None) is None:
                    raise ValueError("more events than a batch of records holds")
            await (await self._producer.send_batch(batch, TOPIC, partition=next(self._partitions)))
        return ids

    def join(self, event: dict[str, Any]) -> asyncio.Future[bytes]:
        """Return the id to come of one event, which shares a transaction with those that come meanwhile."""
        made: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, made))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write())
        return made

    async def _write(self) -> None:
        await asyncio.sleep(0)  # who became ready in the same turn of the loop comes along
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            for (_, made), id_ in zip(group, await self.take([event for event, _ in group]), strict=True):
                made.set_result(id_)

    def _new_ids(self, n: int) -> list[bytes]:
        """Return time-ordered ids: one look at the clock for all of them, then a counter."""
        head = struct.pack(">Q", time.time_ns() // 1_000_000)[2:] + b"\x70\x00\x80"
        return [head + struct.pack(">Q", next(self._counter))[1:] for _ in range(n)]


async def tuned(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer once the event, or each of an array, is kept."""
    if scope["type"] == "lifespan":
        await _serve_tuned(scope, receive, send)
        return
    kept: _Tuned = scope["state"]["tuned"]
    body = msgspec.json.decode(await _read(receive))
    if isinstance(body, list):
        await _answer(send, msgspec.json.encode({"ids": [made.hex() for made in await kept.take(body)]}))
    else:
        await _answer(send, b'{"id":"' + (await kept.join(body)).hex().encode() + b'"}')


async def _serve_tuned(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    spare_collections()
    async with asyncpg.create_pool(_DATABASE_URL, min_size=4, max_size=4, reset=_nothing_to_reset) as pool:
        settings = {"acks": "all", "enable_idempotence": True, "max_batch_size": 1 << 20}
        producer = AIOKafkaProducer(bootstrap_servers=_KAFKA, **settings) if _KAFKA else None
        if producer is not None:
            await producer.start()
        scope["state"]["tuned"] = _Tuned(pool, producer)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if producer is not None:
            await producer.stop()
    await send({"type": "lifespan.shutdown.complete"})


async def _nothing_to_reset(_: asyncpg.Connection) -> None:
    """Spare the round trip of a release: no statement here leaves anything on a connection."""
