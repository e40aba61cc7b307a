"""The rules of the ledger: which change of state follows from what was learnt of an attempt. No I/O.

A ``Book`` holds the rows that a transaction has locked. Its methods move them, in memory, and write down one
``Transition`` for each move; ``shared.ledger.repository`` loads and saves it. Whatever comes late, twice or in
the wrong order is told by the tables of ``contracts.states``: a move that is not allowed changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from shared.contracts.keys import request_key
from shared.contracts.states import ATTEMPT_MOVES, AttemptState, Category, Channel, Lane, MessageState
from shared.ids import MessageId, PersonId

UNCONFIRMED = "delivery_uncertain"
_CHARGED = frozenset({AttemptState.SENT, AttemptState.DELIVERED})
_UNDER_WAY = frozenset({MessageState.SENDING, MessageState.UNCERTAIN, MessageState.SENT})


@dataclass(slots=True)
class Message:
    """A locked row of ``messages``, without what does not decide anything."""

    id: MessageId
    person_id: PersonId
    profile: str
    template: str
    template_revision: int
    lane: Lane
    category: Category
    fallback: str
    state: MessageState
    final: bool
    reason: str | None
    seq: int
    attempt: int
    channel: Channel
    dealer: str
    tries: int
    due_at: datetime | None
    deadline: datetime
    cost_krw: int
    personal: bytes
    held_by: str | None = None
    """the stop it waits for"""


@dataclass(slots=True)
class Attempt:
    """A row of ``attempts``; its message is locked."""

    message_id: MessageId
    n: int
    channel: Channel
    dealer: str
    state: AttemptState
    request_key: str
    opened_at: datetime
    handle: str | None = None
    dealer_message_id: str | None = None
    check_at: datetime | None = None
    checks: int = 0
    missing: int = 0
    code: str | None = None
    reason: str | None = None
    cost_krw: int = 0
    leg_of: int | None = None
    """the attempt that the dealer followed by this one of its own accord"""

    @property
    def is_unconfirmed(self) -> bool:
        """Whether Kakao sent it and has no confirmation."""
        return self.state is AttemptState.UNCERTAIN and self.reason == UNCONFIRMED


class Transition(msgspec.Struct, frozen=True):
    """A new row of ``transitions``."""

    message: Message
    seq: int
    at: datetime
    was: MessageState
    state: MessageState
    final: bool
    reason: str | None
    attempt: Attempt | None
    channel: Channel
    dealer: str
    attempt_was: AttemptState | None
    attempt_state: AttemptState | None
    reason_was: str | None
    code: str | None
    cost_krw: int
    detail: dict[str, Any] | None


# -- what follows a failed attempt -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try the same channel again then."""

    when: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Not over this channel; another may follow (``fallback``)."""


@dataclass(frozen=True, slots=True)
class Close:
    """Not over any channel: the message has failed."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep it until the stop ``by`` is over; at ``until``, its deadline, it expires."""

    by: str
    until: datetime


@dataclass(frozen=True, slots=True)
class MoveTo:
    """Try another dealer at once: this one certainly did not take it."""

    dealer: str


AfterFailure = RetryAt | GiveUp | Close | Hold | MoveTo


