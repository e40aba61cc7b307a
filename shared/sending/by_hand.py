"""Ends a doubt by hand: somebody looked it up elsewhere (the dealer's console, a call to the dealer) and says so.

What is said goes through the ledger's rules like any other news, with who said it and why, and later news is told by
the same tables: nothing overrides ``delivered``, and a late receipt may still bring a failure back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import Clock
from shared.config import Config
from shared.contracts.states import AttemptState, MessageState
from shared.dealers.base import Dealer
from shared.ids import MessageId
from shared.ledger.book import UNCONFIRMED, Attempt, Book, Close, GiveUp, RetryAt
from shared.ledger.repository import load, save
from shared.sending.cases import case_of
from shared.sending.policy import DEFAULT, Absent, Case, Means, RetryPolicy, decide, means_of
from shared.sending.sender import price
from shared.sending.word import CannotResolve, Says, Word

_ENDED_IN_DOUBT = frozenset({UNCONFIRMED, "result_timeout"})


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a word led to."""

    message_id: MessageId
    n: int
    state: MessageState
    """of the message"""
    due_at: datetime | None


# -- the rules -------------------------------------------------------------------------------------------------------


def objection(attempt: Attempt, says: Says, case: Case, policy: RetryPolicy = DEFAULT) -> str | None:
    """Return why ``says`` cannot be said of ``attempt`` now, or None."""
    match attempt.state:
        case AttemptState.UNCERTAIN:
            return _too_early(attempt, case, policy) if says is Says.NOT_TAKEN else None
        case AttemptState.FAILED if attempt.reason in _ENDED_IN_DOUBT:
            return None if says is Says.DELIVERED else "it has ended already; all that can be said now is delivered"
        case AttemptState.SENDING:
            return f"its call may be under way; it is uncertain once {policy.lease.seconds} s are over"
        case AttemptState.SENT:
            return "there is no doubt: the dealer has it, and its receipt is awaited"
        case AttemptState.FAILED | AttemptState.DELIVERED:
            return f"there is no doubt any more: it is {attempt.state}"


def _too_early(attempt: Attempt, case: Case, policy: RetryPolicy) -> str | None:
    """Return why nobody can say yet that the dealer never had ``attempt``."""
    if attempt.is_unconfirmed:
        return "the dealer had it, since Kakao did: say delivered or failed"
    lag = case.capabilities.not_found_after if case.capabilities else timedelta()
    surely = attempt.opened_at + max(lag, 2 * policy.lease) * case.speed
    if case.now < surely:
        return f"the dealer may show it yet: say so after {surely:%Y-%m-%d %H:%M:%S} UTC"
    return None


def settle(book: Book, attempt: Attempt, word: Word, case: Case, *, price_krw: int) -> None:
    """Move ``attempt`` and its message as ``word`` demands; nothing may speak against it (``objection``)."""
    told = word.as_detail()
    match word.says:
        case Says.DELIVERED:
            moved = book.delivered(attempt, code=None, price_krw=price_krw, detail=told)
        case Says.FAILED:
            moved = book.failed(attempt, reason="dealer_error", then=GiveUp(), detail=told)
        case Says.NOT_TAKEN:
            then = decide(Absent(), case)
            assert isinstance(then, RetryAt | GiveUp | Close)  # noqa: S101 - what follows what was not taken
            moved = book.failed(attempt, reason="dealer_unavailable", then=then, detail=told)
    assert moved  # noqa: S101 - its state was looked at under the same lock


def meant(book: Book, message_id: MessageId, n: int | None) -> Attempt:
    """Return the attempt in doubt, or the ``n``-th. Raises ``CannotResolve`` where there is none."""
    message = book.messages.get(message_id)
    if message is None:
        raise CannotResolve(f"there is no message {message_id}")
    attempts = book.attempts_of(message)
    if n is not None:
        attempts = [attempt for attempt in attempts if attempt.n == n]
    if not attempts:
        raise CannotResolve(f"message {message_id} has no attempt {n}" if n else f"message {message_id} was not tried")
    doubts = [attempt for attempt in attempts if attempt.state is AttemptState.UNCERTAIN]
    if len(doubts) > 1:
        which = " or ".join(f"{message_id}/{attempt.n}" for attempt in doubts)
        raise CannotResolve(f"several attempts are in doubt; say {which}")
    return doubts[0] if doubts else attempts[-1]


# -- the use case ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resolver:
    """Ends doubts; what it needs is less than a ``Sender``: it calls no dealer and opens no personal data."""

    engine: AsyncEngine
    config: Config
    dealers: Mapping[str, Dealer]
    clock: Clock
    policy: RetryPolicy = DEFAULT
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """seconds of the world"""

    async def __call__(self, message_id: MessageId, n: int | None, word: Word) -> Resolved:
        """Write down what ``word`` says of the attempt in doubt (or the ``n``-th). Raises ``CannotResolve``.

        Where the dealer is asked by replays, one may be under way, and what is said would let another message follow
        it: so nobody asks any more, and a replay that began before has ended, ahead of the last look.
        """
        async with self.engine.begin() as connection:
            book, attempt, case = await self._look(connection, message_id, n, word.says)
            if word.says is Says.DELIVERED or means_of(case) is not Means.REPLAY:
                return await self._settle(connection, book, attempt, case, word)
            book.postpone(attempt, check_at=book.now + self.clock.stretch(4 * self._longest_call(attempt)))
            await save(connection, book)
        await self.sleep(self._longest_call(attempt).total_seconds())
        async with self.engine.begin() as connection:
            book, attempt, case = await self._look(connection, message_id, attempt.n, word.says)
            return await self._settle(connection, book, attempt, case, word)

    async def _look(
        self, connection: AsyncConnection, message_id: MessageId, n: int | None, says: Says
    ) -> tuple[Book, Attempt, Case]:
        book = await load(connection, [message_id], now=self.clock.now())
        book.now = self.clock.now()
        attempt = meant(book, message_id, n)
        case = case_of(book, attempt, config=self.config, dealers=self.dealers, clock=self.clock, jitter=0.0)
        if problem := objection(attempt, says, case, self.policy):
            raise CannotResolve(f"attempt {attempt.n} of {message_id} cannot be resolved as {says}: {problem}")
        return book, attempt, case

    async def _settle(
        self, connection: AsyncConnection, book: Book, attempt: Attempt, case: Case, word: Word
    ) -> Resolved:
        settle(book, attempt, word, case, price_krw=price(self.config, attempt.dealer, attempt.channel))
        await save(connection, book)
        message = book.messages[attempt.message_id]
        return Resolved(message.id, attempt.n, message.state, message.due_at)

    def _longest_call(self, attempt: Attempt) -> timedelta:
        account = self.config.dealers.get(attempt.dealer)
        call = max(self.policy.lease, timedelta(seconds=account.timeout_seconds) if account else timedelta())
        return self.policy.lease + call  # it begins within a lease of its last check
