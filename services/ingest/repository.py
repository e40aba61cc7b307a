"""What ingest writes and reads: events, messages and their first transitions, a group of events at a time.

All of it over asyncpg's own connection (``driver_transaction``): this is what runs most.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from shared.contracts.states import Channel, Lane, MessageState
from shared.ids import MessageId, PersonId, bucket_of
from shared.ledger.repository import LEDGER_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Connection = Any
"""asyncpg's, which ships no types"""


class NewMessage(msgspec.Struct, frozen=True):
    """A message to be written, ``queued`` or, with a due_at, ``scheduled``: that it was accepted is told by its row."""

    id: MessageId
    person_id: PersonId
    profile: str
    rule: str
    rule_revision: int
    template: str
    template_revision: int
    lane: Lane
    category: str
    fallback: str
    channel: Channel
    dealer: str
    due_at: datetime | None
    deadline: datetime
    personal: bytes
    why: str
    """JSON: facts for the explanation, without personal data"""

    @property
    def state(self) -> MessageState:
        """The state it is written in."""
        return MessageState.QUEUED if self.due_at is None else MessageState.SCHEDULED


class MessageRef(msgspec.Struct, frozen=True):
    """A message in the answer to an event."""

    id: UUID
    rule: str
    state: str


class Answer(msgspec.Struct, frozen=True):
    """The answer to an accepted event."""

    event_id: UUID
    duplicate: bool
    messages: list[MessageRef]


@dataclass(frozen=True, slots=True)
class Claim:
    """An ``Idempotency-Key`` of one API key, and the request that came under it, both hashed."""

    key: bytes
    request: bytes


class Submission(msgspec.Struct, frozen=True):
    """An event to be written, with the messages that it makes."""

    key: bytes
    event_id: UUID
    source: str
    source_id: str
    type: str
    profile: str | None
    received_at: datetime
    personal: bytes
    messages: tuple[NewMessage, ...]
    claim: Claim | None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The event is durable, by this submission or, if a ``duplicate``, by an earlier one. ``response`` is JSON."""

    response: bytes
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same request came before under its key: the same answer again."""

    response: bytes


@dataclass(frozen=True, slots=True)
class KeyReused:
    """Another request came before under this key; nothing of this one was kept."""


Outcome = Stored | Replayed | KeyReused

# One statement for a group: each round trip costs as much as ten events. What a key was taken for is written in the
# order in which it stands, and the readers of the ledger hear of it at commit.
_WRITE = """
    WITH claimed AS (
        INSERT INTO idempotency_keys (key, request, response, created_at)
        SELECT key, request, response, $1
        FROM unnest($2::bytea[], $3::bytea[], $4::bytea[]) AS c (key, request, response)
        ORDER BY key
        ON CONFLICT DO NOTHING RETURNING key
    ), taken AS (
        INSERT INTO event_keys (key, event_id)
        SELECT key, id FROM unnest($5::bytea[], $6::uuid[], $7::bytea[]) AS e (key, id, claim)
        WHERE claim IS NULL OR claim IN (SELECT key FROM claimed)
        ORDER BY key
        ON CONFLICT DO NOTHING RETURNING key, event_id
    ), events_made AS (
        INSERT INTO events (id, source, source_id, type, profile, received_at, personal)
        SELECT * FROM unnest($8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[],
                             $14::bytea[]) AS e (id)
        WHERE id IN (SELECT event_id FROM taken)
    ), made AS (
        SELECT * FROM unnest($15::uuid[], $16::uuid[], $17::uuid[], $18::text[], $19::text[], $20::int[], $21::text[],
                             $22::int[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[],
                             $29::timestamptz[], $30::timestamptz[], $31::bytea[], $32::timestamptz[], $33::smallint[],
                             $34::text[], $35::text[])
             WITH ORDINALITY
             AS m (id, event_id, person_id, profile, rule, rule_revision, template, template_revision, lane, category,
                   fallback, state, channel, dealer, due_at, deadline, personal, at, bucket, why, campaign,
                   n)
        WHERE event_id IN (SELECT event_id FROM taken)
    ), messages_made AS (
        INSERT INTO messages (id, event_id, person_id, profile, rule, rule_revision, template, template_revision, lane,
                              category, fallback, state, seq, channel, dealer, due_at, deadline, personal, campaign)
        SELECT id, event_id, person_id, profile, rule, rule_revision, template, template_revision, lane,
               category, fallback, state, 1, channel, dealer, due_at, deadline, personal, campaign
        FROM made
    ), transitions_made AS (
        INSERT INTO transitions (message_id, seq, at, bucket, lane, state, channel, dealer, detail)
        SELECT id, 1, at, bucket, lane, state, channel, dealer, why::jsonb FROM made ORDER BY n
    ), rung AS (SELECT pg_notify($36, ''))
    SELECT true AS of_event, key FROM taken
    UNION ALL SELECT false, key FROM claimed
    UNION ALL SELECT NULL, NULL FROM rung
"""
_CLAIM = """
    INSERT INTO idempotency_keys (key, request, response, created_at) VALUES ($1, $2, '', $3)
    ON CONFLICT DO NOTHING RETURNING key
"""
_CLAIMED = "SELECT key, request, response FROM idempotency_keys WHERE key = ANY($1::bytea[])"
_ANSWER_CLAIMS = """
    UPDATE idempotency_keys i SET response = c.response
    FROM unnest($1::bytea[], $2::bytea[]) AS c (key, response)
    WHERE i.key = c.key
"""
_SEEN = "SELECT key, event_id FROM event_keys WHERE key = ANY($1::bytea[])"
_MESSAGES_OF = "SELECT id, event_id, rule, state FROM messages WHERE event_id = ANY($1::uuid[]) ORDER BY id"

