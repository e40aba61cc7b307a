"""Bizgo as one of the sandbox's dealers.

Options: ``api_key``, ``webhook_secret``, ``sender_keys``, ``senders``; ``reports`` (``webhook`` or ``polling``, which
the key is set to); ``a301`` (``recipient``: HTTP 200 and a code for each, or ``request``: HTTP 400), both of which
were seen of Bizgo; ``signature`` (``hex`` or ``base64``); ``lookups_per_second`` (of all calls but sends, 0: no limit).

Bizgo publishes no code of a failed report. Those here are made up, and an adapter must not know them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.bizgo import rules
from bongsu.sandbox.bizgo.center import Center, ok, refused
from bongsu.sandbox.bizgo.rules import Refused
from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.meters import SlidingWindow
from bongsu.sandbox.profile import DEFAULT_SENDER, DEFAULT_WEBHOOK_SECRET, BadProfile, Operation
from bongsu.sandbox.webhooks import Event, Webhooks
from shared.clock import SEOUL
from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

DEFAULT_API_KEY = "sandbox-bizgo-key"
DEFAULT_SENDER_KEY = "b1290000000000000000000000000000000000b1"
_DEFAULTS: dict[str, Any] = {
    "api_key": DEFAULT_API_KEY,
    "webhook_secret": DEFAULT_WEBHOOK_SECRET,
    "reports": "webhook",
    "sender_keys": [DEFAULT_SENDER_KEY],
    "senders": [DEFAULT_SENDER],
    "a301": "recipient",
    "signature": "hex",
    "lookups_per_second": 5,
}

_PREFIX = "/api/comm/v1"
_REPORTS_AT_ONCE = 100
_HISTORY_AT_ONCE = 1000
_SERVICE = {
    Channel.SMS: ("SMS", "SM"),
    Channel.LMS: ("MMS", "LM"),
    Channel.MMS: ("MMS", "MM"),
    Channel.ALIMTALK: ("ALIMTALK", "AT"),
    Channel.FRIENDTALK: ("BRANDMESSAGE", "FT"),
}
_CODES = codes_by_reason(
    {
        None: {
            "invalid_phone": "A306",
            "invalid_request": "A300",
            "invalid_attachment": "A217",
            "content_too_long": "A328",
            "button_mismatch": "A503",
            "template_not_found": "A505",
            "template_not_approved": "A505",
            "sender_profile_invalid": "A502",
            "sender_number_unregistered": "A327",
            "sender_number_blocked": "A323",
            "spam_blocked": "A322",
            "opted_out": "A324",
            "quota_exceeded": "A320",
            "not_permitted": "A325",
            "account_suspended": "A110",
            "auth_failed": "A100",
            "rate_limited": "A020",
            "dealer_error": "A999",
            "delivery_uncertain": "ME09",
            # made up, as every other
            "not_kakao_user": "33019",
            "inactive_kakao_user": "33018",
            "blocked_channel": "33020",
            "template_mismatch": "33016",
            "handset_unreachable": "32003",
            "no_subscriber": "33001",
            "carrier_error": "33011",
            "unknown": "39999",
        }
    }
)


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return what an adapter needs to call an installation with these options."""
    return {name: str(context_options.get(name, _DEFAULTS[name])) for name in ("api_key", "webhook_secret", "reports")}


@dataclass(slots=True)
class _Remembered:
    """An idempotency key, until when it counts by the rules' clock, and who was taken under it."""

    until: float
    taken: set[str] = field(default_factory=set)


