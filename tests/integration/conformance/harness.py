"""One dealer's adapter, the engine and a real Postgres against the sandbox, by a clock that jumps to what is next."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.audit import Finding, audit, is_blind, read_ledger
from bongsu.sandbox import Profile, Sandbox, start_sandbox
from services.dispatcher.handlers import LetGo, QueueDue
from shared.catalog.repository import save_templates
from shared.catalog.template import Template
from shared.config import Config
from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.crypto import Vault
from shared.db.engine import copy
from shared.dealers.base import BadReceipt, Dealer
from shared.dealers.registry import build_dealers
from shared.ids import MessageId, PersonId, new_id
from shared.ledger.personal import Personal, seal_personal
from shared.sending.limits import Limits
from shared.sending.policy import DEFAULT
from shared.sending.receipts import Receipts, keep
from shared.sending.reconcile import Reconciler
from shared.sending.sender import Job, Sender
from tests.integration.sending.in_turn import send_in_turn

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
"""in Seoul"""
MESSAGES = 4
"""over each channel that the dealer has"""
LONGEST = timedelta(days=32)
"""after which everything must have ended"""


@dataclass
class JumpingClock:
    """Stands still until it is told to go on."""

    time: datetime = NOON

    def now(self) -> datetime:
        """Return the time."""
        return self.time

    def stretch(self, span: timedelta) -> timedelta:
        """Return ``span``: rules and world go at one speed."""
        return span


@dataclass
class Bench:
    """What a case runs on."""

    kind: str
    engine: AsyncEngine
    sandbox: Sandbox
    clock: JumpingClock
    sender: Sender
    numbers: dict[str, str] = field(default_factory=dict)

    @property
    def dealer(self) -> Dealer:
        """Return the adapter under test."""
        return self.sender.dealers[self.kind]

    @property
    def is_blind(self) -> bool:
        """Whether the dealer leaves doubts that nothing can resolve: its page in docs/dealers says when."""
        return is_blind(self.dealer.capabilities)

    async def insert(self, count: int = MESSAGES) -> list[MessageId]:
        """Queue messages, ``count`` over each channel, every one to another number."""
        rows: list[dict[str, Any]] = []
        for channel in sorted(self.dealer.capabilities.channels & {Channel.ALIMTALK, Channel.SMS, Channel.LMS}):
            for _ in range(count):
                now = self.clock.now() + timedelta(milliseconds=len(rows))
                message, number = MessageId(new_id(now)), f"010{len(rows) + 10_000_000}"
                self.numbers[number] = str(message)
                personal = Personal("+82" + number[1:], "김하나", {"name": "김하나"})
                rows.append(
                    {
                        "id": message,
                        "event_id": message,
                        "person_id": PersonId(new_id(now)),
                        "profile": "shop",
                        "rule": "paid",
                        "rule_revision": 1,
                        "template": "LONG" if channel is Channel.LMS else "PAID",
                        "template_revision": 1,
                        "lane": Lane.NORMAL,
                        "category": Category.INFORMATIONAL,
                        "fallback": "none",
                        "state": MessageState.QUEUED,
                        "seq": 2,
                        "channel": channel,
                        "dealer": self.kind,
                        "due_at": None,
                        "deadline": now + timedelta(minutes=75),
                        "personal": seal_personal(self.sender.vault, personal, message),
                    }
                )
        async with self.engine.begin() as connection:
            await copy(connection, "messages", list(rows[0]), [tuple(row.values()) for row in rows])
        return [row["id"] for row in rows]

    async def run(self) -> None:
        """Do what the services' loops do, whenever there is something to do, until nothing is left."""
        receipts, reconciler = Receipts(self.sender), Reconciler(self.sender)
        until = self.clock.now() + LONGEST
        while self.clock.now() <= until:
            self.sandbox.timers.run_due()
            await self.sandbox.reports_pushed()
            # Probes wait for the world, which this clock does not move.
            await self.execute("UPDATE stops SET probe_at = now() - interval '1 second' WHERE since IS NOT NULL")
            await LetGo(self.sender)()
            for lane in Lane:
                await QueueDue(self.engine, self.clock, lane)()
            await send_in_turn(self.sender, await self.jobs())
            await reconciler()
            await self.pull()
            while await receipts.apply():
                pass
            following = await self.next_moment()
            if following is None:
                return
            self.clock.time = max(following, self.clock.time + timedelta(milliseconds=1))
        raise AssertionError("it never ended")

    async def pull(self) -> None:
        """Fetch reports as the dispatcher does, where the dealer has a feed."""
        while self.dealer.capabilities.receipts_pulled and (pulled := await self.dealer.pull()) is not None:
            async with self.engine.begin() as connection:
                await keep(connection, self.sender.vault, self.kind, "pull", pulled.reports, now=self.clock.now())
            await self.dealer.acknowledge(pulled)

    async def next_moment(self) -> datetime | None:
        """Return when something is next to be done here or at the dealer; None for never."""
        async with self.engine.connect() as connection:
            here = await connection.scalar(
                text("""
                    SELECT least((SELECT min(due_at) FROM messages), (SELECT min(check_at) FROM attempts),
                                 (SELECT min(apply_at) FROM receipts),
                                 (SELECT now() - interval '99 years' FROM messages WHERE state = 'queued' LIMIT 1))
                """)
            )
        there = self.sandbox.timers.next_at()
        moments = [moment for moment in (here, there and datetime.fromtimestamp(there, UTC)) if moment]
        return min(moments) if moments else None

    async def jobs(self) -> list[Job]:
        """Return what is queued."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT id, seq, dealer, channel, lane FROM messages WHERE state = 'queued' ORDER BY channel, id")
            )
            return [Job(MessageId(r.id), r.seq, r.dealer, Channel(r.channel), Lane(r.lane)) for r in rows]

    async def execute(self, statement: str) -> None:
        """Run ``statement`` and commit."""
        async with self.engine.begin() as connection:
            await connection.execute(text(statement))

    async def doubts(self) -> int:
        """Return how many attempts ended as unknown."""
        async with self.engine.connect() as connection:
            counted = "SELECT count(*) FROM attempts WHERE reason IN ('delivery_uncertain', 'result_timeout')"
            return int(await connection.scalar(text(counted)) or 0)

    async def findings(self) -> list[Finding]:
        """Return every broken promise."""
        async with self.engine.connect() as connection:
            ledger = await read_ledger(connection)
        rows = [sent.as_row() for sent in self.sandbox.truth()]
        blind = {self.kind} if self.is_blind else set[str]()
        return audit(ledger, rows, self.numbers.values(), numbers=self.numbers, blind=blind)


def config_for(kind: str, base_url: str, *, timeout_seconds: float) -> Config:
    """Return a configuration with one dealer and one profile, without hours of rest."""
    dialect = import_module(f"bongsu.sandbox.{kind}.dialect")
    dealer = {
        "kind": kind,
        "base_url": base_url,
        "credentials": dialect.credentials(),
        "limits": {"messages_per_second": 1000, "batch": 100},
        "prices": {"alimtalk": 13, "sms": 18, "lms": 45},
        "timeout_seconds": timeout_seconds,
    }
    profile: dict[str, Any] = {
        "name": "봉수상점",
        "routes": [{"dealer": kind, "sender_key": "@sandbox" if kind == "sens" else "K" * 40}],
        "text": {"dealer": kind, "from": "0212345678"},
    }
    return Config.model_validate({"dealers": {kind: dealer}, "profiles": {"shop": profile}})


@asynccontextmanager
async def bench(
    kind: str,
    engine: AsyncEngine,
    profile: Mapping[str, Any],
    *,
    base_url: str | None = None,
    timeout_seconds: float = 0.5,
) -> AsyncIterator[Bench]:
    """Wire everything for one case; ``base_url`` in place of the sandbox's own."""
    clock = JumpingClock()
    async with AsyncExitStack() as stack:
        parts = {"accept_any_template": True, "accept_any_sender": True, "seed": 1, **profile}
        sandbox = await stack.enter_async_context(start_sandbox(Profile.model_validate(parts), clock=clock))
        address = base_url or sandbox.url_of(kind)
        config = config_for(
            kind, address.replace("{port}", sandbox.origin.rsplit(":", 1)[1]), timeout_seconds=timeout_seconds
        )
        dealers = {kind: _dealer(config, kind)}
        stack.push_async_callback(dealers[kind].close)
        key = base64.b64encode(bytes(32)).decode()
        vault = Vault.from_text(f"person:{key},k1:{key}")
        limits = Limits(engine, {kind: config.dealers[kind].limits})
        sender = Sender(engine, dealers, limits, config, vault, clock, DEFAULT, lambda: 0.5)
        await _templates(engine)
        await _receiver(stack, sender, sandbox, kind)
        yield Bench(kind, engine, sandbox, clock, sender)


