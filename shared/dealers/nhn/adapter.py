"""NHN Cloud behind the dealer boundary: AlimTalk and brand messages by KakaoTalk Bizmessage, texts by SMS.

Every message carries our request key as its ``recipientGroupingKey``, by which NHN's lists find it: a request whose
answer is lost is resolved message by message. No call is ever repeated.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import aiohttp
import msgspec
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
    Dealer,
    ImageUse,
    LookupMeans,
    LookupResult,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Push,
    Refused,
    Report,
    SendResult,
    Uploaded,
)
from shared.dealers.codes import CodeTable, Meaning, load_table
from shared.dealers.nhn import answers, wire
from shared.dealers.nhn.check import check_numbers, check_profile
from shared.dealers.nhn.gateway import Said, Service, Verdicts
from shared.dealers.nhn.lookup import Lookup
from shared.dealers.nhn.templates import NhnTemplates
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

if TYPE_CHECKING:
    from shared.dealers.nhn.gateway import Result
    from shared.dealers.nhn.wire import Request
    from shared.dealers.templates import TemplateApi

log = structlog.get_logger()

SEND_WITHIN = 15.0
"""seconds in which the calls of one ``send`` begin; well within a lease, and far within ``not_found_after``"""
CALLS_AT_ONCE = 8
MAX_MMS_IMAGE = 300 * 1024
MAX_BRAND_IMAGE = 5 * 1024 * 1024
MAX_FILE_NAME = 45

_TEXTS = frozenset({Channel.SMS, Channel.LMS, Channel.MMS})

CREDENTIALS = Credentials(
    required=("appkey", "secret_key"), optional=("sms_appkey", "sms_secret_key", "webhook_signature")
)


def capabilities(batch: int, *, texts: bool, signed: bool) -> Capabilities:
    """Return what NHN can do for an account, with ``texts`` if it has keys of the SMS service.

    NHN publishes neither how far its lists lag behind nor until when AlimTalk results come: five minutes are a
    guess well above what is seen elsewhere; 24 h is when another dealer (Aligo) calls its results final. Texts end
    after 25 h and 80 h, with the result 2000 (SMS sending-policy, 2026-06-23), and an hour more is left for it.
    """
    kakao = {Channel.ALIMTALK, Channel.FRIENDTALK}
    return Capabilities(
        channels=frozenset(kakao | _TEXTS if texts else kakao),
        max_batch=min(batch, wire.MAX_RECIPIENTS),
        lookup=LookupMeans.BY_KEY,
        lookup_batch=100,
        not_found_after=timedelta(minutes=5),
        push=Push.TOKEN if signed else Push.OPEN,
        receipts_polled=True,
        receipt_expected_within={
            Channel.ALIMTALK: timedelta(minutes=10),
            Channel.FRIENDTALK: timedelta(minutes=10),
            Channel.SMS: timedelta(minutes=30),
            Channel.LMS: timedelta(minutes=30),
            Channel.MMS: timedelta(minutes=30),
        },
        receipt_deadline={
            Channel.ALIMTALK: timedelta(hours=24),
            Channel.FRIENDTALK: timedelta(hours=24),
            Channel.SMS: timedelta(hours=26),
            Channel.LMS: timedelta(hours=81),
            Channel.MMS: timedelta(hours=81),
        },
        alimtalk_characters=wire.ALIMTALK_CHARACTERS,
        mms_images=wire.MMS_IMAGES if texts else 0,
        cancels=True,
        schedules=True,
        uploads=frozenset({ImageUse.BRAND, ImageUse.MMS} if texts else {ImageUse.BRAND}),
    )


def build(account: Account) -> Nhn:
    """Return the adapter of an account; ``urls.sms`` is the host of the SMS service.

    Raises ``BadConfig`` for half of the keys of the SMS service.
    """
    credentials = account.credentials
    bizmessage = Service(
        account.url(),
        appkey=credentials["appkey"],
        secret_key=credentials["secret_key"],
        timeout_seconds=account.timeout_seconds,
    )
    sms = None
    if "sms_appkey" in credentials and "sms_secret_key" in credentials:
        sms = Service(
            account.url("sms"),
            appkey=credentials["sms_appkey"],
            secret_key=credentials["sms_secret_key"],
            timeout_seconds=account.timeout_seconds,
        )
    elif "sms_appkey" in credentials or "sms_secret_key" in credentials:
        where = f"dealers.{account.name}.credentials"
        raise BadConfig(f"{where}: sms_appkey and sms_secret_key go together; set both, or neither for no texts")
    return Nhn(account, bizmessage, sms, webhook_signature=credentials.get("webhook_signature"))


class Nhn(Dealer):
    """One NHN Cloud account (``Dealer``)."""

    def __init__(
        self, account: Account, bizmessage: Service, sms: Service | None, *, webhook_signature: str | None
    ) -> None:
        """``webhook_signature`` is the one typed in at the webhook's registration; None: calls are not checked."""
        self.name = account.name
        self.capabilities = capabilities(account.batch, texts=sms is not None, signed=webhook_signature is not None)
        self._account = account
        self._bizmessage = bizmessage
        self._sms = sms
        self._codes: CodeTable = load_table(__package__)
        self._verdicts = Verdicts(account.name, load_table(__package__, "accept.csv"))
        self._signature = webhook_signature
        self._templates = NhnTemplates(bizmessage, self._verdicts)

    def service(self, channel: Channel) -> Service | None:
        """Return the service of a channel; None for texts without their keys."""
        return self._sms if wire.PLACES[channel].text else self._bizmessage

    # -- sending -------------------------------------------------------------------------------------------------

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - no handle
        """Send ``batch`` in as many requests as it has templates or texts; results in its order.

        Requests go several at once. One that could not begin within ``SEND_WITHIN`` seconds does not: the caller's
        lease is short, and whoever looks an attempt up must not find it missing and then have it sent.
        """
        results: dict[str, SendResult] = {}
        fit: list[Outgoing] = []
        for outgoing in batch:
            if outgoing.channel not in self.capabilities.channels:
                results[outgoing.request_key] = Refused("not_permitted", "", f"{self.name} has no {outgoing.channel}")
            elif (refusal := wire.refusal_of(outgoing)) is not None:
                results[outgoing.request_key] = refusal
            else:
                fit.append(outgoing)
        gate = asyncio.Semaphore(CALLS_AT_ONCE)
        until = asyncio.get_running_loop().time() + SEND_WITHIN
        for made in await asyncio.gather(*(self._request(request, gate, until) for request in wire.requests_of(fit))):
            results |= made
        return [results[outgoing.request_key] for outgoing in batch]

    async def _request(self, request: Request, gate: asyncio.Semaphore, until: float) -> dict[str, SendResult]:
        place, service = wire.PLACES[request.channel], self.service(request.channel)
        assert service is not None  # noqa: S101 - the channel is one of the account's
        async with gate:
            if asyncio.get_running_loop().time() >= until:
                late = NotTaken("dealer_unavailable", detail=f"not called within {SEND_WITHIN:.0f} s")
                return {outgoing.request_key: late for outgoing in request.messages}
            said = await service.call(
                "POST",
                place.prefix,
                *place.send,
                body=request.body,
                idempotency_key=request.batch_key if request.channel is Channel.ALIMTALK else None,
            )
        told: Mapping[str, answers.Taken] = {}
        if isinstance(said, Said):
            try:
                told = answers.results_of(said.answer.body, request.messages)
            except answers.Unreadable:
                told = {}
        success = isinstance(said, Said) and said.successful and said.answer.status < 300  # noqa: PLR2004 - 2xx
        verdict: SendResult = (
            Ambiguous("the answer does not name it") if success else self._verdicts.of_request(said, request.channel)
        )
        return {
            outgoing.request_key: self._result(told.get(outgoing.request_key), outgoing.channel, verdict, taken=success)
            for outgoing in request.messages
        }

    def _result(self, told: answers.Taken | None, channel: Channel, verdict: SendResult, *, taken: bool) -> SendResult:
        """Return what became of one message, ``told`` in the answer to a request that was ``taken`` or not."""
        if told is None or (isinstance(verdict, Ambiguous) and not taken):
            return verdict
        if told.code != "0":
            refusal = self._verdicts.of_code(told.code, told.words, channel)
            return Ambiguous(refusal.detail, told.id) if isinstance(refusal, Ambiguous) else refusal
        if not taken:
            return Ambiguous("taken in a request that failed", told.id)
        return Accepted(told.id) if told.id else Ambiguous("taken, under an id that cannot be kept")

    # -- what became of it ---------------------------------------------------------------------------------------

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts``, by NHN's id where there is one, else by our key."""
        return await Lookup(self.service, self.meaning, now=self._account.now).run(attempts)

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Check and read a webhook call of either service.

        Raises ``BadReceipt``. Hooks that are no result of a message are left out; unreadable ones are counted.
        """
        if self._signature is not None:
            given = headers.get("x-toast-webhook-signature", "").encode(errors="backslashreplace")
            if not hmac.compare_digest(given, self._signature.encode()):
                raise BadReceipt(401, "X-Toast-Webhook-Signature is not the configured webhook_signature")
        try:
            hooks = answers.hooks_of(body)
        except answers.Unreadable as error:
            raise BadReceipt(400, "the body is not a JSON object with hooks") from error
        reports = []
        unreadable = 0
        for hook in hooks:
            if hook is None:
                unreadable += 1
                continue
            record, channel, event_id = hook
            reports.append(answers.report_of(record, channel, self.meaning, event_id=event_id))
        if unreadable:
            UNREADABLE_RECEIPTS.labels(self.name).inc(unreadable)
            log.warning("receipts_unreadable", dealer=self.name, items=unreadable)
        return reports

    def meaning(self, code: str, channel: Channel) -> Meaning:
        """Return what a result says; a message that NHN kept although it refused it has a code of acceptance."""
        if code.startswith("-"):
            meaning = self._verdicts.table.read(code, channel)
            if meaning.known and meaning.reason is not None:
                return meaning
        return self._codes.meaning(self.name, code, channel)

    # -- around it -----------------------------------------------------------------------------------------------

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify credentials, sender keys and sender numbers, without sending anything."""
        checked = [await check_profile(self._bizmessage, self._verdicts, key) for key in sender_keys]
        if self._sms is not None:
            checked += await check_numbers(self._sms, self._verdicts, sender_numbers)
        else:
            why = "the account has no keys of the SMS service"
            checked += [Checked(number, ok=False, detail=why) for number in sender_numbers]
        return checked

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        """Upload an image: a JPEG of 300 KB for an MMS, or a JPEG or PNG of 5 MB for a brand message."""
        is_jpeg, is_png = image.startswith(b"\xff\xd8"), image.startswith(b"\x89PNG")
        match use:
            case ImageUse.MMS if self._sms is None:
                return Refused("not_permitted", "", "the account has no keys of the SMS service")
            case ImageUse.MMS if not is_jpeg or len(image) > MAX_MMS_IMAGE:
                return Refused("invalid_attachment", "", f"an MMS takes a JPEG of up to {MAX_MMS_IMAGE:,} bytes")
            case ImageUse.MMS:
                return await self._upload_mms(name, image)
            case ImageUse.BRAND if not (is_jpeg or is_png) or len(image) > MAX_BRAND_IMAGE:
                return Refused("invalid_attachment", "", f"NHN takes a JPEG or PNG of up to {MAX_BRAND_IMAGE:,} bytes")
            case ImageUse.BRAND:
                return await self._upload_brand(name, image, "image/jpeg" if is_jpeg else "image/png")

    async def _upload_mms(self, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        assert self._sms is not None  # noqa: S101 - asked before
        stem = re.sub(r"[^\w-]", "", name.rpartition(".")[0] or name, flags=re.ASCII)
        body = {
            "fileName": f"{stem[: MAX_FILE_NAME - 4] or 'image'}.jpg",  # another extension is refused (-2003)
            "createUser": "bongsu",
            "fileBody": base64.b64encode(image).decode(),
        }
        said = await self._sms.call("POST", wire.SMS, "attachfile", "binaryUpload", body=msgspec.json.encode(body))
        return self._uploaded(said, Channel.MMS, "body", "data", "fileId")

    async def _upload_brand(self, name: str, image: bytes, kind: str) -> Uploaded | Refused | NotTaken:
        form = aiohttp.FormData()
        form.add_field("image", image, filename=name or "image", content_type=kind)
        form.add_field("imageType", "IMAGE")
        said = await self._bizmessage.call("POST", wire.BRAND, "images", form=form)
        return self._uploaded(said, Channel.FRIENDTALK, "image", "imageUrl")

    def _uploaded(self, said: Result, channel: Channel, *path: str) -> Uploaded | Refused | NotTaken:
        """Read the answer to an upload, which may be done again whatever became of it."""
        if isinstance(said, Said) and said.successful:
            try:
                value = answers.at_path(answers.parsed(said.answer.body), *path)
            except answers.Unreadable:
                value = None
            if (type(value) is int and value >= 0) or (isinstance(value, str) and value.startswith("http")):
                return Uploaded(value)
            return NotTaken("dealer_unavailable", detail="the answer to the upload names no image")
        verdict = self._verdicts.of_request(said, channel)
        if isinstance(verdict, Ambiguous):
            return NotTaken("dealer_unavailable", detail=verdict.detail)
        return verdict

    @property
    def templates(self) -> TemplateApi:
        """Return its template API."""
        return self._templates

    async def close(self) -> None:
        """Close connections."""
        await self._bizmessage.close()
        if self._sms is not None:
            await self._sms.close()
