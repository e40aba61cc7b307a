"""A ledger that was filled is one that bongsu could have written itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.bench.fill import disk, fill, parts
from services.ingest.reading import read_story
from services.ingest.story import explain, timeline
from services.metrics.repository import differences
from shared.bus.open import open_source
from shared.contracts.topics import DELIVERY
from shared.db.partitions import week_of
from shared.ids import MessageId

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


async def test_what_is_filled_in_agrees_with_itself_and_is_past(database: AsyncEngine) -> None:
    await fill(database, 1000, weeks=3, now=NOW)
    async with database.connect() as connection:
        assert await differences(connection) == []
    async with database.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT (SELECT count(*) FROM messages) AS messages, (SELECT count(*) FROM events) AS events,
                       (SELECT count(*) FROM event_keys) AS keys, (SELECT count(*) FROM receipts) AS receipts,
                       (SELECT count(*) FROM attempts) AS attempts,
                       (SELECT count(*) FROM messages m
                        WHERE (SELECT max(seq) FROM transitions WHERE message_id = m.id) <> m.seq) AS wrong
            """)
        )
        found = rows.one()
        assert (found.messages, found.events, found.keys) == (1000, 1000, 1000)
        assert (found.attempts, found.receipts, found.wrong) == (1050, 1050, 0)
        for state in ("delivered", "failed"):
            one = await connection.scalar(
                text("SELECT id FROM messages WHERE state = :state LIMIT 1"), {"state": state}
            )
            story = await read_story(connection, MessageId(one))
            assert story
            assert explain(story)
            assert list(timeline(story))
        assert all(table["rows"] for name, table in (await disk(connection)).items() if name != "idempotency_keys")
    async with open_source(database, "", "metrics", [DELIVERY], session_seconds=5) as source:
        assert await source.getmany(timeout_seconds=0.2, max_records=10) == {}


def test_messages_are_spread_evenly_up_to_now() -> None:
    found = parts(1000, 3, now=NOW)
    assert sum(part.messages for part in found) == 1000
    assert [part.week for part in found] == [week_of(NOW) - timedelta(weeks=n) for n in (2, 1, 0)]
    assert found[-1].end == NOW
    assert abs(found[0].messages - found[1].messages) <= 1
    assert 0.4 < found[2].messages / found[0].messages < 0.6
