"""Infobank Bizgo (OMNI) behind the dealer boundary: one request a recipient, replayed under its idempotency key.

What became of a lost answer is found out by sending the same request again: within a day Bizgo tells a key that it
took from a new one (A301), and only a request that never arrived goes out by it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass
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
    AlreadyTaken,
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
    Pulled,
    Push,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Uploaded,
)
from shared.dealers.bizgo import content, wire
from shared.dealers.bizgo.gateway import Gateway
from shared.dealers.bizgo.lookup import Lookup
from shared.dealers.bizgo.reports import Reports, Signature
from shared.dealers.bizgo.templates import BizgoTemplates
from shared.dealers.bizgo.wire import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

log = structlog.get_logger()

CREDENTIALS = Credentials(required=("api_key",), optional=("webhook_secret", "reports"))

_CONCURRENT = 20
"""requests at a time"""
_STARTED_WITHIN = timedelta(seconds=15)
"""no request of a batch starts later, so that a slow dealer does not hold a batch beyond the sender's lease"""
_IMAGE_BYTES = 300 * 1024
"""of an MMS (SDK 1.2.0, files)"""
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def capabilities(batch: int, push: Push) -> Capabilities:
    """Return what Bizgo can do for an account that wants at most ``batch`` recipients in a call.

    How long receipts may come is published nowhere: 24 h, 25 h and 80 h are what others of the same carriers and of
    Kakao state (``shared/dealers/solapi``). Bizgo forgets an idempotency key after 24 h: an hour is left for clocks.
    """
    minutes, hours = timedelta(minutes=1), timedelta(hours=1)
    return Capabilities(
        channels=frozenset(Channel),
        max_batch=min(batch, 200),
        lookup=LookupMeans.REPLAY,
        lookup_batch=5,  # a second's worth: 5 inquiries a second
        not_found_after=5 * minutes,
        push=push,
        receipts_polled=True,
        receipts_pulled=push is Push.NONE,
        receipt_expected_within={
            Channel.ALIMTALK: 10 * minutes,
            Channel.FRIENDTALK: 10 * minutes,
            Channel.SMS: 30 * minutes,
            Channel.LMS: 30 * minutes,
            Channel.MMS: 30 * minutes,
        },
        receipt_deadline={
            Channel.ALIMTALK: 24 * hours,
            Channel.FRIENDTALK: 24 * hours,
            Channel.SMS: 25 * hours,
            Channel.LMS: 80 * hours,
            Channel.MMS: 80 * hours,
        },
        replay_within=timedelta(seconds=content.IDEMPOTENCY_SECONDS) - hours,
        alimtalk_characters=content.ALIMTALK_CHARACTERS,
        mms_images=content.MMS_IMAGES,
        cancels=True,
        schedules=True,
        uploads=frozenset({ImageUse.MMS, ImageUse.BRAND}),
    )


def build(account: Account) -> Bizgo:
    """Return the adapter of an account. Raises ``BadConfig``."""
    where = f"dealers.{account.name}.credentials"
    api_key = account.credentials["api_key"]
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise BadConfig(f"{where}.api_key: want the key alone, without a scheme (Bearer) or spaces")
    reports = account.credentials.get("reports", "webhook")
    if reports not in {"polling", "webhook"}:
        raise BadConfig(f"{where}.reports: want webhook or polling, as the key is set in Bizgo's console")
    secret = account.credentials.get("webhook_secret")
    return Bizgo(
        account.name,
        Gateway(account.name, account.url(), api_key=api_key, timeout_seconds=account.timeout_seconds),
        batch=account.batch,
        polling=reports == "polling",
        webhook_secret=secret,
        now=account.now,
    )


@dataclass(slots=True)
class _Batch:
    """What the requests of one batch learn from each other."""

    until: float
    """when the last one may start (seconds of ``asyncio``'s clock)"""
    limited: NotTaken | None = None
    """once one was over the limit, the others would be too"""
    history: bool = True
    """whether the history answers, and is worth asking"""

    def closed(self) -> NotTaken | None:
        """Return why no further request is made, if none is."""
        if self.limited is None and asyncio.get_running_loop().time() >= self.until:
            return NotTaken("dealer_unavailable", detail="not tried: those before it took too long")
        return self.limited


