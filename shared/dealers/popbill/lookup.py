"""What became of attempts: by Popbill's receipt number, or by ours; and the search that can say "nothing"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.base import LookupResult, NotFound, OpenAttempt, Report, StillUnknown
from shared.dealers.codes import Meaning
from shared.dealers.http import Answer, Lost, NotReached, Outcome
from shared.dealers.popbill import wire
from shared.dealers.popbill.gateway import Gateway, NoToken, Service, code_of, error_code_of
from shared.dealers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.dealers.codes import CodeTable

_ROOTS = {Service.KAKAO: "KakaoTalk", Service.TEXT: "Message"}
_STATES = {Service.KAKAO: "0,1,2,3,4,5", Service.TEXT: "1,2,3,4"}
"""every state a search can ask for (its examples search.py)"""
_ITEMS = {
    Channel.ALIMTALK: "ATS",
    Channel.FRIENDTALK: "FTS,FMS",
    Channel.SMS: "SMS",
    Channel.LMS: "LMS",
    Channel.MMS: "MMS",
}
_PAGE = 1000
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Looks attempts up. ``meaning`` says what a code means, and counts those that are unknown."""

    gateway: Gateway
    errors: CodeTable
    meaning: Callable[[str, Channel], Meaning]

    async def of(self, attempt: OpenAttempt) -> LookupResult:
        """Find out what became of ``attempt``."""
        service = wire.service_of(attempt.channel)
        by_id = attempt.dealer_message_id
        path = (by_id,) if by_id is not None else ("Get", attempt.request_key)
        outcome = await self.gateway.call(service, "GET", _ROOTS[service], *path)
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            if self._may_say_nothing(outcome):
                return await self._search(service, attempt)
            return unknown(outcome)
        try:
            messages, counted = wire.read_sent(service, outcome.body)
        except wire.Unreadable:
            return StillUnknown("the answer cannot be read")
        if not messages:
            return await self._search(service, attempt)
        if any(_is_anothers(sent, attempt) for sent in messages):
            return StillUnknown("the answer tells of another request")
        if len(messages) > 1:
            counted = None  # it is not said which of them they count
        reports = [self._report(sent, attempt, counted, outcome.body) for sent in messages]
        return next((report for report in reports if report.delivered), reports[0])

    def _may_say_nothing(self, outcome: Outcome | NoToken) -> bool:
        """Whether an error may be Popbill's word for "no such request", whose code we do not know."""
        if not isinstance(outcome, Answer) or outcome.status in _NO_WORD_ON_IT:
            return False
        code = error_code_of(outcome)
        return bool(code) and not self.errors.read(code).known

    async def _search(self, service: Service, attempt: OpenAttempt) -> LookupResult:
        """Search by the recipient's name, which is our key; only a search that worked proves an absence.

        Popbill searches two months at most and tells, by its documents, how many it found in all.
        """
        day = attempt.opened_at.astimezone(SEOUL)
        query = (
            ("SDate", f"{day - _DAY:%Y%m%d}"),
            ("EDate", f"{day + _DAY:%Y%m%d}"),
            ("State", _STATES[service]),
            ("Item", _ITEMS[attempt.channel]),
            ("Page", "1"),
            ("PerPage", str(_PAGE)),
            ("Order", "D"),
            ("QString", attempt.request_key),
        )
        outcome = await self.gateway.call(service, "GET", _ROOTS[service], "Search", query=query)
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return unknown(outcome)
        try:
            found = wire.read(outcome.body, wire.Found)
        except wire.Unreadable:
            return StillUnknown("the answer to a search cannot be read")
        ours = [sent for sent in found.sent if sent.request_num == attempt.request_key]
        if ours:
            # each with its own row alone: a search may show what others were sent
            reports = [self._report(sent, attempt, None, msgspec.json.encode(sent)) for sent in ours]
            return next((report for report in reports if report.delivered), reports[0])
        if attempt.dealer_message_id is not None:
            return StillUnknown("a request that was taken is not found")
        if found.total != len(found.sent):
            return StillUnknown("a search found more than it showed")
        return NotFound("no request of this number")

    def _report(self, sent: wire.Sent, attempt: OpenAttempt, counted: bool | None, raw: bytes) -> Report:  # noqa: FBT001 - said by the wire, not by a caller
        code = sent.result_code or sent.state_code
        meaning = self.meaning(code, attempt.channel)
        delivered, reason = meaning.delivered, meaning.reason
        if not meaning.known and not sent.result_code:
            delivered = reason = None  # a state that we have no word for: it may yet end well
        if sent.result_code and counted is not None and counted is not delivered:
            delivered = reason = None  # Popbill's counts say otherwise: neither is believed
        return Report(
            request_key=attempt.request_key,
            dealer_message_id=printable(sent.receipt_num, 40) or attempt.dealer_message_id,
            delivered=delivered,
            code=code,
            reason=reason,
            detail=meaning.text,
            at=sent.at,
            raw=raw,
        )


_NO_WORD_ON_IT = frozenset({HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})


def unknown(outcome: Outcome | NoToken) -> StillUnknown:
    """Return why a lookup did not work."""
    match outcome:
        case NoToken(Answer() as answer):
            return StillUnknown(f"no token: {code_of(answer)}", answer.retry_after)
        case NoToken(None):
            return StillUnknown("the token wore out")
        case NoToken(NotReached(detail) | Lost(detail)):
            return StillUnknown(f"no token: {detail}")
        case Answer() as answer:
            return StillUnknown(code_of(answer), answer.retry_after)
        case NotReached(detail) | Lost(detail):
            return StillUnknown(detail)
        case _:
            return StillUnknown("no answer")


def _is_anothers(sent: wire.Sent, attempt: OpenAttempt) -> bool:
    return isinstance(sent.request_num, str) and bool(sent.request_num) and sent.request_num != attempt.request_key
