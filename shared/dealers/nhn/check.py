"""Whether credentials, sender keys and sender numbers are good, asked without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.contracts.states import Channel
from shared.dealers.base import Checked
from shared.dealers.nhn import answers, wire
from shared.dealers.nhn.gateway import Said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dealers.nhn.gateway import Result, Service, Verdicts


async def check_profile(service: Service, verdicts: Verdicts, sender_key: str) -> Checked:
    """Return whether a sender profile may send (NHN docs ``sender-api-guide-v2.3``, 2026-06-23)."""
    said = await service.call("GET", wire.BIZMESSAGE, "senders", sender_key)
    sender = _part(said, "sender")
    if sender is None:
        return _failed(sender_key, said, verdicts, Channel.ALIMTALK)
    problems = [
        text
        for text, holds in {
            "not registered yet": sender.get("status") != "YSC03",
            "blocked by Kakao": sender.get("kakaoStatus") not in {"A", None},
            "the channel is not active": sender.get("kakaoProfileStatus") not in {"A", None},
            "blocked": sender.get("block") is True,
            "dormant": sender.get("dormant") is True,
        }.items()
        if holds
    ]
    newcomer = "newcomer: 1,000 messages a day, and values of variables up to 14 characters"
    detail = newcomer if sender.get("initialUserRestriction") is True else ""
    return Checked(sender_key, not problems, "; ".join([*problems, detail] if detail else problems))


async def check_numbers(service: Service, verdicts: Verdicts, numbers: Sequence[str]) -> list[Checked]:
    """Return whether sender numbers are registered (SMS ``api-guide``, 2026-06-23: sendNos)."""
    checked = []
    for number in numbers:
        said = await service.call("GET", wire.SMS, "sendNos", query=[("sendNo", number), ("pageSize", "100")])
        body = _part(said, "body")
        entries = body.get("data") if body is not None else None
        if not isinstance(entries, list):
            checked.append(_failed(number, said, verdicts, Channel.SMS))
            continue
        own = [entry for entry in entries if answers.at_path(entry, "sendNo") == number]
        good = [e for e in own if answers.at_path(e, "useYn") != "N" and answers.at_path(e, "blockYn") != "Y"]
        why = "" if good else ("blocked or not in use" if own else "not registered with NHN")
        checked.append(Checked(number, bool(good), why))
    return checked


def _part(said: Result, name: str) -> dict[str, Any] | None:
    if not isinstance(said, Said) or not said.successful:
        return None
    try:
        part = answers.at_path(answers.parsed(said.answer.body), name)
    except answers.Unreadable:
        return None
    return part if isinstance(part, dict) else None


def _failed(what: str, said: Result, verdicts: Verdicts, channel: Channel) -> Checked:
    """Return a check that NHN refused (``ok`` False), or that could not be made (None)."""
    if isinstance(said, Said) and not said.successful:
        verdict = verdicts.of_request(said, channel)
        return Checked(what, ok=False, detail=f"{said.code}: {verdict.detail}")
    return Checked(what, None, "NHN could not be asked")
