"""The dealer's part of the sandbox. FILL IN 11: as strict as the contract, so that a mistake shows here first."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.profile import DEFAULT_WEBHOOK_SECRET, Operation
from bongsu.sandbox.webhooks import Event, Webhooks
from shared.contracts.states import Channel
from shared.text import byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_API_KEY = "sandbox-key"
_TYPES = {"SMS": Channel.SMS, "LMS": Channel.LMS}
_BYTES = {"SMS": 90, "LMS": 2000}
_FIELDS = frozenset({"key", "type", "to", "from", "text", "subject"})
_CODES = codes_by_reason({None: {"invalid_request": "BAD", "handset_unreachable": "OFF"}})
"""FILL IN 11: the dealer's code for each reason of ours that it can tell"""


class NewDealer:
    """``Dialect``."""

    def __init__(self, context: Context) -> None:
        self._api_key = str(context.option("api_key", DEFAULT_API_KEY))
        config = context.profile.webhook or context.sandbox.webhook
        self.webhooks = Webhooks(
            config,
            self._encode,
            lambda _secret: {"Content-Type": "application/json"},
            sign=lambda secret, body: {"X-Signature": hmac.digest(secret.encode(), body, hashlib.sha256).hex()},
        )
        self.exchange = Exchange(context, delivered=lambda _: "DONE", code=_CODES, webhooks=self.webhooks)

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers, and what kind of call each is for the faults of a profile."""
        return [
            Endpoint("POST", "/messages", Operation.SEND, self._send),
            Endpoint("GET", "/messages", Operation.LOOKUP, self._found),
        ]

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key."""
        return Reply.json({"code": "AUTH"}, 401)

    def reset(self) -> None:
        """Forget messages."""
        self.exchange.reset()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id)}

    def _send(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self._api_key}":
            return self.refuse_key()
        try:
            messages = msgspec.json.decode(request.body, type=dict[str, list[dict[str, Any]]])["messages"]
        except (msgspec.DecodeError, KeyError):
            return Reply.json({"code": "BAD"}, 400)
        if (seconds := self.exchange.wait_for_room(len(messages))) is not None:
            return Reply.json({"code": "BUSY"}, 429, Retry_After=f"{seconds:.3f}")
        return Reply.json({"messages": [self._take(message) for message in messages]})

    def _take(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if not _fits(message):
            return {"key": message.get("key"), "code": "BAD"}
        if (code := self.exchange.refusal(message["to"], _TYPES[message["type"]])) is not None:
            return {"key": message["key"], "code": code}
        identifier = f"N{self.exchange.number():012d}"
        self.exchange.send([Taken(identifier, message["to"], _TYPES[message["type"]], message["key"])])
        return {"key": message["key"], "id": identifier, "code": "OK"}

    def _found(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self._api_key}":
            return self.refuse_key()
        messages = [one for key in request.query.getall("key", []) for one in self.exchange.by_key.get(key, [])]
        now = self.exchange.now()
        return Reply.json(
            {"messages": [_shown(one, one.code_seen(now) or "OK") for one in self.exchange.found(messages)]}
        )

    def _encode(self, events: Sequence[Event]) -> bytes:
        return msgspec.json.encode({"messages": [_shown(event.subject, event.code) for event in events]})


def _fits(message: Mapping[str, Any]) -> bool:
    """Whether the dealer takes a message. FILL IN 11: required fields, lengths, shapes, and no field beside them."""
    required = _FIELDS - {"subject"}
    if not required <= message.keys() <= _FIELDS or message["type"] not in _TYPES:
        return False
    if not all(isinstance(value, str) for value in message.values()) or uncarried(message["text"]):
        return False
    return byte_length(message["text"]) <= _BYTES[message["type"]] and (message["to"] + message["from"]).isdigit()


def _shown(message: Taken, code: str) -> dict[str, Any]:
    return {"key": message.key, "id": message.id, "code": code}


def build(context: Context) -> NewDealer:
    """Return the dealer."""
    return NewDealer(context)


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return the credentials that an adapter needs here; the conformance suite asks for them."""
    return {
        "api_key": str(context_options.get("api_key", DEFAULT_API_KEY)),
        "webhook_secret": str(context_options.get("webhook_secret", DEFAULT_WEBHOOK_SECRET)),
    }
