"""Receipts: kept raw before they are answered, applied in batches, in any order and however often.

A receipt comes pushed (``via='push'``) or because we asked (``via='lookup'``, ``'pull'``). What is pushed is kept and
applied at once; what we asked for is kept first, and one loop applies it. One that matches no attempt yet, because the
record of its sending is not committed, is tried again, further and further apart, and given up after ``GIVE_UP_AFTER``
tries; its row stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.contracts.keys import read_request_key
from shared.contracts.states import OPEN_ATTEMPTS, AttemptState, Channel
from shared.crypto import Vault
from shared.db.away import is_away
from shared.db.engine import copy
from shared.dealers.base import Report
from shared.ids import MessageId, ReceiptId, first_id, new_id
from shared.ledger.book import UNCONFIRMED, AfterFailure, Attempt, Book, GiveUp
from shared.ledger.repository import load, save, storable
from shared.sending import telemetry
from shared.sending.policy import Await, Unsure, can_confirm, receipt_expected
from shared.sending.sender import Sender, price
from shared.sending.silence import Arrival, hear
from shared.sending.stop_store import load_stops, note
from shared.sending.stops import Evidence, SeenIn, Verdicts

GIVE_UP_AFTER = 24
"""tries; doubled from a second up to an hour apart, about 13 hours of world time"""

CONFIRM_AFTER = timedelta(hours=1)
"""A dealer may take a failure back, and its second report may find nobody at home (it is pushed a few times and no
more): so a failure is asked about once again."""

_COLUMNS = (
    "id", "dealer", "via", "request_key", "dealer_message_id", "delivered", "code", "reason", "happened_at",
    "received_at", "apply_at", "personal", "leg", "tried", "message_id", "attempt",
)  # fmt: skip

_RECEIPTS = """
    SELECT id, dealer, via, request_key, dealer_message_id, delivered, code, reason, tried, received_at, leg
    FROM receipts
"""
_FRESH = text(f"""{_RECEIPTS}
    WHERE apply_at IS NOT NULL AND tried = 0 ORDER BY id DESC LIMIT :n FOR UPDATE SKIP LOCKED
""")
_DUE = text(f"""{_RECEIPTS}
    WHERE apply_at <= :now AND id <> ALL(CAST(:but AS uuid[])) ORDER BY apply_at, id LIMIT :n FOR UPDATE SKIP LOCKED
""")
RECENT = timedelta(days=8)
"""Receipts come within days: most are found among the messages of this time, and weeks before are not asked."""

_BY_DEALER_ID = text("""
    SELECT dealer, dealer_message_id, message_id, n FROM attempts
    WHERE dealer_message_id = ANY(CAST(:ids AS text[])) AND message_id >= :since
""")
_DONE = text("""
    UPDATE receipts r SET apply_at = c.apply_at, tried = r.tried + 1, message_id = c.message_id, attempt = c.attempt
    FROM unnest(CAST(:id AS uuid[]), CAST(:apply_at AS timestamptz[]), CAST(:message_id AS uuid[]),
                CAST(:attempt AS int[])) AS c (id, apply_at, message_id, attempt)
    WHERE r.id = c.id
""")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A receipt that is not applied."""

    id: ReceiptId
    dealer: str
    via: str
    request_key: str | None
    dealer_message_id: str | None
    delivered: bool | None
    code: str
    reason: str | None
    tried: int
    received_at: datetime
    leg: str | None
    """the channel over which the dealer followed the attempt of its own accord, which is what this is about"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A report, and how it came."""

    dealer: str
    via: str
    report: Report


async def keep(
    connection: AsyncConnection, vault: Vault, dealer: str, via: str, reports: Sequence[Report], *, now: datetime
) -> None:
    """Store ``reports``, to be applied soon. The same report may be stored twice: applying it twice is nothing."""
    rows = []
    for report in reports:
        arrived = Arrived(dealer, via, report)
        rows.append(_row(arrived, _waiting(arrived, now), vault, apply_at=now, tried=0))
    await copy(connection, "receipts", _COLUMNS, rows)


