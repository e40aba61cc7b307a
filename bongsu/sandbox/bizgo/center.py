"""What Bizgo keeps for an account: templates with their inspection, sender profiles, uploaded images."""

from __future__ import annotations

from datetime import datetime
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bongsu.sandbox.bizgo import rules
from bongsu.sandbox.bizgo.rules import Refused
from bongsu.sandbox.dialect import Context, Reply, Request
from bongsu.sandbox.profile import Operation
from shared.clock import SEOUL

if TYPE_CHECKING:
    from collections.abc import Callable

_MMS_BYTES = 300 * 1024
_TEMPLATE = "/center/alimtalk/template"
_STATUSES: dict[str, dict[str, str]] = {
    "registered": {"inspectionStatus": "REG", "status": "R"},
    "inspecting": {"inspectionStatus": "REQ", "status": "R"},
    "approved": {"inspectionStatus": "APR", "status": "A", "dormant": "false", "block": "false"},
    "rejected": {"inspectionStatus": "REJ", "status": "R"},
    "stopped": {"status": "S"},
    "dormant": {"dormant": "true"},
    "blocked": {"block": "true"},
}
_CATEGORIES = [
    {"code": "001001", "name": "회원가입", "groupName": "회원"},
    {"code": "999999", "name": "기타", "groupName": "기타"},
]


