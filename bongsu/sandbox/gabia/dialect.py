"""Gabia: tokens, SMS and LMS as form fields, the log of results.

Options: ``sms_id``, ``api_key``, ``token_seconds``, ``messages`` (what ``user/info`` says is left) and
``shows_pending`` (false: the log hides messages that have no result yet; nobody knows which way Gabia has it).
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken
from bongsu.sandbox.profile import Operation
from shared.contracts.states import Channel
from shared.text import byte_length, uncarried

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

DEFAULT_SMS_ID = "bongsusms"
DEFAULT_API_KEY = "sandbox-api-key"
_OPTIONS = frozenset({"sms_id", "api_key", "token_seconds", "messages", "shows_pending"})
_BYTES = {Channel.SMS: 90, Channel.LMS: 2000}
_REQUIRED = frozenset({"phone", "callback", "message", "refkey"})
_TOKEN_LIVES = 3600
STALE_TOKEN = "token_verification_failed"  # noqa: S105 - Gabia's word for it, no token


class _Refused(Exception):
    """An answer that is no success, with HTTP 200 as Gabia has it."""

    def __init__(self, words: str, *, code: str | bool = False) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class Gabia:
    """``Dialect``."""

    webhooks = None

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _OPTIONS):
            raise ValueError(
                f"dealers.{context.name}.options: {unknown[0]} is not one of {', '.join(sorted(_OPTIONS))}"
            )
        self.context = context
        self.sms_id = str(context.option("sms_id", DEFAULT_SMS_ID))
        self._api_key = str(context.option("api_key", DEFAULT_API_KEY))
        self._left = int(context.option("messages", 1_000_000))
        self.exchange = Exchange(context, delivered=lambda _: "SUCC", code=lambda _word, _channel: "FAIL")
        self.answered: Counter[str] = Counter()
        self._tokens: dict[str, datetime] = {}

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        return [
            Endpoint("POST", "/oauth/token", Operation.OPEN, self._token),
            Endpoint("POST", "/api/send/sms", Operation.SEND, self._answering(self._sms)),
            Endpoint("POST", "/api/send/lms", Operation.SEND, self._answering(self._lms)),
            Endpoint("GET", "/api/result_log/byRefkey", Operation.LOOKUP, self._answering(self._results)),
            Endpoint("GET", "/api/user/info", Operation.LOOKUP, self._answering(self._info)),
        ]

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key."""
        return self._refusal(_Refused("token verification failed", code=STALE_TOKEN))

    def reset(self) -> None:
        """Forget messages; tokens stay."""
        self.exchange.reset()
        self.answered.clear()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id), "answered": dict(self.answered)}

    def forget_tokens(self) -> None:
        """Take no token any more that was given so far."""
        self._tokens.clear()

    # -- calls ---------------------------------------------------------------------------------------------------

    def _token(self, request: Request) -> Reply:
        if request.headers.get("authorization") != _basic(self.sms_id, self._api_key):
            return Reply.json({"code": False, "message": "인증 정보가 올바르지 않습니다."}, 401)
        if _form(request) != {"grant_type": "client_credentials"}:
            return Reply.json({"code": False, "message": "grant_type"}, 400)
        token, lives = (
            f"sandbox.{self.exchange.number()}.token",
            int(self.context.option("token_seconds", _TOKEN_LIVES)),
        )
        self._tokens[token] = self.context.world_now()
        return Reply.json(
            {"access_token": token, "refresh_token": f"{token}.r", "expires_in": lives, "token_type": "bearer"}
        )

    def _sms(self, request: Request) -> object:
        return self._send(request, Channel.SMS)

    def _lms(self, request: Request) -> object:
        return self._send(request, Channel.LMS)

    def _send(self, request: Request, channel: Channel) -> object:
        form = _form(request)
        if missing := _REQUIRED - form.keys():
            raise _Refused(min(missing))
        if extra := form.keys() - _REQUIRED - ({"subject"} if channel is Channel.LMS else set()):
            raise _Refused(min(extra))  # reqdate and the like: bongsu sends none
        phone, text = form["phone"], form["message"]
        if not phone.isdigit() or not form["callback"].isdigit():
            raise _Refused("phone")
        if uncarried(text) or byte_length(text) > _BYTES[channel]:
            raise _Refused("message")
        if self._left <= 0:
            raise _Refused("sms_count")
        if (seconds := self.exchange.wait_for_room(1)) is not None:
            raise _Busy(seconds)
        if (code := self.exchange.refusal(phone, channel)) is not None:
            raise _Refused(code)
        number = 14_000_000 + self.exchange.number()
        profile = self.context.sandbox
        known = profile.accept_any_sender or any(form["callback"] in account.senders for account in profile.accounts)
        taken = Taken(
            id=str(number),
            to=phone,
            channel=channel,
            key=form["refkey"],
            certain=None if known else "sender_number_unregistered",
        )
        before, self._left = self._left, self._left - 1
        self.exchange.send([taken])
        quantities = {"BEFORE_SMS_QTY": str(before), "AFTER_SMS_QTY": str(self._left)}
        return {"code": "200", "message": "Success", "data": {**quantities, "INSERT_ID": number}}

    def _results(self, request: Request) -> object:
        now = self.exchange.now()
        shown = []
        for message in self.exchange.found(self.exchange.by_key.get(request.query.get("refkey", ""), [])):
            code = message.code_seen(now)
            if code is not None or self.context.option("shows_pending", default=True):
                words = {"SUCC": "전송 성공", "FAIL": "전송 실패"}.get(code or "", "")
                shown.append({"SMS_REFKEY": message.key, "CODE": code or "", "MESG": words, "PHONE": message.to})
        return {"code": "200", "message": "Success", "data": shown}

    def _info(self, _: Request) -> object:
        return {"code": "200", "message": "Success", "data": {"sms_count": str(self._left)}}

    # -- what they share -----------------------------------------------------------------------------------------

    def _answering(self, answer: Callable[[Request], object]) -> Callable[[Request], Reply]:
        def reply(request: Request) -> Reply:
            try:
                self._authorize(request)
                said = answer(request)
            except _Refused as refused:
                return self._refusal(refused)
            except _Busy as busy:
                self.answered["429"] += 1
                return Reply.json({"code": False, "message": "limit"}, 429, Retry_After=f"{busy.seconds:.3f}")
            self.answered["200"] += 1
            return Reply.json(said)

        return reply

    def _refusal(self, refused: _Refused) -> Reply:
        self.answered[str(refused.code).lower()] += 1
        return Reply.json({"code": refused.code, "message": refused.words, "code_detail": refused.words})

    def _authorize(self, request: Request) -> None:
        lives = float(self.context.option("token_seconds", _TOKEN_LIVES))
        for token, since in self._tokens.items():
            if request.headers.get("authorization") == _basic(self.sms_id, token):
                if (self.context.world_now() - since).total_seconds() < lives:
                    return
                break
        raise _Refused("token verification failed", code=STALE_TOKEN)


class _Busy(Exception):
    """Over the limit. What Gabia says then is not known; this is HTTP's own word."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def _form(request: Request) -> dict[str, str]:
    """Return the fields; nothing for a body that is not what it says."""
    if request.headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
        return {}
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        return {}
    return dict(pairs) if len(dict(pairs)) == len(pairs) else {}


def _basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


def build(context: Context) -> Gabia:
    """Return Gabia. Raises ``ValueError`` for an option that it does not know."""
    return Gabia(context)


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return the credentials that an adapter needs here: it may know which way the log is."""
    return {
        "sms_id": str(context_options.get("sms_id", DEFAULT_SMS_ID)),
        "api_key": str(context_options.get("api_key", DEFAULT_API_KEY)),
        "log_shows_pending": "yes" if context_options.get("shows_pending", True) else "no",
    }
