"""FILL IN 2: the dealer behind the dealer boundary, in a sentence that says what is special about it.

It keeps no state but tokens, decides nothing, never retries, and never raises for what a gateway may do.
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
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

from . import wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = structlog.get_logger()

TAKEN = "OK"  # FILL IN 3: the code of what was taken
_TRY_LATER = frozenset({"rate_limited", "dealer_unavailable"})

CREDENTIALS = Credentials(required=("api_key", "webhook_secret"))  # FILL IN 2: their names in BONGSU_CONFIG


def capabilities(batch: int) -> Capabilities:
    """Return what the dealer can do. FILL IN 6: every line, each with where the contract says it."""
    return Capabilities(
        channels=frozenset({Channel.SMS, Channel.LMS}),
        max_batch=min(batch, wire.MAX_MESSAGES),
        lookup=LookupMeans.BY_KEY,
        lookup_batch=wire.MAX_MESSAGES,
        not_found_after=timedelta(minutes=5),
        push=Push.SIGNED,
        receipts_polled=True,
        receipt_expected_within=dict.fromkeys((Channel.SMS, Channel.LMS), timedelta(minutes=30)),
        receipt_deadline={Channel.SMS: timedelta(hours=25), Channel.LMS: timedelta(hours=80)},
    )


def build(account: Account) -> NewDealer:
    """Return the adapter of an account."""
    return NewDealer(
        account.name,
        Http(account.url(), timeout_seconds=account.timeout_seconds),
        api_key=account.credentials["api_key"],
        webhook_secret=account.credentials["webhook_secret"],
        batch=account.batch,
    )


class NewDealer(Dealer):
    """One account at the dealer (``Dealer``). FILL IN 2: its name."""

    def __init__(self, name: str, http: Http, *, api_key: str, webhook_secret: str, batch: int) -> None:
        self.name = name
        self.capabilities = capabilities(batch)
        self._http = http
        # FILL IN 7: how a call proves who makes it; shared.dealers.http.Tokens where a token is fetched first
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self._webhook_secret = webhook_secret.encode()
        self._codes: CodeTable = load_table(__package__)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    # -- sending -------------------------------------------------------------------------------------------------------

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - one-phase
        """Send ``batch`` in one call; results in its order.

        FILL IN 7: a dealer that takes one message a call is called once for each, some at a time (``asyncio.gather``
        under a semaphore, as shared/dealers/gabia does it).
        """
        refused: dict[str, SendResult] = {}
        messages = []
        for outgoing in batch:
            try:
                messages.append(wire.message_of(outgoing))
            except wire.Unsendable as error:
                refused[outgoing.request_key] = error.refusal
        results: dict[str, SendResult] = {}
        if messages:
            results = self._results(await self._call("POST", body=wire.encode(messages)))
        results |= refused
        rest = results.get("", Ambiguous("the answer does not tell of it"))
        return [results.get(outgoing.request_key, rest) for outgoing in batch]

    async def _call(self, method: str, *, body: bytes | None = None, query: Query = ()) -> Outcome:
        url = self._http.url("messages", query=query)  # FILL IN 7: the paths
        return await self._http.call(method, url, headers=self._headers, body=body)

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
        results: dict[str, SendResult] = {}
        try:
            for item in wire.read_items(body):
                told = wire.read_told(item)
                if told.request_key is not None:
                    twice = told.request_key in results
                    results[told.request_key] = Ambiguous("told of twice") if twice else self._result(told)
        except wire.Unreadable:
            return {**results, "": Ambiguous("the answer cannot be read")}
        return results

    def _result(self, told: wire.Told) -> SendResult:
        """Say what the dealer's word on one message means. FILL IN 7: when in doubt, ``Ambiguous``."""
        meaning = self._codes.meaning(self.name, told.result)
        if told.result == TAKEN and told.dealer_message_id is not None:
            return Accepted(told.dealer_message_id)
        if not meaning.known or meaning.reason is None or told.id is not None:
            return Ambiguous(f"answered {told.result or 'without a code'}")
        if meaning.reason in _TRY_LATER:
            return NotTaken(meaning.reason, told.result, meaning.text)
        return Refused(meaning.reason, told.result, meaning.text)

    def _refusal(self, answer: Answer) -> SendResult:
        """Say what an answer other than 200 means for every message of the call.

        FILL IN 7: certain is only what the contract says is answered before anything is taken.
        """
        code = wire.read_error(answer.body)
        noted = code or f"HTTP {answer.status}"
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotTaken("rate_limited", noted, retry_after=answer.retry_after)
        meaning = self._codes.read(code)
        client_error = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        if not client_error or not meaning.known or meaning.reason is None:
            return Ambiguous(f"answered {noted}")
        if meaning.reason in _TRY_LATER:
            return NotTaken(meaning.reason, noted, meaning.text, answer.retry_after)
        return Refused(meaning.reason, noted, meaning.text)

    # -- lookups -------------------------------------------------------------------------------------------------------

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts``. FILL IN 8: leave it out where the dealer cannot be asked."""
        outcome = await self._call("GET", query=[("key", attempt.request_key) for attempt in attempts])
        if not isinstance(outcome, Answer):
            return [StillUnknown(outcome.detail)] * len(attempts)
        if outcome.status != HTTPStatus.OK:
            return [StillUnknown(f"answered {outcome.status}", outcome.retry_after)] * len(attempts)
        try:
            found = [(wire.read_told(item), bytes(item)) for item in wire.read_items(outcome.body)]
        except wire.Unreadable:  # also for one item: what is skipped here would be taken for absent
            return [StillUnknown("the answer cannot be read")] * len(attempts)
        reports: dict[str | None, Report] = {}
        for told, raw in found:
            report = self._report(told, raw)
            if told.request_key not in reports or report.delivered:  # of several under one key, one that was delivered
                reports[told.request_key] = report
        return [reports.get(attempt.request_key) or _absent(attempt) for attempt in attempts]

    def _report(self, told: wire.Told, raw: bytes) -> Report:
        """Return what is told as a report; without a code it says no more than that the dealer has the message.

        FILL IN 9: ``at``, ``event_id`` and the channel where the wire has them.
        """
        meaning = self._codes.meaning(self.name, told.result) if told.result else self._codes.read(TAKEN)
        return Report(
            request_key=told.request_key,
            dealer_message_id=told.dealer_message_id,
            delivered=meaning.delivered,
            code=told.result,
            reason=meaning.reason,
            detail=meaning.text,
            raw=raw,
        )

    # -- receipts ------------------------------------------------------------------------------------------------------

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Check and read a receipt call. Raises ``BadReceipt`` and nothing else, whatever bytes come.

        FILL IN 9: leave it out where nothing is pushed; ``answer_receipts`` where the answer matters.
        """
        expected = hmac.new(self._webhook_secret, body, hashlib.sha256).hexdigest().encode()
        if not hmac.compare_digest(headers.get("x-signature", "").encode(), expected):
            raise BadReceipt(401, "X-Signature is not the HMAC of the body under webhook_secret")
        try:
            items = wire.read_items(body)
        except wire.Unreadable as error:
            raise BadReceipt(400, "the body has no messages") from error
        reports = []
        for item in items:
            try:
                told = wire.read_told(item)
            except wire.Unreadable:
                told = wire.Told()
            if not told.result or not (told.request_key or told.dealer_message_id):
                UNREADABLE_RECEIPTS.labels(self.name).inc()
                continue
            reports.append(self._report(told, bytes(item)))
        if len(reports) < len(items):
            log.warning("receipts_unreadable", dealer=self.name, items=len(items) - len(reports))
        return reports

    # -- the account ---------------------------------------------------------------------------------------------------

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify the account, without sending. FILL IN 10, and ``balance_krw``, ``upload``, ``templates``."""
        return await super().check(sender_keys, sender_numbers)


def _absent(attempt: OpenAttempt) -> NotFound | StillUnknown:
    if attempt.dealer_message_id is not None:
        return StillUnknown("a message that was taken is not found")
    return NotFound("no message of this key")
