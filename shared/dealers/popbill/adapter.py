"""Popbill (팝빌, Linkhub) behind the dealer boundary.

A message is a request of its own, under our key as its RequestNum: Popbill takes a number once per member, and
tells by it what became of the request, so that a lost answer can be resolved.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from shared.config import BadConfig
from shared.contracts.states import Channel
from shared.dealers.account import Account, Credentials
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    Capabilities,
    Checked,
    Dealer,
    ImageUse,
    LookupMeans,
    LookupResult,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Push,
    Refused,
    SendResult,
    Uploaded,
)
from shared.dealers.codes import CodeTable, Meaning, load_table
from shared.dealers.http import Answer, Http, Lost, NotReached, Outcome
from shared.dealers.popbill import wire
from shared.dealers.popbill.gateway import Gateway, Identity, NoToken, Service, code_of, error_code_of
from shared.dealers.popbill.lookup import Lookup, unknown
from shared.dealers.popbill.templates import PopbillTemplates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dealers.templates import TemplateApi

MAX_BATCH = 50
CONCURRENT = 10
"""calls at a time that send, and as many that look up; Popbill publishes no limit"""

CREDENTIALS = Credentials(required=("link_id", "secret_key", "corp_num"), optional=("user_id", "service_id"))

_T = TypeVar("_T")

_POINTS = re.compile(r"-990\d{5}")
"""-990*: errors about points (docs.popbill.com, closedown/exception), which pay for messages"""


def capabilities(batch: int) -> Capabilities:
    """Return what Popbill can do for an account that wants at most ``batch`` messages at once.

    Popbill publishes neither how soon a request can be looked up nor until when results come: 25 h and 80 h are NHN
    Cloud's result timeouts for the same carriers, 24 h is when Aligo calls an AlimTalk final.
    """
    soon = dict.fromkeys((Channel.ALIMTALK, Channel.FRIENDTALK), timedelta(minutes=1))
    later = dict.fromkeys((Channel.SMS, Channel.LMS, Channel.MMS), timedelta(minutes=2))
    return Capabilities(
        channels=frozenset({*soon, *later}),
        max_batch=min(batch, MAX_BATCH),
        lookup=LookupMeans.BY_KEY,
        lookup_batch=MAX_BATCH,
        not_found_after=timedelta(minutes=2),
        push=Push.NONE,
        receipts_polled=True,
        receipt_expected_within={**soon, **later},
        receipt_deadline={
            Channel.ALIMTALK: timedelta(hours=24),
            Channel.FRIENDTALK: timedelta(hours=24),
            Channel.SMS: timedelta(hours=25),
            Channel.LMS: timedelta(hours=80),
            Channel.MMS: timedelta(hours=80),
        },
        mms_images=1,
        uploads=frozenset({ImageUse.MMS, ImageUse.BRAND}),
    )


def build(account: Account) -> Popbill:
    """Return the adapter of an account. Raises ``BadConfig`` for a secret key that is no base64."""
    credentials = account.credentials
    try:
        secret = base64.b64decode(credentials["secret_key"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadConfig(f"dealers.{account.name}.credentials.secret_key: is not base64") from error
    gateway = Gateway(
        Http(account.url(), timeout_seconds=account.timeout_seconds),
        Http(account.url("auth"), timeout_seconds=account.timeout_seconds),
        Identity(
            link_id=credentials["link_id"],
            secret=secret,
            corp_num=credentials["corp_num"].replace("-", ""),
            user_id=credentials.get("user_id"),
            service_id=credentials.get("service_id", "POPBILL"),
        ),
        now=account.now,
    )
    return Popbill(account.name, gateway, batch=account.batch)


class Popbill(Dealer):
    """One member's account at Popbill (``Dealer``)."""

    def __init__(self, name: str, gateway: Gateway, *, batch: int) -> None:
        self.name = name
        self.capabilities = capabilities(batch)
        self._gateway = gateway
        self._codes: CodeTable = load_table(__package__)
        self._errors: CodeTable = load_table(__package__, "errors.csv")
        self._sends = asyncio.Semaphore(CONCURRENT)
        self._lookups = asyncio.Semaphore(CONCURRENT)
        self._lookup = Lookup(gateway, self._errors, self.meaning)

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - one-phase
        """Send ``batch``, a call a message, some at a time; results in its order."""
        return await asyncio.gather(*(self._send(outgoing) for outgoing in batch))

    async def _send(self, outgoing: Outgoing) -> SendResult:
        try:
            sending = wire.sending_of(outgoing)
        except wire.Unsendable as error:
            return error.refusal
        async with self._sends:
            outcome = await self._gateway.call(
                sending.service, "POST", sending.path, body=sending.body, content_type=sending.content_type
            )
        match outcome:
            case NoToken(cause):
                return self._no_token(cause)
            case NotReached(detail):
                return NotTaken("dealer_unavailable", detail=detail)
            case Lost(detail):
                return Ambiguous(detail)
            case Answer(status=HTTPStatus.OK):
                receipt = wire.read_receipt_num(outcome.body)
                return Ambiguous("the answer has no receipt number") if receipt is None else Accepted(receipt)
            case _:
                return self._refusal(outcome)

    def _refusal(self, answer: Answer) -> SendResult:
        """Say what an error to a send means.

        A code that we know was answered before anything was taken. One that we do not know may say that the number
        was used before, by a copy of this very call, so it is looked up.
        """
        code = error_code_of(answer)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotTaken("rate_limited", code_of(answer), retry_after=answer.retry_after)
        meaning = self._errors.read(code)
        if meaning.known and meaning.reason is not None:
            return Refused(meaning.reason, code, meaning.text)
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return Refused("auth_failed", code_of(answer))
        if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and _POINTS.fullmatch(code):
            return Refused("no_balance", code, "an error about points")
        if code:
            self._errors.meaning(self.name, code)  # counted and logged, so that somebody adds it to errors.csv
        return Ambiguous(f"answered {code_of(answer)}")

    def _no_token(self, cause: Outcome | None) -> NotTaken | Refused:
        match cause:
            case None:
                return NotTaken("dealer_unavailable", detail="the token wore out")
            case NotReached(detail) | Lost(detail):
                return NotTaken("dealer_unavailable", detail=f"no token: {detail}")
            case Answer(status=HTTPStatus.TOO_MANY_REQUESTS):
                return NotTaken("rate_limited", code_of(cause), retry_after=cause.retry_after)
            case Answer(status=status) if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                return Refused("auth_failed", code_of(cause), "Linkhub gives no token")
            case Answer():
                return NotTaken("dealer_unavailable", code_of(cause), "no token")

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts``, by Popbill's number where we have it, or else by ours."""
        return await asyncio.gather(*(self._look_up(attempt) for attempt in attempts))

    async def _look_up(self, attempt: OpenAttempt) -> LookupResult:
        async with self._lookups:
            return await self._lookup.of(attempt)

    def meaning(self, code: str, channel: Channel) -> Meaning:
        """Return what a state or result says; one that the table does not have is counted."""
        return self._codes.meaning(self.name, code, channel)

    async def balance_krw(self) -> int | None:
        """Return the member's points (연동과금), or None when they could not be had."""
        outcome = await self._gateway.point()
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return None
        try:
            return wire.read_point(outcome.body)
        except wire.Unreadable:
            return None

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify channels (검색용 아이디) and sender numbers against Popbill's lists, and so the credentials."""
        channels = await self._listed(Service.KAKAO, ("KakaoTalk", "ListPlusFriendID"), list[wire.KakaoChannel])
        numbers = await self._listed(Service.TEXT, ("Message", "SenderNumber"), list[wire.Sender])
        if isinstance(channels, str):
            known: list[Checked] = [Checked(key, None, channels) for key in sender_keys]
        else:
            listed = {channel.id for channel in channels}
            known = [_checked(key, found=key in listed) for key in sender_keys]
        if isinstance(numbers, str):
            return [*known, *(Checked(number, None, numbers) for number in sender_numbers)]
        registered = wire.digits(sender.number for sender in numbers)
        return [*known, *(_checked(number, found=number in registered) for number in sender_numbers)]

    async def _listed(self, service: Service, path: tuple[str, ...], type_: type[_T]) -> _T | str:
        """Return a list of Popbill's, or why it could not be had."""
        outcome = await self._gateway.call(service, "GET", *path)
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return unknown(outcome).detail
        try:
            return wire.read(outcome.body, type_)
        except wire.Unreadable:
            return "the answer cannot be read"

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        """Return the image as its own name: Popbill keeps none, each message brings its image along."""
        if len(image) > wire.IMAGE_BYTES[use]:
            return Refused("invalid_attachment", "", f"over {wire.IMAGE_BYTES[use]} bytes")
        if not image.startswith(b"\xff\xd8\xff"):
            return Refused("invalid_attachment", "", f"{name} is no JPEG")
        return Uploaded(wire.inline(image))

    @property
    def templates(self) -> TemplateApi | None:
        """Return its template API, which only reads: templates are made in Popbill's window."""
        return PopbillTemplates(self._gateway)

    async def close(self) -> None:
        """Close connections."""
        await self._gateway.close()


def _checked(what: str, *, found: bool) -> Checked:
    return Checked(what, found, "" if found else "not registered at Popbill")
