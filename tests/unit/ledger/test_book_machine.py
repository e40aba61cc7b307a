"""Whatever is learnt of attempts, in any order, however often: what must hold of a message's book."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.contracts.states import (
    ATTEMPT_MOVES,
    OPEN_ATTEMPTS,
    AttemptState,
    Category,
    Channel,
    Lane,
    MessageState,
)
from shared.ids import MessageId, PersonId, new_id
from shared.ledger.book import AfterFailure, Attempt, Book, Close, GiveUp, Hold, Message, MoveTo, RetryAt

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
PRICES = st.integers(min_value=0, max_value=50)
THEN = st.sampled_from([RetryAt(LATER), GiveUp(), Close(), Hold("dealer/solapi", LATER), MoveTo("nhn")])
TEXTS = st.sampled_from([Channel.SMS, Channel.LMS])
REASONS = st.sampled_from(["not_kakao_user", "dealer_unavailable", "result_timeout"])


class Ledger(RuleBasedStateMachine):
    """One message, and all that may be done to it when."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(NOW)
        self.message = Message(
            id=MessageId(new_id(NOW)),
            person_id=PersonId(new_id(NOW)),
            profile="shop",
            template="T",
            template_revision=1,
            lane=Lane.NORMAL,
            category=Category.INFORMATIONAL,
            fallback="text",
            state=MessageState.ACCEPTED,
            final=False,
            reason=None,
            seq=1,
            attempt=0,
            channel=Channel.ALIMTALK,
            dealer="solapi",
            tries=0,
            due_at=None,
            deadline=LATER,
            cost_krw=0,
            personal=b"",
        )
        self.book.messages[self.message.id] = self.message
        self.delivered = False

    @property
    def attempts(self) -> list[Attempt]:
        return list(self.book.attempts.values())

    def some_of_ours(self, data: st.DataObject) -> Attempt:
        """What is reported of itself; what becomes of a leg is reported of the attempt that it followed."""
        return data.draw(st.sampled_from([attempt for attempt in self.attempts if attempt.leg_of is None]))

    # -- what services do ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.message.state in {MessageState.ACCEPTED, MessageState.SCHEDULED})
    @rule()
    def queue(self) -> None:
        self.book.move(self.message, MessageState.QUEUED)

    @precondition(lambda self: self.message.state is MessageState.QUEUED)
    @rule()
    def rest(self) -> None:
        self.book.move(self.message, MessageState.SCHEDULED, due_at=LATER)

    @precondition(lambda self: self.message.state in {MessageState.QUEUED, MessageState.SCHEDULED})
    @rule(state=st.sampled_from([MessageState.EXPIRED, MessageState.CANCELLED]))
    def end(self, state: MessageState) -> None:
        self.book.move(self.message, state, final=True, reason=state.value)

    @precondition(lambda self: self.message.state is MessageState.QUEUED)
    @rule()
    def send(self) -> None:
        self.book.open_attempt(self.message, handle=None, check_at=LATER)

    @precondition(lambda self: self.message.state is MessageState.FAILED and not self.message.final)
    @rule(wait=st.booleans(), channel=TEXTS)
    def fall_back(self, channel: Channel, *, wait: bool) -> None:
        self.book.turn_to(self.message, channel, "solapi", due_at=LATER if wait else None)

    @precondition(lambda self: self.message.state is MessageState.QUEUED)
    @rule()
    def be_stopped(self) -> None:
        held = {"why": "stopped"}
        self.book.move(self.message, MessageState.SCHEDULED, due_at=LATER, held_by="dealer/solapi", detail=held)

    @precondition(lambda self: self.message.state is MessageState.FAILED and not self.message.final)
    @rule()
    def give_up(self) -> None:
        self.book.move(self.message, MessageState.FAILED, final=True, reason=self.message.reason)

    @rule()
    def load_again(self) -> None:
        """A transaction ends and another begins."""
        assert self.book.messages[self.message.id] is self.message

    # -- what is learnt, of any attempt at any time --------------------------------------------------------------

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), price=PRICES, named=st.booleans())
    def taken(self, data: st.DataObject, price: int, *, named: bool) -> None:
        """The dealer's answer, or a report that it waits itself."""
        attempt = self.some_of_ours(data)
        self.book.taken(attempt, dealer_message_id="M" if named else None, price_krw=price, check_at=LATER)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def unsure(self, data: st.DataObject) -> None:
        self.book.unsure(self.some_of_ours(data), check_at=LATER, why="timeout")

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def receipt_of_no_confirmation(self, data: st.DataObject) -> None:
        self.book.unconfirmed(self.some_of_ours(data), code="3005", check_at=LATER)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), price=PRICES)
    def receipt_of_success(self, data: st.DataObject, price: int) -> None:
        self.book.delivered(self.some_of_ours(data), code="4000", price_krw=price)
        self.delivered = True

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), reason=REASONS, then=THEN)
    def failure(self, data: st.DataObject, reason: str, then: AfterFailure) -> None:
        self.book.failed(self.some_of_ours(data), reason=reason, then=then)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), channel=TEXTS, price=PRICES, delivered=st.booleans())
    def receipt_of_a_leg(self, data: st.DataObject, channel: Channel, price: int, *, delivered: bool) -> None:
        reason = None if delivered else "no_subscriber"
        attempt = self.some_of_ours(data)
        before = len(self.attempts)
        for _ in range(2):  # reported twice
            self.book.leg(attempt, channel, delivered=delivered, code="4100", reason=reason, price_krw=price)
        assert len(self.attempts) <= before + 1
        self.delivered |= delivered

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def changes_are_one_chain(self) -> None:
        state, seq = MessageState.ACCEPTED, 1
        for change in self.book.transitions:
            assert (change.was, change.seq) == (state, seq + 1)
            state, seq = change.state, change.seq
        assert (self.message.state, self.message.seq) == (state, seq)

    @invariant()
    def attempts_move_as_the_table_allows(self) -> None:
        known: dict[int, AttemptState] = {}
        for change in self.book.transitions:
            if change.attempt is None:
                assert change.attempt_state is None
                continue
            n, to = change.attempt.n, change.attempt_state
            assert to is not None
            assert change.attempt_was == known.get(n)
            assert change.attempt_was is None or to in ATTEMPT_MOVES[change.attempt_was]
            known[n] = to
        assert known == {attempt.n: attempt.state for attempt in self.attempts}

    @invariant()
    def delivered_is_never_overridden(self) -> None:
        assert (self.message.state is MessageState.DELIVERED) == self.delivered
        states = [change.state for change in self.book.transitions]
        if MessageState.DELIVERED in states:
            assert set(states[states.index(MessageState.DELIVERED) :]) == {MessageState.DELIVERED}

    @invariant()
    def costs_add_up(self) -> None:
        booked = sum(change.cost_krw for change in self.book.transitions)
        assert self.message.cost_krw == sum(attempt.cost_krw for attempt in self.attempts) == booked
        for attempt in self.attempts:
            assert attempt.cost_krw == 0 or attempt.state in {AttemptState.SENT, AttemptState.DELIVERED}

    @invariant()
    def one_open_attempt_a_channel(self) -> None:
        reachable = [attempt.channel for attempt in self.attempts if attempt.state in OPEN_ATTEMPTS]
        assert len(reachable) == len(set(reachable))

    @invariant()
    def what_waits_for_the_clock_has_its_time(self) -> None:
        assert (self.message.due_at is not None) == (self.message.state is MessageState.SCHEDULED)

    @invariant()
    def what_is_asked_about_is_open(self) -> None:
        for attempt in self.attempts:
            assert (attempt.check_at is not None) == (attempt.state in OPEN_ATTEMPTS)

    @invariant()
    def a_job_is_never_written_twice(self) -> None:
        # A second transition within ``queued`` would void the job of the first, and be a job itself.
        assert all(
            change.was is not MessageState.QUEUED or change.state is not MessageState.QUEUED
            for change in self.book.transitions
        )

    @invariant()
    def a_job_is_for_the_channel_of_its_message(self) -> None:
        last = self.book.transitions[-1] if self.book.transitions else None
        if last is not None and last.state is MessageState.QUEUED:
            assert (last.channel, last.dealer) == (self.message.channel, self.message.dealer)

    @invariant()
    def a_leg_is_never_open_and_one_a_channel(self) -> None:
        legs = [attempt for attempt in self.attempts if attempt.leg_of is not None]
        assert all(leg.state in {AttemptState.DELIVERED, AttemptState.FAILED} for leg in legs)
        assert len({(leg.leg_of, leg.channel) for leg in legs}) == len(legs)

    @invariant()
    def only_what_waits_is_held(self) -> None:
        assert self.message.held_by is None or self.message.state is MessageState.SCHEDULED

    @invariant()
    def what_was_delivered_by_several_is_told(self) -> None:
        delivered = [attempt for attempt in self.attempts if attempt.state is AttemptState.DELIVERED]
        told = [change for change in self.book.transitions if change.detail and "double_contact" in change.detail]
        assert len(told) == max(0, len(delivered) - 1)

    @invariant()
    def an_end_is_an_end(self) -> None:
        ends = {MessageState.DELIVERED, MessageState.EXPIRED, MessageState.CANCELLED}
        assert self.message.state not in ends or self.message.final
        assert not self.message.final or self.message.state in ends | {MessageState.FAILED}


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=25)