class Bizgo(Dealer):
    """One Bizgo account (``Dealer``)."""

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        *,
        batch: int,
        polling: bool,
        webhook_secret: str | None,
        now: Callable[[], datetime],
    ) -> None:
        """Take ``polling`` and ``webhook_secret`` as Bizgo has them; without a secret receipt calls are not checked."""
        self.name = name
        push = Push.NONE if polling else Push.OPEN if webhook_secret is None else Push.SIGNED
        self.capabilities = capabilities(batch, push)
        self._gateway = gateway
        self._signature = None if webhook_secret is None else Signature(webhook_secret, now)
        self._reports = Reports(name, gateway.codes)
        self._lookup = Lookup(gateway, self._reports, now)
        self._templates = BizgoTemplates(gateway)

    # -- sending -------------------------------------------------------------------------------------------------

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - has none
        """Send each message of ``batch`` by a request of its own; results in its order.

        Several requests are under way at a time, but one after another to the same person.
        """
        shared = _Batch(asyncio.get_running_loop().time() + _STARTED_WITHIN.total_seconds())
        results: dict[int, SendResult] = {}
        people = deque(_by_person(batch))

        async def work() -> None:
            while people:
                for place in people.popleft():
                    results[place] = await self._send(batch[place], shared)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(_CONCURRENT, len(people))):
                tasks.create_task(work())
        return [results[place] for place in range(len(batch))]

    async def _send(self, outgoing: Outgoing, shared: _Batch) -> SendResult:
        body = content.encode(outgoing)
        if isinstance(body, Refused):
            return body
        if (closed := shared.closed()) is not None:
            return closed
        said = self._gateway.read(await self._gateway.call("POST", "send", "omni", body=body))
        result = self._result(outgoing, said) if isinstance(said, Said) else said
        match result:
            case NotTaken("rate_limited"):
                shared.limited = result
            case AlreadyTaken():
                return await self._named(outgoing, shared)
        return result

    def _result(self, outgoing: Outgoing, said: Said) -> SendResult:
        """Return what became of the one recipient of a request that the service answered."""
        if said.code == wire.ALREADY_TAKEN:
            return AlreadyTaken()
        taken = _recipient(outgoing, said)
        if isinstance(taken, Ambiguous):
            return taken
        code, dealer_message_id = wire.code_of(taken.code), wire.identifier(taken.msg_key)
        match code:
            case wire.OK if dealer_message_id is not None:
                return Accepted(dealer_message_id)
            case wire.OK | "":
                return Ambiguous("the answer gives no msgKey, or no code")
            case wire.ALREADY_TAKEN:
                return AlreadyTaken()
        return self._gateway.denied(self._gateway.meaning(said.layer, code), code)

    async def _named(self, outgoing: Outgoing, shared: _Batch) -> AlreadyTaken:
        """Return what was taken before by its ``msgKey``, which A301 does not give, if the history has it.

        With it the message can be asked about should its receipt not come.
        """
        if not shared.history or shared.closed():
            return AlreadyTaken()
        found = await self._lookup.by_key(outgoing.request_key)
        shared.history = shared.history and not isinstance(found, StillUnknown)
        return AlreadyTaken(found.dealer_message_id if isinstance(found, Report) else None)

    # -- what became of it ---------------------------------------------------------------------------------------

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Ask about ``attempts`` by ``msgKey``, or look for our key in the history, which proves only what it has."""
        return await self._lookup.run(attempts)

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Check and read a webhook call, which holds one report. Raises ``BadReceipt``."""
        if self.capabilities.push is Push.NONE:
            raise BadReceipt(403, "this account's reports are polled")
        if self._signature is not None:
            self._signature.check(headers)
        try:
            wire.read(body, dict[str, msgspec.Raw])
        except wire.Unreadable as error:
            raise BadReceipt(400, "the body is not a JSON object") from error
        return self._reports.readable([body])

    def answer_receipts(self, reports: Sequence[Report]) -> bytes:
        """Return ``{"msgKey": ...}``; Bizgo posts a report again, three times, that is answered in another way."""
        ids = [report.dealer_message_id for report in reports if report.dealer_message_id is not None]
        return msgspec.json.encode({"msgKey": ids[0]} if ids else {})

    async def pull(self) -> Pulled | None:
        """Fetch the reports that were not yet acknowledged; None for nothing, or where it cannot be had now."""
        said = self._gateway.read(await self._gateway.call("GET", "report", "polling"))
        if not isinstance(said, Said) or not said.is_ok:
            code = said.code if isinstance(said, Refused | NotTaken | Said) else ""
            log.warning("reports_not_polled", dealer=self.name, code=code)
            return None
        try:
            batch_id, items = wire.read_polled(said.data)
        except wire.Unreadable:
            log.warning("reports_unreadable", dealer=self.name)
            return None
        return None if batch_id is None else Pulled(self._reports.readable(map(bytes, items)), batch_id)

    async def acknowledge(self, pulled: Pulled) -> None:
        """Say that ``pulled`` is stored; when this is lost Bizgo gives it again."""
        await self._gateway.call("DELETE", "report", "polling", pulled.batch_id)

    # -- the account ---------------------------------------------------------------------------------------------

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify the key and the sender keys; Bizgo has no call that tells of sender numbers."""
        said = self._gateway.read(await self._gateway.call("GET", "center", "alimtalk", "category"))
        checked = [_checked_key(said)]
        for sender_key in sender_keys:
            query = [("senderKey", sender_key)]
            answer = self._gateway.read(await self._gateway.call("GET", "center", "kakao", "sender", query=query))
            checked.append(_checked_profile(sender_key, answer))
        return [*checked, *(Checked(number, None, "only Bizgo's console shows it") for number in sender_numbers)]

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:  # noqa: ARG002 - a name of ours would say nothing there
        """Upload an image: an MMS takes JPEG up to 300 KB, and forgets it some time (``expired`` in its answer)."""
        is_jpeg = image.startswith(_JPEG)
        if use is ImageUse.MMS and not (is_jpeg and len(image) <= _IMAGE_BYTES):
            return Refused("invalid_attachment", "", "an image of an MMS is a JPEG of at most 300 KB")
        if not (is_jpeg or image.startswith(_PNG)):
            return Refused("invalid_attachment", "", "an image is a JPEG or a PNG")
        form = aiohttp.FormData()
        form.add_field(
            "file",
            image,
            filename="image.jpg" if is_jpeg else "image.png",
            content_type="image/jpeg" if is_jpeg else "image/png",
        )
        path = ("file", "mms") if use is ImageUse.MMS else ("file", "brandmessage", "default")
        said = self._gateway.read(await self._gateway.upload(*path, form=form))
        match said:
            case NotTaken() | Refused():
                return said
            case Ambiguous(detail):
                return NotTaken("dealer_unavailable", detail=detail)  # two copies of an image do no harm
            case Said(data=data):
                try:
                    uploaded = wire.read_file(data)
                except wire.Unreadable:
                    uploaded = None
                return Uploaded(uploaded) if uploaded else NotTaken("dealer_error", detail="the answer names no file")

    @property
    def templates(self) -> BizgoTemplates:
        """Return its template API."""
        return self._templates

    async def close(self) -> None:
        """Close connections."""
        await self._gateway.close()


def _recipient(outgoing: Outgoing, said: Said) -> wire.Taken | Ambiguous:
    """Return what an answer says of the one recipient of a request."""
    if said.ref not in {None, outgoing.request_key}:
        return Ambiguous("the answer is to another request")
    try:
        taken = wire.read_destinations(said.data)
    except wire.Unreadable:
        return Ambiguous("the answer names no recipient")
    if len(taken) != 1 or taken[0].to not in (None, outgoing.to):
        return Ambiguous("the answer does not name the recipient, or others as well")
    return taken[0]


def _by_person(batch: Sequence[Outgoing]) -> Iterator[list[int]]:
    """Yield the places in ``batch`` of each person's messages, in their order."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, outgoing in enumerate(batch):
        places[outgoing.to].append(place)
    yield from places.values()


