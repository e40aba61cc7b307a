"""Promise P12: a message explains itself, whatever happened to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.reading import Step, Story, Summary
from services.ingest.story import detail_of, explain, timeline
from shared.contracts.states import AttemptState, Channel, MessageState

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)  # in Seoul


def step(state: str, minute: int = 0, **changed: Any) -> Step:  # noqa: ANN401 - any field
    plain: dict[str, Any] = dict.fromkeys(Step.__slots__)
    plain |= {"at": NOON + timedelta(minutes=minute), "state": state, "final": False, "cost_krw": 0, "detail": {}}
    return Step(**{**plain, **changed})


def story(*steps: Step, **changed: Any) -> Story:  # noqa: ANN401 - any field
    summary: dict[str, Any] = {
        "id": UUID(int=1),
        "state": steps[-1].state,
        "final": steps[-1].final,
        "reason": steps[-1].reason,
        "channel": "alimtalk",
        "rule": "order-paid",
        "template": "ORDER-PAID",
        "profile": "shop",
        "lane": "normal",
        "category": "informational",
        "campaign": None,
        "due_at": None,
        "cost_krw": 0,
    }
    return Story(Summary(**{**summary, **changed}), (), steps, ())


FACTS = {
    "event_type": "order.paid",
    "rule": "order-paid",
    "rule_revision": 2,
    "template": "ORDER-PAID",
    "template_revision": 3,
}
KAKAO: dict[str, Any] = {"channel": "alimtalk", "dealer": "solapi", "attempt": 1}
SMS: dict[str, Any] = {"channel": "sms", "dealer": "solapi", "attempt": 2}


def test_a_frequency_cap_says_which_and_when_it_opens() -> None:
    detail = {"cap": "3 messages in 1d (advertising)", "opens": (NOON + timedelta(hours=1)).isoformat()}
    told = explain(story(step("suppressed", was="queued", reason="frequency_cap", final=True, detail=detail)))
    assert "as many messages as a cap allows: 3 messages in 1d (advertising). That cap has room again from" in told
    assert "13:00:00 (Seoul)" in told


def test_a_fallback_is_told_from_the_event_to_the_cost() -> None:
    told = explain(
        story(
            step("scheduled", detail={**FACTS, "due_at": "2026-11-23T23:00:00Z", "why": "quiet_hours"}),
            step("queued", 1, was="scheduled", channel="alimtalk", dealer="solapi"),
            step("sending", 2, was="queued", attempt_state="sending", **KAKAO),
            step("sent", 2, was="sending", attempt_was="sending", attempt_state="sent", **KAKAO),
            step(
                "failed",
                3,
                was="sent",
                reason="not_kakao_user",
                code="3104",
                attempt_was="sent",
                attempt_state="failed",
                **KAKAO,
            ),
            step(
                "queued", 3, was="failed", channel="sms", dealer="solapi", detail={"fallback_after": "not_kakao_user"}
            ),
            step("delivered", 4, was="sent", final=True, attempt_was="sent", attempt_state="delivered", **SMS),
            cost_krw=18,
        )
    )
    assert told == (
        "An event order.paid came at 2026-11-23 12:00:00 (Seoul), and the rule order-paid (revision 2) made this "
        "message of it, from the template ORDER-PAID (revision 3). "
        "It waits until 2026-11-24 08:00:00 (Seoul), because of hours of rest, in which nobody is disturbed. "
        "Attempt 1 over AlimTalk through solapi was taken by the dealer at 2026-11-23 12:02:00 (Seoul); that is not "
        "yet delivered. "
        "Attempt 1 over AlimTalk through solapi failed: the number has no KakaoTalk (code 3104). "
        "As Kakao could not bring it (the number has no KakaoTalk), it goes by SMS. "
        "It stands in line, to go by SMS through solapi. "
        "Attempt 2 over SMS through solapi was delivered, as was learnt at 2026-11-23 12:04:00 (Seoul). "
        "The person has it. It has cost 18 KRW."
    )


def test_a_retry_says_when() -> None:
    retry = step(
        "scheduled",
        was="sending",
        reason="rate_limited",
        attempt_was="sending",
        attempt_state="failed",
        detail={"due_at": "2026-11-23T03:00:05+00:00"},
        **KAKAO,
    )
    assert detail_of(retry) == (
        "Attempt 1 over AlimTalk through solapi failed: the dealer was asked too fast. "
        "It is tried again at 2026-11-23 12:00:05 (Seoul)."
    )


def test_late_news_of_an_earlier_try_leave_the_message_as_it_is() -> None:
    late = step("delivered", was="delivered", attempt_was="failed", attempt_state="delivered", code="4000", **KAKAO,
                detail={"double_contact": ["alimtalk", "sms"]})  # fmt: skip
    told = detail_of(late)
    assert "News of an earlier try" in told
    assert "twice" in told


def test_no_fallback_says_why() -> None:
    born = step("queued", detail={**FACTS, "no_fallback": "profile_without_text"}, channel="alimtalk", dealer="solapi")
    assert [entry.state for entry in timeline(story(born))] == ["accepted", "queued"]
    assert "no SMS sender number" in next(timeline(story(born))).detail
    ended = step("failed", final=True, reason="blocked_channel", detail={"no_fallback": "advertising"})
    assert detail_of(ended) == "No text follows (advertising): the person has blocked this channel or AlimTalk."


words = st.none() | st.text(max_size=20)
steps = st.builds(
    Step,
    at=st.just(NOON),
    was=st.none() | st.sampled_from(MessageState),
    state=st.sampled_from(MessageState),
    final=st.booleans(),
    reason=words,
    attempt=st.none() | st.integers(1, 9),
    channel=st.none() | st.sampled_from(Channel),
    dealer=words,
    attempt_was=st.none() | st.sampled_from(AttemptState),
    attempt_state=st.none() | st.sampled_from(AttemptState),
    code=words,
    cost_krw=st.integers(-99, 99),
    detail=st.dictionaries(
        st.sampled_from(["why", "said", "no_fallback", "fallback_after", "x"]), st.text() | st.integers()
    ),
)


@given(st.lists(steps, min_size=1, max_size=5))
def test_whatever_happened_is_told_in_sentences(happened: list[Step]) -> None:
    for each in happened:
        assert detail_of(each).strip().endswith(".")
    assert explain(story(*happened)).endswith((" KRW.", "nothing."))


def test_a_doubt_that_was_ended_by_hand_says_by_whom_and_why() -> None:
    said = {"by_hand": {"as": "not-taken", "by": "김당번", "why": "the console does not list it"}}
    facts: dict[str, Any] = {"reason": "dealer_unavailable", "attempt_was": "uncertain", "attempt_state": "failed"}
    told = explain(story(step("failed", was="uncertain", final=True, detail=said, **facts, **KAKAO)))
    assert '김당번 ended the doubt as not taken, because "the console does not list it".' in told


@pytest.mark.parametrize(
    ("told_of", "said"),
    [
        (
            {"channel": "lms", "detail": {"images": "refused"}},
            "The dealer refused its images, so it goes without them; it stands in line, to go by LMS through solapi.",
        ),
        (
            {"channel": "lms", "detail": {"fallback_after": "not_kakao_user", "images": "not_at_this_dealer"}},
            (
                "As Kakao could not bring it (the number has no KakaoTalk), it goes by LMS, without its images, which "
                "that dealer does not bring. It stands in line, to go by LMS through solapi."
            ),
        ),
        (
            {"channel": "alimtalk", "detail": {"why": "route_gone", "dealer": "aligo"}},
            "The profile's route through aligo was taken out: it stands in line, to go by AlimTalk through solapi.",
        ),
        (
            {"channel": "friendtalk", "detail": {"why": "not_brought", "dealer": "aligo"}},
            "aligo does not bring it: it stands in line, to go by brand message through solapi.",
        ),
        (
            {"state": "failed", "channel": "friendtalk", "detail": {"why": "not_brought", "dealer": "aligo"}},
            "It failed: no dealer of its profile brings such a message.",
        ),
    ],
)
def test_what_a_dealer_does_not_bring_is_told(told_of: dict[str, Any], said: str) -> None:
    one = {"state": "queued", "was": "queued", "dealer": "solapi", **told_of}
    assert detail_of(step(one.pop("state"), **one)) == said
