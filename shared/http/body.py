"""Reads requests' bodies: each up to a length and at a least pace, all together up to what a process may hold."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from shared.http.problems import Problem

_PATIENCE_BYTES = 16 * 1024 * 1024
_PATIENCE_SECONDS = 5.0
_UNBOUNDED = 1 << 62


@dataclass(slots=True)
class Bodies:
    """What the bodies of a process may take.

    A client may keep it waiting for ``grace_seconds`` at a time, and in all for these and as long as what it has sent
    takes at ``least_pace`` bytes a second: who stops or trickles is let go (408), who is far away is not. A body counts
    as held from its first byte until its request is answered.
    """

    longest: int
    """bytes of one body"""
    most: int = _UNBOUNDED
    """bodies at once"""
    most_bytes: int = _UNBOUNDED
    """of all bodies that are held"""
    grace_seconds: float = 10.0
    least_pace: int = 1000
    under_way: int = 0
    held: int = 0

    def open(self, receive: Receive, declared: str = "") -> Body:
        """Return the body of a request, to be used as a context; ``declared`` is its Content-Length, if it has one."""
        return Body(self, receive, int(declared) if declared.isascii() and declared.isdigit() else 0)


class Body:
    """One request's body, read whole or part by part. Raises 408, 413 and 503 ``Problem``, and ``ClientDisconnect``."""

    def __init__(self, bodies: Bodies, receive: Receive, declared: int) -> None:
        self._bodies = bodies
        self._receive = receive
        self._declared = declared
        self._came = 0
        self._waited = 0.0
        self._held = 0
        self.complete = False

    def __enter__(self) -> Self:
        if self._bodies.under_way >= self._bodies.most:
            raise _busy("More requests are under way than can be kept up with.")
        self._bodies.under_way += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bodies.under_way -= 1
        self.keep(0)

    async def read(self) -> bytes:
        """Return all of it; never more than the longest is kept."""
        longest = self._bodies.longest
        if self._declared > longest:
            await self._drop()
        part = await self.part()
        if self.complete and len(part) <= longest:
            return part  # as nearly all do, it came in one piece
        parts = [part]
        while not self.complete and self._came <= longest:
            parts.append(await self.part())
        if self._came > longest:
            await self._drop()
        return b"".join(parts)

    async def part(self) -> bytes:
        """Return what came next, perhaps nothing; sets ``complete`` with the last."""
        bodies = self._bodies
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            left = bodies.grace_seconds + self._came / bodies.least_pace - self._waited
            async with asyncio.timeout(min(left, bodies.grace_seconds)):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        self._waited += loop.time() - began
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        self._came += len(part)
        self._held += len(part)
        bodies.held += len(part)
        self.complete = not message.get("more_body", False)
        if bodies.held > bodies.most_bytes:
            raise _busy("More is being sent than can be held.")
        return part

    def keep(self, size: int) -> None:
        """Count no more than ``size`` bytes of what came as held: the rest was done with."""
        self._bodies.held -= self._held - size
        self._held = size

    async def _drop(self) -> None:
        """Refuse what is too long, once it is read off the wire for a while.

        A client that still writes when the connection is closed sees a reset in place of the answer.
        """
        self.keep(0)
        limit = self._came + _PATIENCE_BYTES
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not self.complete and self._came < limit:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    self._came += len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)
        except TimeoutError:
            pass
        raise _too_large(self._bodies.longest)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of ``request``. Raises a 413 ``Problem`` when it is longer than ``limit``, 408 if it trickles."""
    with Bodies(limit).open(request.receive, request.headers.get("content-length", "")) as body:
        return await body.read()


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        "body-too-large",
        "The body is too large",
        f"At most {limit} bytes are taken; send less in one request.",
        headers={"Connection": "close"},
    )


def _too_slow() -> Problem:
    return Problem(
        408,
        "body-too-slow",
        "The body came too slowly",
        "Send the body at once; the connection is closed. Nothing of a single event or of an array was kept.",
        headers={"Connection": "close"},
    )


def _busy(what: str) -> Problem:
    return Problem(
        503,
        "unavailable",
        "Nothing can be accepted now",
        f"{what} Send the same request again later.",
        headers={"Retry-After": "1"},  # the server reads the rest and drops it: closed, a client would see a reset
    )
