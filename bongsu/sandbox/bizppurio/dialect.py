"""Bizppurio: tokens, messages, files, reports pushed or polled.

Options: ``account``, ``password``, ``token_seconds``, ``polling`` (reports are kept to be fetched, and none is pushed)
and ``refkey_in_reports`` (false: as before v3.0.1).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from datetime import timedelta
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.bizppurio import rules
from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.profile import Operation
from bongsu.sandbox.webhooks import Event, Webhooks
from shared.clock import SEOUL
from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

DEFAULT_ACCOUNT = "bongsu_api"
DEFAULT_PASSWORD = "sandbox-password"  # noqa: S105 - opens nothing but the sandbox
_OPTIONS = frozenset({"account", "password", "token_seconds", "polling", "refkey_in_reports"})
_AT_ONCE = 1000
"""reports in the answer to one poll (v3.0.1)"""
_IMAGE_BYTES = 300_000

_WORDS = {
    1000: "success",
    2000: "invalid message",
    3001: "invalid basic authentication",
    3002: "invalid token",
    3004: "invalid account",
    3005: "invalid bearer",
    3008: "connections exceeded",
    3012: "message not found",
    3013: "message not completed",
    5000: "report request failed",
}
_MEDIA = {"sms": "SMS", "lms": "LMS", "mms": "MMS", "at": "KAT", "ai": "KAT", "ft": "KFT"}
_DELIVERED = {Channel.SMS: "4100", Channel.LMS: "6600", Channel.MMS: "6600"}

_KAKAO = {
    "not_kakao_user": "7318",
    "inactive_kakao_user": "7318",
    "blocked_channel": "7318",
    "unsupported_client": "7318",
    "sender_profile_invalid": "7103",
    "sender_profile_blocked": "7107",
    "not_friend": "7203",
    "template_mismatch": "7204",
    "template_not_found": "7315",
    "template_not_approved": "7315",
    "button_mismatch": "7327",
    "variable_too_long": "7325",
    "content_too_long": "7314",
    "delivery_uncertain": "7305",
    "kakao_unavailable": "7306",
    "result_timeout": "7421",
    "invalid_phone": "7308",
    "night_ban": "7322",
    "unknown": "7300",
    "handset_unreachable": "7421",  # for the failures that a profile makes up
}
_LONG = {
    "handset_unreachable": "6604",
    "no_subscriber": "6630",
    "invalid_phone": "6606",
    "carrier_error": "6611",
    "spam_blocked": "6617",
    "opted_out": "6627",
    "sender_number_blocked": "6628",
    "sender_number_unregistered": "6631",
    "handset_unsupported": "6613",
    "quota_exceeded": "6620",
    "result_timeout": "6601",
    "invalid_attachment": "6670",
}
_SHORT = {
    "handset_unreachable": "4401",
    "no_subscriber": "4414",
    "invalid_phone": "4410",
    "carrier_error": "4413",
    "spam_blocked": "4430",
    "opted_out": "4431",
    "sender_number_blocked": "4432",
    "sender_number_unregistered": "4434",
    "handset_unsupported": "4424",
    "result_timeout": "4421",
}
_CODES = codes_by_reason(
    {
        Channel.ALIMTALK: _KAKAO,
        Channel.FRIENDTALK: _KAKAO,
        Channel.SMS: _SHORT,
        Channel.LMS: _LONG,
        Channel.MMS: _LONG,
    }
)


class _Refused(Exception):
    """400 with a code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Bizppurio:
    """``Dialect``."""

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _OPTIONS):
            raise ValueError(
                f"dealers.{context.name}.options: {unknown[0]} is not one of {', '.join(sorted(_OPTIONS))}"
            )
        self.context = context
        self.account = str(context.option("account", DEFAULT_ACCOUNT))
        self._basic = _basic(self.account, str(context.option("password", DEFAULT_PASSWORD)))
        self._polling = bool(context.option("polling", False))  # noqa: FBT003 - a default
        config = context.profile.webhook or context.sandbox.webhook
        self.webhooks = (
            None
            if self._polling
            else Webhooks(
                config.model_copy(update={"batch": 1}),
                self._encode,
                lambda _secret: {"Content-Type": "application/json"},
            )
        )
        self.exchange = Exchange(
            context,
            delivered=lambda channel: _DELIVERED.get(channel, "7000"),
            code=_CODES,
            webhooks=self.webhooks,
        )
        self.answered: Counter[int] = Counter()
        """codes of answers"""
        self._tokens: dict[str, datetime] = {}
        self._files: set[str] = set()
        self._kept: dict[str, Taken] = {}
        """to be polled, by ``msgid``"""

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        return [
            Endpoint("POST", "/v1/token", Operation.OPEN, self._answering(self._token)),
            Endpoint("POST", "/v3/message", Operation.SEND, self._answering(self._message)),
            Endpoint("POST", "/v1/file", Operation.ADD, self._answering(self._file)),
            Endpoint("POST", "/v2/report", Operation.LOOKUP, self._answering(self._report)),
            Endpoint("POST", "/v1/result/request", Operation.LOOKUP, self._answering(self._poll)),
            Endpoint("POST", "/v1/result/confirm", Operation.LOOKUP, self._answering(self._confirm)),
        ]

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key."""
        return self._refusal(3005)

    def reset(self) -> None:
        """Forget messages; tokens and files stay."""
        self.exchange.reset()
        self._kept.clear()
        self.answered.clear()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id), "answered": dict(self.answered), "unconfirmed": len(self._kept)}

    def forget_tokens(self) -> None:
        """Take no token any more that was given so far."""
        self._tokens.clear()

    # -- calls ---------------------------------------------------------------------------------------------------

    def _token(self, request: Request) -> object:
        if request.headers.get("authorization") != self._basic:
            raise _Refused(3001)
        now = self.context.world_now()
        until = now + timedelta(seconds=float(self.context.option("token_seconds", 86_400)))
        token = f"sandbox.{self.exchange.number()}.token"
        self._tokens[token] = until
        return {"accesstoken": token, "type": "Bearer", "expired": f"{until.astimezone(SEOUL):%Y%m%d%H%M%S}"}

    def _message(self, request: Request) -> object:
        self._authorize(request)
        given = self._body(request)
        try:
            channel, content = rules.check(given, self._files)
        except rules.Invalid as error:
            raise _Refused(2000) from error
        if self.exchange.wait_for_room(1) is not None:
            raise _Refused(3008)
        if (code := self.exchange.refusal(given["to"], channel)) is not None:
            raise _Refused(int(code) if re.fullmatch(r"[23]\d{3}", code) else 2000)
        number = self.exchange.number()
        kind = given["type"]
        stamp = f"{self.context.world_now().astimezone(SEOUL):%y%m%d%H%M%S}000"
        taken = Taken(
            id=f"{stamp}{kind:#>3}{number:06d}servSBOX",
            to=given["to"],
            channel=channel,
            key=given["refkey"],
            request={"type": kind, "msgid": f"{stamp[2:6]}se_{number:019d}"},
            certain=rules.fate(self.context.sandbox, channel, given["from"], content),
        )
        self.exchange.send([taken])
        if self._polling:
            self._kept[taken.request["msgid"]] = taken
        return {"code": 1000, "description": "Success", "refkey": taken.key, "messagekey": taken.id}

    def _file(self, request: Request) -> object:
        self._authorize(request)
        head = b"Content-Type: " + request.headers.get("content-type", "").encode() + b"\r\n\r\n"
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts()
        }
        image = parts.get("file")
        if parts.get("account") not in {None, self.account.encode()}:
            raise _Refused(3004)
        if not isinstance(image, bytes) or not image.startswith(b"\xff\xd8\xff") or len(image) > _IMAGE_BYTES:
            raise _Refused(2000)
        key = f"1585011852_DD{self.exchange.number():013d}.jpg"
        self._files.add(key)
        return {"filekey": key}

    def _report(self, request: Request) -> object:
        self._authorize(request)
        messagekey = self._body(request).get("messagekey")
        message = self.exchange.by_id.get(messagekey) if isinstance(messagekey, str) else None
        if message is None or not self.exchange.found([message]):
            raise _Refused(3012)
        if message.code_seen(self.exchange.now()) is None:
            raise _Refused(3013)
        if self._polling:
            raise _Refused(5000)
        self.exchange.push(message)
        return {"code": 1000, "description": "Success"}

    def _poll(self, request: Request) -> object:
        self._authorize(request)
        self._body(request)
        if not self._polling:
            raise _Refused(5000)
        now = self.exchange.now()
        reports: list[dict[str, Any]] = []
        for message in self._kept.values():
            code = message.code_seen(now)
            if code is not None and len(reports) < _AT_ONCE:
                reports.append({name.lower(): value for name, value in self._shown(message, code, now).items()})
        return {"code": "1000", "description": "success", "report": reports}

    def _confirm(self, request: Request) -> object:
        self._authorize(request)
        for one in self._body(request).get("msgid", []):
            self._kept.pop(one["msgid"], None)
        return {"code": 1000, "description": "Success"}

    # -- what they share -----------------------------------------------------------------------------------------

    def _answering(self, answer: Callable[[Request], object]) -> Callable[[Request], Reply]:
        def reply(request: Request) -> Reply:
            try:
                said = answer(request)
            except _Refused as refused:
                return self._refusal(refused.code)
            self.answered[1000] += 1
            return Reply.json(said)

        return reply

    def _refusal(self, code: int) -> Reply:
        self.answered[code] += 1
        return Reply.json({"code": code, "description": _WORDS.get(code, "refused")}, 400)

    def _authorize(self, request: Request) -> None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer":
            raise _Refused(3005)
        until = self._tokens.get(token)
        if until is None or self.context.world_now() >= until:
            raise _Refused(3002)

    def _body(self, request: Request) -> dict[str, Any]:
        try:
            given = msgspec.json.decode(request.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise _Refused(2000) from error
        if given.get("account") != self.account:
            raise _Refused(3004)
        return given

    def _shown(self, message: Taken, code: str, at: float) -> dict[str, Any]:
        kind = message.request["type"]
        shown = {
            "DEVICE": kind.upper(),
            "CMSGID": message.id,
            "MSGID": message.request["msgid"],
            "PHONE": message.to,
            "MEDIA": _MEDIA[kind],
            "UNIXTIME": str(int(at)),
            "RESULT": code,
            "WAPINFO": "SKT" if message.channel.is_text else "KAO",
        }
        return shown | {"REFKEY": message.key} if self.context.option("refkey_in_reports", True) else shown  # noqa: FBT003 - a default

    def _encode(self, events: Sequence[Event]) -> bytes:
        [event] = events
        return msgspec.json.encode(self._shown(event.subject, event.code, event.at))


def _basic(account: str, password: str) -> str:
    return "Basic " + b64encode(f"{account}:{password}".encode()).decode()


def build(context: Context) -> Bizppurio:
    """Return Bizppurio. Raises ``ValueError`` for an option that it does not know."""
    return Bizppurio(context)


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return the credentials that an adapter needs here."""
    return {
        "account": str(context_options.get("account", DEFAULT_ACCOUNT)),
        "password": str(context_options.get("password", DEFAULT_PASSWORD)),
        "receipts": "poll" if context_options.get("polling") else "push",
    }
