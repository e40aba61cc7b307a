"""One HTTP call to a dealer, and what is certain after it.

A call is made once. Left alone, aiohttp repeats an idempotent method when a connection is cut under it, and what
a dealer calls idempotent may send a message twice; so ``_once`` shows it every cut as an error it does not retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from types import SimpleNamespace

    from multidict import CIMultiDictProxy

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_RETRY_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Answer:
    """The gateway answered. ``body`` is empty when it could not be read to its end; header names in lower case."""

    status: int
    body: bytes
    retry_after: timedelta | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotReached:
    """No byte of the request left this machine."""

    detail: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The request may have been carried out; its answer did not come."""

    detail: str


Outcome = Answer | NotReached | Lost

Query = Sequence[tuple[str, str]]
Body = bytes | aiohttp.FormData | aiohttp.MultipartWriter | None


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


class Http:
    """Connections to one host of a dealer. Follows no redirect, keeps no cookie, repeats nothing."""

    def __init__(self, base_url: str, *, timeout_seconds: float) -> None:
        self.base = URL(base_url)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    def url(self, *path: str, query: Query = ()) -> URL:
        """Return the address of a call; parts of ``path`` are quoted, so that a key cannot leave its place."""
        return self.base.joinpath(*path).with_query(query)

    async def call(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: Body = None,
    ) -> Outcome:
        """Make one call, once."""
        progress = _Progress()
        try:
            async with self._open_session().request(
                method, url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=progress
            ) as response:
                return Answer(
                    response.status,
                    await _read(response),
                    _retry_after(response.headers),
                    {name.lower(): value for name, value in response.headers.items()},
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            name = str(error) if isinstance(error, _Cut) else type(error).__name__
            detail = f"{method} {name}"
            return Lost(detail) if progress.connected else NotReached(detail)

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and until when to use it (seconds of ``asyncio``'s clock)."""

    text: str
    expires: float


class Tokens:
    """The account's access token, fetched when there is none that lasts; callers at the same time share a fetch."""

    def __init__(self, fetch: Callable[[], Awaitable[Token | Outcome]]) -> None:
        """``fetch`` gives a token, or the outcome of the call that gave none."""
        self._fetch = fetch
        self._token: Token | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> str | Outcome:
        """Return a token, or why there is none: whatever it was wanted for has not left this machine."""
        async with self._lock:
            if self._token is not None and asyncio.get_running_loop().time() < self._token.expires:
                return self._token.text
            fetched = await self._fetch()
            if not isinstance(fetched, Token):
                return fetched
            self._token = fetched
            return fetched.text

    def forget(self, text: str) -> None:
        """Drop the token ``text``, which the dealer does not take any more."""
        if self._token is not None and self._token.text == text:
            self._token = None


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