@dataclass(slots=True)
class Book:
    """The rows of one transaction, and what it changes."""

    now: datetime
    messages: dict[MessageId, Message] = field(default_factory=dict)
    attempts: dict[tuple[MessageId, int], Attempt] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    opened: list[Attempt] = field(default_factory=list)
    touched_messages: dict[MessageId, Message] = field(default_factory=dict)
    touched_attempts: dict[tuple[MessageId, int], Attempt] = field(default_factory=dict)
    aside: list[Message] = field(default_factory=list)
    """to be queued once the change under way is written"""

    # -- moves of a message --------------------------------------------------------------------------------------

    def move(
        self,
        message: Message,
        state: MessageState,
        *,
        final: bool = False,
        reason: str | None = None,
        due_at: datetime | None = None,
        held_by: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Move ``message``, with no attempt concerned: queued, scheduled, expired, cancelled, given up."""
        was = self._enter(message, state, final=final, reason=reason, due_at=due_at, held_by=held_by)
        self._write(message, was, None, detail=detail)

    def turn_to(
        self,
        message: Message,
        channel: Channel,
        dealer: str,
        *,
        due_at: datetime | None = None,
        held_by: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Let ``message`` go on over another channel or dealer, now or at ``due_at``."""
        message.channel, message.dealer, message.tries = channel, dealer, 0
        state = MessageState.QUEUED if due_at is None else MessageState.SCHEDULED
        self.move(message, state, due_at=due_at, held_by=held_by, detail=detail)

    # -- moves of an attempt -------------------------------------------------------------------------------------

    def open_attempt(self, message: Message, *, handle: str | None, check_at: datetime) -> Attempt:
        """Write down that ``message`` is about to be sent. ``check_at``: when to ask, should nothing be heard."""
        message.attempt += 1
        message.tries += 1
        attempt = Attempt(
            message_id=message.id,
            n=message.attempt,
            channel=message.channel,
            dealer=message.dealer,
            state=AttemptState.SENDING,
            request_key=request_key(message.id, message.channel, message.attempt),
            opened_at=self.now,
            handle=handle,
            check_at=check_at,
        )
        self.attempts[message.id, attempt.n] = attempt
        self.opened.append(attempt)
        was = self._enter(message, MessageState.SENDING)
        self._write(message, was, attempt)
        return attempt

    def taken(
        self, attempt: Attempt, *, dealer_message_id: str | None, price_krw: int, check_at: datetime | None
    ) -> bool:
        """Note that the dealer took ``attempt``; return False if that was known."""
        if dealer_message_id is not None:
            self.name(attempt, dealer_message_id)
        if attempt.is_unconfirmed:
            return False  # that the dealer took it is no news: Kakao had it already
        return self._attempt(attempt, AttemptState.SENT, price_krw=price_krw, check_at=check_at)

    def unsure(self, attempt: Attempt, *, check_at: datetime, why: str) -> bool:
        """Note that the dealer may have ``attempt``; False if more is known."""
        if attempt.state is not AttemptState.SENDING:
            return False
        return self._attempt(attempt, AttemptState.UNCERTAIN, check_at=check_at, detail={"why": why})

    def unconfirmed(self, attempt: Attempt, *, code: str, check_at: datetime) -> bool:
        """Note that Kakao sent ``attempt`` and has no confirmation; False if that was known, or more is."""
        if not attempt.is_unconfirmed:
            self._attempt(attempt, AttemptState.SENT, price_krw=attempt.cost_krw, check_at=check_at)
        return self._attempt(
            attempt,
            AttemptState.UNCERTAIN,
            reason=UNCONFIRMED,
            code=code,
            check_at=check_at,
            detail={"why": "unconfirmed"},
        )

    def delivered(
        self, attempt: Attempt, *, code: str | None, price_krw: int, detail: dict[str, Any] | None = None
    ) -> bool:
        """Note that the person has it. Nothing overrides this."""
        told = {**self._twice(attempt), **(detail or {})}
        return self._attempt(attempt, AttemptState.DELIVERED, code=code, price_krw=price_krw, detail=told or None)

    def failed(
        self,
        attempt: Attempt,
        *,
        reason: str,
        code: str | None = None,
        then: AfterFailure,
        check_at: datetime | None = None,
        detail: dict[str, Any] | None = None,
    ) -> bool:
        """Note that the person does not get ``attempt``, and what follows. ``check_at``: when to ask if that is so."""
        return self._attempt(
            attempt, AttemptState.FAILED, reason=reason, code=code, then=then, check_at=check_at, detail=detail
        )

    def leg(
        self, attempt: Attempt, channel: Channel, *, delivered: bool, code: str, reason: str | None, price_krw: int
    ) -> Attempt | None:
        """Note how the dealer fared that followed ``attempt`` over ``channel`` of its own accord; None if known.

        It is an attempt of its own, written down once it has ended: nobody here may wait for it, ask about it or send
        another in its place. What comes of ``attempt`` itself is told by its own reports.
        """
        attempts = self.attempts_of(self.messages[attempt.message_id])
        known = next((a for a in attempts if (a.leg_of, a.channel) == (attempt.n, channel)), None)
        if known is None:
            return self._add_leg(attempt, channel, delivered=delivered, code=code, reason=reason, price_krw=price_krw)
        changed = delivered and self.delivered(known, code=code, price_krw=price_krw, detail={"leg_of": attempt.n})
        return known if changed else None

    def name(self, attempt: Attempt, dealer_message_id: str) -> None:
        """Note the dealer's id of ``attempt``, unless one is known; no change of state."""
        if attempt.dealer_message_id is None:
            attempt.dealer_message_id = dealer_message_id
            self._touch(attempt)

    def postpone(self, attempt: Attempt, *, check_at: datetime | None) -> None:
        """Ask about ``attempt`` at another time; no change of state."""
        attempt.check_at = check_at
        self._touch(attempt)

    def _add_leg(
        self, attempt: Attempt, channel: Channel, *, delivered: bool, code: str, reason: str | None, price_krw: int
    ) -> Attempt:
        message = self.messages[attempt.message_id]
        message.attempt += 1
        leg = Attempt(
            message_id=message.id,
            n=message.attempt,
            channel=channel,
            dealer=attempt.dealer,
            state=AttemptState.DELIVERED if delivered else AttemptState.FAILED,
            request_key=request_key(message.id, channel, message.attempt),
            opened_at=attempt.opened_at,  # it went out by the same call, and counts in the same hour
            code=code,
            reason=None if delivered else reason,
            cost_krw=price_krw if delivered else 0,
            leg_of=attempt.n,
        )
        detail = {**(self._twice(leg) if delivered else {}), "leg_of": attempt.n}
        self.attempts[message.id, leg.n] = leg
        self.opened.append(leg)
        message.cost_krw += leg.cost_krw
        was = self._follow(message, leg, None)
        self._write(message, was, leg, cost_krw=leg.cost_krw, detail=detail)
        self._step_back()
        return leg

    # -- the common part -----------------------------------------------------------------------------------------

    def _attempt(
        self,
        attempt: Attempt,
        to: AttemptState,
        *,
        reason: str | None = None,
        code: str | None = None,
        price_krw: int = 0,
        check_at: datetime | None = None,
        then: AfterFailure | None = None,
        detail: dict[str, Any] | None = None,
    ) -> bool:
        if to not in ATTEMPT_MOVES[attempt.state]:
            return False
        message = self.messages[attempt.message_id]
        attempt_was, reason_was = attempt.state, attempt.reason
        cost = price_krw if to in _CHARGED else 0  # dealers take back what a failed message cost
        if attempt_was in _CHARGED and to in _CHARGED:
            cost = attempt.cost_krw  # booked when it was sent
        difference = cost - attempt.cost_krw
        attempt.state, attempt.reason, attempt.cost_krw, attempt.check_at = to, reason, cost, check_at
        attempt.code = code if code is not None else attempt.code
        attempt.checks = attempt.missing = 0
        self._touch(attempt)
        message.cost_krw += difference
        was = self._follow(message, attempt, then)
        if isinstance(then, MoveTo) and self.aside:
            detail = {**(detail or {}), "moved_to": then.dealer}
        self._write(
            message,
            was,
            attempt,
            attempt_was=attempt_was,
            reason_was=reason_was,
            cost_krw=difference,
            detail=detail,
        )
        self._step_back()
        return True

    def _follow(self, message: Message, attempt: Attempt, then: AfterFailure | None) -> MessageState:
        """Move ``message`` as its attempt's news demand; return the state it had."""
        if attempt.state is AttemptState.DELIVERED and message.state is not MessageState.DELIVERED:
            return self._enter(message, MessageState.DELIVERED, final=True)
        if not self._is_present(message, attempt) or message.state not in _UNDER_WAY:
            # An earlier try, or the message has ended or waits for its next one: only the attempt moves.
            if message.state is MessageState.QUEUED:
                return self._step_aside(message)
            return self._enter(
                message,
                message.state,
                final=message.final,
                reason=message.reason,
                due_at=message.due_at,
                held_by=message.held_by,
            )
        match attempt.state:
            case AttemptState.SENDING | AttemptState.UNCERTAIN | AttemptState.SENT | AttemptState.DELIVERED:
                return self._enter(message, MessageState(attempt.state.value))
            case AttemptState.FAILED:
                return self._after(message, attempt, then or GiveUp())

    def _step_aside(self, message: Message) -> MessageState:
        """Leave ``queued`` to a change of its own: it is a job for the channel and dealer that it names, and a change
        of an attempt names the attempt's.
        """  # noqa: D205 - one sentence, and longer than a line
        was = self._enter(message, MessageState.SCHEDULED, due_at=self.now)
        self.aside.append(message)
        return was

    def _step_back(self) -> None:
        while self.aside:
            self.move(self.aside.pop(), MessageState.QUEUED)

    def _is_present(self, message: Message, attempt: Attempt) -> bool:
        """Whether ``message`` is where ``attempt`` took it: no other was made since, but by the dealer."""
        later = (self.attempts.get((message.id, n)) for n in range(attempt.n + 1, message.attempt + 1))
        return attempt.leg_of is None and all(a is not None and a.leg_of is not None for a in later)

    def _after(self, message: Message, attempt: Attempt, then: AfterFailure) -> MessageState:
        """Move ``message``, whose latest attempt failed, to what was chosen to follow; return the state it had."""
        match then:
            case RetryAt(when):
                return self._enter(message, MessageState.SCHEDULED, due_at=when)
            case Hold(by, until):
                return self._enter(message, MessageState.SCHEDULED, due_at=until, held_by=by)
            case MoveTo(dealer):
                message.dealer, message.tries = dealer, 0
                return self._step_aside(message)
            case Close():
                return self._enter(message, MessageState.FAILED, final=True, reason=attempt.reason)
            case GiveUp():
                last = message.fallback == "none" or attempt.channel.is_text
                return self._enter(message, MessageState.FAILED, final=last, reason=attempt.reason)

    def _enter(
        self,
        message: Message,
        state: MessageState,
        *,
        final: bool = False,
        reason: str | None = None,
        due_at: datetime | None = None,
        held_by: str | None = None,
    ) -> MessageState:
        was = message.state
        message.seq += 1
        message.state, message.final, message.reason, message.due_at = state, final, reason, due_at
        message.held_by = held_by
        self.touched_messages[message.id] = message
        return was

    def _write(
        self,
        message: Message,
        was: MessageState,
        attempt: Attempt | None,
        *,
        attempt_was: AttemptState | None = None,
        reason_was: str | None = None,
        cost_krw: int = 0,
        detail: dict[str, Any] | None = None,
    ) -> None:
        if message.due_at is not None:
            detail = {"due_at": message.due_at.isoformat(), **(detail or {})}
        if message.held_by is not None:
            detail = {"held_by": message.held_by, **(detail or {})}
        self.transitions.append(
            Transition(
                message=message,
                seq=message.seq,
                at=self.now,
                was=was,
                state=message.state,
                final=message.final,
                reason=attempt.reason if attempt and attempt.reason else message.reason,
                attempt=attempt,
                channel=attempt.channel if attempt else message.channel,
                dealer=attempt.dealer if attempt else message.dealer,
                attempt_was=attempt_was,
                attempt_state=attempt.state if attempt else None,
                reason_was=reason_was,
                code=attempt.code if attempt else None,
                cost_krw=cost_krw,
                detail=detail,
            )
        )

    def _touch(self, attempt: Attempt) -> None:
        self.touched_attempts[attempt.message_id, attempt.n] = attempt

    def _twice(self, attempt: Attempt) -> dict[str, Any]:
        """Return what to tell of a delivery of ``attempt``, if another attempt was delivered as well."""
        attempts = self.attempts_of(self.messages[attempt.message_id])
        others = [a for a in attempts if a is not attempt and a.state is AttemptState.DELIVERED]
        return {"double_contact": sorted({a.channel.value for a in (attempt, *others)})} if others else {}

    def attempts_of(self, message: Message) -> list[Attempt]:
        """Return the attempts of ``message``, from the first."""
        known = (self.attempts.get((message.id, n)) for n in range(1, message.attempt + 1))
        return [a for a in known if a is not None]
