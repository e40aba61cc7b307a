"""``bongsu bench stages``: what a message costs, stage by stage, in microseconds of Python and of Postgres.

All stages run in this one process, one after the other, in batches, over the ledger itself as the bus; the dealer is a
few lines that take everything. So it leaves out HTTP, Kafka and what a small batch costs besides: it tells which stage
to look at, where `bongsu bench path` tells what the whole costs.
"""

from __future__ import annotations

import itertools
import os
import platform
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from bongsu.apply import SHOP, apply_directory
from bongsu.bench.ingest import CONFIG
from bongsu.bench.path import LIMIT, Meter
from bongsu.box.postgres import EmbeddedPostgres
from bongsu.demo.day import a_day
from services.dispatcher.handlers import SendJobs
from services.ingest.catalog import CurrentRules
from services.ingest.events import read_event
from services.ingest.handlers import Intake, Writer
from services.ingest.repository import Submission
from services.metrics.handlers import Count
from shared.bus import Received
from shared.bus.base import Record, Source, TopicPartition
from shared.bus.embedded import EmbeddedSource
from shared.clock import SystemClock
from shared.config import Config
from shared.contracts.delivery import Interest, decode_delivery
from shared.contracts.jobs import SendJob, decode_job
from shared.contracts.states import Channel, Lane
from shared.contracts.topics import DELIVERY, SEND_JOBS
from shared.crypto import Vault, new_keys
from shared.db.engine import engine_for
from shared.db.migrate import migrate
from shared.dealers.base import (
    Accepted,
    Capabilities,
    Dealer,
    LookupMeans,
    Outgoing,
    Push,
    Report,
    SendResult,
)
from shared.groups import Groups
from shared.sending.lanes import Lanes
from shared.sending.limits import Limits
from shared.sending.policy import DEFAULT
from shared.sending.receipts import Arrived, Receipts
from shared.sending.sender import Sender
from shared.service import spare_collections

CHANGES = 4
"""of a message that is delivered at once: queued, sending, sent, delivered"""
_WARM_UP = 2


class _Everything(Dealer):
    """Takes whatever it is given, and says that it was delivered."""

    name = "solapi"
    capabilities = Capabilities(
        channels=frozenset(Channel),
        max_batch=10_000,
        lookup=LookupMeans.BY_KEY,
        lookup_batch=500,
        not_found_after=timedelta(minutes=2),
        push=Push.TOKEN,
        receipts_polled=True,
        receipt_expected_within=dict.fromkeys(Channel, timedelta(minutes=10)),
        receipt_deadline=dict.fromkeys(Channel, timedelta(hours=24)),
    )

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._number = itertools.count(1)

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:
        """Take ``batch``."""
        assert handle is None  # noqa: S101 - none is opened here
        ids = [f"M{next(self._number)}" for _ in batch]
        self.reports += [
            Report(outgoing.request_key, made, delivered=True, code="4000", raw=b'{"statusCode":"4000"}')
            for outgoing, made in zip(batch, ids, strict=True)
        ]
        return [Accepted(made) for made in ids]

    async def close(self) -> None:
        """Close nothing."""


@dataclass
class Spent:
    """Seconds by stage: this process's CPU, and that of Postgres."""

    meter: Meter
    python: dict[str, float] = field(default_factory=dict)
    postgres: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Count what the block uses, and not what it takes to look at Postgres' processes."""
        self.meter.start()
        began = time.process_time()
        yield
        python = time.process_time() - began
        self.python[stage] = self.python.get(stage, 0.0) + python
        self.postgres[stage] = self.postgres.get(stage, 0.0) + self.meter.spent()["postgres"]

    def forget(self) -> None:
        """Begin anew."""
        self.python.clear()
        self.postgres.clear()

    def per_message(self, messages: int) -> dict[str, dict[str, float]]:
        """Return microseconds a message, by stage and in all."""
        stages = {
            stage: {
                "python": round(seconds * 1e6 / messages, 1),
                "postgres": round(self.postgres[stage] * 1e6 / messages, 1),
            }
            for stage, seconds in self.python.items()
        }
        return stages | {
            "all": {each: round(sum(s[each] for s in stages.values()), 1) for each in ("python", "postgres")}
        }