class BizgoDialect:
    """``Dialect`` of the OMNI interface."""

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _DEFAULTS.keys()):
            raise BadProfile(
                f"dealers.{context.name}.options: {unknown[0]} is not one of {', '.join(sorted(_DEFAULTS))}"
            )
        config = context.profile.webhook or context.sandbox.webhook
        self._context = context
        self._polled = self._option("reports") == "polling"
        self._secret: str = context.option("webhook_secret", config.secret.get_secret_value())
        self.webhooks = (
            None
            if self._polled
            else Webhooks(
                config.model_copy(
                    update={
                        "batch": 1,
                        "linger_seconds": 0.0,
                        "retry_after_seconds": config.retry_after_seconds[:3],
                    }
                ),
                self._webhook,
                self._signed,
                _answered,
            )
        )
        self.exchange = Exchange(context, delivered=lambda _channel: "10000", code=_CODES, webhooks=self.webhooks)
        self.center = Center(context, frozenset(self._option("sender_keys")))
        self._reset()

    def _option(self, name: str) -> Any:  # noqa: ANN401 - YAML
        return self._context.option(name, _DEFAULTS[name])

    def _reset(self) -> None:
        self._keys: dict[str, _Remembered] = {}
        self._groups: defaultdict[str, list[Taken]] = defaultdict(list)
        self._unreported: dict[str, Taken] = {}
        self._batch: tuple[str, list[Taken]] | None = None
        self._others = SlidingWindow(1.0)

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        look = Operation.LOOKUP
        inquiry = "/message/inquiry/{by}/{key}"
        others = [
            ("GET", inquiry, look, self._inquire),
            ("GET", "/message/history", look, self._history),
            ("GET", "/report/inquiry/{key}", look, self._inquire_report),
            ("GET", "/report/polling", look, self._poll),
            ("DELETE", "/report/polling/{id}", Operation.REMOVE, self._acknowledge),
            *self.center.endpoints(),
        ]
        return [
            Endpoint("POST", f"{_PREFIX}/send/omni", Operation.SEND, self._admitting(self._send)),
            *(
                Endpoint(method, _PREFIX + path, operation, self._admitting(self._paced(answer)))
                for method, path, operation, answer in others
            ),
        ]

    def refuse_key(self) -> Reply:
        """Return the gateway's answer to an unknown key, or to one with a scheme before it."""
        return Reply.json({"common": {"authCode": "A401", "authResult": "Unauthorized", "infobankTrId": ""}}, 401)

    def reset(self) -> None:
        """Forget messages; keep templates."""
        self.exchange.reset()
        self._reset()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {
            "messages": len(self.exchange.by_id),
            "templates": len(self.center.templates),
            "unreported": len(self._unreported),
        }

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Do as an inspector: ``approved``, ``rejected``, ``dormant``, ...; raises ``KeyError`` for an unknown code."""
        self.center.inspect(code, status, comment)

    # -- calls ---------------------------------------------------------------------------------------------------

    def _admitting(self, answer: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
        def admitted(request: Request) -> Reply:
            if request.headers.get("authorization") != self._option("api_key"):
                return self.refuse_key()
            try:
                return answer(request)
            except Refused as refusal:
                return refused(refusal.code)

        return admitted

    def _paced(self, answer: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
        """Count a call other than a send."""

        def paced(request: Request) -> Reply:
            limit, now = int(self._option("lookups_per_second")), time.monotonic()
            if limit and self._others.at(now) >= limit:
                return refused("A020", 429, Retry_After=str(math.ceil(self._others.room_after(now, 1, limit))))
            self._others.add(now, 1)
            return answer(request)

        return paced

    def _send(self, request: Request) -> Reply:
        send = rules.read(request.body)
        message = rules.judge(send)
        if (wait := self.exchange.wait_for_room(len(send.destinations))) is not None:
            return refused("A020", 429, Retry_After=f"{wait:.3f}")
        self._judge_account(message)
        remembered = self._remembered(send)
        if self._option("a301") == "request" and all(to.to in remembered.taken for to in send.destinations):
            raise Refused("A301")
        request_id = f"{datetime.now(SEOUL):%Y%m%d%H%M%S}000POM{self.exchange.number():010}"
        leaving, entries = [], []
        for place, to in enumerate(send.destinations):
            taken = Taken(
                id=f"{request_id}{place:03}",
                to=to.to or "",
                channel=rules.channel_of(message),
                key=to.ref if to.ref is not None else send.ref,
                group=request_id,
            )
            code = self._judge(taken, remembered)
            entries.append({"to": taken.to, "msgKey": taken.id, "code": code, "result": _result(code)})
            if code == "A000":
                remembered.taken.add(taken.to)
                leaving.append(taken)
        self.exchange.send(leaving)
        if self._polled:
            self._unreported.update((taken.id, taken) for taken in leaving)
        if send.group_key is not None:
            self._groups[send.group_key].extend(leaving)
        echoed = {} if send.ref is None else {"ref": send.ref}
        return ok({"destinations": entries}, **echoed)

    def _judge_account(self, message: rules.Sms | rules.Mms | rules.AlimTalk | rules.Brand) -> None:
        """Refuse what this account may not send."""
        match message:
            case rules.Sms():
                sandbox = self._context.sandbox
                if not sandbox.accept_any_sender and message.sender not in self._option("senders"):
                    raise Refused("A327")
                if isinstance(message, rules.Mms) and not set(message.fileKey or ()) <= self.center.files:
                    raise Refused("A217")
            case rules.AlimTalk() | rules.Brand():
                if not self.center.knows_sender(message.sender_key):
                    raise Refused("A502")
                if isinstance(message, rules.AlimTalk) and not self.center.may_send(
                    message.sender_key, message.template_code
                ):
                    raise Refused("A505")

    def _remembered(self, send: rules.Send) -> _Remembered:
        """Return who was taken under this request's key, which begins to count with its first request."""
        now = self.exchange.now()
        if send.idempotency_key is None or send.idempotency_ttl is None:
            return _Remembered(now)
        known = self._keys.get(send.idempotency_key)
        if known is None or known.until <= now:
            known = self._keys[send.idempotency_key] = _Remembered(now + send.idempotency_ttl)
        return known

    def _judge(self, taken: Taken, remembered: _Remembered) -> str:
        if taken.to in remembered.taken:
            return "A301"
        if not re.fullmatch(r"01\d{8,9}", taken.to):
            return "A306"
        return self.exchange.refusal(taken.to, taken.channel) or "A000"

    # -- what became of it ---------------------------------------------------------------------------------------

    def _inquire(self, request: Request) -> Reply:
        by, key = request.path["by"], request.path["key"]
        if by not in {"msgKey", "requestId"}:
            return Reply.json({"common": {"authCode": "A404", "authResult": "Not Found", "infobankTrId": ""}}, 404)
        known = self.exchange.by_group.get(key, []) if by == "requestId" else self._known(key)
        return self._messages(known)

    def _inquire_report(self, request: Request) -> Reply:
        seen = [taken for taken in self.exchange.found(self._known(request.path["key"])) if self._code(taken)]
        if not seen:
            raise Refused("A820")
        return ok({"report": [self._report(taken, self._code(taken)) for taken in seen]})

    def _history(self, request: Request) -> Reply:
        try:
            since = datetime.fromisoformat(request.query.get("requestTime", "")).replace(tzinfo=SEOUL).timestamp()
        except ValueError as error:
            raise Refused("A300") from error
        group_key = request.query.get("groupKey")
        taken = self._groups.get(group_key, []) if group_key is not None else self.exchange.by_id.values()
        known = [each for each in taken if each.sent is not None and each.sent.world_at >= since]
        limit = int(request.query.get("limit", _HISTORY_AT_ONCE))
        if not 1 <= limit <= _HISTORY_AT_ONCE:
            raise Refused("A300")
        messages = [self._status(each) for each in self.exchange.found(known)[:limit]]
        return ok({"messages": messages, "hasNext": False})

    def _known(self, key: str) -> list[Taken]:
        taken = self.exchange.by_id.get(key)
        return [] if taken is None else [taken]

    def _messages(self, known: Sequence[Taken]) -> Reply:
        found = self.exchange.found(known)
        if not found:
            raise Refused("A820")
        return ok({"messages": [self._status(taken) for taken in found]})

    def _code(self, taken: Taken) -> str:
        return taken.code_seen(self.exchange.now()) or ""

    def _status(self, taken: Taken) -> dict[str, Any]:
        code = self._code(taken)
        accepted = {
            "to": taken.to,
            "fallback": "N",
            "responseCode": "A000",
            "responseText": "Success",
            "requestTime": _time(taken.taken_at),
        }
        return {**self._named(taken), **accepted, **(self._report(taken, code) if code else {})}

    def _named(self, taken: Taken) -> dict[str, Any]:
        service, kind = _SERVICE[taken.channel]
        return {
            "msgKey": taken.id,
            "serviceType": service,
            "msgType": kind,
            **({} if taken.key is None else {"ref": taken.key}),
        }

    def _report(self, taken: Taken, code: str, at: float | None = None) -> dict[str, Any]:
        ended = taken.sent.final_at if taken.sent is not None else taken.taken_at
        return {
            **self._named(taken),
            "sendTime": _time(taken.taken_at),
            "reportTime": _time(ended if at is None else at),
            "reportType": "R",
            "reportCode": code,
            "reportText": "Success" if code == "10000" else "Failed",
            **({"carrier": "10001"} if taken.channel.is_text else {}),
        }

    # -- reports -------------------------------------------------------------------------------------------------

    def _poll(self, _request: Request) -> Reply:
        """Give what was not reported yet; the same again until it is acknowledged."""
        if not self._polled:
            raise Refused("A801")
        if self._batch is None:
            seen = _some((taken for taken in self._unreported.values() if self._code(taken)), _REPORTS_AT_ONCE)
            if not seen:
                return ok({"reportId": "", "report": None})
            self._batch = (f"RPT{self.exchange.number():010}", seen)
        report_id, batch = self._batch
        return ok({"reportId": report_id, "report": [self._report(taken, self._code(taken)) for taken in batch]})

    def _acknowledge(self, request: Request) -> Reply:
        if not self._polled:
            raise Refused("A801")
        if self._batch is None or self._batch[0] != request.path["id"]:
            return refused("A802", 403)
        for taken in self._batch[1]:
            self._unreported.pop(taken.id, None)
        self._batch = None
        return ok()

    def _webhook(self, events: Sequence[Event]) -> bytes:
        [event] = events
        return msgspec.json.encode(self._report(event.subject, event.code, event.at))

    def _signed(self, secret: str) -> dict[str, str]:  # noqa: ARG002 - the account's own may be an option
        stamp = str(int(self._context.world_now().timestamp() * 1000))
        digest = hmac.new(self._secret.encode(), stamp.encode(), hashlib.sha256).digest()
        signature = digest.hex() if self._option("signature") == "hex" else base64.b64encode(digest).decode()
        return {"Content-Type": "application/json", "X-IB-Timestamp": stamp, "X-IB-Signature": signature}


def _answered(events: Sequence[Event], body: bytes) -> bool:
    """Whether a report's answer names its message."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return [answer.get("msgKey")] == [event.subject.id for event in events]


def _some(taken: Iterable[Taken], most: int) -> list[Taken]:
    return [each for each, _ in zip(taken, range(most), strict=False)]


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, SEOUL).isoformat(timespec="milliseconds")


def _result(code: str) -> str:
    return "Success" if code == "A000" else "Failed"


def build(context: Context) -> BizgoDialect:
    """Return Bizgo."""
    return BizgoDialect(context)
