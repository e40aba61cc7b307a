"""What runs often reads no more of the ledger than is open: by an index, and nothing of the weeks that have ended.

The statements are those that the code executes, explained by Postgres while it does, over a ledger of several weeks.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bongsu.bench.fill import fill
from services.dispatcher.repository import due_messages, next_due
from services.ingest.reading import read_page, read_story
from services.ingest.repository import find_earlier
from services.metrics import queries
from services.metrics.queries import Asked
from services.metrics.repository import load_past
from shared.bus import ledger as transitions
from shared.bus.connection import _SESSION
from shared.bus.ledger import Place
from shared.config import Cap
from shared.contracts.states import AttemptState, Channel, Lane, MessageState
from shared.contracts.topics import DELIVERY, SEND_JOBS
from shared.db.engine import driver_of, engine_for
from shared.db.partitions import PARENTS, name_of, week_of
from shared.ids import MessageId, PersonId, first_id, new_id
from shared.ledger.repository import load, look, queue, save
from shared.sending import backlog, cancellations, pace_store
from shared.sending.cancellations import Filter
from shared.sending.contacts import load_contacts
from shared.sending.receipts import _BY_DEALER_ID, _DONE, _due
from shared.sending.reconcile import _DUE
from shared.sending.stop_store import held, release
from tests.conftest import TEMPLATE, execute, in_database

WEEKS = 6
MESSAGES = 6000
THIS_WEEK = week_of(datetime.now(UTC))
NOW = THIS_WEEK + timedelta(days=5)
A_PROBE = 4
"""pages that it takes to find that an index has nothing: its first, its root, perhaps one between, a leaf"""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a plan read of one table."""

    table: str
    kind: str
    rows: int
    pages: int


@dataclass(frozen=True, slots=True)
class Some:
    """Rows of this week to ask for."""

    message: MessageId
    event: UUID
    person: PersonId
    dealer_message_id: str
    key: bytes
    end: Place
    waiting: MessageId
    """scheduled, and due"""


async def some(connection: AsyncConnection) -> Some:
    row = (
        await connection.execute(
            text("""
                SELECT m.id, m.event_id, m.person_id, a.dealer_message_id, k.key
                FROM messages m JOIN attempts a ON a.message_id = m.id JOIN event_keys k ON k.event_id = m.event_id
                WHERE m.id >= :first LIMIT 1
            """),
            {"first": first_id(THIS_WEEK)},
        )
    ).one()
    latest = await connection.execute(text("SELECT max(xid::text::bigint) FROM transitions"))
    end = Place(int(latest.scalar_one()), 2**62)
    waiting = MessageId(await connection.scalar(text("SELECT id FROM messages WHERE state = 'scheduled' LIMIT 1")))
    return Some(MessageId(row.id), row.event_id, PersonId(row.person_id), row.dealer_message_id, row.key, end, waiting)


@dataclass
class Explained:
    """A connection whose statements are explained as they run."""

    connection: AsyncConnection
    rows: Some
    scans: list[Scan] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)

    async def of(self, work: Callable[[Explained], Awaitable[object]]) -> list[Scan]:
        """Return what ``work`` reads."""
        await work(self)
        await self.connection.execute(text("SELECT"))  # Postgres ends a statement, and tells, when the next one begins
        for _ in range(3):
            await asyncio.sleep(0)  # what was heard is told in a later turn of the loop
        assert self.scans
        return self.scans

    def hear(self, _: object, message: Any) -> None:  # noqa: ANN401 - asyncpg's own
        """Take a plan that Postgres logs."""
        _, found, plan = message.message.partition("plan:")
        if found:
            whole = json.loads(plan)
            self.plans.append(whole["Query Text"])
            self.scans += _scans(whole["Plan"])

    async def execute(
        self, statement: TextClause, parameters: Mapping[str, Any], *, session: int | None = None
    ) -> Sequence[Row[Any]]:
        """Execute a statement as ``BusConnection`` does."""
        assert session is None
        return (await self.connection.execute(statement, parameters)).all()

    async def fetch(self, query: str, *arguments: object, session: int | None = None) -> Sequence[Sequence[Any]]:
        """Fetch as ``BusConnection`` does."""
        assert session is None
        rows: Sequence[Sequence[Any]] = await (await driver_of(self.connection)).fetch(query, *arguments)
        return rows


def _scans(node: Mapping[str, Any]) -> Iterator[Scan]:
    if "Relation Name" in node and node["Actual Loops"]:
        read = (
            node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        )
        pages = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
        yield Scan(node["Relation Name"], node["Node Type"], round(read * node["Actual Loops"]), pages)
    for child in node.get("Plans", ()):
        yield from _scans(child)


