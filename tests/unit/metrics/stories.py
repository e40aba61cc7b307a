"""Lives of messages: numbers choose what happens, and the ledger's own ``Book`` what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from msgspec.structs import replace

from services.metrics.domain import (
    COST,
    DOUBLE_CONTACT,
    ENDS,
    FELL_BACK,
    AttemptKey,
    Counts,
    MessageKey,
    Past,
    hour_of,
)
from shared.contracts.delivery import Delivery
from shared.contracts.states import AttemptState, Category, Channel, Lane, MessageState
from shared.ids import MessageId, PersonId, new_id
from shared.ledger.book import Attempt, Book, GiveUp, Message, MoveTo, RetryAt, Transition

BEGIN = datetime(2026, 11, 23, 8, 40, tzinfo=UTC)
RULE = "order-paid"
REASONS = ("not_kakao_user", "rate_limited", "handset_unreachable")


@dataclass
class Story:
    """One message from its birth: its rows, and a record for each change of state."""

    message: Message
    book: Book
    records: list[Delivery] = field(default_factory=list)
    fell_back: Channel | None = None

    @property
    def attempts(self) -> list[Attempt]:
        return list(self.book.attempts.values())

    @property
    def past(self) -> list[Past]:
        return [Past(r.seq, r.state, r.final, r.reason) for r in self.records]

    def write_down(self) -> None:
        """Turn what the book wrote into records."""
        self.records += [_of(transition) for transition in self.book.transitions]
        self.book.transitions.clear()


def tell(choices: Sequence[int], *, now: datetime = BEGIN, person: int = 0, profile: str = "shop") -> Story:
    """Return the life of a message that ``choices`` make: each picks one of what can happen next."""
    message = Message(
        id=MessageId(new_id(now)),
        person_id=PersonId(UUID(int=person << 120 | 7)),
        profile=profile,
        template="order-paid-1",
        template_revision=1,
        lane=Lane.NORMAL,
        category=Category.INFORMATIONAL,
        fallback="text" if choices and choices[0] % 4 else "none",
        state=MessageState.ACCEPTED,
        final=False,
        reason=None,
        seq=1,
        attempt=0,
        channel=Channel.ALIMTALK,
        dealer="solapi",
        tries=0,
        due_at=None,
        deadline=now + timedelta(days=2),
        cost_krw=0,
        personal=b"",
    )
    book = Book(now, {message.id: message})
    story = Story(message, book)
    story.records.append(_record(message, seq=1, at=now, state=MessageState.ACCEPTED))
    for choice in choices:
        possible = list(_possible(story))
        if not possible:
            break
        book.now += timedelta(minutes=choice % 50)
        possible[choice % len(possible)]()
        story.write_down()
    return story


def _possible(story: Story) -> Iterator[Callable[[], object]]:
    message, book = story.message, story.book
    later = book.now + timedelta(minutes=10)
    if message.state in {MessageState.ACCEPTED, MessageState.SCHEDULED}:
        yield lambda: book.move(message, MessageState.QUEUED)
        yield lambda: book.move(message, MessageState.QUEUED)
        yield lambda: book.move(message, MessageState.CANCELLED, final=True, reason="cancelled")
    if message.state is MessageState.QUEUED:
        free = all(a.channel is not message.channel or a.state in {"failed", "delivered"} for a in story.attempts)
        if free:
            for _ in range(3):
                yield lambda: book.open_attempt(message, handle=None, check_at=later)
        yield lambda: book.move(message, MessageState.SCHEDULED, due_at=later)
        yield lambda: book.move(message, MessageState.EXPIRED, final=True, reason="expired")
        yield lambda: book.move(message, MessageState.SUPPRESSED, final=True, reason="opted_out")
    if message.state is MessageState.FAILED and not message.final:
        yield lambda: book.move(message, MessageState.FAILED, final=True, reason="no_text_route")
        yield lambda: _fall_back(story, Channel.SMS, None)
        yield lambda: _fall_back(story, Channel.LMS, later)
    for attempt in story.attempts:
        yield from _news(book, attempt, later)


def _fall_back(story: Story, channel: Channel, due_at: datetime | None) -> None:
    story.fell_back = channel
    story.book.turn_to(story.message, channel, "solapi", due_at=due_at)


def _leg(book: Book, attempt: Attempt, *, delivered: bool) -> None:
    reason = None if delivered else "handset_unreachable"
    book.leg(attempt, Channel.LMS, delivered=delivered, code="4100", reason=reason, price_krw=45)


def _news(book: Book, attempt: Attempt, later: datetime) -> Iterator[Callable[[], object]]:
    if attempt.leg_of is not None:
        return
    if attempt.channel is Channel.ALIMTALK:
        yield lambda: _leg(book, attempt, delivered=True)
        yield lambda: _leg(book, attempt, delivered=False)
    if attempt.state is AttemptState.DELIVERED:
        return
    yield lambda: book.delivered(attempt, code="4000", price_krw=13)
    if attempt.state is AttemptState.FAILED:
        return
    if attempt.state in {AttemptState.SENDING, AttemptState.UNCERTAIN}:
        yield lambda: book.taken(attempt, dealer_message_id="d", price_krw=13, check_at=later)
        yield lambda: book.unsure(attempt, check_at=later, why="timeout")
        yield lambda: book.failed(attempt, reason="rate_limited", then=RetryAt(later))
    yield lambda: book.failed(attempt, reason="no_balance", then=MoveTo("nhn"))
    for reason in REASONS:
        yield lambda reason=reason: book.failed(attempt, reason=reason, code="3104", then=GiveUp())  # type: ignore[misc]  # a default binds the loop's value


def _record(
    message: Message,
    *,
    seq: int,
    at: datetime,
    state: MessageState,
    was: MessageState | None = None,
    transition: Transition | None = None,
) -> Delivery:
    attempt = transition.attempt if transition else None
    return Delivery(
        message_id=message.id,
        person_id=message.person_id,
        seq=seq,
        xid=0,
        position=0,
        at=at,
        was=was,
        state=state,
        final=transition.final if transition else False,
        reason=transition.reason if transition else None,
        profile=message.profile,
        rule=RULE,
        template=message.template,
        lane=message.lane,
        category=message.category,
        attempt=attempt.n if attempt else None,
        channel=transition.channel if transition else message.channel,
        dealer=transition.dealer if transition else message.dealer,
        attempt_was=transition.attempt_was if transition else None,
        attempt_state=transition.attempt_state if transition else None,
        reason_was=transition.reason_was if transition else None,
        code=transition.code if transition else None,
        cost_krw=transition.cost_krw if transition else 0,
        sent_at=attempt.opened_at if attempt else None,
    )


def _of(transition: Transition) -> Delivery:
    return _record(
        transition.message,
        seq=transition.seq,
        at=transition.at,
        state=transition.state,
        was=transition.was,
        transition=transition,
    )


def placed(records: Sequence[Delivery], first: int = 1) -> list[Delivery]:
    """Return ``records`` with places in the ledger in this order, each of a transaction of its own."""
    return [replace(record, xid=n, position=n) for record, n in zip(records, count(first), strict=False)]


def expected(stories: Sequence[Story]) -> Counts:
    """Return the tables that the last rows of ``stories`` make, without looking at any difference."""
    counts = Counts()
    for story in stories:
        message = story.message
        hour = hour_of(story.records[0].at)

        def key(
            state: str, reason: str = "", channel: str = "", *, message: Message = message, hour: datetime = hour
        ) -> MessageKey:
            return MessageKey(hour, message.profile, RULE, message.template, message.lane, state, reason, channel)

        delivered = [r for r in story.records if r.state is MessageState.DELIVERED]
        ended = message.state in ENDS and message.final
        reason = message.reason or "" if ended else ""
        counts.messages[key(message.state, reason, str(delivered[0].channel) if delivered else "")] += 1
        if story.fell_back:
            counts.messages[key(FELL_BACK, channel=story.fell_back)] += 1
        for record in delivered[1:]:
            if record.attempt_state is AttemptState.DELIVERED:
                counts.messages[key(DOUBLE_CONTACT, channel=str(record.channel))] += 1
        for attempt in story.attempts:
            row = AttemptKey(
                hour_of(attempt.opened_at),
                message.profile,
                message.template,
                attempt.channel,
                attempt.dealer,
                attempt.state,
                attempt.reason or "",
            )
            counts.attempts[row] += 1
            if attempt.cost_krw:
                counts.cost_krw[row._replace(state=COST, reason="")] += attempt.cost_krw
    return counts
