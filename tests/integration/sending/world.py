"""Messages in a real ledger, a dealer that does what a test tells it to, and the services' parts over both."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalog.repository import save_templates
from shared.catalog.template import Template
from shared.clock import Clock, SystemClock
from shared.config import Config
from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.crypto import Vault
from shared.db.engine import copy
from shared.dealers.base import (
    Accepted,
    AlreadyTaken,
    Ambiguous,
    Capabilities,
    Dealer,
    LookupMeans,
    LookupResult,
    NotFound,
    NotTaken,
    NotTakenForSure,
    OpenAttempt,
    Outgoing,
    Push,
    Report,
    SendResult,
    StillUnknown,
)
from shared.ids import MessageId, PersonId, new_id
from shared.ledger.personal import Personal, seal_personal
from shared.sending.lanes import Lanes
from shared.sending.limits import Limits
from shared.sending.policy import DEFAULT, RetryPolicy
from shared.sending.receipts import Receipts, keep
from shared.sending.reconcile import Reconciler
from shared.sending.sender import Job, Sender
from tests.integration.sending.in_turn import send_in_turn


def _noon() -> datetime:
    """Return today's noon in Seoul: partitions are there, nobody rests."""
    return datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0)


@dataclass
class HandClock:
    """A clock that a test moves."""

    time: datetime = field(default_factory=_noon)
    speed: int = 1

    def now(self) -> datetime:
        return self.time

    def stretch(self, span: timedelta) -> timedelta:
        return span * self.speed

    def pass_(self, **span: float) -> None:
        self.time += timedelta(**span)


class Crash(Exception):
    """The process dies here."""


def crash() -> None:
    """Die."""
    raise Crash


Step = Callable[[], None]
Answer = Callable[[Outgoing], SendResult | None]


def accept(_: Outgoing) -> SendResult | None:
    """Take it: the default."""
    return None


@dataclass
class FakeDealer(Dealer):
    """A two-phase dealer with its own truth. ``answer`` scripts each message, ``before`` and ``after`` each step.

    What ``given`` holds has reached a person, whatever was answered.
    """

    name: str = "solapi"
    lookup_means: LookupMeans = LookupMeans.TWO_PHASE
    answer: Answer = accept
    before: dict[str, Step] = field(default_factory=dict)
    after: dict[str, Step] = field(default_factory=dict)
    open_answer: NotTaken | None = None
    lose: Callable[[Outgoing], bool | None] = lambda _: None
    """True: taken, and the answer is lost; False: not taken, and the answer is lost"""
    given: list[tuple[str, Channel, str]] = field(default_factory=list)
    """number, channel, request key"""
    ids: dict[str, str] = field(default_factory=dict)
    """request key -> our id of it"""
    outcomes: dict[str, bool] = field(default_factory=dict)
    """request key -> whether it was delivered, once that is known"""
    handles: dict[str, str] = field(default_factory=dict)
    """open, sent or closed"""
    calls: list[int] = field(default_factory=list)
    """sizes of the batches sent"""
    lookups: list[list[OpenAttempt]] = field(default_factory=list)
    lookup_answer: Callable[[OpenAttempt], LookupResult | None] = lambda _: None
    polled: bool = True
    gate: asyncio.Event | None = None
    """a call waits for it, after ``before`` and ahead of anything"""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    """set once a call is under way"""

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # tests change what it can do
        return Capabilities(
            channels=frozenset({Channel.ALIMTALK, Channel.SMS, Channel.LMS}),
            max_batch=1000,
            lookup=self.lookup_means,
            lookup_batch=200,
            not_found_after=timedelta(minutes=2),
            push=Push.TOKEN,
            receipts_polled=self.polled,
            receipt_expected_within=dict.fromkeys((Channel.ALIMTALK, Channel.SMS, Channel.LMS), timedelta(minutes=10)),
            replay_within=timedelta(hours=6),
            receipt_deadline=dict.fromkeys((Channel.ALIMTALK, Channel.SMS, Channel.LMS), timedelta(hours=24)),
        )

    def _step(self, steps: dict[str, Step], name: str) -> None:
        if step := steps.get(name):
            step()

    async def open(self) -> str | NotTaken:
        self._step(self.before, "open")
        if self.open_answer is not None:
            return self.open_answer
        handle = f"G{len(self.handles) + 1}"
        self.handles[handle] = "open"
        self._step(self.after, "open")
        return handle

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:
        self._step(self.before, "send")
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        self.calls.append(len(batch))
        if self.lookup_means is LookupMeans.TWO_PHASE:
            assert handle is not None
            if self.handles[handle] != "open":
                return [NotTaken("dealer_unavailable", detail="the group is closed")] * len(batch)
            self.handles[handle] = "sent"
        results = [self._take(outgoing) for outgoing in batch]
        self._step(self.after, "send")
        return results

    def _take(self, outgoing: Outgoing) -> SendResult:
        lost = self.lose(outgoing)
        if lost is False:
            return Ambiguous("connection lost")
        if self.lookup_means is LookupMeans.REPLAY and outgoing.request_key in self.ids:
            return AlreadyTaken()
        answer = self.answer(outgoing)
        if answer is not None:
            return answer
        self.given.append((outgoing.to, outgoing.channel, outgoing.request_key))
        self.ids[outgoing.request_key] = f"M-{outgoing.request_key}"
        return Ambiguous("timeout") if lost else Accepted(self.ids[outgoing.request_key])

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        self._step(self.before, "lookup")
        self.lookups.append(list(attempts))
        found = [self._look(attempt) for attempt in attempts]
        self._step(self.after, "lookup")
        return found

    def _look(self, attempt: OpenAttempt) -> LookupResult:
        if (scripted := self.lookup_answer(attempt)) is not None:
            return scripted
        if self.lookup_means is LookupMeans.TWO_PHASE and not (attempt.handle or attempt.dealer_message_id):
            return NotTakenForSure("nothing was opened for it")  # there is nothing else to find it by
        if attempt.request_key in self.ids:
            return self.report(attempt.request_key)
        match self.lookup_means:
            case LookupMeans.TWO_PHASE:
                if attempt.handle is not None and self.handles.get(attempt.handle) == "open":
                    self.handles[attempt.handle] = "closed"
                return NotTakenForSure("closed")
            case LookupMeans.NONE:
                return StillUnknown("cannot be asked")
            case _:
                return NotFound("never heard of it")

    def unconfirmed(self, key: str) -> Report:
        """Return Kakao's "sent, not confirmed" of ``key``."""
        return replace(self.report(key), delivered=None, code="3005", reason="delivery_uncertain")

    def report(self, key: str, *, by_id_alone: bool = False) -> Report:
        """Return what is known of ``key``, as a receipt says it."""
        delivered = self.outcomes.get(key)
        return Report(
            request_key=None if by_id_alone else key,
            dealer_message_id=self.ids[key],
            delivered=delivered,
            code={True: "4000", False: "3104", None: "3000"}[delivered],
            reason="not_kakao_user" if delivered is False else None,
            raw=b"{}",
        )

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        del headers
        return msgspec.json.decode(body, type=list[Report])

    async def balance_krw(self) -> int | None:
        return None

    async def close(self) -> None:
        pass