@dataclass(frozen=True)
class _Stages:
    intake: Intake
    writer: Writer
    lanes: Lanes
    dealer: _Everything
    receipts: Receipts
    count: Count
    jobs: Source
    failures: Source
    texts: Source
    changes: Source

    async def carry(self, raw: Sequence[bytes], spent: Spent) -> None:
        """Take ``raw`` through all stages."""
        with spent.on("ingest: plan, seal"):
            submissions = await self.intake.prepare_all([read_event(each) for each in raw])
        with spent.on("ingest: write"):
            await self.writer([each for each in submissions if isinstance(each, Submission)])
        await self._drain(
            self.jobs, "dispatch: read", "dispatch: claim, render, record", decode_job, self._send, len(raw), spent
        )
        reports, self.dealer.reports = self.dealer.reports, []
        with spent.on("receipts: keep, apply"):
            await self.receipts.take([Arrived("solapi", "push", report) for report in reports])
        with spent.on("fallback: read"):
            for source in (self.failures, self.texts):
                await source.getmany(timeout_seconds=0, max_records=len(raw))
        await self._drain(
            self.changes, "metrics: read", "metrics: count", decode_delivery, self.count, len(raw) * CHANGES, spent
        )

    async def _send(self, received: Sequence[Received[SendJob]]) -> None:
        await SendJobs(self.lanes, Lane.NORMAL)(received)
        await self.lanes.idle()

    @staticmethod
    async def _drain(
        source: Source,
        reading: str,
        doing: str,
        decode: Callable[[bytes], Any],
        handle: Callable[[Sequence[Received[Any]]], Awaitable[Any]],
        wanted: int,
        spent: Spent,
    ) -> None:
        while wanted > 0:
            with spent.on(reading):
                found = await source.getmany(timeout_seconds=5, max_records=2000)
                batch = [record for records in found.values() for record in records]
                received = [Received(record, decode(record.value)) for record in batch]
            with spent.on(doing):
                await handle(received)
            with spent.on(reading):
                await source.commit(_last(batch))
            wanted -= len(batch)


def _last(batch: Sequence[Record]) -> dict[TopicPartition, Record]:
    return {TopicPartition(record.topic, record.partition): record for record in batch}


async def bench(batch: int, rounds: int) -> dict[str, Any]:
    """Take ``rounds`` batches through; return microseconds a message, by stage."""
    load_before = os.getloadavg()[0]
    day = a_day(datetime.now(UTC), batch * (rounds + _WARM_UP) * 3, seed=5, lasts=timedelta(days=2))
    events = [msgspec.json.encode(e.event) for e in day if e.event["type"] in {"order.paid", "member.joined"}]
    async with _opened() as (stages, spent):
        spare_collections()
        for n in range(rounds + _WARM_UP):
            if n == _WARM_UP:
                spent.forget()
            await stages.carry(events[n * batch : (n + 1) * batch], spent)
    return {
        "bench": "stages",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": load_before},
        "batch": batch,
        "rounds": rounds,
        "us_a_message": spent.per_message(batch * rounds),
    }


@asynccontextmanager
async def _opened() -> AsyncIterator[tuple[_Stages, Spent]]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bongsu-stages-")))
        postgres = EmbeddedPostgres(directory / "postgres")
        engine = engine_for(await postgres.start())
        stack.push_async_callback(postgres.stop)
        stack.push_async_callback(engine.dispose)
        clock, vault = SystemClock(), Vault.from_text(new_keys("bench"))
        await migrate(engine, now=clock.now())
        await apply_directory(engine, SHOP, now=clock.now())
        config = Config.model_validate(CONFIG)
        limits = config.dealers["solapi"].limits.model_copy(update={"messages_per_second": LIMIT})
        rules, writer, dealer = CurrentRules(engine, config.profiles), Writer(engine, clock), _Everything()
        await rules.refresh()
        taking = Limits(engine, {"solapi": limits})
        stack.push_async_callback(taking.close)
        sender = Sender(engine, {"solapi": dealer}, taking, config, vault, clock, DEFAULT, lambda: 0.5)
        lanes = Lanes(sender, {Channel.ALIMTALK})
        stack.push_async_callback(lanes.finish)
        sources = [
            await stack.enter_async_context(EmbeddedSource(engine, group, [topic], interest=interest))
            for group, topic, interest in (
                ("jobs", SEND_JOBS[Lane.NORMAL], Interest.ALL),
                ("failures", DELIVERY, Interest.FAILURES),
                ("texts", DELIVERY, Interest.TEXTS),
                ("changes", DELIVERY, Interest.ALL),
            )
        ]
        yield (
            _Stages(
                Intake(engine, rules, Groups(writer.apart), vault, clock),
                writer,
                lanes,
                dealer,
                Receipts(sender),
                Count(engine, clock),
                *sources,
            ),
            Spent(Meter({"postgres": postgres.pid})),
        )
