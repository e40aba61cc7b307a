"""Finding out what became of attempts: by NHN's id where there is one, else by our key.

A search by ``recipientGroupingKey`` wants a range of dates. It is the world's last fortnight, not the attempt's own
time, which rules may tell by a clock that runs ahead of NHN's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import LookupResult, NotFound, OpenAttempt, Report, StillUnknown
from shared.dealers.http import Answer
from shared.dealers.nhn import answers, wire
from shared.dealers.nhn.gateway import Said, scrubbed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from shared.dealers.http import Query
    from shared.dealers.nhn.answers import MeaningOf, Record
    from shared.dealers.nhn.gateway import Result, Service

LOOK_BACK = timedelta(days=14)
"""longer than any attempt is open; NHN searches a month at most (-4003)"""
LOOK_AHEAD = timedelta(days=1)
"""for a clock of NHN's that is ahead of ours"""
ASK_WITHIN = 20.0
"""seconds in which the calls of one lookup begin; what is not asked by then is asked the next time"""

_NO_SUCH_MESSAGE = "-1016"
_FOR_ALL = frozenset({"-1000", "-1001", "-1002", "-1004", "-1008", "-4004", "-4005", "-9999"})
"""errors that every next call would meet as well: keys, addresses, NHN's own trouble"""


class _Trouble(Exception):
    """A call told nothing; ``result`` says so. ``for_all``: the next ones would not either."""

    def __init__(self, result: StillUnknown, *, for_all: bool = False) -> None:
        super().__init__(result.detail)
        self.result = result
        self.for_all = for_all


class Lookup:
    """One lookup; after a trouble that is not one message's own it asks nothing more."""

    def __init__(
        self,
        service_of: Callable[[Channel], Service | None],
        meaning_of: MeaningOf,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._service_of = service_of
        self._meaning_of = meaning_of
        self._now = now
        self._results: dict[str, LookupResult] = {}

    async def run(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Return what is known of each of ``attempts``, in their order."""
        unknown = StillUnknown("not asked yet")
        try:
            async with asyncio.timeout(ASK_WITHIN):
                await self._ask_all(attempts)
        except _Trouble as trouble:
            unknown = trouble.result
        except TimeoutError:
            pass
        return [self._results.get(attempt.request_key, unknown) for attempt in attempts]

    async def _ask_all(self, attempts: Sequence[OpenAttempt]) -> None:
        requests: dict[tuple[Channel, str], list[tuple[OpenAttempt, int]]] = defaultdict(list)
        for attempt in attempts:
            if (parts := answers.parts_of(attempt.dealer_message_id)) is not None:
                requests[attempt.channel, parts[0]].append((attempt, parts[1]))
        for (channel, request_id), some in requests.items():
            await self._noting([attempt for attempt, _ in some], self._by_request(channel, request_id, some))
        for attempt in attempts:
            if attempt.request_key not in self._results:
                await self._noting([attempt], self._by_key(attempt))

    async def _noting(self, attempts: Sequence[OpenAttempt], asking: Awaitable[None]) -> None:
        """Ask, and note a trouble that is these attempts' own. Raises ``_Trouble`` for one that is not."""
        try:
            await asking
        except _Trouble as trouble:
            if trouble.for_all:
                raise
            self._results |= {attempt.request_key: trouble.result for attempt in attempts}

    async def _by_request(self, channel: Channel, request_id: str, some: Sequence[tuple[OpenAttempt, int]]) -> None:
        """Read the messages of a request: the one that is asked for, or all where several are."""
        if len(some) == 1:
            [(attempt, seq)] = some
            record = await self._single(channel, request_id, seq)
            records = [] if record is None else [record]
        else:
            query = [("requestId", request_id), ("pageSize", str(wire.MAX_RECIPIENTS))]
            records, _ = await self._search(channel, query)
        by_id = {record.id: record for record in records}
        for attempt, seq in some:
            found = by_id.get(answers.message_id(request_id, seq))
            if found is None or (found.request_key or attempt.request_key) != attempt.request_key:
                self._results[attempt.request_key] = NotFound("no such message under NHN's id")
            else:
                self._results[attempt.request_key] = answers.report_of(found, channel, self._meaning_of)

    async def _by_key(self, attempt: OpenAttempt) -> None:
        self._results[attempt.request_key] = await self._searched(attempt)

    async def _searched(self, attempt: OpenAttempt) -> LookupResult:
        """Search for our key. Whatever else comes back, the search did not do what it was asked for."""
        place, now = wire.PLACES[attempt.channel], self._now().astimezone(SEOUL)
        start, end = place.dates
        query = [
            (start, (now - LOOK_BACK).strftime(place.date_format)),
            (end, (now + LOOK_AHEAD).strftime(place.date_format)),
            ("recipientGroupingKey", attempt.request_key),
            ("pageSize", "100"),
        ]
        records, total = await self._search(attempt.channel, query)
        if not total:
            return NotFound("no message under our key")
        ours = [record for record in records if record.request_key == attempt.request_key]
        if not ours:
            return StillUnknown("the search by our key gave other messages")
        return best([answers.report_of(record, attempt.channel, self._meaning_of) for record in ours])

    async def _single(self, channel: Channel, request_id: str, seq: int) -> Record | None:
        find = wire.PLACES[channel].find
        if wire.PLACES[channel].text:
            result = await self._call(channel, *find, request_id, query=[("recipientSeq", str(seq))])
        else:
            result = await self._call(channel, *find, request_id, str(seq))
        if isinstance(result, Said) and not result.successful and result.code == _NO_SUCH_MESSAGE:
            return None
        try:
            return answers.single_of(_ok(result))
        except answers.Unreadable as error:
            raise _Trouble(StillUnknown("the message cannot be read")) from error

    async def _search(self, channel: Channel, query: Query) -> tuple[list[Record], int]:
        try:
            return answers.records_of(_ok(await self._call(channel, *wire.PLACES[channel].find, query=query)))
        except answers.Unreadable as error:
            raise _Trouble(StillUnknown("the list cannot be read")) from error

    async def _call(self, channel: Channel, *path: str, query: Query = ()) -> Result:
        service = self._service_of(channel)
        if service is None:
            raise _Trouble(StillUnknown("the account has no keys of the SMS service"))  # others may be of Kakao's
        return await service.call("GET", wire.PLACES[channel].prefix, *path, query=query)


def _ok(result: Result) -> bytes:
    """Return the body of a success. Raises ``_Trouble`` for anything else."""
    match result:
        case Said(successful=True, answer=answer) if answer.status == HTTPStatus.OK:
            return answer.body
        case Said(code=code, words=words, answer=answer):
            for_all = code in _FOR_ALL or answer.status >= HTTPStatus.TOO_MANY_REQUESTS
            said = StillUnknown(f"the lookup answered {code}: {scrubbed(words)}", answer.retry_after)
            raise _Trouble(said, for_all=for_all)
        case Answer(status=status, retry_after=wait):
            raise _Trouble(StillUnknown(f"the lookup answered HTTP {status}", wait), for_all=True)
        case _:
            raise _Trouble(StillUnknown(result.detail), for_all=True)


def best(reports: Sequence[Report]) -> Report:
    """Return the report to go by, should a key stand more than once: a delivery, else one that may yet be."""
    rank = {True: 0, None: 1, False: 2}
    return min(reports, key=lambda report: rank[report.delivered])
