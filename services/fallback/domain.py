"""Whether a text follows a failed AlimTalk, and when: a table over reason, category and deadline. No I/O.

The reasons and their default are those of the facts' ``result-codes.md`` section 2, column FB.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.config import Uncertain
from shared.contracts.states import Category

ALWAYS = frozenset({
    "not_kakao_user", "unsupported_client", "safe_number", "invalid_recipient", "template_not_found",
    "template_not_approved", "template_mismatch", "button_mismatch", "variable_too_long", "invalid_request",
    "invalid_attachment", "sender_profile_invalid", "sender_profile_blocked", "dealer_unavailable", "dealer_error",
    "kakao_unavailable", "kakao_config", "quota_exceeded", "unknown",
})  # fmt: skip
"""Kakao could not, whoever the person is."""

UNLESS_ADVERTISING = frozenset({"blocked_channel", "inactive_kakao_user"})
"""The person may have refused. SOLAPI's 3107 means "unused for 72 hours" or "blocked", and does not say which, so an
advertisement follows neither."""

OTHER_DEALER_ONLY = frozenset({"auth_failed", "not_permitted", "account_suspended", "no_balance"})
"""The account's trouble: its text would fail as well."""


IN_DOUBT = frozenset({"delivery_uncertain", "result_timeout"})
"""The person may have it. Such a failure comes here only when no receipt can come any more, or when the category would
rather text at once: its policy has the word."""


@dataclass(frozen=True, slots=True)
class Now:
    """Send the text at once."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Send the text then: the person rests until."""

    when: datetime


@dataclass(frozen=True, slots=True)
class Never:
    """No text; the message has failed. ``why`` is a stable word for the timeline."""

    why: str


Decision = Now | WaitUntil | Never


def decide(
    reason: str,
    category: Category,
    *,
    text_dealer: str | None,
    failed_dealer: str,
    now: datetime,
    opens: datetime,
    deadline: datetime,
    uncertain: Uncertain,
) -> Decision:
    """Choose what follows an AlimTalk that failed for ``reason``.

    ``text_dealer`` is None where the profile has no text route; ``opens`` is when a message of ``category`` may first
    go (``now`` outside the hours of rest); ``uncertain`` is the policy for what nobody knows. No text starts at or
    after ``deadline``, and a reason of no table never leads to one.
    """
    if text_dealer is None:
        return Never("no_text_route")
    allowed = (
        reason in ALWAYS
        or (reason in UNLESS_ADVERTISING and category is not Category.ADVERTISING)
        or (reason in IN_DOUBT and uncertain is Uncertain.FALLBACK)
        or (reason in OTHER_DEALER_ONLY and text_dealer != failed_dealer)
    )
    if not allowed:
        return Never("reason_forbids_text")
    if opens >= deadline:
        return Never("deadline_passed")
    return Now() if opens <= now else WaitUntil(opens)
