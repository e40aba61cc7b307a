"""Finding out what became of attempts by the ids of their requests, and by nothing else.

Aligo's lists know no key of ours, so an attempt whose answer was lost cannot be asked about. Within a request, rows
and attempts are matched by number, of which each has one (``wire.calls_of``).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from shared.dealers.aligo import wire
from shared.dealers.base import LookupResult, NotFound, OpenAttempt, Report, StillUnknown
from shared.dealers.http import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.contracts.states import Channel
    from shared.dealers.aligo.gateway import Gateway
    from shared.dealers.codes import Meaning

    ReadCode = Callable[[str, Channel], Meaning]
    """what a code says; it counts codes that our table does not have"""

AT_ONCE = 4
"""calls under way together"""
PAGE = 500
MAX_PAGES = 4
"""a request has 500 rows at most"""
LATER = timedelta(seconds=10)


class _Trouble(Exception):
    """Aligo cannot be asked now; ``result`` says so."""

    def __init__(self, result: StillUnknown) -> None:
        super().__init__(result.detail)
        self.result = result


class Lookup:
    """One lookup; after the first trouble it asks nothing more."""

    def __init__(self, gateway: Gateway, meaning_of: ReadCode) -> None:
        self._gateway = gateway
        self._meaning_of = meaning_of
        self._troubled = False
        self._places = asyncio.Semaphore(AT_ONCE)

    async def run(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Return what is known of each of ``attempts``, in their order."""
        results: dict[tuple[object, int], LookupResult] = {}
        requests: defaultdict[tuple[bool, str], list[OpenAttempt]] = defaultdict(list)
        for attempt in attempts:
            if attempt.dealer_message_id is None:
                results[_key(attempt)] = StillUnknown("Aligo keeps no key of ours: only its own id leads to a message")
            elif not attempt.to:
                results[_key(attempt)] = StillUnknown("the number is gone, and Aligo's rows are told apart by it")
            else:
                requests[attempt.channel.is_text, attempt.dealer_message_id].append(attempt)
        for found in await asyncio.gather(*(self._request(mid, some) for (_, mid), some in requests.items())):
            results |= found
        return [results[_key(attempt)] for attempt in attempts]

    async def _request(self, mid: str, attempts: Sequence[OpenAttempt]) -> dict[tuple[object, int], LookupResult]:
        async with self._places:
            if self._troubled:
                later = StillUnknown("not asked: another request could not be", LATER)
                return {_key(attempt): later for attempt in attempts}
            try:
                rows = await self._rows(mid, attempts[0].channel)
            except _Trouble as trouble:
                self._troubled = True
                return {_key(attempt): trouble.result for attempt in attempts}
        return {_key(attempt): self._told(mid, attempt, rows) for attempt in attempts}

    def _told(self, mid: str, attempt: OpenAttempt, rows: Sequence[tuple[wire.Row, bytes]]) -> LookupResult:
        """Return what the rows of its request say of an attempt; should several have its number, the best.

        A row may be missing for as long as 24 hours, while a carrier has not answered (API SPEC, 전송결과조회).
        """
        reports = [self._report(mid, attempt, row, raw) for row, raw in rows if row.to == attempt.to]
        if not reports:
            return NotFound("not among the results of its request")
        rank = {True: 2, None: 1, False: 0}
        return max(reports, key=lambda report: rank[report.delivered])

    def _report(self, mid: str, attempt: OpenAttempt, row: wire.Row, raw: bytes) -> Report:
        meaning = self._meaning_of(row.code, attempt.channel)
        return Report(
            request_key=attempt.request_key,
            dealer_message_id=mid,
            delivered=meaning.delivered,
            code=row.code,
            reason=meaning.reason,
            detail=row.detail or meaning.text,
            at=row.at,
            raw=raw,
        )

    async def _rows(self, mid: str, channel: Channel) -> list[tuple[wire.Row, bytes]]:
        """Page through the results of a request. Raises ``_Trouble``."""
        read = wire.read_text_row if channel.is_text else wire.read_alimtalk_row
        rows: list[tuple[wire.Row, bytes]] = []
        for page in range(1, MAX_PAGES + 1):
            reply = await self._page(mid, page, is_text=channel.is_text)
            try:
                listed = reply.rows
                rows += [(read(row), msgspec.json.encode(row)) for row in listed]
            except wire.Unreadable as error:
                raise _Trouble(StillUnknown(f"the results cannot be read: {error}")) from error
            if channel.is_text:
                more = reply.body.get("next_yn") == "Y"
            else:
                more = (wire.number_in(reply.body, "totalPage") or 0) > page
            if not listed or not more:
                break
        return rows

    async def _page(self, mid: str, page: int, *, is_text: bool) -> wire.Reply:
        path = ("sms_list", "") if is_text else ("akv10", "history", "detail", "")
        size = "page_size" if is_text else "limit"
        fields = [("mid", mid), ("page", str(page)), (size, str(PAGE))]
        outcome = await self._gateway.call(path, fields, is_text=is_text)
        if not isinstance(outcome, Answer):
            raise _Trouble(StillUnknown(outcome.detail))
        if outcome.status != HTTPStatus.OK:
            raise _Trouble(StillUnknown(f"HTTP {outcome.status}", outcome.retry_after))
        try:
            reply = wire.read_reply(outcome.body)
        except wire.Unreadable as error:
            raise _Trouble(StillUnknown(f"the answer cannot be read: {error}")) from error
        if not (reply.code > 0 if is_text else reply.code == 0):
            raise _Trouble(StillUnknown(f"{reply.code} {reply.message}".strip()))
        return reply


def _key(attempt: OpenAttempt) -> tuple[object, int]:
    return attempt.message_id, attempt.n
