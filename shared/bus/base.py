"""What a service sees of the bus: records to read in batches and to commit, whichever bus brings them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from shared.errors import Transient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self


class TopicPartition(NamedTuple):
    """A share of a topic that one consumer of a group owns at a time."""

    topic: str
    partition: int


class Record(msgspec.Struct, frozen=True):
    """One record. ``offset`` is the bus's own: committed as ``offset + 1`` by Kafka, opaque to a handler."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: dict[str, str] = {}


class Outgoing(NamedTuple):
    """A record to write."""

    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, str]] = ()


class BusAway(Transient):
    """What carries the bus, the broker or Postgres, does not answer."""


class CommitRefused(Transient):
    """The partition has a new owner meanwhile, who will read the batch again: let it go."""


class Source(Protocol):
    """A member of a consumer group. Use as an async context manager: leaving tells the group at once."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

    async def getmany(self, *, timeout_seconds: float, max_records: int) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what is there, in order within a partition, or nothing after ``timeout_seconds``.

        Each record is handed out once by this member, unless the partition was lost and regained.
        """
        ...

    async def commit(self, done: Mapping[TopicPartition, Record]) -> None:
        """Note that everything up to and including these records is done.

        Raises ``CommitRefused`` when a partition is not this member's any more.
        """
        ...

    async def bury(self, record: Record, reason: str, detail: str) -> None:
        """Put ``record`` among the dead letters of its topic, with why; returns once it is durable."""
        ...


class Producer(Protocol):
    """Writes records to chosen partitions. Use as an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    async def partitions_of(self, topic: str) -> int:
        """Return how many partitions ``topic`` has. Raises ``BusAway`` when it has none or nobody answers."""
        ...

    async def publish(self, batches: Mapping[TopicPartition, Sequence[Outgoing]]) -> None:
        """Write all ``batches``, and return when every record is acknowledged by all replicas in sync.

        In a partition no record is written before the one ahead of it is. Raises ``BusAway``; then any of the
        batches may be there, up to some record, and the producer is of no more use.
        """
        ...
