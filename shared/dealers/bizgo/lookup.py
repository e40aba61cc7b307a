"""Asking Bizgo what became of messages: by ``msgKey``, or by our key in its history."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from shared.clock import SEOUL
from shared.dealers.base import Ambiguous, LookupResult, NotFound, NotTaken, OpenAttempt, Refused, Report, StillUnknown
from shared.dealers.bizgo import wire
from shared.dealers.bizgo.wire import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from shared.dealers.bizgo.gateway import Gateway
    from shared.dealers.bizgo.reports import Reports
    from shared.dealers.http import Outcome

_LOOK_BACK = timedelta(days=5)
"""of the history: longer than any receipt can take"""
_PAUSE = timedelta(seconds=1)
"""after an inquiry over the limit of 5 a second that does not say how long"""


class Lookup:
    """Inquiries; they change nothing at Bizgo."""

    def __init__(self, gateway: Gateway, reports: Reports, now: Callable[[], datetime]) -> None:
        """``now`` is the world's time."""
        self._gateway = gateway
        self._reports = reports
        self._now = now

    async def run(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Ask about ``attempts`` one after another; once over the limit, the rest stays unknown."""
        results: list[LookupResult] = []
        paused: StillUnknown | None = None
        for attempt in attempts:
            result = paused or await self._ask(attempt)
            if isinstance(result, StillUnknown) and result.retry_after is not None:
                paused = result
            results.append(result)
        return results

    async def _ask(self, attempt: OpenAttempt) -> LookupResult:
        if attempt.dealer_message_id is not None:
            return await self._by_id(attempt.dealer_message_id, attempt.request_key)
        found = await self.by_key(attempt.request_key)
        if isinstance(found, NotFound):  # how far and how soon the history reaches is documented nowhere
            return StillUnknown("the history does not have it, which proves nothing")
        return found

    async def _by_id(self, dealer_message_id: str, request_key: str) -> LookupResult:
        outcome = await self._gateway.call("GET", "message", "inquiry", "msgKey", dealer_message_id)
        said = self._read(outcome)
        if isinstance(said, StillUnknown):
            return said
        found = [
            self._reports.report_of(message, raw, request_key=request_key)
            for message, raw in said
            if message.id == dealer_message_id and message.key in (None, request_key) and not message.is_failover
        ]
        if said and not found:
            return StillUnknown("the answer is about another message")
        return _best(found) if found else NotFound()

    async def by_key(self, request_key: str) -> Report | NotFound | StillUnknown:
        """Look for ``request_key`` in the history."""
        since = (self._now() - _LOOK_BACK).astimezone(SEOUL).strftime("%Y-%m-%dT%H:%M:%S")
        query = [("requestTime", since), ("groupKey", request_key), ("limit", "1000")]
        said = self._read(await self._gateway.call("GET", "message", "history", query=query))
        if isinstance(said, StillUnknown):
            return said
        # a replay may be there under a msgKey of its own, as not taken (A301); the first one is what counts
        found = [
            self._reports.report_of(message, raw)
            for message, raw in said
            if message.id
            and message.key == request_key
            and message.response_code != wire.ALREADY_TAKEN
            and not message.is_failover
        ]
        return _best(found) if found else NotFound()

    def _read(self, outcome: Outcome) -> list[tuple[wire.Message, bytes]] | StillUnknown:
        """Return the messages of an inquiry, none for A820 (no such data)."""
        said = self._gateway.read(outcome)
        if isinstance(said, Refused) and said.code == wire.NO_SUCH_DATA:
            return []
        if not isinstance(said, Said):
            return _unknown(said)
        if not said.is_ok:
            return StillUnknown(f"code {said.code}")
        try:
            return wire.read_messages(said.data)
        except wire.Unreadable:
            return StillUnknown("the answer cannot be read")


def _unknown(failed: NotTaken | Refused | Ambiguous) -> StillUnknown:
    match failed:
        case NotTaken("rate_limited", retry_after=retry_after):
            return StillUnknown("rate_limited", retry_after or _PAUSE)
        case NotTaken(reason, code, detail) | Refused(reason, code, detail):
            return StillUnknown(f"{reason} {code or detail}".strip())
        case Ambiguous(detail):
            return StillUnknown(detail)


def _best(reports: Sequence[Report]) -> Report:
    """Return the report that tells most: of a delivery, else of one that may yet come, else of a failure."""
    return next(report for order in (True, None, False) for report in reports if report.delivered is order)
