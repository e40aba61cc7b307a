from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import text

from services.ingest.events import read_event
from services.ingest.handlers import EventRecords, claim_of
from services.ingest.refusals import Kind, Refusal
from services.ingest.repository import Answer, Claim, KeyReused, Replayed, Stored, Submission, write
from shared.bus import Received, Record
from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.db.engine import driver_transaction, engine_for
from shared.hours import next_allowed
from shared.ids import MessageId, bucket_of
from shared.ledger.personal import open_personal
from shared.ledger.repository import load
from tests.integration.ingest.parts import CONFIG, VAULT, Ingest, make_data, make_event, make_ingest

API_KEY = b"k" * 16


def read(outcome: object) -> Answer:
    assert isinstance(outcome, Stored | Replayed)
    return msgspec.json.decode(outcome.response, type=Answer)


async def test_an_event_becomes_a_message(ingest: Ingest) -> None:
    answer = read(await ingest.take(make_event(), None))
    assert not answer.duplicate
    (message,) = answer.messages
    assert (message.rule, message.state) == ("order-paid", "queued")

    async with ingest.engine.connect() as connection:
        book = await load(connection, [MessageId(message.id)], now=ingest.clock.now())
    (row,) = book.messages.values()
    assert (row.state, row.seq, row.attempt, row.channel, row.dealer) == ("queued", 1, 0, "alimtalk", "solapi")
    assert row.due_at is None
    assert row.deadline == ingest.clock.now() + timedelta(hours=24)
    personal = open_personal(VAULT, row.personal, row.id)
    assert (personal.phone, personal.name, personal.variables["결제금액"]) == ("+821012345678", "김봉수", "15,000")
    assert row.person_id == VAULT.person("+821012345678")

    steps = await ingest.rows("SELECT * FROM transitions ORDER BY position")
    assert [(s.seq, s.was, s.state, s.channel, s.dealer) for s in steps] == [
        (1, None, "queued", Channel.ALIMTALK, "solapi")
    ]
    assert {s.bucket for s in steps} == {bucket_of(row.person_id)}
    assert steps[0].detail["rule"] == "order-paid"
    assert {s.at for s in steps} == {ingest.clock.now()}


async def test_no_personal_data_lies_open_in_the_ledger(ingest: Ingest) -> None:
    await ingest.take(make_event(), None)
    for table in ("events", "event_keys", "messages", "transitions"):
        (row,) = await ingest.rows(f"SELECT string_agg(t::text, '') FROM {table} t")
        assert row[0]
        assert not any(secret in row[0] for secret in ("1234-5678", "12345678", "김봉수", "머그컵"))


async def test_the_same_event_again_answers_with_the_first_messages(ingest: Ingest) -> None:
    first = read(await ingest.take(make_event(), None))
    before = await ingest.counts()
    again = read(await ingest.take(make_event(data=make_data("010-9999-8888")), None))
    assert again == msgspec.structs.replace(first, duplicate=True)
    assert await ingest.counts() == before


async def test_what_was_accepted_once_is_no_refusal_later(ingest: Ingest) -> None:
    first = read(await ingest.take(make_event(), None))
    again = read(await ingest.take(make_event(profile="gone"), None))
    assert again == msgspec.structs.replace(first, duplicate=True)


async def test_a_refused_event_leaves_nothing(ingest: Ingest) -> None:
    before = await ingest.counts()
    refused = await ingest.take(make_event(data=make_data("02-312-3456")), claim_of(API_KEY, "key", b""))
    assert isinstance(refused, Refusal)
    assert await ingest.counts() == before


async def test_the_same_key_replays_the_same_bytes(ingest: Ingest) -> None:
    body = make_event()
    first = await ingest.take(body, claim_of(API_KEY, "key", body))
    again = await ingest.take(body, claim_of(API_KEY, "key", body))
    assert isinstance(first, Stored)
    assert again == Replayed(first.response)


async def test_a_key_under_another_body_keeps_nothing(ingest: Ingest) -> None:
    body, other = make_event("e-1"), make_event("e-2")
    await ingest.take(body, claim_of(API_KEY, "key", body))
    before = await ingest.counts()
    refused = await ingest.take(other, claim_of(API_KEY, "key", other))
    assert isinstance(refused, Refusal)
    assert refused.kind is Kind.IDEMPOTENCY_KEY_REUSED
    assert await ingest.counts() == before


async def test_a_refused_body_under_a_used_key_is_told_of_the_key(ingest: Ingest) -> None:
    body = make_event("e-1")
    await ingest.take(body, claim_of(API_KEY, "key", body))
    refused = await ingest.take(b"{", claim_of(API_KEY, "key", b"{"))
    assert isinstance(refused, Refusal)
    assert refused.kind is Kind.IDEMPOTENCY_KEY_REUSED


