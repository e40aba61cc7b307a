"""Fetches receipts from dealers that keep them until they are asked: pull, store, acknowledge, in this order.

What is pulled is committed before the dealer is told that it may forget it. A process that dies between any two of the
three leaves the batch with the dealer, which gives it again; and a receipt that is stored twice is applied once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.bell import Bell
from shared.dealers.base import Dealer, Report
from shared.sending import telemetry
from shared.sending.receipts import keep
from shared.sending.sender import Sender

_TRY = text("SELECT pg_try_advisory_lock(hashtextextended('bongsu.pull/' || CAST(:dealer AS text), 0))")
_LEAVE = text("SELECT pg_advisory_unlock(hashtextextended('bongsu.pull/' || CAST(:dealer AS text), 0))")


@dataclass(slots=True)
class Pull:
    """Pulls from one dealer; one replica at a time does, since a second one would be given the same."""

    sender: Sender
    dealer: Dealer
    bell: Bell
    """rings when receipts were stored"""
    stored: frozenset[Report] = field(default_factory=frozenset)
    """what the last batch was: given again when its acknowledgement was lost, and no reason to store it again"""

    async def __call__(self) -> int:
        """Store what the dealer gives now; return how many reports of it are new."""
        async with _alone(self.sender.engine, self.dealer.name) as alone:
            if not alone or (pulled := await self.dealer.pull()) is None:
                return 0
            new = [report for report in pulled.reports if report not in self.stored]
            if new:
                sender = self.sender
                async with sender.engine.begin() as connection:
                    await keep(connection, sender.vault, self.dealer.name, "pull", new, now=sender.clock.now())
                self.bell.ring()
            self.stored = frozenset(pulled.reports)
            await self.dealer.acknowledge(pulled)
        telemetry.PULLED.labels(self.dealer.name).inc(len(new))
        return len(new)


@asynccontextmanager
async def _alone(engine: AsyncEngine, dealer: str) -> AsyncIterator[bool]:
    """Give whether no other process pulls from ``dealer``, and keep it so.

    By a session's lock, outside of any transaction: a dealer may take longer than a transaction may stand idle.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        if not (await connection.execute(_TRY, {"dealer": dealer})).scalar_one():
            yield False
            return
        try:
            yield True
            await connection.execute(_LEAVE, {"dealer": dealer})
        except BaseException:
            await connection.invalidate()  # the session ends, and the lock with it
            raise