class _Template(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    sender_key: str
    template_code: str
    template_name: str
    template_message_type: str
    template_emphasize_type: str
    text: str
    sender_key_type: str = "S"
    title: str | None = None
    sub_title: str | None = None
    header: str | None = None
    link: rules.Link | None = None
    attachment: rules.Attachment | None = None
    supplement: rules.Supplement | None = None
    category_code: str | None = None
    security_flag: bool | None = None


class _Saved(msgspec.Struct):
    alimtalk: _Template


class _Asked(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    sender_key: str
    template_code: str
    sender_key_type: str = "S"
    comment: str | None = None


class _Request(msgspec.Struct):
    alimtalk: _Asked


class Center:
    """An account's templates, profiles and files."""

    def __init__(self, context: Context, sender_keys: frozenset[str]) -> None:
        self.templates: dict[tuple[str, str], dict[str, Any]] = {}
        self.files: set[str] = set()
        self._context = context
        self._sender_keys = sender_keys

    def endpoints(self) -> list[tuple[str, str, Operation, Callable[[Request], Reply]]]:
        """Return method, path, kind and answer of each of its endpoints; the path without its prefix."""
        look, change = Operation.LOOKUP, Operation.ADD
        one = f"{_TEMPLATE}/senderKey/{{sender_key}}/templateCode/{{code}}"
        return [
            ("GET", "/center/kakao/sender", look, self._profile),
            ("GET", "/center/alimtalk/category", look, lambda _: ok({"categories": _CATEGORIES})),
            ("GET", _TEMPLATE, look, self._get),
            ("GET", f"{_TEMPLATE}/list", look, self._list),
            ("POST", _TEMPLATE, change, self._create),
            ("PUT", _TEMPLATE, change, self._update),
            ("POST", f"{_TEMPLATE}/request", change, self._request),
            ("DELETE", one, Operation.REMOVE, self._delete),
            ("POST", "/file/mms", change, self._upload_mms),
            ("POST", "/file/brandmessage/default", change, self._upload_brand),
            ("POST", "/file/brandmessage/wide", change, self._upload_brand),
        ]

    def knows_sender(self, sender_key: str) -> bool:
        """Whether a sender profile is the account's."""
        return self._context.sandbox.accept_any_template or sender_key in self._sender_keys

    def may_send(self, sender_key: str, code: str) -> bool:
        """Whether a template is approved and neither stopped, dormant nor blocked."""
        template = self.templates.get((sender_key, code))
        if template is None:
            sandbox = self._context.sandbox
            approved = {known.template_id for known in sandbox.templates if known.status == "APPROVED"}
            return sandbox.accept_any_template or code in approved
        ends = template["status"] == "S" or template["block"] == "true" or template["dormant"] == "true"
        return template["inspectionStatus"] == "APR" and not ends

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Do as an inspector: ``approved``, ``rejected``, ``dormant``, ...; raises ``KeyError`` for an unknown code."""
        found = [template for (_, own), template in self.templates.items() if own == code]
        if not found:
            raise KeyError(code)
        for template in found:
            template.update(_STATUSES[status])
            if comment:
                template["comments"].append(self._comment(comment, template["inspectionStatus"]))

    # -- templates -----------------------------------------------------------------------------------------------

    def _get(self, request: Request) -> Reply:
        return ok({"alimtalk": self._found(request.query.get("senderKey", ""), request.query.get("templateCode", ""))})

    def _list(self, request: Request) -> Reply:
        sender_key = request.query.get("senderKey", "")
        start, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 100))
        own = [template for (owner, _), template in self.templates.items() if owner == sender_key]
        return ok({"alimtalk": {"templates": own[start : start + limit]}})

    def _create(self, request: Request) -> Reply:
        draft = _read(request.body, _Saved).alimtalk
        key = (draft.sender_key, draft.template_code)
        if not self.knows_sender(draft.sender_key):
            raise Refused("A502")
        if key in self.templates or not 0 < len(draft.template_code) <= 30:  # noqa: PLR2004 - of a templateCode
            raise Refused("A505")
        self.templates[key] = {
            **msgspec.to_builtins(draft),
            "inspectionStatus": "REG",
            "status": "R",
            "block": "false",
            "dormant": "false",
            "modifiedAt": self._now(),
            "comments": [],
        }
        return ok({"alimtalk": self.templates[key]})

    def _update(self, request: Request) -> Reply:
        draft = _read(request.body, _Saved).alimtalk
        template = self._found(draft.sender_key, draft.template_code)
        if template["inspectionStatus"] not in {"REG", "REJ"}:
            raise Refused("A213")
        template.update(msgspec.to_builtins(draft))
        template.update(inspectionStatus="REG", modifiedAt=self._now())
        return ok({"alimtalk": template})

    def _request(self, request: Request) -> Reply:
        asked = _read(request.body, _Request).alimtalk
        template = self._found(asked.sender_key, asked.template_code)
        if template["inspectionStatus"] != "REG":
            raise Refused("A213")
        template["inspectionStatus"] = "REQ"
        if asked.comment:
            template["comments"].append(self._comment(asked.comment, "REQ"))
        return ok()

    def _delete(self, request: Request) -> Reply:
        key = (request.path["sender_key"], request.path["code"])
        if self._found(*key)["inspectionStatus"] == "APR":
            raise Refused("A213")
        del self.templates[key]
        return ok()

    def _found(self, sender_key: str, code: str) -> dict[str, Any]:
        template = self.templates.get((sender_key, code))
        if template is None:
            raise Refused("A820")
        return template

    def _comment(self, text: str, status: str) -> dict[str, Any]:
        return {"id": 1, "content": text, "userName": "심사", "createdAt": self._now(), "status": status}

    def _now(self) -> str:
        return datetime.fromtimestamp(self._context.timers.now(), SEOUL).isoformat(timespec="seconds")

    # -- profiles and files --------------------------------------------------------------------------------------

    def _profile(self, request: Request) -> Reply:
        sender_key = request.query.get("senderKey", "")
        if not self.knows_sender(sender_key):
            raise Refused("A820")
        profile = {"senderKey": sender_key, "status": "A", "block": False, "dormant": False, "profileStatus": "A"}
        return ok({"kakao": {"senderProfile": profile}})

    def _upload_mms(self, request: Request) -> Reply:
        image = _file(request)
        if len(image) > _MMS_BYTES:
            raise Refused("A200")
        if not image.startswith(b"\xff\xd8\xff"):
            raise Refused("A206")
        key = f"FILE{len(self.files) + 1:06}"
        self.files.add(key)
        return ok({"fileKey": key, "expired": self._now()})

    def _upload_brand(self, request: Request) -> Reply:
        _file(request)
        self.files.add(url := f"https://kakao.example/image/{len(self.files) + 1}.jpg")
        return ok({"imgUrl": url})


def ok(data: object = None, **more: object) -> Reply:
    """Return the answer to a call that was done."""
    service = {"code": "A000", "result": "Success", **more}
    return Reply.json({"common": _COMMON, "data": service if data is None else {**service, "data": data}})


def refused(code: str, status: int = 400, **headers: str) -> Reply:
    """Return the service's refusal."""
    return Reply.json({"common": _COMMON, "data": {"code": code, "result": "Failed"}}, status, **headers)


_COMMON = {"authCode": "A000", "authResult": "Success", "infobankTrId": "SANDBOX"}


_T = TypeVar("_T")


def _read(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refused("A011") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("A010") from error


def _file(request: Request) -> bytes:
    head = b"Content-Type: " + request.headers.get("content-type", "").encode() + b"\r\n\r\n"
    for part in BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts():
        if part.get_param("name", header="content-disposition") == "file" and part.get_filename():
            content = part.get_payload(decode=True)
            return content if isinstance(content, bytes) else b""
    raise Refused("A204")