async def test_a_key_replays_the_answer_that_a_duplicate_got(ingest: Ingest) -> None:
    body = make_event()
    await ingest.take(body, None)
    first = await ingest.take(body, claim_of(API_KEY, "key", body))
    again = await ingest.take(body, claim_of(API_KEY, "key", body))
    assert read(first).duplicate
    assert read(again) == read(first)


async def test_an_event_that_no_rule_wants_is_accepted_and_makes_nothing(ingest: Ingest) -> None:
    answer = read(await ingest.take(make_event(type="shop.opened"), None))
    assert answer.messages == []
    counts = await ingest.counts()
    assert (counts["events"], counts["messages"], counts["transitions"]) == (1, 0, 0)


async def test_a_message_in_quiet_hours_waits_for_their_end(ingest: Ingest) -> None:
    ingest.clock.time += timedelta(hours=11)  # 23:00 in Seoul
    answer = read(await ingest.take(make_event(), None))
    assert answer.messages[0].state == MessageState.SCHEDULED
    (row,) = await ingest.rows("SELECT due_at, deadline, state FROM messages")
    morning = next_allowed(ingest.clock.now(), Category.INFORMATIONAL, CONFIG.profiles["shop"], lane=Lane.NORMAL)
    assert row.due_at == morning == ingest.clock.now() + timedelta(hours=9)
    assert row.deadline == morning + timedelta(hours=24)
    (step,) = await ingest.rows("SELECT detail FROM transitions")
    assert step.detail["why"] == "quiet_hours"


async def test_events_at_once_share_a_transaction(ingest: Ingest) -> None:
    bodies = [make_event(f"e-{n}") for n in range(300)]
    answers = await asyncio.gather(*(ingest.take(body, None) for body in bodies))
    assert len({read(answer).event_id for answer in answers}) == len(bodies)
    transactions = await ingest.rows("SELECT count(DISTINCT xid) FROM transitions")
    assert transactions[0][0] <= 4
    assert (await ingest.counts())["messages"] == len(bodies)


async def test_the_same_event_many_times_at_once_makes_one_message(ingest: Ingest) -> None:
    answers = [read(a) for a in await asyncio.gather(*(ingest.take(make_event(), None) for _ in range(50)))]
    assert sum(not answer.duplicate for answer in answers) == 1
    assert len({answer.messages[0].id for answer in answers}) == 1
    assert (await ingest.counts())["messages"] == 1


async def test_two_processes_with_the_same_events_in_other_orders_never_deadlock(
    ingest: Ingest, database_url: str
) -> None:
    other_engine = engine_for(database_url)
    other = await make_ingest(other_engine)
    chance = random.Random(7)  # noqa: S311 - an order, no secret
    bodies = [make_event(f"e-{n}") for n in range(200)]
    try:
        for _ in range(5):
            orders: list[Sequence[bytes]] = [chance.sample(bodies, len(bodies)) for _ in range(4)]
            takes = [
                one.take(body, claim_of(API_KEY, str(chance.randrange(10**9)), body))
                for one, order in zip((ingest, other, ingest, other), orders, strict=True)
                for body in order
            ]
            for answer in await asyncio.gather(*takes):
                read(answer)
        counts = await ingest.counts()
        assert (counts["events"], counts["messages"], counts["transitions"]) == (200, 200, 200)
    finally:
        await other_engine.dispose()


async def test_two_processes_with_one_key_and_two_bodies_keep_one(ingest: Ingest, database_url: str) -> None:
    other_engine = engine_for(database_url)
    other = await make_ingest(other_engine)
    try:
        for n in range(20):
            first, second = make_event(f"a-{n}"), make_event(f"b-{n}")
            outcomes = await asyncio.gather(
                ingest.take(first, claim_of(API_KEY, str(n), first)),
                other.take(second, claim_of(API_KEY, str(n), second)),
            )
            kinds = sorted(o.kind if isinstance(o, Refusal) else "stored" for o in outcomes)
            assert kinds == [Kind.IDEMPOTENCY_KEY_REUSED, "stored"]
        assert (await ingest.counts())["events"] == 20
    finally:
        await other_engine.dispose()


async def test_one_that_the_database_refuses_does_not_fail_its_neighbours(ingest: Ingest) -> None:
    good, bad = [await ingest.intake.prepare(read_event(make_event(i)), None) for i in ("good", "bad")]
    assert isinstance(good, Submission)
    assert isinstance(bad, Submission)
    broken = msgspec.structs.replace(bad, source="nul \0")
    outcomes = await ingest.writer.apart([good, broken])
    assert isinstance(outcomes[0], Stored)
    assert isinstance(outcomes[1], Exception)
    counts = await ingest.counts()
    assert (counts["events"], counts["event_keys"], counts["messages"]) == (1, 1, 1)


