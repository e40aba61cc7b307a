"""Chooses the bus by the setting. What a Kafka needs is imported where there is one: it takes a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.bus.embedded import EmbeddedSource
from shared.contracts.delivery import Interest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.bus.base import Source
    from shared.bus.kafka import KafkaProducer


def open_source(
    engine: AsyncEngine,
    kafka_bootstrap_servers: str,
    group: str,
    topics: Sequence[str],
    *,
    session_seconds: float,
    interest: Interest = Interest.ALL,
) -> Source:
    """Return a member of ``group``, not yet joined: over Kafka, or over the ledger when no servers are named.

    It keeps its partitions for ``session_seconds`` after it died.

    The ledger brings only what is of ``interest``. Kafka cannot choose, and brings all: there the reader's
    ``interest.decode`` lets the rest go.
    """
    if kafka_bootstrap_servers:
        from shared.bus.kafka import KafkaSource  # noqa: PLC0415 - see above

        return KafkaSource(kafka_bootstrap_servers, group, topics, session_seconds=session_seconds)
    return EmbeddedSource(engine, group, topics, lease_seconds=session_seconds, interest=interest)


def open_producer(kafka_bootstrap_servers: str) -> KafkaProducer:
    """Return a producer, not yet connected."""
    from shared.bus.kafka import KafkaProducer  # noqa: PLC0415 - see above

    return KafkaProducer(kafka_bootstrap_servers)
