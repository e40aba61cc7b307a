"""One loop that serves every handler: read a batch, handle it, bury what is poison, commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
import structlog

from shared.bus import telemetry
from shared.bus.base import CommitRefused, Record, Source, TopicPartition
from shared.errors import BongsuError, Permanent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Received(msgspec.Struct, Generic[T], frozen=True):
    """A record and what it says."""

    record: Record
    value: T


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that can never be handled, and why: ``reason`` is a stable word, ``detail`` may be shown to a person."""

    record: Record
    reason: str
    detail: str = ""


class TooMuchPoison(BongsuError):
    """Poison came in a row without one good record: the reader is more likely wrong than the topic."""


async def consume(  # noqa: PLR0913 - the keywords are the loop's settings, each with a default but the event
    source: Source,
    decode: Callable[[bytes], T | None],
    handle: Callable[[Sequence[Received[T]]], Awaitable[Iterable[Poison] | None]],
    *,
    stopping: asyncio.Event,
    max_records: int = 500,
    timeout_seconds: float = 0.5,
    linger_seconds: float = 0.0,
    max_poison: int = 10,
    on_turn: Callable[[], None] = lambda: None,
) -> None:
    """Serve ``handle`` until ``stopping`` is set: each batch whole, in order within a partition, at least once.

    For a record that is not ``handle``'s business ``decode`` returns None.
    What ``decode`` refuses (``ValueError``, msgspec's errors, ``Permanent``) never reaches ``handle``; what ``handle``
    returns as ``Poison`` it has not handled, though it has handled the rest. Both are buried before the batch is
    committed. ``linger_seconds`` lets a small batch grow, for a handler whose cost is by the batch. ``on_turn`` is
    called about every ``timeout_seconds`` while the loop lives.

    Raises ``TooMuchPoison`` before the ``max_poison``-th poison record in a row is buried. Any error of ``handle``
    goes through, and the batch is read again by whoever comes next.
    """
    run = 0  # of poison, up to now
    while not stopping.is_set():
        on_turn()
        batch = await _read(source, stopping, max_records, timeout_seconds, linger_seconds)
        if not batch:
            continue
        good, poison = _decode(batch, decode)
        if good:
            poison += list(await handle(good) or ())
        run = _run_of_poison(batch, poison, run, max_poison)
        for each in poison:
            await source.bury(each.record, each.reason, each.detail)
            telemetry.BURIED.labels(each.record.topic).inc()
            log.warning(
                "record_buried",
                topic=each.record.topic,
                partition=each.record.partition,
                offset=each.record.offset,
                reason=each.reason,
            )
        await _commit(source, batch)


async def _read(
    source: Source, stopping: asyncio.Event, max_records: int, timeout_seconds: float, linger_seconds: float
) -> list[Record]:
    fetched = await source.getmany(timeout_seconds=timeout_seconds, max_records=max_records)
    batch = [record for records in fetched.values() for record in records]
    if batch and linger_seconds and len(batch) < max_records:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), linger_seconds)
        room = max_records - len(batch)
        fetched = await source.getmany(timeout_seconds=0, max_records=room)
        batch += [record for records in fetched.values() for record in records]
    return batch


def _decode(batch: Sequence[Record], decode: Callable[[bytes], T | None]) -> tuple[list[Received[T]], list[Poison]]:
    good: list[Received[T]] = []
    poison: list[Poison] = []
    for record in batch:
        try:
            if (value := decode(record.value)) is not None:
                good.append(Received(record, value))
        except Permanent as error:
            poison.append(Poison(record, error.reason, str(error)))
        except (ValueError, msgspec.DecodeError) as error:
            poison.append(Poison(record, "not_of_its_contract", str(error)))
    return good, poison


def _run_of_poison(batch: Sequence[Record], poison: Sequence[Poison], run: int, max_poison: int) -> int:
    """Return how many records at the end of ``batch`` are poison, ``run`` having gone before."""
    if not poison:
        return 0
    bad = {id(each.record) for each in poison}
    for record in batch:
        run = run + 1 if id(record) in bad else 0
        if run >= max_poison:
            raise TooMuchPoison(
                f"{run} records of {record.topic} in a row could not be read; none of this batch was committed"
            )
    return run


async def _commit(source: Source, batch: Sequence[Record]) -> None:
    done = {TopicPartition(record.topic, record.partition): record for record in batch}
    try:
        await source.commit(done)
    except CommitRefused:
        telemetry.REFUSED.inc()
        log.info("commit_refused", records=len(batch))
        return
    telemetry.BATCH.observe(len(batch))
    for topic, records in Counter(record.topic for record in batch).items():
        telemetry.RECORDS.labels(topic).inc(records)
