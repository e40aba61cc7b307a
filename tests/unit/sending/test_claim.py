"""The last check before a dealer is called, and how jobs are cut into calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.config import Config
from shared.contracts.states import AttemptState, Category, Channel, Lane, MessageState
from shared.ledger.book import Book, Message
from shared.sending.sender import Job, claim
from shared.sending.stops import Gate

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)  # in Seoul
LEASE = timedelta(seconds=30)
CONFIG = Config.model_validate(
    {
        "dealers": {"solapi": {"kind": "solapi", "base_url": "http://127.0.0.1:9"}},
        "profiles": {
            "shop": {
                "name": "봉수상점",
                "routes": [{"dealer": "solapi", "sender_key": "KEY"}],
                "quiet_hours": {"informational": "21:00-08:00"},
            }
        },
    }
)
Make = Callable[..., Message]


def job_of(message: Message, *, seq: int | None = None) -> Job:
    seq = message.seq if seq is None else seq
    return Job(message.id, seq, message.dealer, message.channel, message.lane)


def claim_one(message: Message, *jobs: Job, now: datetime = NOON) -> tuple[Book, int]:
    book = Book(now, {message.id: message})
    claimed = claim(book, jobs or [job_of(message)], CONFIG, Gate({}), handle="G1", check_at=now + LEASE)
    return book, len(claimed)


def test_what_may_be_sent_is_opened(make_message: Make) -> None:
    message = make_message()
    book, count = claim_one(message)
    [attempt] = book.opened
    assert (count, message.state, attempt.state) == (1, MessageState.SENDING, AttemptState.SENDING)
    assert (attempt.handle, attempt.check_at, attempt.opened_at) == ("G1", NOON + LEASE, NOON)


def test_the_same_job_twice_opens_one_attempt(make_message: Make) -> None:
    message = make_message()
    job = job_of(message)
    book, count = claim_one(message, job, job)
    assert (count, len(book.opened), message.attempt) == (1, 1, 1)


@pytest.mark.parametrize("state", [state for state in MessageState if state is not MessageState.QUEUED])
def test_a_message_that_moved_on_is_left_alone(make_message: Make, state: MessageState) -> None:
    message = make_message(state=state)
    book, count = claim_one(message)
    assert (count, book.transitions, message.state) == (0, [], state)


@pytest.mark.parametrize("seq", [1, 3])
def test_a_job_of_another_turn_is_void(make_message: Make, seq: int) -> None:
    message = make_message()
    book, count = claim_one(message, job_of(message, seq=seq))
    assert (count, book.transitions) == (0, [])


MORNING = datetime(2026, 11, 23, 23, tzinfo=UTC)  # 08:00 in Seoul, on the 24th


@pytest.mark.parametrize(
    ("category", "state"), [("informational", MessageState.SENDING), ("advertising", MessageState.SCHEDULED)]
)
def test_a_code_goes_at_night_and_advertising_on_no_lane(
    make_message: Make, category: str, state: MessageState
) -> None:
    """Someone waits for the code; a rule that calls an advertisement one was refused, and is not believed here."""
    night = NOON + timedelta(hours=10)
    message = make_message(lane=Lane.AUTH, category=Category(category), deadline=night + timedelta(days=1))
    claim_one(message, now=night)
    assert message.state is state


@pytest.mark.parametrize(
    ("category", "now", "deadline", "state", "due_at"),
    [
        pytest.param("informational", NOON, NOON, "expired", None, id="at-its-deadline"),
        pytest.param("informational", NOON + timedelta(hours=8), MORNING, "sending", None, id="20:00-informational"),
        pytest.param(
            "advertising",
            NOON + timedelta(hours=8),
            MORNING + timedelta(1),
            "scheduled",
            MORNING,
            id="20:00-advertising",
        ),
        pytest.param(
            "informational",
            NOON + timedelta(hours=9),
            MORNING + timedelta(1),
            "scheduled",
            MORNING,
            id="21:00-informational",
        ),
        pytest.param(
            "informational",
            NOON + timedelta(hours=9),
            MORNING,
            "expired",
            None,
            id="its-deadline-is-when-rest-ends",
        ),
        pytest.param("informational", MORNING, MORNING + timedelta(1), "sending", None, id="08:00"),
    ],
)
def test_rest_and_deadline(
    make_message: Make, category: str, now: datetime, deadline: datetime, state: str, due_at: datetime | None
) -> None:
    message = make_message(category=Category(category), deadline=deadline)
    claim_one(message, now=now)
    assert (message.state, message.due_at, message.final) == (state, due_at, state == "expired")


@pytest.mark.parametrize(
    ("changes", "final"),
    [
        pytest.param({"profile": "gone"}, False, id="profile"),
        pytest.param({"profile": "gone", "fallback": "none"}, True, id="no-fallback"),
        pytest.param({"dealer": "gone", "channel": Channel.SMS}, True, id="a-text"),
    ],
)
def test_what_is_not_configured_any_more_fails(make_message: Make, changes: dict[str, object], final: bool) -> None:  # noqa: FBT001 - a column
    message = make_message(**changes)
    book, count = claim_one(message)
    assert (count, message.state, message.final) == (0, MessageState.FAILED, final)
    assert book.transitions[-1].reason == "sender_profile_invalid"


@pytest.mark.parametrize("dealer", ["gone", "kept"])
def test_what_has_no_route_any_more_takes_another(make_message: Make, dealer: str) -> None:
    """Else a campaign that was planned through it would become texts."""
    message = make_message(dealer=dealer)
    config = CONFIG.model_copy(update={"dealers": {**CONFIG.dealers, "kept": CONFIG.dealers["solapi"]}})
    book = Book(NOON, {message.id: message})
    assert claim(book, [job_of(message)], config, Gate({}), handle=None, check_at=NOON + LEASE) == []
    assert (message.state, message.dealer) == (MessageState.QUEUED, "solapi")
    assert book.transitions[-1].detail == {"why": "route_gone", "dealer": dealer}
