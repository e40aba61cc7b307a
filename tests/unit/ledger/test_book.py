from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest

from shared.contracts.keys import read_request_key, request_key
from shared.contracts.states import AttemptState, Channel, MessageState
from shared.ids import MessageId
from shared.ledger.book import Attempt, Book, GiveUp, Message, MoveTo, RetryAt

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
SOON = NOW + timedelta(seconds=2)
Make = Callable[..., Message]


@pytest.fixture
def book() -> Book:
    return Book(NOW)


@pytest.fixture
def message(book: Book, make_message: Make) -> Message:
    made = make_message()
    book.messages[made.id] = made
    return made


@pytest.fixture
def attempt(book: Book, message: Message) -> Attempt:
    return book.open_attempt(message, handle="G1", check_at=SOON)


def taken(book: Book, attempt: Attempt) -> bool:
    return book.taken(attempt, dealer_message_id="M1", price_krw=13, check_at=SOON)


def unsure(book: Book, attempt: Attempt) -> bool:
    return book.unsure(attempt, check_at=SOON, why="timeout")


def delivered(book: Book, attempt: Attempt) -> bool:
    return book.delivered(attempt, code="4000", price_krw=13)


def failed(book: Book, attempt: Attempt) -> bool:
    return book.failed(attempt, reason="not_kakao_user", code="3104", then=GiveUp())


def not_taken(book: Book, attempt: Attempt) -> bool:
    return book.failed(attempt, reason="dealer_unavailable", then=RetryAt(SOON))


def unconfirmed(book: Book, attempt: Attempt) -> bool:
    return book.unconfirmed(attempt, code="3005", check_at=SOON)


def pending(book: Book, attempt: Attempt) -> bool:
    """The dealer has it and waits itself, which is all it says."""
    return book.taken(attempt, dealer_message_id=None, price_krw=13, check_at=SOON)


NEWS = (taken, unsure, delivered, failed, not_taken, unconfirmed, pending)
News = Callable[[Book, Attempt], object]


def leg_delivered(book: Book, attempt: Attempt) -> Attempt | None:
    return book.leg(attempt, Channel.SMS, delivered=True, code="4100", reason=None, price_krw=18)


def leg_failed(book: Book, attempt: Attempt) -> Attempt | None:
    return book.leg(attempt, Channel.SMS, delivered=False, code="4400", reason="no_subscriber", price_krw=18)


LEGS = (leg_delivered, leg_failed)


def tell(make_message: Make, news: Sequence[News]) -> tuple[Book, Message, Attempt]:
    """Return what becomes of a message that was sent, when ``news`` of its attempt come in this order."""
    book, message = Book(NOW), make_message()
    book.messages[message.id] = message
    attempt = book.open_attempt(message, handle="G1", check_at=SOON)
    for each in news:
        each(book, attempt)
    return book, message, attempt


def test_an_attempt_is_written_down_before_it_is_made(book: Book, message: Message, attempt: Attempt) -> None:
    assert (attempt.n, attempt.state, attempt.handle, attempt.check_at) == (1, AttemptState.SENDING, "G1", SOON)
    assert (message.state, message.seq, message.tries) == (MessageState.SENDING, 3, 1)
    [change] = book.transitions
    assert (change.was, change.state, change.attempt_was, change.attempt_state) == (
        MessageState.QUEUED,
        MessageState.SENDING,
        None,
        AttemptState.SENDING,
    )
    assert book.opened == [attempt]


@pytest.mark.parametrize(
    ("news", "state", "final", "due_at", "cost"),
    [
        pytest.param(taken, MessageState.SENT, False, None, 13, id="taken"),
        pytest.param(unsure, MessageState.UNCERTAIN, False, None, 0, id="in-doubt"),
        pytest.param(delivered, MessageState.DELIVERED, True, None, 13, id="receipt-before-record"),
        pytest.param(failed, MessageState.FAILED, False, None, 0, id="a-text-may-follow"),
        pytest.param(not_taken, MessageState.SCHEDULED, False, SOON, 0, id="tried-again"),
    ],
)
def test_a_message_follows_its_attempt(
    book: Book,
    message: Message,
    attempt: Attempt,
    news: News,
    state: MessageState,
    final: bool,  # noqa: FBT001 - a column of the table
    due_at: datetime | None,
    cost: int,
) -> None:
    assert news(book, attempt)
    assert (message.state, message.final, message.due_at, message.cost_krw) == (state, final, due_at, cost)


