"""The bus: records and batches between services, over Kafka or, on one machine, over the ledger itself."""

from shared.bus.base import CommitRefused, Record, Source, TopicPartition
from shared.bus.loop import consume

__all__ = ["CommitRefused", "Record", "Source", "TopicPartition", "consume"]
