"""Luna Soft as one of the sandbox's dealers.

Options: ``agent_key``, ``sender_keys``, ``userid`` and ``api_key`` of the legacy route, and ``judges_late``: whether
Kakao's judgement on a queued message, and on a key that stands twice, comes by webhook and not in the answer. Luna's
documents leave that open.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.luna import rules
from bongsu.sandbox.luna.center import Center
from bongsu.sandbox.profile import BadProfile, Operation
from bongsu.sandbox.webhooks import Event, Webhooks
from shared.clock import SEOUL
from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_AGENT_KEY = "sandbox-agent-key"
DEFAULT_SENDER_KEY = "2662e99eb7a1f21abb3955278e9955f5a9a99b62"
DEFAULT_USERID = "sandbox"
DEFAULT_API_KEY = "sandbox-legacy-key"
_OPTIONS = frozenset({"agent_key", "sender_keys", "userid", "api_key", "judges_late"})

CHANNELS = {"alimtalk": Channel.ALIMTALK, "friendtalk": Channel.FRIENDTALK}

_CODES = codes_by_reason(
    {
        None: {
            "not_kakao_user": "3019",
            "inactive_kakao_user": "3018",
            "blocked_channel": "3020",
            "unsupported_client": "3021",
            "not_friend": "3018",
            "invalid_phone": "3008",
            "invalid_recipient": "1015",
            "template_not_found": "3015",
            "template_not_approved": "3015",
            "template_mismatch": "3016",
            "button_mismatch": "3027",
            "variable_too_long": "3025",
            "content_too_long": "3014",
            "invalid_request": "1030",
            "invalid_attachment": "3024",
            "sender_profile_invalid": "1003",
            "sender_profile_blocked": "1021",
            "auth_failed": "LS0002",
            "kakao_unavailable": "3006",
            "kakao_config": "1011",
            "dealer_error": "LS9999",
            "delivery_uncertain": "3005",
            "duplicate": "3012",
            "night_ban": "3022",
            "test_only": "2003",
            "handset_unreachable": "3018",
            "unknown": "3999",
        }
    }
)


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return what an adapter needs to call an installation with these options."""
    return {"agent_key": str(context_options.get("agent_key", DEFAULT_AGENT_KEY))}


