"""Templates by Luna's center API (center-api.md 3): forms out, JSON in."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.clock import SEOUL
from shared.dealers.luna.center import Center, CenterCallFailed
from shared.dealers.luna.wire import CannotSay, form_id
from shared.dealers.templates import (
    TemplateApi,
    TemplateCallFailed,
    TemplateCategory,
    TemplateCopy,
    TemplateDraft,
    TemplateStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.dealers.base import Button, QuickReply

_V2 = ("api", "v2", "alimtalk", "template")
_CHANGED = ("api", "v3", "alimtalk", "template", "last_modified")
_SINCE = "20100101000000"  # before there was AlimTalk: every template has changed since
_PAGE = 1000
_MAX_PAGES = 100

_CODE_TAKEN = "504"
_NO_DATA = "508"

_INSPECTION = {
    "REG": TemplateStatus.REGISTERED,
    "REQ": TemplateStatus.INSPECTING,
    "APR": TemplateStatus.APPROVED,
    "REJ": TemplateStatus.REJECTED,
}
_RENAMED = {
    name: "new" + name[0].upper() + name[1:]
    for name in (
        "senderKey",
        "templateCode",
        "templateName",
        "templateMessageType",
        "templateEmphasizeType",
        "templateContent",
        "templateTitle",
        "templateSubtitle",
        "templateHeader",
        "templateItemHighlight",
        "templateItem",
        "categoryCode",
    )
}
"""what an update calls by another name than a registration (center-api.md 3.4.1)"""

Form = list[tuple[str, str]]


class LunaTemplates(TemplateApi):
    """The templates of sender profiles (not of groups of them)."""

    def __init__(self, center: Center) -> None:
        self._center = center

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every template of a profile: a call for each, since the list holds codes alone."""
        codes: dict[str, None] = {}
        for page in range(1, _MAX_PAGES + 1):
            query = [("senderKey", sender_key), ("since", _SINCE), ("page", str(page)), ("count", str(_PAGE))]
            answer = await self._center.get(*_CHANGED, query=query)
            listed = answer.list if isinstance(answer.list, list) else []
            codes |= {item["templateCode"]: None for item in listed if isinstance(item, dict) and _code(item)}
            if answer.has_next is not True or not listed:
                break
        copies = [await self.get(sender_key, code) for code in codes]
        return [copy for copy in copies if copy.status is not TemplateStatus.MISSING]

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one; ``MISSING`` if it is not there or deleted (508)."""
        try:
            answer = await self._center.get(*_V2, query=[("senderKey", sender_key), ("templateCode", code)])
        except CenterCallFailed as failure:
            if failure.code != _NO_DATA:
                raise
            return TemplateCopy(code, TemplateStatus.MISSING)
        return _copy(code, answer.data)

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:
        """Register a template; where the code is taken, put the new wording in its place, if it is not approved."""
        form = _form(sender_key, draft)
        try:
            await self._center.post(*_V2, "create", form=form)
        except CenterCallFailed as failure:
            if failure.code != _CODE_TAKEN:
                raise
            await self._center.post(*_V2, "update", form=_update(sender_key, draft.code, form))
        return draft.code

    async def submit(self, sender_key: str, code: str, comment: str) -> None:
        """Ask for inspection. After a rejection Luna wants a new wording first (``register``)."""
        form = _named(sender_key, code)
        if comment:
            form.append(("comment", comment))
        await self._center.post(*_V2, "request", form=form)

    async def stop(self, sender_key: str, code: str) -> None:
        """Stop an approved template."""
        await self._center.post(*_V2, "stop", form=_named(sender_key, code))

    async def delete(self, sender_key: str, code: str) -> None:
        """Delete a template that is registered or rejected."""
        await self._center.post(*_V2, "delete", form=_named(sender_key, code))

    async def categories(self) -> list[TemplateCategory]:
        """Return Kakao's categories."""
        answer = await self._center.get(*_V2, "category", "all")
        listed = answer.data if isinstance(answer.data, list) else []
        return [
            TemplateCategory(str(item["code"]), str(item.get("name", "")), str(item.get("groupName", "")))
            for item in listed
            if isinstance(item, dict) and "code" in item
        ]


# -- out ---------------------------------------------------------------------------------------------------------


def _named(sender_key: str, code: str) -> Form:
    return [("senderKey", sender_key), ("senderKeyType", "S"), ("templateCode", code)]