@dataclass
class World:
    """Everything that sends, over one database; ``replica`` makes another of it."""

    engine: AsyncEngine
    dealer: FakeDealer
    config: Config
    vault: Vault
    clock: HandClock
    policy: RetryPolicy
    sender: Sender
    receipts: Receipts
    reconciler: Reconciler
    lanes: Lanes
    """of every channel"""
    world_clock: Clock = field(default_factory=SystemClock)
    """what dealers' troubles last by"""

    def replica(self, engine: AsyncEngine | None = None) -> World:
        """Return the same with nothing in its memory."""
        return build(
            engine or self.engine, self.dealer, self.config, self.vault, self.clock, world_clock=self.world_clock
        )

    def configured(self, config: Config) -> World:
        """Return the same with another configuration."""
        return build(self.engine, self.dealer, config, self.vault, self.clock, world_clock=self.world_clock)

    async def send(self, jobs: Sequence[Job]) -> None:
        """Make the attempts that ``jobs`` ask for, one call after the other."""
        await send_in_turn(self.sender, jobs)

    async def push(self, *keys: str, by_id_alone: bool = False) -> None:
        """Let the dealer push receipts for ``keys``."""
        await self.tell(*[self.dealer.report(key, by_id_alone=by_id_alone) for key in keys])

    async def tell(self, *reports: Report) -> None:
        """Let the dealer push ``reports``."""
        async with self.engine.begin() as connection:
            await keep(connection, self.vault, self.dealer.name, "push", reports, now=self.clock.now())

    async def search_in_vain(self) -> None:
        """Let half a day pass in which the dealer's search, asked several times, finds nothing."""
        self.dealer.lookup_answer = lambda _: NotFound("never heard of it")
        for _ in range(6):
            self.clock.pass_(hours=2)
            await self.reconciler()
        assert len(self.dealer.lookups) > 2

    async def rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        """Return what ``query`` finds."""
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(query), parameters)).mappings()]

    async def execute(self, statement: str, **parameters: object) -> None:
        """Run ``statement`` and commit."""
        async with self.engine.begin() as connection:
            await connection.execute(text(statement), parameters)

    async def message(self, message: MessageId) -> dict[str, Any]:
        """Return the row of ``message``."""
        [row] = await self.rows("SELECT * FROM messages WHERE id = :id", id=message)
        return row

    async def attempts(self, message: MessageId) -> list[dict[str, Any]]:
        """Return its attempts."""
        return await self.rows("SELECT * FROM attempts WHERE message_id = :id ORDER BY n", id=message)

    async def timeline(self, message: MessageId) -> list[dict[str, Any]]:
        """Return its transitions."""
        return await self.rows("SELECT * FROM transitions WHERE message_id = :id ORDER BY seq", id=message)

    async def jobs(self) -> list[Job]:
        """Return the jobs of all messages that are queued now, as the bus would bring them."""
        rows = await self.rows("SELECT * FROM messages WHERE state = 'queued' ORDER BY id")
        return [
            Job(MessageId(r["id"]), r["seq"], r["dealer"], Channel(r["channel"]), Lane(r["lane"]), r["profile"])
            for r in rows
        ]


