"""NHN Cloud's endpoints, as strict as its guides of 2026-06-23.

Errors come with HTTP status 200 and ``isSuccessful`` false: the guides promise no other status, so that a caller who
goes by the status alone fails here. A message without a result already has the status ``COMPLETED``, for the same
reason: it is the code that tells.
"""

from __future__ import annotations

import base64
import binascii
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.nhn import rules
from bongsu.sandbox.nhn.rules import Refusal
from bongsu.sandbox.nhn.templates import CATEGORIES, Registered, Templates
from bongsu.sandbox.profile import DEFAULT_SENDER, DEFAULT_WEBHOOK_SECRET, BadProfile, Operation
from bongsu.sandbox.webhooks import Webhooks
from shared.clock import SEOUL
from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bongsu.sandbox.webhooks import Event

DEFAULT_APPKEY = "sandboxNhnAppkey"
DEFAULT_SECRET_KEY = "sandboxNhnSecret"  # noqa: S105 - opens nothing but the sandbox
DEFAULT_SMS_APPKEY = "sandboxNhnSmsAppkey"
DEFAULT_SMS_SECRET_KEY = "sandboxNhnSmsSecret"  # noqa: S105 - likewise
DEFAULT_SENDER_KEY = "5a7db0e8a0c94f10b8f3c1e26d4ff9a1c0de0001"
_OPTIONS = {
    "appkey": DEFAULT_APPKEY,
    "secret_key": DEFAULT_SECRET_KEY,
    "sms_appkey": DEFAULT_SMS_APPKEY,
    "sms_secret_key": DEFAULT_SMS_SECRET_KEY,
    "webhook_signature": DEFAULT_WEBHOOK_SECRET,
}

IDEMPOTENT_SECONDS = 600
_BIZ = "/alimtalk/v2.3/appkeys/{appkey}"
_BRAND = "/brand-message/v1.0/appkeys/{appkey}"
_SMS = "/sms/v3.0/appKeys/{appkey}"
_JPEG = b"\xff\xd8"

_KAKAO = {
    "not_kakao_user": "3019",
    "inactive_kakao_user": "3018",
    "blocked_channel": "3020",
    "unsupported_client": "3021",
    "invalid_phone": "3008",
    "template_mismatch": "3016",
    "button_mismatch": "3027",
    "template_not_found": "3015",
    "template_not_approved": "4133",
    "sender_profile_blocked": "1007",
    "sender_profile_invalid": "1003",
    "delivery_uncertain": "3005",
    "kakao_unavailable": "9998",
    "kakao_config": "1002",
    "dealer_error": "4137",
    "night_ban": "3022",
    "expired": "4143",
    "quota_exceeded": "4156",
    "variable_too_long": "3025",
    "handset_unreachable": "3018",
}
_TEXT = {
    "handset_unreachable": "2003",
    "no_subscriber": "3001",
    "invalid_phone": "3003",
    "handset_unsupported": "3010",
    "spam_blocked": "3012",
    "carrier_error": "3011",
    "sender_number_blocked": "3019",
    "invalid_attachment": "3016",
    "duplicate_suppressed": "E915",
    "night_ban": "E919",
    "dealer_error": "E900",
    "result_timeout": "2000",
}
_REFUSED = {
    "invalid_phone": "-5000",
    "opted_out": "-3301",
    "template_not_approved": "-3005",
    "template_mismatch": "-3010",
    "variable_too_long": "-3048",
}
_REFUSED_TEXT = {"invalid_phone": "-2019", "opted_out": "-6001", "content_charset": "-2023"}
_TEXTS = (Channel.SMS, Channel.LMS, Channel.MMS)
_SENDER_TYPES = {Channel.SMS: "NORMAL_SMS", Channel.LMS: "NORMAL_LMS", Channel.MMS: "NORMAL_MMS"}


def credentials(context_options: Mapping[str, Any] = {}) -> dict[str, str]:
    """Return what an adapter's account needs here; ``context_options`` are the profile's for this dealer."""
    return {name: str(context_options.get(name, default)) for name, default in _OPTIONS.items()}


