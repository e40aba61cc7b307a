"""Hanbit's part of the sandbox: as strict as ``contract.md``, so that the adapter can be tried without an account.

Options: ``api_key``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.profile import DEFAULT_WEBHOOK_SECRET, Operation
from bongsu.sandbox.webhooks import Event, Webhooks
from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.text import byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_API_KEY = "sandbox-hanbit-key"
_MOST = 100
_TYPES = {"AT": Channel.ALIMTALK, "SMS": Channel.SMS, "LMS": Channel.LMS}
_TEXT = {"clientKey", "type", "to", "from", "text"}
_FIELDS = {
    "SMS": _TEXT,
    "LMS": _TEXT | {"subject"},
    "AT": _TEXT | {"senderKey", "templateCode", "failover", "title", "buttons", "quickReplies"},
}
_BUTTON = {"type", "name", "mobile", "pc", "android", "ios"}
_BYTES = {"SMS": 90, "LMS": 2000}
_ALIMTALK_CHARACTERS = 1000

_KAKAO = {
    "not_kakao_user": "4101",
    "blocked_channel": "4102",
    "template_mismatch": "4103",
    "template_not_approved": "4104",
    "delivery_uncertain": "4105",
}
_CARRIER = {
    "handset_unreachable": "4201",
    "no_subscriber": "4202",
    "invalid_phone": "4202",
    "spam_blocked": "4203",
    "carrier_error": "4204",
    "result_timeout": "4205",
}
_ALWAYS = {
    "invalid_request": "2001",
    "content_too_long": "2002",
    "content_charset": "2003",
    "sender_profile_invalid": "2101",
    "sender_number_unregistered": "2102",
    "auth_failed": "3001",
    "no_balance": "3002",
    "account_suspended": "3003",
}
_CODES = codes_by_reason({Channel.ALIMTALK: _KAKAO, Channel.SMS: _CARRIER, Channel.LMS: _CARRIER, None: _ALWAYS})


class Hanbit:
    """``Dialect``."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._api_key = str(context.option("api_key", DEFAULT_API_KEY))
        config = context.profile.webhook or context.sandbox.webhook
        self.webhooks = Webhooks(
            config.model_copy(update={"batch": min(config.batch, _MOST)}),
            self._encode,
            lambda _secret: {"Content-Type": "application/json"},
            sign=lambda secret, body: {"X-Hanbit-Signature": hmac.digest(secret.encode(), body, hashlib.sha256).hex()},
        )
        self.exchange = Exchange(
            context, delivered=lambda _channel: "4000", code=_code, pending="1000", webhooks=self.webhooks
        )

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        return [
            Endpoint("POST", "/v1/messages", Operation.SEND, self._send),
            Endpoint("GET", "/v1/messages", Operation.LOOKUP, self._found),
            Endpoint("GET", "/v1/account", Operation.LOOKUP, self._account),
        ]

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key."""
        return _refusal("3001", 401)

    def reset(self) -> None:
        """Forget messages."""
        self.exchange.reset()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id)}

    # -- calls ---------------------------------------------------------------------------------------------------

    def _send(self, request: Request) -> Reply:
        if not self._knows(request):
            return self.refuse_key()
        try:
            messages = msgspec.json.decode(request.body, type=dict[str, list[dict[str, Any]]])["messages"]
        except (msgspec.DecodeError, KeyError):
            return _refusal("2001", 400)
        if not 1 <= len(messages) <= _MOST:
            return _refusal("2001", 400)
        if (seconds := self.exchange.wait_for_room(len(messages))) is not None:
            return _refusal("3429", 429, Retry_After=f"{seconds:.3f}")
        return Reply.json({"requestId": f"R{self.exchange.number()}", "results": [self._take(one) for one in messages]})

    def _take(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Take a message or refuse it, its neighbours apart."""
        key = message.get("clientKey")
        if isinstance(key, str) and (before := self.exchange.by_key.get(key)):
            return {"clientKey": key, "messageId": before[0].id, "code": "1001"}
        code = _fault(message) or self._unregistered(message)
        if code is None:
            code = self.exchange.refusal(message["to"], _TYPES[message["type"]])
        if code is not None:
            return {"clientKey": key, "code": code}
        taken = Taken(
            id=f"HB{self.exchange.number():016d}",
            to=message["to"],
            channel=_TYPES[message["type"]],
            key=message["clientKey"],
            request={"type": message["type"]},
        )
        self.exchange.send([taken])
        return {"clientKey": key, "messageId": taken.id, "code": "1000"}

    def _unregistered(self, message: Mapping[str, Any]) -> str | None:
        profile = self.context.sandbox
        if not profile.accept_any_sender and not any(message["from"] in one.senders for one in profile.accounts):
            return "2102"
        if message["type"] != "AT" or profile.accept_any_template:
            return None
        return None if any(message["senderKey"] in one.channels for one in profile.accounts) else "2101"

    def _found(self, request: Request) -> Reply:
        if not self._knows(request):
            return self.refuse_key()
        keys = request.query.getall("clientKey", [])
        if not 1 <= len(keys) <= _MOST:
            return _refusal("2001", 400)
        now = self.exchange.now()
        messages = self.exchange.found([one for key in keys for one in self.exchange.by_key.get(key, [])])
        return Reply.json({"messages": [_shown(one, one.code_seen(now), now) for one in messages]})

    def _account(self, request: Request) -> Reply:
        if not self._knows(request):
            return self.refuse_key()
        account = self.context.sandbox.accounts[0]
        return Reply.json(
            {
                "balanceKrw": int(account.balance),
                "senderNumbers": sorted(account.senders),
                "senderKeys": sorted(account.channels),
            }
        )

    def _knows(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self._api_key}"

    def _encode(self, events: Sequence[Event]) -> bytes:
        shown = [{"eventId": one.event_id, **_shown(one.subject, one.code, one.at)} for one in events]
        return msgspec.json.encode({"events": shown})


