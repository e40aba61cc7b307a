"""Cancels many messages at once: whatever their number, at the last step, from the moment that it is ordered.

A cancellation is a row with a filter. Every claim asks the open ones about its messages, so that nothing that is meant
leaves any more; a chore walks through the messages that have not ended, a bounded page at a time, and moves those that
wait. It walks a second time for messages that were being written when it was ordered, and stays open until the last
deadline of those that a dealer had: one that fails there is neither tried again nor followed by a text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from shared.contracts.states import LANES, MESSAGE_STATES, Lane, MessageState
from shared.ids import MessageId, born_at, first_id
from shared.ledger.repository import save

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from shared.ledger.book import Book

AGAIN_AFTER = timedelta(minutes=2)
"""World time: what was planned before a cancellation and written after it is there by then."""
CANCELLABLE = frozenset({MessageState.SCHEDULED, MessageState.QUEUED})

_WALKS = 2


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages are meant: those of which all that is named is true. ``events`` are ids that ingest answered."""

    campaign: str | None = None
    rule: str | None = None
    template: str | None = None
    profile: str | None = None
    lane: Lane | None = None
    events: tuple[UUID, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """How a cancellation stands. ``left``: a dealer had them, and they had not ended, as it came by."""

    id: UUID
    filter: Filter
    why: str
    by: str
    at: datetime
    cancelled: int
    left: int
    is_through: bool
    """whether all that waited is cancelled"""


_MEANT = """
    m.id < c.before AND (c.campaign IS NULL OR m.campaign = c.campaign) AND (c.rule IS NULL OR m.rule = c.rule)
    AND (c.template IS NULL OR m.template = c.template) AND (c.profile IS NULL OR m.profile = c.profile)
    AND (c.lane IS NULL OR m.lane = c.lane) AND (c.events IS NULL OR m.event_id = ANY(c.events))
"""
_ORDER = text("""
    INSERT INTO cancellations
           (id, campaign, rule, template, profile, lane, events, before, ordered_by, why, made_at, walk_at)
    VALUES (:id, :campaign, :rule, :template, :profile, :lane, CAST(:events AS uuid[]), :before, :by, :why, :now, :now)
""")
_BARRED = text(f"""
    SELECT m.id, min(c.id::text)::uuid AS by FROM messages m JOIN cancellations c ON {_MEANT}
    WHERE c.ended_at IS NULL AND m.id = ANY(CAST(:ids AS uuid[])) AND m.id BETWEEN :first AND :last
    GROUP BY m.id
""")  # noqa: S608 - a constant
_COUNT = text("UPDATE cancellations SET cancelled = cancelled + :n WHERE id = :id")
_NEXT = text("""
    SELECT id, walks, after_person, after_id FROM cancellations
    WHERE ended_at IS NULL AND walk_at <= :now ORDER BY walk_at, id LIMIT 1
""")
# By the index of what is open, which is small in any ledger; the limit is written into it for the planner to know.
_PAGE = """
    WITH page AS MATERIALIZED (
        SELECT person_id, id, event_id, campaign, rule, template, profile, lane, state, deadline FROM messages
        WHERE NOT final AND (person_id, id) > (CAST(:person AS uuid), CAST(:message AS uuid))
        ORDER BY person_id, id LIMIT {limit}
    )
    SELECT m.person_id, m.id, m.state, m.deadline, {meant} AS meant
    FROM page m CROSS JOIN cancellations c WHERE c.id = :id ORDER BY m.person_id, m.id
"""
_GO_ON = text("""
    UPDATE cancellations
    SET after_person = :person, after_id = :message, walk_at = :walk_at, walks = :walks, cancelled = cancelled + :n,
        gone = gone + :gone, last_deadline = greatest(last_deadline, CAST(:last_deadline AS timestamptz))
    WHERE id = :id
""")
_WAIT = text("UPDATE cancellations SET walk_at = greatest(walk_at, last_deadline) WHERE id = :id")
_END = text("UPDATE cancellations SET ended_at = :now WHERE id = :id")
_SELECT = """
    SELECT id, campaign, rule, template, profile, lane, events, ordered_by, why, made_at, cancelled, gone, walks
    FROM cancellations
"""
_ONE = text(f"{_SELECT} WHERE id = :id")
_NEWEST = text(f"{_SELECT} ORDER BY made_at DESC, id DESC LIMIT :n")
_START = UUID(int=0)


async def order(
    connection: AsyncConnection, cancellation: UUID, which: Filter, *, by: str, why: str, now: datetime
) -> None:
    """Cancel the messages that ``which`` means of those made before it; what is claimed once this commits is barred."""
    before = first_id(born_at(cancellation) + timedelta(milliseconds=1))  # ids grow, though a clock is set back
    events = list(which.events) if which.events is not None else None
    given = {**asdict(which), "events": events, "id": cancellation, "before": before, "by": by, "why": why, "now": now}
    await connection.execute(_ORDER, given)


async def read(connection: AsyncConnection, cancellation: UUID) -> Cancellation | None:
    """Return how a cancellation stands, or None if there is none of this id."""
    row = (await connection.execute(_ONE, {"id": cancellation})).mappings().one_or_none()
    return None if row is None else _cancellation(row)


async def newest(connection: AsyncConnection, *, limit: int) -> list[Cancellation]:
    """Return the latest cancellations, the newest first."""
    return [_cancellation(row) for row in (await connection.execute(_NEWEST, {"n": limit})).mappings()]


# -- at the last step ------------------------------------------------------------------------------------------------


async def load_cancelled(connection: AsyncConnection, book: Book) -> dict[MessageId, UUID]:
    """Return what is queued of the messages of ``book`` and an open cancellation means, and which."""
    ids = [message.id for message in book.messages.values() if message.state is MessageState.QUEUED]
    if not ids:
        return {}
    asked = {"ids": ids, "first": min(ids), "last": max(ids)}
    return {row.id: row.by for row in await connection.execute(_BARRED, asked)}


def cancel(book: Book, message_id: MessageId, cancellation: UUID) -> bool:
    """Move a message that waits to ``cancelled``; return whether it did."""
    message = book.messages.get(message_id)
    if message is None or message.state not in CANCELLABLE:
        return False
    why = {"cancellation": str(cancellation)}
    book.move(message, MessageState.CANCELLED, final=True, reason="cancelled", detail=why)
    return True


async def count(connection: AsyncConnection, cancelled: Mapping[MessageId, UUID], book: Book) -> int:
    """Add what a claim cancelled of what was queued to the figures of each cancellation; return how many that were.

    Their rows are locked last of all, in one order.
    """
    ended = [id_ for id_ in cancelled if book.messages[id_].state is MessageState.CANCELLED]
    for cancellation, n in sorted(Counter(cancelled[id_] for id_ in ended).items(), key=lambda each: each[0].int):
        await connection.execute(_COUNT, {"id": cancellation, "n": n})
    return len(ended)


# -- the walk --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages that have not ended: ``waiting`` are meant and wait; ``gone`` are the deadlines of those that do
    not.
    """  # noqa: D205 - one sentence

    cancellation: UUID
    walks: int
    looked_at: int
    last: tuple[UUID, UUID]
    waiting: tuple[MessageId, ...]
    gone: tuple[datetime, ...]
    is_last: bool


async def next_page(connection: AsyncConnection, *, now: datetime, limit: int) -> Page | None:
    """Return the next messages to look at; None where nothing is to be walked through. Ends what is over."""
    row = (await connection.execute(_NEXT, {"now": now})).one_or_none()
    if row is None:
        return None
    if row.walks >= _WALKS:
        await connection.execute(_END, {"id": row.id, "now": now})
        return None
    asked = {"id": row.id, "person": row.after_person, "message": row.after_id}
    rows = (await connection.execute(text(_PAGE.format(limit=limit, meant=_MEANT)), asked)).all()
    return Page(
        cancellation=row.id,
        walks=row.walks,
        looked_at=len(rows),
        last=(_START, _START) if len(rows) < limit else (rows[-1].person_id, rows[-1].id),
        waiting=tuple(each.id for each in rows if each.meant and MESSAGE_STATES[each.state] in CANCELLABLE),
        gone=tuple(each.deadline for each in rows if each.meant and MESSAGE_STATES[each.state] not in CANCELLABLE),
        is_last=len(rows) < limit,
    )


async def turn_page(connection: AsyncConnection, page: Page, book: Book, *, again_after: timedelta) -> int:
    """Cancel what waits of ``page``, whose messages are locked in ``book``, and note it; return how many that were.

    The next walk comes ``again_after``; after that one, the end comes with the last deadline of what had gone.
    """
    cancelled = [each for each in page.waiting if cancel(book, each, page.cancellation)]
    # Of what has left since the page was read, a claim that had asked before this was ordered took it along.
    gone = [*page.gone, *(message.deadline for message in book.messages.values() if not message.final)]
    await save(connection, book)
    person, message = page.last
    noted = {
        "id": page.cancellation,
        "person": person,
        "message": message,
        "walks": page.walks + page.is_last,
        "walk_at": book.now + again_after if page.is_last and page.walks == 0 else book.now,
        "n": len(cancelled),
        "gone": 0 if page.walks else len(gone),  # the first walk counts them
        "last_deadline": max(gone, default=None),
    }
    await connection.execute(_GO_ON, noted)
    if page.is_last and page.walks > 0:
        await connection.execute(_WAIT, {"id": page.cancellation})
    return len(cancelled)


def _cancellation(row: RowMapping) -> Cancellation:
    events = None if row["events"] is None else tuple(row["events"])
    lane = None if row["lane"] is None else LANES[row["lane"]]
    which = Filter(row["campaign"], row["rule"], row["template"], row["profile"], lane, events)
    return Cancellation(
        row["id"],
        which,
        row["why"],
        row["ordered_by"],
        row["made_at"],
        row["cancelled"],
        row["gone"],
        is_through=row["walks"] > 0,
    )