def build(
    engine: AsyncEngine,
    dealer: FakeDealer,
    config: Config,
    vault: Vault,
    clock: HandClock,
    *others: FakeDealer,
    world_clock: Clock | None = None,
) -> World:
    """Wire the parts as the dispatcher does."""
    dealers: dict[str, Dealer] = {each.name: each for each in (dealer, *others)}
    limits = Limits(engine, {name: each.limits for name, each in config.dealers.items()})
    world_clock = world_clock or SystemClock()
    sender = Sender(engine, dealers, limits, config, vault, clock, DEFAULT, lambda: 0.5, world_clock)
    return World(
        engine=engine,
        dealer=dealer,
        config=config,
        vault=vault,
        clock=clock,
        policy=DEFAULT,
        sender=sender,
        receipts=Receipts(sender),
        reconciler=Reconciler(sender),
        lanes=Lanes(sender, frozenset(Channel)),
        world_clock=world_clock,
    )


class Insert(Protocol):
    """Puts messages into the ledger, queued unless told otherwise; returns their ids, in order."""

    async def __call__(self, count: int = 1, *, name: str = "김하나", **changes: object) -> list[MessageId]: ...


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def dealer() -> FakeDealer:
    return FakeDealer()


@pytest.fixture
def vault() -> Vault:
    key = base64.b64encode(bytes(32)).decode()
    return Vault.from_text(f"person:{key},k1:{key}")


@pytest.fixture
def config() -> Config:
    return Config.model_validate(
        {
            "dealers": {
                "solapi": {
                    "kind": "solapi",
                    "base_url": "http://127.0.0.1:9",
                    "limits": {"messages_per_second": 10_000, "batch": 500},
                    "prices": {"alimtalk": 13, "sms": 18, "lms": 45},
                }
            },
            "profiles": {
                "shop": {
                    "name": "봉수상점",
                    "routes": [{"dealer": "solapi", "sender_key": "KEY"}],
                    "text": {"dealer": "solapi", "from": "0212345678"},
                    "quiet_hours": {"informational": "21:00-08:00"},
                },
                "textless": {"name": "봉수상점", "routes": [{"dealer": "solapi", "sender_key": "KEY"}]},
            },
        }
    )


@pytest.fixture
async def world(database: AsyncEngine, dealer: FakeDealer, config: Config, vault: Vault, clock: HandClock) -> World:
    """All that sends, with the templates ``PAID`` (with an SMS) and ``MUTE`` (without one)."""
    templates = [
        Template.model_validate({"code": "PAID", "text": "#{name}님 결제 완료", "text_message": "#{name}님 결제 완료"}),
        Template.model_validate({"code": "LONG", "text": "#{name}님", "text_message": "#{name}님 " + "가" * 60}),
        Template.model_validate({"code": "MUTE", "text": "#{name}님 결제 완료"}),
    ]
    async with database.begin() as connection:
        await save_templates(connection, templates, now=clock.now())
    return build(database, dealer, config, vault, clock)


@pytest.fixture
def insert(world: World) -> Insert:
    """What puts messages into the ledger."""

    async def insert_(count: int = 1, *, name: str = "김하나", **changes: object) -> list[MessageId]:
        now = world.clock.now()
        ids = [MessageId(new_id(now + timedelta(milliseconds=n))) for n in range(count)]
        rows: list[dict[str, object]] = []
        for n, message in enumerate(ids):
            personal = Personal(f"+8210{n:08}", name, {"name": name})
            row: dict[str, object] = {
                "id": message,
                "event_id": message,
                "person_id": PersonId(new_id(now)),
                "profile": "shop",
                "rule": "paid",
                "rule_revision": 1,
                "template": "PAID",
                "template_revision": 1,
                "lane": Lane.NORMAL,
                "category": Category.INFORMATIONAL,
                "fallback": "text",
                "state": MessageState.QUEUED,
                "seq": 2,
                "channel": Channel.ALIMTALK,
                "dealer": "solapi",
                "due_at": None,
                "deadline": now + timedelta(hours=23),
                "personal": seal_personal(world.vault, personal, message),
            }
            rows.append({**row, **changes})
        async with world.engine.begin() as connection:
            await copy(connection, "messages", list(rows[0]), [tuple(row.values()) for row in rows])
        return ids

    return insert_
