"""What the dispatcher does: send what a lane brings, queue what is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher import telemetry
from services.dispatcher.repository import due_messages, forgotten_messages, is_alone, next_due
from shared.bus import Received
from shared.clock import Clock
from shared.contracts.jobs import SendJob
from shared.contracts.states import Lane, MessageState
from shared.copies.store import release_approved
from shared.ledger.repository import load, queue, save
from shared.sending.cancellations import AGAIN_AFTER, next_page, turn_page
from shared.sending.lanes import Lanes
from shared.sending.sender import Job, Sender
from shared.sending.stop_store import load_stops, release
from shared.sending.telemetry import CANCELLED

GRACE = timedelta(minutes=10)
"""world time"""
CANCEL_PAGE = 1000
"""as below, for a page of which all is cancelled"""
DUE_BATCH = 2000
"""so few that their transaction, which holds back all readers of the ledger, takes some ten milliseconds"""
DUE_PAUSE, DUE_REST = 0.1, 2.0
"""seconds between two looks at what is due that found nothing: at least, and at most (the clock may have been set)"""


@dataclass(frozen=True, slots=True)
class SendJobs:
    """Takes in the jobs of one lane."""

    lanes: Lanes
    lane: Lane

    async def __call__(self, received: Sequence[Received[SendJob]]) -> None:
        """Begin or put away what a batch of jobs asks for; for jobs read again, do nothing."""
        jobs = [
            Job(job.message_id, job.seq, job.dealer, job.channel, self.lane, job.profile)
            for job in (each.value for each in received)
        ]
        await self.lanes(jobs)


@dataclass(frozen=True, slots=True)
class QueueDue:
    """Queues scheduled messages of a lane whose time has come: delays, hour windows, retries, what waited for morning.

    A lane of its own each, so that a campaign that is due at one moment holds up no code.
    """

    engine: AsyncEngine
    clock: Clock
    lane: Lane

    async def __call__(self, limit: int = DUE_BATCH) -> int:
        """Queue up to ``limit``; return how many were due. One replica at a time does, for each lane."""
        async with self.engine.begin() as connection:
            if not await is_alone(connection, f"due/{self.lane}"):
                return 0
            now = self.clock.now()
            due = await due_messages(connection, self.lane, now=now, limit=limit)
            moved = await queue(connection, due, now=now)
        for state, count in moved.items():
            telemetry.DUE.labels(state).inc(count)
        return len(due)

    async def rest(self) -> float:
        """Return in how many seconds to look again: when the next is due, and ``DUE_REST`` at most."""
        async with self.engine.connect() as connection:
            due_at = await next_due(connection, self.lane)
        if due_at is None:
            return DUE_REST
        seconds = (due_at - self.clock.now()) / self.clock.stretch(timedelta(seconds=1))
        return min(max(seconds, DUE_PAUSE), DUE_REST)


@dataclass(frozen=True, slots=True)
class EndForgotten:
    """Ends messages whose job or failure was lost on the bus (promise P1): nobody has them in hand any more.

    While one might still come its message is left alone: until ``GRACE`` after the deadline.
    """

    engine: AsyncEngine
    clock: Clock

    async def __call__(self, limit: int = 500) -> int:
        """End up to ``limit``; return how many."""
        now = self.clock.now()
        async with self.engine.begin() as connection:
            before = now - self.clock.stretch(GRACE)
            book = await load(connection, await forgotten_messages(connection, before=before, limit=limit), now=now)
            for message in book.messages.values():
                structlog.get_logger().error("message.forgotten", message_id=str(message.id), state=message.state)
                telemetry.FORGOTTEN.inc()
                if message.state is MessageState.QUEUED:
                    book.move(message, MessageState.EXPIRED, final=True, reason="expired", detail={"why": "forgotten"})
                else:
                    why = {"no_fallback": "forgotten"}
                    book.move(message, MessageState.FAILED, final=True, reason=message.reason, detail=why)
            await save(connection, book)
        return len(book.messages)


@dataclass(frozen=True, slots=True)
class CancelOrdered:
    """Cancels what waits and was cancelled with many others; what is claimed meanwhile is barred at the last step."""

    engine: AsyncEngine
    clock: Clock

    async def __call__(self, limit: int = CANCEL_PAGE) -> int:
        """Look at up to ``limit`` messages that have not ended; return how many. One replica at a time does."""
        async with self.engine.begin() as connection:
            if not await is_alone(connection, "cancel"):
                return 0
            now = self.clock.now()
            page = await next_page(connection, now=now, limit=limit)
            if page is None:
                return 0
            book = await load(connection, page.waiting, now=now, attempts=False)
            cancelled = await turn_page(connection, page, book, again_after=self.clock.stretch(AGAIN_AFTER))
        CANCELLED.inc(cancelled)
        return page.looked_at


@dataclass(frozen=True, slots=True)
class LetGo:
    """Lets go what stops held that are over, and one message of each whose probe is due."""

    sender: Sender

    async def __call__(self) -> int:
        """Return how many were let go. One replica at a time lets go."""
        freed = 0
        async with self.sender.engine.begin() as connection:
            if await is_alone(connection, "stops"):
                now, world_now = self.sender.clock.now(), self.sender.world.now()
                freed = await release(connection, self.sender.config.dealers, now=now, world_now=world_now)
            stops = await load_stops(connection)
        telemetry.STOPS.clear()
        for stop in stops.values():
            if stop.is_open:
                telemetry.STOPS.labels(stop.key.scope, stop.key.dealer, stop.key.name, stop.reason).set(1)
        return freed


@dataclass(frozen=True, slots=True)
class LetGoApproved:
    """Lets go what waited for a dealer to approve its template, once one has."""

    sender: Sender

    async def __call__(self) -> int:
        """Return how many were let go. One replica at a time lets go."""
        async with self.sender.engine.begin() as connection:
            if not await is_alone(connection, "approvals"):
                return 0
            return await release_approved(connection, self.sender.config.profiles, now=self.sender.clock.now())
