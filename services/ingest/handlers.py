"""What ingest does with an event, whoever brings it: read, plan, seal, write with others, then answer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import telemetry
from services.ingest.catalog import CurrentRules
from services.ingest.domain import Bound, Planned
from services.ingest.events import Event, read_event
from services.ingest.refusals import Kind, Refusal, unavailable
from services.ingest.repository import (
    Claim,
    KeyReused,
    NewMessage,
    Outcome,
    Replayed,
    Stored,
    Submission,
    answer_batch,
    claim_batch,
    find_earlier,
    find_stored,
    write,
)
from shared.bus import Poison, Received
from shared.clock import Clock
from shared.crypto import Vault
from shared.db.away import is_away, wants_again
from shared.db.engine import driver_transaction
from shared.groups import Groups, Overloaded
from shared.ids import Births, MessageId
from shared.ledger.personal import Personal, seal_personal
from shared.routes import choose_route

_TRIES = 3
_TOGETHER = 500
"""events of a batch that share a transaction"""
_TURN = 50
"""events that are planned before others have their turn: some milliseconds"""

log = structlog.get_logger(__name__)


def claim_of(api_key: bytes, idempotency_key: str, body: bytes) -> Claim:
    """Return the claim of a request: the same key of another API key is another claim."""
    key = hashlib.sha256(api_key + idempotency_key.encode()).digest()[:16]
    return Claim(key, hashlib.sha256(body).digest())


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes a group in one transaction."""

    engine: AsyncEngine
    clock: Clock

    async def __call__(self, group: Sequence[Submission]) -> list[Outcome]:
        """Return what became of each, once all are durable. A group that Postgres gave up is tried again.

        If the database refuses a group for a mistake of ours, each is written alone, so that one does not fail its
        neighbours; whose mistake it was gets the error.
        """
        for again in reversed(range(_TRIES)):
            started = time.perf_counter()
            try:
                async with driver_transaction(self.engine) as connection:
                    outcomes = await write(connection, group, now=self.clock.now())
            except Exception as error:
                if not (again and wants_again(error)):
                    raise
            else:
                break
        telemetry.COMMIT.observe(time.perf_counter() - started)
        telemetry.GROUP.observe(len(group))
        _count(group, outcomes)
        return outcomes

    async def apart(self, group: Sequence[Submission]) -> list[Outcome | Exception]:
        """Write ``group`` together, or if that fails for a mistake of ours, one by one."""
        try:
            return list(await self(group))
        except Exception as error:
            if is_away(error) or len(group) == 1:
                raise
            log.error("ingest.group_split", error=type(error).__name__, events=len(group))  # noqa: TRY400 - a traceback may hold values
        outcomes: list[Outcome | Exception] = []
        for each in group:
            try:
                outcomes += await self([each])
            except Exception as error:  # noqa: BLE001 - it is this one's outcome
                outcomes.append(error)
        return outcomes


