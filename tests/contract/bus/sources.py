"""Members that are missed within two seconds when they die."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.bus.embedded import EmbeddedSource
from shared.bus.kafka import KafkaSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

SILENCE_SECONDS = 2.0


def source_for(
    engine: AsyncEngine, servers: str, group: str, topics: Sequence[str], *, silence_seconds: float = SILENCE_SECONDS
) -> EmbeddedSource | KafkaSource:
    """Return a member of ``group`` over Kafka, or over the ledger when ``servers`` is empty."""
    if servers:
        return KafkaSource(servers, group, topics, session_seconds=silence_seconds)
    return EmbeddedSource(engine, group, topics, lease_seconds=silence_seconds)