@pytest.mark.parametrize("changes", [{"fallback": "none"}, {"channel": Channel.SMS}], ids=["no-fallback", "a-text"])
def test_a_failure_that_nothing_follows_is_final(book: Book, make_message: Make, changes: dict[str, object]) -> None:
    message = make_message(**changes)
    book.messages[message.id] = message
    failed(book, book.open_attempt(message, handle=None, check_at=SOON))
    assert (message.state, message.final, message.reason) == (MessageState.FAILED, True, "not_kakao_user")


def test_what_a_failed_message_cost_is_taken_back(book: Book, message: Message, attempt: Attempt) -> None:
    taken(book, attempt)
    failed(book, attempt)
    assert [change.cost_krw for change in book.transitions] == [0, 13, -13]
    assert (message.cost_krw, attempt.cost_krw) == (0, 0)


def test_a_cost_is_booked_once(book: Book, message: Message, attempt: Attempt) -> None:
    book.taken(attempt, dealer_message_id="M1", price_krw=11, check_at=SOON)
    book.delivered(attempt, code="4000", price_krw=13)
    assert (message.cost_krw, attempt.cost_krw) == (11, 11)


def test_the_dealers_id_is_kept_though_a_receipt_came_first(book: Book, attempt: Attempt) -> None:
    delivered(book, attempt)
    assert not taken(book, attempt)
    assert attempt.dealer_message_id == "M1"
    assert book.touched_attempts == {(attempt.message_id, 1): attempt}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_news_of_which_one_is_a_delivery_end_delivered_in_any_order(make_message: Make, count: int) -> None:
    for order in permutations(NEWS, count):
        if delivered not in order:
            continue
        _, message, attempt = tell(make_message, (*order, *order))  # and all of it once more
        assert (message.state, message.final, message.reason, message.due_at) == (
            MessageState.DELIVERED,
            True,
            None,
            None,
        ), order
        assert (attempt.state, attempt.code, attempt.cost_krw, attempt.check_at) == (
            AttemptState.DELIVERED,
            "4000",
            13,
            None,
        ), order
        assert message.cost_krw == 13


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_a_failure_in_any_order_ends_the_attempt_unless_it_was_delivered(make_message: Make, count: int) -> None:
    for order in permutations([news for news in NEWS if news is not delivered], count):
        if failed not in order and not_taken not in order:
            continue
        book, message, attempt = tell(make_message, (*order, *order))
        first = next(news for news in order if news in {failed, not_taken})
        ended = MessageState.FAILED if first is failed else MessageState.SCHEDULED
        assert (attempt.state, attempt.check_at, attempt.cost_krw) == (AttemptState.FAILED, None, 0), order
        assert (message.state, message.final, message.cost_krw) == (ended, False, 0), order
        assert sum(change.cost_krw for change in book.transitions) == 0


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_what_a_dealer_adds_of_its_own_accord_is_told_alike_in_any_order(make_message: Make, count: int) -> None:
    """A leg beside its attempt: at most one each, and the message has what either brought."""
    for order in permutations([taken, delivered, failed, unconfirmed, *LEGS], count):
        if not set(LEGS) & set(order):
            continue
        book, message, attempt = tell(make_message, (*order, *order))
        [leg] = [each for each in book.attempts.values() if each is not attempt]
        came = leg_delivered in order
        assert (leg.leg_of, leg.channel, leg.state is AttemptState.DELIVERED) == (1, Channel.SMS, came), order
        assert leg.check_at is None
        assert (message.state is MessageState.DELIVERED) == (came or delivered in order), order
        assert (attempt.state is AttemptState.DELIVERED) == (delivered in order), order
        twice = [change.detail for change in book.transitions if change.detail and "double_contact" in change.detail]
        assert len(twice) == (came and delivered in order), order
        booked = sum(change.cost_krw for change in book.transitions)
        assert message.cost_krw == attempt.cost_krw + leg.cost_krw == booked, order
        assert leg.cost_krw == (18 if came else 0)


