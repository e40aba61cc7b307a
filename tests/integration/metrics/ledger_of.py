"""Writes lives into a real ledger."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.contracts.delivery import Delivery
from shared.db.engine import copy
from shared.ids import PersonId, bucket_of, new_id
from shared.ledger.repository import ATTEMPT_COLUMNS, TRANSITION_COLUMNS, ring
from tests.unit.metrics.stories import BEGIN, RULE, Story, tell

MESSAGE_COLUMNS = (
    "id", "event_id", "person_id", "profile", "rule", "rule_revision", "template", "template_revision", "lane",
    "category", "fallback", "state", "final", "reason", "seq", "attempt", "channel", "dealer", "tries", "due_at",
    "deadline", "cost_krw", "personal",
)  # fmt: skip


def lives(n: int, *, seed: int = 1, profile: str = "shop") -> list[Story]:
    """Return ``n`` lives, the same for the same ``seed``."""
    chance = random.Random(seed)  # noqa: S311 - a test's choices, no secret
    return [
        tell(
            [chance.randrange(1000) for _ in range(chance.randrange(2, 12))],
            person=chance.randrange(256),
            profile=profile,
        )
        for _ in range(n)
    ]


async def write(connection: AsyncConnection, stories: Sequence[Story]) -> None:
    """Write ``stories`` into the ledger, in this transaction: what is true now, and how it came about."""
    event = new_id(BEGIN)
    messages = []
    for story in stories:
        own = {name: getattr(story.message, name) for name in story.message.__slots__}
        row = {**own, "event_id": event, "rule": RULE, "rule_revision": 1}
        messages.append(tuple(row[name] for name in MESSAGE_COLUMNS))
    await copy(connection, "messages", MESSAGE_COLUMNS, messages)
    attempts = [tuple(getattr(a, name) for name in ATTEMPT_COLUMNS) for story in stories for a in story.attempts]
    await copy(connection, "attempts", ATTEMPT_COLUMNS, attempts)
    await write_changes(connection, [record for story in stories for record in story.records])


async def write_changes(connection: AsyncConnection, records: Sequence[Delivery]) -> None:
    """Append ``records`` to the transitions, in the order of their time."""
    rows = []
    for record in sorted(records, key=lambda record: (record.at, record.seq)):
        row = {name: getattr(record, name, None) for name in TRANSITION_COLUMNS}
        row["bucket"] = bucket_of(PersonId(record.person_id))
        rows.append(tuple(row[name] for name in TRANSITION_COLUMNS))
    await copy(connection, "transitions", TRANSITION_COLUMNS, rows)
    await ring(connection)


async def transitions_in(ledger: AsyncEngine) -> int:
    """Return how many changes of state the ledger has."""
    async with ledger.connect() as connection:
        found: int = (await connection.execute(text("SELECT count(*) FROM transitions"))).scalar_one()
    return found
