"""Reads a request's body up to a limit."""

from __future__ import annotations

from fastapi import Request

from shared.http.problems import Problem


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body. Raises a 413 ``Problem`` as soon as it is known to be longer than ``limit`` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        "body-too-large",
        "The body is too large",
        f"At most {limit} bytes are taken; send less in one request.",
        headers={"Connection": "close"},
    )
