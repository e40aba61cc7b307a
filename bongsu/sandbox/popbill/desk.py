"""Linkhub's desk: who gets a token, for what, and until when."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_LINK_ID = "SANDBOX"
DEFAULT_SECRET_KEY = base64.b64encode(b"popbill sandbox secret key, 32 B").decode()
DEFAULT_CORP_NUM = "1234567890"
DEFAULT_SERVICE_ID = "POPBILL"
_SKEW = timedelta(minutes=15)
"""how far a signature's date may be off; Linkhub publishes no figure"""

TEXT_SCOPES = frozenset({"150", "151", "152"})
KAKAO_SCOPES = frozenset({"153", "154", "155", "156", "157", "158"})


class _Asked(msgspec.Struct):
    access_id: str
    scope: list[str]


@dataclass(frozen=True, slots=True)
class _Token:
    scopes: frozenset[str]
    ends: datetime


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return the credentials that an adapter needs here."""
    defaults = {
        "link_id": DEFAULT_LINK_ID,
        "secret_key": DEFAULT_SECRET_KEY,
        "corp_num": DEFAULT_CORP_NUM,
        "service_id": DEFAULT_SERVICE_ID,
    }
    return {name: str(context_options.get(name, default)) for name, default in defaults.items()}


def refused(status: int, code: int, message: str, **headers: str) -> Reply:
    """Return an error as Popbill and Linkhub write it; only the body is documented, not its status."""
    return Reply.json({"code": code, "message": message}, status, **headers)


class Desk:
    """Gives tokens and checks them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._given = credentials(context.profile.options)
        self._seconds = float(context.option("token_seconds", 1800))
        self._tokens: dict[str, _Token] = {}
        self.service_id = self._given["service_id"]

    def revoke(self) -> None:
        """Let every token wear out now."""
        self._tokens.clear()

    def give(self, request: Request) -> Reply:
        """Answer a request for a token: date and signature are checked, as the SDK makes them."""
        date, version = request.headers.get("x-lh-date", ""), request.headers.get("x-lh-version", "")
        now = self._context.world_now()
        try:
            asked = msgspec.json.decode(request.body, type=_Asked)
            said = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except (msgspec.DecodeError, ValueError):
            return refused(400, -99999999, "a request for a token wants access_id, scope and x-lh-date")
        if version != "2.0" or abs(now - said) > _SKEW:
            return refused(401, -99000001, "the date or version of the signature")
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        link_id, _, signature = rest.partition(" ")
        expected = self._signature(request, date)
        if scheme != "LINKHUB" or link_id != self._given["link_id"] or not hmac.compare_digest(signature, expected):
            return refused(401, -99000002, "the LinkID or the signature")
        if asked.access_id != self._given["corp_num"]:
            return refused(400, -99003008, "no such business number")
        text = base64.b64encode(hashlib.sha256(f"{signature}{len(self._tokens)}".encode()).digest()).decode()
        ends = now + timedelta(seconds=self._seconds)
        self._tokens[text] = _Token(frozenset(asked.scope), ends)
        return Reply.json(
            {
                "session_token": text,
                "serviceID": self.service_id,
                "linkID": link_id,
                "usercode": self._given["corp_num"],
                "scope": asked.scope,
                "expiration": f"{ends:%Y-%m-%dT%H:%M:%S}.000Z",
            }
        )

    def admit(self, request: Request, scopes: frozenset[str]) -> Reply | None:
        """Return why a call is not let in; its token must be for one of ``scopes`` at least."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        token = self._tokens.get(text) if scheme == "Bearer" else None
        if token is None or token.ends < self._context.world_now():
            return self.refuse_key()
        if not token.scopes & scopes:
            return refused(403, -10000033, "the token is for another service")
        return None

    def refuse_key(self) -> Reply:
        """Return the answer to a token that is not, or not any more, valid."""
        return refused(401, -10000033, "the token cannot be read")

    def _signature(self, request: Request, date: str) -> str:
        digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        signed = f"POST\n{digest}\n{date}\n2.0\n{request.target}"
        key = base64.b64decode(self._given["secret_key"])
        return base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()
