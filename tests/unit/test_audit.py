"""The judge of the demo and of the kill tests: what it calls a broken promise, and what nobody could know."""

from datetime import UTC, datetime

import pytest

from bongsu.audit import Ledger, LedgerAttempt, audit
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.ids import MessageId, new_id

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
MESSAGE = MessageId(new_id(NOW))
KEY = request_key(MESSAGE, Channel.ALIMTALK, 1)
REACHED = {"key": KEY, "channel": "alimtalk", "dealer": "luna", "delivered": True, "substitute": False, "to": ""}


@pytest.mark.parametrize(
    ("told_failed", "mute", "broken"),
    [
        pytest.param(True, {"luna"}, False, id="taken-back-where-nobody-can-ask"),
        pytest.param(True, set[str](), True, id="taken-back-and-not-asked"),
        pytest.param(False, {"luna"}, True, id="told-and-not-believed"),
    ],
)
def test_a_failure_that_was_taken_back_stands_only_where_nobody_can_ask(
    told_failed: bool,  # noqa: FBT001 - a parameter
    mute: set[str],
    broken: bool,  # noqa: FBT001 - a parameter
) -> None:
    attempt = LedgerAttempt(str(MESSAGE), 1, "alimtalk", "failed", "unknown", KEY, NOW, "luna", told_failed)
    found = audit(Ledger({str(MESSAGE): ("failed", True)}, [attempt], 0), [REACHED], mute=mute)
    assert bool(found) is broken