def _count(group: Sequence[Submission], outcomes: Sequence[Outcome]) -> None:
    fresh = [
        each
        for each, outcome in zip(group, outcomes, strict=True)
        if isinstance(outcome, Stored) and not outcome.duplicate
    ]
    telemetry.WITHOUT_RULE.inc(sum(not each.messages for each in fresh))
    for (lane, state), number in Tally((m.lane, m.state) for each in fresh for m in each.messages).items():
        telemetry.MESSAGES.labels(lane, state).inc(number)


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes events in."""

    engine: AsyncEngine
    rules: CurrentRules
    groups: Groups[Submission, Outcome]
    vault: Vault
    clock: Clock
    births: Births = field(default_factory=Births)
    """A person's messages leave in the order of their ids (promise P7)."""

    async def take(self, event: Event | Refusal, claim: Claim | None) -> Stored | Replayed | Refusal:
        """Return the answer to an event, once it is durable."""
        prepared = await self.prepare(event, claim)
        try:
            if isinstance(prepared, Refusal):
                outcome: Outcome | Refusal = await self._earlier(event, claim) or prepared
            else:
                outcome = await self.groups.submit(prepared)
        except Exception as error:  # noqa: BLE001 - _not_now raises on what is none of its
            outcome = _not_now(error)
        if isinstance(outcome, KeyReused):
            outcome = KEY_REUSED
        count("http", outcome)
        return outcome

    async def take_batch(self, events: Sequence[Event | Refusal]) -> list[Stored | Refusal]:
        """Return the answer to each of ``events``, once those that are accepted are durable.

        They are written in their order, one group after another; once one could not be, none after it is.
        """
        prepared = await self.prepare_all(events)
        answers: dict[int, Stored | Refusal] = {n: p for n, p in enumerate(prepared) if isinstance(p, Refusal)}
        submissions = [(n, p) for n, p in enumerate(prepared) if isinstance(p, Submission)]
        try:
            answers |= await self._stored_before([(n, events[n]) for n in answers])
            for start in range(0, len(submissions), _TOGETHER):
                group = submissions[start : start + _TOGETHER]
                outcomes = await self.groups.submit_together([each for _, each in group])
                answers |= {n: _of_batch(outcome) for (n, _), outcome in zip(group, outcomes, strict=True)}
        except Exception as error:  # noqa: BLE001 - _not_now raises on what is none of its
            refusal = _not_now(error)
            answers |= {n: refusal for n, _ in submissions if n not in answers}
        told = [answers[n] for n in range(len(events))]
        for answer in told:
            count("http", answer)
        return told

    async def claim_batch(self, claim: Claim) -> Replayed | Refusal | None:
        """Take the idempotency key of a batch; return the answer that it got before, if it did."""
        try:
            async with driver_transaction(self.engine) as connection:
                earlier = await claim_batch(connection, claim, now=self.clock.now())
        except Exception as error:  # noqa: BLE001 - _not_now raises on what is none of its
            return _not_now(error)
        return KEY_REUSED if isinstance(earlier, KeyReused) else earlier

    async def answer_batch(self, claim: Claim, response: bytes) -> None:
        """Keep the answer of a batch. If that fails, its repetition finds its events by their own keys."""
        try:
            async with driver_transaction(self.engine) as connection:
                await answer_batch(connection, claim, response)
        except Exception as error:  # noqa: BLE001 - _not_now raises on what is none of its
            _not_now(error)

    async def prepare(self, event: Event | Refusal, claim: Claim | None = None) -> Submission | Refusal:
        """Plan and seal an event; nothing is written yet."""
        if isinstance(event, Refusal):
            return event
        now = self.clock.now()
        plan = self.rules.planner.plan(event, now)
        if plan == []:
            plan = (await self.rules.for_unknown()).plan(event, now)
        return plan if isinstance(plan, Refusal) else self._seal(event, plan, claim, now)

    async def prepare_all(self, events: Sequence[Event | Refusal]) -> list[Submission | Refusal]:
        """Plan and seal ``events``, and let others have their turn meanwhile."""
        prepared = []
        for n, event in enumerate(events, start=1):
            prepared.append(await self.prepare(event))
            if n % _TURN == 0:
                await asyncio.sleep(0)
        return prepared

    async def _earlier(self, event: Event | Refusal, claim: Claim | None) -> Outcome | None:
        """Return the answer of an earlier time: what was accepted once stays so, though it were refused today."""
        key = event.key if isinstance(event, Event) else None
        if claim is None and key is None:
            return None
        async with driver_transaction(self.engine) as connection:
            return await find_earlier(connection, claim, key)

    async def _stored_before(self, refused: Sequence[tuple[int, Event | Refusal]]) -> dict[int, Stored]:
        """Return the same for a batch: the answers to those of its ``refused`` events that were accepted before."""
        keys = {n: event.key for n, event in refused if isinstance(event, Event)}
        if not keys:
            return {}
        async with driver_transaction(self.engine) as connection:
            stored = await find_stored(connection, list(keys.values()))
        return {n: stored[key] for n, key in keys.items() if key in stored}

    def _seal(self, event: Event, plan: list[Planned], claim: Claim | None, now: datetime) -> Submission:
        event_id, *message_ids = self.births.new(now, 1 + len(plan))
        return Submission(
            key=event.key,
            event_id=event_id,
            source=event.source,
            source_id=event.id,
            type=event.type,
            profile=event.profile,
            received_at=now,
            personal=self.vault.seal(event.raw, event_id),
            messages=tuple(
                self._message(MessageId(id_), planned) for id_, planned in zip(message_ids, plan, strict=True)
            ),
            claim=claim,
            campaign=event.campaign,
        )

    def _message(self, message_id: MessageId, planned: Planned) -> NewMessage:
        rule, template = planned.bound.rule, planned.bound.template
        personal = Personal(planned.phone, planned.name, planned.variables)
        person = self.vault.person(planned.phone)
        route = choose_route(planned.routes, person) or planned.routes[0]
        return NewMessage(
            id=message_id,
            person_id=person,
            profile=planned.profile,
            rule=rule.name,
            rule_revision=rule.revision,
            template=template.code,
            template_revision=template.revision,
            lane=rule.send.lane,
            category=rule.category,
            fallback=planned.fallback,
            channel=template.channel,
            dealer=route.dealer,
            due_at=planned.due_at,
            deadline=planned.deadline,
            personal=seal_personal(self.vault, personal, message_id),
            why=_why(planned),
        )


