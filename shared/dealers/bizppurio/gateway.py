"""Calls to Bizppurio: its token, one call, and what an answer that is no success says for certain."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.dealers.bizppurio import wire
from shared.dealers.http import Answer, Http, Outcome, Token, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.dealers.codes import CodeTable, Meaning

DAY = timedelta(hours=24)
MARGIN = timedelta(minutes=10)
"""a token is renewed so long before it ends, whatever our clocks think"""
AT_LEAST = timedelta(minutes=1)
"""a token is used so long, even if its end seems to have passed: better a refusal than a token for each message"""

_STALE_TOKEN = frozenset({"3002", "3005"})
_OF_THE_ACCOUNT = frozenset({"auth_failed", "account_suspended", "rate_limited"})


class Gateway:
    """An account's way to Bizppurio."""

    def __init__(
        self,
        base_url: str,
        *,
        account: str,
        password: str,
        timeout_seconds: float,
        now: Callable[[], datetime],
        answers: CodeTable,
    ) -> None:
        """``answers`` has the codes of calls, as ``codes.csv`` has those of messages."""
        self.account = account
        self.tokens = Tokens(self._fetch_token)
        self._http = Http(base_url, timeout_seconds=timeout_seconds)
        self._basic = b64encode(f"{account}:{password}".encode()).decode()
        self._now = now
        self._answers = answers

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def post(self, *path: str, token: str, body: bytes) -> Outcome:
        """Make one call with JSON, once."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}
        outcome = await self._http.call("POST", self._http.url(*path), headers=headers, body=body)
        self._forget_if_stale(outcome, token)
        return outcome

    async def upload(self, *, token: str, name: str, image: bytes) -> Outcome:
        """Give Bizppurio a file for MMS; the manual asks for a token since v2.8."""
        form = aiohttp.FormData()
        form.add_field("account", self.account)
        form.add_field("file", image, filename=name, content_type="image/jpeg")
        headers = {"Authorization": f"Bearer {token}"}
        outcome = await self._http.call("POST", self._http.url("v1", "file"), headers=headers, body=form)
        self._forget_if_stale(outcome, token)
        return outcome

    async def token(self) -> str | Refused | NotTaken:
        """Return a token, or why nothing can be sent: whatever it was wanted for has not left this machine."""
        token = await self.tokens.get()
        if isinstance(token, str):
            return token
        if not isinstance(token, Answer):
            return NotTaken("dealer_unavailable", detail=f"no token: {token.detail}")
        said, meaning = self.read(token)
        if token.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return Refused("auth_failed", _code_of(token, said), meaning.text or "no token is given to this account")
        reason = "rate_limited" if token.status == HTTPStatus.TOO_MANY_REQUESTS else meaning.reason
        if not _is_client_error(token) or reason not in _OF_THE_ACCOUNT:
            return NotTaken("dealer_unavailable", _code_of(token, said), "no token", token.retry_after)
        if reason == "rate_limited":
            return NotTaken(reason, _code_of(token, said), meaning.text, token.retry_after)
        return Refused(reason, _code_of(token, said), meaning.text)

    def read(self, answer: Answer) -> tuple[wire.Said, Meaning]:
        """Read an answer and look its code up; a code that is not there, or not known, means nothing."""
        said = wire.read_answer(answer)
        return said, self._answers.read(said.code)

    def refusal(self, answer: Answer) -> Refused | NotTaken | Ambiguous:
        """Say what an answer to a call that sends is worth, which is no success.

        Bizppurio documents 400 with a code for all that it does not take, and says of 3011 and of 9000 (which
        comes with 500) that it does not know itself.
        """
        said, meaning = self.read(answer)
        code, detail = _code_of(answer, said), " - ".join(filter(None, (meaning.text, said.words)))
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotTaken("rate_limited", code, detail, answer.retry_after)
        if answer.status == HTTPStatus.UNAUTHORIZED or (said.code in _STALE_TOKEN and answer.status < 500):  # noqa: PLR2004 - HTTP's border
            return NotTaken("dealer_unavailable", code, "the token is not taken any more")
        if answer.status == HTTPStatus.FORBIDDEN:
            return Refused("auth_failed", code, detail)
        told = answer.status == HTTPStatus.OK or _is_client_error(answer)
        if not told or not said.code or (meaning.known and meaning.delivered is None):
            return Ambiguous(f"answered {code}")
        if not meaning.known and answer.status == HTTPStatus.OK:
            return Ambiguous(f"answered 200 with the unknown code {code}")
        reason = meaning.reason or "unknown"
        return NotTaken(reason, code, detail) if reason == "rate_limited" else Refused(reason, code, detail)

    def _forget_if_stale(self, outcome: Outcome, token: str) -> None:
        if isinstance(outcome, Answer) and (
            outcome.status == HTTPStatus.UNAUTHORIZED or wire.read_answer(outcome).code in _STALE_TOKEN
        ):
            self.tokens.forget(token)

    async def _fetch_token(self) -> Token | Outcome:
        headers = {"Authorization": f"Basic {self._basic}", "Content-Type": "application/json; charset=utf-8"}
        outcome = await self._http.call("POST", self._http.url("v1", "token"), headers=headers)
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return outcome
        said = wire.read_answer(outcome)
        if said.accesstoken is None:
            return outcome
        lasts = DAY if said.expired is None else min(said.expired - self._now(), DAY)
        usable = max(lasts - MARGIN, AT_LEAST)
        return Token(said.accesstoken, asyncio.get_running_loop().time() + usable.total_seconds())


def body(**fields: object) -> bytes:
    """Return a body of JSON."""
    return msgspec.json.encode(fields)


def _is_client_error(answer: Answer) -> bool:
    return HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR


def _code_of(answer: Answer, said: wire.Said) -> str:
    """Return what to note as the dealer's code."""
    return said.code or f"HTTP {answer.status}"
