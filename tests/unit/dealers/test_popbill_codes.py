from __future__ import annotations

import pytest

from shared.contracts.states import Channel
from shared.dealers.codes import load_table

RESULTS = load_table("shared.dealers.popbill")
ERRORS = load_table("shared.dealers.popbill", "errors.csv")


@pytest.mark.parametrize(
    ("code", "delivered", "reason"),
    [
        ("100", True, None),
        ("state-0", None, None),
        ("state-2", None, None),
        ("state-3", None, None),
        ("state-4", False, "cancelled"),
        ("101", False, "unknown"),
        ("3", False, "unknown"),
    ],
)
def test_what_a_result_says(code: str, delivered: bool | None, reason: str | None) -> None:  # noqa: FBT001 - a row
    for channel in Channel:
        meaning = RESULTS.read(code, channel)
        assert (meaning.delivered, meaning.reason) == (delivered, reason)


def test_an_error_is_never_anything_but_a_failure() -> None:
    assert ERRORS.lines
    assert all(meaning.delivered is False for meaning in ERRORS.lines.values())


@pytest.mark.parametrize(
    ("code", "reason"),
    [("-10000033", "auth_failed"), ("-10000018", "account_suspended"), ("-10000035", "invalid_attachment")],
)
def test_what_an_error_says(code: str, reason: str) -> None:
    assert ERRORS.read(code).reason == reason