def _why(planned: Planned) -> str:
    """Return the facts of a message to come, as JSON: where it comes from, and what it waits for."""
    if planned.due_at is None:
        return _why_at_once(planned.bound, planned.profile, planned.fallback)
    waits = [{"why": each.why, "until": each.until} for each in planned.postponed]
    facts = _facts(planned.bound, planned.profile, planned.fallback)
    return _encode({**facts, "due_at": planned.due_at, "why": planned.postponed[-1].why, "waits": waits}).decode()


@lru_cache(maxsize=1000)
def _why_at_once(bound: Bound, profile: str, fallback: str) -> str:
    """Return the same for a message that goes at once: one text for all of a rule's revision and profile."""
    return _encode(_facts(bound, profile, fallback)).decode()


def _facts(bound: Bound, profile: str, fallback: str) -> dict[str, Any]:
    rule, template = bound.rule, bound.template
    facts = {
        "event_type": rule.on,
        "rule": rule.name,
        "rule_revision": rule.revision,
        "template": template.code,
        "template_revision": template.revision,
        "profile": profile,
    }
    if rule.fallback != fallback:
        facts["no_fallback"] = "profile_without_text"
    return facts


_encode = msgspec.json.Encoder().encode

KEY_REUSED = Refusal(
    Kind.IDEMPOTENCY_KEY_REUSED,
    "Another body was sent under this Idempotency-Key before. Use a new key for a new request; "
    "to repeat one, send the very same bytes.",
)


def _not_now(error: Exception) -> Refusal:
    """Return the refusal for a database that is away or cannot keep up. Raises any other ``error``."""
    if isinstance(error, Overloaded):
        return unavailable("More events wait than can be kept up with. Send the same request again later.")
    if not is_away(error):
        raise error
    log.warning("ingest.database_away", error=type(error).__name__)
    return unavailable()


def _of_batch(outcome: Outcome | Exception) -> Stored | Refusal:
    if isinstance(outcome, Stored):
        return outcome
    log.error("ingest.not_stored", error=type(outcome).__name__)
    return Refusal(Kind.INTERNAL, "This is our mistake; it was logged. Send the same event again later.")


def count(via: str, outcome: Stored | Replayed | Refusal) -> None:
    """Count what became of an event."""
    match outcome:
        case Stored(duplicate=duplicate):
            word = "duplicate" if duplicate else "accepted"
        case Replayed():
            word = "replayed"
        case Refusal(kind=kind):
            word = "unavailable" if kind is Kind.UNAVAILABLE else "refused"
            telemetry.REFUSALS.labels(kind).inc()
    _counter(via, word).inc()


@cache
def _counter(via: str, word: str) -> Counter:
    return telemetry.EVENTS.labels(via, word)


def as_it_came(value: bytes) -> bytes:
    """Decode a record of ``bongsu.events.v1``: the event itself, judged when it is planned."""
    return value


@dataclass(frozen=True, slots=True)
class EventRecords:
    """Takes in what comes by Kafka, with the meaning that it has over HTTP; a refusal is a dead letter's reason."""

    intake: Intake
    writer: Writer
    stopping: asyncio.Event
    patience_seconds: float = 60.0
    """how long a database may be away before the process gives up and the records are read again"""

    async def __call__(self, received: Sequence[Received[bytes]]) -> list[Poison]:
        """Write the events of a batch in their order; return those that are refused. Repeating a batch is safe."""
        poison: list[Poison] = []
        group: list[Submission] = []
        records = []
        prepared_all = await self.intake.prepare_all([read_event(each.value) for each in received])
        for each, prepared in zip(received, prepared_all, strict=True):
            if isinstance(prepared, Refusal):
                poison.append(Poison(each.record, prepared.kind, _in_words(prepared)))
                count("kafka", prepared)
            else:
                group.append(prepared)
                records.append(each.record)
        if group:
            for record, outcome in zip(records, await self._write(group), strict=True):
                if isinstance(outcome, Stored):
                    count("kafka", outcome)
                elif isinstance(outcome, Exception):
                    poison.append(Poison(record, "not_stored", type(outcome).__name__))
        return poison

    async def _write(self, group: Sequence[Submission]) -> list[Outcome | Exception]:
        waited = 0.0
        while True:
            try:
                return await self.writer.apart(group)
            except Exception as error:
                if not is_away(error):
                    raise
                if waited >= self.patience_seconds or self.stopping.is_set():
                    raise
                log.warning("ingest.database_away", error=type(error).__name__, records=len(group))
            waited += 0.5
            await asyncio.sleep(0.5)


def _in_words(refusal: Refusal) -> str:
    return refusal.detail if refusal.pointer is None else f"{refusal.pointer}: {refusal.detail}"
