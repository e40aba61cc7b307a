"""What ingest does with an event, whoever brings it: read, plan, seal, write with others, then answer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import telemetry
from services.ingest.catalog import CurrentRules
from services.ingest.domain import Planned
from services.ingest.events import Event, read_event
from services.ingest.groups import Groups, Overloaded
from services.ingest.refusals import Kind, Refusal, unavailable
from services.ingest.repository import (
    Claim,
    KeyReused,
    NewMessage,
    Outcome,
    Replayed,
    Stored,
    Submission,
    find_earlier,
    write,
)
from shared.bus import Poison, Received
from shared.clock import Clock
from shared.crypto import Vault
from shared.db.away import is_away, wants_again
from shared.ids import MessageId, new_id
from shared.ledger.personal import Personal, seal_personal
from shared.routes import choose_route

_TRIES = 3

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
                async with self.engine.begin() as connection:
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
    for each, outcome in zip(group, outcomes, strict=True):
        if isinstance(outcome, Stored) and not outcome.duplicate:
            if not each.messages:
                telemetry.WITHOUT_RULE.inc()
            for message in each.messages:
                telemetry.MESSAGES.labels(message.lane, message.state).inc()


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes events in."""

    engine: AsyncEngine
    rules: CurrentRules
    groups: Groups[Submission, Outcome]
    vault: Vault
    clock: Clock

    async def take(self, raw: bytes, claim: Claim | None) -> Stored | Replayed | Refusal:
        """Return the answer to an event, once it is durable."""
        prepared = await self.prepare(raw, claim)
        try:
            if isinstance(prepared, Refusal):
                outcome: Outcome | Refusal = await self._earlier(raw, claim) or prepared
            else:
                outcome = await self.groups.submit(prepared)
        except Overloaded:
            outcome = unavailable("More events wait than can be kept up with. Send the same request again later.")
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("ingest.database_away", error=type(error).__name__)
            outcome = unavailable()
        if isinstance(outcome, KeyReused):
            outcome = Refusal(
                Kind.IDEMPOTENCY_KEY_REUSED,
                "Another body was sent under this Idempotency-Key before. Use a new key for a new request; "
                "to repeat one, send the very same bytes.",
            )
        count("http", outcome)
        return outcome

    async def prepare(self, raw: bytes, claim: Claim | None) -> Submission | Refusal:
        """Read and plan an event; nothing is written yet."""
        event = read_event(raw)
        if isinstance(event, Refusal):
            return event
        now = self.clock.now()
        plan = self.rules.planner.plan(event, now)
        if plan == []:
            plan = (await self.rules.for_unknown()).plan(event, now)
        return plan if isinstance(plan, Refusal) else self._seal(event, plan, claim, now)

    async def _earlier(self, raw: bytes, claim: Claim | None) -> Outcome | None:
        """Return the answer of an earlier time: what was accepted once stays so, though it were refused today."""
        event = read_event(raw)
        key = event.key if isinstance(event, Event) else None
        if claim is None and key is None:
            return None
        async with self.engine.connect() as connection:
            return await find_earlier(connection, claim, key)

    def _seal(self, event: Event, plan: list[Planned], claim: Claim | None, now: datetime) -> Submission:
        event_id = new_id(now)
        return Submission(
            key=event.key,
            event_id=event_id,
            source=event.source,
            source_id=event.id,
            type=event.type,
            profile=event.profile,
            received_at=now,
            personal=self.vault.seal(event.raw, event_id),
            messages=tuple(self._message(event, planned, now) for planned in plan),
            claim=claim,
        )

    def _message(self, event: Event, planned: Planned, now: datetime) -> NewMessage:
        rule, template = planned.bound.rule, planned.bound.template
        message_id = MessageId(new_id(now))
        personal = Personal(planned.phone, planned.name, planned.variables)
        why: dict[str, Any] = {
            "event_type": event.type,
            "rule": rule.name,
            "rule_revision": rule.revision,
            "template": template.code,
            "template_revision": template.revision,
            "profile": planned.profile,
        }
        if rule.fallback != planned.fallback:
            why["no_fallback"] = "profile_without_text"
        if planned.due_at is not None:
            waits = [{"why": each.why, "until": each.until} for each in planned.postponed]
            why |= {"due_at": planned.due_at, "why": planned.postponed[-1].why, "waits": waits}
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
            why=msgspec.json.encode(why).decode(),
        )


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
    telemetry.EVENTS.labels(via, word).inc()


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
        for each in received:
            prepared = await self.intake.prepare(each.value, None)
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
