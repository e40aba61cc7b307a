"""Naver Cloud SENS as one of the sandbox's dealers: signed calls, a hundred messages a request, results by id only.

Nothing is pushed, and no call knows a key of the caller's: a message is told apart by its number alone. As strict as
the documents in what a request must have; how SENS answers one bad message among good ones is not documented, and
here the request is refused whole, except for what chance refuses (``registration`` of the profile), which the answer
says per recipient. A template that is not approved, or does not fit, is taken and fails.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.profile import BadProfile, Operation
from shared.contracts.states import Channel
from shared.dealers.codes import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_ACCESS_KEY = "sandboxAccessKey0000"
DEFAULT_SECRET_KEY = "sandboxSecretKey00000000000000000000000"  # noqa: S105 - opens nothing but the sandbox
DEFAULT_SERVICE_ID = "ncp:kkobizmsg:kr:100000000001:sandbox"
DEFAULT_SMS_SERVICE_ID = "ncp:sms:kr:100000000002:sandbox"
DEFAULT_CHANNEL = "@sandbox"
DEFAULT_TEMPLATE = "WELCOME"
_DEFAULTS = {
    "access_key": DEFAULT_ACCESS_KEY,
    "secret_key": DEFAULT_SECRET_KEY,
    "service_id": DEFAULT_SERVICE_ID,
    "sms_service_id": DEFAULT_SMS_SERVICE_ID,
}
_OPTIONS = frozenset({*_DEFAULTS, "channel"})

MAX_MESSAGES = 100
MAX_FILE_BYTES = 300 * 1024
CLOCK_MILLISECONDS = 5 * 60 * 1000
FILE_SECONDS = 6 * 24 * 3600
_BUTTONS = {"DS", "WL", "AL", "BK", "MD", "AC"}
_BRAND_BUTTONS = {"WL", "AL", "BF", "BK", "MD", "BC", "BT"}
_TEXT_BYTES = {"SMS": 90, "LMS": 2000, "MMS": 2000}
_CHANNELS = {"SMS": Channel.SMS, "LMS": Channel.LMS, "MMS": Channel.MMS}
_TEXTS = frozenset(_CHANNELS.values())

_KAKAO_CODES = dict.fromkeys(REASONS, "3000") | {
    "not_kakao_user": "3019",
    "inactive_kakao_user": "3018",
    "blocked_channel": "3020",
    "unsupported_client": "3021",
    "delivery_uncertain": "3005",
    "invalid_phone": "3008",
    "template_not_found": "3015",
    "template_not_approved": "4133",
    "template_mismatch": "3016",
    "button_mismatch": "3027",
    "content_too_long": "3014",
    "variable_too_long": "3025",
    "sender_profile_invalid": "1003",
    "sender_profile_blocked": "1021",
    "kakao_config": "1011",
    "kakao_unavailable": "9998",
    "night_ban": "3022",
    "invalid_attachment": "3024",
    "quota_exceeded": "B004",
}
_TEXT_CODES = dict.fromkeys(REASONS, "3014") | {
    "handset_unreachable": "2003",
    "no_subscriber": "3001",
    "invalid_phone": "3003",
    "handset_unsupported": "3010",
    "spam_blocked": "3012",
    "carrier_error": "3015",
    "invalid_attachment": "3016",
    "sender_number_blocked": "3018",
}


class _Refused(Exception):
    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.reply = Reply.json({"status": status, "error": error, "message": message}, status)


def _gateway_error(status: int, code: str, message: str) -> Reply:
    return Reply.json({"error": {"errorCode": code, "message": message, "details": ""}}, status)


_INSPECTED = {"registered": "REGISTER", "inspecting": "INSPECT", "approved": "COMPLETE", "rejected": "REJECT"}
_STATES = {"stopped": "STOPPED", "dormant": "DORMANT", "blocked": "BLOCKED"}


@dataclass(slots=True)
class Template:
    """A template as SENS has it; ``content`` None fits any text."""

    code: str
    channel_id: str
    content: str | None = None
    inspection: str = "COMPLETE"
    status: str = "ACTIVE"
    comments: list[dict[str, str]] = field(default_factory=list)

    def fits(self, text: str) -> bool:
        """Say whether ``text`` is its content with variables put in."""
        if self.content is None:
            return True
        fixed = re.split(r"#\{[^{}]+\}", self.content)
        return re.fullmatch(".*".join(map(re.escape, fixed)), text, re.DOTALL) is not None


class SensDialect:
    """``Dialect`` of SENS."""

    webhooks = None

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _OPTIONS):
            raise BadProfile(
                f"dealers.{context.name}.options.{unknown[0]}: is not one of {', '.join(sorted(_OPTIONS))}"
            )
        self.context = context
        self.channel_id: str = context.option("channel", DEFAULT_CHANNEL)
        self.templates: dict[str, Template] = {}
        self.files: dict[str, tuple[str, int, float]] = {}
        """by id: name, size, and until when SENS keeps it, by the rules' clock"""
        self._senders = frozenset(sender for account in context.sandbox.accounts for sender in account.senders)
        code = codes_by_reason({None: _KAKAO_CODES, **dict.fromkeys(_TEXTS, _TEXT_CODES)})
        self.exchange = Exchange(
            context, delivered=lambda channel: "0" if channel in _TEXTS else "0000", code=code, webhooks=None
        )
        self._keys = {name: str(context.option(name, default)) for name, default in _DEFAULTS.items()}
        self.add_template(DEFAULT_TEMPLATE)

    # -- what tests and the judge do -----------------------------------------------------------------------------

    def add_template(self, code: str, content: str | None = None, inspection: str = "COMPLETE") -> None:
        """Register a template of the one channel."""
        self.templates[code] = Template(code, self.channel_id, content, inspection)

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Let the inspector decide: ``status`` is REGISTER, INSPECT, COMPLETE or REJECT, or our word for it.

        Raises ``KeyError`` for an unknown template, and for a word that SENS has none for.
        """
        template = self.templates[code]
        if status in _STATES:
            template.status = _STATES[status]
            return
        status = status if status.isupper() else _INSPECTED[status]
        template.inspection, template.status = status, "ACTIVE"
        if comment:
            said = {"content": comment, "status": status, "createTime": _iso(self.exchange.now())}
            template.comments.append({"commentId": str(len(template.comments) + 1), **said})

    def reset(self) -> None:
        """Forget messages and files; keep templates."""
        self.exchange.reset()
        self.files.clear()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id), "requests": len(self.exchange.by_group), "files": len(self.files)}

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key."""
        return _gateway_error(401, "200", "Authentication Failed")

    # -- calls ---------------------------------------------------------------------------------------------------

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        kakao, brand, text = (
            "/alimtalk/v2/services/{service}",
            "/brandmessage/v2/services/{service}",
            "/sms/v2/services/{service}",
        )
        ours = [
            ("POST", kakao + "/messages", Operation.SEND, self._send_alimtalk),
            ("POST", brand + "/messages", Operation.SEND, self._send_brand),
            ("POST", text + "/messages", Operation.SEND, self._send_texts),
            ("POST", text + "/files", Operation.ADD, self._take_file),
            ("GET", kakao + "/channels", Operation.LOOKUP, self._show_channels),
            ("GET", kakao + "/templates", Operation.LOOKUP, self._show_templates),
        ]
        for path, show in ((kakao, _kakao_view), (brand, _kakao_view), (text, _text_view)):
            ours.append(("GET", path + "/messages", Operation.LOOKUP, self._listing(show)))
            ours.append(("GET", path + "/messages/{message}", Operation.LOOKUP, self._showing(show)))
        return [Endpoint(method, path, kind, self._admitted(answer)) for method, path, kind, answer in ours]

    def _admitted(self, answer: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
        def admitted(request: Request) -> Reply:
            if not self._is_signed(request):
                self.context.truth.counted["answers_401"] += 1
                return self.refuse_key()
            service = self._keys["sms_service_id" if request.target.startswith("/sms/") else "service_id"]
            if request.path["service"] != service:
                return Reply.json({"status": 403, "error": "Forbidden", "message": "no such service"}, 403)
            try:
                return answer(request)
            except _Refused as refused:
                return refused.reply

        return admitted

    def _is_signed(self, request: Request) -> bool:
        """Say whether access key, timestamp (within five minutes by this dealer's clock) and signature are right."""
        headers = request.headers
        timestamp = headers.get("x-ncp-apigw-timestamp", "")
        access_key = headers.get("x-ncp-iam-access-key", "")
        if access_key != self._keys["access_key"] or not re.fullmatch(r"\d{1,15}", timestamp):
            return False
        if abs(int(timestamp) - self.context.world_now().timestamp() * 1000) > CLOCK_MILLISECONDS:
            return False
        signed = f"{request.method} {request.target}\n{timestamp}\n{access_key}".encode()
        right = base64.b64encode(hmac.new(self._keys["secret_key"].encode(), signed, hashlib.sha256).digest())
        return hmac.compare_digest(headers.get("x-ncp-apigw-signature-v2", "").encode(), right)

    # -- sending -------------------------------------------------------------------------------------------------

    def _send_alimtalk(self, request: Request) -> Reply:
        body = _body(request)
        self._channel(body)
        code = _text(body, "templateCode")
        template = self.templates.get(code) if not self.context.sandbox.accept_any_template else None
        messages = _messages(body)
        for message in messages:
            _within(_text(message, "content"), 1000)
            _buttons(message, _BUTTONS)
            _item_list(message.get("item"))
            _no_failover(message)
        return self._take(Channel.ALIMTALK, messages, lambda message: self._end_of(template, code, message))

    def _end_of(self, template: Template | None, code: str, message: Mapping[str, Any]) -> str | None:
        """Return how a message ends for sure, by its template."""
        if self.context.sandbox.accept_any_template:
            return None
        if template is None or template.code != code:
            return "template_not_found"
        if template.inspection != "COMPLETE" or template.status != "ACTIVE":
            return "template_not_approved"
        return None if template.fits(message["content"]) else "template_mismatch"

    def _send_brand(self, request: Request) -> Reply:
        body = _body(request)
        self._channel(body)
        kind = _text(body, "messageType")
        if kind not in {"TEXT", "IMAGE", "WIDE_IMAGE"}:
            raise _Refused(400, "Bad Request", "messageType is not one that this sandbox knows")
        if body.get("targeting", "I") not in {"M", "N", "I"}:
            raise _Refused(400, "Bad Request", "targeting is M, N or I")
        messages = _messages(body)
        for message in messages:
            _within(_text(message, "content"), 76 if kind == "WIDE_IMAGE" else 1300)
            if kind != "TEXT":
                image = message.get("image")
                _text(image if isinstance(image, dict) else {}, "imageId")
            _buttons(message, _BRAND_BUTTONS)
            _no_failover(message)
        return self._take(Channel.FRIENDTALK, messages, lambda _: None)

    def _channel(self, body: Mapping[str, Any]) -> None:
        if _text(body, "plusFriendId") != self.channel_id and not self.context.sandbox.accept_any_template:
            raise _Refused(400, "Bad Request", "no such plusFriendId")

    def _take(
        self, channel: Channel, messages: Sequence[Mapping[str, Any]], end_of: Callable[[Mapping[str, Any]], str | None]
    ) -> Reply:
        """Take messages to Kakao, but those that chance refuses; tell what became of each."""
        if self.exchange.wait_for_room(len(messages)) is not None:
            return _gateway_error(429, "410", "Throttle Limited")
        request_id, told, taken = self._request_id(), [], []
        for message in messages:
            message_id = self._message_id()
            refused = self.exchange.refusal(message["to"], channel)
            if refused is None:
                taken.append(Taken(message_id, message["to"], channel, None, request_id, certain=end_of(message)))
            name = "success" if refused is None else "fail"
            status = {"requestStatusCode": refused or "A000", "requestStatusName": name, "requestStatusDesc": name}
            echoed = {"countryCode": "82", "to": message["to"], "content": message.get("content", "")}
            told.append({"messageId": message_id, **echoed, **status, "useSmsFailover": False})
        self.exchange.send(taken)
        return Reply.json({**_accepted(request_id, self.exchange.now()), "messages": told}, 202)

    def _send_texts(self, request: Request) -> Reply:
        body = _body(request)
        kind = _text(body, "type").upper()
        if kind not in _CHANNELS:
            raise _Refused(400, "Bad Request", "type is SMS, LMS or MMS")
        if body.get("contentType", "COMM") not in {"COMM", "AD"}:
            raise _Refused(400, "Bad Request", "contentType is COMM or AD")
        sender = _text(body, "from")
        if sender not in self._senders and not self.context.sandbox.accept_any_sender:
            raise _Refused(400, "Bad Request", "from is not registered")
        default = _text(body, "content")
        messages = _messages(body)
        for message in messages:
            _carried(message.get("content", default), _TEXT_BYTES[kind])
            _carried(message.get("subject", body.get("subject", "")), 40)
        channel = _CHANNELS[kind]
        if kind == "MMS":
            self._files(body)
        if self.exchange.wait_for_room(len(messages)) is not None:
            return _gateway_error(429, "410", "Throttle Limited")
        request_id = self._request_id()
        self.exchange.send([Taken(self._message_id(), one["to"], channel, None, request_id) for one in messages])
        return Reply.json(_accepted(request_id, self.exchange.now()), 202)

    def _files(self, body: Mapping[str, Any]) -> None:
        files = body.get("files")
        if not isinstance(files, list) or not files:
            raise _Refused(400, "Bad Request", "files is missing: SENS would send an LMS")
        for file in files:
            known = self.files.get(file.get("fileId", "") if isinstance(file, dict) else "")
            if known is None or known[2] < self.exchange.now():
                raise _Refused(400, "Bad Request", "no such fileId")

    def _take_file(self, request: Request) -> Reply:
        body = _body(request)
        name = _text(body, "fileName")
        try:
            size = len(base64.b64decode(_text(body, "fileBody"), validate=True))
        except ValueError as error:
            raise _Refused(400, "Bad Request", "fileBody is not Base64") from error
        if not re.fullmatch(r".{1,36}\.jpe?g", name) or not 0 < size <= MAX_FILE_BYTES:
            raise _Refused(400, "Bad Request", "fileName or size of the file")
        now = self.exchange.now()
        same = (known for known, (its_name, its_size, _) in self.files.items() if (its_name, its_size) == (name, size))
        file_id = next(same, None) or f"file-{self.exchange.number():08d}"
        self.files[file_id] = (name, size, now + FILE_SECONDS)
        return Reply.json({"fileId": file_id, "createTime": _iso(now), "expireTime": _iso(now + FILE_SECONDS)})

    def _request_id(self) -> str:
        return f"RSSA-{int(self.exchange.now() * 1000)}-{self.exchange.number():06d}"

    def _message_id(self) -> str:
        digest = hashlib.sha256(f"{self.context.name}{self.exchange.number()}".encode()).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"

    # -- looking -------------------------------------------------------------------------------------------------

    def _listing(self, show: Callable[[Taken, str | None], dict[str, Any]]) -> Callable[[Request], Reply]:
        def listing(request: Request) -> Reply:
            request_id = request.query.get("requestId", "")
            if not request_id:
                raise _Refused(400, "Bad Request", "this sandbox lists by requestId only")
            size = int(request.query.get("pageSize", "20"))
            start = int(request.query.get("nextToken", "0"))
            found = self.exchange.found(self.exchange.by_group.get(request_id, []))
            if not found:
                return Reply(404)  # as was observed: an empty body
            now = self.exchange.now()
            page = [show(taken, taken.code_seen(now)) for taken in found[start : start + size]]
            more = {"nextToken": str(start + size)} if start + size < len(found) else {}
            told = {"requestId": request_id, "statusCode": "200", "statusName": "success", "messages": page}
            return Reply.json({**told, "pageSize": size, "hasMore": bool(more), **more})

        return listing

    def _showing(self, show: Callable[[Taken, str | None], dict[str, Any]]) -> Callable[[Request], Reply]:
        def showing(request: Request) -> Reply:
            found = self.exchange.found(
                [taken for taken in [self.exchange.by_id.get(request.path["message"])] if taken]
            )
            if not found:
                return Reply(404)
            view = show(found[0], found[0].code_seen(self.exchange.now()))
            if found[0].channel in _TEXTS:
                return Reply.json({"statusCode": "200", "statusName": "success", "messages": [view]})
            return Reply.json(view)

        return showing

    def _show_channels(self, _: Request) -> Reply:
        state = {"channelStatus": "ACTIVE", "useSmsFailover": False, "isBlock": False, "isDormant": False}
        shown = {"serviceId": self._keys["service_id"], "channelId": self.channel_id, "channelName": "sandbox"}
        return Reply.json([{**shown, **state}])

    def _show_templates(self, request: Request) -> Reply:
        if not (channel_id := request.query.get("channelId")):
            raise _Refused(400, "Bad Request", "channelId is missing")
        code = request.query.get("templateCode")
        shown: Iterable[Template] = [
            one for one in self.templates.values() if one.channel_id == channel_id and code in {None, one.code}
        ]
        start = int(request.query.get("pageIndex", "0")) * int(request.query.get("pageSize", "100"))
        page = list(shown)[start : start + int(request.query.get("pageSize", "100"))]
        return Reply.json([_template_view(template, whole=code is not None) for template in page])


def build(context: Context) -> SensDialect:
    """Return SENS."""
    return SensDialect(context)


def credentials(context_options: Mapping[str, Any] = MappingProxyType({})) -> dict[str, str]:
    """Return what an adapter needs against the sandbox with these options."""
    return {name: str(context_options.get(name, default)) for name, default in _DEFAULTS.items()}


# -- what a request must have ------------------------------------------------------------------------------------


def _body(request: Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(request.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Refused(400, "Bad Request", "the body is not a JSON object") from error
    if "json" not in request.headers.get("content-type", ""):
        raise _Refused(400, "Bad Request", "the body does not call itself JSON")
    return body


def _text(part: Mapping[str, Any], name: str) -> str:
    value = part.get(name)
    if not isinstance(value, str) or not value:
        raise _Refused(400, "Bad Request", f"{name} is missing")
    return value


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        raise _Refused(400, "Bad Request", f"messages has 1 to {MAX_MESSAGES} entries")
    for message in messages:
        if not isinstance(message, dict) or not re.fullmatch(r"[0-9]{8,16}", str(message.get("to", ""))):
            raise _Refused(400, "Bad Request", "to is digits only")
    return messages


def _within(text: str, characters: int) -> None:
    if len(text) > characters:
        raise _Refused(400, "Bad Request", f"over {characters} characters")


def _carried(text: object, most: int) -> None:
    """Refuse what SENS fails to send, and what it would cut: a caller should know."""
    try:
        size = len(str(text).encode("cp949"))
    except UnicodeEncodeError as error:
        raise _Refused(400, "Bad Request", "characters outside EUC-KR") from error
    if size > most:
        raise _Refused(400, "Bad Request", f"over {most} bytes")


def _buttons(message: Mapping[str, Any], kinds: set[str]) -> None:
    for button in message.get("buttons", ()):
        kind = _text(button, "type")
        if kind not in kinds:
            raise _Refused(400, "Bad Request", "a button of a kind that SENS does not know")
        _text(button, "name")
        if kind == "WL":
            _text(button, "linkMobile")
        if kind == "AL" and not (button.get("schemeIos") and button.get("schemeAndroid")):
            raise _Refused(400, "Bad Request", "an AL button wants schemeIos and schemeAndroid")
        if kind == "BF":
            _text(button, "bizFormId")


def _item_list(item: object) -> None:
    if item is None:
        return
    lines = item.get("list") if isinstance(item, dict) else None
    if not isinstance(lines, list) or not 2 <= len(lines) <= 10:  # noqa: PLR2004 - Kakao's limits
        raise _Refused(400, "Bad Request", "item.list has 2 to 10 entries")


def _no_failover(message: Mapping[str, Any]) -> None:
    if message.get("useSmsFailover") is not False:
        raise _Refused(400, "Bad Request", "this sandbox has no failover: useSmsFailover has to be false")


# -- what an answer shows ----------------------------------------------------------------------------------------


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")


def _accepted(request_id: str, now: float) -> dict[str, Any]:
    return {"requestId": request_id, "requestTime": _iso(now), "statusCode": "202", "statusName": "success"}


def _kakao_view(taken: Taken, code: str | None) -> dict[str, Any]:
    shown = {
        "requestId": taken.group,
        "messageId": taken.id,
        "requestTime": _iso(taken.taken_at),
        "countryCode": "82",
        "to": taken.to,
        "requestStatusCode": "A000",
        "requestStatusName": "success",
        "requestStatusDesc": "success",
        "useSmsFailover": False,
    }
    if code is None:
        return {**shown, "messageStatusName": "processing"}
    name = "success" if code == "0000" else "fail"
    ended = _iso(taken.sent.final_at) if taken.sent else ""
    return {**shown, "messageStatusCode": code, "messageStatusName": name, "completeTime": ended}


def _text_view(taken: Taken, code: str | None) -> dict[str, Any]:
    shown = {
        "requestId": taken.group,
        "messageId": taken.id,
        "requestTime": _iso(taken.taken_at),
        "contentType": "COMM",
        "type": taken.channel.upper(),
        "countryCode": "82",
        "to": taken.to,
    }
    if code is None:
        return {**shown, "status": "PROCESSING"}
    name = "success" if code == "0" else "fail"
    ended = _iso(taken.sent.final_at) if taken.sent else ""
    return {**shown, "status": "COMPLETED", "statusCode": code, "statusName": name, "completeTime": ended}


def _template_view(template: Template, *, whole: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "channelId": template.channel_id,
        "templateCode": template.code,
        "templateName": template.code,
        "content": template.content or "",
        "templateInspectionStatus": template.inspection,
        "templateStatus": template.status,
    }
    return {**shown, "comments": template.comments} if whole else shown
