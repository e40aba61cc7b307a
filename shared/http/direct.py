"""Calls a hot endpoint straight away, past the framework's routing, middleware and dependencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.http.problems import Problem, answer, unforeseen

_NOT_ALLOWED = Problem(405, "method-not-allowed", "Method not allowed", "Send a POST here.", headers={"Allow": "POST"})


@dataclass(frozen=True, slots=True)
class Direct:
    """``posts``, ASGI endpoints by path, in front of ``app``, which has all other paths.

    An endpoint may raise what the routes of ``app`` may: a problem is answered, anything else is 500 and logged.
    """

    app: ASGIApp
    posts: Mapping[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        endpoint = self.posts.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        if scope["method"] != "POST":
            await answer(_NOT_ALLOWED)(scope, receive, send)
            return
        try:
            await endpoint(scope, receive, send)
        except Problem as problem:
            await answer(problem)(scope, receive, send)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - the top of a request
            await answer(unforeseen(scope["path"], error))(scope, receive, send)
