"""SOLAPI (쿨에스엠에스) behind the dealer boundary: the two-phase group flow, lookups, receipts, and what is around.

A group is opened, messages are added to it, and one last call sends it. Only that call lets anything out, and it
does so once per group whatever happens, so every lost answer can be resolved by looking at the group.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from dataclasses import dataclass
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
from shared.dealers.leaving import leave
from shared.dealers.printable import printable
from shared.dealers.solapi import wire
from shared.dealers.solapi.check import check_channels, check_numbers
from shared.dealers.solapi.content import ALIMTALK_CHARACTERS, refusal_of
from shared.dealers.solapi.gateway import Answer, Gateway, Lost, Outcome, code_of, error_code_of
from shared.dealers.solapi.lookup import Lookup
from shared.dealers.solapi.reports import report_of
from shared.dealers.solapi.storage import body_of, refusal_of_image
from shared.dealers.solapi.templates import SolapiTemplates
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

log = structlog.get_logger()

_GROUPS = ("messages", "v4", "groups")

_DISPATCHED = frozenset({"SENDING", "COMPLETE"})
_DISPATCHED_BEFORE = frozenset({"AlreadySent", "GroupInProcessing"})
_NEVER_DISPATCHED = frozenset({"DeletedGroup", "FailedGroup", "InactiveApp", "ResourceNotFound", "ValidationError"})
_TRY_LATER = frozenset({"dealer_unavailable", "rate_limited"})


def capabilities(batch: int, push: Push) -> Capabilities:
    """Return what SOLAPI can do for an account that wants at most ``batch`` recipients in a call.

    SOLAPI publishes no time after which no receipt comes. Text: 25 h and 80 h are the carriers' own, as
    another dealer of the same carriers states them (NHN Cloud SMS guide, result timeout). KakaoTalk: Kakao
    answers in seconds; 24 h is when another dealer (Aligo) calls its results final.
    """
    return Capabilities(
        channels=frozenset({Channel.ALIMTALK, Channel.FRIENDTALK, Channel.SMS, Channel.LMS, Channel.MMS}),
        max_batch=min(batch, wire.MAX_RECIPIENTS),
        lookup=LookupMeans.TWO_PHASE,
        lookup_batch=500,
        not_found_after=timedelta(minutes=2),
        push=push,
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
            Channel.SMS: timedelta(hours=25),
            Channel.LMS: timedelta(hours=80),
            Channel.MMS: timedelta(hours=80),
        },
        alimtalk_characters=ALIMTALK_CHARACTERS,
        mms_images=1,
        prepares=True,
        cancels=True,
        schedules=True,
        uploads=frozenset(ImageUse),
    )


CREDENTIALS = Credentials(required=("api_key", "api_secret"), optional=("webhook_secret",))


def build(account: Account) -> Solapi:
    """Return the adapter of an account."""
    gateway = Gateway(
        account.url(),
        api_key=account.credentials["api_key"],
        api_secret=account.credentials["api_secret"],
        timeout_seconds=account.timeout_seconds,
        now=account.now,
        salt=lambda: secrets.token_hex(16),
    )
    return Solapi(
        account.name,
        gateway,
        codes=load_table(__package__),
        batch=account.batch,
        webhook_secret=account.credentials.get("webhook_secret"),
    )


@dataclass(frozen=True, slots=True)
class _Registered:
    """In the group; ``dealer_message_id`` is None when we could not tell which one it is."""

    dealer_message_id: str | None


class Solapi(Dealer):
    """One SOLAPI account (``Dealer``)."""

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        *,
        codes: CodeTable,
        batch: int,
        webhook_secret: str | None = None,
    ) -> None:
        """``webhook_secret`` is the one set in SOLAPI's console; None: receipt calls are not checked."""
        self.name = name
        self.capabilities = capabilities(batch, Push.OPEN if webhook_secret is None else Push.TOKEN)
        self._gateway = gateway
        self._codes = codes
        self._webhook_secret = (
            None
            if webhook_secret is None
            else hashlib.sha1(webhook_secret.encode(), usedforsecurity=False).hexdigest().encode()
        )  # SHA-1 is SOLAPI's choice; the secret is compared, not signed with

    async def open(self) -> str | NotTaken:
        """Open a group; nothing goes out by it until it is sent."""
        outcome = await self._gateway.call_signing_again("POST", *_GROUPS, body=wire.NEW_GROUP)
        if isinstance(outcome, Answer) and outcome.status == HTTPStatus.OK:
            try:
                handle = printable(wire.read_group(outcome.body).group_id)
            except wire.Unreadable:
                handle = None
            return handle or NotTaken("dealer_unavailable", detail="no group id in the answer")
        refusal = self._refusal(outcome)
        if isinstance(refusal, Refused):
            return NotTaken(refusal.reason, refusal.code, refusal.detail)
        return refusal

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:
        """Add ``batch`` to the group ``handle`` and send the group; results in the order of the batch.

        To be called once with a handle: a batch added twice would be sent twice.
        """
        if handle is None:
            raise ValueError("SOLAPI sends under the handle that open() gave")
        added = await self._add(handle, batch)
        ids = [entry.dealer_message_id for entry in added if isinstance(entry, _Registered)]
        if not ids:
            return [entry for entry in added if not isinstance(entry, _Registered)]
        dispatched: NotTaken | Refused | Ambiguous | None
        if any(ids):
            dispatched = await self._dispatch(handle)
        else:  # not one of them could be told: better an unsent group than a batch of riddles
            dispatched = NotTaken("dealer_error", detail="the answer to adding them names no message of ours")
        return [_result(entry, dispatched) if isinstance(entry, _Registered) else entry for entry in added]

    async def _add(self, handle: str, batch: Sequence[Outgoing]) -> list[_Registered | Refused | NotTaken]:
        """Register ``batch`` in the group. What fails here, fails surely: nothing is dispatched by it.

        A group of which any part failed is given up, and so is one whose answer shows a message twice.
        A used-up signature is no exception: the other copy of the call may have added the messages.
        """
        encoded, entries = _encoded(batch)
        failure: NotTaken | Refused | None = None
        for some, body in wire.requests_of(encoded):
            outcome = await self._gateway.call("PUT", *_GROUPS, handle, "messages", body=body)
            read = self._registered(some, outcome)
            if isinstance(read, NotTaken | Refused):
                failure = read
                break
            entries |= read
        if failure is not None:
            refused = {key: entry for key, entry in entries.items() if isinstance(entry, Refused)}
            return [refused.get(outgoing.request_key, failure) for outgoing in batch]
        return [entries[outgoing.request_key] for outgoing in batch]

    def _registered(
        self, some: Sequence[Outgoing], outcome: Outcome
    ) -> dict[str, _Registered | Refused] | NotTaken | Refused:
        """Read what became of ``some``, by request key; a message that is not told of may be in the group."""
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return self._refusal(outcome)
        try:
            items = wire.read_registration(outcome.body)
        except wire.Unreadable:
            return NotTaken("dealer_unavailable", detail="the answer to adding them cannot be read")
        entries: dict[str, _Registered | Refused] = {}
        taken = 0
        for key, item in _attributed(some, items):
            entry = self._entry(item)
            taken += isinstance(entry, _Registered)
            if key is None:
                continue
            if key in entries and isinstance(entries[key], _Registered):
                return NotTaken("dealer_error", detail="a message is in the group twice")
            entries[key] = entry
        if taken > len(some):
            return NotTaken("dealer_error", detail="more messages in the group than were added")
        return {outgoing.request_key: entries.get(outgoing.request_key, _Registered(None)) for outgoing in some}

    def _entry(self, item: wire.Message) -> _Registered | Refused:
        meaning = self.meaning(item.code, item.channel)
        if meaning.delivered is False:
            return Refused(meaning.reason or "unknown", item.code, meaning.text)
        return _Registered(item.id if meaning.known else None)

    async def _dispatch(self, handle: str) -> NotTaken | Refused | Ambiguous | None:
        """Send the group; None when it is being sent.

        409 ``AlreadySent`` and ``GroupInProcessing`` mean that our one call arrived twice (a proxy repeated
        it) and did its work the first time. Whatever does not plainly say that nothing was sent is ambiguous,
        and costs one lookup.
        """
        await leave()
        outcome = await self._gateway.call("POST", *_GROUPS, handle, "send", body=b"{}")
        match outcome:
            case Lost(detail):
                return Ambiguous(detail)
            case Answer(status=HTTPStatus.OK, body=body):
                return _unless_dispatched(handle, body)
            case Answer(status=HTTPStatus.CONFLICT) if error_code_of(outcome) in _DISPATCHED_BEFORE:
                return None
            case Answer() if not _says_unsent(outcome):
                return Ambiguous(f"POST send answered {code_of(outcome)}")
            case _:
                return self._refusal(outcome)

    def _refusal(self, outcome: Outcome) -> NotTaken | Refused:
        """Say why a call that certainly dispatched nothing was not done, and whether later will do."""
        if not isinstance(outcome, Answer):
            return NotTaken("dealer_unavailable", detail=outcome.detail)
        meaning = self._codes.read(error_code_of(outcome))
        match outcome.status:
            case HTTPStatus.TOO_MANY_REQUESTS:
                reason = "rate_limited"
            case _ if error_code_of(outcome) == "DuplicatedSignature":
                reason = "dealer_unavailable"  # not our key's fault: something repeated the call
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                reason = "auth_failed"
            case HTTPStatus.PAYMENT_REQUIRED:
                reason = "no_balance"
            case _:
                reason = (meaning.known and meaning.reason) or "dealer_unavailable"
        if reason in _TRY_LATER:
            return NotTaken(reason, code_of(outcome), meaning.text, outcome.retry_after)
        return Refused(reason, code_of(outcome), meaning.text)

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts``; a group that was never sent is deleted before it is said so."""
        return await Lookup(self._gateway, self.meaning).run(attempts)

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Check and read a webhook call: an array of messages, each bare or in an envelope.

        Raises ``BadReceipt``. Items that are no report on a message are counted and left out.
        """
        if self._webhook_secret is not None:
            given = headers.get("x-solapi-secret", "").strip().lower().encode()
            if not hmac.compare_digest(given, self._webhook_secret):
                raise BadReceipt(401, "X-Solapi-Secret is not the SHA-1 of the configured webhook_secret")
        try:
            items = wire.read_items(body)
        except wire.Unreadable as error:
            raise BadReceipt(400, "the body is not a JSON array") from error
        reports = []
        for item in items:
            try:
                message, event_id = wire.read_item(item)
            except wire.Unreadable:
                message, event_id = wire.Message(), None
            if not message.code or not (message.request_key or message.id):
                UNREADABLE_RECEIPTS.labels(self.name).inc()
                continue
            reports.append(report_of(message, bytes(item), self.meaning, event_id=event_id))
        if len(reports) < len(items):
            log.warning("receipts_unreadable", dealer=self.name, items=len(items) - len(reports))
        return reports

    async def balance_krw(self) -> int | None:
        """Return cash and points left, or None when they could not be had."""
        outcome = await self._gateway.call_signing_again("GET", "cash", "v1", "balance")
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return None
        try:
            return wire.read_balance(outcome.body)
        except wire.Unreadable:
            return None

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify credentials, channels (pfId) and sender numbers, without sending anything."""
        return [
            *await check_channels(self._gateway, self._codes, sender_keys),
            *await check_numbers(self._gateway, self._codes, sender_numbers),
        ]

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        """Upload an image: a JPEG of 200 KB for an MMS, or a JPEG or PNG of 5 MB for a brand message.

        A lost answer is ``NotTaken``: nobody is sent anything by an image that lies at SOLAPI twice.
        """
        if (refusal := refusal_of_image(use, image)) is not None:
            return refusal
        body = body_of(use, name, image)
        outcome = await self._gateway.call_signing_again("POST", "storage", "v1", "files", body=body)
        if isinstance(outcome, Answer) and outcome.status == HTTPStatus.OK:
            try:
                return Uploaded(wire.read_file_id(outcome.body))
            except wire.Unreadable:
                return NotTaken("dealer_unavailable", detail="the answer to the upload names no file")
        verdict = self._refusal(outcome)
        if isinstance(verdict, Refused) and verdict.reason == "invalid_request":
            return Refused("invalid_attachment", verdict.code, verdict.detail)
        return verdict

    @property
    def templates(self) -> SolapiTemplates:
        """Return its template API."""
        return SolapiTemplates(self._gateway)

    async def close(self) -> None:
        """Close connections."""
        await self._gateway.close()

    def meaning(self, code: str, channel: Channel | None) -> Meaning:
        """Return what a ``statusCode`` says. One we do not know is a failure if SOLAPI's scheme makes it one.

        1xxx to 3xxx other than 2000 and 3000 are failures; anything else is left waiting, since it may be a
        success that we have no word for, and never is it taken for one.
        """
        meaning = self._codes.meaning(self.name, code, channel)
        if meaning.known:
            return meaning
        if re.fullmatch(r"[123]\d{3}", code):
            return meaning
        return Meaning(delivered=None, known=False)


def _result(
    entry: _Registered, verdict: NotTaken | Refused | Ambiguous | None
) -> NotTaken | Refused | Ambiguous | Accepted:
    """Return what became of a registered message, given what became of its group."""
    if verdict is not None:
        return verdict
    if entry.dealer_message_id is None:
        return Ambiguous("sent with its group, but the answer to adding it did not name it")
    return Accepted(entry.dealer_message_id)


def _unless_dispatched(handle: str, body: bytes) -> Ambiguous | None:
    """Read the answer to sending a group; None when it says that the group is on its way."""
    try:
        group = wire.read_group(body)
    except wire.Unreadable:
        return Ambiguous("the answer to sending the group cannot be read")
    if group.group_id == handle and group.status in _DISPATCHED:
        return None
    return Ambiguous("the answer to sending the group does not say that it is sent")


def _says_unsent(answer: Answer) -> bool:
    """Whether a refusal to send a group says for sure that nothing went out by it.

    ``InvalidStatus`` says no more than "not PENDING", which is true of a group under way as well, and
    ``DuplicatedSignature`` that another copy of the call was there first: both are left to a lookup.
    """
    match answer.status:
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.PAYMENT_REQUIRED:
            return True
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return error_code_of(answer) != "DuplicatedSignature"
        case HTTPStatus.BAD_REQUEST | HTTPStatus.NOT_FOUND:
            return error_code_of(answer) in _NEVER_DISPATCHED
        case _:
            return False


def _attributed(some: Sequence[Outgoing], items: Sequence[wire.Message]) -> Iterator[tuple[str | None, wire.Message]]:
    """Yield each item with the request key of the message it tells of, or None when that cannot be told.

    The documents promise no ``customFields`` here (their sample has none), so an item without our key goes by its
    number, if one message of ours and one item have it.
    """
    keys = {outgoing.request_key for outgoing in some}
    by_number: dict[str, str | None] = {}
    for outgoing in some:
        by_number[outgoing.to] = None if outgoing.to in by_number else outgoing.request_key
    numbers = Counter(item.number for item in items)
    for item in items:
        if item.request_key is not None:
            yield (item.request_key if item.request_key in keys else None), item
        elif item.number is not None and numbers[item.number] == 1:
            yield by_number.get(item.number), item
        else:
            yield None, item


def _encoded(
    batch: Sequence[Outgoing],
) -> tuple[list[tuple[Outgoing, bytes]], dict[str, _Registered | Refused]]:
    """Return the messages with their JSON, and by request key those that SOLAPI or JSON cannot carry."""
    encoded: list[tuple[Outgoing, bytes]] = []
    refused: dict[str, _Registered | Refused] = {}
    for outgoing in batch:
        if (refusal := refusal_of(outgoing)) is not None:
            refused[outgoing.request_key] = refusal
            continue
        try:
            encoded.append((outgoing, wire.encode(outgoing)))
        except UnicodeEncodeError:
            refused[outgoing.request_key] = Refused("content_charset", "", "not a text")
    return encoded, refused
