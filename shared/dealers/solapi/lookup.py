"""Finding out what became of attempts: by the group they were sent under, or by SOLAPI's message ids.

SOLAPI's lists lag behind its sends, so what is missing from a list proves nothing, unless the group is complete and
its list is whole. A group that was not sent is deleted first: then no late call can send it any more.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.dealers.base import (
    LookupResult,
    NotFound,
    NotTakenForSure,
    OpenAttempt,
    Report,
    StillUnknown,
)
from shared.dealers.solapi import wire
from shared.dealers.solapi.gateway import Answer, code_of
from shared.dealers.solapi.reports import report_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.dealers.solapi.gateway import Gateway
    from shared.dealers.solapi.reports import ReadCode

GROUPS_AT_ONCE = 20
"""of one lookup: 20 lookup calls per path are allowed in 5 s (two public clients)"""
WINDOW = timedelta(seconds=5)
IDS_AT_ONCE = 100
"""keeps the address under 8 kB"""
PAGE = 500
MAX_PAGES = wire.MAX_RECIPIENTS // PAGE + 1

_ASK_LATER = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})


class _Trouble(Exception):
    """The gateway cannot be asked now; ``result`` says so."""

    def __init__(self, result: StillUnknown) -> None:
        super().__init__(result.detail)
        self.result = result


@dataclass(frozen=True, slots=True)
class _Listing:
    """The messages of a group, as far as they were needed."""

    found: dict[str, LookupResult]
    """by request key"""
    whole: int | None
    """how many messages the group's list has, when it was read to its end and every one named its key"""


