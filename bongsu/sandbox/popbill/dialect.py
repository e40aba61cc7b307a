"""Popbill: requests of one or more messages, told apart and looked up by their RequestNum.

Options: ``link_id``, ``secret_key`` (base64), ``corp_num``, ``service_id``, ``token_seconds``, ``channels`` (검색용
아이디) and ``senders``. Popbill's codes for Kakao and texts were not to be had: those here, except the success, are
invented, and stand in no table.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken
from bongsu.sandbox.popbill.desk import (
    DEFAULT_CORP_NUM,
    DEFAULT_LINK_ID,
    DEFAULT_SECRET_KEY,
    DEFAULT_SERVICE_ID,
    KAKAO_SCOPES,
    TEXT_SCOPES,
    Desk,
    credentials,
    refused,
)
from bongsu.sandbox.profile import DEFAULT_SENDER, BadProfile, Operation
from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.codes import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "DEFAULT_CHANNEL",
    "DEFAULT_CORP_NUM",
    "DEFAULT_LINK_ID",
    "DEFAULT_SECRET_KEY",
    "DEFAULT_SERVICE_ID",
    "build",
    "credentials",
]

DEFAULT_CHANNEL = "@봉수상점"
_OPTIONS = frozenset(
    {"link_id", "secret_key", "corp_num", "user_id", "service_id", "token_seconds", "channels", "senders"}
)

_INVALID, _DUPLICATE, _NOT_FOUND, _NO_TEMPLATE, _NO_SENDER = -19000001, -19000002, -19000003, -19000004, -19000005
_REQUEST_NUM = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
_NUMBER = re.compile(r"0\d{8,11}", re.ASCII)
_MESSAGES = 1000
_PATHS = {
    "ATS": Channel.ALIMTALK,
    "FTS": Channel.FRIENDTALK,
    "FMS": Channel.FRIENDTALK,
    "SMS": Channel.SMS,
    "LMS": Channel.LMS,
    "MMS": Channel.MMS,
}
_RESULTS = {reason: str(number) for number, reason in enumerate(sorted(REASONS), start=900)}
"""invented: a result of three digits for each reason"""


class _Message(msgspec.Struct):
    rcv: str
    msg: str | None = None
    rcvnm: str | None = None
    snd: str | None = None


class _Form(msgspec.Struct, rename={"plus_friend": "plusFriendID", "template": "templateCode", "alt": "altSendType"}):
    msgs: list[_Message]
    requestnum: str | None = None
    request_num: str | None = msgspec.field(default=None, name="requestNum")
    content: str | None = None
    snd: str | None = None
    template: str | None = None
    plus_friend: str | None = None
    alt: str | None = None


class PopbillDialect:
    """``Dialect`` of Popbill and of Linkhub's desk."""

    webhooks = None

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _OPTIONS):
            raise BadProfile(
                f"dealers.{context.name}.options: {unknown[0]} is not one of {', '.join(sorted(_OPTIONS))}"
            )
        self.desk = Desk(context)
        self.exchange = Exchange(
            context, delivered=lambda _channel: "100", code=lambda word, _channel: _RESULTS.get(word, word)
        )
        self.templates = {template.template_id: template.content for template in context.sandbox.templates}
        """the text of approved templates by code; they all belong to the first channel"""
        self.channels: list[str] = context.option("channels", [DEFAULT_CHANNEL])
        self.senders: list[str] = context.option("senders", [DEFAULT_SENDER])
        self.refused: Counter[str] = Counter()
        self._context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        service = self.desk.service_id
        return [
            Endpoint("POST", f"/{service}/Token", Operation.OPEN, self.desk.give),
            Endpoint("GET", f"/{service}/Point", Operation.LOOKUP, self._guarded(frozenset({"member"}), self._point)),
            *(
                Endpoint("POST", f"/{path}", Operation.SEND, self._guarded(_scopes(channel), self._sending(path)))
                for path, channel in _PATHS.items()
            ),
            *self._reads("KakaoTalk", KAKAO_SCOPES, self._kakao),
            *self._reads("Message", TEXT_SCOPES, self._texts),
            self._list("/KakaoTalk/ListATSTemplate", KAKAO_SCOPES, self._templates),
            self._list("/KakaoTalk/ListPlusFriendID", KAKAO_SCOPES, self._channels),
            self._list("/Message/SenderNumber", TEXT_SCOPES, self._senders),
        ]

    def refuse_key(self) -> Reply:
        """Return the answer to a token that does not hold."""
        return self.desk.refuse_key()

    def reset(self) -> None:
        """Forget messages; keep templates."""
        self.exchange.reset()
        self.refused.clear()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id), "refused": dict(self.refused)}

    def inspect(self, code: str, status: str, comment: str = "") -> None:  # noqa: ARG002 - Popbill tells no comments
        """Do as Popbill's window: an ``approved`` template is listed, any other is not."""
        if status == "approved":
            self.templates.setdefault(code, "")
        else:
            self.templates.pop(code, None)

    # -- sending -------------------------------------------------------------------------------------------------

    def _guarded(self, scopes: frozenset[str], answer: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
        def guarded(request: Request) -> Reply:
            return self.desk.admit(request, scopes) or answer(request)

        return guarded

    def _sending(self, path: str) -> Callable[[Request], Reply]:
        def send(request: Request) -> Reply:
            reply = self._send(path, request)
            if reply.status != 200:  # noqa: PLR2004 - the status of all that went well
                self.refused[str(msgspec.json.decode(reply.body)["code"])] += 1
            return reply

        return send

    def _send(self, path: str, request: Request) -> Reply:
        channel = _PATHS[path]
        try:
            form = msgspec.json.decode(_form_in(request), type=_Form)
        except (msgspec.DecodeError, ValueError):
            return refused(400, _INVALID, "the request is no form of ours")
        if (refusal := self._judge(path, form)) is not None:
            return refusal
        key = form.requestnum or form.request_num
        if key is not None and self.exchange.by_key.get(key):
            return refused(400, _DUPLICATE, "the request number was used before")
        if (wait := self.exchange.wait_for_room(len(form.msgs))) is not None:
            return refused(429, _INVALID, "too many requests", Retry_After=f"{wait:.3f}")
        for message in form.msgs:
            if (code := self.exchange.refusal(message.rcv, channel)) is not None:
                return refused(400, int(f"-19000{code[-3:]}") if code.isdigit() else _INVALID, "refused by chance")
        receipt = f"0{datetime.now(SEOUL):%y%m%d%H}{self.exchange.number():09}"
        self.exchange.send(
            [
                Taken(
                    id=receipt if n == 0 else f"{receipt}.{n}",
                    to=message.rcv,
                    channel=channel,
                    key=key,
                    group=receipt,
                    request={"name": message.rcvnm, "path": path, "template": form.template},
                )
                for n, message in enumerate(form.msgs)
            ]
        )
        return Reply.json({"receiptNum": receipt})

    def _judge(self, path: str, form: _Form) -> Reply | None:
        """Return why a request is refused whole."""
        sandbox, is_kakao = self._context.sandbox, not _PATHS[path].is_text
        key = form.requestnum if path in {"ATS", "SMS", "LMS"} else form.request_num
        senders = {form.snd or message.snd for message in form.msgs} - ({None, ""} if is_kakao else set())
        any_sender = sandbox.accept_any_sender or sandbox.accept_any_template
        complaints = (
            (not 0 < len(form.msgs) <= _MESSAGES, _INVALID, "a request has 1 to 1,000 messages"),
            (key is not None and not _REQUEST_NUM.fullmatch(key), _INVALID, "a request number has 1 to 36 letters"),
            (not all(_NUMBER.fullmatch(message.rcv) for message in form.msgs), _INVALID, "a recipient's number"),
            (not all(message.msg or form.content for message in form.msgs), _INVALID, "a message without a text"),
            (form.alt not in {None, "", "A", "C"}, _INVALID, "altSendType is null, A or C"),
            (
                path == "ATS" and not sandbox.accept_any_template and form.template not in self.templates,
                _NO_TEMPLATE,
                "no such approved template",
            ),
            (
                path in {"FTS", "FMS"} and not sandbox.accept_any_template and form.plus_friend not in self.channels,
                _INVALID,
                "no such channel",
            ),
            (not any_sender and not senders <= set(self.senders), _NO_SENDER, "the sender number is not registered"),
        )
        return next((refused(400, code, words) for is_so, code, words in complaints if is_so), None)

    # -- looking up ----------------------------------------------------------------------------------------------

    def _reads(self, root: str, scopes: frozenset[str], shape: Callable[[Sequence[Taken]], Reply]) -> list[Endpoint]:
        def by_number(request: Request) -> Reply:
            return shape(self.exchange.found(self.exchange.by_key.get(request.path["number"], [])))

        def by_receipt(request: Request) -> Reply:
            return shape(self.exchange.found(self.exchange.by_group.get(request.path["receipt"], [])))

        return [
            self._list(f"/{root}/Search", scopes, self._search),
            self._list(f"/{root}/Get/{{number}}", scopes, by_number),
            self._list(f"/{root}/{{receipt}}", scopes, by_receipt),
        ]

    def _list(self, path: str, scopes: frozenset[str], answer: Callable[[Request], Reply]) -> Endpoint:
        return Endpoint("GET", path, Operation.LOOKUP, self._guarded(scopes, answer))

    def _kakao(self, messages: Sequence[Taken]) -> Reply:
        if not messages:
            return refused(400, _NOT_FOUND, "no such request")
        rows = [self._row(message) for message in messages]
        ended = [message for message in messages if message.code_seen(self.exchange.now()) is not None]
        good = sum(message.sent is not None and message.sent.delivered for message in ended)
        first = messages[0]
        return Reply.json(
            {
                "contentType": first.request["path"],
                "templateCode": first.request["template"],
                "sendCnt": str(len(messages)),
                "successCnt": str(good),
                "failCnt": str(len(ended) - good),
                "altCnt": "0",
                "cancelCnt": "0",
                "receiptNum": first.group,
                "requestNum": first.key,
                "msgs": rows,
            }
        )

    def _texts(self, messages: Sequence[Taken]) -> Reply:
        return Reply.json([self._row(message) for message in messages])

    def _search(self, request: Request) -> Reply:
        """Search by the recipient's name. The dates are only checked: rules' time may run faster than the world's."""
        query = request.query
        try:
            start, end = (datetime.strptime(query[name], "%Y%m%d").astimezone(SEOUL) for name in ("SDate", "EDate"))
            page, size = int(query.get("Page", "1")), int(query.get("PerPage", "500"))
        except (KeyError, ValueError):
            return refused(400, _INVALID, "SDate, EDate, Page and PerPage")
        if not 0 <= (end - start).days <= 62 or not 0 < size <= 1000:  # noqa: PLR2004 - two months; the largest page
            return refused(400, _INVALID, "two months at most, and 1,000 a page")
        name = query.get("QString", "")
        kinds = {_PATHS[item] for item in query.get("Item", ",".join(_PATHS)).split(",") if item in _PATHS}
        known = self.exchange.by_key.get(name, []) if name else list(self.exchange.by_id.values())
        found = [
            message
            for message in self.exchange.found(known)
            if message.channel in kinds and name in (message.request["name"] or "")
        ]
        shown = found[(page - 1) * size : page * size]
        return Reply.json(
            {
                "code": 1,
                "message": "",
                "total": len(found),
                "perPage": size,
                "pageNum": page,
                "pageCount": -(-len(found) // size),
                "list": [self._row(message) for message in shown],
            }
        )

    def _row(self, message: Taken) -> dict[str, Any]:
        code = message.code_seen(self.exchange.now())
        row = {
            "state": 2 if code is None else 3,
            "result": None if code is None else int(code) if code.isdigit() else 0,
            "receiveNum": message.to,
            "receiveName": message.request["name"],
            "receiptDT": _seoul(message.taken_at),
            "sendDT": _seoul(message.taken_at),
            "resultDT": None if code is None else _seoul(message.visible_at),
            "receiptNum": message.group,
            "requestNum": message.key,
        }
        if message.channel.is_text:
            row["type"] = message.request["path"]
        return row

    # -- lists ---------------------------------------------------------------------------------------------------

    def _point(self, _request: Request) -> Reply:
        return Reply.json({"remainPoint": str(self._context.sandbox.accounts[0].balance)})

    def _templates(self, _request: Request) -> Reply:
        return Reply.json(
            [
                {"templateCode": code, "templateName": code, "template": text, "plusFriendID": self.channels[0]}
                for code, text in self.templates.items()
            ]
        )

    def _channels(self, _request: Request) -> Reply:
        return Reply.json([{"plusFriendID": channel, "plusFriendName": channel} for channel in self.channels])

    def _senders(self, _request: Request) -> Reply:
        return Reply.json([{"number": number, "representYN": False, "state": 1} for number in self.senders])


def build(context: Context) -> PopbillDialect:
    """Return Popbill."""
    return PopbillDialect(context)


def _scopes(channel: Channel) -> frozenset[str]:
    return TEXT_SCOPES if channel.is_text else KAKAO_SCOPES


def _form_in(request: Request) -> bytes:
    """Return the JSON of a request, whole or as the part ``form`` beside a ``file``. Raises ``ValueError``."""
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith("multipart/form-data"):
        return request.body
    boundary = content_type.partition("boundary=")[2].strip('"')
    parts: dict[str, bytes] = {}
    for part in request.body.split(f"--{boundary}".encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="(\w+)"', head)
        if name is None:
            raise ValueError("a part without a name")
        parts[name[1].decode()] = content.removesuffix(b"\r\n")
    if not boundary or parts.keys() != {"form", "file"} or not parts["file"]:
        raise ValueError("want the parts form and file")
    return parts["form"]


def _seoul(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, SEOUL):%Y%m%d%H%M%S}"
