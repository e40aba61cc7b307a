"""One call to Popbill, under an access token of Linkhub's, and what is certain after it.

The token is asked for by a signature over the request for it; calls to Popbill itself carry only the token
(packages ``linkhub`` 1.6.0 and ``popbill`` 1.64.2, ``base.py``).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from shared.dealers.http import Answer, Http, Outcome, Query, Token, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

_VERSION = "2.0"
"""of Linkhub's signature"""
_API_VERSION = "1.0"
_MARGIN = timedelta(minutes=1)
"""how long before its end a token is renewed"""
_UNDATED = timedelta(minutes=1)
"""how long a token is used whose end cannot be read"""
_BAD_TOKEN = frozenset({"-10000032", "-10000033", "-10000034"})

JSON = "application/json; charset=utf-8"


class Service(Enum):
    """A service of Popbill's, by the scopes its token wants (package ``popbill`` 1.64.2)."""

    KAKAO = ("member", "153", "154", "155", "156", "157", "158")
    TEXT = ("member", "150", "151", "152")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls. ``secret`` is the SecretKey, decoded from base64."""

    link_id: str
    secret: bytes
    corp_num: str
    user_id: str | None
    service_id: str


@dataclass(frozen=True, slots=True)
class NoToken:
    """The call was not carried out, for want of a token; ``outcome`` is that of the call that gave none.

    None: the token at hand, which had worked before, was refused; the next call fetches another.
    """

    outcome: Outcome | None


class _Token(msgspec.Struct):
    session_token: str
    expiration: Any = None


class _Error(msgspec.Struct):
    code: int
    message: Any = None


def error_code_of(answer: Answer) -> str:
    """Return the ``code`` of an error's body, or an empty text."""
    try:
        code = msgspec.json.decode(answer.body, type=_Error).code
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    return str(code)


def code_of(answer: Answer) -> str:
    """Return what to note as the dealer's code."""
    return error_code_of(answer)[:64] or f"HTTP {answer.status}"


def signature(secret: bytes, *, body: bytes, date: str, target: str) -> str:
    """Return the signature over a request for a token; ``target`` is its path, without a prefix of the host's."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    signed = f"POST\n{digest}\n{date}\n{_VERSION}\n{target}"
    return base64.b64encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest()).decode()


class Gateway:
    """An account's way to Popbill (``api``) and Linkhub (``auth``)."""

    def __init__(self, api: Http, auth: Http, identity: Identity, *, now: Callable[[], datetime]) -> None:
        """``now`` is the world's time: Linkhub compares the date of a signature with its own."""
        self._api = api
        self._auth = auth
        self._identity = identity
        self._now = now
        self._tokens = {service: Tokens(self._fetching(service)) for service in Service}
        self._worked: dict[Service, str] = {}

    async def call(
        self,
        service: Service,
        method: str,
        *path: str,
        body: bytes | None = None,
        content_type: str = JSON,
        query: Query = (),
    ) -> Outcome | NoToken:
        """Make one call, once."""
        token = await self._tokens[service].get()
        if not isinstance(token, str):
            return NoToken(token)
        headers = {"Authorization": f"Bearer {token}", "x-pb-version": _API_VERSION}
        if self._identity.user_id is not None:
            headers["x-pb-userid"] = self._identity.user_id
        if body is not None:
            headers["Content-Type"] = content_type
        outcome = await self._api.call(method, self._api.url(*path, query=query), headers=headers, body=body)
        if not isinstance(outcome, Answer):
            return outcome
        if _refuses_token(outcome):
            self._tokens[service].forget(token)
            return NoToken(None) if self._worked.get(service) == token else outcome
        if outcome.status == HTTPStatus.OK:
            self._worked[service] = token
        return outcome

    async def point(self) -> Outcome | NoToken:
        """Ask what is left on the member's account."""
        token = await self._tokens[Service.KAKAO].get()
        if not isinstance(token, str):
            return NoToken(token)
        url = self._auth.url(self._identity.service_id, "Point")
        return await self._auth.call("GET", url, headers={"Authorization": f"Bearer {token}"})

    async def close(self) -> None:
        """Close connections."""
        await self._api.close()
        await self._auth.close()

    def _fetching(self, service: Service) -> Callable[[], Any]:
        async def fetch() -> Token | Outcome:
            return await self._fetch(service)

        return fetch

    async def _fetch(self, service: Service) -> Token | Outcome:
        identity = self._identity
        body = msgspec.json.encode({"access_id": identity.corp_num, "scope": service.value})
        date = f"{self._now().astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        signed = signature(identity.secret, body=body, date=date, target=f"/{identity.service_id}/Token")
        headers = {
            "x-lh-date": date,
            "x-lh-version": _VERSION,
            "Authorization": f"LINKHUB {identity.link_id} {signed}",
            "Content-Type": "application/json",
        }
        outcome = await self._auth.call(
            "POST", self._auth.url(identity.service_id, "Token"), headers=headers, body=body
        )
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return outcome
        try:
            token = msgspec.json.decode(outcome.body, type=_Token)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return outcome
        if not token.session_token.isascii() or not token.session_token.isprintable() or not token.session_token:
            return outcome  # no header can carry it
        lasts = self._lasts(token.expiration)
        return Token(token.session_token, asyncio.get_running_loop().time() + lasts.total_seconds())

    def _lasts(self, expiration: object) -> timedelta:
        """Return for how long to use a token that says it ends at ``expiration`` (``2026-11-23T00:30:00.000Z``)."""
        try:
            end = datetime.fromisoformat(expiration) if isinstance(expiration, str) else None
        except ValueError:
            end = None
        if end is None:
            return _UNDATED
        if end.tzinfo is None:
            end = end.replace(tzinfo=UTC)  # its own SDK compares it with UTC, whatever stands behind the seconds
        return end - self._now() - _MARGIN


def _refuses_token(answer: Answer) -> bool:
    return answer.status == HTTPStatus.UNAUTHORIZED or error_code_of(answer) in _BAD_TOKEN
