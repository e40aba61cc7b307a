"""Asks dealers what became of attempts that are in doubt, or whose receipt did not come. Nothing is ever sent again
here: what a dealer certainly does not have goes back to the queue by the ledger's rules.
"""  # noqa: D205 - one sentence, and longer than a line

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.contracts.states import OPEN_ATTEMPTS, AttemptState, Channel
from shared.crypto import CannotOpen
from shared.dealers.base import (
    Dealer,
    LookupResult,
    NotFound,
    NotTakenForSure,
    OpenAttempt,
    Report,
    StillUnknown,
)
from shared.ids import MessageId
from shared.ledger.book import UNCONFIRMED, Attempt, Book, Close, GiveUp, Message, RetryAt
from shared.ledger.personal import open_personal
from shared.ledger.repository import load, save
from shared.phone import national
from shared.sending import telemetry
from shared.sending.policy import (
    Absent,
    Means,
    Overdue,
    backoff,
    means_of,
    receipt_deadline,
    receipt_expected,
    receipt_span,
)
from shared.sending.receipts import keep
from shared.sending.sender import Sender, together

NOT_FOUND_TWICE = 2
"""a dealer that knows nothing of an attempt is believed the second time, after its index had time"""

LAST_WORD = timedelta(days=1)
"""how long past the receipt deadline a dealer that cannot be reached is still asked for the last word"""

_DUE = text("""
    SELECT message_id, n FROM attempts WHERE check_at <= :now ORDER BY check_at LIMIT :n
""")