@pytest.fixture(scope="module")
def filled(postgres_url: str) -> Iterator[str]:
    """A ledger of several weeks, in the last of which something is open."""
    name = f"bongsu_{uuid4().hex[:12]}"

    async def prepare() -> None:
        await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")
        engine = engine_for(in_database(postgres_url, name), statement_seconds=None)
        await fill(engine, MESSAGES, weeks=WEEKS, now=NOW)
        async with engine.begin() as connection:
            some = f"id >= '{first_id(THIS_WEEK)}' AND state = 'delivered'"
            of_them = "message_id IN (SELECT id FROM messages WHERE NOT final)"
            for change in (
                f"""
                UPDATE messages SET final = false, state = 'scheduled', due_at = :now
                WHERE id IN (SELECT id FROM messages WHERE {some} LIMIT 60)
                """,
                """
                UPDATE messages SET held_by = 'dealer/x'
                WHERE id IN (SELECT id FROM messages WHERE NOT final LIMIT 20)
                """,
                f"UPDATE attempts SET state = 'sent', check_at = :now, dealer = 'solapi' WHERE {of_them} AND n = 1",
                f"UPDATE receipts SET apply_at = :now, tried = 0 WHERE {of_them}",
            ):
                await connection.execute(text(change), {"now": NOW} if ":now" in change else {})
        await engine.dispose()
        await execute(in_database(postgres_url, name), "VACUUM (ANALYZE)")

    asyncio.run(prepare())
    yield in_database(postgres_url, name)
    asyncio.run(execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@asynccontextmanager
async def explaining(url: str, mode: str) -> AsyncIterator[Explained]:
    engine = engine_for(url, pool_size=1)
    async with engine.connect() as connection:
        found = Explained(connection, await some(connection))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver.add_log_listener(found.hear)
        for setting in (
            "LOAD 'auto_explain'",
            "SET auto_explain.log_min_duration = 0",
            "SET auto_explain.log_analyze = on",
            "SET auto_explain.log_buffers = on",
            "SET auto_explain.log_format = json",
            "SET client_min_messages = log",
            f"SET plan_cache_mode = {mode}",
            # Tables as small as a test's are cheapest to read whole; what is asked is whether an index can serve.
            "SET enable_seqscan = off",
        ):
            await connection.execute(text(setting))
        yield found
        await connection.rollback()
    await engine.dispose()


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
async def explained(filled: str, request: pytest.FixtureRequest) -> AsyncIterator[Explained]:
    """A connection to it: with plans for the values at hand, and with the ones that a session keeps."""
    async with explaining(filled, request.param) as found:
        yield found


# -- what names its messages: one week is looked at ------------------------------------------------------------------


async def load_and_save(on: Explained) -> None:
    book = await load(on.connection, [on.rows.message], now=NOW)
    message, attempt = book.messages[on.rows.message], next(iter(book.attempts.values()))
    message.state, message.due_at, message.held_by, attempt.state = MessageState.SENT, None, None, AttemptState.SENT
    book.delivered(attempt, code="4000", price_krw=13)
    await save(on.connection, book)


async def judge(on: Explained) -> None:
    """Look at what a receipt is about, and note that it was applied."""
    await look(on.connection, [on.rows.message], now=NOW)
    done = {"id": [new_id(NOW)], "apply_at": [None], "message_id": [on.rows.message], "attempt": [1]}
    await on.connection.execute(_DONE, done)


async def queue_some(on: Explained) -> None:
    assert await queue(on.connection, [on.rows.waiting], now=NOW + timedelta(hours=1))


PRUNED: dict[str, Callable[[Explained], Awaitable[object]]] = {
    "a change of messages": load_and_save,
    "messages to queue": queue_some,
    "an applied receipt": judge,
    "what metrics must know of the past": lambda on: load_past(on.connection, [on.rows.message]),
}


@pytest.mark.parametrize("name", PRUNED)
async def test_what_names_its_messages_looks_at_their_week_alone(explained: Explained, name: str) -> None:
    scans = list(filter(_is_of_ledger, await explained.of(PRUNED[name])))
    assert {scan.table for scan in scans} <= {name_of(parent, THIS_WEEK) for parent in PARENTS}, scans
    assert not [scan for scan in scans if scan.kind == "Seq Scan"], scans


# -- the backlog: by the heads of its lines ---------------------------------------------------------------------------


async def test_the_backlog_is_read_by_its_heads(explained: Explained) -> None:
    """Ten thousand wait, and a draw of ten reads about ten of them."""
    await explained.connection.execute(
        text("""
            INSERT INTO backlog (lane, dealer, channel, profile, message_id, seq, deadline)
            SELECT 'mass', 'solapi', 'alimtalk', 'shop' || n % 2, gen_random_uuid(), 1, now() + interval '1 hour'
            FROM generate_series(1, 10000) n
        """)
    )

    async def draw(on: Explained) -> None:
        line = backlog.Line(Lane.MASS, "solapi", Channel.ALIMTALK, None)
        assert len(await backlog.standing(on.connection)) == 2
        assert await backlog.waiting(on.connection, line, 10) == 10
        assert len(await backlog.Draw(line, 10, {}, {})(on.connection)) == 10
        await backlog.expire(on.connection, now=datetime.now(UTC), most=10)

    scans = [scan for scan in await explained.of(draw) if scan.table == "backlog"]
    assert scans[-1].table == "backlog"
    assert not [scan for scan in scans if scan.kind == "Seq Scan" or scan.rows > 20], scans


# -- what does not: of weeks that have ended an index is asked, and has nothing --------------------------------------


async def receipts_to_apply(on: Explained) -> None:
    waiting = await _due(on.connection, 50, now=NOW + timedelta(hours=1))
    assert waiting


async def receipt_by_dealers_id(on: Explained) -> None:
    found = await on.connection.execute(_BY_DEALER_ID, {"ids": [on.rows.dealer_message_id], "since": UUID(int=0)})
    assert found.all()


async def attempts_to_ask_about(on: Explained) -> None:
    found = await on.connection.execute(_DUE, {"now": NOW + timedelta(hours=1), "n": 20})
    assert found.all()


async def missing_receipts(on: Explained) -> None:
    key = ("solapi", Channel.ALIMTALK)
    await pace_store.count_missing(on.connection, {key: (NOW - timedelta(days=8), NOW)}, now=NOW)
    later = NOW + timedelta(hours=1)
    await pace_store.ask_sooner(on.connection, key, until=later, now=NOW, again=NOW, limit=10)


async def event_seen_before(on: Explained) -> None:
    driver: Any = (await on.connection.get_raw_connection()).driver_connection
    assert await find_earlier(driver, None, on.rows.key)


async def reading(on: Explained, topic: str) -> None:
    for setting in filter(None, map(str.strip, _SESSION.split(";"))):
        await on.connection.execute(text(setting))
    await transitions.read(on, topic, on.rows.end, limit=500, partitions=4, owned=[0, 1])  # type: ignore[arg-type]  # as one


async def messages_to_cancel(on: Explained) -> None:
    made = new_id(NOW)
    await cancellations.order(on.connection, made, Filter(campaign="autumn"), by="x", why="y", now=NOW)
    page = await cancellations.next_page(on.connection, now=NOW, limit=20)
    assert page is not None
    assert page.looked_at == 20


PROBED: dict[str, Callable[[Explained], Awaitable[object]]] = {
    "due messages": lambda on: due_messages(on.connection, Lane.NORMAL, now=NOW + timedelta(hours=1), limit=20),
    "when the next is due": lambda on: next_due(on.connection, Lane.NORMAL),
    "messages to cancel": messages_to_cancel,
    "held messages": lambda on: held(on.connection),
    "messages to let go": lambda on: release(on.connection, ["solapi"], now=NOW, world_now=NOW),
    "attempts to ask about": attempts_to_ask_about,
    "receipts to apply": receipts_to_apply,
    "a receipt by the dealer's id": receipt_by_dealers_id,
    "missing receipts": missing_receipts,
    "the ledger's end, every change": lambda on: reading(on, DELIVERY),
    "the ledger's end, jobs": lambda on: reading(on, SEND_JOBS["normal"]),  # type: ignore[index]  # a StrEnum
    "the oldest change that is not counted": lambda on: queries.oldest_uncounted(on.connection),
    "an event that was seen": event_seen_before,
    "explaining one message": lambda on: read_story(on.connection, on.rows.message),
    "the newest messages": lambda on: read_page(on.connection, before=None, limit=20),
}


@pytest.mark.parametrize("name", PROBED)
async def test_what_names_none_finds_nothing_in_weeks_that_have_ended(explained: Explained, name: str) -> None:
    for scan in filter(_is_of_ledger, await explained.of(PROBED[name])):
        assert scan.kind != "Seq Scan", explained.plans
        if _has_ended(scan):
            assert (scan.rows, scan.pages <= A_PROBE) == (0, True), (scan, explained.plans[-3:])


async def test_a_page_of_messages_reads_no_more_than_it_shows(explained: Explained) -> None:
    rows = explained.rows
    scans = await explained.of(lambda on: read_page(on.connection, before=rows.message, limit=20))
    assert sum(scan.rows for scan in scans) <= 20 + WEEKS
    scans.clear()
    scans = await explained.of(lambda on: read_page(on.connection, before=None, limit=20, person=rows.person))
    assert sum(scan.rows for scan in scans) <= 20 + WEEKS


async def test_a_persons_contacts_are_found_by_whose_they_are(explained: Explained) -> None:
    caps = (Cap.model_validate({"most": 1, "per": "30d"}),)
    people = [explained.rows.person]
    read = await explained.of(lambda on: load_contacts(on.connection, caps, people, now=NOW + timedelta(hours=1)))
    scans = list(filter(_is_of_ledger, read))
    assert not [scan for scan in scans if scan.kind == "Seq Scan"], explained.plans
    assert sum(scan.rows for scan in scans) <= 20, scans


async def test_the_heatmap_reads_no_ledger(explained: Explained) -> None:
    scans = await explained.of(lambda on: queries.slots(on.connection, Asked(since=NOW - timedelta(days=28))))
    assert {scan.table for scan in scans} == {"stats_hours"}


def _is_of_ledger(scan: Scan) -> bool:
    return re.fullmatch(r"(\w+_\d{4}w\d\d)|((event|idempotency)_keys_\d\d)", scan.table) is not None


def _has_ended(scan: Scan) -> bool:
    ended = {name_of(parent, THIS_WEEK - timedelta(weeks=n)) for parent in PARENTS for n in range(1, WEEKS + 1)}
    return scan.table in ended
