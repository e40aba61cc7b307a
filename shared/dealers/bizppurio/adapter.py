"""Bizppurio (다우기술 비즈뿌리오) behind the dealer boundary: one call a message, and its reports.

Nothing can be looked up by our key, so an attempt whose answer was lost waits for its report, which carries the
key back (``REFKEY``). One that has Bizppurio's id can have its report asked for again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from shared.config import BadConfig
from shared.contracts.states import Channel
from shared.dealers.account import Account, Credentials
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    BadReceipt,
    Capabilities,
    Checked,
    Counting,
    Dealer,
    ImageUse,
    LookupMeans,
    LookupResult,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Pulled,
    Push,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Uploaded,
)
from shared.dealers.bizppurio import wire
from shared.dealers.bizppurio.gateway import Gateway, body
from shared.dealers.bizppurio.reports import reports_of
from shared.dealers.codes import CodeTable, Meaning, load_table
from shared.dealers.http import Answer, Lost, NotReached, Outcome
from shared.dealers.printable import printable
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = structlog.get_logger()

CALLS_AT_ONCE = 10
"""Bizppurio allows an account so and so many connections (3008) and does not publish how many."""
MAX_BATCH = 50
LOOKUP_BATCH = 20
ASKED_AGAIN_FOR = timedelta(minutes=10)
"""how long a report that was asked for has time to come"""

_FOR_ALL = frozenset({"auth_failed", "account_suspended", "rate_limited", "dealer_unavailable"})
"""why the next message would not be taken either"""

CREDENTIALS = Credentials(required=("account", "password"), optional=("receipts",))


def capabilities(batch: int, *, polling: bool) -> Capabilities:
    """Return what Bizppurio can do for an account that wants at most ``batch`` messages sent together.

    It publishes no time after which no report comes. Text: 25 h and 80 h are the carriers' own, as another dealer
    of the same carriers states them (NHN Cloud SMS guide, result timeout). Kakao: seconds; 24 h is when another
    dealer (Aligo) calls its results final. 30 days: result code 7305.
    """
    kakao, texts = (Channel.ALIMTALK, Channel.FRIENDTALK), (Channel.SMS, Channel.LMS, Channel.MMS)
    return Capabilities(
        channels=frozenset({*kakao, *texts}),
        max_batch=min(batch, MAX_BATCH),
        lookup=LookupMeans.NONE,
        lookup_batch=LOOKUP_BATCH,
        not_found_after=timedelta(minutes=10),
        push=Push.NONE if polling else Push.OPEN,
        receipts_polled=not polling,
        receipt_expected_within=dict.fromkeys(kakao, timedelta(minutes=10))
        | dict.fromkeys(texts, timedelta(minutes=30)),
        receipt_deadline=dict.fromkeys(kakao, timedelta(hours=24))
        | {Channel.SMS: timedelta(hours=25), Channel.LMS: timedelta(hours=80), Channel.MMS: timedelta(hours=80)},
        receipts_pulled=polling,
        unconfirmed_for=timedelta(days=30),
        counts=Counting.REQUESTS,
        alimtalk_characters=wire.ALIMTALK_CHARACTERS,
        subject_bytes=wire.SUBJECT_BYTES,
        mms_images=wire.MMS_IMAGES,
        uploads=frozenset({ImageUse.MMS}),
    )


def build(account: Account) -> Bizppurio:
    """Return the adapter of an account. Raises ``BadConfig`` for a way to get receipts that there is not."""
    receipts = account.credentials.get("receipts", "push")
    if receipts not in {"push", "poll"}:
        raise BadConfig(f"dealers.{account.name}.credentials.receipts: want push or poll")
    gateway = Gateway(
        account.url(),
        account=account.credentials["account"],
        password=account.credentials["password"],
        timeout_seconds=account.timeout_seconds,
        now=account.now,
        answers=load_table(__package__, "answers.csv"),
    )
    return Bizppurio(
        account.name, gateway, codes=load_table(__package__), batch=account.batch, polling=receipts == "poll"
    )


class Bizppurio(Dealer):
    """One Bizppurio account (``Dealer``)."""

    def __init__(self, name: str, gateway: Gateway, *, codes: CodeTable, batch: int, polling: bool = False) -> None:
        """Take ``polling`` for an account whose reports Bizppurio keeps to be fetched, and pushes none."""
        self.name = name
        self.capabilities = capabilities(batch, polling=polling)
        self._gateway = gateway
        self._codes = codes
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)

    async def close(self) -> None:
        """Close connections."""
        await self._gateway.close()

    # -- sending -------------------------------------------------------------------------------------------------

    async def send(
        self,
        handle: str | None,  # noqa: ARG002 - there is none: a dealer without two phases
        batch: Sequence[Outgoing],
    ) -> list[SendResult]:
        """Send ``batch``, a call each, a few at once; results in its order."""
        encoded = [self._encoded(outgoing) for outgoing in batch]
        if not any(isinstance(one, bytes) for one in encoded):
            return [one for one in encoded if not isinstance(one, bytes)]
        token = await self._gateway.token()
        sending = _Sending(token) if isinstance(token, str) else token
        return await asyncio.gather(
            *(self._send(sending, outgoing, one) for outgoing, one in zip(batch, encoded, strict=True))
        )

    def _encoded(self, outgoing: Outgoing) -> bytes | Refused:
        try:
            return wire.encode(outgoing, self._gateway.account)
        except wire.Unfit as unfit:
            return Refused(unfit.reason, "", unfit.detail)

    async def _send(
        self, sending: _Sending | Refused | NotTaken, outgoing: Outgoing, message: bytes | Refused
    ) -> SendResult:
        if isinstance(message, Refused):
            return message
        if not isinstance(sending, _Sending):
            return sending
        async with self._calls:
            if sending.over is not None:
                return sending.over
            outcome = await self._gateway.post("v3", "message", token=sending.token, body=message)
        result = self._result(outgoing, outcome)
        if isinstance(result, Refused | NotTaken) and result.reason in _FOR_ALL:
            sending.over = result
        return result

    def _result(self, outgoing: Outgoing, outcome: Outcome) -> SendResult:
        match outcome:
            case NotReached(detail):
                return NotTaken("dealer_unavailable", detail=detail)
            case Lost(detail):
                return Ambiguous(detail)
            case Answer():
                said = wire.read_answer(outcome)
                if outcome.status != HTTPStatus.OK or said.code != wire.SUCCESS:
                    return self._gateway.refusal(outcome)
                if said.messagekey is None:
                    return Ambiguous("taken, and its id cannot be read")
                if said.refkey not in {None, outgoing.request_key}:
                    return Ambiguous("the answer is to another message")
                return Accepted(said.messagekey)

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        """Upload a JPEG of at most 300 kB for MMS (v2.7, section 6.3)."""
        if use is not ImageUse.MMS:
            return await super().upload(use, name, image)
        if not image.startswith(b"\xff\xd8\xff") or len(image) > wire.IMAGE_BYTES:
            return Refused("invalid_attachment", "", f"not a JPEG of at most {wire.IMAGE_BYTES} bytes")
        token = await self._gateway.token()
        if not isinstance(token, str):
            return token
        async with self._calls:
            outcome = await self._gateway.upload(token=token, name=name, image=image)
        return self._uploaded(outcome)

    def _uploaded(self, outcome: Outcome) -> Uploaded | Refused | NotTaken:
        if not isinstance(outcome, Answer):
            return NotTaken("dealer_unavailable", detail=outcome.detail)
        said = wire.read_answer(outcome)
        if outcome.status == HTTPStatus.OK and said.filekey is not None:
            return Uploaded(said.filekey)
        refusal = self._gateway.refusal(outcome)
        if isinstance(refusal, Ambiguous):  # nobody is sent anything by an upload
            return NotTaken("dealer_unavailable", said.code, refusal.detail)
        return refusal

    # -- finding out ---------------------------------------------------------------------------------------------

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Ask for the reports of ``attempts`` to be pushed again, one after the other, until the first trouble."""
        results: list[LookupResult] = []
        trouble: StillUnknown | None = None
        for attempt in attempts:
            if attempt.dealer_message_id is None:
                results.append(StillUnknown("Bizppurio cannot be asked by our key"))
                continue
            result = trouble or await self._ask_again(attempt, attempt.dealer_message_id)
            if isinstance(result, _Trouble):
                trouble = result.said
                result = trouble
            results.append(result)
        return results

    async def _ask_again(self, attempt: OpenAttempt, messagekey: str) -> LookupResult | _Trouble:
        token = await self._gateway.token()
        if not isinstance(token, str):
            wait = token.retry_after if isinstance(token, NotTaken) else None
            return _Trouble(StillUnknown(f"{token.reason}: {token.detail}", wait))
        asking = body(account=self._gateway.account, messagekey=messagekey)
        async with self._calls:
            outcome = await self._gateway.post("v2", "report", token=token, body=asking)
        return self._asked_again(attempt, messagekey, outcome)

    def _asked_again(self, attempt: OpenAttempt, messagekey: str, outcome: Outcome) -> LookupResult | _Trouble:
        if not isinstance(outcome, Answer):
            return _Trouble(StillUnknown(outcome.detail))
        said, _ = self._gateway.read(outcome)
        if outcome.status in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST}:
            match said.code:
                case wire.SUCCESS if outcome.status == HTTPStatus.OK:
                    return StillUnknown("asked for its report again", ASKED_AGAIN_FOR)
                case wire.NO_SUCH_MESSAGE:
                    return NotFound("Bizppurio has no such message")
                case wire.NOT_REPORTED_YET:
                    return Report(attempt.request_key, messagekey, None, said.code, raw=outcome.body)
                case wire.CANNOT_ASK_AGAIN:
                    return StillUnknown("its report cannot be asked for again", ASKED_AGAIN_FOR)
        return _Trouble(StillUnknown(f"answered {said.code or f'HTTP {outcome.status}'}", outcome.retry_after))

    def read_receipts(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002 - they prove nothing
    ) -> list[Report]:
        """Read a pushed report: one object. Nothing in the call proves where it comes from. Raises ``BadReceipt``."""
        try:
            given = wire.read_fields(body)
        except wire.Unreadable as error:
            raise BadReceipt(400, "the body is not a JSON object") from error
        return self._reports(given, body)

    def _reports(self, given: Mapping[str, object], raw: bytes) -> list[Report]:
        """Return what a report says; nothing, and count it, when it names no message or no result."""
        try:
            return reports_of(given, raw, self._meaning)
        except wire.Unreadable:
            UNREADABLE_RECEIPTS.labels(self.name).inc()
            log.warning("receipts_unreadable", dealer=self.name, items=1)
            return []

    def _meaning(self, code: str, channel: Channel | None) -> Meaning:
        return self._codes.meaning(self.name, code, channel)

    async def pull(self) -> Pulled | None:
        """Fetch up to 1,000 reports (an account that polls only); kept by Bizppurio for three days."""
        if not self.capabilities.receipts_pulled:
            return None
        token = await self._gateway.token()
        if not isinstance(token, str):
            return None
        asking = body(account=self._gateway.account)
        outcome = await self._gateway.post("v1", "result", "request", token=token, body=asking)
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return None
        try:
            items = [bytes(item) for item in wire.read_list(outcome.body)]
        except wire.Unreadable:
            return None
        reports: list[Report] = []
        ids: list[str] = []
        for item in items:
            given = wire.read_item(item)
            # what says nothing is acknowledged as well: it would come again until it kept all else away
            if (identifier := printable(given.get("MSGID"))) is not None:
                ids.append(identifier)
            reports += self._reports(given, item)
        return Pulled(reports, "\n".join(ids)) if ids else None

    async def acknowledge(self, pulled: Pulled) -> None:
        """Say that ``pulled`` is stored."""
        token = await self._gateway.token()
        if isinstance(token, str):
            ids = [{"msgid": identifier} for identifier in pulled.batch_id.split("\n")]
            confirming = body(account=self._gateway.account, msgid=ids)
            await self._gateway.post("v1", "result", "confirm", token=token, body=confirming)

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify account and password by a token; nothing tells of sender keys and numbers."""
        token = await self._gateway.token()
        if isinstance(token, str):
            first = Checked("account", ok=True)
        elif isinstance(token, Refused):
            first = Checked("account", ok=False, detail=f"{token.code} {token.detail}".strip())
        else:
            first = Checked("account", ok=None, detail=token.detail)
        return [first, *await super().check(sender_keys, sender_numbers)]


@dataclass(slots=True)
class _Sending:
    """A batch under way: its token, and why the rest of it need not be tried."""

    token: str
    over: Refused | NotTaken | None = None


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Nothing else can be asked now either."""

    said: StillUnknown
