"""Luna's center API: sender profiles, and templates that a test inspects (center-api.md, 2025-12-26)."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.profile import Operation
from shared.clock import SEOUL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_V2 = "/api/v2/alimtalk/template"
_MAX_BUTTONS = 5
_MAX_BUTTONS_BESIDE_REPLIES = 2
_MAX_REPLIES = 10
_MAX_TEXT = 1000
_ITEMS = range(2, 11)
_PAGE = 1000
_NEEDS = {"WL": ("linkMo",), "P1": ("pluginId",), "P2": ("pluginId",), "P3": ("pluginId",), "BF": ("bizFormId",)}
_BUTTON_KINDS = frozenset({"AC", "WL", "AL", "BK", "MD", "BC", "BT", "DS", "P1", "P2", "P3", "BF"})
_REPLY_KINDS = frozenset({"WL", "AL", "BK", "BC", "BT", "BF"})
_INSPECTED: dict[str, dict[str, Any]] = {
    "registered": {"inspectionStatus": "REG"},
    "inspecting": {"inspectionStatus": "REQ"},
    "approved": {"inspectionStatus": "APR", "status": "R", "block": False, "dormant": False},
    "rejected": {"inspectionStatus": "REJ"},
    "stopped": {"status": "S"},
    "dormant": {"dormant": True},
    "blocked": {"block": True},
}
"""what an inspector does, by the words of ``shared.dealers.templates.TemplateStatus``"""

CATEGORIES = (
    {"code": "001001", "name": "회원가입", "groupName": "회원", "inclusion": "", "exclusion": ""},
    {"code": "002001", "name": "구매완료", "groupName": "구매", "inclusion": "", "exclusion": ""},
    {"code": "999999", "name": "기타", "groupName": "기타", "inclusion": "", "exclusion": ""},
)


class _Refused(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Center:
    """Templates and sender profiles of the account."""

    def __init__(self, context: Context, sender_keys: frozenset[str], admit: Callable[[Request], Reply | None]) -> None:
        self.templates: dict[tuple[str, str], dict[str, Any]] = {}
        """by sender key and code, as the center shows them"""
        self._context = context
        self._sender_keys = sender_keys
        self._admit = admit
        self._comments = itertools.count(1)

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        reads = {
            "/api/v3/sender": self._sender,
            _V2: self._show,
            f"{_V2}/category/all": lambda _: {"data": list(CATEGORIES)},
            "/api/v3/alimtalk/template/last_modified": self._changed,
        }
        writes = {
            f"{_V2}/create": self._create,
            f"{_V2}/update": self._update,
            f"{_V2}/request": self._request,
            f"{_V2}/stop": self._stop,
            f"{_V2}/delete": self._delete,
        }
        return [
            *(Endpoint("GET", path, Operation.LOOKUP, self._answering(act)) for path, act in reads.items()),
            *(Endpoint("POST", path, Operation.ADD, self._answering(act)) for path, act in writes.items()),
            Endpoint("POST", "/api/v1/image/friendtalk", Operation.ADD, self._image),
        ]

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Do as an inspector to every template ``code``; raises ``KeyError`` for what is not there."""
        found = [template for (_, name), template in self.templates.items() if name == code]
        if not found:
            raise KeyError(code)
        for template in found:
            template.update(_INSPECTED[status], modifiedAt=self._now())
            if comment:
                verdict = {"approved": "APR", "rejected": "REJ"}.get(status, "REP")
                self._comment(template, comment, verdict)

    def knows_sender(self, sender_key: str) -> bool:
        """Whether a sender profile is this account's."""
        return self._context.sandbox.accept_any_template or sender_key in self._sender_keys

    # -- endpoints -----------------------------------------------------------------------------------------------

    def _answering(self, act: Callable[[Mapping[str, str]], dict[str, Any]]) -> Callable[[Request], Reply]:
        def answer(request: Request) -> Reply:
            if (refusal := self._admit(request)) is not None:
                return refusal
            try:
                fields = dict(request.query) if request.method == "GET" else dict(_form(request.body))
                return Reply.json({"code": "200", **act(fields)})
            except _Refused as refused:
                return Reply.json({"code": refused.code, "message": f"refused: {refused.code}"})

        return answer

    def _sender(self, fields: Mapping[str, str]) -> dict[str, Any]:
        key = _wanted(fields, "senderKey")
        if not self.knows_sender(key):
            raise _Refused("508")
        return {
            "data": {"senderKey": key, "status": "A", "block": False, "dormant": False, "profileStatus": "A"},
        }

    def _show(self, fields: Mapping[str, str]) -> dict[str, Any]:
        return {"data": self._find(fields)}

    def _changed(self, fields: Mapping[str, str]) -> dict[str, Any]:
        sender = _wanted(fields, "senderKey")
        page, count = int(fields.get("page", "1")), min(int(fields.get("count", str(_PAGE))), _PAGE)
        codes = [code for key, code in self.templates if key == sender]
        some = codes[(page - 1) * count : page * count]
        listed = [{"senderKey": sender, "senderKeyType": "S", "templateCode": code} for code in some]
        return {"hasNext": page * count < len(codes), "list": listed}

    def _create(self, fields: Mapping[str, str]) -> dict[str, Any]:
        template = self._read(fields, "")
        if (template["senderKey"], template["templateCode"]) in self.templates:
            raise _Refused("504")
        self._keep(template)
        return {"data": template}

    def _update(self, fields: Mapping[str, str]) -> dict[str, Any]:
        known = self._in_state(self._find(fields), "R", {"REG", "REJ"})
        renamed = {_old_name(name): value for name, value in fields.items() if _is_new(name)}
        template = self._read(renamed, (known["senderKey"], known["templateCode"]))
        del self.templates[known["senderKey"], known["templateCode"]]
        self._keep(template | {"comments": known["comments"], "createdAt": known["createdAt"]})
        return {"data": template}

    def _request(self, fields: Mapping[str, str]) -> dict[str, Any]:
        template = self._in_state(self._find(fields), "R", {"REG"})
        template["inspectionStatus"] = "REQ"
        if comment := fields.get("comment"):
            self._comment(template, comment, "INQ")
        return {}

    def _stop(self, fields: Mapping[str, str]) -> dict[str, Any]:
        template = self._find(fields)
        if template["status"] not in {"R", "A"} or template["inspectionStatus"] != "APR":
            raise _Refused("509")
        template["status"] = "S"
        return {}

    def _delete(self, fields: Mapping[str, str]) -> dict[str, Any]:
        template = self._in_state(self._find(fields), "R", {"REG", "REJ"})
        del self.templates[template["senderKey"], template["templateCode"]]
        return {}

    def _image(self, request: Request) -> Reply:
        if (refusal := self._admit(request)) is not None:
            return refusal
        if b'name="image"' not in request.body:
            return Reply.json({"code": "1003", "message": "MissingRequiredParameterException"})
        return Reply.json({"code": "0000", "image": f"https://image.example/{next(self._comments)}.jpg"})

    # -- templates -----------------------------------------------------------------------------------------------

    def _find(self, fields: Mapping[str, str]) -> dict[str, Any]:
        key = _wanted(fields, "senderKey"), _wanted(fields, "templateCode")
        if key not in self.templates:
            raise _Refused("508")
        return self.templates[key]

    def _in_state(self, template: dict[str, Any], status: str, inspection: set[str]) -> dict[str, Any]:
        if template["status"] != status or template["inspectionStatus"] not in inspection:
            raise _Refused("509")
        return template

    def _read(self, fields: Mapping[str, str], replaced: tuple[str, str] | str) -> dict[str, Any]:
        """Return the template that a form holds; ``replaced`` is the one it takes the place of."""
        for name in ("templateName", "templateMessageType", "templateEmphasizeType", "templateContent"):
            _wanted(fields, name)
        sender, code = _wanted(fields, "senderKey"), _wanted(fields, "templateCode")
        if not self.knows_sender(sender):
            raise _Refused("507")
        template = _nested(fields)
        names = {key: other["templateName"] for key, other in self.templates.items() if key[0] == sender}
        if any(
            name == template["templateName"] for key, name in names.items() if key not in {replaced, (sender, code)}
        ):
            raise _Refused("505")
        _check(template)
        return template

    def _keep(self, template: dict[str, Any]) -> None:
        new = {"inspectionStatus": "REG", "status": "R", "block": False, "dormant": False}
        template |= new
        template.setdefault("comments", [])
        template.setdefault("createdAt", self._now())
        template["modifiedAt"] = self._now()
        self.templates[template["senderKey"], template["templateCode"]] = template

    def _comment(self, template: dict[str, Any], text: str, status: str) -> None:
        n = next(self._comments)
        template["comments"].append({"id": n, "content": text, "status": status, "createdAt": self._now()})

    def _now(self) -> str:
        return self._context.world_now().astimezone(SEOUL).strftime("%Y-%m-%d %H:%M:%S")