_EVENT_FIELDS, _MESSAGE_FIELDS = 7, 21


async def write(connection: Connection, group: Sequence[Submission], *, now: datetime) -> list[Outcome]:
    """Write a group of events and their messages, within a transaction; return what became of each, in order.

    Keys are taken in their own order, first all idempotency keys, then all event keys, so that two groups which share
    some wait for each other and never deadlock. One who waits sees what the other committed.
    """
    taken, outcomes = await _take(connection, group, now)
    rest = [each for n, each in enumerate(group) if n not in outcomes]
    owners = {each.key: each.event_id for each in reversed(rest) if each.key in taken}
    owners |= await _seen(connection, {each.key for each in rest} - owners.keys())
    if left := [msgspec.structs.replace(each, claim=None) for each in rest if each.key not in owners]:
        # Passed over with a request before it in the group, whose idempotency key was used; that stands in no way now.
        await _take(connection, left, now)
        owners |= await _seen(connection, {each.key for each in left})
    made = {each.event_id: _refs(each) for each in rest if owners[each.key] == each.event_id}
    made |= await _messages_of(connection, set(owners.values()) - made.keys())
    corrected: dict[bytes, bytes] = {}
    for n, each in enumerate(group):
        if n in outcomes:
            continue
        owner = owners[each.key]
        response = _encode(Answer(owner, duplicate=owner != each.event_id, messages=made[owner]))
        outcomes[n] = Stored(response, duplicate=owner != each.event_id)
        if each.claim and owner != each.event_id:
            corrected[each.claim.key] = response
    if corrected:
        await connection.execute(_ANSWER_CLAIMS, list(corrected.keys()), list(corrected.values()))
    return [outcomes[n] for n in range(len(group))]


async def find_earlier(connection: Connection, claim: Claim | None, key: bytes | None) -> Outcome | None:
    """Return the answer that a request got before under its claim, or an event under its key; None if there is none."""
    if claim is not None:
        for row in await connection.fetch(_CLAIMED, [claim.key]):
            return _replay(claim, row["request"], row["response"])
    return None if key is None else (await find_stored(connection, [key])).get(key)


async def find_stored(connection: Connection, keys: Collection[bytes]) -> dict[bytes, Stored]:
    """Return the answers to those events of ``keys`` that were accepted before."""
    owners = await _seen(connection, keys)
    messages = await _messages_of(connection, set(owners.values()))
    return {
        key: Stored(_encode(Answer(owner, duplicate=True, messages=messages[owner])), duplicate=True)
        for key, owner in owners.items()
    }