class Lookup:
    """One lookup; after the first trouble it asks nothing more."""

    def __init__(self, gateway: Gateway, meaning_of: ReadCode) -> None:
        self._gateway = gateway
        self._meaning_of = meaning_of
        self._results: dict[str, LookupResult] = {}

    async def run(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Return what is known of each of ``attempts``, in their order."""
        rest: StillUnknown | None = None
        try:
            rest = await self._ask_all(attempts)
        except _Trouble as trouble:
            rest = trouble.result
        unknown = rest or StillUnknown("not asked yet", WINDOW)
        return [self._results.get(attempt.request_key, unknown) for attempt in attempts]

    async def _ask_all(self, attempts: Sequence[OpenAttempt]) -> StillUnknown | None:
        await self._by_ids([attempt for attempt in attempts if attempt.dealer_message_id])
        groups: dict[str, list[OpenAttempt]] = defaultdict(list)
        for attempt in attempts:
            if attempt.request_key in self._results:
                continue
            if attempt.handle is not None:
                groups[attempt.handle].append(attempt)
            elif attempt.dealer_message_id is not None:
                self._results[attempt.request_key] = NotFound("not in the list of messages")
            else:
                self._results[attempt.request_key] = NotTakenForSure("no group was opened for it")
        for n, (handle, some) in enumerate(groups.items()):
            if n == GROUPS_AT_ONCE:
                return StillUnknown("more groups than may be asked for at once", WINDOW)
            self._results |= await self._by_group(handle, some)
        return None

    async def _by_ids(self, attempts: Sequence[OpenAttempt]) -> None:
        for start in range(0, len(attempts), IDS_AT_ONCE):
            some = {attempt.dealer_message_id: attempt for attempt in attempts[start:][:IDS_AT_ONCE]}
            query = [("limit", str(len(some)))]
            query += [("messageIds[in]", identifier) for identifier in some if identifier]
            answer = await self._ask("GET", "messages", "v4", "list", query=query)
            for message, raw in _page(answer)[0]:
                if (attempt := some.get(message.id)) is not None and message.code:
                    self._results[attempt.request_key] = report_of(
                        message, raw, self._meaning_of, request_key=attempt.request_key
                    )

    async def _by_group(self, handle: str, attempts: Sequence[OpenAttempt]) -> dict[str, LookupResult]:
        group = await self._group(handle)
        if group is not None and group.status == "PENDING":
            group = await self._close(handle)
        if group is None:
            return _all(attempts, NotFound("no such group"))
        if group.status == "PENDING":
            return _all(attempts, StillUnknown("the group could not be closed", WINDOW))
        if group.is_closed_unsent:
            return _all(attempts, NotTakenForSure("the group was deleted and never sent"))
        listing = await self._list(handle, attempts)
        if group.status == "FAILED" and group.date_sent is None:
            return _of_failed(attempts, listing)
        missing: LookupResult = NotFound("not in the list of its group")
        if group.status == "COMPLETE" and listing.whole and listing.whole >= group.size > 0:
            missing = NotTakenForSure("not in the whole list of its complete group")
        return _all(attempts, missing) | listing.found

    async def _group(self, handle: str) -> wire.Group | None:
        answer = await self._ask("GET", "messages", "v4", "groups", handle)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        try:
            return wire.read_group(_ok(answer))
        except wire.Unreadable as error:
            raise _Trouble(StillUnknown("the group cannot be read")) from error

    async def _close(self, handle: str) -> wire.Group | None:
        """Delete a group that was not sent, and return it as it is now.

        SOLAPI deletes none but a PENDING group, and never sends a deleted one, so whichever of a deletion and
        a late sending comes first is the only one. What the deletion did is believed when its answer says so
        plainly; else the group is read again.
        """
        answer = await self._ask("DELETE", "messages", "v4", "groups", handle)
        try:
            group = wire.read_group(answer.body)
        except wire.Unreadable:
            group = None
        if answer.status == HTTPStatus.OK and group is not None and group.is_closed_unsent:
            return group
        return await self._group(handle)

    async def _list(self, handle: str, attempts: Sequence[OpenAttempt]) -> _Listing:
        """Page through a group's messages until every one of ``attempts`` is found."""
        keys = {attempt.request_key for attempt in attempts}
        keys_by_id = {a.dealer_message_id: a.request_key for a in attempts if a.dealer_message_id}
        found: dict[str, LookupResult] = {}
        listed: set[str | None] = set()
        all_named = True
        start: str | None = None
        for _ in range(MAX_PAGES):
            query = [("limit", str(PAGE))] + ([("startKey", start)] if start else [])
            answer = await self._ask("GET", "messages", "v4", "groups", handle, "messages", query=query)
            messages, next_key = _page(answer)
            for message, raw in messages:
                key = message.request_key or keys_by_id.get(message.id or "")
                listed.add(message.id)
                all_named = all_named and key is not None
                if key is not None and key in keys and message.code:
                    report = report_of(message, raw, self._meaning_of, request_key=key)
                    found[key] = _better(found.get(key), report)
            if keys <= found.keys() or not messages or next_key is None or next_key == start:
                return _Listing(found, len(listed) if all_named and next_key is None else None)
            start = next_key
        return _Listing(found, None)

    async def _ask(self, method: str, *path: str, query: Sequence[tuple[str, str]] = ()) -> Answer:
        """Make a call that changes nothing that matters. Raises ``_Trouble`` when it told nothing."""
        outcome = await self._gateway.call_signing_again(method, *path, query=query)
        if not isinstance(outcome, Answer):
            raise _Trouble(StillUnknown(outcome.detail))
        if outcome.status in _ASK_LATER or outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Trouble(StillUnknown(f"{method} answered {code_of(outcome)}", outcome.retry_after))
        return outcome


def _ok(answer: Answer) -> bytes:
    if answer.status != HTTPStatus.OK:
        raise _Trouble(StillUnknown(f"the lookup answered {code_of(answer)}"))
    return answer.body


def _page(answer: Answer) -> tuple[list[tuple[wire.Message, bytes]], str | None]:
    try:
        return wire.read_page(_ok(answer))
    except wire.Unreadable as error:
        raise _Trouble(StillUnknown("the list cannot be read")) from error


def _all(attempts: Iterable[OpenAttempt], result: LookupResult) -> dict[str, LookupResult]:
    return {attempt.request_key: result for attempt in attempts}


def _of_failed(attempts: Iterable[OpenAttempt], listing: _Listing) -> dict[str, LookupResult]:
    """Read a group that failed before it was sent: what waits in it will never leave."""
    never = _all(attempts, NotTakenForSure("the group failed and was never sent"))
    said = {
        key: result
        for key, result in listing.found.items()
        if isinstance(result, Report) and not (result.delivered is None and result.code == "2000")
    }
    return never | said


def _better(known: LookupResult | None, report: Report) -> LookupResult:
    """Keep a delivery over one that may come, and that over a failure, should a key stand twice."""
    if not isinstance(known, Report):
        return report
    rank = {True: 2, None: 1, False: 0}
    return report if rank[report.delivered] > rank[known.delivered] else known