def _form(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)


def _wanted(fields: Mapping[str, str], name: str) -> str:
    if not (value := fields.get(name)):
        raise _Refused("405")
    return value


def _is_new(name: str) -> bool:
    return name.startswith(("new", "buttons", "quickReplies", "securityFlag"))


def _old_name(name: str) -> str:
    return name[3].lower() + name[4:] if name.startswith("new") else name


def _nested(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return ``{"buttons[0].name": "x"}`` as ``{"buttons": [{"name": "x"}]}``."""
    root: dict[str, Any] = {}
    for name, value in fields.items():
        parts: list[str | int] = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", name)]
        place: Any = root
        for part, following in itertools.pairwise(parts):
            empty: Any = [] if isinstance(following, int) else {}
            if isinstance(part, int):
                while len(place) <= part:
                    place.append({})
                place = place[part]
            else:
                place = place.setdefault(part, empty)
        place[parts[-1]] = value
    return root


def _check(template: Mapping[str, Any]) -> None:
    if len(template["templateContent"]) > _MAX_TEXT:
        raise _Refused("506")
    match template["templateEmphasizeType"]:
        case "TEXT" if not (template.get("templateTitle") and template.get("templateSubtitle")):
            raise _Refused("405")
        case "ITEM_LIST" if not _has_list(template):
            raise _Refused("405")
        case kind if kind not in {"NONE", "TEXT", "IMAGE", "ITEM_LIST"}:
            raise _Refused("405")
    buttons, replies = template.get("buttons", []), template.get("quickReplies", [])
    most = _MAX_BUTTONS_BESIDE_REPLIES if replies else _MAX_BUTTONS
    adds = [button.get("linkType") == "AC" for button in buttons]
    wrong_channel_button = any(adds) != (template["templateMessageType"] in {"AD", "MI"}) or any(adds[1:])
    if len(buttons) > most or len(replies) > _MAX_REPLIES or wrong_channel_button:
        raise _Refused("510")
    _check_links(buttons, _BUTTON_KINDS)
    _check_links(replies, _REPLY_KINDS)


def _has_list(template: Mapping[str, Any]) -> bool:
    items = template.get("templateItem", {}).get("list", [])
    beside = any(template.get(name) for name in ("templateHeader", "templateItemHighlight", "templateImageUrl"))
    return len(items) in _ITEMS and beside


def _check_links(links: Sequence[Mapping[str, str]], kinds: frozenset[str]) -> None:
    for link in links:
        kind = link.get("linkType", "")
        missing = any(not link.get(name) for name in _NEEDS.get(kind, ()))
        ways = sum(bool(link.get(name)) for name in ("linkAnd", "linkIos", "linkMo"))
        if kind not in kinds or missing or (kind == "AL" and ways < 2) or not link.get("name"):  # noqa: PLR2004 - documented so
            raise _Refused("510")
