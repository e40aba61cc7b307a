"""Keeps where our templates stand at the dealers, in ``template_copies``; lets go what waited for an approval."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.copies.rules import NOTHING_CLOSED, Closed, Copy, CopyKey, granted
from shared.dealers.templates import TemplateStatus
from shared.ledger.repository import storable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from shared.config import Config, Profile

_COMMENTS, _COMMENT = 20, 2000
"""of an inspector's words, the newest are kept, cut to this many characters"""

_ALL = text("""
    SELECT dealer, sender_key, code, template, status, comments, changed_at, checked_at, last_sent_at
    FROM template_copies ORDER BY template, dealer, sender_key, code
""")
_SAVE = text("""
    INSERT INTO template_copies (dealer, sender_key, code, template, status, comments, changed_at, checked_at)
    VALUES (:dealer, :sender_key, :code, :template, :status, :comments, :changed_at, :checked_at)
    ON CONFLICT (dealer, sender_key, code) DO UPDATE
    SET template = excluded.template, status = excluded.status, comments = excluded.comments,
        changed_at = excluded.changed_at, checked_at = excluded.checked_at
""")
_FORGET = text("""
    DELETE FROM template_copies c WHERE NOT EXISTS (
        SELECT FROM unnest(CAST(:dealers AS text[]), CAST(:sender_keys AS text[]), CAST(:codes AS text[]))
                 AS w (dealer, sender_key, code)
        WHERE (w.dealer, w.sender_key, w.code) = (c.dealer, c.sender_key, c.code)
    )
""")
_CLOSED = text("SELECT dealer, sender_key, template FROM template_copies WHERE status <> 'approved'")
_CLOSED_OF = text("""
    SELECT dealer, sender_key, template FROM template_copies
    WHERE status <> 'approved' AND template = ANY(CAST(:templates AS text[]))
""")
_NOTE_SENT = text("""
    WITH sent AS (
        SELECT w.dealer, w.sender_key, s.template, max(s.hour) AS at
        FROM stats_attempts s
        JOIN unnest(CAST(:profiles AS text[]), CAST(:dealers AS text[]), CAST(:sender_keys AS text[]))
               AS w (profile, dealer, sender_key) USING (profile, dealer)
        WHERE s.hour >= :since AND s.channel = 'alimtalk' AND s.state IN ('sent', 'uncertain', 'delivered') AND s.n > 0
        GROUP BY 1, 2, 3
    )
    UPDATE template_copies c SET last_sent_at = sent.at FROM sent
    WHERE (c.dealer, c.sender_key, c.template) = (sent.dealer, sent.sender_key, sent.template)
      AND (c.last_sent_at IS NULL OR c.last_sent_at < sent.at)
""")
_HELD = text("SELECT DISTINCT held_by FROM messages WHERE held_by LIKE 'approval/%'")
_RELEASE = text("""
    WITH free AS (
        SELECT id FROM messages WHERE held_by = ANY(CAST(:holds AS text[]))
        ORDER BY id LIMIT :n FOR UPDATE SKIP LOCKED
    )
    UPDATE messages m SET due_at = :now, held_by = NULL FROM free WHERE m.id = free.id
""")


async def load_copies(connection: AsyncConnection) -> dict[CopyKey, Copy]:
    """Return every copy, by template."""
    found: dict[CopyKey, Copy] = {}
    for row in await connection.execute(_ALL):
        key = CopyKey(row.dealer, row.sender_key, row.code)
        found[key] = Copy(
            key=key,
            template=row.template,
            status=TemplateStatus(row.status),
            comments=tuple(row.comments),
            changed_at=row.changed_at,
            checked_at=row.checked_at,
            last_sent_at=row.last_sent_at,
        )
    return found


async def save_copies(connection: AsyncConnection, copies: Sequence[Copy]) -> None:
    """Write down what a dealer told, in the order of the keys, so that two who do it wait and do not deadlock."""
    rows = [
        {
            "dealer": copy.key.dealer,
            "sender_key": copy.key.sender_key,
            "code": copy.key.code,
            "template": copy.template,
            "status": copy.status,
            "comments": [storable(comment)[:_COMMENT] for comment in copy.comments[-_COMMENTS:]],
            "changed_at": copy.changed_at,
            "checked_at": copy.checked_at,
        }
        for copy in sorted(copies, key=lambda copy: copy.key)
    ]
    if rows:
        await connection.execute(_SAVE, rows)


async def forget_others(connection: AsyncConnection, wanted: Collection[CopyKey]) -> int:
    """Drop what no route or template wants any more, and what is trusted now; return how many."""
    given = {
        "dealers": [key.dealer for key in wanted],
        "sender_keys": [key.sender_key for key in wanted],
        "codes": [key.code for key in wanted],
    }
    return (await connection.execute(_FORGET, given)).rowcount


async def note_sent(connection: AsyncConnection, config: Config, *, since: datetime) -> int:
    """Note when copies were last sent with, to the hour, by the statistics since then; return how many moved."""
    routes = [(name, route) for name, profile in config.profiles.items() for route in profile.routes]
    given = {
        "profiles": [name for name, _ in routes],
        "dealers": [route.dealer for _, route in routes],
        "sender_keys": [route.sender_key for _, route in routes],
        "since": since,
    }
    return (await connection.execute(_NOTE_SENT, given)).rowcount


async def load_closed(connection: AsyncConnection, templates: Iterable[str] | None = None) -> Closed:
    """Return what is known not to be approved: of ``templates`` (our codes), or of all."""
    if templates is None:
        rows = await connection.execute(_CLOSED)
    elif codes := sorted(set(templates)):
        rows = await connection.execute(_CLOSED_OF, {"templates": codes})
    else:
        return NOTHING_CLOSED
    return frozenset((row.dealer, row.sender_key, row.template) for row in rows)


async def release_approved(
    connection: AsyncConnection, profiles: Mapping[str, Profile], *, now: datetime, limit: int = 1000
) -> int:
    """Let go up to ``limit`` messages that waited for an approval which is there; return how many."""
    held = list((await connection.execute(_HELD)).scalars())
    if not held:
        return 0
    over = granted(held, profiles, await load_closed(connection))
    if not over:
        return 0
    return (await connection.execute(_RELEASE, {"holds": over, "n": limit, "now": now})).rowcount
