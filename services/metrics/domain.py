"""The rules of counting: each record becomes differences, which add up in any order. No I/O.

A message stands in one row of ``stats_messages`` at a time and an attempt in one of ``stats_attempts``, so a change
of state takes one from the row where it stood and puts it where it stands now. Both rows are read off the record
itself but for one thing: why a message had ended that a late receipt brings back. A record does not tell, and the
ledger's earlier rows, which never change, do (``needs_past``).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from shared.clock import SEOUL
from shared.contracts.delivery import Delivery
from shared.contracts.states import AttemptState, MessageState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from shared.ids import MessageId

FELL_BACK = "fell_back"
"""stands beside the states: a message that went on over a text channel after its first one failed"""
DOUBLE_CONTACT = "double_contact"
"""stands beside the states: one for each delivery of a message after its first"""
COST = ""
"""the state of the row that carries an hour's cost: what an attempt costs does not move with its state"""
UNKNOWN = "unknown"
_HOUR_OF_IDS = 3_600_000 << 80
"""how far apart the ids of two hours are: their first 48 bits are milliseconds"""

NOT_TAKEN = (
    "account_suspended",
    "auth_failed",
    "dealer_unavailable",
    "duplicate",
    "invalid_request",
    "no_balance",
    "not_permitted",
    "quota_exceeded",
    "rate_limited",
)
"""Failures that say nothing of the person or the hour: the dealer did not take the attempt."""

ENDS = frozenset({MessageState.FAILED, MessageState.SUPPRESSED, MessageState.EXPIRED, MessageState.CANCELLED})
"""Ends without the person having the message; ``failed`` is one only once it is final."""

SLOTS = 168
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class MessageKey(NamedTuple):
    """A row of ``stats_messages``. ``hour`` is when the message was born."""

    hour: datetime
    profile: str
    rule: str
    template: str
    lane: str
    state: str
    reason: str
    channel: str


class AttemptKey(NamedTuple):
    """A row of ``stats_attempts``. ``hour`` is when the attempt was made."""

    hour: datetime
    profile: str
    template: str
    channel: str
    dealer: str
    state: str
    reason: str


class Mark(NamedTuple):
    """A place in the ledger; a record at or below a partition's mark has been counted."""

    xid: int
    position: int


NOWHERE = Mark(0, 0)


class Past(NamedTuple):
    """An earlier change of a message, in the order of ``seq``."""

    seq: int
    state: MessageState
    final: bool
    reason: str | None


@dataclass(slots=True)
class Counts:
    """Differences to be added to the tables; rows that came to nothing are left out by ``tidy``."""

    messages: defaultdict[MessageKey, int] = field(default_factory=lambda: defaultdict(int))
    attempts: defaultdict[AttemptKey, int] = field(default_factory=lambda: defaultdict(int))
    cost_krw: defaultdict[AttemptKey, int] = field(default_factory=lambda: defaultdict(int))

    def tidy(self) -> tuple[list[tuple[MessageKey, int]], list[tuple[AttemptKey, int, int]]]:
        """Return the rows that change, sorted: writers that lock rows in one order never wait for each other."""
        attempts = sorted({k for k, n in self.attempts.items() if n} | {k for k, n in self.cost_krw.items() if n})
        return (
            sorted((key, n) for key, n in self.messages.items() if n),
            [(key, self.attempts.get(key, 0), self.cost_krw.get(key, 0)) for key in attempts],
        )


