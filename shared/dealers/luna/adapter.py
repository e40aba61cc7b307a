"""Luna Soft (루나소프트) behind the dealer boundary: the hub's queue, one message a call, receipts by webhook.

The hub remembers ``message_key``, which carries our request key: the same request again either goes out now, or is
told to be there already (3012). That is the only means to resolve a lost answer, for there is no lookup.
"""

from __future__ import annotations

import asyncio
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
    ImageUse,
    LookupMeans,
    NotTaken,
    Outgoing,
    Push,
    Refused,
    Report,
    SendResult,
    Uploaded,
)
from shared.dealers.codes import UNKNOWN, CodeTable, load_table
from shared.dealers.http import Answer, Http, Lost, NotReached
from shared.dealers.luna import wire
from shared.dealers.luna.center import Center
from shared.dealers.luna.templates import LunaTemplates
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.dealers.templates import TemplateApi

log = structlog.get_logger()

CREDENTIALS = Credentials(required=("agent_key",))

MAX_BATCH = 30
"""calls at the same time; the hub advises 30 a second for its realtime mode, and says nothing of the queue's"""

_TAKEN = frozenset({"LS0000", "0000", "3005"})
"""queued; or, should the hub answer as in its realtime mode: delivered, sent and not confirmed"""
_TAKEN_BEFORE = "3012"
_DOUBTFUL = frozenset({"LS0101", "LS0102", "LS9999", "3000", "4000", "4001", "9998", "9999"})
"""errors that do not say whether the message is in the queue, or with Kakao"""
_TRY_LATER = frozenset({"rate_limited", "dealer_unavailable", "kakao_unavailable"})


def capabilities(batch: int) -> Capabilities:
    """Return what Luna can do for an account that wants at most ``batch`` messages under way.

    Luna publishes neither how long a message key is remembered nor after which time no receipt comes. A day for the
    first is a guess (README). A day for the second is when another dealer (Aligo) calls its results final.
    """
    channels = (Channel.ALIMTALK, Channel.FRIENDTALK)
    return Capabilities(
        channels=frozenset(channels),
        max_batch=min(batch, MAX_BATCH),
        lookup=LookupMeans.REPLAY,
        lookup_batch=MAX_BATCH,
        not_found_after=timedelta(),
        push=Push.OPEN,
        receipts_polled=False,
        receipt_expected_within=dict.fromkeys(channels, timedelta(minutes=10)),
        receipt_deadline=dict.fromkeys(channels, timedelta(hours=24)),
        replay_within=timedelta(hours=24),
        alimtalk_characters=wire.ALIMTALK_CHARACTERS,
        uploads=frozenset({ImageUse.BRAND}),
    )


def build(account: Account) -> Luna:
    """Return the adapter of an account; ``urls.center`` is the host for templates and images."""
    return Luna(
        account.name,
        Http(account.url(), timeout_seconds=account.timeout_seconds),
        Center(
            Http(account.url("center"), timeout_seconds=account.timeout_seconds),
            agent_key=account.credentials["agent_key"],
            codes=load_table(__package__, "center_codes.csv"),
        ),
        agent_key=account.credentials["agent_key"],
        codes=load_table(__package__),
        batch=account.batch,
    )


