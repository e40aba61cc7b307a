"""Loads and saves a ``Book``: a handful of statements, whatever the number of messages.

They go over asyncpg's own connection, as few do: they run most, and a row costs half as much there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.contracts.states import ATTEMPT_STATES, CATEGORIES, CHANNELS, LANES, MESSAGE_STATES, MessageState
from shared.db.engine import driver_of
from shared.ids import MessageId, bucket_of
from shared.ledger.book import Attempt, Book, Message, Transition

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

LEDGER_CHANNEL = "bongsu_ledger"
"""``NOTIFY`` on it wakes whoever reads the transitions, at commit."""
_RING = f"NOTIFY {LEDGER_CHANNEL}"

# The ids are given twice: a plan that a session keeps tells by their bounds, and by no list, which weeks it needs.
_MESSAGES = """
    SELECT id, person_id, profile, template, template_revision, lane, category, fallback, state, final, reason, seq,
           attempt, channel, dealer, tries, due_at, deadline, cost_krw, personal, held_by
    FROM messages WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 ORDER BY id
"""
_LOCK = f"{_MESSAGES} FOR UPDATE"

_ATTEMPTS = """
    SELECT message_id, n, channel, dealer, state, request_key, opened_at, handle, dealer_message_id, check_at, checks,
           missing, code, reason, cost_krw, leg_of
    FROM attempts WHERE message_id = ANY($1::uuid[]) AND message_id BETWEEN $2 AND $3
"""

_UPDATE_MESSAGES = """
    UPDATE messages m
    SET state = c.state, final = c.final, reason = c.reason, seq = c.seq, attempt = c.attempt, channel = c.channel,
        dealer = c.dealer, tries = c.tries, due_at = c.due_at, cost_krw = c.cost_krw, held_by = c.held_by
    FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::text[],
                $5::int[], $6::int[], $7::text[], $8::text[],
                $9::int[], $10::timestamptz[], $11::int[],
                $12::text[])
         AS c (id, state, final, reason, seq, attempt, channel, dealer, tries, due_at, cost_krw, held_by)
    WHERE m.id = c.id
"""
_message_fields = attrgetter(
    "id", "state", "final", "reason", "seq", "attempt", "channel", "dealer", "tries", "due_at", "cost_krw",
    "held_by",
)  # fmt: skip

_UPDATE_ATTEMPTS = """
    UPDATE attempts a
    SET state = c.state, dealer_message_id = c.dealer_message_id, check_at = c.check_at, checks = c.checks,
        missing = c.missing, code = c.code, reason = c.reason, cost_krw = c.cost_krw
    FROM unnest($1::uuid[], $2::int[], $3::text[],
                $4::text[], $5::timestamptz[], $6::int[],
                $7::int[], $8::text[], $9::text[], $10::int[])
         AS c (message_id, n, state, dealer_message_id, check_at, checks, missing, code, reason, cost_krw)
    WHERE a.message_id = c.message_id AND a.n = c.n
"""
_attempt_fields = attrgetter(
    "message_id", "n", "state", "dealer_message_id", "check_at", "checks", "missing", "code", "reason", "cost_krw",
)  # fmt: skip

# What ``Book.move`` would do to each: a test keeps the two equal. One round trip and no message in memory, since a
# campaign may be due at one moment. The rows get their positions in the order of the ids that are given.
_QUEUE = text("""
    WITH moved AS (
        UPDATE messages m
        SET state = CASE WHEN m.deadline > :now THEN 'queued' ELSE 'expired' END, final = m.deadline <= :now,
            reason = CASE WHEN m.deadline > :now THEN NULL ELSE 'expired' END, seq = m.seq + 1, due_at = NULL,
            held_by = NULL
        FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS c (id, n)
        WHERE m.id = c.id AND m.id BETWEEN :first AND :last AND m.state = 'scheduled' AND m.due_at <= :now
        RETURNING c.n, m.*
    ), written AS (
        INSERT INTO transitions (message_id, seq, at, bucket, lane, was, state, final, reason, channel, dealer)
        SELECT id, seq, :now, get_byte(uuid_send(person_id), 0), lane, 'scheduled', state, final, reason, channel,
               dealer
        FROM moved ORDER BY n
        RETURNING state
    )
    SELECT state, count(*) AS n FROM written GROUP BY state
