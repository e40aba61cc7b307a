"""Finding out what became of messages, by the ids that SENS gave when it took them.

An AlimTalk has an id of its own. A text has that of its request, which SENS's list of the request turns into its own
by the recipient's number: no request of ours names a number twice. What was never answered has neither, and SENS
knows nothing of our keys: nobody can ask for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.contracts.states import Channel
from shared.dealers.base import LookupResult, NotFound, OpenAttempt, Refused, Report, StillUnknown
from shared.dealers.http import Answer
from shared.dealers.sens import answers
from shared.dealers.sens.gateway import OK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.dealers.codes import Meaning
    from shared.dealers.http import Query
    from shared.dealers.sens.gateway import Gateway

    ReadCode = Callable[[str, Channel], Meaning]
    """what a code says; it counts codes that our table does not have"""

AT_ONCE = 8
"""calls under way together"""
PAGE = 100
_PLACE = "#"


def place_in(request_id: str, place: int) -> str:
    """Return how we name a message of which SENS told only the request: by its place, so that no two are the same."""
    return f"{request_id}{_PLACE}{place}"


class _Trouble(Exception):
    """SENS cannot be asked now; ``result`` says so."""

    def __init__(self, result: StillUnknown) -> None:
        super().__init__(result.detail)
        self.result = result


class Lookup:
    """One lookup; after the first trouble it asks nothing more."""

    def __init__(self, gateway: Gateway, services: dict[Channel, tuple[str, ...]], meaning_of: ReadCode) -> None:
        """``services`` holds the path of each channel's service."""
        self._gateway = gateway
        self._services = services
        self._meaning_of = meaning_of
        self._results: dict[str, LookupResult] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._trouble: StillUnknown | None = None

    async def run(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Return what is known of each of ``attempts``, in their order."""
        alone: list[OpenAttempt] = []
        lists: defaultdict[tuple[Channel, str], list[OpenAttempt]] = defaultdict(list)
        for attempt in attempts:
            request_id, place, _ = (attempt.dealer_message_id or "").partition(_PLACE)
            if not request_id:
                self._results[attempt.request_key] = StillUnknown("SENS knows messages by its own ids only")
            elif attempt.channel not in self._services:
                self._results[attempt.request_key] = StillUnknown(f"no service is configured for {attempt.channel}")
            elif place:
                lists[attempt.channel, request_id].append(attempt)
            else:
                alone.append(attempt)
        await asyncio.gather(
            *(self._ask_for(attempt, attempt.dealer_message_id or "") for attempt in alone),
            *(self._by_request(channel, request_id, some) for (channel, request_id), some in lists.items()),
        )
        rest = self._trouble or StillUnknown("not asked")
        return [self._results.get(attempt.request_key, rest) for attempt in attempts]

    async def _by_request(self, channel: Channel, request_id: str, attempts: Sequence[OpenAttempt]) -> None:
        """Look in the list of a request for ``attempts``, by number."""
        try:
            listed = await self._list(channel, request_id)
        except _Trouble as trouble:
            self._trouble = self._trouble or trouble.result
            return
        rest = []
        for attempt in attempts:
            found = [(item, raw) for item, raw in listed if item.number == attempt.to]
            if not listed:
                # the request has an id, so it was there: an empty list is one that lags
                self._results[attempt.request_key] = StillUnknown("its request is not listed")
            elif not attempt.to:
                self._results[attempt.request_key] = StillUnknown("its number is not known any more")
            elif not found and not all(item.is_named for item, _ in listed):
                self._results[attempt.request_key] = StillUnknown("the list of its request hides numbers")
            elif not found:
                self._results[attempt.request_key] = NotFound("not in the list of its request")
            elif len(found) > 1:
                self._results[attempt.request_key] = StillUnknown("its number stands twice in its request")
            else:
                item, raw = found[0]
                report = self._report(attempt, item, raw)
                if report is not None:
                    self._results[attempt.request_key] = report
                elif item.id is None:
                    self._results[attempt.request_key] = StillUnknown("the list names no message")
                else:
                    rest.append(self._ask_for(attempt, item.id))
        await asyncio.gather(*rest)

    async def _list(self, channel: Channel, request_id: str) -> list[tuple[answers.Item, bytes]]:
        """Read the whole list of a request; nothing for one that SENS does not find. Raises ``_Trouble``."""
        items: list[tuple[answers.Item, bytes]] = []
        query = [("requestId", request_id), ("pageSize", str(PAGE))]
        token: str | None = None
        for _ in range(10):  # a request of ours has one page of messages; a list without an end proves nothing
            answer = await self._ask(*self._services[channel], "messages", query=[*query, *_next(token)])
            if answer.status == HTTPStatus.NOT_FOUND:
                return []
            try:
                page = answers.read_messages(_ok(answer))
            except answers.Unreadable as error:
                raise _Trouble(StillUnknown("the list cannot be read")) from error
            items += page.items
            if page.next_token is None or page.next_token == token:
                return items
            token = page.next_token
        raise _Trouble(StillUnknown("the list has no end"))

    async def _ask_for(self, attempt: OpenAttempt, message_id: str) -> None:
        """Ask for one message."""
        try:
            self._results[attempt.request_key] = await self._alone(attempt, message_id)
        except _Trouble as trouble:
            self._trouble = self._trouble or trouble.result

    async def _alone(self, attempt: OpenAttempt, message_id: str) -> LookupResult:
        answer = await self._ask(*self._services[attempt.channel], "messages", message_id)
        if answer.status == HTTPStatus.NOT_FOUND:
            return NotFound("no message of this id")
        body = _ok(answer)
        try:
            item = answers.read_message(body)
        except answers.Unreadable:
            return StillUnknown("the message cannot be read")
        if item.id not in {None, message_id}:
            return StillUnknown("the answer tells of another message")
        return self._report(attempt, item, body) or StillUnknown("the answer does not say what became of it")

    def _report(self, attempt: OpenAttempt, item: answers.Item, raw: bytes) -> Report | None:
        """Return what ``item`` says of ``attempt``; None when it says nothing of it."""
        if attempt.channel.is_text:
            return self._text_report(attempt, item, raw)
        asked, told = answers.code(item.request_status_code), answers.code(item.message_status_code)
        if told:
            return self._read(attempt, item, raw, told, answers.word(item.message_status_name))
        if asked == "A000":
            return _report(attempt, item, raw, asked, None)
        return self._read(attempt, item, raw, asked, answers.word(item.request_status_name)) if asked else None

    def _text_report(self, attempt: OpenAttempt, item: answers.Item, raw: bytes) -> Report | None:
        status, told = answers.word(item.status), answers.code(item.status_code)
        if status in {"READY", "PROCESSING"}:
            return _report(attempt, item, raw, status, None)
        if status != "COMPLETED" or not told:
            return None
        return self._read(attempt, item, raw, told, answers.word(item.status_name))

    def _read(self, attempt: OpenAttempt, item: answers.Item, raw: bytes, code: str, name: str) -> Report:
        """Return the report of ``code``, beside which SENS says ``success``, ``processing`` or ``fail``.

        A code we do not know is a failure where SENS calls it one and left waiting otherwise; a code of success that
        SENS calls a failure is left waiting as well.
        """
        meaning = self._meaning_of(code, attempt.channel)
        contradicted = name != "fail" if not meaning.known else bool(meaning.delivered) and name == "fail"
        return _report(attempt, item, raw, code, None if contradicted else meaning)

    async def _ask(self, *path: str, query: Query = ()) -> Answer:
        """Make a call that changes nothing. Raises ``_Trouble`` when it told nothing."""
        async with self._slots:
            if self._trouble is not None:
                raise _Trouble(self._trouble)
            outcome = await self._gateway.call("GET", *path, query=query)
        if isinstance(outcome, Answer) and (outcome.status in OK or outcome.status == HTTPStatus.NOT_FOUND):
            return outcome
        failure = self._gateway.failure(outcome)
        code = f" {failure.code}" if isinstance(failure, Refused) else ""
        wait = outcome.retry_after if isinstance(outcome, Answer) else None
        raise _Trouble(StillUnknown(f"the lookup failed:{code} {failure.detail}"[:200], wait))


def _next(token: str | None) -> Query:
    return [] if token is None else [("nextToken", token)]


def _ok(answer: Answer) -> bytes:
    if answer.status not in OK:
        raise _Trouble(StillUnknown(f"the lookup answered HTTP {answer.status}"))
    return answer.body


def _report(attempt: OpenAttempt, item: answers.Item, raw: bytes, code: str, meaning: Meaning | None) -> Report:
    """Return a report; ``meaning`` None is "not yet"."""
    return Report(
        request_key=attempt.request_key,
        dealer_message_id=attempt.dealer_message_id,
        delivered=None if meaning is None else meaning.delivered,
        code=code,
        reason=None if meaning is None else meaning.reason,
        detail=meaning.text if meaning else "",
        at=item.at,
        raw=raw,
    )
