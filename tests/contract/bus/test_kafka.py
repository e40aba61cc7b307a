"""What only Kafka has: topics to create, rebalances in the middle of a batch, a broker that comes and goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from bongsu.kafka import KafkaServer, KafkaUnavailable
from bongsu.kafka import jars as kafka_jars
from shared.bus import BusAway, CommitRefused, Record, TopicPartition
from shared.bus.base import Outgoing
from shared.bus.kafka import KafkaProducer, KafkaSource, create_topics
from shared.contracts.topics import EVENTS
from tests.contract.bus.conftest import reset
from tests.contract.bus.feeding import fetch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def last_of(records: Sequence[Record]) -> dict[TopicPartition, Record]:
    return {TopicPartition(record.topic, record.partition): record for record in records}


def batches(number: int) -> dict[TopicPartition, list[Outgoing]]:
    return {TopicPartition(EVENTS, p): [Outgoing(b"k", b"%d" % n) for n in range(number)] for p in range(4)}


async def test_topics_are_created_once(kafka_server: KafkaServer) -> None:
    await reset(kafka_server)
    assert await create_topics(kafka_server.bootstrap_servers) == []


async def test_a_commit_after_the_partition_went_to_another_is_refused(kafka_server: KafkaServer) -> None:
    await reset(kafka_server)
    servers, group = kafka_server.bootstrap_servers, uuid4().hex
    async with KafkaProducer(servers) as producer:
        await producer.publish(batches(10))
    async with KafkaSource(servers, group, [EVENTS]) as slow:
        held = await fetch(slow, 40)
        async with KafkaSource(servers, group, [EVENTS]) as other:
            assert await fetch(other, 20)
            with pytest.raises(CommitRefused):
                await slow.commit(last_of(held))
    async with KafkaSource(servers, group, [EVENTS]) as next_:
        assert len(await fetch(next_, 40)) == 40


async def test_a_batch_larger_than_a_request_is_split_and_stays_in_order(kafka_server: KafkaServer) -> None:
    await reset(kafka_server)
    sent = [Outgoing(b"k", b"%06d" % n + b"x" * 1000, (("n", str(n)),)) for n in range(3000)]
    async with KafkaProducer(kafka_server.bootstrap_servers) as producer:
        await producer.publish({TopicPartition(EVENTS, 1): sent})
        with pytest.raises(ValueError, match="larger than"):
            await producer.publish({TopicPartition(EVENTS, 1): [Outgoing(None, b"x" * 1_000_000)]})
    async with KafkaSource(kafka_server.bootstrap_servers, uuid4().hex, [EVENTS]) as source:
        got = await fetch(source, 3000)
    assert [(r.value, r.headers["n"]) for r in got] == [(s.value, s.headers[0][1]) for s in sent]


async def test_a_producer_waits_for_a_broker_that_comes_back(kafka_server: KafkaServer) -> None:
    await reset(kafka_server)
    async with KafkaProducer(kafka_server.bootstrap_servers, patience_seconds=60) as producer:
        await producer.publish(batches(1))
        await asyncio.to_thread(kafka_server.kill9)
        publishing = asyncio.create_task(producer.publish(batches(1)))
        await asyncio.to_thread(kafka_server.up)
        await publishing
    async with KafkaSource(kafka_server.bootstrap_servers, uuid4().hex, [EVENTS]) as source:
        assert len(await fetch(source, 8)) == 8


async def test_a_broker_that_is_not_there_is_said_in_one_line() -> None:
    with pytest.raises(BusAway, match=r"no Kafka at 127\.0\.0\.1:1 "):
        await KafkaProducer("127.0.0.1:1").__aenter__()
    with pytest.raises(BusAway, match=r"no Kafka at 127\.0\.0\.1:1 "):
        await KafkaSource("127.0.0.1:1", "g", [EVENTS]).__aenter__()
    with pytest.raises(BusAway, match=r"no Kafka at 127\.0\.0\.1:1 "):
        await create_topics("127.0.0.1:1")


async def test_a_topic_that_is_not_there_names_the_command(kafka_server: KafkaServer) -> None:
    with pytest.raises(BusAway, match=r"has no topic nowhere\.v1: run `bongsu topics`"):
        await KafkaSource(kafka_server.bootstrap_servers, "g", ["nowhere.v1"]).__aenter__()


def test_a_second_process_finds_the_server_and_stops_it(kafka_server: KafkaServer, tmp_path: Path) -> None:
    again = KafkaServer(tmp_path / "k")
    assert again.pid is None
    again.down()
    with pytest.raises(KafkaUnavailable, match="no Kafka was ever up"):
        _ = again.bootstrap_servers
    assert kafka_server.up() == kafka_server.bootstrap_servers  # up twice is up once


@pytest.mark.parametrize(("program", "advice"), [("java", "install a Java 17"), ("mvn", "install Maven")])
def test_what_is_missing_is_said_in_one_line(
    program: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BONGSU_KAFKA_HOME", str(tmp_path / "jars"))
    with pytest.raises(KafkaUnavailable, match=f"no `{program}` on the PATH: {advice}") as caught:
        kafka_jars.java() if program == "java" else kafka_jars.jars()
    assert "\n" not in str(caught.value)


def test_maven_without_its_registry_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] Could not transfer artifact: Unknown host'; exit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("BONGSU_KAFKA_HOME", str(tmp_path / "jars"))
    with pytest.raises(KafkaUnavailable, match=r"is its registry within reach\? \(Could not transfer") as caught:
        kafka_jars.jars()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "jars").exists()
