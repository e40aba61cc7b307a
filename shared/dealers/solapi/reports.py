"""A message as SOLAPI tells of it, as a report in our words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.dealers.base import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.contracts.states import Channel
    from shared.dealers.codes import Meaning
    from shared.dealers.solapi.wire import Message

    ReadCode = Callable[[str, Channel | None], Meaning]
    """what a ``statusCode`` says; it counts codes that our table does not have"""


def report_of(
    message: Message,
    raw: bytes,
    meaning_of: ReadCode,
    *,
    request_key: str | None = None,
    event_id: str | None = None,
) -> Report:
    """Return the report that ``message`` makes; ``request_key`` stands in where it did not carry ours."""
    meaning = meaning_of(message.code, message.channel)
    return Report(
        request_key=message.request_key or request_key,
        dealer_message_id=message.id,
        delivered=meaning.delivered,
        code=message.code,
        reason=meaning.reason,
        detail=meaning.text,
        at=message.at,
        event_id=event_id,
        raw=raw,
    )