def _checked_key(said: Said | Refused | NotTaken | Ambiguous) -> Checked:
    match said:
        case Said():
            return Checked("api_key", ok=True)
        case Refused(reason, code, detail):
            refused = reason in {"auth_failed", "account_suspended"}
            return Checked("api_key", ok=False if refused else None, detail=f"{code} {detail}".strip())
        case NotTaken(detail=detail) | Ambiguous(detail=detail):
            return Checked("api_key", ok=None, detail=detail)


def _checked_profile(sender_key: str, said: Said | Refused | NotTaken | Ambiguous) -> Checked:
    match said:
        case Said(data=data) if said.is_ok:
            try:
                profile = wire.read_profile(data)
            except wire.Unreadable:
                return Checked(sender_key, None, "the answer cannot be read")
            if profile is None:
                return Checked(sender_key, ok=False, detail="Bizgo does not know it")
            states = (profile.status, profile.profile_status)
            works = all(state in ("A", None) for state in states) and not (profile.block or profile.dormant)
            return Checked(sender_key, works, "" if works else "the profile is blocked, dormant or closed")
        case Refused(reason, code, detail):
            known = reason in {"auth_failed", "not_permitted", "account_suspended", "unknown"}
            return Checked(sender_key, None if known else False, f"{code} {detail}".strip())
        case Said(code=code) | NotTaken(code=code):
            return Checked(sender_key, None, code)
        case Ambiguous(detail):
            return Checked(sender_key, None, detail)
