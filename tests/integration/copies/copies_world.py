"""Ingest, the sender and the sync over one database, against the sandbox's NHN, Luna and Bizgo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.sandbox import Profile, Sandbox, start_sandbox
from services.dispatcher.handlers import LetGo, LetGoApproved, QueueDue
from services.ingest.catalog import CurrentRules
from services.ingest.events import read_event
from services.ingest.handlers import Intake, Writer
from services.ingest.refusals import Refusal
from services.ingest.repository import Answer, Outcome, Stored, Submission
from shared.catalog.repository import save_rules, save_templates
from shared.catalog.rule import Rule
from shared.catalog.template import Template
from shared.config import Config
from shared.contracts.states import Channel, Lane
from shared.copies.rules import Copy, CopyKey
from shared.copies.store import load_copies
from shared.copies.sync import TemplateSync, template_apis
from shared.dealers.base import Dealer
from shared.dealers.registry import build_dealers
from shared.dealers.templates import TemplateApi, TemplateDraft
from shared.groups import Groups
from shared.ids import MessageId
from shared.sending.limits import Limits
from shared.sending.policy import DEFAULT
from shared.sending.sender import Job, Sender
from tests.integration.ingest.parts import VAULT, HandClock
from tests.integration.sending.in_turn import send_in_turn

DEALERS = ("nhn", "luna", "bizgo")
TEXT = "#{이름}님, 주문이 결제되었습니다."
PAID = Template.model_validate({"code": "PAID", "text": TEXT})
UNHURRIED = {"bizgo": {"options": {"lookups_per_second": 0}}}
DRAFT = TemplateDraft("PAID", "결제 완료", TEXT)


def sender_key(kind: str) -> str:
    """Return the channel that the sandbox's dealer knows."""
    key: str = getattr(import_module(f"bongsu.sandbox.{kind}.dialect"), "DEFAULT_SENDER_KEY", "0" * 40)
    return key


def settings_at(sandbox: Sandbox, dealers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a configuration with a profile whose routes are these dealers, in order."""
    accounts = {
        kind: {
            "kind": kind,
            "base_url": sandbox.url_of(kind),
            "credentials": import_module(f"bongsu.sandbox.{kind}.dialect").credentials(),
            **changed,
        }
        for kind, changed in dealers.items()
    }
    routes = [{"dealer": kind, "sender_key": sender_key(kind)} for kind in dealers]
    return {"dealers": accounts, "profiles": {"shop": {"name": "봉수상점", "routes": routes}}}


@dataclass
class World:
    """Everything between an event, a dealer and its inspector."""

    engine: AsyncEngine
    sandbox: Sandbox
    config: Config
    dealers: dict[str, Dealer]
    clock: HandClock
    sync: TemplateSync
    intake: Intake
    sender: Sender
    sent: int = 0

    def api(self, dealer: str) -> TemplateApi:
        """Return a dealer's template API."""
        found = self.dealers[dealer].templates
        assert found is not None
        return found

    async def register(self, dealer: str) -> None:
        """Register the template and ask for its inspection."""
        await self.api(dealer).register(sender_key(dealer), DRAFT)
        await self.api(dealer).submit(sender_key(dealer), "PAID", "")

    def inspect(self, dealer: str, status: str, comment: str = "") -> None:
        """Do as the dealer's inspector."""
        dialect: Any = self.sandbox.dialects[dealer]
        dialect.inspect("PAID", status, comment)

    async def copy(self, dealer: str) -> Copy:
        """Return what is kept of a dealer's copy."""
        async with self.engine.connect() as connection:
            return (await load_copies(connection))[CopyKey(dealer, sender_key(dealer), "PAID")]

    async def load_rule(self, **changed: object) -> None:
        """Make the template and a rule that sends it the active ones."""
        send = {"template": "PAID", "variables": {"이름": "data.recipient.name"}}
        rule = Rule.model_validate({"name": "paid", "on": "order.paid", "send": send, **changed})
        async with self.engine.begin() as connection:
            await save_templates(connection, [PAID], now=self.clock.now())
            await save_rules(connection, [rule], now=self.clock.now())
        await self.intake.rules.refresh()

    async def look(self) -> None:
        """Ask the dealers, and let ingest notice."""
        found = await self.sync.now()
        assert not found.failures
        await self.intake.rules.refresh()

    async def order(self) -> MessageId | Refusal:
        """Take in an order; return its message."""
        self.sent += 1
        event = {
            "specversion": "1.0",
            "id": f"e-{self.sent}",
            "source": "/shop",
            "type": "order.paid",
            "data": {"recipient": {"phone": "010-1234-5678", "name": "김봉수"}},
        }
        outcome = await self.intake.take(read_event(msgspec.json.encode(event)), None)
        if isinstance(outcome, Refusal):
            return outcome
        assert isinstance(outcome, Stored)
        [made] = msgspec.json.decode(outcome.response, type=Answer).messages
        return MessageId(made.id)

    async def send(self) -> None:
        """Let go what may go, and send what is queued, as the dispatcher's loops do."""
        await LetGo(self.sender)()
        await LetGoApproved(self.sender)()
        await QueueDue(self.engine, self.clock, Lane.NORMAL)()
        rows = await self.rows("SELECT id, seq, dealer, channel, lane FROM messages WHERE state = 'queued' ORDER BY id")
        await send_in_turn(
            self.sender, [Job(MessageId(r.id), r.seq, r.dealer, Channel(r.channel), Lane(r.lane)) for r in rows]
        )

    async def message(self, message: MessageId | Refusal) -> tuple[str, str, str | None]:
        """Return a message's state, dealer and what holds it."""
        [row] = await self.rows("SELECT state, dealer, held_by FROM messages WHERE id = :id", id=message)
        return row.state, row.dealer, row.held_by

    async def rows(self, statement: str, **given: object) -> list[Any]:
        """Return what the database holds."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(statement), given)).all())

    async def execute(self, statement: str, **given: object) -> None:
        """Run ``statement`` and commit."""
        async with self.engine.begin() as connection:
            await connection.execute(text(statement), given)


@asynccontextmanager
async def world_of(engine: AsyncEngine, dealers: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[World]:
    """Run a sandbox that takes approved templates only, and all that uses it."""
    async with start_sandbox(Profile.model_validate({"dealers": UNHURRIED})) as sandbox:
        config = Config.model_validate(settings_at(sandbox, dealers))
        built = build_dealers(config)
        clock = HandClock()
        limits = Limits(engine, {name: each.limits for name, each in config.dealers.items()})
        rules = CurrentRules(engine, config.profiles)
        writer = Writer(engine, clock)
        groups: Groups[Submission, Outcome] = Groups(writer.apart)
        try:
            world = World(
                engine=engine,
                sandbox=sandbox,
                config=config,
                dealers=built,
                clock=clock,
                sync=TemplateSync(engine, template_apis(config, built), config, clock, pause_seconds=0),
                intake=Intake(engine, rules, groups, VAULT, clock),
                sender=Sender(engine, built, limits, config, VAULT, clock, DEFAULT, lambda: 0.5),
            )
            await world.load_rule()
            yield world
        finally:
            await groups.close()
            for dealer in built.values():
                await dealer.close()