async def claim_batch(connection: Connection, claim: Claim, *, now: datetime) -> Replayed | KeyReused | None:
    """Take the idempotency key of a batch, its answer to come; return what was answered before, None if nothing was.

    A batch that was cut off has no answer: it goes on, and its events are known by their own keys.
    """
    if await connection.fetch(_CLAIM, claim.key, claim.request, now):
        return None
    (row,) = await connection.fetch(_CLAIMED, [claim.key])
    earlier = _replay(claim, row["request"], row["response"])
    return None if earlier == Replayed(b"") else earlier


async def answer_batch(connection: Connection, claim: Claim, response: bytes) -> None:
    """Keep the answer of a batch for its repetition."""
    await connection.execute(_ANSWER_CLAIMS, [claim.key], [response])


async def _take(
    connection: Connection, group: Sequence[Submission], now: datetime
) -> tuple[set[bytes], dict[int, Outcome]]:
    """Write those of ``group`` whose keys nobody had; return their event keys, and what was answered before.

    An idempotency key is taken with the answer to come. Where it was taken before, its event is left alone.
    """
    claims: dict[bytes, Submission] = {}
    events: dict[bytes, Submission] = {}
    for each in group:
        events.setdefault(each.key, each)
        if each.claim:
            claims.setdefault(each.claim.key, each)
    rows = await connection.fetch(
        _WRITE,
        now,
        list(claims),
        [each.claim.request for each in claims.values() if each.claim],
        [_encode(Answer(each.event_id, duplicate=False, messages=_refs(each))) for each in claims.values()],
        list(events),
        [each.event_id for each in events.values()],
        [each.claim.key if each.claim else None for each in events.values()],
        *_columns([_event(each) for each in events.values()], _EVENT_FIELDS),
        *_columns([_message(each, m) for each in events.values() for m in each.messages], _MESSAGE_FIELDS),
        LEDGER_CHANNEL,
    )
    taken = {row["key"] for row in rows if row["of_event"]}
    ours = {row["key"] for row in rows if row["of_event"] is False}
    if len(ours) == len(claims):
        return taken, {}
    rows = await connection.fetch(_CLAIMED, [key for key in claims if key not in ours])
    before = {row["key"]: (row["request"], row["response"]) for row in rows}
    return taken, {
        n: _replay(each.claim, *before[each.claim.key])
        for n, each in enumerate(group)
        if each.claim and each.claim.key in before
    }


def _replay(claim: Claim, request: bytes, response: bytes) -> Replayed | KeyReused:
    return Replayed(response) if request == claim.request else KeyReused()


async def _seen(connection: Connection, keys: Collection[bytes]) -> dict[bytes, UUID]:
    """Return which event has each of ``keys`` that is taken."""
    if not keys:
        return {}
    return {row["key"]: row["event_id"] for row in await connection.fetch(_SEEN, list(keys))}


def _columns(rows: Sequence[tuple[Any, ...]], fields: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * fields


def _event(event: Submission) -> tuple[Any, ...]:
    return (
        event.event_id,
        event.source,
        event.source_id,
        event.type,
        event.profile,
        event.received_at,
        event.personal,
    )


def _message(event: Submission, message: NewMessage) -> tuple[Any, ...]:
    return (
        message.id,
        event.event_id,
        message.person_id,
        message.profile,
        message.rule,
        message.rule_revision,
        message.template,
        message.template_revision,
        message.lane,
        message.category,
        message.fallback,
        message.state,
        message.channel,
        message.dealer,
        message.due_at,
        message.deadline,
        message.personal,
        event.received_at,
        bucket_of(message.person_id),
        message.why,
        event.campaign,
    )


def _refs(submission: Submission) -> list[MessageRef]:
    return [MessageRef(message.id, message.rule, message.state) for message in submission.messages]


async def _messages_of(connection: Connection, events: Collection[UUID]) -> dict[UUID, list[MessageRef]]:
    """Return the messages that these events made, in the state they are in now."""
    found: dict[UUID, list[MessageRef]] = {event: [] for event in events}
    if events:
        for row in await connection.fetch(_MESSAGES_OF, list(events)):
            found[row["event_id"]].append(MessageRef(row["id"], row["rule"], row["state"]))
    return found


_encode = msgspec.json.Encoder().encode
