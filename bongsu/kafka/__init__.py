"""A real Apache Kafka on this machine, for development and tests."""

from bongsu.kafka.jars import KafkaUnavailable
from bongsu.kafka.server import KafkaServer

__all__ = ["KafkaServer", "KafkaUnavailable"]
