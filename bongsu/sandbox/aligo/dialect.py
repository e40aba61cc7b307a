"""Aligo's two hosts under one prefix: form fields in, JSON out, and a number of those taken instead of their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from bongsu.sandbox.aligo.templates import BadTemplate, Registry
from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.exchange import Exchange, Taken, codes_by_reason
from bongsu.sandbox.profile import DEFAULT_SENDER, BadProfile, Operation
from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.codes import REASONS
from shared.text import byte_length

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_APIKEY = "ALIGOSANDBOX00000000000000000000"
DEFAULT_USERID = "sandbox"
DEFAULT_SENDER_KEY = "0000000000000000000000000000000000000000"
_OPTIONS = frozenset({"apikey", "userid", "sender_keys", "text_encoding"})

MAX_ALIMTALKS = 500
MAX_RECEIVERS = 1000
MAX_MASS = 500
SMS_BYTES = 90
LMS_BYTES = 2000
TITLE_BYTES = 44

_LETTERS = {
    "sender_profile_invalid": "1",
    "delivery_uncertain": "5",
    "result_timeout": "6",
    "template_not_approved": "8",
    "inactive_kakao_user": "9",
    "no_balance": "a",
    "not_permitted": "b",
    "dealer_error": "e",
    "invalid_request": "f",
    "not_kakao_user": "A",
    "blocked_channel": "B",
    "duplicate_suppressed": "D",
    "unsupported_client": "E",
    "kakao_unavailable": "G",
    "invalid_phone": "I",
    "safe_number": "J",
    "content_too_long": "L",
    "template_not_found": "M",
    "sender_number_blocked": "S",
    "template_mismatch": "U",
}
_INSPECTED = {"registered": "REG", "inspecting": "REQ", "approved": "APR", "rejected": "REJ"}
_OTHER = "F"
_DONE, _FAILED, _SENDING = "발송완료", "발송실패", "전송중"

_letter = codes_by_reason({Channel.ALIMTALK: _LETTERS | dict.fromkeys(REASONS - _LETTERS.keys(), _OTHER)})


def _code(word: str, channel: Channel) -> str:
    """Return how Aligo says a failure: a letter, and of a text only that it failed."""
    return _FAILED if channel.is_text else _letter(word, channel)


class _Refused(Exception):
    """The call is refused; the code says little, the message something."""

    def __init__(self, message: str, code: int = -99) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class _TooFast(Exception):
    """Aligo publishes no limit and no code for one: something before it answers 429."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class AligoDialect:
    """``Dialect`` of Aligo. It knows nothing of doubles: the same call twice is two messages."""

    webhooks = None

    def __init__(self, context: Context) -> None:
        if unknown := sorted(context.profile.options.keys() - _OPTIONS):
            raise BadProfile(
                f"dealers.{context.name}.options: {unknown[0]} is not one of {', '.join(sorted(_OPTIONS))}"
            )
        self.context = context
        self.exchange = Exchange(context, delivered=lambda channel: _DONE if channel.is_text else "0", code=_code)
        self.templates = Registry()
        self._account = (context.option("apikey", DEFAULT_APIKEY), context.option("userid", DEFAULT_USERID))
        self._sender_keys = frozenset(context.option("sender_keys", [DEFAULT_SENDER_KEY]))
        self._senders = frozenset(sender for account in context.sandbox.accounts for sender in account.senders)
        self._text_encoding = str(context.option("text_encoding", "utf-8"))

    # -- Dialect -------------------------------------------------------------------------------------------------

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        kakao: list[tuple[str, Operation, Callable[[Mapping[str, str]], dict[str, Any]]]] = [
            ("/akv10/alimtalk/send/", Operation.SEND, self._send_alimtalks),
            ("/akv10/history/list/", Operation.LOOKUP, self._history),
            ("/akv10/history/detail/", Operation.LOOKUP, self._alimtalk_results),
            ("/akv10/heartinfo/", Operation.LOOKUP, self._left),
            ("/akv10/profile/list/", Operation.LOOKUP, self._profiles),
            ("/akv10/template/list/", Operation.LOOKUP, self._list_templates),
            ("/akv10/template/add/", Operation.ADD, self._add_template),
            ("/akv10/template/modify/", Operation.ADD, self._modify_template),
            ("/akv10/template/request/", Operation.ADD, self._request_template),
            ("/akv10/template/del/", Operation.REMOVE, self._delete_template),
        ]
        texts: list[tuple[str, Operation, Callable[[Mapping[str, str]], dict[str, Any]]]] = [
            ("/send/", Operation.SEND, self._send_text),
            ("/send_mass/", Operation.SEND, self._send_texts),
            ("/sms_list/", Operation.LOOKUP, self._text_results),
        ]
        return [
            *(Endpoint("POST", path, what, self._answering(answer, is_text=False)) for path, what, answer in kakao),
            *(Endpoint("POST", path, what, self._answering(answer, is_text=True)) for path, what, answer in texts),
        ]

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key, which either host's reader understands."""
        return Reply.json({"code": -101, "result_code": -101, "message": "인증오류입니다."})

    def reset(self) -> None:
        """Forget messages; keep templates."""
        self.exchange.reset()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {"messages": len(self.exchange.by_id), "templates": len(self.templates.by_code)}

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Let the inspector decide: ``status`` is APR or REJ (or any other of Kakao's), or our word for it.

        Raises ``KeyError`` for an unknown template, and for a word that Aligo has none for.
        """
        template = self.templates.by_code[code]
        if status == "stopped":
            template.status = "S"
            return
        status = status if status.isupper() else _INSPECTED[status]
        template.inspection = status
        template.status = "A" if status == "APR" else "R"
        if comment:
            template.comments.append({"status": status, "content": comment})

    # -- a call --------------------------------------------------------------------------------------------------

    def _answering(
        self, answer: Callable[[Mapping[str, str]], dict[str, Any]], *, is_text: bool
    ) -> Callable[[Request], Reply]:
        code, names = ("result_code", ("key", "user_id")) if is_text else ("code", ("apikey", "userid"))

        def reply(request: Request) -> Reply:
            try:
                form = _form(request)
                self._admit(form, *names)
                said = answer(form)
            except _TooFast as busy:
                return Reply(429, b"Too Many Requests", "text/plain", {"Retry-After": f"{busy.seconds:.3f}"})
            except (_Refused, BadTemplate) as refused:
                self.context.truth.counted["aligo_refused"] += 1
                said = {code: getattr(refused, "code", -99), "message": str(refused)}
            return self._encoded(said, is_text=is_text)

        return reply

    def _admit(self, form: Mapping[str, str], key: str, account: str) -> None:
        if (form.get(key), form.get(account)) != self._account:
            raise _Refused("인증오류입니다.", -101)

    def _encoded(self, said: dict[str, Any], *, is_text: bool) -> Reply:
        if not is_text:
            return Reply.json(said)
        # as clients saw it: JSON that calls itself a page, and may be in EUC-KR whatever that says
        body = msgspec.json.encode(said).decode().encode(self._text_encoding, "replace")
        return Reply(200, body, "text/html")

    def _take(self, messages: Sequence[Taken], *, test: bool) -> tuple[int, int]:
        """Let messages leave but those that chance refuses; return how many were taken and refused."""
        wait = self.exchange.wait_for_room(len(messages))
        if wait is not None:
            raise _TooFast(wait)
        taken = [message for message in messages if self.exchange.refusal(message.to, message.channel) is None]
        if not test:
            self.exchange.send(taken)
        return len(taken), len(messages) - len(taken)

    # -- AlimTalks -----------------------------------------------------------------------------------------------

    def _send_alimtalks(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "senderkey", "tpl_code", "sender", "receiver_1", "subject_1", "message_1")
        self._check_sender(form["sender"])
        rows = _rows(form, "receiver", "subject", "message", "emtitle", "button", "fsubject", "fmessage")
        if len(rows) > MAX_ALIMTALKS:
            raise _Refused("수신자는 최대 500명까지 가능합니다.")
        for n, row in enumerate(rows, 1):
            wanted = ("subject", "message", *(("fsubject", "fmessage") if form.get("failover") == "Y" else ()))
            _require({f"{name}_{n}": row.get(name, "") for name in wanted}, *(f"{name}_{n}" for name in wanted))
        template = None
        if not self.context.sandbox.accept_any_template:
            if form["senderkey"] not in self._sender_keys:
                raise _Refused("등록되지 않은 발신 프로파일 키 입니다.")
            template = self.templates.one(form)
            if template.inspection != "APR":
                raise _Refused("승인되지 않은 템플릿 입니다.")
        mid = str(400_000_000 + self.exchange.number())
        messages = [
            Taken(
                id=str(self.exchange.number()),
                to=_digits(row["receiver"]),
                channel=Channel.ALIMTALK,
                key=row["subject"],
                group=mid,
                request={"sender": form["sender"], "tpl_code": form["tpl_code"], "senderKey": form["senderkey"], **row},
                certain=None if template is None or template.is_of(row) else "template_mismatch",
            )
            for row in rows
        ]
        taken, refused = self._take(messages, test=form.get("testMode") == "Y")
        unit = self.context.sandbox.prices[Channel.ALIMTALK]
        info = {"type": "AT", "mid": mid, "current": 1000.0, "unit": unit, "total": unit * taken}
        return {
            "code": 0,
            "message": "성공적으로 전송요청 하였습니다.",
            "info": {**info, "scnt": taken, "fcnt": refused},
        }

    def _alimtalk_results(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "mid")
        page, size = _number(form, "page", 1), min(max(_number(form, "limit", 50), 50), 500)
        found = self._found(form["mid"], is_text=False)
        return {
            "code": 0,
            "message": "정상적으로 호출하였습니다.",
            "list": [self._alimtalk_row(message) for message in found[(page - 1) * size :][:size]],
            "currentPage": str(page),
            "totalPage": str(-(-len(found) // size)),
            "totalCount": str(len(found)),
        }

    def _alimtalk_row(self, message: Taken) -> dict[str, Any]:
        letter, request = message.code_seen(self.exchange.now()), message.request
        ended = "" if letter is None or message.sent is None else _date(message.sent.final_at)
        return {
            "msgid": message.id if letter is not None else f"Q{message.id}",
            "type": "AT",
            "sender": request["sender"],
            "phone": message.to,
            "status": "3",
            "reqdate": _date(message.taken_at),
            "sentdate": _date(message.taken_at),
            "rsltdate": ended,
            "reportdate": ended,
            "rslt": letter or "",
            "rslt_message": "" if letter in {None, "0"} else f"실패사유 {letter}",
            "message": request["message"] if self.context.sandbox.keep_texts else "",
            "button_json": request.get("button", "{}"),
            "tpl_code": request["tpl_code"],
            "senderKey": request["senderKey"],
            "smid": "0",
        }

    def _history(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Answer the requests, newest first; whatever the caller called its messages is not among it."""
        page, size = _number(form, "page", 1), min(max(_number(form, "limit", 50), 50), 500)
        requests = [
            {
                "mid": mid,
                "type": "AT",
                "sender": messages[0].request["sender"],
                "msg_count": str(len(messages)),
                "mbody": messages[0].request["message"] if self.context.sandbox.keep_texts else "",
                "reserve_date": "",
                "reserve_state": "전송완료",
                "regdate": _date(messages[0].taken_at),
            }
            for mid, messages in reversed(self.exchange.by_group.items())
            if not messages[0].channel.is_text
        ]
        return {
            "code": 0,
            "message": "정상적으로 호출하였습니다.",
            "list": requests[(page - 1) * size :][:size],
            "currentPage": str(page),
            "totalPage": str(-(-len(requests) // size)),
            "totalCount": str(len(requests)),
        }

    def _left(self, _: Mapping[str, str]) -> dict[str, Any]:
        """Answer how many of each kind the points pay for: success is 1 here."""
        return {"code": 1, "message": "", "list": {"SMS_CNT": 5555, "LMS_CNT": 1930, "MMS_CNT": 833, "ALT_CNT": 7000}}

    def _profiles(self, form: Mapping[str, str]) -> dict[str, Any]:
        wanted = form.get("senderkey")
        keys = [key for key in sorted(self._sender_keys) if wanted in {None, "", key}]
        rows = [{"senderKey": key, "name": "봉수상점", "status": "A", "profileStat": "A"} for key in keys]
        return {"code": 0, "message": "정상적으로 호출하였습니다.", "list": rows}

    # -- templates -----------------------------------------------------------------------------------------------

    def _list_templates(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "senderkey")
        kept = [one for one in self.templates.by_code.values() if one.sender_key == form["senderkey"]]
        rows = [one.as_row() for one in kept if form.get("tpl_code") in {None, "", one.code}]
        count = {state: sum(one.inspection == state for one in kept) for state in ("REG", "REQ", "APR", "REJ")}
        return {"code": 0, "message": "정상적으로 호출하였습니다.", "list": rows, "info": count}

    def _add_template(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "senderkey", "tpl_name", "tpl_content")
        if form.get("tpl_type") in {"AD", "MI"}:
            _require(form, "tpl_advert")
        template = self.templates.add(form)
        return {"code": 0, "message": "정상적으로 템플릿을 생성하였습니다.", "data": template.as_row()}

    def _modify_template(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "senderkey", "tpl_code", "tpl_name", "tpl_content")
        template = self.templates.modify(form)
        return {"code": 0, "message": "정상적으로 템플릿을 수정하였습니다.", "data": template.as_row()}

    def _request_template(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "senderkey", "tpl_code")
        self.templates.request(form)
        return {"code": 0, "message": "검수요청을 하였습니다."}

    def _delete_template(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "senderkey", "tpl_code")
        self.templates.delete(form)
        return {"code": 0, "message": "정상적으로 템플릿을 삭제 하였습니다."}

    # -- texts ---------------------------------------------------------------------------------------------------

    def _send_text(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "sender", "receiver", "msg")
        receivers = [_digits(number) for number in form["receiver"].split(",") if number.strip()]
        if len(receivers) > MAX_RECEIVERS:
            raise _Refused("수신자는 최대 1000명까지 가능합니다.")
        return self._send_all(form, [(to, form["msg"]) for to in receivers])

    def _send_texts(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "sender", "cnt", "msg_type", "rec_1", "msg_1")
        rows = _rows(form, "rec", "msg")
        if len(rows) != _number(form, "cnt", 0) or len(rows) > MAX_MASS:
            raise _Refused("전송건수(=cnt) 파라메더 정보가 올바르지 않습니다.")
        return self._send_all(form, [(_digits(row["rec"]), row.get("msg", "")) for row in rows])

    def _send_all(self, form: Mapping[str, str], rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
        self._check_sender(form["sender"])
        # What EUC-KR lacks becomes a question mark, and a kind that is not named is chosen by length.
        carried = [text.encode("cp949", "replace").decode("cp949") for _, text in rows]
        longest = max(byte_length(text) for text in carried)
        kind = form.get("msg_type") or ("LMS" if longest > SMS_BYTES else "SMS")
        if kind not in {"SMS", "LMS"}:
            raise _Refused("첨부이미지 파라메더 정보가 전달되지 않았습니다.")
        if longest > (SMS_BYTES if kind == "SMS" else LMS_BYTES) or not all(carried):
            raise _Refused("메시지 내용(=msg) 파라메더 정보가 올바르지 않습니다.")
        if len(form.get("title", "").encode("cp949", "replace")) > TITLE_BYTES:
            raise _Refused("문자제목(=title) 파라메더 정보가 올바르지 않습니다.")
        mid = str(700_000_000 + self.exchange.number())
        messages = [
            Taken(
                id=str(self.exchange.number()),
                to=to,
                channel=Channel[kind],
                key=None,
                group=mid,
                request={"sender": form["sender"], "type": kind},
            )
            for to, _ in rows
        ]
        taken, refused = self._take(messages, test=form.get("testmode_yn") == "Y")
        return {
            "result_code": "1",
            "message": "success",
            "msg_id": mid,
            "success_cnt": taken,
            "error_cnt": refused,
            "msg_type": kind,
        }

    def _text_results(self, form: Mapping[str, str]) -> dict[str, Any]:
        _require(form, "mid")
        page, size = _number(form, "page", 1), min(max(_number(form, "page_size", 30), 30), 500)
        found = self._found(form["mid"], is_text=True)
        rows = [self._text_row(message) for message in found[(page - 1) * size :][:size]]
        more = "Y" if len(found) > page * size else "N"
        return {"result_code": 1, "message": "success", "list": rows, "next_yn": more}

    def _text_row(self, message: Taken) -> dict[str, Any]:
        state = message.code_seen(self.exchange.now())
        return {
            "mdid": message.id,
            "type": message.request["type"],
            "sender": message.request["sender"],
            "receiver": message.to,
            "sms_state": state or _SENDING,
            "reg_date": _date(message.taken_at),
            "send_date": "" if state is None or message.sent is None else _date(message.sent.final_at),
            "reserve_date": "",
        }

    # -- both ----------------------------------------------------------------------------------------------------

    def _found(self, mid: str, *, is_text: bool) -> list[Taken]:
        messages = self.exchange.by_group.get(mid, [])
        return [message for message in self.exchange.found(messages) if message.channel.is_text == is_text]

    def _check_sender(self, sender: str) -> None:
        if not self.context.sandbox.accept_any_sender and _digits(sender) not in self._senders:
            raise _Refused("등록되지 않은 발신번호 입니다.")


def _form(request: Request) -> dict[str, str]:
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        return dict(parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        return {}


def _require(form: Mapping[str, str], *names: str) -> None:
    for name in names:
        if not form.get(name):
            raise _Refused(f"필수 항목(={name}) 파라메더 정보가 전달되지 않았습니다.")


def _rows(form: Mapping[str, str], first: str, *others: str) -> list[dict[str, str]]:
    """Return numbered fields by row, from 1 to the last whose ``first`` is there."""
    rows: list[dict[str, str]] = []
    while f"{first}_{len(rows) + 1}" in form:
        n = len(rows) + 1
        rows.append({name: form[f"{name}_{n}"] for name in (first, *others) if f"{name}_{n}" in form})
    return rows


def _number(form: Mapping[str, str], name: str, default: int) -> int:
    text = form.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _digits(number: str) -> str:
    return "".join(character for character in number if character.isdigit())


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, SEOUL).strftime("%Y-%m-%d %H:%M:%S")


def build(context: Context) -> AligoDialect:
    """Return Aligo."""
    return AligoDialect(context)


def credentials(context_options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return what an adapter needs to be let in, given the profile's options."""
    options = context_options or {}
    return {
        "apikey": str(options.get("apikey", DEFAULT_APIKEY)),
        "userid": str(options.get("userid", DEFAULT_USERID)),
        "sender": DEFAULT_SENDER,
    }
