"""Gabia (가비아) behind the dealer boundary: SMS and LMS, a call a message, looked up under our key.

Gabia takes a key (``refkey``) as often as it is given and tells by it what became of a message. Nothing is known
of how soon that log shows one, so by default only what it shows is believed, and never what it does not.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.config import BadConfig
from shared.contracts.states import Channel
from shared.dealers.account import Account, Credentials
from shared.dealers.base import (
    Accepted,
    Ambiguous,
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
from shared.dealers.codes import load_table
from shared.dealers.gabia import wire
from shared.dealers.gabia.gateway import Gateway, code_of, refusal, said_by
from shared.dealers.http import Answer, Lost, NotReached

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BATCH = 50
CONCURRENT = 10
"""calls at a time that send, and as many that look up; Gabia publishes no limit that was to be had"""

CREDENTIALS = Credentials(required=("sms_id", "api_key"), optional=("log_shows_pending",))


def capabilities(batch: int, *, log_shows_pending: bool = False) -> Capabilities:
    """Return what Gabia can do for an account that wants at most ``batch`` messages sent together.

    25 h and 80 h are the carriers' own, as another dealer of theirs states them (NHN Cloud SMS guide, result
    timeout). Whether the log shows a message before its result is not known: unless ``log_shows_pending``, its
    silence counts only once every result must be there.
    """
    deadlines = {Channel.SMS: timedelta(hours=25), Channel.LMS: timedelta(hours=80)}
    return Capabilities(
        channels=frozenset(deadlines),
        max_batch=min(batch, MAX_BATCH),
        lookup=LookupMeans.BY_KEY,
        lookup_batch=MAX_BATCH,
        not_found_after=timedelta(minutes=10) if log_shows_pending else max(deadlines.values()),
        push=Push.NONE,
        receipts_polled=True,
        receipt_expected_within=dict.fromkeys(deadlines, timedelta(minutes=2)),
        receipt_deadline=deadlines,
    )


def build(account: Account) -> Gabia:
    """Return the adapter of an account. Raises ``BadConfig`` for a word where yes or no is wanted."""
    shows_pending = account.credentials.get("log_shows_pending", "no")
    if shows_pending not in {"yes", "no"}:
        raise BadConfig(f"dealers.{account.name}.credentials.log_shows_pending: want yes or no")
    gateway = Gateway(
        account.url(),
        sms_id=account.credentials["sms_id"],
        api_key=account.credentials["api_key"],
        timeout_seconds=account.timeout_seconds,
    )
    return Gabia(account.name, gateway, batch=account.batch, log_shows_pending=shows_pending == "yes")


class Gabia(Dealer):
    """One account at Gabia (``Dealer``)."""

    def __init__(self, name: str, gateway: Gateway, *, batch: int, log_shows_pending: bool = False) -> None:
        self.name = name
        self.capabilities = capabilities(batch, log_shows_pending=log_shows_pending)
        self._gateway = gateway
        self._codes = load_table(__package__)
        self._answers = load_table(__package__, "answers.csv")
        self._sends = asyncio.Semaphore(CONCURRENT)
        self._lookups = asyncio.Semaphore(CONCURRENT)

    async def close(self) -> None:
        """Close connections."""
        await self._gateway.close()

    # -- sending -------------------------------------------------------------------------------------------------

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - one-phase
        """Send ``batch``, a call a message, some at a time; results in its order."""
        forms = [_form_of(outgoing) for outgoing in batch]
        if not any(isinstance(form, bytes) for form in forms):
            return [form for form in forms if isinstance(form, Refused)]
        token = await self._gateway.token()
        return await asyncio.gather(
            *(self._send(outgoing, form, token) for outgoing, form in zip(batch, forms, strict=True))
        )

    async def _send(self, outgoing: Outgoing, form: bytes | Refused, token: str | Refused | NotTaken) -> SendResult:
        if isinstance(form, Refused):
            return form
        if not isinstance(token, str):
            return token
        path = ("api", "send", wire.PATHS[outgoing.channel])
        async with self._sends:
            outcome = await self._gateway.call("POST", *path, token=token, form=form)
        match outcome:
            case NotReached(detail):
                return NotTaken("dealer_unavailable", detail=detail)
            case Lost(detail):
                return Ambiguous(detail)
            case Answer():
                return self._result(outcome, outgoing.to)

    def _result(self, answer: Answer, number: str) -> SendResult:
        said = said_by(answer)
        if answer.status != HTTPStatus.OK or said is None or said.word != wire.SUCCESS:
            if said is not None and said.word:
                self._answers.meaning(self.name, said.word)  # counted and logged, if nobody knows it yet
            return refusal(answer, self._answers, number)
        taken = said.insert_id(without=number)
        return Ambiguous("taken, but the answer does not name it") if taken is None else Accepted(taken)

    # -- what became of it ---------------------------------------------------------------------------------------

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts``, by our key; Gabia's own id is not asked for anywhere."""
        token = await self._gateway.token()
        if not isinstance(token, str):
            wait = token.retry_after if isinstance(token, NotTaken) else None
            return [StillUnknown(f"no token: {token.detail or token.reason}", wait)] * len(attempts)
        return await asyncio.gather(*(self._look_up(attempt, token) for attempt in attempts))

    async def _look_up(self, attempt: OpenAttempt, token: str) -> LookupResult:
        query = (("refkey", attempt.request_key),)
        async with self._lookups:
            outcome = await self._gateway.call("GET", "api", "result_log", "byRefkey", token=token, query=query)
        if not isinstance(outcome, Answer):
            return StillUnknown(outcome.detail)
        said = said_by(outcome)
        if outcome.status != HTTPStatus.OK or said is None:
            return StillUnknown(f"answered {code_of(outcome)}", outcome.retry_after)
        results = wire.read_results(said, attempt.request_key, attempt.to)
        if results is None:
            return StillUnknown(f"answered {code_of(outcome)}, which tells neither of it nor of its absence")
        if not results:
            if attempt.dealer_message_id is not None:
                return StillUnknown("a message that was taken is not in the log yet")
            return NotFound("the log has nothing under this key")
        reports = [self._report(attempt, result, outcome.body) for result in results]
        return min(reports, key=lambda report: (True, None, False).index(report.delivered))

    def _report(self, attempt: OpenAttempt, result: wire.Result, raw: bytes) -> Report:
        """Return what a result says; one that we have no word for is waited on, as Gabia's clients do."""
        code = result.code or "none"
        meaning = self._codes.meaning(self.name, code, attempt.channel) if result.code else self._codes.read(code)
        return Report(
            request_key=attempt.request_key,
            dealer_message_id=attempt.dealer_message_id,
            delivered=meaning.delivered if meaning.known else None,
            code=code,
            reason=meaning.reason if meaning.known else None,
            detail=result.detail or meaning.text,
            raw=raw,
        )

    # -- the account ---------------------------------------------------------------------------------------------

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify the account by what it has left, in messages and not in KRW; nothing tells of sender numbers."""
        return [await self._account(), *await super().check(sender_keys, sender_numbers)]

    async def _account(self) -> Checked:
        token = await self._gateway.token()
        if isinstance(token, Refused):
            return Checked("account", ok=False, detail=f"{token.code} {token.detail}".strip())
        if isinstance(token, NotTaken):
            return Checked("account", None, token.detail)
        outcome = await self._gateway.call("GET", "api", "user", "info", token=token)
        if not isinstance(outcome, Answer):
            return Checked("account", None, outcome.detail)
        said = said_by(outcome)
        if said is None or said.word != wire.SUCCESS:
            return Checked("account", None, f"answered {code_of(outcome)}")
        return Checked("account", ok=True, detail="" if said.left is None else f"{said.left} SMS left")


def _form_of(outgoing: Outgoing) -> bytes | Refused:
    try:
        return wire.form_of(outgoing)
    except wire.Unsendable as error:
        return error.refusal
