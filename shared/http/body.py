"""Reads a request's body up to a limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import Request

from shared.http.problems import Problem

_PATIENCE_BYTES = 16 * 1024 * 1024
_PATIENCE_SECONDS = 5.0


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body. Raises a 413 ``Problem`` when it is longer than ``limit`` bytes; never more than that is kept.

    What is too much is read off the wire for a while and dropped: a client that still writes when the connection is
    closed sees a reset in place of the answer.
    """
    declared = request.headers.get("content-length", "")
    too_large = declared.isascii() and declared.isdigit() and int(declared) > limit
    parts: list[bytes] = []
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS) as patience:
            if not too_large:
                patience.reschedule(None)
            async for part in request.stream():
                size += len(part)
                if not too_large and size > limit:
                    too_large = True
                    parts.clear()
                    patience.reschedule(asyncio.get_running_loop().time() + _PATIENCE_SECONDS)
                if too_large and size > limit + _PATIENCE_BYTES:
                    break
                if not too_large:
                    parts.append(part)
    if too_large:
        raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        "body-too-large",
        "The body is too large",
        f"At most {limit} bytes are taken; send less in one request.",
        headers={"Connection": "close"},
    )