def _dealer(config: Config, kind: str) -> Dealer:
    """Build one adapter; that it may lack a way to Kakao or to texts is no matter here."""
    return build_dealers(config.model_copy(update={"profiles": {}}))[kind]


async def _templates(engine: AsyncEngine) -> None:
    templates = [
        Template.model_validate({"code": "PAID", "text": "#{name}님 결제 완료", "text_message": "#{name}님 결제 완료"}),
        Template.model_validate({"code": "LONG", "text": "#{name}님", "text_message": "#{name}님 " + "가" * 60}),
    ]
    async with engine.begin() as connection:
        await save_templates(connection, templates, now=NOON)


async def _receiver(stack: AsyncExitStack, sender: Sender, sandbox: Sandbox, kind: str) -> None:
    """Take what the dealer pushes, as the dispatcher's endpoint does."""
    webhooks = sandbox.dialects[kind].webhooks
    if webhooks is None:
        return

    async def take(request: web.Request) -> web.Response:
        dealer = sender.dealers[kind]
        try:
            reports = dealer.read_receipts(await request.read(), {k.lower(): v for k, v in request.headers.items()})
        except BadReceipt as error:
            return web.Response(status=error.status, text=error.detail)
        async with sender.engine.begin() as connection:
            await keep(connection, sender.vault, kind, "push", reports, now=sender.clock.now())
        return web.Response(body=dealer.answer_receipts(reports), content_type="application/json")

    app = web.Application()
    app.router.add_post("/receipts", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    webhooks.url = f"http://{host}:{port}/receipts"


async def a_moment() -> None:
    """Let the world go on for a little, where a dealer's index lags by its clock."""
    await asyncio.sleep(0.05)
