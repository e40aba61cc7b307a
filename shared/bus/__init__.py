"""The bus: records and batches between services, over Kafka or, on one machine, over the ledger itself."""

from shared.bus.base import BusAway, CommitRefused, Record, Source, TopicPartition
from shared.bus.loop import Poison, Received, TooMuchPoison, consume

__all__ = [
    "BusAway",
    "CommitRefused",
    "Poison",
    "Received",
    "Record",
    "Source",
    "TooMuchPoison",
    "TopicPartition",
    "consume",
]
