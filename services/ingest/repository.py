"""What ingest writes and reads: events, messages and their first transitions, a group of events at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from shared.contracts.states import Channel, Lane, MessageState
from shared.db.engine import copy
from shared.ids import MessageId, PersonId, bucket_of
from shared.ledger.repository import TRANSITION_COLUMNS, ring

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class NewMessage:
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


@dataclass(frozen=True, slots=True)
class Submission:
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

_CLAIM = text("""
    INSERT INTO idempotency_keys (key, request, response, created_at)
    SELECT key, request, response, :now
    FROM unnest(CAST(:keys AS bytea[]), CAST(:requests AS bytea[]), CAST(:responses AS bytea[]))
         AS c (key, request, response)
    ORDER BY key
    ON CONFLICT DO NOTHING RETURNING key
""")
_CLAIMED = text("SELECT key, request, response FROM idempotency_keys WHERE key = ANY(CAST(:keys AS bytea[]))")
_ANSWER_CLAIMS = text("""
    UPDATE idempotency_keys i SET response = c.response
    FROM unnest(CAST(:keys AS bytea[]), CAST(:responses AS bytea[])) AS c (key, response)
    WHERE i.key = c.key
""")
_SEE = text("""
    INSERT INTO event_keys (key, event_id)
    SELECT key, event_id FROM unnest(CAST(:keys AS bytea[]), CAST(:ids AS uuid[])) AS c (key, event_id)
    ORDER BY key
    ON CONFLICT DO NOTHING RETURNING key
""")
_SEEN = text("SELECT key, event_id FROM event_keys WHERE key = ANY(CAST(:keys AS bytea[]))")
_MESSAGES_OF = text("""
    SELECT id, event_id, rule, state FROM messages WHERE event_id = ANY(CAST(:events AS uuid[])) ORDER BY id