def test_a_leg_is_an_attempt_of_its_own(book: Book, message: Message, attempt: Attempt) -> None:
    taken(book, attempt)
    leg = leg_delivered(book, attempt)
    assert leg is not None
    assert (leg.n, leg.leg_of, leg.state, leg.cost_krw, leg.code) == (2, 1, AttemptState.DELIVERED, 18, "4100")
    assert read_request_key(leg.request_key) == (message.id, 2)
    assert leg.opened_at == attempt.opened_at
    assert (message.state, message.final, message.cost_krw) == (MessageState.DELIVERED, True, 31)
    assert book.opened == [attempt, leg]
    change = book.transitions[-1]
    assert (change.attempt_was, change.attempt_state, change.cost_krw) == (None, AttemptState.DELIVERED, 18)
    assert change.detail == {"leg_of": 1}


def test_a_leg_reported_twice_is_one(book: Book, attempt: Attempt) -> None:
    assert leg_delivered(book, attempt)
    count = len(book.transitions)
    assert leg_delivered(book, attempt) is None
    assert leg_failed(book, attempt) is None
    assert len(book.transitions) == count


def test_news_of_an_attempt_still_move_its_message_after_a_leg_failed(
    book: Book, message: Message, attempt: Attempt
) -> None:
    taken(book, attempt)
    assert leg_failed(book, attempt)
    assert message.state is MessageState.SENT
    failed(book, attempt)
    assert (message.state, message.final, message.reason) == (MessageState.FAILED, False, "not_kakao_user")


def test_a_leg_stops_a_text_of_ours_that_has_not_left(book: Book, message: Message) -> None:
    kakao, _ = text_after_kakao(book, message, until=MessageState.QUEUED)
    assert leg_delivered(book, kakao)
    assert (message.state, message.final) == (MessageState.DELIVERED, True)


def test_a_leg_that_fails_makes_no_job_for_its_channel(book: Book, message: Message) -> None:
    """A transition to ``queued`` is a job for the channel that it names."""
    kakao, _ = text_after_kakao(book, message, until=MessageState.QUEUED)
    assert leg_failed(book, kakao)
    told = [(change.state, change.channel) for change in book.transitions[-2:]]
    assert told == [(MessageState.SCHEDULED, Channel.SMS), (MessageState.QUEUED, Channel.SMS)]
    assert (message.state, message.due_at) == (MessageState.QUEUED, None)
    assert book.open_attempt(message, handle=None, check_at=SOON).n == 3


def text_after_kakao(book: Book, message: Message, *, until: MessageState) -> tuple[Attempt, Attempt | None]:
    """Fail an AlimTalk and take its text as far as ``until``."""
    kakao = book.open_attempt(message, handle="G1", check_at=SOON)
    taken(book, kakao)
    failed(book, kakao)
    if until is MessageState.FAILED:
        return kakao, None
    if until is MessageState.SCHEDULED:
        book.turn_to(message, Channel.SMS, "solapi", due_at=SOON)
        return kakao, None
    book.turn_to(message, Channel.SMS, "solapi")
    if until is MessageState.QUEUED:
        return kakao, None
    sms = book.open_attempt(message, handle="G2", check_at=SOON)
    if until is MessageState.SENT:
        book.taken(sms, dealer_message_id="M2", price_krw=18, check_at=SOON)
    return kakao, sms


@pytest.mark.parametrize("until", [MessageState.FAILED, MessageState.SCHEDULED, MessageState.QUEUED])
def test_a_late_kakao_success_stops_a_text_that_has_not_left(book: Book, message: Message, until: MessageState) -> None:
    kakao, _ = text_after_kakao(book, message, until=until)
    assert delivered(book, kakao)
    assert (message.state, message.final, message.due_at) == (MessageState.DELIVERED, True, None)
    assert book.transitions[-1].reason_was == "not_kakao_user"
    assert book.transitions[-1].detail is None


@pytest.mark.parametrize("until", [MessageState.SENDING, MessageState.SENT])
@pytest.mark.parametrize("kakao_first", [True, False])
def test_a_late_kakao_success_and_a_text_are_a_double_contact(
    book: Book,
    message: Message,
    until: MessageState,
    kakao_first: bool,  # noqa: FBT001 - one of two orders
) -> None:
    kakao, sms = text_after_kakao(book, message, until=until)
    assert sms is not None
    for late in (kakao, sms) if kakao_first else (sms, kakao):
        assert book.delivered(late, code="4000", price_krw=13 if late is kakao else 18)
    assert (message.state, message.final, message.cost_krw) == (MessageState.DELIVERED, True, 31)
    told = [change.detail for change in book.transitions if change.detail and "double_contact" in change.detail]
    assert told == [{"double_contact": ["alimtalk", "sms"]}]


