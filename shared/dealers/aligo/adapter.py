"""Aligo (알리고) behind the dealer boundary. It takes no key of ours, so a lost answer stays lost.

What can be done about that is done before a call: a batch stops at the first request whose answer does not come, so
that no more messages than those of one request are ever in doubt.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.contracts.states import Channel
from shared.dealers.account import Account, Credentials
from shared.dealers.aligo import wire
from shared.dealers.aligo.gateway import Gateway, Refusals, trouble_with
from shared.dealers.aligo.lookup import Lookup
from shared.dealers.aligo.templates import Templates
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    Ambiguous,
    Capabilities,
    Checked,
    Dealer,
    LookupMeans,
    LookupResult,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Push,
    Refused,
    SendResult,
)
from shared.dealers.codes import CodeTable, Meaning, load_table
from shared.dealers.http import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dealers.templates import TemplateApi

CREDENTIALS = Credentials(required=("apikey", "userid"), optional=("sender",))

FINAL_AFTER = timedelta(hours=24)
"""a result may be in progress, or missing from the list, for so long, and is final then (API SPEC, 전송결과조회)"""
BUDGET_SECONDS = 15
"""no request of a batch starts later than this after the first, so that the whole ends before its lease does"""


def capabilities(batch: int) -> Capabilities:
    """Return what Aligo can do for an account that wants at most ``batch`` recipients in a call.

    Results are polled only. When to begin is our choice: Kakao answers in seconds, and Aligo shows it in minutes.
    """
    return Capabilities(
        channels=frozenset({Channel.ALIMTALK, Channel.SMS, Channel.LMS}),
        max_batch=min(batch, wire.MAX_RECIPIENTS),
        lookup=LookupMeans.NONE,
        lookup_batch=100,
        not_found_after=FINAL_AFTER,
        push=Push.NONE,
        receipts_polled=True,
        receipt_expected_within={
            Channel.ALIMTALK: timedelta(seconds=30),
            Channel.SMS: timedelta(minutes=1),
            Channel.LMS: timedelta(minutes=1),
        },
        receipt_deadline=dict.fromkeys((Channel.ALIMTALK, Channel.SMS, Channel.LMS), FINAL_AFTER + timedelta(hours=1)),
        alimtalk_characters=wire.ALIMTALK_CHARACTERS,
        sms_bytes=wire.SMS_BYTES,
        lms_bytes=wire.LMS_BYTES,
        subject_bytes=wire.SUBJECT_BYTES,
        cancels=True,
        schedules=True,
    )


def build(account: Account) -> Aligo:
    """Return the adapter of an account; ``urls.sms`` is the host of text messages."""
    gateway = Gateway(
        account.url(),
        account.url("sms"),
        apikey=account.credentials["apikey"],
        userid=account.credentials["userid"],
        timeout_seconds=account.timeout_seconds,
    )
    return Aligo(account.name, gateway, batch=account.batch, sender=account.credentials.get("sender"))


class Aligo(Dealer):
    """One Aligo account (``Dealer``)."""

    def __init__(self, name: str, gateway: Gateway, *, batch: int, sender: str | None = None) -> None:
        """``sender`` is a number registered with Aligo, for AlimTalks of profiles that name none."""
        self.name = name
        self.capabilities = capabilities(batch)
        self._gateway = gateway
        self._sender = sender
        self._codes: CodeTable = load_table(__package__)
        self._refusals = Refusals(name, load_table(__package__, "answers.csv"), load_table(__package__, "messages.csv"))

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:  # noqa: ARG002 - Dealer
        """Send ``batch``, by as many requests as it takes, one after the other; results in its order.

        What is left when a request meets trouble on its way, or when ``BUDGET_SECONDS`` are over, is not sent.
        """
        ready: dict[int, Outgoing] = {}
        results: dict[int, SendResult] = {}
        for place, outgoing in enumerate(map(self._named, batch)):
            if (refusal := wire.refusal_of(outgoing)) is None:
                ready[place] = outgoing
            else:
                results[place] = refusal

        clock = asyncio.get_running_loop().time
        last_start = clock() + BUDGET_SECONDS
        left_out: NotTaken | None = None
        for call in wire.calls_of(ready):
            if left_out is None and clock() > last_start:
                left_out = NotTaken("dealer_unavailable", detail="not sent: its batch took too long")
            said: SendResult
            if left_out is None:
                said, broke = await self._send(call)
                if broke:
                    left_out = NotTaken("dealer_unavailable", detail="not sent: a request before it was in trouble")
            else:
                said = left_out
            results |= dict.fromkeys(call.places, said)
        return [results[place] for place in range(len(batch))]

    def _named(self, outgoing: Outgoing) -> Outgoing:
        content = outgoing.content
        if self._sender and isinstance(content, AlimTalk) and not content.sender:
            return replace(outgoing, content=replace(content, sender=self._sender))
        return outgoing

    async def _send(self, call: wire.Call) -> tuple[SendResult, bool]:
        """Make one request; return what is true of all its messages, and whether it met trouble on its way."""
        is_text = call.channel.is_text
        outcome = await self._gateway.call(call.path, call.fields, is_text=is_text)
        trouble = trouble_with(outcome)
        if trouble is not None or not isinstance(outcome, Answer):
            return trouble or Ambiguous("no answer"), True
        try:
            reply = wire.read_reply(outcome.body)
        except wire.Unreadable as error:
            return Ambiguous(f"the answer cannot be read: {error}"), True
        if reply.code > 0 if is_text else reply.code == 0:
            receipt = wire.read_text_receipt(reply) if is_text else wire.read_alimtalk_receipt(reply)
            return _taken(receipt, call), False
        if reply.code < 0 or (reply.code in _RELAYED and not is_text):
            return self._refusals.of(reply, call.channel), False
        return Ambiguous(f"a code that is neither success nor failure: {reply.code}"), False

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts`` that have Aligo's id; the others stay unknown."""
        return await Lookup(self._gateway, self.meaning).run(attempts)

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify the key and the sender keys by the list of channels; Aligo lists no sender numbers."""
        outcome = await self._gateway.call(("akv10", "profile", "list", ""), [], is_text=False)
        unknown = [Checked(number, None, "Aligo has no call that lists sender numbers") for number in sender_numbers]
        reply = None
        if isinstance(outcome, Answer) and trouble_with(outcome) is None:
            try:
                reply = wire.read_reply(outcome.body)
                profiles = {str(row.get("senderKey")): row for row in reply.rows} if reply.code == 0 else {}
            except wire.Unreadable:
                reply = None
        if reply is None:
            return [Checked(what, None, "Aligo could not be asked") for what in ("credentials", *sender_keys)] + unknown
        if reply.code != 0:
            keys = [Checked(key, None, "not asked") for key in sender_keys]
            return [Checked("credentials", False, f"{reply.code} {reply.message}"), *keys, *unknown]  # noqa: FBT003 - ok
        keys = [_profile(key, profiles.get(key)) for key in sender_keys]
        return [Checked("credentials", True), *keys, *unknown]  # noqa: FBT003 - Checked(what, ok)

    @property
    def templates(self) -> TemplateApi:
        """Return its template API."""
        return Templates(self._gateway, self._refusals)

    async def close(self) -> None:
        """Close connections."""
        await self._gateway.close()

    def meaning(self, code: str, channel: Channel) -> Meaning:
        """Return what a result says. A letter we do not know is a failure, as all letters are.

        Anything else that we do not know is left waiting, and never taken for a success.
        """
        meaning = self._codes.meaning(self.name, code, channel)
        if meaning.known or re.fullmatch(r"[1-9A-Za-z]", code):
            return meaning
        return Meaning(delivered=None, known=False)


_RELAYED = frozenset({509})
"""what Kakao's center said to a call, passed on (API SPEC 2026-03-29)"""


def _taken(receipt: wire.Receipt, call: wire.Call) -> SendResult:
    """Return what an accepted request says of each of its messages: all were taken, none, or nobody knows which."""
    n = len(call.batch)
    mid = receipt.mid
    if mid is None or wire.national(mid) in {outgoing.to for outgoing in call.batch}:
        return Ambiguous("taken, but the answer names no id")
    match receipt.taken, receipt.refused:
        case (taken, 0 | None) if taken == n:
            return Accepted(mid)
        case (0, refused) if refused == n:
            return Refused("invalid_phone", "fcnt", "Aligo counts the number as wrong")
        case _:
            return Ambiguous("taken in part, and the answer does not say which", mid)


def _profile(key: str, row: dict[str, object] | None) -> Checked:
    if row is None:
        return Checked(key, False, "not among the account's channels")  # noqa: FBT003 - Checked(what, ok)
    states = {"status": row.get("status"), "profileStat": row.get("profileStat")}
    wrong = [f"{name} {state}" for name, state in states.items() if state not in {"A", None}]
    return Checked(key, not wrong, ", ".join(wrong))
