"""Asks dealers what became of attempts that are in doubt, or whose receipt did not come. Nothing is ever sent again
here: what a dealer certainly does not have goes back to the queue by the ledger's rules.
"""  # noqa: D205 - one sentence, and longer than a line

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import Clock
from shared.config import Config
from shared.contracts.states import AttemptState
from shared.crypto import Vault
from shared.dealers.base import (
    Dealer,
    LookupResult,
    NotFound,
    NotTaken,
    NotTakenForSure,
    OpenAttempt,
    Report,
    StillUnknown,
)
from shared.ids import MessageId
from shared.ledger.book import Attempt, Book, GiveUp
from shared.ledger.personal import open_personal
from shared.ledger.repository import load, save
from shared.phone import national
from shared.sending import telemetry
from shared.sending.policy import RetryPolicy, after_failure, backoff
from shared.sending.receipts import keep

NOT_FOUND_TWICE = 2
"""a dealer that knows nothing of an attempt is believed the second time, after its index had time"""

_DUE = text("""
    SELECT message_id, n FROM attempts WHERE check_at <= :now ORDER BY check_at LIMIT :n
""")


@dataclass(frozen=True, slots=True)
class Reconciler:
    """The collaborators of asking; one a process."""

    engine: AsyncEngine
    dealers: dict[str, Dealer]
    config: Config
    vault: Vault
    clock: Clock
    policy: RetryPolicy
    jitter: Callable[[], float]

    async def __call__(self, limit: int = 500) -> int:
        """Ask about up to ``limit`` attempts whose time has come; return how many there were."""
        due = await self._take(limit)
        for name, attempts in due.items():
            dealer = self.dealers[name]
            step = dealer.capabilities.lookup_batch
            for start in range(0, len(attempts), step):
                part = attempts[start : start + step]
                answers = await dealer.lookup(part)
                await self._record(dealer, part, answers)
        return sum(map(len, due.values()))

    async def _take(self, limit: int) -> dict[str, list[OpenAttempt]]:
        """Note that these attempts are being asked about, so that no other replica does, and return them.

        An attempt that was under way past its lease becomes ``uncertain``; one whose receipt deadline is over, ends.
        """
        now = self.clock.now()
        taken: dict[str, list[OpenAttempt]] = {}
        async with self.engine.begin() as connection:
            rows = await connection.execute(_DUE, {"now": now, "n": limit})
            due = {(MessageId(row.message_id), row.n) for row in rows}
            book = await load(connection, {message_id for message_id, _ in due}, now=now)
            for key in sorted(due, key=lambda key: key[0].int):
                attempt = book.attempts.get(key)
                if attempt is None or attempt.check_at is None or attempt.check_at > now:
                    continue  # another replica was here
                if self._ended(book, attempt):
                    continue
                if attempt.state is AttemptState.SENDING:
                    telemetry.UNCERTAIN.labels(attempt.dealer).inc()
                    book.unsure(attempt, check_at=now, why="the sender did not come back")
                attempt.checks += 1
                book.postpone(attempt, check_at=self._ask_again(attempt, now))
                taken.setdefault(attempt.dealer, []).append(self._open(book, attempt))
            await save(connection, book)
        return taken

    def _ended(self, book: Book, attempt: Attempt) -> bool:
        """End ``attempt`` if no receipt can come any more. The category's policy decides what follows."""
        deadline = self.dealers[attempt.dealer].capabilities.receipt_deadline[attempt.channel]
        if book.now < attempt.opened_at + deadline or attempt.state is AttemptState.SENDING:
            return False
        sent = attempt.state is AttemptState.SENT
        return book.failed(attempt, reason="result_timeout" if sent else "delivery_uncertain", then=GiveUp())

    def _ask_again(self, attempt: Attempt, now: datetime) -> datetime:
        if attempt.state is AttemptState.SENT:
            expected = self.dealers[attempt.dealer].capabilities.receipt_expected_within[attempt.channel]
            return now + backoff(expected, timedelta(hours=2), attempt.checks, self.jitter())
        delay = backoff(self.policy.first_lookup, timedelta(minutes=5), attempt.checks, self.jitter())
        return now + self.clock.stretch(delay)

    def _open(self, book: Book, attempt: Attempt) -> OpenAttempt:
        message = book.messages[attempt.message_id]
        return OpenAttempt(
            message_id=attempt.message_id,
            n=attempt.n,
            request_key=attempt.request_key,
            channel=attempt.channel,
            to=national(open_personal(self.vault, message.personal, message.id).phone),
            handle=attempt.handle,
            dealer_message_id=attempt.dealer_message_id,
            opened_at=attempt.opened_at,
        )

    async def _record(self, dealer: Dealer, asked: Sequence[OpenAttempt], answers: Sequence[LookupResult]) -> None:
        now = self.clock.now()
        async with self.engine.begin() as connection:
            await self._keep_reports(connection, dealer, asked, answers, now)
            denied = [
                (attempt, answer)
                for attempt, answer in zip(asked, answers, strict=True)
                if isinstance(answer, NotTakenForSure | NotFound)
            ]
            book = await load(connection, {attempt.message_id for attempt, _ in denied}, now=now)
            for open_attempt, answer in denied:
                self._deny(book, dealer, book.attempts[open_attempt.message_id, open_attempt.n], answer)
            await save(connection, book)

    async def _keep_reports(
        self,
        connection: AsyncConnection,
        dealer: Dealer,
        asked: Sequence[OpenAttempt],
        answers: Sequence[LookupResult],
        now: datetime,
    ) -> None:
        reports: list[Report] = []
        for attempt, answer in zip(asked, answers, strict=True):
            telemetry.LOOKUPS.labels(dealer.name, type(answer).__name__.lower()).inc()
            if isinstance(answer, Report) and (answer.delivered is not None or not attempt.dealer_message_id):
                reports.append(answer)  # "still waiting" is news only while we do not know that it was taken
        if reports:
            await keep(connection, self.vault, dealer.name, "lookup", reports, now=now)

    def _deny(self, book: Book, dealer: Dealer, attempt: Attempt, answer: LookupResult) -> None:
        """Act on a dealer's word that it does not have ``attempt``."""
        match answer:
            case NotTakenForSure(detail):
                self._not_taken(book, attempt, detail)
            case NotFound(detail):
                age = book.now - attempt.opened_at
                if age < self.clock.stretch(dealer.capabilities.not_found_after):
                    return
                attempt.missing += 1
                book.postpone(attempt, check_at=attempt.check_at)
                if attempt.missing >= NOT_FOUND_TWICE:
                    self._not_taken(book, attempt, detail)
            case Report() | StillUnknown():
                return

    def _not_taken(self, book: Book, attempt: Attempt, detail: str) -> None:
        if attempt.state is AttemptState.SENT:
            return  # the dealer gave us its id: it cannot not have it, and the receipt deadline will end the doubt
        message = book.messages[attempt.message_id]
        then = after_failure(
            NotTaken("dealer_unavailable", detail=detail),
            message.tries,
            self.policy,
            deadline=message.deadline,
            now=book.now,
            jitter=self.jitter(),
            speed=self.clock.stretch(timedelta(seconds=1)).total_seconds(),
        )
        book.failed(
            attempt,
            reason="dealer_unavailable",
            then=then,
            detail={"why": "looked up: the dealer does not have it", "said": detail},
        )