def _waiting(arrived: Arrived, now: datetime) -> Waiting:
    report = arrived.report
    return Waiting(
        id=ReceiptId(new_id(now)),
        dealer=arrived.dealer,
        via=arrived.via,
        request_key=report.request_key and storable(report.request_key),
        dealer_message_id=report.dealer_message_id and storable(report.dealer_message_id),
        delivered=report.delivered,
        code=storable(report.code),
        reason=report.reason,
        tried=0,
        received_at=now,
        leg=report.leg,
    )


def _row(
    arrived: Arrived,
    receipt: Waiting,
    vault: Vault,
    *,
    apply_at: datetime | None,
    tried: int,
    attempt: Attempt | None = None,
) -> tuple[Any, ...]:
    return (
        receipt.id, receipt.dealer, receipt.via, receipt.request_key, receipt.dealer_message_id, receipt.delivered,
        receipt.code, receipt.reason, arrived.report.at, receipt.received_at, apply_at,
        vault.seal(arrived.report.raw, receipt.id), receipt.leg, tried,
        attempt.message_id if attempt else None, attempt.n if attempt else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Receipts:
    """Applies what arrives, and what is kept."""

    sender: Sender

    async def take(self, arrived: Sequence[Arrived]) -> list[bool]:
        """Keep what was pushed and apply it, in one transaction; return of each whether it is applied.

        Should applying fail for a mistake of ours they are kept all the same, and the loop tries them: a dealer
        repeats a call that is not answered a few times and no more.
        """
        try:
            return await self._take(arrived)
        except Exception as error:
            if is_away(error):
                raise
            structlog.get_logger().error("receipts.not_applied", error=type(error).__name__, receipts=len(arrived))
            async with self.sender.engine.begin() as connection:
                for each in arrived:
                    now = self.sender.clock.now()
                    await keep(connection, self.sender.vault, each.dealer, each.via, [each.report], now=now)
        return [False] * len(arrived)

    async def _take(self, arrived: Sequence[Arrived]) -> list[bool]:
        now, vault = self.sender.clock.now(), self.sender.vault
        fresh = {waiting.id: (each, waiting) for each in arrived for waiting in [_waiting(each, now)]}
        async with self.sender.engine.begin() as connection:
            done = await self._apply_all(connection, [waiting for _, waiting in fresh.values()], now)
            rows = [
                _row(
                    fresh[receipt.id][0],
                    receipt,
                    vault,
                    apply_at=None if attempt else self._next_try(receipt),
                    tried=1,
                    attempt=attempt,
                )
                for receipt, attempt in done
            ]
            await copy(connection, "receipts", _COLUMNS, rows)
        return [attempt is not None for _, attempt in done]

    async def apply(self, limit: int = 500) -> int:
        """Apply up to ``limit`` receipts that wait; return how many there were."""
        now = self.sender.clock.now()
        async with self.sender.engine.begin() as connection:
            waiting = await _due(connection, limit, now=now)
            if not waiting:
                return 0
            done = await self._apply_all(connection, waiting, now)
            await connection.execute(
                _DONE,
                {
                    "id": [receipt.id for receipt, _ in done],
                    "apply_at": [None if attempt else self._next_try(receipt) for receipt, attempt in done],
                    "message_id": [attempt.message_id if attempt else None for _, attempt in done],
                    "attempt": [attempt.n if attempt else None for _, attempt in done],
                },
            )
        for dealer, n in Counter(
            receipt.dealer for receipt, attempt in done if attempt is None and receipt.tried >= GIVE_UP_AFTER
        ).items():
            structlog.get_logger().warning("receipts.gave_up", dealer=dealer, receipts=n)
        return len(waiting)

    async def _apply_all(
        self, connection: AsyncConnection, receipts: Sequence[Waiting], now: datetime
    ) -> list[tuple[Waiting, Attempt | None]]:
        """Apply ``receipts``; return each with its attempt, or None if there is none (yet)."""
        targets = await _targets(connection, receipts, now=now)
        book = await load(connection, {message_id for message_id, _ in targets.values()}, now=now)
        verdicts = await self._judge(connection, book, receipts, targets)
        arrivals = _arrivals(book, receipts, targets)
        done = [(receipt, self._apply(book, receipt, targets.get(receipt.id), verdicts)) for receipt in receipts]
        await save(connection, book)
        await hear(connection, self.sender, arrivals)
        return done

    async def _judge(
        self,
        connection: AsyncConnection,
        book: Book,
        waiting: Sequence[Waiting],
        targets: Mapping[ReceiptId, tuple[MessageId, int]],
    ) -> Verdicts:
        """Take in what the receipts show of templates and profiles, before messages follow from them."""
        before = await load_stops(connection)
        evidence = Evidence(before)
        judged: set[tuple[tuple[MessageId, int], bool]] = set()
        for receipt in waiting:
            target = targets.get(receipt.id)
            attempt = book.attempts.get(target) if target else None
            if target is None or attempt is None or attempt.dealer != receipt.dealer:
                continue
            if attempt.state not in OPEN_ATTEMPTS or receipt.leg is not None:
                continue  # told before, or the dealer's own doing
            if receipt.delivered is None or (target, receipt.delivered) in judged:
                continue  # nothing has ended, or the same was told before: one message is one failure
            judged.add((target, receipt.delivered))
            message = book.messages[attempt.message_id]
            if receipt.delivered:
                evidence.success(message, attempt.dealer)
            else:
                evidence.failure(message, attempt.channel, attempt.dealer, receipt.reason or "unknown")
        changed = await note(connection, evidence.seen, SeenIn.RECEIPT, world_now=self.sender.world.now())
        still = {key: stop for key, stop in before.items() if key not in evidence.seen}
        return Verdicts(before, {**still, **changed})

    def _after_failure(self, book: Book, attempt: Attempt, receipt: Waiting, verdicts: Verdicts) -> AfterFailure:
        """Return what follows a reported failure: never another dealer, since this one had taken it."""
        message = book.messages[attempt.message_id]
        reason = receipt.reason or "unknown"
        return verdicts.on(message, attempt.dealer, attempt.channel, reason, profile=None, tried=())

    def _apply(
        self, book: Book, receipt: Waiting, target: tuple[MessageId, int] | None, verdicts: Verdicts
    ) -> Attempt | None:
        """Apply ``receipt``; return its attempt, or None if there is none (yet)."""
        attempt = book.attempts.get(target) if target else None
        if attempt is None or attempt.dealer != receipt.dealer:
            telemetry.RECEIPTS.labels(receipt.dealer, "unmatched").inc()
            return None
        if receipt.reason == "unknown":
            telemetry.UNMAPPED.labels(receipt.dealer, attempt.channel).inc()
        if receipt.dealer_message_id:
            book.name(attempt, receipt.dealer_message_id)  # a later receipt may know it by nothing else
        if receipt.leg is not None:
            return self._apply_leg(book, receipt, attempt, Channel(receipt.leg))
        cost = price(self.sender.config, attempt.dealer, attempt.channel)
        match receipt.delivered:
            case True:
                changed = book.delivered(attempt, code=receipt.code, price_krw=cost)
            case False:
                reason = receipt.reason or "unknown"
                confirm = book.now + CONFIRM_AFTER if can_confirm(self.sender.dealers.get(attempt.dealer)) else None
                then = self._after_failure(book, attempt, receipt, verdicts)
                changed = book.failed(attempt, reason=reason, code=receipt.code, then=then, check_at=confirm)
                if not changed and receipt.via == "lookup" and attempt.state is AttemptState.FAILED:
                    book.postpone(attempt, check_at=None)  # confirmed
            case None if receipt.reason == UNCONFIRMED:
                changed = self._unconfirmed(book, attempt, receipt)
            case None:  # the dealer has it and waits itself: news only for an attempt that was in doubt
                expected = receipt_expected(self.sender.dealers.get(attempt.dealer), attempt.channel)
                changed = book.taken(
                    attempt, dealer_message_id=receipt.dealer_message_id, price_krw=cost, check_at=book.now + expected
                )
        telemetry.RECEIPTS.labels(receipt.dealer, "changed" if changed else "known").inc()
        return attempt

    def _apply_leg(self, book: Book, receipt: Waiting, attempt: Attempt, channel: Channel) -> Attempt:
        """Note how the dealer's own failover fared, which is switched off in what we send."""
        leg = None
        if receipt.delivered is not None:
            leg = book.leg(
                attempt,
                channel,
                delivered=receipt.delivered,
                code=receipt.code,
                reason=None if receipt.delivered else receipt.reason or "unknown",
                price_krw=price(self.sender.config, attempt.dealer, channel),
            )
        telemetry.RECEIPTS.labels(receipt.dealer, "known" if leg is None else "leg").inc()
        return leg or attempt

    def _unconfirmed(self, book: Book, attempt: Attempt, receipt: Waiting) -> bool:
        """Act on Kakao's "sent, not confirmed"."""
        match self.sender.follow(book, attempt, Unsure()):
            case Await(until):
                return book.unconfirmed(attempt, code=receipt.code, check_at=min(until, book.now + CONFIRM_AFTER))
            case GiveUp() as then:
                return book.failed(attempt, reason=UNCONFIRMED, code=receipt.code, then=then)
            case other:
                raise AssertionError(f"an unconfirmed message is followed by {other}")

    def _next_try(self, receipt: Waiting) -> datetime | None:
        if receipt.tried >= GIVE_UP_AFTER:
            return None
        delay = min(timedelta(seconds=0.5) * (1 << min(receipt.tried, 20)), timedelta(hours=1))
        return self.sender.clock.now() + self.sender.clock.stretch(delay)


async def _due(connection: AsyncConnection, limit: int, *, now: datetime) -> list[Waiting]:
    """Lock and return what is applied next: one half the newest that were not tried yet, the other the longest due.

    So what comes behind a flood of unknown receipts is applied at once, what came before it or within it is not
    forgotten, and tries in vain never stand before a first one.
    """
    fresh = [Waiting(*row) for row in await connection.execute(_FRESH, {"n": max(1, limit // 2)})]
    but = {"but": [receipt.id for receipt in fresh], "now": now, "n": limit - len(fresh)}
    return [*fresh, *[Waiting(*row) for row in await connection.execute(_DUE, but)]]


def _arrivals(
    book: Book, waiting: Sequence[Waiting], targets: Mapping[ReceiptId, tuple[MessageId, int]]
) -> list[Arrival]:
    """Return which receipts tell the end of an attempt that is open, each attempt once."""
    found: dict[tuple[MessageId, int], Arrival] = {}
    for receipt in waiting:
        target = targets.get(receipt.id)
        attempt = book.attempts.get(target) if target else None
        if target is None or attempt is None or attempt.dealer != receipt.dealer or attempt.state not in OPEN_ATTEMPTS:
            continue
        if receipt.delivered is not None and receipt.leg is None and not attempt.is_unconfirmed:
            lag = max(receipt.received_at - attempt.opened_at, timedelta())
            found.setdefault(target, Arrival(attempt.dealer, attempt.channel, receipt.via, lag))
    return list(found.values())


async def _targets(
    connection: AsyncConnection, waiting: Sequence[Waiting], *, now: datetime
) -> dict[ReceiptId, tuple[MessageId, int]]:
    """Find the attempts that receipts are about: by our key, which names it, else by the dealer's id."""
    found: dict[ReceiptId, tuple[MessageId, int]] = {}
    by_id: dict[tuple[str, str], list[ReceiptId]] = {}
    for receipt in waiting:
        if receipt.request_key and (target := read_request_key(receipt.request_key)):
            found[receipt.id] = target
        elif receipt.dealer_message_id:
            by_id.setdefault((receipt.dealer, receipt.dealer_message_id), []).append(receipt.id)
    for since in (first_id(now - RECENT), UUID(int=0)):
        if by_id:
            rows = await connection.execute(_BY_DEALER_ID, {"ids": [each for _, each in by_id], "since": since})
            for dealer, dealer_id, message_id, n in rows:
                for receipt_id in by_id.pop((dealer, dealer_id), []):
                    found[receipt_id] = (MessageId(message_id), n)
    return found
