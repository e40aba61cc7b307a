"""Whether a text follows, for every reason there is (facts ``result-codes.md`` section 2, column FB)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.fallback.domain import Decision, Never, Now, WaitUntil, decide
from shared.config import Uncertain
from shared.contracts.states import Category
from shared.dealers.codes import REASONS

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)
LATER = NOON + timedelta(hours=8)

TEXT_FOLLOWS = {
    "not_kakao_user", "inactive_kakao_user", "blocked_channel", "unsupported_client", "safe_number",
    "invalid_recipient", "template_not_found", "template_not_approved", "template_mismatch", "button_mismatch",
    "variable_too_long", "invalid_request", "invalid_attachment", "sender_profile_invalid", "sender_profile_blocked",
    "dealer_unavailable", "dealer_error", "kakao_unavailable", "kakao_config", "quota_exceeded", "unknown",
}  # fmt: skip
OTHER_DEALER = {"auth_failed", "not_permitted", "account_suspended", "no_balance"}


def ask(
    reason: str,
    category: Category = Category.INFORMATIONAL,
    *,
    text_dealer: str | None = "a",
    opens: datetime = NOON,
    deadline: datetime = LATER,
    uncertain: Uncertain = Uncertain.HOLD,
) -> Decision:
    return decide(
        reason,
        category,
        text_dealer=text_dealer,
        failed_dealer="a",
        now=NOON,
        opens=opens,
        deadline=deadline,
        uncertain=uncertain,
    )


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_has_its_outcome(reason: str) -> None:
    expected = Now() if reason in TEXT_FOLLOWS else Never("reason_forbids_text")
    assert ask(reason) == expected


@pytest.mark.parametrize("reason", sorted(OTHER_DEALER))
def test_an_accounts_trouble_is_avoided_by_another_account(reason: str) -> None:
    assert ask(reason, text_dealer="b") == Now()


@pytest.mark.parametrize("reason", ["blocked_channel", "inactive_kakao_user"])
def test_an_advertisement_never_follows_someone_who_may_have_blocked(reason: str) -> None:
    assert ask(reason, Category.ADVERTISING) == Never("reason_forbids_text")


@pytest.mark.parametrize("reason", ["delivery_uncertain", "result_timeout"])
def test_doubt_leads_to_a_text_only_where_the_category_says_so(reason: str) -> None:
    assert ask(reason, text_dealer="b") == Never("reason_forbids_text")
    assert ask(reason, text_dealer="b", uncertain=Uncertain.RESEND) == Never("reason_forbids_text")
    assert ask(reason, uncertain=Uncertain.FALLBACK) == Now()


def test_a_text_waits_for_the_end_of_rest() -> None:
    opens = NOON + timedelta(hours=1)
    assert ask("not_kakao_user", opens=opens) == WaitUntil(opens)


def test_no_text_starts_at_or_after_the_deadline() -> None:
    assert ask("not_kakao_user", deadline=NOON) == Never("deadline_passed")
    assert ask("not_kakao_user", opens=LATER) == Never("deadline_passed")


def test_without_a_route_there_is_no_text() -> None:
    assert ask("not_kakao_user", text_dealer=None) == Never("no_text_route")
