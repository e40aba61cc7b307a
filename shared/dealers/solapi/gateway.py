"""One HTTP call to SOLAPI, and what is certain after it.

A call is made once. Left alone, aiohttp sends a PUT again when a connection is cut under it, and adding messages
to a group twice sends them twice; so ``_once`` shows it every cut as an error it does not retry.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import SimpleNamespace

    from multidict import CIMultiDictProxy

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_RETRY_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Answer:
    """The gateway answered. ``body`` is empty when it could not be read to its end."""

    status: int
    body: bytes
    retry_after: timedelta | None = None

    @property
    def error_code(self) -> str:
        """Return the ``errorCode`` of the body, or an empty text."""
        try:
            code = msgspec.json.decode(self.body, type=_Error).error_code
        except (msgspec.DecodeError, RecursionError):
            return ""
        return code if code.isascii() and code.isalnum() else ""

    @property
    def code(self) -> str:
        """Return what to note as the dealer's code."""
        return self.error_code[:64] or f"HTTP {self.status}"


@dataclass(frozen=True, slots=True)
class NotReached:
    """No byte of the request left this machine."""

    detail: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The request may have been carried out; its answer did not come."""

    detail: str


Outcome = Answer | NotReached | Lost


class _Error(msgspec.Struct, rename="camel"):
    error_code: str = ""


class _Cut(aiohttp.ClientError):
    """A connection was cut, or could not be made; its text is the name of what aiohttp would retry after."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Cut(type(error).__name__) from error


@dataclass(slots=True)
class _Progress:
    """How far a request came: before it has a connection, none of its bytes can have left."""

    connected: bool = False


async def _connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.connected = True


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
        self._base = URL(base_url)
        self._api_key = api_key
        self._api_secret = api_secret
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._now = now
        self._salt = salt
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        *path: str,
        body: bytes | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> Outcome:
        """Make one call, once."""
        progress = _Progress()
        headers = {"Authorization": self._sign(), "Content-Type": "application/json"}
        try:
            async with self._open_session().request(
                method,
                self._base.joinpath(*path).with_query(query),
                data=body,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                return Answer(response.status, await _read(response), _retry_after(response.headers))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            name = str(error) if isinstance(error, _Cut) else type(error).__name__
            detail = f"{method} {name}"
            return Lost(detail) if progress.connected else NotReached(detail)

    async def call_signing_again(
        self, method: str, *path: str, body: bytes | None = None, query: Sequence[tuple[str, str]] = ()
    ) -> Outcome:
        """Make a call that may be carried out twice without harm: once more if its signature was used up.

        A salt of ours never repeats, so ``DuplicatedSignature`` means that something on the way delivered
        the request twice, and that the other copy was very likely carried out.
        """
        outcome = await self.call(method, *path, body=body, query=query)
        if isinstance(outcome, Answer) and outcome.error_code == "DuplicatedSignature":
            return await self.call(method, *path, body=body, query=query)
        return outcome

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _sign(self) -> str:
        date = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return signature(self._api_key, self._api_secret, date=date, salt=self._salt())

    def _open_session(self) -> aiohttp.ClientSession:
        # made at the first call: aiohttp wants the running loop
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_connected)
            trace.on_connection_reuseconn.append(_connected)
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(_once,),
                trace_configs=[trace],
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or nothing when it breaks off or is absurdly long: the status stands either way."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                return b""
    except (aiohttp.ClientError, TimeoutError, OSError):
        return b""
    return bytes(body)


def _retry_after(headers: CIMultiDictProxy[str]) -> timedelta | None:
    """Return what ``x-retry-after`` asks for, read as seconds, between nothing and an hour."""
    text = headers.get("x-retry-after") or headers.get("retry-after") or ""
    try:
        seconds = float(text)
    except ValueError:
        return None
    if not 0 <= seconds < float("inf"):
        return None
    return min(timedelta(seconds=min(seconds, 1e6)), MAX_RETRY_AFTER)
