"""The dispatcher's own rule: what becomes of a scheduled message whose time has come."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.contracts.states import MessageState
from shared.ledger.book import Message


class Due(StrEnum):
    """What to do with a message that the clock pointed at."""

    QUEUE = "queued"
    EXPIRE = "expired"
    LEAVE = "left"


def when_due(message: Message, now: datetime) -> Due:
    """Queue a message that is still scheduled and due; let it expire at its deadline; leave one that moved on.

    Hours of rest are not asked here but at the last moment, when the attempt is opened.
    """
    if message.state is not MessageState.SCHEDULED or message.due_at is None or message.due_at > now:
        return Due.LEAVE
    return Due.EXPIRE if now >= message.deadline else Due.QUEUE
