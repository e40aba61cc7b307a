"""Calls to Bizgo with the account's key, and what its answers say for sure."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.dealers.bizgo import wire
from shared.dealers.bizgo.wire import Layer, Said
from shared.dealers.codes import UNKNOWN, CodeTable, Meaning, load_table
from shared.dealers.http import Answer, Body, Http, Lost, NotReached, Outcome, Query

if TYPE_CHECKING:
    from datetime import timedelta

    import aiohttp

_PREFIX = ("api", "comm", "v1")
_TRY_LATER = frozenset({"rate_limited"})
_MAY_HAVE_IT = frozenset({"dealer_error", "dealer_unavailable"})
"""A9xx: something broke within Bizgo, and nothing says before or after the message was taken"""
_NEVER_READ = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    }
)


class Gateway:
    """The account's way to Bizgo. The key goes as it is, without a scheme (SDK 1.2.0, transport)."""

    def __init__(self, name: str, base_url: str, *, api_key: str, timeout_seconds: float) -> None:
        self._name = name
        self._http = Http(base_url, timeout_seconds=timeout_seconds)
        self._headers = {"Authorization": api_key, "Accept": "application/json"}
        self._codes = load_table(__package__)
        self._gateway_codes = load_table(__package__, "gateway.csv")

    async def call(self, method: str, *path: str, body: bytes | None = None, query: Query = ()) -> Outcome:
        """Make one call, once."""
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        return await self._call(method, path, headers, body, query)

    async def upload(self, *path: str, form: aiohttp.FormData) -> Outcome:
        """Upload a file."""
        return await self._call("POST", path, self._headers, form, ())

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def _call(
        self, method: str, path: tuple[str, ...], headers: dict[str, str], body: Body, query: Query
    ) -> Outcome:
        return await self._http.call(method, self._http.url(*_PREFIX, *path, query=query), headers=headers, body=body)

    # -- what an answer says -------------------------------------------------------------------------------------

    def read(self, outcome: Outcome) -> Said | NotTaken | Refused | Ambiguous:
        """Return what the service gave, where it did what it was asked to; else what is certain of that.

        ``Said`` may also be A301. Bizgo documents that 429 comes before a request is processed, that a gateway's
        refusal has no service behind it, and that a service's code other than A000 means not taken.
        """
        match outcome:
            case NotReached(detail):
                return NotTaken("dealer_unavailable", detail=detail)
            case Lost(detail):
                return Ambiguous(detail)
            case Answer():
                return self._read(outcome)

    def _read(self, answer: Answer) -> Said | NotTaken | Refused | Ambiguous:
        status = f"HTTP {answer.status}"
        try:
            said = wire.read_answer(answer.body)
        except wire.Unreadable:
            said = None
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotTaken("rate_limited", said.code if said else status, retry_after=answer.retry_after)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or 300 <= answer.status < 400:  # noqa: PLR2004 - redirects
            return Ambiguous(f"{status} {said.code if said else ''}".strip())
        is_refused = answer.status >= HTTPStatus.BAD_REQUEST
        if said is None:
            return _unread(answer.status) if is_refused else Ambiguous(f"{status}, and the answer cannot be read")
        if said.is_ok:
            return Ambiguous(f"{status}, and its body says that all is well") if is_refused else said
        if said.layer is Layer.SERVICE and said.code == wire.ALREADY_TAKEN:
            return said
        return self._denied(said, answer, sure=is_refused or said.layer is Layer.SERVICE)

    def _denied(self, said: Said, answer: Answer, *, sure: bool) -> NotTaken | Refused | Ambiguous:
        meaning = self.meaning(said.layer, said.code)
        if not meaning.known and not (sure and said.code):
            return Ambiguous(f"HTTP {answer.status} with the unknown {said.layer} code {said.code or '(none)'}")
        return self.denied(meaning, said.code, answer.retry_after)

    def denied(
        self, meaning: Meaning, code: str, retry_after: timedelta | None = None
    ) -> NotTaken | Refused | Ambiguous:
        """Return what a code says that is neither A000 nor A301."""
        reason = meaning.reason or UNKNOWN
        if meaning.delivered is not False or reason in _MAY_HAVE_IT or (not meaning.known and code.startswith("A9")):
            return Ambiguous(f"code {code}")
        if reason in _TRY_LATER:
            return NotTaken(reason, code, meaning.text, retry_after)
        return Refused(reason, code, meaning.text)

    def meaning(self, layer: Layer, code: str) -> Meaning:
        """Return what a code of acceptance says; one that no table has is counted."""
        table = self._gateway_codes if layer is Layer.GATEWAY else self._codes
        return table.meaning(self._name, code)

    @property
    def codes(self) -> CodeTable:
        """Return the service's codes, those of reports among them."""
        return self._codes


def _unread(status: int) -> Refused | Ambiguous:
    """Say what a 4xx without an envelope leaves certain: a known one comes from before Bizgo's services."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Refused("auth_failed", f"HTTP {status}")
    if status in _NEVER_READ:
        return Refused("invalid_request", f"HTTP {status}", "not an answer of Bizgo's: is base_url right?")
    return Ambiguous(f"HTTP {status}, and the answer cannot be read")