async def test_a_group_whose_commit_was_not_heard_of_is_written_once(ingest: Ingest) -> None:
    prepared = await ingest.intake.prepare(read_event(make_event()))
    assert isinstance(prepared, Submission)
    (first,) = await ingest.writer([prepared])
    assert await ingest.writer([prepared]) == [first]
    assert (await ingest.counts())["messages"] == 1


async def test_an_event_is_not_passed_over_with_another_of_its_group_under_a_used_key(ingest: Ingest) -> None:
    body = make_event("e-1")
    used = claim_of(API_KEY, "key", body)
    await ingest.take(body, used)
    event = read_event(make_event("e-2"))
    refused = await ingest.intake.prepare(event, claim_of(API_KEY, "key", b"another"))
    plain = await ingest.intake.prepare(event, claim_of(API_KEY, "new", b""))
    assert isinstance(refused, Submission)
    assert isinstance(plain, Submission)
    outcomes = await ingest.writer([refused, plain])
    assert outcomes[0] == KeyReused()
    assert not read(outcomes[1]).duplicate
    assert (await ingest.counts())["messages"] == 2


async def test_a_database_that_is_away_is_no_half_effect(ingest: Ingest) -> None:
    await ingest.take(make_event("warm"), None)
    before = await ingest.counts()
    async with ingest.engine.connect() as holder:
        await holder.execute(text("LOCK TABLE event_keys IN EXCLUSIVE MODE"))
        taking = asyncio.create_task(ingest.take(make_event("cut"), None))
        while not await _waiters(ingest):  # noqa: ASYNC110 - Postgres tells nobody that a lock is waited for
            await asyncio.sleep(0.01)
        await holder.execute(text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"))
        refused = await taking
    assert isinstance(refused, Refusal)
    assert refused.kind is Kind.UNAVAILABLE
    assert refused.headers["Retry-After"]
    assert await ingest.counts() == before
    assert not read(await ingest.take(make_event("cut"), None)).duplicate


async def _waiters(ingest: Ingest) -> int:
    rows = await ingest.rows("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return int(rows[0][0])


async def test_a_client_that_hangs_up_costs_nobody_an_answer(ingest: Ingest) -> None:
    takes = [asyncio.create_task(ingest.take(make_event(f"e-{n}"), None)) for n in range(10)]
    await asyncio.sleep(0)
    takes[3].cancel()
    done = await asyncio.gather(*takes, return_exceptions=True)
    assert sum(isinstance(outcome, Stored) for outcome in done) == 9


async def test_kafka_records_mean_the_same_as_requests(ingest: Ingest) -> None:
    read(await ingest.take(make_event("e-1"), None))
    values = [make_event("e-1"), b"{", make_event("e-2"), make_event("e-3", data=make_data("02-312-3456"))]
    records = [Received(Record("bongsu.events.v1", 0, n, None, value), value) for n, value in enumerate(values)]
    handler = EventRecords(ingest.intake, ingest.writer, asyncio.Event())
    for _ in range(2):  # a batch may be read again
        poison = await handler(records)
        assert [(p.record.offset, p.reason) for p in poison] == [(1, "broken-json"), (3, "phone-not-reachable")]
    assert "02-312" not in poison[1].detail
    assert (await ingest.counts())["messages"] == 2


@pytest.mark.parametrize("size", [2, 500])
async def test_a_group_is_one_statement(ingest: Ingest, size: int) -> None:
    group = [
        await ingest.intake.prepare(read_event(make_event(f"e-{n}")), Claim(bytes([n % 256, n // 256]), b""))
        for n in range(size)
    ]
    statements: list[str] = []
    submissions = [each for each in group if isinstance(each, Submission)]
    async with driver_transaction(ingest.engine) as connection:
        await write(connection, submissions[:1], now=ingest.clock.now())  # asyncpg asks for types, once
        with connection.query_logger(lambda record: statements.append(record.query)):
            await write(connection, submissions[1:], now=ingest.clock.now())
    assert len(statements) == 1


async def test_an_event_and_a_key_are_known_again_in_another_partition(ingest: Ingest) -> None:
    """Rows lie in the week they were born in; what must be unique for good is not bound to it."""
    body = make_event()
    claim = claim_of(API_KEY, "key", body)
    first = read(await ingest.take(body, claim))
    ingest.clock.time += timedelta(weeks=3)
    assert await ingest.take(body, claim) == Replayed(msgspec.json.encode(first))
    again = read(await ingest.take(body, None))
    assert again == msgspec.structs.replace(first, duplicate=True)
    assert await ingest.take(make_event("e-2"), claim_of(API_KEY, "key", b"other")) != Replayed(
        msgspec.json.encode(first)
    )
    later = read(await ingest.take(make_event("e-3"), None))
    rows = await ingest.rows("SELECT id, tableoid::regclass::text AS partition FROM messages ORDER BY id")
    assert [row.id for row in rows] == [first.messages[0].id, later.messages[0].id]
    assert rows[0].partition != rows[1].partition
