"""The dispatcher's own SQL; what it shares with the fallback is in ``shared.ledger`` and ``shared.sending``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.ids import MessageId

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from shared.contracts.states import Lane

_ALONE = text("SELECT pg_try_advisory_xact_lock(hashtextextended('bongsu.' || CAST(:chore AS text), 0))")
_DUE = text("""
    SELECT id FROM messages WHERE lane = :lane AND due_at <= :now ORDER BY due_at, id LIMIT :n FOR UPDATE SKIP LOCKED
""")
_NEXT = text("SELECT due_at FROM messages WHERE lane = :lane AND due_at IS NOT NULL ORDER BY due_at LIMIT 1")

_FORGOTTEN = text("""
    SELECT id FROM messages WHERE NOT final AND deadline < :before AND state IN ('queued', 'failed')
    LIMIT :n FOR UPDATE SKIP LOCKED
""")


async def is_alone(connection: AsyncConnection, chore: str) -> bool:
    """Return whether no other replica is at ``chore``, and keep it so until this transaction ends.

    Two at once would each commit a part of what one moment brings, and a person's second message might be in the part
    that comes first (promise P7).
    """
    return bool((await connection.execute(_ALONE, {"chore": chore})).scalar_one())


async def due_messages(connection: AsyncConnection, lane: Lane, *, now: datetime, limit: int) -> list[MessageId]:
    """Return and lock scheduled messages whose time has come, the earliest first; what others have locked is left.

    Of those due at one moment, as when hours of rest end, the oldest goes first (promise P7).
    """
    rows = await connection.execute(_DUE, {"lane": lane, "now": now, "n": limit})
    return [MessageId(row.id) for row in rows]


async def next_due(connection: AsyncConnection, lane: Lane) -> datetime | None:
    """Return when the first message of ``lane`` is due, or was."""
    found: datetime | None = await connection.scalar(_NEXT, {"lane": lane})
    return found


async def forgotten_messages(connection: AsyncConnection, *, before: datetime, limit: int) -> list[MessageId]:
    """Return and lock messages that still wait for somebody, though their deadline passed ``before`` then."""
    rows = await connection.execute(_FORGOTTEN, {"before": before, "n": limit})
    return [MessageId(row.id) for row in rows]
