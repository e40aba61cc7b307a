from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from services.dispatcher.domain import Due, when_due
from shared.contracts.states import MessageState
from shared.ledger.book import Message

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("state", "due_at", "deadline", "expected"),
    [
        pytest.param(MessageState.SCHEDULED, NOW, LATER, Due.QUEUE, id="due-now"),
        pytest.param(MessageState.SCHEDULED, NOW - INSTANT, LATER, Due.QUEUE, id="due-before"),
        pytest.param(MessageState.SCHEDULED, NOW + INSTANT, LATER, Due.LEAVE, id="not-yet"),
        pytest.param(MessageState.SCHEDULED, NOW, NOW + INSTANT, Due.QUEUE, id="just-in-time"),
        pytest.param(MessageState.SCHEDULED, NOW, NOW, Due.EXPIRE, id="at-its-deadline"),
        pytest.param(MessageState.SCHEDULED, NOW, NOW - INSTANT, Due.EXPIRE, id="past-its-deadline"),
        *(
            pytest.param(state, due_at, LATER, Due.LEAVE, id=f"{state}-{'with' if due_at else 'no'}-time")
            for state in MessageState
            if state is not MessageState.SCHEDULED
            for due_at in (None, NOW)
        ),
        pytest.param(MessageState.SCHEDULED, None, LATER, Due.LEAVE, id="no-time"),
    ],
)
def test_when_due(
    make_message: Callable[..., Message],
    state: MessageState,
    due_at: datetime | None,
    deadline: datetime,
    expected: Due,
) -> None:
    assert when_due(make_message(state=state, due_at=due_at, deadline=deadline), NOW) is expected
