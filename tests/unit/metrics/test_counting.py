from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.metrics.domain import (
    DOUBLE_CONTACT,
    FELL_BACK,
    Counts,
    Mark,
    Past,
    end_before,
    fold,
    needs_past,
    slot_of,
    uncounted,
)
from services.metrics.repository import compare
from shared.contracts.delivery import Delivery
from shared.contracts.states import AttemptState, Channel, MessageState
from shared.ledger.book import GiveUp
from tests.unit.metrics.stories import Story, expected, placed, tell

PARTITIONS = 3


def ended(stories: Sequence[Story], records: Sequence[Delivery]) -> dict[tuple[UUID, int], str | None]:
    past = {story.message.id: story.past for story in stories}
    return {(r.message_id, r.seq): end_before(past[r.message_id], r.seq) for r in records if needs_past(r)}


def add(total: Counts, more: Counts) -> None:
    messages, attempts = more.tidy()
    for key, n in messages:
        total.messages[key] += n
    for row, n, krw in attempts:
        total.attempts[row] += n
        total.cost_krw[row] += krw


def partition_of(record: Delivery) -> int:
    return (record.person_id.int >> 120) % PARTITIONS


def test_a_whole_life_leaves_one_row_a_message_and_one_an_attempt() -> None:
    story = tell([1, 0, 0, 0, 0])
    total = fold(story.records, ended([story], story.records))
    assert compare(total, expected([story]), "story") == []
    assert sum(total.messages.values()) == 1


@settings(max_examples=300)
@given(
    lives=st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=14), min_size=1, max_size=6),
    swaps=st.lists(st.integers(0, 200), max_size=30),
    rewinds=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), max_size=25),
    shuffled=st.randoms(use_true_random=False),
)
def test_any_order_repetition_and_cut_gives_what_the_last_rows_give(
    lives: list[list[int]], swaps: list[int], rewinds: list[tuple[int, int]], shuffled: object
) -> None:
    """The topic repeats runs, cuts anywhere, and swaps changes whose transactions overlapped: the sum is the same."""
    stories = [tell(choices, person=n) for n, choices in enumerate(lives)]
    order = [record for story in stories for record in story.records]
    shuffled.shuffle(order)  # type: ignore[attr-defined]  # Hypothesis gives a Random
    order.sort(key=lambda record: record.at)
    for swap in swaps:
        here = swap % len(order)
        order[here - 1], order[here] = order[here], order[here - 1]
    stream = [(partition_of(record), record) for record in placed(order)]

    total, marks = Counts(), dict[int, Mark]()
    read = 0
    plan = iter(rewinds)
    while read < len(stream):
        take, back = next(plan, (len(stream), 0))
        records, marks = uncounted(stream[read : read + take], marks)
        add(total, fold(records, ended(stories, records)))
        read = max(0, min(read + take, len(stream)) - back)  # ``back`` of them had not been committed

    assert compare(total, expected(stories), "stories") == []
    assert all(n >= 0 for n in (*total.messages.values(), *total.attempts.values(), *total.cost_krw.values()))


@settings(max_examples=200)
@given(choices=st.lists(st.integers(0, 999), max_size=14))
def test_states_of_messages_add_up_to_messages(choices: list[int]) -> None:
    story = tell(choices)
    total = fold(story.records, ended([story], story.records))
    states = {key: n for key, n in total.messages.items() if key.state not in {FELL_BACK, DOUBLE_CONTACT}}
    assert sum(states.values()) == 1
    assert sum(total.cost_krw.values()) == story.message.cost_krw


def test_a_late_receipt_takes_the_end_back_with_its_own_reason() -> None:
    """The reason of the end, not that of the attempt which the receipt is about."""
    past = [
        Past(4, MessageState.FAILED, final=True, reason="no_subscriber"),
        Past(5, MessageState.FAILED, final=True, reason="not_kakao_user"),
    ]
    assert end_before(past, 6) == "no_subscriber"


