"""SOLAPI's templates and their inspection (facts, section 7), which a test steers."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.profile import Operation, Template, TemplateButton
from bongsu.sandbox.solapi import wire
from bongsu.sandbox.solapi.codes import Refused
from bongsu.sandbox.truth import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from bongsu.sandbox.solapi.api import Call
    from bongsu.sandbox.solapi.dealer import Solapi

_STATUSES = {"registered": "PENDING", "inspecting": "INSPECTING", "approved": "APPROVED", "rejected": "REJECTED"}
_CATEGORIES = [{"code": "002001", "name": "구매완료"}, {"code": "999999", "name": "기타"}]
_MOST = 500


class _Button(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    button_name: str
    button_type: str
    link_mo: str | None = None
    link_pc: str | None = None
    link_and: str | None = None
    link_ios: str | None = None


class _Draft(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    name: str
    content: str
    category_code: str
    channel_id: str | None = None
    message_type: str = "BA"
    emphasize_type: str = "NONE"
    emphasize_title: str | None = None
    emphasize_sub_title: str | None = None
    header: str | None = None
    highlight: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    security_flag: bool = False
    buttons: list[_Button] = msgspec.field(default_factory=list)
    quick_replies: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Desk:
    """The account's templates. What is registered here is judged like what the profile names."""

    def __init__(self, dealer: Solapi) -> None:
        self.dealer = dealer
        self.names: dict[str, str] = {}
        self.comments: dict[str, list[dict[str, Any]]] = {}
        self.updated: dict[str, float] = {}

    def endpoints(self) -> list[tuple[str, str, Operation, Callable[[Call], Any]]]:
        """Return method, path, kind and answer of each."""
        one = "/kakao/v2/templates/{template_id}"
        return [
            ("GET", "/kakao/v2/templates/categories", Operation.LOOKUP, lambda _: _CATEGORIES),
            ("GET", "/kakao/v2/templates", Operation.LOOKUP, self.list),
            ("POST", "/kakao/v2/templates", Operation.ADD, self.create),
            ("GET", one, Operation.LOOKUP, lambda call: self._view(self._found(call))),
            ("PUT", one, Operation.ADD, self.change),
            ("DELETE", one, Operation.REMOVE, self.delete),
            ("PUT", one + "/inspection", Operation.ADD, self.request),
        ]

    def inspect(self, code: str, status: str, comment: str) -> None:
        """Do as the inspector. Raises ``KeyError`` for an unknown template, or a status that SOLAPI does not have."""
        self._put(self.dealer.templates[code].template.model_copy(update={"status": _STATUSES[status]}))
        if comment:
            said = {"isAdmin": True, "memberId": "admin", "content": comment, "dateCreated": self._now()}
            self.comments.setdefault(code, []).append(said)

    def list(self, call: Call) -> dict[str, Any]:
        """Return the templates of a channel."""
        wanted, limit = call.query.get("channelId"), min(int(call.query.get("limit", "20")), _MOST)
        known = [r.template for r in self.dealer.templates.values() if wanted in {None, r.template.pf_id}]
        start = call.query.get("startKey")
        at = next((n for n, each in enumerate(known) if each.template_id == start), 0)
        rest = known[at + limit :]
        return {
            "limit": limit,
            "templateList": [self._view(each) for each in known[at : at + limit]],
            "startKey": start,
            "nextKey": rest[0].template_id if rest else None,
        }

    def create(self, call: Call) -> dict[str, Any]:
        """Keep a template; it waits to be handed in."""
        draft = wire.read(call.body, _Draft)
        if draft.channel_id not in call.customer.account.channels and not self.dealer.profile.accept_any_template:
            raise Refused(404, "ResourceNotFound", "카카오톡 채널을 찾을 수 없습니다.")
        if draft.name in self.names.values():
            raise Refused(400, "ValidationError", "이미 사용 중인 템플릿 이름입니다.")
        template_id = f"KA01TP{self.dealer.clock.now():%y%m%d%H%M%S}{secrets.token_hex(7)}"
        return self._keep(template_id, str(draft.channel_id), draft)

    def change(self, call: Call) -> dict[str, Any]:
        """Take a new wording."""
        template = self._open(call)
        return self._keep(template.template_id, template.pf_id, wire.read(call.body, _Draft))

    def delete(self, call: Call) -> dict[str, Any]:
        """Forget a template."""
        template = self._open(call)
        del self.dealer.templates[template.template_id]
        self.names.pop(template.template_id, None)
        return self._view(template)

    def request(self, call: Call) -> dict[str, Any]:
        """Hand a template in that waits."""
        template = self._found(call)
        if template.status != "PENDING":
            raise Refused(400, "ValidationError", "대기 상태의 템플릿만 검수 요청할 수 있습니다.")
        return self._view(self._put(template.model_copy(update={"status": "INSPECTING"})))

    def _keep(self, template_id: str, channel: str, draft: _Draft) -> dict[str, Any]:
        self.names[template_id] = draft.name
        buttons = tuple(TemplateButton.model_validate(msgspec.to_builtins(button)) for button in draft.buttons)
        return self._view(
            self._put(
                Template(
                    template_id=template_id, pf_id=channel, content=draft.content, buttons=buttons, status="PENDING"
                )
            )
        )

    def _put(self, template: Template) -> Template:
        self.dealer.register_templates([template])
        self.updated[template.template_id] = self.dealer.clock.now().timestamp()
        return template

    def _found(self, call: Call) -> Template:
        known = self.dealer.templates.get(call.path["template_id"])
        if known is None:
            raise Refused(404, "ResourceNotFound", "템플릿을 찾을 수 없습니다.")
        return known.template

    def _open(self, call: Call) -> Template:
        template = self._found(call)
        if template.status not in {"PENDING", "REJECTED"}:
            raise Refused(400, "ValidationError", "대기, 반려 상태의 템플릿만 수정할 수 있습니다.")
        return template

    def _view(self, template: Template) -> dict[str, Any]:
        return {
            "templateId": template.template_id,
            "name": self.names.get(template.template_id, template.template_id),
            "channelId": template.pf_id,
            "channelGroupId": None,
            "content": template.content,
            "status": template.status,
            "comments": self.comments.get(template.template_id, []),
            "isHidden": False,
            "dateUpdated": iso(self.updated.get(template.template_id, 0.0)),
        }

    def _now(self) -> str:
        return iso(self.dealer.clock.now().timestamp())