class LunaDialect:
    """``Dialect`` of the hub, the center and the legacy route."""

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _OPTIONS):
            raise BadProfile(
                f"dealers.{context.name}.options: {unknown[0]} is not one of {', '.join(sorted(_OPTIONS))}"
            )
        config = context.profile.webhook or context.sandbox.webhook
        self.webhooks = Webhooks(
            config.model_copy(update={"batch": 1, "linger_seconds": 0.0}),
            _receipt,
            lambda _secret: {"Content-Type": "application/json"},
        )
        self.exchange = Exchange(context, delivered=lambda _channel: "0000", code=_CODES, webhooks=self.webhooks)
        self.legacy = Exchange(context, delivered=lambda _channel: "0", code=_CODES)
        sender_keys = context.option("sender_keys", [DEFAULT_SENDER_KEY])
        self.center = Center(context, frozenset(sender_keys), self._admit)
        self._context = context
        self._agent_key: str = context.option("agent_key", DEFAULT_AGENT_KEY)
        self._judges_late: bool = context.option("judges_late", default=False)

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        sends = [
            Endpoint("POST", f"/api/v3/{kind}/send/async", Operation.SEND, self._sending(kind)) for kind in CHANNELS
        ]
        legacy = Endpoint("POST", "/api/AlimTalk/message/send", Operation.SEND, self._send_legacy)
        return [*sends, legacy, *self.center.endpoints()]

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key; its status is not documented."""
        return Reply.json({"code": "LS0002", "message": "유효하지 않은 AgentKey"})

    def reset(self) -> None:
        """Forget messages; keep templates."""
        self.exchange.reset()
        self.legacy.reset()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id), "templates": len(self.center.templates)}

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Do as an inspector: ``approved``, ``rejected``, ``dormant``, ...; raises ``KeyError`` for an unknown code."""
        self.center.inspect(code, status, comment)

    # -- the hub -------------------------------------------------------------------------------------------------

    def _admit(self, request: Request) -> Reply | None:
        return None if request.headers.get("agentkey") == self._agent_key else self.refuse_key()

    def _sending(self, kind: str) -> Callable[[Request], Reply]:
        def answer(request: Request) -> Reply:
            if (refusal := self._admit(request)) is not None:
                return refusal
            if (wait := self.exchange.wait_for_room(1)) is not None:
                # Luna documents no such answer ("timeouts" above its limit); this is what a gateway in front would say
                return Reply.json({"message": "too many requests"}, 429, Retry_After=f"{wait:.3f}")
            message = _object(request.body)
            if message is None:
                return Reply.json({"code": "LS0001", "message": "잘못된 요청 JSON 또는 Querystring"})
            return self._take(kind, message)

        return answer

    def _take(self, kind: str, message: dict[str, Any]) -> Reply:
        if (code := rules.malformed(kind, message)) is not None:
            return _said(message, code)
        key = message["message_key"]
        taken = Taken(
            id=f"L{self.exchange.number():012}",
            to="0" + message["recipient_number"].removeprefix("82").removeprefix("0"),
            channel=CHANNELS[kind],
            key=key,
            request={"message_type": message["message_type"]},
        )
        code = self._judge(kind, message, taken)
        if code is None:
            self.exchange.send([taken])
        elif self._judges_late:
            self.webhooks.push(Event(self.webhooks.new_id(), taken, code, self.exchange.now()))
        else:
            return _said(message, code)
        return Reply.json({"code": "LS0000", "message_key": key})

    def _judge(self, kind: str, message: dict[str, Any], taken: Taken) -> str | None:
        """Return the code by which it is refused. A key is remembered once its message has gone out."""
        if self.exchange.by_key.get(message["message_key"]):
            return "3012"
        if not self.center.knows_sender(message["sender_key"]):
            return "1003"
        if (code := rules.refusal(message)) is not None:
            return code
        if kind == "alimtalk":
            template = self.center.templates.get((message["sender_key"], message["template_code"]))
            if template is None and not self._context.sandbox.accept_any_template:
                return "3015"
            if template is not None:
                if (code := rules.mismatch(message, template)) is not None:
                    return code
                template["status"] = "A"
        return self.exchange.refusal(taken.to, taken.channel)

    # -- the legacy route of the SDK -----------------------------------------------------------------------------

    def _send_legacy(self, request: Request) -> Reply:
        """Answer as jupiter does, as far as public code shows it.

        A message of a template with buttons and without ``btn_url`` is accepted and never sent.
        """
        body = _object(request.body)
        if body is None or not isinstance(body.get("messages"), list):
            return Reply.json({"code": 1, "msg": "bad request"})
        owner = self._context.option("userid", DEFAULT_USERID), self._context.option("api_key", DEFAULT_API_KEY)
        if (body.get("userid"), body.get("api_key")) != owner:
            return Reply.json({"code": 1, "msg": "unknown user"})
        known = [t for (_, code), t in self.center.templates.items() if code == str(body.get("template_id"))]
        results, leaving = [], []
        for message in body["messages"]:
            to = str(message.get("tel_num", ""))
            complete = bool(to and message.get("msg_content"))
            results.append({"no": message.get("no"), "result_code": "0" if complete else "1", "result_msg": ""})
            dropped = not message.get("btn_url") and any(template.get("buttons") for template in known)
            if complete and not dropped:
                leaving.append(Taken(f"J{self.legacy.number():012}", to, Channel.ALIMTALK, None))
        self.legacy.send(leaving)
        return Reply.json({"code": 0, "msg": "", "messages": results})


def _said(message: Mapping[str, Any], code: str) -> Reply:
    return Reply.json({"code": code, "message_key": message.get("message_key"), "message": f"refused: {code}"})


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _receipt(events: Sequence[Event]) -> bytes:
    """Return a webhook's body: one report, its time in Korea and without an offset."""
    [event] = events
    when = datetime.fromtimestamp(event.at, SEOUL).strftime("%Y-%m-%d %H:%M:%S")
    report = {
        "code": event.code,
        "message_key": event.subject.key,
        "message_type": event.subject.request["message_type"],
        "response_dt": when,
    }
    if event.code != "0000":
        report["message"] = "refused"
    return msgspec.json.encode(report)


def build(context: Context) -> LunaDialect:
    """Return Luna."""
    return LunaDialect(context)
