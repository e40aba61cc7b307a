"""Order per person (promise P7): a message waits for those of its person, lane and profile that were made before it.

Within a profile, since profiles share a lane: what one shop has waiting must not hold up what another sends.

The bus keeps that order, and loses it at its edges: where a partition changes hands during a call, where two dealers
have one person's messages, where what rested is queued a moment late. So the last check asks the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.contracts.states import MESSAGE_STATES, MessageState
from shared.copies.rules import is_approval
from shared.ids import MessageId, born_at, first_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from shared.ledger.book import Book, Message

AGAIN_AFTER = timedelta(seconds=1)
"""when a message that had to wait is looked at again; world time"""
SOON = 2 * AGAIN_AFTER
"""What is due within that goes before what was made after it; world time."""
REMEMBERED = timedelta(days=35)
"""An older message holds up no other: longer than any may wait (and few partitions are looked into)."""

_AHEAD = text("""
    SELECT c.id, o.id AS ahead, o.state, o.due_at, o.held_by
    FROM unnest(CAST(:ids AS uuid[]), CAST(:people AS uuid[]), CAST(:lanes AS text[]), CAST(:profiles AS text[]))
         AS c (id, person_id, lane, profile)
    JOIN messages o ON o.person_id = c.person_id AND NOT o.final AND o.id < c.id
    WHERE o.id >= CAST(:since AS uuid) AND o.id < CAST(:until AS uuid)
      AND o.lane = c.lane AND o.profile = c.profile
      AND (o.attempt = 0 OR (o.attempt = 1 AND o.state = 'sending'))
      AND o.state IN ('scheduled', 'queued', 'sending')
""")


@dataclass(frozen=True, slots=True)
class Ahead:
    """An earlier message of the same person, lane and profile that has not left, and is not being retried."""

    id: MessageId
    state: MessageState
    due_at: datetime | None
    held_by: str | None


async def load_ahead(connection: AsyncConnection, messages: Collection[Message]) -> dict[MessageId, list[Ahead]]:
    """Return what was made before each of ``messages`` and has not left."""
    if not messages:
        return {}
    ordered = sorted(messages, key=lambda message: message.id)
    asked = {
        "ids": [message.id for message in ordered],
        "people": [message.person_id for message in ordered],
        "lanes": [message.lane for message in ordered],
        "profiles": [message.profile for message in ordered],
        "since": first_id(born_at(ordered[0].id) - REMEMBERED),
        "until": ordered[-1].id,
    }
    found: dict[MessageId, list[Ahead]] = {}
    for row in await connection.execute(_AHEAD, asked):
        ahead = Ahead(row.ahead, MESSAGE_STATES[row.state], row.due_at, row.held_by)
        found.setdefault(row.id, []).append(ahead)
    return found


@dataclass(frozen=True, slots=True)
class Order:
    """What was made before the messages of a batch; what is due by ``soon`` goes before what was made after it."""

    ahead: Mapping[MessageId, Sequence[Ahead]]
    soon: datetime
    again: datetime
    """when to look again at a message that has to wait"""

    def holds(self, message: Message, book: Book, leaving: Collection[MessageId], stops: Collection[str]) -> bool:
        """Return whether an earlier message leaves before ``message``.

        ``leaving`` are those that this very call takes along, in their order. ``stops`` are those that hold somebody:
        what any of them holds may be overtaken.
        """
        if message.attempt:
            return False  # it is being retried, or goes on as a text
        return any(
            self._goes_first(each, stops)
            for each in map(partial(_as_it_is, book), self.ahead.get(message.id, ()))
            if each.id not in leaving
        )

    def _goes_first(self, each: Ahead, stops: Collection[str]) -> bool:
        match each.state:
            case MessageState.QUEUED | MessageState.SENDING:
                return True
            case MessageState.SCHEDULED if each.held_by is not None:
                # Unless something holds it still it is let go in a moment.
                return each.held_by not in stops and not is_approval(each.held_by)
            case MessageState.SCHEDULED:
                return each.due_at is not None and each.due_at <= self.soon
            case _:
                return False


IN_ORDER = Order({}, *[datetime.min.replace(tzinfo=UTC)] * 2)
"""when nobody is ahead of anybody"""


def _as_it_is(book: Book, each: Ahead) -> Ahead:
    """Return ``each`` as this batch has left it, which no query shows."""
    message = book.messages.get(each.id)
    return each if message is None else Ahead(each.id, message.state, message.due_at, message.held_by)
