"""Hanbit (한빛메시지) behind the dealer boundary: up to 100 messages a call, looked up by our keys, signed receipts.

Hanbit does not exist: this is the example of docs/dealers/write-your-own.md, written from ``contract.md``.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from shared.contracts.states import Channel
from shared.dealers.account import Account, Credentials
from shared.dealers.base import (
    Accepted,
    AlreadyTaken,
    Ambiguous,
    BadReceipt,
    Capabilities,
    Checked,
    Dealer,
    LookupMeans,
    LookupResult,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Push,
    Refused,
    Report,
    SendResult,
    StillUnknown,
)
from shared.dealers.codes import CodeTable, load_table
from shared.dealers.http import Answer, Http, Lost, NotReached, Outcome, Query
from shared.dealers.printable import printable
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

from . import wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = structlog.get_logger()

TAKEN, TAKEN_BEFORE = "1000", "1001"
_TRY_LATER = frozenset({"rate_limited", "dealer_unavailable"})

CREDENTIALS = Credentials(required=("api_key", "webhook_secret"))


def capabilities(batch: int) -> Capabilities:
    """Return what Hanbit can do for an account that wants at most ``batch`` messages in a call."""
    return Capabilities(
        channels=frozenset({Channel.ALIMTALK, Channel.SMS, Channel.LMS}),
        max_batch=min(batch, wire.MAX_MESSAGES),
        lookup=LookupMeans.BY_KEY,
        lookup_batch=wire.MAX_MESSAGES,
        not_found_after=timedelta(minutes=2),  # section 4 says one
        push=Push.SIGNED,
        receipts_polled=True,
        receipt_expected_within={
            Channel.ALIMTALK: timedelta(minutes=10),
            Channel.SMS: timedelta(minutes=30),
            Channel.LMS: timedelta(minutes=30),
        },
        receipt_deadline={  # section 5
            Channel.ALIMTALK: timedelta(hours=24),
            Channel.SMS: timedelta(hours=25),
            Channel.LMS: timedelta(hours=80),
        },
        unconfirmed_for=timedelta(days=3),  # section 7, 4105
        alimtalk_characters=wire.ALIMTALK_CHARACTERS,
    )


def build(account: Account) -> Hanbit:
    """Return the adapter of an account."""
    return Hanbit(
        account.name,
        Http(account.url(), timeout_seconds=account.timeout_seconds),
        api_key=account.credentials["api_key"],
        webhook_secret=account.credentials["webhook_secret"],
        batch=account.batch,
    )


class Hanbit(Dealer):
    """One account at Hanbit (``Dealer``)."""

    def __init__(self, name: str, http: Http, *, api_key: str, webhook_secret: str, batch: int) -> None:
        self.name = name
        self.capabilities = capabilities(batch)
        self._http = http
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self._webhook_secret = webhook_secret.encode()
        self._codes: CodeTable = load_table(__package__)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    # -- sending (section 3) -----------------------------------------------------------------------------------------

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - one-phase
        """Send ``batch`` in one call; results in its order."""
        refused: dict[str, SendResult] = {}
        messages = []
        for outgoing in batch:
            try:
                messages.append(wire.message_of(outgoing))
            except wire.Unsendable as error:
                refused[outgoing.request_key] = error.refusal
        try:
            body = wire.encode(messages)
        except UnicodeEncodeError:  # half of a surrogate pair in an AlimTalk: the template has none
            return [Refused("content_charset", "", "not a text")] * len(batch)
        results = (self._results(await self._call("POST", body=body)) if messages else {}) | refused
        rest = results.get("", Ambiguous("the answer does not tell of it"))
        return [results.get(outgoing.request_key, rest) for outgoing in batch]

    def _results(self, outcome: Outcome) -> dict[str, SendResult]:
        """Return what became of messages, by key; under the empty key what holds for all that are not named."""
        match outcome:
            case NotReached(detail):
                return {"": NotTaken("dealer_unavailable", detail=detail)}
            case Lost(detail):
                return {"": Ambiguous(detail)}
            case Answer(status=HTTPStatus.OK):
                return self._read_results(outcome.body)
            case _:
                return {"": self._refusal(outcome)}

    def _read_results(self, body: bytes) -> dict[str, SendResult]:
        try:
            told = wire.read_results(body)
        except wire.Unreadable:
            return {"": Ambiguous("the answer cannot be read")}
        results: dict[str, SendResult] = {}
        for each in told:
            if each.key is None:
                continue
            twice = each.key in results
            results[each.key] = Ambiguous("the answer tells of it twice") if twice else self._result(each)
        return results

    def _result(self, told: wire.Told) -> SendResult:
        if told.result == TAKEN:
            return Ambiguous("taken, but the answer does not name it") if told.id is None else Accepted(told.id)
        if told.result == TAKEN_BEFORE:
            return AlreadyTaken(told.id)
        meaning = self._codes.meaning(self.name, told.result)
        if not told.result or meaning.reason is None or told.message_id is not None:
            return Ambiguous(f"answered {told.result or 'without a code'}")  # what has an id was taken (section 3)
        if meaning.reason in _TRY_LATER:
            return NotTaken(meaning.reason, told.result, meaning.text)
        return Refused(meaning.reason, told.result, meaning.text)

    def _refusal(self, answer: Answer) -> SendResult:
        """Say what an answer other than 200 means for every message of the call.

        Nothing was taken where the code begins with 2 or 3 (section 3); 5xx is "ask us", and so is all else.
        """
        code = wire.read_error(answer.body)
        noted = code or f"HTTP {answer.status}"
        meaning = self._codes.read(code)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotTaken("rate_limited", noted, meaning.text, answer.retry_after)
        if not code.startswith(("2", "3")) or answer.status < HTTPStatus.BAD_REQUEST:
            return Ambiguous(f"answered {noted}")
        reason = self._codes.meaning(self.name, code).reason or "unknown"
        if reason in _TRY_LATER:
            return NotTaken(reason, noted, meaning.text, answer.retry_after)
        return Refused(reason, noted, meaning.text)

    async def _call(self, method: str, *, body: bytes | None = None, query: Query = ()) -> Outcome:
        url = self._http.url("v1", "messages", query=query)
        return await self._http.call(method, url, headers=self._headers, body=body)

    # -- lookups (section 4) -----------------------------------------------------------------------------------------

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts``, by our keys, in one call."""
        outcome = await self._call("GET", query=[("clientKey", attempt.request_key) for attempt in attempts])
        if not isinstance(outcome, Answer):
            return [StillUnknown(outcome.detail)] * len(attempts)
        if outcome.status != HTTPStatus.OK:
            code = wire.read_error(outcome.body) or f"HTTP {outcome.status}"
            return [StillUnknown(f"answered {code}", outcome.retry_after)] * len(attempts)
        try:
            found = wire.read_found(outcome.body)
        except wire.Unreadable:
            return [StillUnknown("the answer cannot be read")] * len(attempts)
        reports: dict[str | None, Report] = {}
        for told, raw in found:
            report = self._report(told, raw)
            if told.key not in reports or report.delivered:  # of several under one key, one that was delivered
                reports[told.key] = report
        return [reports.get(attempt.request_key) or _absent(attempt) for attempt in attempts]

    # -- receipts (section 5) ----------------------------------------------------------------------------------------

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Check and read a receipt call. Raises ``BadReceipt``; items that tell of nothing are counted and left out."""
        expected = hmac.new(self._webhook_secret, body, hashlib.sha256).hexdigest().encode()
        given = headers.get("x-hanbit-signature", "").strip().lower().encode()
        if not hmac.compare_digest(given, expected):
            raise BadReceipt(401, "X-Hanbit-Signature is not the HMAC of the body under webhook_secret")
        try:
            items = wire.read_events(body)
        except wire.Unreadable as error:
            raise BadReceipt(400, "the body has no events") from error
        reports = []
        for item in items:
            try:
                told = wire.read_told(item)
            except wire.Unreadable:
                told = wire.Told()
            if not told.result or not (told.key or told.id):
                UNREADABLE_RECEIPTS.labels(self.name).inc()
                continue
            reports.append(self._report(told, bytes(item)))
        if len(reports) < len(items):
            log.warning("receipts_unreadable", dealer=self.name, items=len(items) - len(reports))
        return reports

    def answer_receipts(self, reports: Sequence[Report]) -> bytes:  # noqa: ARG002 - the answer does not count them
        """Return what Hanbit takes for an answer."""
        return b'{"ok":true}'

    def _report(self, told: wire.Told, raw: bytes) -> Report:
        """Return what is told as a report; without a code it says no more than that Hanbit has the message."""
        meaning = self._codes.meaning(self.name, told.result, told.channel) if told.result else self._codes.read(TAKEN)
        return Report(
            request_key=told.key,
            dealer_message_id=told.id,
            delivered=meaning.delivered,
            code=told.result,
            reason=meaning.reason,
            detail=meaning.text,
            at=told.at,
            event_id=printable(told.event_id, 64),
            raw=raw,
        )

    # -- the account (section 6) -------------------------------------------------------------------------------------

    async def balance_krw(self) -> int | None:
        """Return what is left, or None when it could not be had."""
        account = await self._account()
        return account.balance_krw if isinstance(account, wire.Account) else None

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify the key, sender keys and sender numbers against what Hanbit has."""
        account = await self._account()
        if isinstance(account, Checked):
            return [account, *(Checked(what, None, "could not be asked") for what in (*sender_keys, *sender_numbers))]
        return [
            Checked("account", ok=True),
            *(_checked(key, account.sender_keys) for key in sender_keys),
            *(_checked(number, account.sender_numbers) for number in sender_numbers),
        ]

    async def _account(self) -> wire.Account | Checked:
        outcome = await self._http.call("GET", self._http.url("v1", "account"), headers=self._headers)
        if not isinstance(outcome, Answer):
            return Checked("account", None, outcome.detail)
        code = wire.read_error(outcome.body) or f"HTTP {outcome.status}"
        if outcome.status != HTTPStatus.OK:
            refused = self._codes.read(code).reason in {"auth_failed", "account_suspended"}
            return Checked("account", False if refused else None, f"answered {code}")
        try:
            return wire.read_account(outcome.body)
        except wire.Unreadable:
            return Checked("account", None, "the answer cannot be read")


def _absent(attempt: OpenAttempt) -> NotFound | StillUnknown:
    if attempt.dealer_message_id is not None:
        return StillUnknown("a message that was taken is not found")
    return NotFound("no message of this key")


def _checked(what: str, known: Sequence[str]) -> Checked:
    return Checked(what, what in known, "" if what in known else "not registered at Hanbit")
