"""One signed call to SOLAPI, and what is certain after it (``shared.dealers.http``)."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from shared.dealers.http import Answer, Http, Lost, NotReached, Outcome, Query

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "Gateway", "Lost", "NotReached", "Outcome", "code_of", "error_code_of", "signature"]


class _Error(msgspec.Struct, rename="camel"):
    error_code: str = ""


def error_code_of(answer: Answer) -> str:
    """Return the ``errorCode`` of the body, or an empty text."""
    try:
        code = msgspec.json.decode(answer.body, type=_Error).error_code
    except (msgspec.DecodeError, RecursionError):
        return ""
    return code if code.isascii() and code.isalnum() else ""


def code_of(answer: Answer) -> str:
    """Return what to note as the dealer's code."""
    return error_code_of(answer)[:64] or f"HTTP {answer.status}"


def signature(api_key: str, api_secret: str, *, date: str, salt: str) -> str:
    """Return the ``Authorization`` of one request; the method, path and body are not signed."""
    signed = hmac.new(api_secret.encode(), (date + salt).encode(), hashlib.sha256).hexdigest()
    return f"HMAC-SHA256 apiKey={api_key}, date={date}, salt={salt}, signature={signed}"


class Gateway:
    """The account's way to SOLAPI: signs each call anew, since a signature counts once."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        api_secret: str,
        timeout_seconds: float,
        now: Callable[[], datetime],
        salt: Callable[[], str],
    ) -> None:
        """``now`` is the world's time, whatever rules go by: SOLAPI refuses a date 15 minutes off."""
        self._http = Http(base_url, timeout_seconds=timeout_seconds)
        self._api_key = api_key
        self._api_secret = api_secret
        self._now = now
        self._salt = salt

    async def call(self, method: str, *path: str, body: bytes | None = None, query: Query = ()) -> Outcome:
        """Make one call, once."""
        headers = {"Authorization": self._sign(), "Content-Type": "application/json"}
        return await self._http.call(method, self._http.url(*path, query=query), headers=headers, body=body)

    async def call_signing_again(
        self, method: str, *path: str, body: bytes | None = None, query: Query = ()
    ) -> Outcome:
        """Make a call that may be carried out twice without harm: once more if its signature was used up.

        A salt of ours never repeats, so ``DuplicatedSignature`` means that something on the way delivered
        the request twice, and that the other copy was very likely carried out.
        """
        outcome = await self.call(method, *path, body=body, query=query)
        if isinstance(outcome, Answer) and error_code_of(outcome) == "DuplicatedSignature":
            return await self.call(method, *path, body=body, query=query)
        return outcome

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    def _sign(self) -> str:
        date = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return signature(self._api_key, self._api_secret, date=date, salt=self._salt())