class NhnDialect:
    """Both services of one NHN Cloud project."""

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _OPTIONS.keys()):
            raise BadProfile(f"dealers.{context.name}.options: {unknown[0]} is not one of {', '.join(_OPTIONS)}")
        self.context = context
        self.keys = credentials(context.profile.options)
        config = context.profile.webhook or context.sandbox.webhook
        # a call is about one of the two services
        self.webhooks: Webhooks = Webhooks(config.model_copy(update={"batch": 1}), self._encode, _signed)
        self.webhooks.secret = self.keys["webhook_signature"]
        own: dict[Channel | None, Mapping[str, str]] = dict.fromkeys(_TEXTS, _TEXT)
        self.exchange = Exchange(
            context,
            delivered=lambda _: "1000",
            code=codes_by_reason({None: _KAKAO, **own}),
            webhooks=self.webhooks,
        )
        self.templates = Templates()
        self.files: dict[int, str] = {}
        self._used: dict[str, float] = {}

    def reset(self) -> None:
        """Forget messages; keep templates."""
        self.exchange.reset()
        self._used.clear()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id), "templates": len(self.templates.by_code)}

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key."""
        return _refused(Refusal(-1001, "Invalid secretKey."))

    # -- for tests -----------------------------------------------------------------------------------------------

    def add_template(self, code: str, content: str, *, sender_key: str = DEFAULT_SENDER_KEY, **fields: object) -> None:
        """Register a template that was approved."""
        body = {"templateCode": code, "templateName": code, "templateContent": content, **fields}
        self.templates.by_code[sender_key, code] = Registered({"senderKey": sender_key, **body}, "TSC03")

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Let the inspectors decide: approved, rejected, inspecting, blocked or dormant. Raises ``KeyError``."""
        self.templates.inspect(code, status, comment, self._now())

    # -- endpoints -----------------------------------------------------------------------------------------------

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        send, look, change, remove = Operation.SEND, Operation.LOOKUP, Operation.OPEN, Operation.REMOVE
        a, f, s, m = Channel.ALIMTALK, Channel.FRIENDTALK, Channel.SMS, Channel.MMS
        templates = f"{_BIZ}/senders/{{sender_key}}/templates"
        table: list[tuple[str, str, Operation, Callable[[Request], Any]]] = [
            ("POST", f"{_BIZ}/messages", send, self._send_alimtalk),
            ("GET", f"{_BIZ}/messages", look, lambda r: self._list(r, a)),
            ("GET", f"{_BIZ}/messages/{{request_id}}/{{seq}}", look, lambda r: self._one(r, a, r.path["seq"])),
            ("GET", f"{_BIZ}/senders/{{sender_key}}", look, self._profile),
            ("GET", f"{_BIZ}/template/categories", look, lambda _: {"categories": CATEGORIES}),
            ("GET", templates, look, self._templates),
            ("POST", templates, change, self._register),
            ("GET", f"{templates}/{{code}}", look, self._template),
            ("PUT", f"{templates}/{{code}}", change, self._change),
            ("DELETE", f"{templates}/{{code}}", remove, self._delete),
            ("POST", f"{templates}/{{code}}/comments", change, self._comment),
            ("POST", f"{_BRAND}/freestyle-messages", send, self._send_brand),
            ("GET", f"{_BRAND}/messages", look, lambda r: self._list(r, f)),
            ("GET", f"{_BRAND}/messages/{{request_id}}/{{seq}}", look, lambda r: self._one(r, f, r.path["seq"])),
            ("POST", f"{_BRAND}/images", Operation.ADD, self._image),
            ("POST", f"{_SMS}/sender/sms", send, lambda r: self._send_text(r, s)),
            ("POST", f"{_SMS}/sender/mms", send, lambda r: self._send_text(r, m)),
            ("GET", f"{_SMS}/sender/sms", look, lambda r: self._list(r, s)),
            ("GET", f"{_SMS}/sender/mms", look, lambda r: self._list(r, m)),
            ("GET", f"{_SMS}/sender/sms/{{request_id}}", look, lambda r: self._one(r, s, r.query.get("recipientSeq"))),
            ("GET", f"{_SMS}/sender/mms/{{request_id}}", look, lambda r: self._one(r, m, r.query.get("recipientSeq"))),
            ("POST", f"{_SMS}/attachfile/binaryUpload", Operation.ADD, self._attach),
            ("GET", f"{_SMS}/sendNos", look, self._numbers),
        ]
        return [
            Endpoint(method, path, operation, self._answering(answer, path.startswith(_SMS)))
            for method, path, operation, answer in table
        ]

    def _answering(self, answer: Callable[[Request], Any], sms: bool) -> Callable[[Request], Reply]:  # noqa: FBT001 - which of the two
        prefix = "sms_" if sms else ""

        def admit(request: Request) -> None:
            if request.path["appkey"] != self.keys[f"{prefix}appkey"]:
                raise Refusal(-1000, "Invalid appKey.")
            if request.headers.get("x-secret-key") != self.keys[f"{prefix}secret_key"]:
                raise Refusal(-1001, "Invalid secretKey.")

        def answering(request: Request) -> Reply:
            try:
                admit(request)
                said = answer(request)
            except Refusal as refusal:
                return _refused(refusal)
            return said if isinstance(said, Reply) else _json(said or {})

        return answering

    # -- sending -------------------------------------------------------------------------------------------------

    def _send_alimtalk(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        body = rules.read_json(request.body, request.headers)
        sender_key, code = rules.text(body, "senderKey", 40), rules.text(body, "templateCode", 20)
        listed = rules.recipients(body, too_many=4)
        template = None
        if (sender_key, code) in self.templates.by_code or not self.context.sandbox.accept_any_template:
            template = self.templates.find(sender_key, code)
            if not template.is_sent:
                raise Refusal(-3005, "Please check template status.")
        for recipient in listed:
            rules.check_extras(recipient)
            rules.parameters(recipient)
            self._note_failover(recipient)
        self._once(request.headers.get("x-nc-api-idempotency-key"))

        def judge(recipient: Mapping[str, Any]) -> str | None:
            if not rules.is_number(recipient):
                return "-5000"
            try:
                if template is not None:
                    template.check(rules.parameters(recipient))
            except Refusal as refusal:
                return str(refusal.code)
            return None

        return self._taken(Channel.ALIMTALK, body, listed, judge, _kakao_answer)

    def _send_brand(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        body = rules.read_json(request.body, request.headers)
        rules.check_brand(body)
        listed = rules.recipients(body, too_many=4)
        for recipient in listed:
            if recipient.get("targeting") not in {"M", "N", "I"}:
                raise Refusal(-3298, "The targeting is invalid.")
            self._note_failover(recipient)
        return self._taken(
            Channel.FRIENDTALK, body, listed, lambda r: None if rules.is_number(r) else "-5000", _brand_answer
        )

    def _send_text(self, request: Request, place: Channel) -> Any:  # noqa: ANN401 - JSON
        body = rules.read_json(request.body, request.headers)
        listed = rules.recipients(body, too_many=-2016)
        words = rules.text(body, "body", rules.MAX_TEXT[place.value], code=-2015)
        title = rules.text(body, "title", rules.MAX_TITLE, code=-2015) if place is Channel.MMS else ""
        rules.check_carried(words, title)
        sender = rules.text(body, "sendNo", 13)
        if sender not in self._senders() and not self.context.sandbox.accept_any_sender:
            raise Refusal(-2312, "Not regist sendno.")
        files = body.get("attachFileIdList") or []
        if any(file not in self.files for file in files):
            raise Refusal(-2004, "File is expired or does not exist.")
        channel = place if place is Channel.SMS or files else Channel.LMS
        return self._taken(channel, body, listed, lambda r: None if rules.is_number(r) else "-2019", _text_answer)

    def _taken(
        self,
        channel: Channel,
        body: Mapping[str, Any],
        listed: Sequence[Mapping[str, Any]],
        judge: Callable[[Mapping[str, Any]], str | None],
        answer: Callable[[str, Mapping[str, Any], list[dict[str, Any]]], Any],
    ) -> Any:  # noqa: ANN401 - JSON
        """Take what can be taken of a request, and answer for each recipient."""
        wait = self.exchange.wait_for_room(len(listed))
        if wait is not None:
            return Reply(429, b"Too Many Requests", "text/plain", {"Retry-After": str(wait)})
        now = self.context.world_now().astimezone(SEOUL)
        request_id = f"{now:%Y%m%d%H%M%S}{_letters(self.exchange.number())}0"
        messages, results = [], []
        for seq, recipient in enumerate(listed, 1):
            to = recipient["recipientNo"].replace("-", "")
            refused = judge(recipient) or self._by_chance(to, channel)
            key = recipient.get("recipientGroupingKey")
            results.append(
                {
                    "recipientSeq": seq,
                    "recipientNo": recipient["recipientNo"],
                    "resultCode": int(refused or 0),
                    "resultMessage": "fail" if refused else "SUCCESS",
                    "recipientGroupingKey": key,
                }
            )
            if refused is None:
                kept = {"seq": seq, "created": now, "senderGroupingKey": body.get("senderGroupingKey")}
                messages.append(Taken(f"{request_id}/{seq}", to, channel, key, request_id, kept))
        self.exchange.send(messages)
        return answer(request_id, body, results)

    def _by_chance(self, to: str, channel: Channel) -> str | None:
        word = self.exchange.refusal(to, channel)
        if word is None:
            return None
        known = (_REFUSED_TEXT if channel.is_text else _REFUSED).values()
        return word if word in known or word.lstrip("-").isdigit() else "4"

    def _note_failover(self, recipient: Mapping[str, Any]) -> None:
        if not rules.check_failover(recipient):
            self.context.truth.counted["failover_left_on"] += 1

    def _once(self, key: str | None) -> None:
        """Refuse a request whose key was used within ten minutes of the world."""
        if key is None:
            return
        now = time.monotonic()
        if self._used.get(key, -IDEMPOTENT_SECONDS) > now - IDEMPOTENT_SECONDS:
            raise Refusal(-1005, "The same 'X-NC-API-IDEMPOTENCY-KEY' was used within the last 10 minute.")
        self._used[key] = now

    # -- looking up ----------------------------------------------------------------------------------------------

    def _list(self, request: Request, place: Channel) -> Any:  # noqa: ANN401 - JSON
        query, text = request.query, place.is_text
        found = self._matching(query, place)
        size, page = _integer(query.get("pageSize"), 15), _integer(query.get("pageNum"), 1)
        if not 1 <= size <= 1000 or page < 1:  # noqa: PLR2004 - as the guides say
            raise Refusal(4, "pageSize")
        shown = [self._told(message) for message in found[(page - 1) * size : page * size]]
        if text:
            return {"body": {"pageNum": page, "pageSize": len(shown), "totalCount": len(found), "data": shown}}
        return {"messageSearchResultResponse": {"messages": shown, "totalCount": len(found)}}

    def _matching(self, query: Mapping[str, str], place: Channel) -> list[Taken]:
        key = query.get("recipientGroupingKey")
        if request_id := query.get("requestId"):
            pool, window = self.exchange.by_group.get(request_id, []), None
        else:
            pool = list(self.exchange.by_id.values()) if key is None else self.exchange.by_key.get(key, [])
            window = _window(query, place)
        wanted = {Channel.LMS, Channel.MMS} if place is Channel.MMS else {place}
        return [
            message
            for message in self.exchange.found(pool)
            if message.channel in wanted
            and (window is None or window[0] <= message.request["created"] <= window[1])
            and key in (None, message.key)
            and query.get("senderGroupingKey") in (None, message.request["senderGroupingKey"])
            and query.get("recipientNo") in (None, message.to)
        ]

    def _one(self, request: Request, place: Channel, seq: str | None) -> Any:  # noqa: ANN401 - JSON
        wanted = {Channel.LMS, Channel.MMS} if place is Channel.MMS else {place}
        message = self.exchange.by_id.get(f"{request.path['request_id']}/{seq}")
        if message is None or message.channel not in wanted or not self.exchange.found([message]):
            if place.is_text:
                return {"body": {"data": None}}
            raise Refusal(-1016, "It is not found any messages responding with that requestId or recipientSeq.")
        told = self._told(message)
        return {"body": {"data": told}} if place.is_text else {"message": told}

    def _told(self, message: Taken) -> dict[str, Any]:
        code = message.code_seen(self.exchange.now())
        created = message.request["created"]
        told = {
            "requestId": message.group,
            "recipientSeq": message.request["seq"],
            "recipientNo": message.to,
            "resultCode": code,
            "senderGroupingKey": message.request["senderGroupingKey"],
            "recipientGroupingKey": message.key,
        }
        if message.channel.is_text:
            status = "2" if code is None else {"1000": "3", "E915": "5"}.get(code, "0")
            return told | {
                "requestDate": f"{created:%Y-%m-%d %H:%M:%S}.0",
                "resultDate": None if code is None else f"{created:%Y-%m-%d %H:%M:%S}.0",
                "msgStatus": status,
                "messageType": message.channel.upper(),
                "messageCount": 1,
            }
        return told | {
            "requestDate": f"{created:%Y-%m-%d %H:%M:%S}",
            "createDate": f"{created:%Y-%m-%d %H:%M:%S}",
            "receiveDate": None if code is None else f"{created:%Y-%m-%d %H:%M:%S}",
            "resendStatus": "RSC01",
            "messageStatus": "COMPLETED" if code in {None, "1000"} else "FAILED",
        }

    # -- profiles, templates, files ------------------------------------------------------------------------------

    def _profile(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        key = request.path["sender_key"]
        if key != DEFAULT_SENDER_KEY and not self.context.sandbox.accept_any_template:
            raise Refusal(-2017, "Not exist plus friend.")
        active = {"status": "YSC03", "kakaoStatus": "A", "kakaoProfileStatus": "A", "dormant": False, "block": False}
        return {"sender": {"plusFriendId": "@sandbox", "senderKey": key, **active, "initialUserRestriction": False}}

    def _templates(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        found = self.templates.of(request.path["sender_key"])
        size, page = _integer(request.query.get("pageSize"), 15), _integer(request.query.get("pageNum"), 1)
        shown = [template.told(whole=False) for template in found[(page - 1) * size : page * size]]
        return {"templateListResponse": {"templates": shown, "totalCount": len(found)}}

    def _template(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        return {"templates": self.templates.find(request.path["sender_key"], request.path["code"]).told(whole=True)}

    def _register(self, request: Request) -> None:
        body = rules.read_json(request.body, request.headers)
        self.templates.register(request.path["sender_key"], body, self._now())

    def _change(self, request: Request) -> None:
        body = rules.read_json(request.body, request.headers)
        self.templates.change(request.path["sender_key"], request.path["code"], body, self._now())

    def _comment(self, request: Request) -> None:
        body = rules.read_json(request.body, request.headers)
        self.templates.comment(request.path["sender_key"], request.path["code"], body, self._now())

    def _delete(self, request: Request) -> None:
        self.templates.find(request.path["sender_key"], request.path["code"])
        del self.templates.by_code[request.path["sender_key"], request.path["code"]]

    def _image(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refusal(-9993, "Required request part is not present.")
        if b'name="image"' not in request.body or b'name="imageType"' not in request.body:
            raise Refusal(-9993, "Required request part is not present.")
        if _JPEG not in request.body and b"\x89PNG" not in request.body:
            raise Refusal(-8001, "The image you upload is invalid.")
        seq = self.exchange.number()
        return {"image": {"imageSeq": seq, "imageUrl": f"https://mud-kage.example/{seq}.jpg", "imageName": "image"}}

    def _attach(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        body = rules.read_json(request.body, request.headers)
        name = rules.text(body, "fileName", 45, code=-2002)
        rules.text(body, "createUser", 100)
        if not name.endswith((".jpg", ".jpeg")):
            raise Refusal(-2003, "Attach file required jpg or jpeg.")
        try:
            image = base64.b64decode(str(body.get("fileBody")), validate=True)
        except binascii.Error as error:
            raise Refusal(-9997, "Invalid API parameters.") from error
        if not image.startswith(_JPEG) or not 0 < len(image) <= rules.MAX_ATTACHMENT:
            raise Refusal(-2005, "The file size must be greater than 0 and less than 300KB.")
        file = self.exchange.number()
        self.files[file] = name
        return {"body": {"data": {"fileId": file, "fileName": name, "filePath": f"0/toast-mt/{file}"}}}

    def _numbers(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        wanted = request.query.get("sendNo")
        data = [
            {"sendNo": number, "useYn": "Y", "blockYn": "N"}
            for number in sorted(self._senders())
            if wanted in (None, number)
        ]
        return {"body": {"pageNum": 1, "pageSize": 15, "totalCount": len(data), "data": data}}

    def _senders(self) -> set[str]:
        return {DEFAULT_SENDER}.union(*(account.senders for account in self.context.sandbox.accounts))

    def _now(self) -> str:
        return f"{self.context.world_now().astimezone(SEOUL):%Y-%m-%d %H:%M:%S}"

    # -- reports -------------------------------------------------------------------------------------------------

    def _encode(self, events: Sequence[Event]) -> bytes:
        [event] = events
        message: Taken = event.subject
        text = message.channel.is_text
        return msgspec.json.encode(
            {
                "hooksId": event.event_id,
                "webhookConfigId": "sandbox",
                "productName": "SMS" if text else "KakaoTalk Bizmessage",
                "appKey": self.keys["sms_appkey" if text else "appkey"],
                "event": "MESSAGE_RESULT_UPDATE",
                "hooks": [_text_hook(event, message) if text else _kakao_hook(event, message)],
            }
        )


def build(context: Context) -> NhnDialect:
    """Return NHN Cloud."""
    return NhnDialect(context)


def _hook(event: Event, message: Taken, date_format: str) -> dict[str, Any]:
    return {
        "hookId": event.event_id,
        "requestId": message.group,
        "recipientSeq": message.request["seq"],
        "requestDate": message.request["created"].strftime(date_format),
        "receiveDate": datetime.fromtimestamp(event.at, SEOUL).strftime(date_format),
        "recipientNo": message.to,
        "resultCode": event.code,
        "senderGroupingKey": message.request["senderGroupingKey"],
    }


def _kakao_hook(event: Event, message: Taken) -> dict[str, Any]:
    kind = "ALIMTALK_NORMAL" if message.channel is Channel.ALIMTALK else "BRAND_MESSAGE_NORMAL"
    return {
        "kakaoMessageType": kind,
        **_hook(event, message, "%Y-%m-%d %H:%M:%S"),
        "recipientGroupingKey": message.key,
        "isAddedChannel": None,
    }


def _text_hook(event: Event, message: Taken) -> dict[str, Any]:
    status = {"1000": "COMPLETED", "E915": "DUPLICATED"}.get(event.code, "FAILED")
    return {
        "senderType": _SENDER_TYPES[message.channel],
        **_hook(event, message, "%Y-%m-%dT%H:%M:%S"),
        "messageStatus": status,
        "recipientGropuingKey": message.key,  # as the guide's sample spells it
        "messageCount": 1,
    }


def _signed(secret: str) -> dict[str, str]:
    return {"Content-Type": "application/json;charset=UTF-8", "X-Toast-Webhook-Signature": secret}


def _header(code: int = 0, words: str = "SUCCESS") -> dict[str, Any]:
    return {"header": {"isSuccessful": code == 0, "resultCode": code, "resultMessage": words}}


def _json(said: Mapping[str, Any]) -> Reply:
    return Reply.json({**_header(), **said})


def _refused(refusal: Refusal) -> Reply:
    return Reply.json(_header(refusal.code, refusal.words))


def _kakao_answer(request_id: str, body: Mapping[str, Any], results: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    message = {
        "requestId": request_id,
        "senderGroupingKey": body.get("senderGroupingKey"),
        "sendResults": results,
    }
    failed = all(result["resultCode"] for result in results)
    return (
        {**_header(-1031, "All of receivers are failed to send."), "message": message}
        if failed
        else {"message": message}
    )


def _brand_answer(request_id: str, body: Mapping[str, Any], results: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    for result in results:
        del result["recipientGroupingKey"]  # no key comes back
    return _kakao_answer(request_id, body, results)


def _text_answer(request_id: str, body: Mapping[str, Any], results: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    data = {
        "requestId": request_id,
        "statusCode": "2",
        "senderGroupingKey": body.get("senderGroupingKey"),
        "sendResultList": results,
    }
    return {"body": {"data": data}}


def _letters(number: int) -> str:
    """Return ten letters for a number, so that no id can hold a phone number."""
    letters = ""
    for _ in range(10):
        number, letter = divmod(number, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def _integer(value: str | None, default: int) -> int:
    if value is None:
        return default
    return int(value) if value.isascii() and value.isdigit() else -1


def _window(query: Mapping[str, str], place: Channel) -> tuple[datetime, datetime]:
    """Return the range of dates that a search names; brand messages have no creation date to search by."""
    names = ("RequestDate",) if place is Channel.FRIENDTALK else ("CreateDate", "RequestDate")
    text_format = "%Y-%m-%d %H:%M:%S" if place.is_text else "%Y-%m-%d %H:%M"
    for name in names:
        start, end = query.get(f"start{name}"), query.get(f"end{name}")
        if start is None or end is None:
            continue
        try:
            first, last = (datetime.strptime(date, text_format).replace(tzinfo=SEOUL) for date in (start, end))
        except ValueError as error:
            raise Refusal(-2000 if place.is_text else -4000, "Date format error.") from error
        if last - first > timedelta(days=31):
            raise Refusal(-4000 if place.is_text else -4003, "Search is possible within 31 days.")
        return first, last
    raise Refusal(-2011 if place.is_text else -4103, "RequestId or startRequestDate/endRequestDate is invalid.")
