"""Refusals as RFC 9457 problems: a stable ``type``, the field by JSON pointer, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shared.errors import BongsuError

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES = "https://bongsu.dev/problems/"
"""Prefix of every ``type``: an identifier, not an address to fetch; docs/problems.md lists them."""


@dataclass(eq=False)  # not frozen: whoever raises it on sets its traceback
class Problem(BongsuError):
    """A refusal. ``kind`` is the last part of ``type``; ``detail`` says what is wrong and what to do."""

    status: int
    kind: str
    title: str
    detail: str
    pointer: str | None = None
    """JSON pointer (RFC 6901) into the body, of the field that is wrong"""
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the problem object."""
        body: dict[str, Any] = {
            "type": TYPES + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.pointer is not None:
            body["pointer"] = self.pointer
        return body


def answer(problem: Problem) -> Response:
    """Turn a problem into an HTTP answer."""
    return Response(
        msgspec.json.encode(problem.as_dict()),
        status_code=problem.status,
        media_type="application/problem+json",
        headers=dict(problem.headers),
    )


def unforeseen(path: str | None, error: Exception) -> Problem:
    """Log an error of ours, its kind alone, and return what is said of it. ``path`` is as its route is written."""
    structlog.get_logger().error("http.unforeseen", path=path, error=type(error).__name__)
    return Problem(500, "internal", "An error of ours", "This is our mistake; it was logged. Try again later.")


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem: ours, the framework's, and the unforeseen (500, logged)."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
        return answer(error)

    async def framework(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
        kinds = {404: ("not-found", "Not found"), 405: ("method-not-allowed", "Method not allowed")}
        kind, title = kinds.get(error.status_code, ("http-error", "Refused"))
        return answer(Problem(error.status_code, kind, title, str(error.detail), headers=error.headers or {}))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        first = error.errors()[0]
        place, *path = map(str, first["loc"])
        return answer(
            Problem(
                422 if place == "body" else 400,
                "invalid-parameter",
                "A parameter is wrong",
                f"{place} {'/'.join(path)}: {first['msg']}",
                pointer="/" + "/".join(path) if place == "body" else None,
            )
        )

    async def any_other(request: Request, error: Exception) -> Response:
        route = request.scope.get("route")  # as it is written, not as it was called: a path may end with a secret
        return answer(unforeseen(getattr(route, "path", None), error))

    app.add_exception_handler(Problem, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, any_other)
