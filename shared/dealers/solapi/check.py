"""Whether channels and sender numbers may be used, asked without sending anything.

Sources: ``GET /kakao/v2/channels/{id}`` in SOLAPI's Node SDK 6.0.1 (``kakaoChannelService``); ``GET
/senderid/v1/numbers/active`` in solapi/documents, ``getActivatedSenderIds.md`` of 2019-09-06, and its examples.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.dealers.base import Checked
from shared.dealers.solapi import wire
from shared.dealers.solapi.gateway import Answer, Outcome, code_of, error_code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dealers.codes import CodeTable
    from shared.dealers.solapi.gateway import Gateway

_BAD_KEY = frozenset({"InvalidAPIKey", "SignatureDoesNotMatch", "RequestTimeTooSkewed"})


async def check_channels(gateway: Gateway, codes: CodeTable, channels: Sequence[str]) -> list[Checked]:
    """Return for each channel id (pfId) whether it is connected with the account."""
    return [
        _channel(channel, await gateway.call_signing_again("GET", "kakao", "v2", "channels", channel), codes)
        for channel in channels
    ]


def _channel(channel: str, outcome: Outcome, codes: CodeTable) -> Checked:
    if not isinstance(outcome, Answer) or outcome.status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
        return _unasked(channel, outcome, codes, "kakao:read")
    try:
        known = outcome.status == HTTPStatus.OK and wire.read_channel_id(outcome.body) == channel
    except wire.Unreadable:
        return Checked(channel, None, "SOLAPI's answer cannot be read")
    return Checked(channel, known, "" if known else "not connected with this account")


async def check_numbers(gateway: Gateway, codes: CodeTable, numbers: Sequence[str]) -> list[Checked]:
    """Return for each sender number whether it is registered and active."""
    if not numbers:
        return []
    outcome = await gateway.call_signing_again("GET", "senderid", "v1", "numbers", "active")
    if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
        return [_unasked(number, outcome, codes, "senderid:read") for number in numbers]
    try:
        active = wire.read_numbers(outcome.body)
    except wire.Unreadable:
        return [Checked(number, None, "SOLAPI's answer cannot be read") for number in numbers]
    return [
        Checked(number, good, "" if good else "not registered with SOLAPI, or not active")
        for number in numbers
        for good in [wire.digits(number) in active]
    ]


def _unasked(what: str, outcome: Outcome, codes: CodeTable, right: str) -> Checked:
    """Return a check that failed by our key (``ok`` False), or that could not be made (None)."""
    if not isinstance(outcome, Answer):
        return Checked(what, None, "SOLAPI could not be asked")
    code = error_code_of(outcome)
    if code in _BAD_KEY:
        return Checked(what, ok=False, detail=f"{code}: {codes.read(code).text}")
    if outcome.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Checked(what, None, f"{code_of(outcome)}: the key may lack the right {right}")
    return Checked(what, None, f"SOLAPI answered {code_of(outcome)}")
