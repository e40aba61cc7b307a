"""Calls to Gabia: its token, one call, and what an answer that is no success says for certain."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.dealers.gabia import wire
from shared.dealers.http import Answer, Http, Lost, NotReached, Outcome, Query, Token, Tokens

if TYPE_CHECKING:
    from shared.dealers.codes import CodeTable

_MARGIN_SECONDS = 60.0
"""a token is renewed so long before it ends"""
_AT_LEAST_SECONDS = 30.0
"""a token is used so long, however short-lived it says it is: better a refusal than a token a message"""

STALE_TOKEN = "token_verification_failed"  # noqa: S105 - Gabia's word for it, no token


class Gateway:
    """An account's way to Gabia. All calls but the first carry ``Basic base64(sms_id:access_token)``."""

    def __init__(self, base_url: str, *, sms_id: str, api_key: str, timeout_seconds: float) -> None:
        self._http = Http(base_url, timeout_seconds=timeout_seconds)
        self._sms_id = sms_id
        self._api_key = api_key
        self._tokens = Tokens(self._fetch)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def token(self) -> str | Refused | NotTaken:
        """Return a token, or why nothing can be sent: whatever it was wanted for has not left this machine."""
        token = await self._tokens.get()
        match token:
            case str():
                return token
            case NotReached(detail) | Lost(detail):
                return NotTaken("dealer_unavailable", detail=f"no token: {detail}")
            case Answer(status=HTTPStatus.TOO_MANY_REQUESTS):
                return NotTaken("rate_limited", code_of(token), "no token", token.retry_after)
            case Answer() if (said := said_by(token)) is not None and _is_final(token):
                return Refused("auth_failed", code_of(token), said.detail() or "no token is given to this account")
            case Answer(status=HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN):
                return Refused("auth_failed", code_of(token), "no token is given to this account")
            case Answer():
                return NotTaken("dealer_unavailable", code_of(token), "no token", token.retry_after)

    async def call(self, method: str, *path: str, token: str, form: bytes | None = None, query: Query = ()) -> Outcome:
        """Make one call, once; a token that Gabia does not take is dropped."""
        headers = {"Authorization": _basic(self._sms_id, token)}
        if form is not None:
            headers["Content-Type"] = wire.FORM
        outcome = await self._http.call(method, self._http.url(*path, query=query), headers=headers, body=form)
        if isinstance(outcome, Answer) and is_stale(outcome):
            self._tokens.forget(token)
        return outcome

    async def _fetch(self) -> Token | Outcome:
        headers = {"Authorization": _basic(self._sms_id, self._api_key), "Content-Type": wire.FORM}
        url = self._http.url("oauth", "token")
        outcome = await self._http.call("POST", url, headers=headers, body=b"grant_type=client_credentials")
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            return outcome
        read = wire.read_token(outcome.body)
        if read is None:
            return outcome
        text, lasts = read
        usable = max(lasts - _MARGIN_SECONDS, _AT_LEAST_SECONDS)
        return Token(text, asyncio.get_running_loop().time() + usable)


def refusal(answer: Answer, codes: CodeTable, number: str) -> Refused | NotTaken | Ambiguous:
    """Say what an answer to a call that sends is worth, which is no success.

    Gabia says ``code: false`` where it takes nothing; a word that we do not know may mean anything.
    """
    code = code_of(answer)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return NotTaken("rate_limited", code, retry_after=answer.retry_after)
    if is_stale(answer):
        return NotTaken("dealer_unavailable", code, "the token is not taken any more")
    if answer.status == HTTPStatus.FORBIDDEN:
        return Refused("auth_failed", code)
    said = said_by(answer)
    if said is None or not said.word or not _is_final(answer):
        return Ambiguous(f"answered {code}")
    meaning = codes.read(said.word)
    if not meaning.known or meaning.reason is None:
        return Ambiguous(f"answered {code}: {said.detail(number)}")
    return Refused(meaning.reason, code, said.detail(number) or meaning.text)


def said_by(answer: Answer) -> wire.Said | None:
    """Return what an answer says, or None where it cannot be read."""
    try:
        return wire.read_said(answer.body)
    except wire.Unreadable:
        return None


def code_of(answer: Answer) -> str:
    """Return what to note as the dealer's code."""
    said = said_by(answer)
    return (said.word if said is not None else "") or f"HTTP {answer.status}"


def is_stale(answer: Answer) -> bool:
    """Whether a call was not done for its token."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return True
    said = said_by(answer)
    return said is not None and said.word == STALE_TOKEN and _is_final(answer)


def _is_final(answer: Answer) -> bool:
    """Whether Gabia itself answered, and not something before it that gave up on it."""
    told = answer.status == HTTPStatus.OK or HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return told and answer.status != HTTPStatus.REQUEST_TIMEOUT


def _basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()
