"""Naver Cloud SENS behind the dealer boundary: AlimTalk, brand messages, texts; results by SENS's own ids.

SENS has no place for a key of ours. What it answered can be asked about; what it did not answer never can, and no
list by time and number proves whether an attempt is among the messages that it shows.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

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
from shared.dealers.http import Answer, Outcome
from shared.dealers.sens import answers, wire
from shared.dealers.sens.gateway import OK, Gateway
from shared.dealers.sens.lookup import Lookup, place_in
from shared.dealers.sens.templates import SensTemplates

if TYPE_CHECKING:
    from collections.abc import Sequence

CREDENTIALS = Credentials(required=("access_key", "secret_key", "service_id"), optional=("sms_service_id",))

_KAKAO = frozenset({Channel.ALIMTALK, Channel.FRIENDTALK})
_TEXTS = frozenset({Channel.SMS, Channel.LMS, Channel.MMS})
_IMAGE_BYTES = 300 * 1024


def capabilities(batch: int, *, texts: bool) -> Capabilities:
    """Return what SENS can do for an account, which sends texts if it has a service for them.

    SENS publishes no time after which no result comes. Texts: 25 h and 80 h are the carriers' own, as another dealer
    of the same carriers states them (NHN Cloud SMS guide, result timeout). Kakao: it answers in seconds; 24 h is when
    another dealer (Aligo) calls its results final. Results are asked for early, since nothing is pushed.
    """
    soon, day = timedelta(seconds=20), timedelta(hours=24)
    return Capabilities(
        channels=_KAKAO | (_TEXTS if texts else frozenset()),
        max_batch=min(batch, wire.MAX_RECIPIENTS),
        lookup=LookupMeans.NONE,
        lookup_batch=50,
        not_found_after=timedelta(minutes=10),
        push=Push.NONE,
        receipts_polled=True,
        receipt_expected_within=dict.fromkeys(_KAKAO | _TEXTS, soon),
        receipt_deadline={
            Channel.ALIMTALK: day,
            Channel.FRIENDTALK: day,
            Channel.SMS: timedelta(hours=25),
            Channel.LMS: timedelta(hours=80),
            Channel.MMS: timedelta(hours=80),
        },
        alimtalk_characters=wire.ALIMTALK_CHARACTERS,
        mms_images=wire.MMS_IMAGES if texts else 0,
        cancels=True,
        schedules=True,
        uploads=frozenset({ImageUse.MMS} if texts else ()),
    )


def build(account: Account) -> Sens:
    """Return the adapter of an account."""
    credentials = account.credentials
    gateway = Gateway(
        account.url(),
        access_key=credentials["access_key"],
        secret_key=credentials["secret_key"],
        timeout_seconds=account.timeout_seconds,
        now=account.now,
    )
    return Sens(
        account.name,
        gateway,
        codes=load_table(__package__),
        batch=account.batch,
        service_id=credentials["service_id"],
        sms_service_id=credentials.get("sms_service_id"),
    )


class Sens(Dealer):
    """One SENS project (``Dealer``)."""

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        *,
        codes: CodeTable,
        batch: int,
        service_id: str,
        sms_service_id: str | None = None,
    ) -> None:
        """``service_id`` is the project's Biz Message service, ``sms_service_id`` its SMS service."""
        self.name = name
        self.capabilities = capabilities(batch, texts=sms_service_id is not None)
        self._gateway = gateway
        self._codes = codes
        self._services: dict[Channel, tuple[str, ...]] = {
            Channel.ALIMTALK: ("alimtalk", "v2", "services", service_id),
            Channel.FRIENDTALK: ("brandmessage", "v2", "services", service_id),
        }
        if sms_service_id is not None:
            self._services |= dict.fromkeys(_TEXTS, ("sms", "v2", "services", sms_service_id))

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - no handles here
        """Send ``batch``; results in its order.

        In as many requests as it has channels' ids, templates and senders, and so that none names a number twice.
        """
        results: dict[str, SendResult] = {}
        sound = []
        for outgoing in batch:
            if (refused := self._refusal(outgoing)) is not None:
                results[outgoing.request_key] = refused
            else:
                sound.append(outgoing)
        for calls in wire.waves(sound):
            for call, told in zip(calls, await asyncio.gather(*map(self._send, calls)), strict=True):
                results |= {outgoing.request_key: one for outgoing, one in zip(call.some, told, strict=True)}
        return [results[outgoing.request_key] for outgoing in batch]

    def _refusal(self, outgoing: Outgoing) -> Refused | None:
        if outgoing.channel not in self._services:
            return Refused("not_permitted", "", "no sms_service_id is configured")
        return wire.refusal(outgoing)

    async def _send(self, call: wire.Call) -> list[SendResult]:
        channel = call.some[0].channel
        outcome = await self._gateway.call("POST", *self._services[channel], "messages", body=call.body)
        if not isinstance(outcome, Answer) or outcome.status not in OK:
            return [self._gateway.failure(outcome)] * len(call.some)
        try:
            answered = answers.read_messages(outcome.body)
        except answers.Unreadable:
            return [Ambiguous(f"HTTP {outcome.status} with an answer that cannot be read")] * len(call.some)
        if channel.is_text:
            return _texts_taken(call.some, answered)
        return [self._taken(outgoing, place, answered) for place, outgoing in enumerate(call.some)]

    def _taken(self, outgoing: Outgoing, place: int, answered: answers.Answered) -> SendResult:
        """Read what became of one message of a request to Kakao."""
        fallback_id = answered.request_id and place_in(answered.request_id, place)
        mine = [item for item, _ in answered.items if item.number == outgoing.to]
        if len(mine) != 1:
            return Ambiguous("the answer does not name the recipient, or does so twice", fallback_id)
        item = mine[0]
        code = answers.code(item.request_status_code)
        said_failed = answers.word(item.request_status_name) == "fail"
        if code == "A000" and not said_failed:
            known = item.id if item.id and outgoing.to not in item.id else fallback_id
            return Accepted(known) if known else Ambiguous("taken, but the answer gives no id")
        if code and code != "A000" and said_failed:
            meaning = self._meaning(code, outgoing.channel)
            if meaning.delivered is False:
                return Refused(meaning.reason or "unknown", code, meaning.text)
        return Ambiguous(f"the answer says {code or 'no code'} of the recipient", fallback_id)

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts``, by SENS's ids."""
        return await Lookup(self._gateway, self._services, self._meaning).run(attempts)

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify the keys and the Biz Message service, and that the channels are there and active.

        SENS's API does not tell which sender numbers are registered.
        """
        outcome = await self._gateway.call("GET", *self._services[Channel.ALIMTALK], "channels")
        unasked = [Checked(number, None, "SENS's API does not tell sender numbers") for number in sender_numbers]
        channels = self._channels(outcome)
        if isinstance(channels, str):
            answered = isinstance(outcome, Answer) and outcome.status < 500  # noqa: PLR2004 - server errors
            nothing = [Checked(key, None, "the channels could not be read") for key in sender_keys]
            return [Checked("credentials", False if answered else None, channels), *nothing, *unasked]
        by_id = {channel.channel_id: channel for channel in channels if isinstance(channel.channel_id, str)}
        told = [_checked(key, by_id.get(key)) for key in sender_keys]
        return [Checked("credentials", ok=True), *told, *unasked]

    def _channels(self, outcome: Outcome) -> list[answers.Channel] | str:
        """Return the channels of the service, or what is in the way of reading them."""
        if not isinstance(outcome, Answer) or outcome.status not in OK:
            failure = self._gateway.failure(outcome)
            return failure.detail or "no answer"
        try:
            return answers.read_channels(outcome.body)
        except answers.Unreadable:
            return "the answer cannot be read"

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:  # noqa: ARG002 - named by its content
        """Upload an image for an MMS; SENS keeps it for six days.

        SENS takes two files of the same name and size for one, so a file is named by its content.
        """
        service = self._services.get(Channel.MMS)
        if use is not ImageUse.MMS or service is None:
            return Refused("not_permitted", "", f"no images for {use} by SENS's API")
        if not image.startswith(b"\xff\xd8\xff") or len(image) > _IMAGE_BYTES:
            return Refused("invalid_attachment", "", f"SENS takes JPEG of at most {_IMAGE_BYTES // 1024} kB")
        file_name = hashlib.sha256(image).hexdigest()[:32] + ".jpg"
        body = msgspec.json.encode({"fileName": file_name, "fileBody": base64.b64encode(image).decode()})
        outcome = await self._gateway.call("POST", *service, "files", body=body)
        if not isinstance(outcome, Answer) or outcome.status not in OK:
            failure = self._gateway.failure(outcome)
            return NotTaken("dealer_unavailable", "", failure.detail) if isinstance(failure, Ambiguous) else failure
        try:
            file_id = answers.read_file(outcome.body)
        except answers.Unreadable:
            file_id = None
        return Uploaded(file_id) if file_id else NotTaken("dealer_unavailable", "", "the answer names no file")

    @property
    def templates(self) -> SensTemplates:
        """Return SENS's template calls, which only read."""
        return SensTemplates(self._gateway, self._services[Channel.ALIMTALK])

    async def close(self) -> None:
        """Close connections."""
        await self._gateway.close()

    def _meaning(self, code: str, channel: Channel) -> Meaning:
        return self._codes.meaning(self.name, code, channel)


def _texts_taken(some: Sequence[Outgoing], answered: answers.Answered) -> list[SendResult]:
    """Read what became of a request of texts, of which SENS tells as a whole.

    Its messages' own ids come later, by the list of the request; until then each goes by its place in it.
    """
    taken = answered.status_code in {"202", "200"} and answered.status_name in {"success", ""}
    results: list[SendResult] = []
    for place in range(len(some)):
        known = answered.request_id and place_in(answered.request_id, place)
        if taken and known:
            results.append(Accepted(known))
        else:
            results.append(Ambiguous("the answer does not say that the request was taken", known))
    return results


def _checked(key: str, channel: answers.Channel | None) -> Checked:
    if channel is None:
        return Checked(key, ok=False, detail="no such channel in this service")
    state = answers.word(channel.channel_status)
    if state != "ACTIVE" or channel.is_block is True or channel.is_dormant is True:
        return Checked(key, ok=False, detail=f"the channel is {state or 'of no state'}, blocked or dormant")
    return Checked(key, ok=True)
