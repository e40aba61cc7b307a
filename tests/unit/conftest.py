"""A message to work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.ids import MessageId, PersonId, new_id
from shared.ledger.book import Message

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)  # 12:00 in Seoul


@pytest.fixture
def make_message() -> Callable[..., Message]:
    """Return a maker of messages, queued over AlimTalk unless told otherwise."""

    def make(**changes: Any) -> Message:  # noqa: ANN401 - fields of several types
        message = Message(
            id=MessageId(new_id(NOON)),
            person_id=PersonId(new_id(NOON)),
            profile="shop",
            template="ORDER_PAID",
            template_revision=1,
            lane=Lane.NORMAL,
            category=Category.INFORMATIONAL,
            fallback="text",
            state=MessageState.QUEUED,
            final=False,
            reason=None,
            seq=2,
            attempt=0,
            channel=Channel.ALIMTALK,
            dealer="solapi",
            tries=0,
            due_at=None,
            deadline=NOON + timedelta(days=1),
            cost_krw=0,
            personal=b"",
        )
        return replace(message, **changes)

    return make
