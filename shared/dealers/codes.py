"""A dealer's own codes, translated at its edge by a table in which every line names its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import structlog

from shared.contracts.states import Channel
from shared.dealers.telemetry import UNMAPPED_CODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNKNOWN = "unknown"

REASONS = frozenset(
    {
        "not_kakao_user",
        "inactive_kakao_user",
        "blocked_channel",
        "unsupported_client",
        "not_friend",
        "safe_number",
        "invalid_phone",
        "invalid_recipient",
        "template_not_found",
        "template_not_approved",
        "template_mismatch",
        "button_mismatch",
        "variable_too_long",
        "content_too_long",
        "content_charset",
        "invalid_request",
        "invalid_attachment",
        "sender_profile_invalid",
        "sender_profile_blocked",
        "sender_number_unregistered",
        "sender_number_blocked",
        "auth_failed",
        "not_permitted",
        "account_suspended",
        "no_balance",
        "quota_exceeded",
        "rate_limited",
        "dealer_unavailable",
        "dealer_error",
        "kakao_unavailable",
        "kakao_config",
        "delivery_uncertain",
        "result_timeout",
        "expired",
        "cancelled",
        "duplicate",
        "duplicate_suppressed",
        "ad_content",
        "night_ban",
        "opted_out",
        "spam_blocked",
        "handset_unreachable",
        "no_subscriber",
        "handset_unsupported",
        "carrier_error",
        "test_only",
        "unknown",
    }
)
"""Every reason a table may use: the same words in API answers, metric labels and the runbook."""


class BadTable(ValueError):
    """A table of codes contradicts itself or uses a word that we do not have; the text says where."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code says."""

    delivered: bool | None
    """True delivered, False failed, None not known yet"""
    reason: str | None = None
    """set for a failure, and to ``delivery_uncertain`` where Kakao sent it and has no confirmation"""
    text: str = ""
    """the code in plain words"""
    known: bool = True
    """whether the table has it"""


_UNMAPPED = Meaning(delivered=False, reason=UNKNOWN, known=False)
_OUTCOMES = {"delivered": True, "pending": None, "unconfirmed": None, "failed": False}


@dataclass(frozen=True, slots=True)
class CodeTable:
    """Meanings by code and channel; a line for all channels has the channel ``*``."""

    lines: Mapping[tuple[str, Channel | None], Meaning]

    def read(self, code: str, channel: Channel | None = None) -> Meaning:
        """Return what ``code`` says on ``channel``: never success when the table does not have it."""
        exact = self.lines.get((code, channel))
        return exact or self.lines.get((code, None)) or _UNMAPPED

    def meaning(self, dealer: str, code: str, channel: Channel | None = None) -> Meaning:
        """Return what ``code`` says, and count and log one that the table does not have, for an alert."""
        meaning = self.read(code, channel)
        if not meaning.known:
            UNMAPPED_CODES.labels(dealer, channel or "").inc()
            structlog.get_logger().warning("dealer_code_unmapped", dealer=dealer, code=code, channel=channel)
        return meaning

    def reason(self, code: str, channel: Channel | None = None) -> str:
        """Return our reason for a code that is a failure where it stands; ``unknown`` if it is not one."""
        return self.read(code, channel).reason or UNKNOWN


def load_table(package: str, name: str = "codes.csv") -> CodeTable:
    """Read the table ``name`` of an adapter's folder. Raises ``BadTable``."""
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    return read_table(text.splitlines())


def read_table(lines: Iterable[str]) -> CodeTable:
    """Read CSV with the columns code, channel, outcome, reason, text, source. Raises ``BadTable``.

    ``channel`` is ``*``, or one or more channels with spaces between.
    """
    table: dict[tuple[str, Channel | None], Meaning] = {}
    for row in csv.DictReader(lines):
        code, reason = row["code"], row["reason"] or None
        if row["outcome"] not in _OUTCOMES:
            raise BadTable(f"{code}: outcome {row['outcome']!r}")
        if (reason is not None) != (row["outcome"] in {"failed", "unconfirmed"}):
            raise BadTable(f"{code}: a reason stands at a failure and nowhere else")
        if row["outcome"] == "unconfirmed" and reason != "delivery_uncertain":
            raise BadTable(f"{code}: what is unconfirmed has the reason delivery_uncertain")
        if reason is not None and reason not in REASONS:
            raise BadTable(f"{code}: no such reason: {reason!r}")
        if not row["source"]:
            raise BadTable(f"{code}: no source")
        for channel in [None] if row["channel"] == "*" else [Channel(name) for name in row["channel"].split()]:
            if (code, channel) in table:
                raise BadTable(f"{code}: stands twice for the channel {channel or '*'}")
            table[code, channel] = Meaning(_OUTCOMES[row["outcome"]], reason, row["text"])
    return CodeTable(table)