@dataclass(slots=True)
class _Asks:
    """What a dealer is asked at one time."""

    lookups: list[OpenAttempt] = field(default_factory=list)
    replays: dict[Channel, list[tuple[MessageId, int]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.lookups or self.replays)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Asks; one a process."""

    sender: Sender
    turn: Callable[[], None] = lambda: None
    """called between two calls: dealers may be many calls' worth behind, and slow"""

    async def __call__(self, limit: int = 500) -> int:
        """Ask about up to ``limit`` attempts whose time has come; return how many there were."""
        count, due = await self._take(limit)
        await together(self._ask(dealer, asks) for dealer, asks in due)
        return count

    async def _ask(self, dealer: Dealer, asks: _Asks) -> None:
        if asks.replays and not await self.sender.limits.is_paused(dealer.name):
            for keys in asks.replays.values():
                await self.sender.replay(dealer, keys, waiting=self.turn)
        step = dealer.capabilities.lookup_batch
        for start in range(0, len(asks.lookups), step):
            self.turn()
            part = asks.lookups[start : start + step]
            answers = await dealer.lookup(part)
            await self._record(dealer, part, answers)

    async def _take(self, limit: int) -> tuple[int, list[tuple[Dealer, _Asks]]]:
        """Note that these attempts are being asked about, so that no other replica does, and return them.

        An attempt that was under way past its lease becomes ``uncertain``. One whose receipt deadline is over and
        that nobody can be asked about, ends.
        """
        now = self.sender.clock.now()
        taken: dict[str, _Asks] = {}
        async with self.sender.engine.begin() as connection:
            rows = await connection.execute(_DUE, {"now": now, "n": limit})
            due = {(MessageId(row.message_id), row.n) for row in rows}
            book = await load(connection, {message_id for message_id, _ in due}, now=now)
            for key in sorted(due, key=lambda key: key[0].int):
                attempt = book.attempts.get(key)
                if attempt is None or attempt.check_at is None or attempt.check_at > now:
                    continue  # another replica was here
                if attempt.state is AttemptState.SENDING:
                    telemetry.UNCERTAIN.labels(attempt.dealer).inc()
                    book.unsure(attempt, check_at=now, why="the sender did not come back")
                dealer = self.sender.dealers.get(attempt.dealer)
                means = self._means(book, attempt)
                if self._is_over(attempt, now, grace=LAST_WORD if means is Means.LOOKUP else timedelta()):
                    self._end(book, attempt)
                    continue
                attempt.checks += 1
                book.postpone(attempt, check_at=self._ask_again(book, attempt))
                asks = taken.setdefault(attempt.dealer, _Asks())
                if means is Means.LOOKUP:
                    asks.lookups.append(self._open(book, attempt))
                elif means is Means.REPLAY and dealer is not None:
                    asks.replays.setdefault(attempt.channel, []).append((attempt.message_id, attempt.n))
            await save(connection, book)
        return len(due), [(self.sender.dealers[name], asks) for name, asks in taken.items() if asks]

    def _means(self, book: Book, attempt: Attempt) -> Means | None:
        """Return how the dealer can be asked; an attempt that it took is never replayed."""
        means = means_of(self.sender.case(book, attempt))
        in_doubt = attempt.state is AttemptState.UNCERTAIN and not attempt.is_unconfirmed
        return means if in_doubt or means is not Means.REPLAY else None

    def _is_over(self, attempt: Attempt, now: datetime, *, grace: timedelta) -> bool:
        """Whether no receipt can come any more."""
        deadline = receipt_deadline(self.sender.dealers.get(attempt.dealer), attempt)
        return now >= attempt.opened_at + deadline + grace

    def _ask_again(self, book: Book, attempt: Attempt) -> datetime:
        """Return when to ask once more, should this time bring nothing; never past the last receipt."""
        if attempt.state in OPEN_ATTEMPTS - {AttemptState.SENT} and not attempt.is_unconfirmed:
            return self.sender.ask_at(book, attempt)
        dealer = self.sender.dealers.get(attempt.dealer)
        expected = receipt_expected(dealer, attempt.channel)
        rarest = max(timedelta(hours=2), (book.now - attempt.opened_at) / 4)  # what took days will not come in a minute
        again = book.now + backoff(expected, rarest, attempt.checks, self.sender.jitter())
        last = attempt.opened_at + receipt_deadline(dealer, attempt)
        return min(again, last if last > book.now else book.now + timedelta(hours=2))

    def _open(self, book: Book, attempt: Attempt) -> OpenAttempt:
        message = book.messages[attempt.message_id]
        return OpenAttempt(
            message_id=attempt.message_id,
            n=attempt.n,
            request_key=attempt.request_key,
            channel=attempt.channel,
            to=self._number(message),
            handle=attempt.handle,
            dealer_message_id=attempt.dealer_message_id,
            opened_at=attempt.opened_at,
        )

    def _number(self, message: Message) -> str:
        """Return the number that ``message`` goes to, or nothing when it was erased or its key is gone.

        An attempt is then looked up by what else is known of it.
        """
        try:
            return national(open_personal(self.sender.vault, message.personal, message.id).phone)
        except CannotOpen:
            structlog.get_logger().warning("reconcile.number_unreadable", message_id=str(message.id))
            return ""

    async def _record(self, dealer: Dealer, asked: Sequence[OpenAttempt], answers: Sequence[LookupResult]) -> None:
        now = self.sender.clock.now()
        async with self.sender.engine.begin() as connection:
            await self._keep_reports(connection, dealer, asked, answers, now)
            news = [
                (attempt, answer)
                for attempt, answer in zip(asked, answers, strict=True)
                if isinstance(answer, NotTakenForSure | NotFound) or _is_late(dealer, attempt, now)
            ]
            book = await load(connection, {attempt.message_id for attempt, _ in news}, now=now)
            for open_attempt, answer in news:
                attempt = book.attempts[open_attempt.message_id, open_attempt.n]
                self._deny(book, dealer, attempt, answer)
                if self._is_over(attempt, now, grace=timedelta()) and not _tells(answer, attempt):
                    self._end(book, attempt)
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
            # "Still waiting" is news only while we do not know that it was taken; that Kakao has it always may be.
            if isinstance(answer, Report) and (
                answer.delivered is not None or answer.reason == UNCONFIRMED or not attempt.dealer_message_id
            ):
                reports.append(replace(answer, request_key=attempt.request_key))
        if reports:
            await keep(connection, self.sender.vault, dealer.name, "lookup", reports, now=now)

    def _deny(self, book: Book, dealer: Dealer, attempt: Attempt, answer: LookupResult) -> None:
        """Act on a dealer's word that it does not have ``attempt``, unless that has ended meanwhile."""
        if attempt.state not in OPEN_ATTEMPTS:
            return
        match answer:
            case NotTakenForSure(detail):
                self._not_taken(book, attempt, detail)
            case NotFound(detail):
                age = book.now - attempt.opened_at
                if age < self.sender.clock.stretch(dealer.capabilities.not_found_after):
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
        if attempt.is_unconfirmed:
            return  # Kakao had it, so the dealer did, whatever it remembers by now
        then = self.sender.follow(book, attempt, Absent())
        assert isinstance(then, RetryAt | GiveUp)  # noqa: S101 - what follows a message that was not taken
        book.failed(
            attempt,
            reason="dealer_unavailable",
            then=then,
            detail={"why": "looked up: the dealer does not have it", "said": detail},
        )

    def _end(self, book: Book, attempt: Attempt) -> None:
        """End ``attempt``, of which no receipt can come any more. The category's policy decides what follows."""
        if attempt.state is AttemptState.FAILED:
            book.postpone(attempt, check_at=None)  # nobody took the failure back
            return
        then = self.sender.follow(book, attempt, Overdue())
        assert isinstance(then, RetryAt | GiveUp | Close)  # noqa: S101 - it is over
        sent = attempt.state is AttemptState.SENT
        book.failed(attempt, reason="result_timeout" if sent else UNCONFIRMED, then=then)


def _is_late(dealer: Dealer, attempt: OpenAttempt, now: datetime) -> bool:
    """Whether no receipt comes any more, unless Kakao has ``attempt`` and does not confirm it."""
    return now >= attempt.opened_at + receipt_span(dealer.capabilities, attempt.channel)


def _tells(answer: LookupResult, attempt: Attempt) -> bool:
    """Whether ``answer`` is a reason not to end ``attempt`` though its receipt deadline is over."""
    match answer:
        case Report(delivered=None, reason=reason):
            return reason == UNCONFIRMED and not attempt.is_unconfirmed  # it has longer now
        case Report() | StillUnknown():
            return True
        case NotTakenForSure() | NotFound():
            return False
