"""Reads messages for people: one with all that happened to it, or a page of many."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from shared.ids import born_at, first_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from shared.ids import MessageId, PersonId


@dataclass(frozen=True, slots=True)
class Summary:
    """A message without its story."""

    id: UUID
    state: str
    final: bool
    reason: str | None
    channel: str
    rule: str
    template: str
    profile: str
    lane: str
    category: str
    campaign: str | None
    due_at: datetime | None
    cost_krw: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try."""

    n: int
    channel: str
    dealer: str
    state: str
    code: str | None
    reason: str | None
    at: datetime
    cost_krw: int


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the timeline."""

    at: datetime
    was: str | None
    state: str
    final: bool
    reason: str | None
    attempt: int | None
    channel: str | None
    dealer: str | None
    attempt_was: str | None
    attempt_state: str | None
    code: str | None
    cost_krw: int
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A dealer's report, without what it says of the person."""

    dealer: str
    via: str
    delivered: bool | None
    code: str
    reason: str | None
    happened_at: datetime | None
    received_at: datetime
    attempt: int | None


@dataclass(frozen=True, slots=True)
class Story:
    """A message and all that happened to it."""

    summary: Summary
    attempts: tuple[Attempt, ...]
    steps: tuple[Step, ...]
    receipts: tuple[Receipt, ...]


_SUMMARY = """
    SELECT id, state, final, reason, channel, rule, template, profile, lane, category, campaign, due_at, cost_krw
    FROM messages
"""
_ONE = text(f"{_SUMMARY} WHERE id = :id")
_ATTEMPTS = text("""
    SELECT n, channel, dealer, state, code, reason, opened_at AS at, cost_krw
    FROM attempts WHERE message_id = :id ORDER BY n
""")
_STEPS = text("""
    SELECT at, was, state, final, reason, attempt, channel, dealer, attempt_was, attempt_state, code, cost_krw, detail
    FROM transitions WHERE message_id = :id ORDER BY seq
""")
_RECEIPTS = text("""
    SELECT dealer, via, delivered, code, reason, happened_at, received_at, attempt
    FROM receipts WHERE message_id = :id AND id >= :since ORDER BY received_at, id
""")
_BEFORE = timedelta(days=1)
"""how much earlier than its message a receipt may seem to be born: clocks of processes differ by less"""


async def read_story(connection: AsyncConnection, message_id: MessageId) -> Story | None:
    """Return a message with attempts, timeline and receipts; None if there is none of this id."""
    wanted = {"id": message_id}
    row = (await connection.execute(_ONE, wanted)).mappings().one_or_none()
    if row is None:
        return None
    attempts = await connection.execute(_ATTEMPTS, wanted)
    steps = await connection.execute(_STEPS, wanted)
    receipts = await connection.execute(_RECEIPTS, {**wanted, "since": first_id(born_at(message_id) - _BEFORE)})
    return Story(
        _summary(row),
        tuple(Attempt(**each) for each in attempts.mappings()),
        tuple(Step(**{**each, "detail": each["detail"] or {}}) for each in steps.mappings()),
        tuple(Receipt(**each) for each in receipts.mappings()),
    )


async def read_page(
    connection: AsyncConnection,
    *,
    before: UUID | None,
    limit: int,
    person: PersonId | None = None,
    **equal: str | None,
) -> Sequence[Summary]:
    """Return up to ``limit`` messages, newest first, older than ``before``, of which all of ``equal`` is true.

    ``equal`` may name ``state``, ``profile`` and ``template``.
    """
    filters: dict[str, Any] = {name: value for name, value in equal.items() if value is not None}
    if unknown := filters.keys() - {"state", "profile", "template"}:
        raise TypeError(f"no filter {unknown}")
    if person is not None:
        filters["person_id"] = person
    conditions = [f"{name} = :{name}" for name in filters]
    if before is not None:
        filters["before"] = before
        conditions.append("id < :before")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await connection.execute(
        text(f"{_SUMMARY} {where} ORDER BY id DESC LIMIT :limit"),
        {**filters, "limit": limit},
    )
    return [_summary(row) for row in rows.mappings()]


def _summary(row: RowMapping) -> Summary:
    return Summary(**{**row, "id": UUID(str(row["id"]))})