def hour_of(moment: datetime) -> datetime:
    """Return the hour that ``moment`` lies in. Hours of UTC are hours of Seoul: the offset is whole."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _hour_born(message: MessageId) -> datetime:
    return _hour(message.int // _HOUR_OF_IDS)


@lru_cache(maxsize=1024)
def _hour(number: int) -> datetime:
    """Return the ``number``-th hour since 1970: born in it, thousands of messages ask the same."""
    return datetime.fromtimestamp(number * 3600, UTC)


def slot_of(moment: datetime) -> int:
    """Return the hour of the week in Asia/Seoul, 0 (Monday 00:00) to 167 (Sunday 23:00)."""
    local = moment.astimezone(SEOUL)
    return local.weekday() * 24 + local.hour


def uncounted(
    records: Iterable[tuple[int, Delivery]], marks: Mapping[int, Mark]
) -> tuple[list[Delivery], dict[int, Mark]]:
    """Return the records, given with their partitions, that are past their partition's mark, and the new marks.

    A repetition repeats a run that stands before in the same partition, so the highest place seen tells it.
    """
    now = dict(marks)
    fresh: list[Delivery] = []
    for partition, record in records:
        place = Mark(record.xid, record.position)
        if place > now.get(partition, NOWHERE):
            now[partition] = place
            fresh.append(record)
    return fresh, now


def needs_past(record: Delivery) -> bool:
    """Whether the message may have ended before ``record``, so that the ledger must say why."""
    if record.was is MessageState.FAILED and record.state is MessageState.FAILED:
        return record.final
    return record.was in ENDS and record.state is not record.was


def end_before(past: Sequence[Past], seq: int) -> str | None:
    """Return why the message had ended before its change ``seq``, or None if it had not.

    That is the reason of the change that ended it: one that only moved an attempt keeps the end, and has the
    attempt's reason.
    """
    reason: str | None = None
    standing: tuple[MessageState, bool] | None = None
    for change in past:
        if change.seq >= seq:
            break
        if (change.state, change.final) != standing:
            standing = (change.state, change.final)
            reason = (change.reason or UNKNOWN) if _ended(change.state, final=change.final) else None
    return reason


def fold(records: Iterable[Delivery], ended: Mapping[tuple[UUID, int], str | None]) -> Counts:
    """Add ``records`` up. ``ended`` has, for each record that ``needs_past``, why its message had ended before.

    Most of a batch are alike in all that counts, so what is alike is told first, and counted once for all.
    """
    alike: dict[tuple[Any, ...], list[Delivery]] = {}
    for record in records:
        had_ended = ended[record.message_id, record.seq] if needs_past(record) else None
        alike.setdefault(_what_counts(record, had_ended), []).append(record)
    counts = Counts()
    for (*_, had_ended), some in alike.items():
        record, n = some[0], len(some)
        _count_message(counts.messages, record, had_ended, n)
        if record.channel is not None and record.sent_at is not None:
            _count_attempt(counts, record, record.sent_at, n)
    return counts


def _what_counts(record: Delivery, had_ended: str | None) -> tuple[Any, ...]:
    sent_at = record.sent_at
    return (
        record.message_id.int // _HOUR_OF_IDS,
        sent_at and (sent_at.year, sent_at.month, sent_at.day, sent_at.hour, sent_at.tzinfo),
        record.profile,
        record.rule,
        record.template,
        record.lane,
        record.was,
        record.state,
        record.final,
        record.reason,
        record.channel,
        record.dealer,
        record.attempt_was,
        record.attempt_state,
        record.reason_was,
        record.cost_krw,
        had_ended,
    )


def _ended(state: MessageState, *, final: bool) -> bool:
    return state in ENDS and (final or state is not MessageState.FAILED)


def _count_message(messages: defaultdict[MessageKey, int], record: Delivery, had_ended: str | None, n: int) -> None:
    hour = _hour_born(record.message_id)

    def key(state: str, reason: str = "", channel: str = "") -> MessageKey:
        return MessageKey(hour, record.profile, record.rule, record.template, record.lane, state, reason, channel)

    channel = record.channel or ""
    moved = record.was is not record.state
    ended_now = record.was is MessageState.FAILED and _ended(record.state, final=record.final) and had_ended is None
    if moved or ended_now:
        if record.was is not None:
            messages[key(record.was, had_ended or "")] -= n
        if record.state is MessageState.DELIVERED:
            messages[key(record.state, channel=channel)] += n
        elif _ended(record.state, final=record.final):
            messages[key(record.state, record.reason or UNKNOWN)] += n
        else:
            messages[key(record.state)] += n
    if (
        record.was is MessageState.FAILED
        and record.state in {MessageState.QUEUED, MessageState.SCHEDULED}
        and record.channel is not None
        and record.channel.is_text
    ):
        messages[key(FELL_BACK, channel=channel)] += n
    if (
        record.was is MessageState.DELIVERED
        and record.attempt_state is AttemptState.DELIVERED
        and record.attempt_was is not AttemptState.DELIVERED
    ):
        messages[key(DOUBLE_CONTACT, channel=channel)] += n


def _count_attempt(counts: Counts, record: Delivery, sent_at: datetime, n: int) -> None:
    hour = hour_of(sent_at)

    def key(state: str, reason: str = "") -> AttemptKey:
        return AttemptKey(
            hour, record.profile, record.template, record.channel or "", record.dealer or "", state, reason
        )

    if record.attempt_state is not record.attempt_was:
        if record.attempt_was is not None:
            counts.attempts[_attempt_key(key, record.attempt_was, record.reason_was)] -= n
        if record.attempt_state is not None:
            counts.attempts[_attempt_key(key, record.attempt_state, record.reason)] += n
    if record.cost_krw:
        counts.cost_krw[key(COST)] += record.cost_krw * n


def _attempt_key(key: Callable[[str, str], AttemptKey], state: AttemptState, reason: str | None) -> AttemptKey:
    return key(state, (reason or UNKNOWN) if state is AttemptState.FAILED else "")
