"""One signed call to SENS, and what is certain after one that was not answered well."""

from __future__ import annotations

import base64
import hashlib
import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.dealers.codes import CodeTable, load_table
from shared.dealers.http import Answer, Http, Lost, NotReached, Outcome, Query
from shared.dealers.sens.answers import read_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

OK = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})
"""202 for sending, 200 for looking, and some write 201 for an upload"""

_REFUSALS = frozenset({400, 401, 403, 404, 413})
"""refused before anything was taken: documented answers of SENS and of the API gateway before it"""


def signature(secret_key: str, *, method: str, target: str, timestamp: str, access_key: str) -> str:
    """Return the signature v2; ``target`` is path and query as they are written in the request line.

    The body is not signed (api.ncloud-docs.com common-ncpapi; node-sens 1.3.0).
    """
    signed = f"{method} {target}\n{timestamp}\n{access_key}"
    return base64.b64encode(hmac.new(secret_key.encode(), signed.encode(), hashlib.sha256).digest()).decode()


class Gateway:
    """The account's way to SENS."""

    def __init__(
        self,
        base_url: str,
        *,
        access_key: str,
        secret_key: str,
        timeout_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        """``now`` is the world's time, whatever rules go by: SENS refuses a timestamp 5 minutes off."""
        self._http = Http(base_url, timeout_seconds=timeout_seconds)
        self._access_key = access_key
        self._secret_key = secret_key
        self._now = now
        self._calls: CodeTable = load_table(__package__, "calls.csv")

    async def call(self, method: str, *path: str, body: bytes | None = None, query: Query = ()) -> Outcome:
        """Make one call, once."""
        url = self._http.url(*path, query=query)
        prefix = self._http.base.raw_path.rstrip("/")  # a proxy's, which SENS does not see
        timestamp = str(int(self._now().timestamp() * 1000))
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "x-ncp-apigw-timestamp": timestamp,
            "x-ncp-iam-access-key": self._access_key,
            "x-ncp-apigw-signature-v2": signature(
                self._secret_key,
                method=method,
                target=url.raw_path_qs.removeprefix(prefix),
                timestamp=timestamp,
                access_key=self._access_key,
            ),
        }
        return await self._http.call(method, url, headers=headers, body=body)

    def failure(self, outcome: Outcome) -> Refused | NotTaken | Ambiguous:
        """Return what an outcome other than an answer of ``OK`` says of what was to be sent."""
        match outcome:
            case NotReached(detail):
                return NotTaken("dealer_unavailable", detail=detail)
            case Lost(detail):
                return Ambiguous(detail)
            case Answer(status, body, retry_after):
                if status not in _REFUSALS | {429}:
                    return Ambiguous(f"HTTP {status}")
        error_code, said = read_error(body)
        code = f"{status}/{error_code}" if error_code else str(status)
        meaning = self._calls.read(code)
        if not meaning.known:
            meaning = self._calls.read(str(status))
        reason = meaning.reason or "unknown"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotTaken(reason, code, said or meaning.text, retry_after)
        return Refused(reason, code, said or meaning.text)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()