def _form(sender_key: str, draft: TemplateDraft) -> Form:
    adds_channel = any(button.kind == "AC" for button in draft.buttons)
    emphasis = "ITEM_LIST" if draft.items else "TEXT" if draft.title is not None else "NONE"
    form = [
        *_named(sender_key, draft.code),
        ("templateName", draft.name),
        ("templateMessageType", "AD" if adds_channel else "BA"),
        ("templateEmphasizeType", emphasis),
        ("templateContent", draft.text),
        ("categoryCode", draft.category),
    ]
    optional = {"templateTitle": draft.title, "templateSubtitle": draft.subtitle, "templateHeader": draft.header}
    form += [(name, value) for name, value in optional.items() if value is not None]
    if draft.secure:
        form.append(("securityFlag", "true"))
    if draft.highlight is not None:
        form += _pair("templateItemHighlight", draft.highlight.title, draft.highlight.description)
    for n, item in enumerate(draft.items):
        form += _pair(f"templateItem.list[{n}]", item.title, item.description)
    if draft.summary is not None:
        form += _pair("templateItem.summary", draft.summary.title, draft.summary.description)
    for n, button in enumerate(draft.buttons):
        form.append((f"buttons[{n}].ordering", str(n + 1)))
        form += _link(f"buttons[{n}]", button)
    for n, reply in enumerate(draft.quick_replies):
        form += _link(f"quickReplies[{n}]", reply)
    return form


def _update(sender_key: str, code: str, form: Form) -> Form:
    renamed = [(_new_name(name), value) for name, value in form if name != "senderKeyType"]
    return [*_named(sender_key, code), *renamed]


def _new_name(name: str) -> str:
    head = re.match(r"\w+", name)
    assert head is not None  # noqa: S101 - every name of a form begins with a letter
    return _RENAMED.get(head[0], head[0]) + name[head.end() :]


def _pair(name: str, title: str, description: str) -> Form:
    return [(f"{name}.title", title), (f"{name}.description", description)]


def _link(name: str, link: Button | QuickReply) -> Form:
    if link.kind == "TN":
        raise TemplateCallFailed("invalid_request", "Luna has no TN buttons")
    try:
        form = None if link.biz_form_id is None else str(form_id(link.biz_form_id))
    except CannotSay as refusal:
        raise TemplateCallFailed(refusal.reason, refusal.detail) from refusal
    fields = {
        "name": link.name,
        "linkType": link.kind,
        "linkMo": link.url_mobile,
        "linkPc": link.url_pc,
        "linkAnd": link.scheme_android,
        "linkIos": link.scheme_ios,
        "pluginId": getattr(link, "plugin_id", None),
        "bizFormId": form,
    }
    return [(f"{name}.{field}", value) for field, value in fields.items() if value is not None]


# -- in ----------------------------------------------------------------------------------------------------------


def _copy(code: str, data: object) -> TemplateCopy:
    """Read a template. Raises ``TemplateCallFailed`` when its state cannot be told."""
    if not isinstance(data, dict):
        raise TemplateCallFailed("dealer_error", "the template cannot be read")
    return TemplateCopy(
        code=code,
        status=_status(data),
        text=str(data.get("templateContent") or ""),
        comments=tuple(_comments(data.get("comments"))),
        changed_at=_moment(data.get("modifiedAt")) or _moment(data.get("createdAt")),
    )


def _status(data: dict[str, Any]) -> TemplateStatus:
    """Blocked, dormant and stopped templates keep their inspection's result beside it."""
    if data.get("block") is True:
        return TemplateStatus.BLOCKED
    if data.get("dormant") is True:
        return TemplateStatus.DORMANT
    if data.get("status") == "S":
        return TemplateStatus.STOPPED
    status = _INSPECTION.get(str(data.get("inspectionStatus")))
    if status is None:
        raise TemplateCallFailed("dealer_error", "an inspection status that Luna does not document")
    return status


def _comments(listed: object) -> Iterator[str]:
    for comment in sorted(_dicts(listed), key=lambda comment: str(comment.get("createdAt") or "")):
        if isinstance(content := comment.get("content"), str) and content:
            yield content


def _dicts(listed: object) -> list[dict[str, Any]]:
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _code(item: dict[str, Any]) -> bool:
    code = item.get("templateCode")
    return isinstance(code, str) and bool(code)


def _moment(text: object) -> datetime | None:
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S").replace(tzinfo=SEOUL)
    except ValueError:
        return None