def _code(word: str, channel: Channel) -> str:
    """Return Hanbit's code; a word that it has none for becomes one that no adapter knows."""
    code = _CODES(word, channel)
    return code if re.fullmatch(r"\d{4}", code) else "4999"


def _fault(message: Mapping[str, Any]) -> str | None:
    """Return the code by which a message is refused for its fields (section 3)."""
    kind = str(message.get("type"))
    if kind not in _FIELDS or not message.keys() <= _FIELDS[kind]:
        return "2001"
    required = {*_TEXT, *({"senderKey", "templateCode"} if kind == "AT" else ())}
    if any(not isinstance(message.get(name), str) or not message[name] for name in required):
        return "2001"
    shapes = re.fullmatch(r"[A-Za-z0-9_-]{1,32}", message["clientKey"]) and (message["to"] + message["from"]).isdigit()
    if not shapes or (kind == "AT" and not _fits(message)):
        return "2001"
    if kind == "AT":
        return "2002" if len(message["text"]) > _ALIMTALK_CHARACTERS else None
    text, subject = message["text"], message.get("subject", "")
    if uncarried(text + subject):
        return "2003"
    return "2002" if byte_length(text) > _BYTES[kind] or byte_length(subject) > 40 else None  # noqa: PLR2004 - section 3


def _fits(message: Mapping[str, Any]) -> bool:
    """Whether the fields of an AlimTalk are as section 3 has them; ``failover`` stands, since no one here wants it."""
    lists = ((message.get("buttons", []), 5, "WL AL DS BK MD AC"), (message.get("quickReplies", []), 10, "WL AL BK"))
    return message.get("failover") == "N" and all(
        len(given) <= most and all(one.keys() <= _BUTTON and one["type"] in kinds.split() for one in given)
        for given, most, kinds in lists
    )


def _shown(message: Taken, code: str | None, at: float) -> dict[str, Any]:
    done = None if code in {None, "1000"} else f"{datetime.fromtimestamp(at, SEOUL):%Y-%m-%dT%H:%M:%S}"
    return {
        "clientKey": message.key,
        "messageId": message.id,
        "type": message.request["type"],
        "code": code or "1000",
        "doneAt": done,
    }


def _refusal(code: str, status: int, **headers: str) -> Reply:
    return Reply.json({"code": code, "message": "refused"}, status, **headers)


def build(context: Context) -> Hanbit:
    """Return Hanbit."""
    return Hanbit(context)


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return the credentials that an adapter needs here."""
    return {
        "api_key": str(context_options.get("api_key", DEFAULT_API_KEY)),
        "webhook_secret": str(context_options.get("webhook_secret", DEFAULT_WEBHOOK_SECRET)),
    }