""")

_EVENT_COLUMNS = ("id", "source", "source_id", "type", "profile", "received_at", "personal")
_MESSAGE_COLUMNS = (
    "id", "event_id", "person_id", "profile", "rule", "rule_revision", "template", "template_revision", "lane",
    "category", "fallback", "state", "seq", "channel", "dealer", "due_at", "deadline", "personal",
)  # fmt: skip


async def write(connection: AsyncConnection, group: Sequence[Submission], *, now: datetime) -> list[Outcome]:
    """Write a group of events and their messages; return what became of each, in order.

    Keys are taken in their own order, first all idempotency keys, then all event keys, so that two groups which share
    some wait for each other and never deadlock. One who waits sees what the other committed.
    """
    outcomes = await _take_claims(connection, group, now)
    rest = {n: each for n, each in enumerate(group) if n not in outcomes}
    owners = await _take_event_keys(connection, list(rest.values()))
    fresh = [each for each in rest.values() if owners[each.key] == each.event_id]
    await _insert(connection, fresh)
    made = {each.event_id: _refs(each) for each in fresh}
    made |= await _messages_of(connection, set(owners.values()) - made.keys())
    corrected: dict[bytes, bytes] = {}
    for n, each in rest.items():
        owner = owners[each.key]
        response = _encode(Answer(owner, duplicate=owner != each.event_id, messages=made[owner]))
        outcomes[n] = Stored(response, duplicate=owner != each.event_id)
        if each.claim and owner != each.event_id:
            corrected[each.claim.key] = response
    if corrected:
        await connection.execute(
            _ANSWER_CLAIMS, {"keys": list(corrected.keys()), "responses": list(corrected.values())}
        )
    return [outcomes[n] for n in range(len(group))]


async def find_earlier(connection: AsyncConnection, claim: Claim | None, key: bytes | None) -> Outcome | None:
    """Return the answer that a request got before under its claim, or an event under its key; None if there is none."""
    if claim is not None:
        for row in await connection.execute(_CLAIMED, {"keys": [claim.key]}):
            return _replay(claim, row.request, row.response)
    if key is not None:
        for row in await connection.execute(_SEEN, {"keys": [key]}):
            messages = await _messages_of(connection, {row.event_id})
            answer = Answer(row.event_id, duplicate=True, messages=messages[row.event_id])
            return Stored(_encode(answer), duplicate=True)
    return None


async def _take_claims(connection: AsyncConnection, group: Sequence[Submission], now: datetime) -> dict[int, Outcome]:
    """Take the idempotency keys of ``group``, each with the answer to come; return those that were taken before."""
    first: dict[bytes, Submission] = {}
    for each in group:
        if each.claim:
            first.setdefault(each.claim.key, each)
    if not first:
        return {}
    given = {
        "keys": list(first),
        "requests": [each.claim.request for each in first.values() if each.claim],
        "responses": [_encode(Answer(each.event_id, duplicate=False, messages=_refs(each))) for each in first.values()],
        "now": now,
    }
    taken = set((await connection.execute(_CLAIM, given)).scalars())
    before = {
        row.key: row for row in await connection.execute(_CLAIMED, {"keys": [k for k in first if k not in taken]})
    }
    outcomes: dict[int, Outcome] = {}
    for n, each in enumerate(group):
        if each.claim and (row := before.get(each.claim.key)) is not None:
            outcomes[n] = _replay(each.claim, row.request, row.response)
    return outcomes


def _replay(claim: Claim, request: bytes, response: bytes) -> Replayed | KeyReused:
    return Replayed(response) if request == claim.request else KeyReused()


async def _take_event_keys(connection: AsyncConnection, group: Sequence[Submission]) -> dict[bytes, UUID]:
    """Take the event keys of ``group``; return which event has each, ours or an earlier one."""
    first: dict[bytes, UUID] = {}
    for each in group:
        first.setdefault(each.key, each.event_id)
    if not first:
        return {}
    taken = await connection.execute(_SEE, {"keys": list(first), "ids": list(first.values())})
    owners = {key: first[key] for key in taken.scalars()}
    if seen := [key for key in first if key not in owners]:
        owners |= {row.key: UUID(str(row.event_id)) for row in await connection.execute(_SEEN, {"keys": seen})}
    return owners


async def _insert(connection: AsyncConnection, fresh: Sequence[Submission]) -> None:
    if not fresh:
        return
    events = (
        (each.event_id, each.source, each.source_id, each.type, each.profile, each.received_at, each.personal)
        for each in fresh
    )
    await copy(connection, "events", _EVENT_COLUMNS, events)
    messages = [(each, message) for each in fresh for message in each.messages]
    if messages:
        await copy(connection, "messages", _MESSAGE_COLUMNS, (_message(each.event_id, m) for each, m in messages))
        rows = (_transition(m, each.received_at) for each, m in messages)
        await copy(connection, "transitions", TRANSITION_COLUMNS, rows)
        await ring(connection)


def _message(event_id: UUID, message: NewMessage) -> tuple[Any, ...]:
    return (
        message.id,
        event_id,
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
        1,
        message.channel,
        message.dealer,
        message.due_at,
        message.deadline,
        message.personal,
    )


def _transition(message: NewMessage, at: datetime) -> tuple[Any, ...]:
    return (
        message.id, 1, at, bucket_of(message.person_id), message.lane, None, message.state, False, None, None,
        message.channel, message.dealer, None, None, None, None, 0, None, message.why,
    )  # fmt: skip


def _refs(submission: Submission) -> list[MessageRef]:
    return [MessageRef(message.id, message.rule, message.state) for message in submission.messages]


async def _messages_of(connection: AsyncConnection, events: Collection[UUID]) -> dict[UUID, list[MessageRef]]:
    """Return the messages that these events made, in the state they are in now."""
    found: dict[UUID, list[MessageRef]] = {event: [] for event in events}
    if events:
        for row in await connection.execute(_MESSAGES_OF, {"events": list(events)}):
            found[UUID(str(row.event_id))].append(MessageRef(UUID(str(row.id)), row.rule, row.state))
    return found


_encode = msgspec.json.Encoder().encode
