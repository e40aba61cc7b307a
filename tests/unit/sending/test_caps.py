"""Frequency caps: which messages count for which, and when one has room again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.metrics.app import check_caps
from shared.config import BadConfig, Cap, Config
from shared.contracts.states import Category, Lane, MessageState
from shared.ids import MessageId, new_id
from shared.ledger.book import Book, Message
from shared.sending.caps import Contact, Contacts, covers, people_under
from shared.sending.sender import Job, claim
from shared.sending.stops import Gate

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)  # in Seoul
HOUR = timedelta(hours=1)
PROFILE = {"name": "봉수상점", "routes": [{"dealer": "solapi", "sender_key": "KEY"}]}
RAW = {
    "dealers": {"solapi": {"kind": "solapi", "base_url": "http://127.0.0.1:9"}},
    "profiles": {"shop": PROFILE, "cafe": PROFILE},
}
CONFIG = Config.model_validate(RAW)
Make = Callable[..., Message]


def cap(most: int = 1, per: str = "1h", **of: str) -> Cap:
    return Cap.model_validate({"most": most, "per": per, **of})


def of(message: Message, at: datetime) -> Contact:
    return Contact(MessageId(new_id(at)), at, message.profile, message.category, message.lane)


@pytest.mark.parametrize(
    ("names", "changes", "expected"),
    [
        pytest.param({}, {}, True, id="all"),
        pytest.param({}, {"lane": Lane.MASS}, True, id="all-mass"),
        pytest.param({}, {"lane": Lane.AUTH}, False, id="no-code"),
        pytest.param({"category": "informational"}, {"lane": Lane.AUTH}, False, id="no-code-of-its-category"),
        pytest.param({"lane": "auth"}, {"lane": Lane.AUTH}, True, id="codes-where-named"),
        pytest.param({"lane": "auth"}, {}, False, id="only-codes-there"),
        pytest.param({"category": "advertising"}, {}, False, id="another-category"),
        pytest.param({"category": "advertising"}, {"category": Category.ADVERTISING}, True, id="its-category"),
        pytest.param({"profile": "cafe"}, {}, False, id="another-profile"),
        pytest.param({"profile": "shop", "category": "informational"}, {}, True, id="both"),
    ],
)
def test_what_a_cap_covers(
    make_message: Make, names: dict[str, str], changes: dict[str, object], *, expected: bool
) -> None:
    assert covers(Cap.model_validate({"most": 1, "per": "1h", **names}), make_message(**changes)) is expected


def test_the_window_rolls_and_its_end_is_told(make_message: Make) -> None:
    message = make_message()
    times = [NOON - HOUR, NOON - timedelta(minutes=50), NOON - timedelta(minutes=20)]
    contacts = Contacts((cap(2),), {message.person_id: [of(message, at) for at in times]})
    assert (full := contacts.full(message, NOON)) is not None  # the first is just out of it
    assert full.opens == NOON + timedelta(minutes=10)
    assert contacts.full(message, full.opens - timedelta(microseconds=1)) is not None
    assert contacts.full(message, full.opens) is None


def test_of_several_the_one_that_opens_last_is_told(make_message: Make) -> None:
    message = make_message()
    contacts = Contacts((cap(), cap(per="1d")), {message.person_id: [of(message, NOON)]})
    full = contacts.full(message, NOON)
    assert full is not None
    assert str(full.cap) == "1 message in 1d"
    assert full.opens == NOON + timedelta(days=1)


def test_its_own_contact_stands_in_its_way_no_more_than_another_persons(make_message: Make) -> None:
    message, other = make_message(), make_message()
    own = replace(of(message, NOON), message_id=message.id)
    contacts = Contacts((cap(),), {message.person_id: [own], other.person_id: [of(other, NOON)]})
    assert contacts.full(message, NOON) is None


def test_a_clock_that_was_set_back_forgets_nothing(make_message: Make) -> None:
    message = make_message()
    contacts = Contacts((cap(),), {message.person_id: [of(message, NOON + HOUR)]})
    assert contacts.full(message, NOON) is not None


def test_nobody_is_looked_up_for_what_no_cap_covers(make_message: Make) -> None:
    message, sent = make_message(), make_message(state=MessageState.SENT)
    assert people_under((), [message]) == set()
    assert people_under((cap(profile="cafe"), cap(category="advertising")), [message]) == set()
    assert people_under((cap(),), [message, sent]) == {message.person_id}


@given(
    st.lists(
        st.tuples(st.integers(0, 6 * 3600), st.sampled_from(["shop", "cafe"]), st.sampled_from(list(Category))),
        max_size=60,
    ),
    st.lists(
        st.builds(
            cap,
            st.integers(1, 4),
            st.sampled_from(["10m", "1h", "3h"]),
        )
        | st.builds(lambda most: cap(most, "1h", profile="shop"), st.integers(1, 3))
        | st.builds(lambda most: cap(most, "2h", category="advertising"), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
)
def test_no_window_ever_holds_more_than_a_cap_and_nothing_is_barred_needlessly(
    arrivals: list[tuple[int, str, Category]], caps: list[Cap]
) -> None:
    person, contacts, left = new_id(NOON), Contacts(tuple(caps)), list[Contact]()
    for seconds, profile, category in sorted(arrivals):
        now = NOON + timedelta(seconds=seconds)
        message = _message(person, profile, category)
        full = contacts.full(message, now)
        counts = [sum(covers(each, c) and c.at > now - each.per for c in left) for each in caps]
        over = [each for each, n in zip(caps, counts, strict=True) if covers(each, message) and n >= each.most]
        assert (full is not None) is bool(over)
        if full is None:
            contacts.add(message, now)
            left.append(Contact(message.id, now, profile, category, message.lane))
    for each in caps:
        times = [c.at for c in left if covers(each, c)]
        assert all(sum(at - each.per < t <= at for t in times) <= each.most for at in times)


def _message(person: object, profile: str, category: Category) -> Message:
    known = {"id": new_id(NOON), "person_id": person, "profile": profile, "category": category, "lane": Lane.NORMAL}
    fields: dict[str, object] = dict.fromkeys(Message.__dataclass_fields__, None) | known
    return Message(**fields)  # type: ignore[arg-type]  # the rest decides nothing here


# -- at the last step ------------------------------------------------------------------------------------------------


def test_in_one_batch_the_first_go_and_the_rest_are_suppressed(make_message: Make) -> None:
    person = make_message().person_id
    messages = [make_message(person_id=person) for _ in range(4)]
    book = Book(NOON, {each.id: each for each in messages})
    jobs = [Job(each.id, each.seq, each.dealer, each.channel, each.lane) for each in messages]
    contacts = Contacts((cap(2),))
    claimed = claim(book, jobs, CONFIG, Gate({}), contacts=contacts, handle="G", check_at=NOON + HOUR)
    assert [message.id for _, message in claimed] == [each.id for each in messages[:2]]
    last = book.transitions[-1]
    assert (last.state, last.final, last.reason) == (MessageState.SUPPRESSED, True, "frequency_cap")
    assert last.detail == {"cap": "2 messages in 1h", "opens": (NOON + HOUR).isoformat()}


def test_a_message_in_its_hours_of_rest_waits_and_is_not_suppressed(make_message: Make) -> None:
    message = make_message(category=Category.ADVERTISING)
    night = NOON + timedelta(hours=9)
    book = Book(night, {message.id: message})
    contacts = Contacts((cap(),), {message.person_id: [of(message, night)]})
    jobs = [Job(message.id, message.seq, message.dealer, message.channel, message.lane)]
    claim(book, jobs, CONFIG, Gate({}), contacts=contacts, handle="G", check_at=night + HOUR)
    assert message.state is MessageState.SCHEDULED


# -- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ([{"most": 0, "per": "1d"}], "greater than or equal to 1"),
        ([{"most": 3}], "Field required"),
        ([{"most": 3, "per": "a day"}], "want a span of time"),
        ([{"most": 3, "per": "0s"}], "greater than 0"),
        ([{"most": 3, "per": "91d"}], "less than or equal to 90 days"),
        ([{"most": 3, "per": "1d", "category": "spam"}], "informational"),
        ([{"most": 3, "per": "1d", "profile": "gone"}], "names the profile 'gone', which is not defined"),
        ([{"most": 3, "per": "1d"}, {"most": 5, "per": "24h"}], "two caps are of the same messages and span"),
        ([{"most": 3, "per": "1d", "template": "X"}], "Extra inputs"),
    ],
)
def test_what_makes_no_cap_is_refused(caps: list[dict[str, object]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate({**RAW, "caps": caps})


def test_no_cap_looks_back_on_what_is_forgotten() -> None:
    config = Config.model_validate({**RAW, "caps": [{"most": 3, "per": "30d"}]})
    check_caps(config, 30)
    check_caps(CONFIG, 14)
    with pytest.raises(BadConfig, match="BONGSU_RETENTION_DAYS is 14, and a cap looks back 30d"):
        check_caps(config, 14)


def test_caps_say_what_they_are() -> None:
    assert str(cap(3, "36h", category="advertising", profile="shop")) == "3 messages in 1d12h (advertising, from shop)"
    assert str(cap(lane="mass")) == "1 message in 1h (on the lane mass)"
