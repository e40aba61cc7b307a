"""What metrics does: count what the delivery topic brings, and show the figures of the last days as gauges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.metrics import queries, reports, telemetry
from services.metrics.domain import (
    COST,
    DOUBLE_CONTACT,
    FELL_BACK,
    WEEKDAYS,
    end_before,
    fold,
    hour_of,
    needs_past,
    uncounted,
)
from services.metrics.queries import Asked
from services.metrics.repository import add, load_past, lock_marks, move_marks
from shared.bus import Received
from shared.clock import Clock
from shared.contracts.delivery import Delivery
from shared.contracts.states import AttemptState, MessageState

_Labels = TypeVar("_Labels", bound=tuple[str, ...])


@dataclass
class Count:
    """Adds batches of records to the tables, each record once."""

    engine: AsyncEngine
    clock: Clock
    latest: datetime | None = field(default=None, init=False)
    """when the last change of the last batch happened; None when the topic was found empty since"""
    _busy: bool = field(default=False, init=False)

    async def __call__(self, received: Sequence[Received[Delivery]]) -> None:
        """Count a batch, of one topic; for records counted before, do nothing.

        The places of its partitions in the ledger move in the transaction of the counts, so a crash repeats neither
        without the other, and of two readers of a partition the second waits and finds nothing to do.
        """
        topic = received[0].record.topic
        with telemetry.FOLD.time():
            async with self.engine.begin() as connection:
                marks = await lock_marks(connection, topic, {each.record.partition for each in received})
                records, moved = uncounted(((each.record.partition, each.value) for each in received), marks)
                if records:
                    await add(connection, fold(records, await self._ended(connection, records)))
                    await move_marks(connection, topic, moved)
        telemetry.RECORDS.inc(len(records))
        telemetry.REPEATED.inc(len(received) - len(records))
        self.latest, self._busy = received[-1].value.at, True

    @staticmethod
    async def _ended(connection: AsyncConnection, records: Sequence[Delivery]) -> dict[tuple[UUID, int], str | None]:
        asking = [record for record in records if needs_past(record)]
        past = await load_past(connection, {record.message_id for record in asking})
        return {
            (record.message_id, record.seq): end_before(past.get(record.message_id, ()), record.seq)
            for record in asking
        }

    def turn(self) -> None:
        """Note that the loop is about to read: what it found last is old once it has found nothing."""
        if not self._busy:
            self.latest = None
        self._busy = False


@dataclass(frozen=True, slots=True)
class Refresh:
    """Reads the gauges from the tables."""

    engine: AsyncEngine
    clock: Clock
    sms_prices: dict[str, int]
    window: timedelta
    behind: Callable[[], datetime | None]
    """when the last change happened that was counted, while more keep coming; else None"""

    async def __call__(self) -> int:
        """Read them once; return 0: there is never more to do at once."""
        now = self.clock.now()
        asked = Asked(since=hour_of(now - self.window))
        async with self.engine.connect() as connection:
            uncounted_at = await queries.oldest_uncounted(connection)
            messages = await queries.messages(connection, asked)
            attempts = await queries.attempts(connection, asked)
            slots = await queries.slots(connection, asked)
        waiting = [moment for moment in (uncounted_at, self.behind()) if moment is not None]
        telemetry.LAG.set(max(0.0, (now - min(waiting)).total_seconds()) if waiting else 0.0)
        show(messages, attempts, slots, self.sms_prices)
        return 0


def show(
    messages: Sequence[queries.MessageRow],
    attempts: Sequence[queries.AttemptRow],
    slots: Sequence[queries.SlotRow],
    sms_prices: dict[str, int],
) -> None:
    """Set the gauges; what is no longer there disappears. No scrape sees half of it: nothing is awaited."""
    funnel = reports.funnel(messages)
    standing: Counter[tuple[str, str]] = Counter()
    for message in messages:
        if message.state not in {FELL_BACK, DOUBLE_CONTACT}:
            undecided = message.state == MessageState.FAILED and not message.reason
            standing[message.profile, reports.AWAITING_FALLBACK if undecided else message.state] += message.n
    made: Counter[tuple[str, str, str, str]] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    pending: Counter[str] = Counter()
    for attempt in attempts:
        if attempt.state != COST:
            made[attempt.profile, attempt.channel, attempt.dealer, attempt.state] += attempt.n
        if attempt.state == AttemptState.FAILED:
            failures[attempt.channel, attempt.reason] += attempt.n
        if attempt.state == AttemptState.SENT:
            pending[attempt.channel] += attempt.n
    costs = reports.costs(attempts, sms_prices)

    _set(telemetry.MESSAGES, standing)
    _set(telemetry.DELIVERED, {(channel,): n for channel, n in funnel.delivered.items()})
    _set(telemetry.ATTEMPTS, made)
    _set(telemetry.FAILURES, failures)
    _set(telemetry.PENDING, {(channel,): n for channel, n in pending.items()})
    _set(telemetry.COST, {(channel,): krw for channel, krw in costs.by_channel.items()})
    telemetry.FELL_BACK.set(sum(funnel.fell_back.values()))
    telemetry.DOUBLE_CONTACTS.set(funnel.double_contacts)
    telemetry.ALL_SMS.set(costs.all_sms_krw if costs.all_sms_krw is not None else float("nan"))
    for number, slot in enumerate(reports.by_slot(slots)):
        day, hour = divmod(number, 24)
        labels = (f"{number:03}", f"{day + 1}-{WEEKDAYS[day]}", f"{hour:02}")
        telemetry.SLOT_SENT.labels(*labels).set(slot.sent)
        telemetry.SLOT_DELIVERED.labels(*labels).set(slot.delivered)
        telemetry.SLOT_FAILED.labels(*labels).set(slot.failed)


def _set(gauge: Gauge, values: Mapping[_Labels, int]) -> None:
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
