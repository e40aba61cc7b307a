"""NHN Cloud's endpoints, as strict as its guides of 2026-06-23.

Errors come with HTTP status 200 and ``isSuccessful`` false: the guides promise no other status, so that a caller who
goes by the status alone fails here. A message without a result already has the status ``COMPLETED``, for the same
reason: it is the code that tells.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.nhn import codes, rules, views
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
        self.webhooks: Webhooks = Webhooks(config.model_copy(update={"batch": 1}), self._encode, views.signed)
        self.webhooks.secret = self.keys["webhook_signature"]
        self.exchange = Exchange(
            context,
            delivered=lambda _: "1000",
            code=codes_by_reason(codes.RESULTS),
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
        return views.refused(Refusal(-1001, "Invalid secretKey."))

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
                return views.refused(refusal)
            return said if isinstance(said, Reply) else views.json_of(said or {})

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

        return self._taken(Channel.ALIMTALK, body, listed, judge, views.kakao_answer)

    def _send_brand(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        body = rules.read_json(request.body, request.headers)
        rules.check_brand(body)
        listed = rules.recipients(body, too_many=4)
        for recipient in listed:
            if recipient.get("targeting") not in {"M", "N", "I"}:
                raise Refusal(-3298, "The targeting is invalid.")
            self._note_failover(recipient)
        return self._taken(
            Channel.FRIENDTALK, body, listed, lambda r: None if rules.is_number(r) else "-5000", views.brand_answer
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
        return self._taken(channel, body, listed, lambda r: None if rules.is_number(r) else "-2019", views.text_answer)

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
        request_id = f"{now:%Y%m%d%H%M%S}{views.letters(self.exchange.number())}0"
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
        word = self.context.faults.registration(to)
        if word is None:
            return None
        code = (codes.REFUSED_TEXT if channel.is_text else codes.REFUSED).get(word, word)
        code = code if re.fullmatch(r"-?\d+", code) else "4"
        self.context.truth.refused_at_registration[code] += 1
        return code

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
        size, page = views.integer(query.get("pageSize"), 15), views.integer(query.get("pageNum"), 1)
        if not 1 <= size <= 1000 or page < 1:  # noqa: PLR2004 - as the guides say
            raise Refusal(4, "pageSize")
        shown = [views.told(message, self.exchange.now()) for message in found[(page - 1) * size : page * size]]
        if text:
            return {"body": {"pageNum": page, "pageSize": len(shown), "totalCount": len(found), "data": shown}}
        return {"messageSearchResultResponse": {"messages": shown, "totalCount": len(found)}}

    def _matching(self, query: Mapping[str, str], place: Channel) -> list[Taken]:
        key = query.get("recipientGroupingKey")
        if request_id := query.get("requestId"):
            pool, window = self.exchange.by_group.get(request_id, []), None
        else:
            pool = list(self.exchange.by_id.values()) if key is None else self.exchange.by_key.get(key, [])
            window = views.window(query, place)
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
        told = views.told(message, self.exchange.now())
        return {"body": {"data": told}} if place.is_text else {"message": told}

    # -- profiles, templates, files ------------------------------------------------------------------------------

    def _profile(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        key = request.path["sender_key"]
        if key != DEFAULT_SENDER_KEY and not self.context.sandbox.accept_any_template:
            raise Refusal(-2017, "Not exist plus friend.")
        active = {"status": "YSC03", "kakaoStatus": "A", "kakaoProfileStatus": "A", "dormant": False, "block": False}
        return {"sender": {"plusFriendId": "@sandbox", "senderKey": key, **active, "initialUserRestriction": False}}

    def _templates(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        found = self.templates.of(request.path["sender_key"])
        size, page = views.integer(request.query.get("pageSize"), 15), views.integer(request.query.get("pageNum"), 1)
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
                "hooks": [views.text_hook(event, message) if text else views.kakao_hook(event, message)],
            }
        )


def build(context: Context) -> NhnDialect:
    """Return NHN Cloud."""
    return NhnDialect(context)
