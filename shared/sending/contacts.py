"""Reads off the ledger how often people were contacted, one claim at a time for each person.

There is no table of contacts: an attempt is a row already, and its state says whether it counts. So nothing must be
taken back when one fails, and what the ledger forgets (retention, erasing a person) is forgotten here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.contracts.states import CATEGORIES, LANES
from shared.ids import first_id
from shared.ledger.book import UNCONFIRMED
from shared.sending.caps import NO_CAPS, Contact, Contacts
from shared.sending.order import REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from shared.config import Cap
    from shared.ids import PersonId

_SPACE = 0x63617073  # any constant: these locks are told from others by it
_KEYS_BITS = 10
"""People share 1,024 locks: a batch of any size takes up no more of Postgres's table of them than that."""

_LOCK = text("SELECT pg_advisory_xact_lock(:space, key) FROM unnest(CAST(:keys AS int[])) AS k (key)")
# By a probe for each person and each message (OFFSET keeps them apart): joined as sets, a plan that a session keeps
# reads all messages and attempts there are.
_CONTACTS = text("""
    SELECT m.person_id, m.id, m.profile, m.category, m.lane, a.at
    FROM unnest(CAST(:people AS uuid[])) AS p (person_id)
    CROSS JOIN LATERAL (
        SELECT id, person_id, profile, category, lane, final FROM messages
        WHERE person_id = p.person_id AND id >= CAST(:since AS uuid) AND attempt > 0
        OFFSET 0
    ) m
    CROSS JOIN LATERAL (
        SELECT max(a.opened_at) AS at FROM attempts a
        WHERE a.message_id = m.id AND a.opened_at > :after
          AND (a.state <> 'failed' OR a.reason = ANY(CAST(:doubts AS text[])) OR NOT m.final)
    ) a
    WHERE a.at IS NOT NULL
""")
_DOUBTS = [UNCONFIRMED, "result_timeout"]
"""with which an attempt fails that nobody knows the end of"""


async def lock_people(connection: AsyncConnection, people: Collection[PersonId]) -> None:
    """Let no other transaction decide on messages to ``people`` until this one ends; none at all costs nothing.

    Advisory locks, since there is no row of a person to lock: they are taken in one order after those of messages,
    and end with the transaction, however it ends.
    """
    if people:
        keys = sorted({person.int >> (128 - _KEYS_BITS) for person in people})
        await connection.execute(_LOCK, {"space": _SPACE, "keys": keys})


async def load_contacts(
    connection: AsyncConnection, caps: Sequence[Cap], people: Collection[PersonId], *, now: datetime
) -> Contacts:
    """Return what counts for ``caps`` of ``people``, who are locked: a statement after the lock sees what it kept."""
    if not people:
        return NO_CAPS
    after = now - max(cap.per for cap in caps)
    asked = {
        "people": list(people),
        "since": first_id(after - REMEMBERED),  # it may have waited so long before it left
        "after": after,
        "doubts": _DOUBTS,
    }
    contacts = Contacts(caps)
    for row in await connection.execute(_CONTACTS, asked):
        contact = Contact(row.id, row.at, row.profile, CATEGORIES[row.category], LANES[row.lane])
        contacts.of.setdefault(row.person_id, []).append(contact)
    return contacts
