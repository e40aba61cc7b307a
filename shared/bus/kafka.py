"""The bus over Kafka. The one module that imports aiokafka, which ships no types.

Records go uncompressed: they are small JSON, and every codec but gzip would be one more package.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.structs import TopicPartition as KafkaPartition

from shared.bus.base import BusAway, CommitRefused, Outgoing, Record, TopicPartition
from shared.contracts import topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

PARTITIONS = 12
_BATCH_BYTES = 512 * 1024
RECORD_BYTES = 960_000
"""what fits a broker's default of 1 MiB for a record with its headers, and a batch of its own"""
_FETCH_BYTES = 256 * 1024  # of one partition at a time: what a long backlog may pile up in memory
_CLOSE_SECONDS = 5.0
_SHOW_SECONDS = 30.0
_SHOW_PAUSE_SECONDS = 0.05

log = structlog.get_logger(__name__)


class KafkaSource:
    """A member of a consumer group. Begins at the oldest record of a partition that the group has not read yet.

    A rebalance is eager: every partition is given up and dealt again, and what was not committed is read again.
    ``session_seconds`` is how long a member that died keeps its partitions.
    """

    def __init__(
        self, bootstrap_servers: str, group: str, topics: Sequence[str], *, session_seconds: float = 6.0
    ) -> None:
        self._servers = bootstrap_servers
        self._group = group
        self._topics = tuple(topics)
        self._session_seconds = session_seconds
        self._consumer: Any = None
        self._undertaker: KafkaProducer | None = None

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(self._session_seconds * 1000),
            heartbeat_interval_ms=int(self._session_seconds * 1000 / 4),
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=500,
            metadata_max_age_ms=60_000,
        )
        try:
            await self._consumer.start()
            there = await self._consumer.topics()
        except (KafkaError, OSError) as error:
            await self._close()
            raise BusAway(f"no Kafka at {self._servers} ({type(error).__name__})") from error
        # Looked for before they are subscribed to: the client waits 40 s for a topic to appear, and says so each time.
        if missing := sorted(set(self._topics) - set(there)):
            await self._close()
            raise BusAway(f"Kafka at {self._servers} has no topic {', '.join(missing)}: run `bongsu topics`")
        self._consumer.subscribe(self._topics)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._close()
        if self._undertaker is not None:
            await self._undertaker.__aexit__(kind, error, at)
            self._undertaker = None

    async def getmany(self, *, timeout_seconds: float, max_records: int) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what is there; each topic gets its share, so that a backlog in one holds up no other."""
        found: dict[TopicPartition, list[Record]] = {}
        room = max_records
        if len(self._topics) > 1:
            assigned = self._consumer.assignment()
            share = -(-max_records // len(self._topics))
            for topic in self._topics:
                partitions = [p for p in assigned if p.topic == topic]
                if partitions and room:
                    some = await self._consumer.getmany(*partitions, max_records=min(share, room))
                    room -= _add(found, some)
        if room:
            wait = 0 if found else int(timeout_seconds * 1000)
            _add(found, await self._consumer.getmany(timeout_ms=wait, max_records=room))
        return found

    async def commit(self, done: Mapping[TopicPartition, Record]) -> None:
        """Note what is done; waits for a broker that is away. Raises ``CommitRefused`` after a rebalance."""
        offsets = {KafkaPartition(*partition): record.offset + 1 for partition, record in done.items()}
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            raise CommitRefused("the group has rebalanced") from error

    async def bury(self, record: Record, reason: str, detail: str) -> None:
        """Put ``record`` on the dead-letter topic of its topic, cut if it is too large for the reason beside it.

        A record buried twice is there twice.
        """
        if self._undertaker is None:
            self._undertaker = await KafkaProducer(self._servers).__aenter__()
        headers = (
            *record.headers.items(),
            ("reason", reason),
            ("detail", detail),
            ("group", self._group),
            ("origin", f"{record.topic}/{record.partition}/{record.offset}"),
        )
        grave = topics.dead_letters(record.topic)
        partition = record.partition % await self._undertaker.partitions_of(grave)
        await self._undertaker.publish(
            {TopicPartition(grave, partition): [Outgoing(record.key, record.value[:RECORD_BYTES], headers)]}
        )

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(consumer.stop(), _CLOSE_SECONDS)


def _add(found: dict[TopicPartition, list[Record]], fetched: Mapping[Any, Sequence[Any]]) -> int:
    added = 0
    for at, records in fetched.items():
        found.setdefault(TopicPartition(at.topic, at.partition), []).extend(
            Record(
                topic=at.topic,
                partition=at.partition,
                offset=record.offset,
                key=record.key,
                value=record.value or b"",
                headers={name: value.decode(errors="replace") for name, value in record.headers},
            )
            for record in records
        )
        added += len(records)
    return added


class KafkaProducer:
    """Writes whole batches to chosen partitions: idempotent, acknowledged by all replicas in sync.

    ``patience_seconds``: how long a batch is tried while the broker is away.
    """

    def __init__(self, bootstrap_servers: str, *, patience_seconds: float = 15.0) -> None:
        self._servers = bootstrap_servers
        self._patience_seconds = patience_seconds
        self._producer: Any = None
        self._partitions: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            request_timeout_ms=int(self._patience_seconds * 1000),
        )
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._close()
            raise BusAway(f"no Kafka at {self._servers} ({type(error).__name__})") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._close()

    async def partitions_of(self, topic: str) -> int:
        """Return how many partitions ``topic`` has, as first seen. Raises ``BusAway``."""
        if topic not in self._partitions:
            try:
                self._partitions[topic] = len(await self._producer.partitions_for(topic))
            except KafkaError as error:
                raise BusAway(f"Kafka has no topic {topic}: run `bongsu topics`") from error
        return self._partitions[topic]

    async def publish(self, batches: Mapping[TopicPartition, Sequence[Outgoing]]) -> None:
        """Write all ``batches``; see ``Producer.publish``."""
        written = await asyncio.gather(
            *(self._publish(partition, records) for partition, records in batches.items() if records),
            return_exceptions=True,
        )
        for outcome in written:
            if isinstance(outcome, KafkaError):
                raise BusAway(f"Kafka did not take a batch ({type(outcome).__name__})") from outcome
            if outcome is not None:
                raise outcome

    async def _publish(self, partition: TopicPartition, records: Sequence[Outgoing]) -> None:
        if any(len(record.value) > RECORD_BYTES for record in records):
            raise ValueError(f"a record for {partition.topic} is larger than {RECORD_BYTES} bytes")
        start = 0
        while start < len(records):
            batch = self._producer.create_batch()
            end = start
            for record in records[start:]:
                headers = [(name, value.encode()) for name, value in record.headers]
                if batch.append(key=record.key, value=record.value, timestamp=None, headers=headers) is None:
                    break
                end += 1
            batch.close()
            # One batch after the other: none may be there while the one ahead of it is not.
            await (await self._producer.send_batch(batch, partition.topic, partition=partition.partition))
            start = end

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(producer.stop(), _CLOSE_SECONDS)


async def create_topics(bootstrap_servers: str, *, partitions: int = PARTITIONS, replication: int = 1) -> list[str]:
    """Create the topics that are missing, with their dead letters, and return their names. Calling twice is safe.

    Returns once they can be written and read.
    With three replicas or more, a record counts as written when all but one have it. Raises ``BusAway``.
    """
    durable = {"min.insync.replicas": str(max(1, replication - 1))}
    wanted = [NewTopic(name, partitions, replication, topic_configs=durable) for name in topics.ALL]
    wanted += [NewTopic(topics.dead_letters(name), 1, replication, topic_configs=durable) for name in topics.ALL]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        answer = await admin.create_topics(wanted)
        made = []
        for name, code, *detail in answer.topic_errors:
            error_type = for_code(code)
            if code == 0:
                made.append(name)
            elif error_type is not TopicAlreadyExistsError:
                raise BusAway(f"Kafka did not create {name}: {detail[0] if detail else error_type.__name__}")
        async with asyncio.timeout(_SHOW_SECONDS):
            names = [topic.name for topic in wanted]
            while not _are_there(await admin.describe_topics(names)):  # noqa: ASYNC110 - Kafka tells nobody
                await asyncio.sleep(_SHOW_PAUSE_SECONDS)
    except TimeoutError as error:
        raise BusAway(f"Kafka at {bootstrap_servers} created topics and does not show them") from error
    except (KafkaError, OSError) as error:
        raise BusAway(f"no Kafka at {bootstrap_servers} ({type(error).__name__})") from error
    finally:
        await admin.close()
    return made


def _are_there(described: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the brokers know each topic, and a leader for each partition: some time after they were created."""
    return all(
        topic["error_code"] == 0 and all(part["error_code"] == 0 for part in topic["partitions"]) for topic in described
    )
