"""Templates at Aligo. It gives the codes itself, and names a button's links one way here and another when sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared.dealers.aligo import wire
from shared.dealers.aligo.gateway import trouble_with
from shared.dealers.base import Ambiguous, Button
from shared.dealers.http import Answer
from shared.dealers.templates import TemplateApi, TemplateCallFailed, TemplateCopy, TemplateDraft, TemplateStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.dealers.aligo.gateway import Gateway, Refusals

CHANNEL_ADDED = "채널 추가하고 이 채널의 마케팅 메시지 등을 카카오톡으로 받기"
"""Kakao's fixed sentence for a template with a button AC (Kakao Business guide, 알림톡 제작 가이드)"""

_INSPECTIONS = {
    "REG": TemplateStatus.REGISTERED,
    "REQ": TemplateStatus.INSPECTING,
    "APR": TemplateStatus.APPROVED,
    "REJ": TemplateStatus.REJECTED,
}
_CHANGEABLE = frozenset({TemplateStatus.REGISTERED, TemplateStatus.REJECTED})


class Templates(TemplateApi):
    """The template calls of an account (API SPEC 2026-03-29, 템플릿 관리)."""

    def __init__(self, gateway: Gateway, refusals: Refusals) -> None:
        self._gateway = gateway
        self._refusals = refusals

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every template of a profile, those shared by Aligo (codes with D and P) among them."""
        reply = await self._call("list", [("senderkey", sender_key)])
        try:
            return [copy for row in reply.rows if (copy := _copy(row)) is not None]
        except wire.Unreadable as error:
            raise TemplateCallFailed("dealer_unavailable", f"the list cannot be read: {error}") from error

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one; ``MISSING`` if Aligo does not list it."""
        copies = {copy.code: copy for copy in await self.every(sender_key)}
        return copies.get(code) or TemplateCopy(code, TemplateStatus.MISSING)

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:
        """Register a template and return the code that Aligo gives it; ``draft.code`` is its code only if it has one.

        A template that Aligo has under ``draft.code`` is changed, which it allows before inspection and after a
        rejection. Aligo asks for no category. A lost answer may leave a template that nobody knows the code of.
        """
        fields = [("senderkey", sender_key), *_fields(draft)]
        known = await self.get(sender_key, draft.code)
        if known.status is TemplateStatus.MISSING:
            return _code_given(await self._call("add", fields))
        if known.status not in _CHANGEABLE:
            raise TemplateCallFailed("not_permitted", f"a template that is {known.status} is not changed")
        await self._call("modify", [*fields, ("tpl_code", draft.code)])
        return draft.code

    async def submit(self, sender_key: str, code: str, comment: str) -> None:  # noqa: ARG002 - no field takes it
        """Ask for inspection. Aligo has no field for a word to the inspector."""
        await self._call("request", [("senderkey", sender_key), ("tpl_code", code)])

    async def delete(self, sender_key: str, code: str) -> None:
        """Delete a template that was never approved."""
        await self._call("del", [("senderkey", sender_key), ("tpl_code", code)])

    async def _call(self, what: str, fields: wire.Fields) -> wire.Reply:
        outcome = await self._gateway.call(("akv10", "template", what, ""), fields, is_text=False)
        trouble = trouble_with(outcome)
        if trouble is not None or not isinstance(outcome, Answer):
            reason = "dealer_unavailable" if trouble is None or isinstance(trouble, Ambiguous) else trouble.reason
            raise TemplateCallFailed(reason, getattr(trouble, "detail", "") or getattr(trouble, "code", ""))
        try:
            reply = wire.read_reply(outcome.body)
        except wire.Unreadable as error:
            raise TemplateCallFailed("dealer_unavailable", f"the answer cannot be read: {error}") from error
        if reply.code != 0:
            refused = self._refusals.of(reply, None)
            raise TemplateCallFailed(refused.reason, f"{refused.code} {refused.detail}".strip())
        return reply


def _fields(draft: TemplateDraft) -> wire.Fields:
    """Return a draft as Aligo takes it. Raises ``TemplateCallFailed`` for what it has no field for."""
    without_a_field = {
        "header": draft.header,
        "highlight": draft.highlight,
        "items": draft.items,
        "summary": draft.summary,
        "quick_replies": draft.quick_replies,
    }
    for name, value in without_a_field.items():
        if value:
            raise TemplateCallFailed("invalid_request", f"Aligo has no field for {name}")
    for button in draft.buttons:
        if button.kind not in wire.LINK_TYPES:
            raise TemplateCallFailed("invalid_request", f"Aligo has no buttons of the kind {button.kind}")
    if (draft.title is None) != (draft.subtitle is None):
        raise TemplateCallFailed("invalid_request", "title and subtitle stand together, or neither does")
    fields = [
        ("tpl_name", draft.name),
        ("tpl_content", draft.text),
        ("tpl_secure", "Y" if draft.secure else "N"),
    ]
    adds_channel = any(button.kind == "AC" for button in draft.buttons)
    fields += [("tpl_type", "AD"), ("tpl_advert", CHANNEL_ADDED)] if adds_channel else [("tpl_type", "BA")]
    if draft.title is None or draft.subtitle is None:
        fields.append(("tpl_emtype", "NONE"))
    else:
        fields += [("tpl_emtype", "TEXT"), ("tpl_title", draft.title), ("tpl_stitle", draft.subtitle)]
    if draft.buttons:
        buttons = [_button(button) for button in draft.buttons]
        fields.append(("tpl_button", msgspec.json.encode({"button": buttons}).decode()))
    return fields


def _button(button: Button) -> dict[str, str]:
    """Return a button as it is registered: ``linkM``, where a message and the list say ``linkMo``."""
    fields = {
        "name": button.name,
        "linkType": button.kind,
        "linkM": button.url_mobile,
        "linkP": button.url_pc,
        "linkI": button.scheme_ios,
        "linkA": button.scheme_android,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _code_given(reply: wire.Reply) -> str:
    """Return the code of a template just registered: in ``data``, or, as a public client saw it, in ``info``."""
    for name in ("data", "info"):
        holder = reply.body.get(name)
        code = wire.request_id(holder.get("templtCode")) if isinstance(holder, dict) else None
        if code is not None:
            return code
    raise TemplateCallFailed("dealer_error", "registered, but the answer names no code: look for it in the list")


def _copy(row: Mapping[str, Any]) -> TemplateCopy | None:
    """Read a row of the list; None without code or state. Aligo gives line breaks as CRLF."""
    code = wire.request_id(row.get("templtCode"))
    status = _INSPECTIONS.get(str(row.get("inspStatus")))
    if code is None or status is None:
        return None
    if status is TemplateStatus.APPROVED and row.get("status") == "S":
        status = TemplateStatus.STOPPED
    text = row.get("templtContent")
    return TemplateCopy(
        code,
        status,
        text.replace("\r\n", "\n") if isinstance(text, str) else "",
        _comments(row.get("comments")),
    )


def _comments(value: object) -> tuple[str, ...]:
    """Return the inspector's words: Aligo shows an empty list only, Kakao's own objects have ``content``."""
    items = value if isinstance(value, list) else [value]
    words = (item.get("content") if isinstance(item, dict) else item for item in items)
    return tuple(word for word in words if isinstance(word, str) and word)