""")

ATTEMPT_COLUMNS = (
    "message_id", "n", "channel", "dealer", "state", "request_key", "handle", "dealer_message_id", "opened_at",
    "check_at", "checks", "missing", "code", "reason", "cost_krw", "leg_of",
)  # fmt: skip

_attempt_columns = attrgetter(*ATTEMPT_COLUMNS)

TRANSITION_COLUMNS = (
    "message_id", "seq", "at", "bucket", "lane", "was", "state", "final", "reason", "attempt", "channel", "dealer",
    "attempt_was", "attempt_state", "reason_was", "code", "cost_krw", "sent_at", "detail",
)  # fmt: skip


async def ring(connection: AsyncConnection) -> None:
    """Wake the readers of the ledger when this transaction commits."""
    await (await driver_of(connection)).execute(_RING)


async def load(
    connection: AsyncConnection, ids: Collection[MessageId], *, now: datetime, attempts: bool = True
) -> Book:
    """Lock the messages that exist of ``ids``, in the order of their ids so that no two transactions wait for each
    other, and return them as a ``Book``. ``attempts=False`` leaves their attempts out: enough to open a first one.
    """  # noqa: D205 - one sentence, and longer than a line
    return await _read(connection, _LOCK, ids, now=now, attempts=attempts)


async def _read(
    connection: AsyncConnection, messages: str, ids: Collection[MessageId], *, now: datetime, attempts: bool
) -> Book:
    book = Book(now)
    if not ids:
        return book
    driver = await driver_of(connection)
    wanted = (list(set(ids)), min(ids), max(ids))
    for row in await driver.fetch(messages, *wanted):
        message = _message(row)
        book.messages[message.id] = message
    if attempts:
        for row in await driver.fetch(_ATTEMPTS, *wanted):
            attempt = _attempt(row)
            book.attempts[attempt.message_id, attempt.n] = attempt
    return book


async def look(connection: AsyncConnection, ids: Collection[MessageId], *, now: datetime) -> Book:
    """Return a ``Book`` to read from, without a lock: not one to move anything in."""
    return await _read(connection, _MESSAGES, ids, now=now, attempts=True)


async def save(connection: AsyncConnection, book: Book) -> None:
    """Write what changed, and wake the readers. The constraint ``attempts_one_open`` has the last word on P2."""
    driver = await driver_of(connection)
    messages = sorted(book.touched_messages.values(), key=_id)
    if messages:
        await driver.execute(_UPDATE_MESSAGES, *_columns(map(_message_fields, messages)))
    # What was closed before what is opened: one message may do both.
    opened = {(a.message_id, a.n) for a in book.opened}
    touched = [a for key, a in sorted(book.touched_attempts.items()) if key not in opened]
    if touched:
        await driver.execute(_UPDATE_ATTEMPTS, *_columns(map(_attempt_fields, touched)))
    if book.opened:
        rows = map(_attempt_columns, book.opened)
        await driver.copy_records_to_table("attempts", records=rows, columns=ATTEMPT_COLUMNS)
    if book.transitions:
        rows = map(_row, book.transitions)
        await driver.copy_records_to_table("transitions", records=rows, columns=TRANSITION_COLUMNS)
        await driver.execute(_RING)


async def queue(connection: AsyncConnection, ids: Sequence[MessageId], *, now: datetime) -> dict[MessageState, int]:
    """Queue the scheduled messages ``ids``, which the caller has locked, in their order, and wake the readers.

    One that is past its deadline expires; one that is not due, or not scheduled, is left alone. Return how many came to
    each state. Hours of rest are not asked here but at the last moment, when the attempt is opened.
    """
    if not ids:
        return {}
    rows = await connection.execute(_QUEUE, {"ids": list(ids), "first": min(ids), "last": max(ids), "now": now})
    moved = {MESSAGE_STATES[row.state]: row.n for row in rows}
    if moved:
        await ring(connection)
    return moved


_id = attrgetter("id.int")


def storable(text: str) -> str:
    """Return ``text`` without what Postgres cannot hold: a dealer's strange byte must not cost a batch its record."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    return zip(*rows, strict=True)


def _row(transition: Transition) -> tuple[Any, ...]:
    message, attempt = transition.message, transition.attempt
    return (
        message.id,
        transition.seq,
        transition.at,
        bucket_of(message.person_id),
        message.lane,
        transition.was,
        transition.state,
        transition.final,
        transition.reason,
        attempt.n if attempt else None,
        transition.channel,
        transition.dealer,
        transition.attempt_was,
        transition.attempt_state,
        transition.reason_was,
        transition.code,
        transition.cost_krw,
        attempt.opened_at if attempt else None,
        json.dumps(transition.detail, ensure_ascii=False) if transition.detail else None,
    )


def _message(row: Sequence[Any]) -> Message:
    # Unpacked, and enumerations by tables: this runs for each message of a batch, and names cost twice as much.
    (
        message_id, person_id, profile, template, template_revision, lane, category, fallback, state, final, reason,
        seq, attempt, channel, dealer, tries, due_at, deadline, cost_krw, personal, held_by,
    ) = row  # fmt: skip
    return Message(
        message_id, person_id, profile, template, template_revision, LANES[lane], CATEGORIES[category], fallback,
        MESSAGE_STATES[state], final, reason, seq, attempt, CHANNELS[channel], dealer, tries, due_at, deadline,
        cost_krw, personal, held_by,
    )  # fmt: skip


def _attempt(row: Sequence[Any]) -> Attempt:
    message_id, n, channel, dealer, state, *rest = row
    return Attempt(message_id, n, CHANNELS[channel], dealer, ATTEMPT_STATES[state], *rest)
