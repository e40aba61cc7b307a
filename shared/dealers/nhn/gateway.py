"""One call to a service of NHN Cloud, and what is certain after it.

KakaoTalk Bizmessage and SMS are two services with an appkey, a secret key and a host each. Both answer with the same
header, and ``isSuccessful`` in it decides: the guides say nothing of the HTTP status of an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.dealers.http import Answer, Http, Lost, NotReached, Query

if TYPE_CHECKING:
    import aiohttp

    from shared.contracts.states import Channel
    from shared.dealers.codes import CodeTable

TRY_LATER = frozenset({"dealer_unavailable", "rate_limited"})

_NEVER_PROCESSED = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    }
)
"""what a web server says of a request that it does not hand on"""
_AUTH = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Said:
    """NHN answered in its own words."""

    successful: bool
    code: str
    """``header.resultCode``; ``"0"`` is success, errors are negative but for 4"""
    words: str
    answer: Answer


Result = Said | Answer | NotReached | Lost
"""an ``Answer`` is one that has no header of NHN's: somebody else's, or what is left of one"""


class Service:
    """An appkey of one of the two services."""

    def __init__(self, base_url: str, *, appkey: str, secret_key: str, timeout_seconds: float) -> None:
        self._http = Http(base_url, timeout_seconds=timeout_seconds)
        self._appkey = appkey
        self._secret_key = secret_key

    async def call(
        self,
        method: str,
        prefix: tuple[str, ...],
        *path: str,
        query: Query = (),
        body: bytes | None = None,
        form: aiohttp.FormData | None = None,
        idempotency_key: str | None = None,
    ) -> Result:
        """Make one call, once; the appkey stands between ``prefix`` and ``path``."""
        headers = {"X-Secret-Key": self._secret_key}
        if form is None:
            headers["Content-Type"] = "application/json;charset=UTF-8"  # another is refused (-9996)
        if idempotency_key is not None:
            headers["X-NC-API-IDEMPOTENCY-KEY"] = idempotency_key
        url = self._http.url(*prefix, self._appkey, *path, query=query)
        outcome = await self._http.call(method, url, headers=headers, body=form if form is not None else body)
        return _read(outcome) if isinstance(outcome, Answer) else outcome

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Reads refusals by the table ``accept.csv``."""

    dealer: str
    """the account's name, for the count of codes that the table does not have"""
    table: CodeTable

    def of_request(self, result: Result, channel: Channel) -> Refused | NotTaken | Ambiguous:
        """Say what is certain of every message of a request that did not succeed as a whole."""
        match result:
            case NotReached(detail):
                return NotTaken("dealer_unavailable", detail=detail)
            case Lost(detail):
                return Ambiguous(detail)
            case Answer():
                return _of_stranger(result)
            case Said(successful=True):
                return Ambiguous("a success that tells of no message of ours")
            case Said(answer=Answer(status=HTTPStatus.TOO_MANY_REQUESTS, retry_after=wait)):
                return NotTaken("rate_limited", result.code, retry_after=wait)
            case Said(code=code, words=words, answer=answer):
                return self.of_code(code, words, channel, status=answer.status)

    def of_code(
        self, code: str, words: str, channel: Channel, *, status: int = HTTPStatus.OK
    ) -> Refused | NotTaken | Ambiguous:
        """Say what is certain of a message, or a whole request, by the code of its error.

        A code that is ``pending`` in the table leaves open whether it was taken (-1005, -9999). One that the table
        does not have is a refusal, as ``isSuccessful`` says, unless NHN's server broke (5xx).
        """
        meaning = self.table.meaning(self.dealer, code, channel)
        if not meaning.known:
            if status in _AUTH:
                return Refused("auth_failed", code, scrubbed(words))
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return Ambiguous(f"HTTP {status}, {code}: {scrubbed(words)}")
            return Refused("unknown", code, scrubbed(words))
        if meaning.reason is None:
            return Ambiguous(f"{code}: {meaning.text}")
        if meaning.reason in TRY_LATER:
            return NotTaken(meaning.reason, code, meaning.text)
        return Refused(meaning.reason, code, meaning.text)


class _Header(msgspec.Struct, rename="camel"):
    is_successful: Any = None
    result_code: Any = None
    result_message: Any = None


class _Envelope(msgspec.Struct):
    header: _Header


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def _read(answer: Answer) -> Said | Answer:
    try:
        header = _ENVELOPE.decode(answer.body).header
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return answer
    code = code_of(header.result_code)
    if not isinstance(header.is_successful, bool) or not code:
        return answer
    words = header.result_message if isinstance(header.result_message, str) else ""
    return Said(header.is_successful, code, words, answer)


def _of_stranger(answer: Answer) -> Refused | NotTaken | Ambiguous:
    """Read an answer without NHN's header by its status alone."""
    code = f"HTTP {answer.status}"
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return NotTaken("rate_limited", code, retry_after=answer.retry_after)
    if answer.status in _AUTH:
        return Refused("auth_failed", code)
    if answer.status in _NEVER_PROCESSED:
        return Refused("invalid_request", code, "not NHN's own answer: is the host right?")
    return Ambiguous(f"{code}: the answer cannot be read")


def code_of(value: object) -> str:
    """Return a code fit to be kept, or an empty text: NHN writes numbers, and digits or letters as text."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**9 else ""
    return value if re.fullmatch(r"-?\w{1,32}", value, re.ASCII) else ""


def scrubbed(words: str) -> str:
    """Return NHN's words without anything that may be a phone number."""
    return re.sub(r"\d[\d\s.()-]{5,}\d", "…", words)[:200]