@pytest.mark.parametrize(
    ("past", "seq", "reason"),
    [
        pytest.param([], 2, None, id="no-past"),
        pytest.param([Past(1, MessageState.FAILED, final=False, reason="x")], 2, None, id="failed-not-for-good"),
        pytest.param([Past(1, MessageState.EXPIRED, final=True, reason=None)], 2, "unknown", id="no-reason"),
        pytest.param([Past(2, MessageState.EXPIRED, final=True, reason="expired")], 2, None, id="later-rows-left-out"),
    ],
)
def test_why_a_message_had_ended(past: list[Past], seq: int, reason: str | None) -> None:
    assert end_before(past, seq) == reason


def test_records_at_or_below_the_mark_of_their_partition_are_repetitions() -> None:
    record = tell([]).records[0]
    one, two, three = placed([record, record, record])
    fresh, marks = uncounted([(0, one), (0, two), (0, one), (1, one), (0, three)], {0: Mark(1, 1)})
    assert fresh == [two, one, three]
    assert marks == {0: Mark(3, 3), 1: Mark(1, 1)}


def test_rows_come_sorted_and_without_zeros() -> None:
    first, second = tell([], profile="b"), tell([], profile="a")
    counts = fold([*first.records, *second.records], {})
    counts.messages[next(iter(counts.messages))._replace(profile="c")] += 0
    messages, _ = counts.tidy()
    assert [key.profile for key, _ in messages] == ["a", "b"]


@pytest.mark.parametrize(
    ("moment", "slot"),
    [
        pytest.param(datetime(2026, 11, 22, 15, tzinfo=UTC), 0, id="monday-begins-in-seoul"),
        pytest.param(datetime(2026, 11, 22, 14, 59, tzinfo=UTC), 167, id="sunday-ends-in-seoul"),
        pytest.param(datetime(2026, 11, 23, 0, tzinfo=UTC), 9, id="monday-morning"),
    ],
)
def test_a_slot_is_an_hour_of_the_week_in_seoul(moment: datetime, slot: int) -> None:
    assert slot_of(moment) == slot


def test_a_delivery_after_the_first_is_a_double_contact() -> None:
    story = tell([])
    book, message = story.book, story.message
    book.move(message, MessageState.QUEUED)
    kakao = book.open_attempt(message, handle=None, check_at=book.now)
    book.failed(kakao, reason="not_kakao_user", then=GiveUp())
    book.turn_to(message, Channel.SMS, "solapi")
    text = book.open_attempt(message, handle=None, check_at=book.now)
    book.delivered(text, code="4000", price_krw=18)
    book.delivered(kakao, code="4000", price_krw=13)
    assert kakao.state is AttemptState.DELIVERED
    story.fell_back = Channel.SMS
    story.write_down()
    total = fold(story.records, ended([story], story.records))
    assert compare(total, expected([story]), "story") == []
    assert {key.state: n for key, n in total.messages.items() if n} == {"delivered": 1, FELL_BACK: 1, DOUBLE_CONTACT: 1}


def test_what_a_dealer_adds_of_its_own_accord_counts_as_an_attempt_and_a_double_contact() -> None:
    story = tell([])
    book, message = story.book, story.message
    book.move(message, MessageState.QUEUED)
    kakao = book.open_attempt(message, handle=None, check_at=book.now)
    for _ in range(2):
        book.leg(kakao, Channel.LMS, delivered=False, code="4400", reason="handset_unreachable", price_krw=45)
    for _ in range(2):
        book.leg(kakao, Channel.LMS, delivered=True, code="4100", reason=None, price_krw=45)
    book.delivered(kakao, code="4000", price_krw=13)
    story.write_down()
    total = fold(story.records, ended([story], story.records))
    assert compare(total, expected([story]), "story") == []
    assert {(key.state, key.channel): n for key, n in total.messages.items() if n} == {
        ("delivered", "lms"): 1,
        (DOUBLE_CONTACT, "alimtalk"): 1,
    }
    assert sum(total.cost_krw.values()) == message.cost_krw == 58


def test_news_of_an_attempt_change_nothing_of_why_a_message_ended() -> None:
    story = tell([])
    story.book.move(story.message, MessageState.FAILED, final=True, reason="no_text_route")
    story.write_down()
    late = replace(story.records[-1], seq=3, was=MessageState.FAILED, reason="not_kakao_user")
    records = [*story.records, late]
    total = fold(records, {(late.message_id, 3): end_before(story.past, 3)})
    assert compare(total, expected([story]), "story") == []
