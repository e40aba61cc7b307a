"""One call to either host of Aligo, and why one was refused (``shared.dealers.http``).

Both hosts answer HTTP 200 to everything; what became of a call stands in the body alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.dealers.codes import UNKNOWN, CodeTable
from shared.dealers.http import Answer, Http, Lost, NotReached, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.contracts.states import Channel
    from shared.dealers.aligo.wire import Fields, Reply

_HEADERS = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


class Gateway:
    """The account's way to Aligo: AlimTalks on one host, text messages on another, with the key in every call."""

    def __init__(self, kakao_url: str, text_url: str, *, apikey: str, userid: str, timeout_seconds: float) -> None:
        self._kakao = Http(kakao_url, timeout_seconds=timeout_seconds)
        self._texts = Http(text_url, timeout_seconds=timeout_seconds)
        self._apikey = apikey
        self._userid = userid

    async def call(self, path: Sequence[str], fields: Fields, *, is_text: bool) -> Outcome:
        """Post ``fields``, once. The two hosts name key and account differently."""
        http, names = (self._texts, ("key", "user_id")) if is_text else (self._kakao, ("apikey", "userid"))
        signed = [*zip(names, (self._apikey, self._userid), strict=True), *fields]
        return await http.call("POST", http.url(*path), headers=_HEADERS, body=urlencode(signed).encode())

    async def close(self) -> None:
        """Close connections."""
        await self._kakao.close()
        await self._texts.close()


def trouble_with(outcome: Outcome) -> NotTaken | Refused | Ambiguous | None:
    """Say what is certain after a call that was not answered by Aligo's application; None if it was."""
    match outcome:
        case NotReached(detail):
            return NotTaken("dealer_unavailable", detail=detail)
        case Lost(detail):
            return Ambiguous(detail)
        case Answer(status=HTTPStatus.OK):
            return None
        case Answer():
            return _turned_away(outcome)


def _turned_away(answer: Answer) -> NotTaken | Refused | Ambiguous:
    """Read an HTTP status, by which something before Aligo's application speaks: that itself answers 200 only."""
    code = f"HTTP {answer.status}"
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return NotTaken("rate_limited", code, retry_after=answer.retry_after)
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Refused("auth_failed", code, "turned away before Aligo's application")
    if 400 <= answer.status < 500 and answer.status != HTTPStatus.REQUEST_TIMEOUT:  # noqa: PLR2004 - RFC 9110, 15.5
        return NotTaken("dealer_unavailable", code)
    return Ambiguous(code)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Reads why a request was refused: most say -99, and only their words tell."""

    dealer: str
    answers: CodeTable
    messages: CodeTable

    def of(self, reply: Reply, channel: Channel | None) -> Refused:
        """Return the refusal. Words go before numbers, of which public clients disagree what they mean."""
        code = str(reply.code)
        for (words, _), meaning in self.messages.lines.items():
            if all(word in reply.message for word in words.split("+")):
                return Refused(meaning.reason or UNKNOWN, code, reply.message)
        meaning = self.answers.meaning(self.dealer, code, channel)
        return Refused(meaning.reason or UNKNOWN, code, reply.message or meaning.text)