class Luna(Dealer):
    """One account at Luna (``Dealer``)."""

    def __init__(
        self,
        name: str,
        hub: Http,
        center: Center,
        *,
        agent_key: str,
        codes: CodeTable,
        batch: int,
    ) -> None:
        self.name = name
        self.capabilities = capabilities(batch)
        self._hub = hub
        self._center = center
        self._headers = {"agentKey": agent_key, "Content-Type": "application/json"}
        self._codes = codes

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - Luna has no handles
        """Send ``batch``, a call each and all at once; safe to repeat, as the hub knows each key."""
        return list(await asyncio.gather(*(self._send(outgoing) for outgoing in batch)))

    async def _send(self, outgoing: Outgoing) -> SendResult:
        try:
            kind, body = wire.request_of(outgoing)
        except wire.CannotSay as refusal:
            return Refused(refusal.reason, "", refusal.detail)
        url = self._hub.url("api", "v3", kind, "send", "async")
        match await self._hub.call("POST", url, headers=self._headers, body=body):
            case NotReached(detail):
                return NotTaken("dealer_unavailable", detail=detail)
            case Lost(detail):
                return Ambiguous(detail)
            case Answer() as answer:
                return self._result(outgoing, answer)

    def _result(self, outgoing: Outgoing, answer: Answer) -> SendResult:
        """Say what an answer makes certain; which status an error has is not documented, so most is in its code."""
        try:
            said = wire.read(answer.body)
        except wire.Unreadable:
            said = wire.Said()
        code = said.result
        if (certain := _of_status(answer, code)) is not None:
            return certain
        if said.message_key is not None and said.message_key != outgoing.request_key:
            return Ambiguous("the answer names another message")
        if code == _TAKEN_BEFORE:
            return AlreadyTaken(outgoing.request_key)
        if code in _TAKEN and answer.status == HTTPStatus.OK:
            return Accepted(outgoing.request_key)
        return self._failure(outgoing, code, answer)

    def _failure(self, outgoing: Outgoing, code: str, answer: Answer) -> SendResult:
        """Say what an answer that does not say "taken" makes certain."""
        said = code or f"HTTP {answer.status} and no code"
        if code in _DOUBTFUL or code in _TAKEN:
            return Ambiguous(f"the hub answered {said}")
        meaning = self._codes.meaning(self.name, code, outgoing.channel) if code else self._codes.read(code)
        if not meaning.known and not _is_refusal(answer.status):
            return Ambiguous(f"the hub answered {said}")
        reason = meaning.reason or UNKNOWN
        if reason in _TRY_LATER:
            return NotTaken(reason, code, meaning.text, answer.retry_after)
        return Refused(reason, code or f"HTTP {answer.status}", meaning.text)

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:  # noqa: ARG002 - Luna proves nothing in them
        """Read a webhook call: one report. Luna signs nothing; our path's secret and an address list must do.

        Raises ``BadReceipt``. A report without a code, a key or a known type of message is counted and left out.
        """
        try:
            said = wire.read(body)
        except wire.Unreadable as error:
            raise BadReceipt(400, "the body is not a JSON object") from error
        channel = said.channel
        if not said.result or said.key is None or channel is None:
            UNREADABLE_RECEIPTS.labels(self.name).inc()
            log.warning("receipts_unreadable", dealer=self.name, items=1)
            return []
        meaning = self._codes.meaning(self.name, said.result, channel)  # the same digits mean something else in a text
        return [
            Report(
                request_key=said.key,
                dealer_message_id=said.key,
                delivered=meaning.delivered,
                code=said.result,
                reason=meaning.reason,
                detail=meaning.text,
                at=said.at,
                raw=body,
                leg=channel if channel.is_text else None,
            )
        ]

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Ask for each sender profile; nothing can be asked about numbers, since Luna sends no texts for us."""
        profiles = [await self._center.check_sender(key) for key in sender_keys]
        return [*profiles, *(Checked(number, None, "Luna sends no texts for bongsu") for number in sender_numbers)]

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        """Upload the image of a brand message (JPEG or PNG, at most 5 MB)."""
        if use is not ImageUse.BRAND:
            return await super().upload(use, name, image)
        return await self._center.upload_brand_image(name, image)

    @property
    def templates(self) -> TemplateApi:
        """Return the center API's templates."""
        return LunaTemplates(self._center)

    async def close(self) -> None:
        """Close connections."""
        await self._hub.close()
        await self._center.close()


def _of_status(answer: Answer, code: str) -> SendResult | None:
    """Say what the status alone makes certain; None for 200 and for refusals, whose code tells."""
    match answer.status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return NotTaken("rate_limited", code or "HTTP 429", retry_after=answer.retry_after)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Refused(
                "auth_failed", code or f"HTTP {answer.status}", "the key or the caller's address is not let in"
            )
        case HTTPStatus.REQUEST_TIMEOUT:
            return Ambiguous("the hub answered 408")
        case status if status == HTTPStatus.OK or _is_refusal(status):
            return None
        case status:
            return Ambiguous(f"the hub answered {status}")


def _is_refusal(status: int) -> bool:
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