def test_a_text_that_fails_after_a_late_kakao_success_changes_no_end(book: Book, message: Message) -> None:
    kakao, sms = text_after_kakao(book, message, until=MessageState.SENDING)
    assert sms is not None
    delivered(book, kakao)
    book.failed(sms, reason="dealer_unavailable", then=RetryAt(SOON))
    assert (message.state, message.final, message.due_at) == (MessageState.DELIVERED, True, None)
    assert sms.state is AttemptState.FAILED


def test_a_late_success_overrides_an_end_without_delivery(book: Book, message: Message) -> None:
    kakao, sms = text_after_kakao(book, message, until=MessageState.SENDING)
    assert sms is not None
    book.failed(sms, reason="no_subscriber", then=GiveUp())
    assert message.final
    assert delivered(book, kakao)
    assert (message.state, message.reason) == (MessageState.DELIVERED, None)


@pytest.mark.parametrize("news", NEWS)
@pytest.mark.parametrize("end", [delivered, failed])
def test_news_of_an_ended_attempt_changes_nothing_but_to_delivered(
    book: Book, message: Message, attempt: Attempt, end: News, news: News
) -> None:
    end(book, attempt)
    seq, count = message.seq, len(book.transitions)
    changed = news(book, attempt)
    assert changed == (end is failed and news is delivered)
    assert (message.seq - seq, len(book.transitions) - count) == ((1, 1) if changed else (0, 0))


def test_what_moves_to_another_dealer_is_a_job_for_that_dealer(book: Book, message: Message, attempt: Attempt) -> None:
    """The change of the attempt names the dealer that failed, and would be a job for it."""
    book.failed(attempt, reason="no_balance", then=MoveTo("nhn"))
    failure, job = book.transitions[-2:]
    assert (failure.state, failure.dealer) == (MessageState.SCHEDULED, "solapi")
    assert failure.detail == {"due_at": NOW.isoformat(), "moved_to": "nhn"}
    assert (job.was, job.state, job.dealer, job.attempt) == (MessageState.SCHEDULED, MessageState.QUEUED, "nhn", None)
    assert (message.dealer, message.state, message.seq) == ("nhn", MessageState.QUEUED, job.seq)


def test_waiting_for_an_hour_says_until_when(book: Book, message: Message) -> None:
    book.move(message, MessageState.SCHEDULED, due_at=SOON, detail={"why": "quiet_hours"})
    assert book.transitions[-1].detail == {"due_at": SOON.isoformat(), "why": "quiet_hours"}


# -- request keys ----------------------------------------------------------------------------------------------------

SOME = MessageId(UUID("01999999-8888-7777-8666-555555555555"))


@pytest.mark.parametrize("channel", Channel)
def test_a_request_key_is_read_back(channel: Channel) -> None:
    assert read_request_key(request_key(SOME, channel, 7)) == (SOME, 7)


OURS = request_key(SOME, Channel.SMS, 7)

FOREIGN = [
    "",
    "a/b",
    OURS[:22],
    OURS[:23],
    OURS[:22] + "x7",
    OURS[:23] + "0",
    OURS[:23] + "07",
    OURS[:23] + "-1",
    OURS[:23] + "\uff17",
    OURS[:23] + "zzzzz",
    OURS[:23] + "9" * 5000,
    "z" * 22 + "s7",
    " " + OURS,
    OURS + " ",
    f"{SOME}/sms/1",
]


def test_a_request_key_fits_the_narrowest_field() -> None:
    key = request_key(MessageId(UUID(int=2**128 - 1)), Channel.ALIMTALK, 62**4 - 1)
    assert len(key) == 27
    assert key.isalnum()
    assert read_request_key(key) == (UUID(int=2**128 - 1), 62**4 - 1)


@pytest.mark.parametrize("key", FOREIGN)
def test_what_is_no_key_of_ours_is_none(key: str) -> None:
    assert read_request_key(key) is None
