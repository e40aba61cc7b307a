"""The parts of ingest over a real Postgres, without a server: built in one line, with the shipped rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.apply import SHOP, apply_directory
from services.ingest.catalog import CurrentRules
from services.ingest.events import read_event
from services.ingest.handlers import Intake, Writer
from services.ingest.refusals import Refusal
from services.ingest.repository import Claim, Outcome, Replayed, Stored, Submission
from shared.config import Config
from shared.crypto import Vault, new_keys
from shared.groups import Groups

NOW = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0)  # noon in Seoul, in a partition that exists
VAULT = Vault.from_text(new_keys("test"))
CONFIG = Config.model_validate(
    {
        "dealers": {"solapi": {"kind": "solapi", "base_url": "http://127.0.0.1:1"}},
        "profiles": {
            "shop": {
                "name": "봉수상점",
                "routes": [{"dealer": "solapi", "sender_key": "KA01PF"}],
                "text": {"dealer": "solapi", "from": "0212345678"},
                "quiet_hours": {"informational": "21:00-08:00"},
            }
        },
    }
)


@dataclass
class HandClock:
    """A clock that stands until it is moved."""

    time: datetime = NOW

    def now(self) -> datetime:
        return self.time

    def stretch(self, span: timedelta) -> timedelta:
        return span


@dataclass
class Ingest:
    """Everything between a body and the ledger."""

    engine: AsyncEngine
    clock: HandClock
    intake: Intake
    writer: Writer

    async def take(self, raw: bytes, claim: Claim | None) -> Stored | Replayed | Refusal:
        """Take an event in as it is written."""
        return await self.intake.take(read_event(raw), claim)

    async def rows(self, statement: str, **given: object) -> list[Any]:
        """Return what the ledger holds."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(statement), given)).all())

    async def counts(self) -> dict[str, int]:
        """Return how many rows of each kind there are."""
        tables = ("events", "event_keys", "idempotency_keys", "messages", "transitions")
        return {name: (await self.rows(f"SELECT count(*) FROM {name}"))[0][0] for name in tables}


def make_event(id_: str = "e-1", **changed: object) -> bytes:
    """Return an event, an order that was paid unless changed."""
    document = {
        "specversion": "1.0",
        "id": id_,
        "source": "https://shop.example.kr",
        "type": "order.paid",
        "data": make_data(),
        **changed,
    }
    return msgspec.json.encode(document)


def make_data(phone: str = "010-1234-5678", **changed: object) -> dict[str, object]:
    """Return the data of an order."""
    order = {"id": "A-1", "product": "봉수 머그컵", "total_krw": 15000}
    return {"recipient": {"phone": phone, "name": "김봉수"}, "order": order, **changed}


async def make_ingest(engine: AsyncEngine) -> Ingest:
    """Return the parts of ingest over ``engine``, as one process has them, with the shipped rules loaded."""
    clock = HandClock()
    await apply_directory(engine, SHOP, now=clock.now())
    writer = Writer(engine, clock)
    rules = CurrentRules(engine, CONFIG.profiles)
    await rules.refresh()
    groups: Groups[Submission, Outcome] = Groups(writer.apart)
    return Ingest(engine, clock, Intake(engine, rules, groups, VAULT, clock), writer)
