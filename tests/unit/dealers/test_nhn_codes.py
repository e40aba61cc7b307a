from __future__ import annotations

import pytest

from shared.contracts.states import Channel
from shared.dealers.codes import load_table

RESULTS = load_table("shared.dealers.nhn")
ACCEPTED = load_table("shared.dealers.nhn", "accept.csv")
A, F, S, L, M = Channel.ALIMTALK, Channel.FRIENDTALK, Channel.SMS, Channel.LMS, Channel.MMS


@pytest.mark.parametrize(
    ("code", "channel", "delivered", "reason"),
    [
        ("1000", A, True, None),
        ("1000", M, True, None),
        ("3005", A, None, "delivery_uncertain"),
        ("3005", S, False, "handset_unreachable"),
        ("3012", A, False, "kakao_unavailable"),
        ("3012", L, False, "spam_blocked"),
        ("3016", A, False, "template_mismatch"),
        ("3016", M, False, "invalid_attachment"),
        ("3018", F, False, "inactive_kakao_user"),
        ("3019", A, False, "not_kakao_user"),
        ("3019", S, False, "sender_number_blocked"),
        ("4161", A, None, None),
        ("E915", S, False, "duplicate_suppressed"),
        ("2000", A, False, "unknown"),
        ("CANCEL", A, False, "cancelled"),
        ("COMPLETED", A, None, None),
    ],
)
def test_a_result_is_read_by_its_channel(
    code: str,
    channel: Channel,
    delivered: bool | None,  # noqa: FBT001 - a row
    reason: str | None,
) -> None:
    meaning = RESULTS.read(code, channel)
    assert (meaning.delivered, meaning.reason) == (delivered, reason)


def test_only_1000_is_a_delivery() -> None:
    assert {code for (code, _), meaning in RESULTS.lines.items() if meaning.delivered} == {"1000"}
    assert not any(meaning.delivered for meaning in ACCEPTED.lines.values())


def test_only_3005_of_kakao_is_unconfirmed() -> None:
    unconfirmed = {k for k, m in RESULTS.lines.items() if m.reason == "delivery_uncertain"}
    assert unconfirmed == {("3005", A), ("3005", F)}


@pytest.mark.parametrize(
    ("code", "channel", "reason"),
    [
        ("-1000", A, "auth_failed"),
        ("-1003", A, "sender_number_unregistered"),
        ("-1003", S, "auth_failed"),
        ("-2019", A, "content_too_long"),
        ("-2019", S, "invalid_phone"),
        ("-2023", S, "content_charset"),
        ("-3005", A, "template_not_approved"),
        ("-3005", S, "unknown"),
        ("-2052", L, "quota_exceeded"),
    ],
)
def test_services_have_codes_of_their_own(code: str, channel: Channel, reason: str) -> None:
    assert ACCEPTED.reason(code, channel) == reason


def test_codes_that_leave_it_open_whether_a_message_was_taken() -> None:
    kakao = {code for (code, channel), m in ACCEPTED.lines.items() if channel is A and m.reason is None}
    texts = {code for (code, channel), m in ACCEPTED.lines.items() if channel is S and m.reason is None}
    assert kakao == {"0", "-1005", "-7000", "-9999"}
    assert texts == {"0", "-2021", "-9999"}
