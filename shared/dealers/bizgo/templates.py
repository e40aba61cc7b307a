"""Bizgo's template calls (``/center/alimtalk``), by the models of SDK 1.2.0."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from shared.clock import SEOUL
from shared.dealers.base import Ambiguous, NotTaken, Refused
from shared.dealers.bizgo import content, wire
from shared.dealers.bizgo.wire import Said
from shared.dealers.templates import (
    TemplateApi,
    TemplateCallFailed,
    TemplateCategory,
    TemplateCopy,
    TemplateDraft,
    TemplateStatus,
)

if TYPE_CHECKING:
    from shared.dealers.bizgo.gateway import Gateway
    from shared.dealers.http import Query

_TEMPLATE = ("center", "alimtalk", "template")
_PAGE = 100
_PAGES = 100
_INSPECTION = {
    "REG": TemplateStatus.REGISTERED,
    "REQ": TemplateStatus.INSPECTING,
    "APR": TemplateStatus.APPROVED,
    "REJ": TemplateStatus.REJECTED,
}
_STOPPED = "S"


class _Comment(msgspec.Struct):
    content: Any = None
    """not in the SDK's model, which keeps what it does not know; Kakao's own API calls it so"""
    comment: Any = None


class _Template(msgspec.Struct, rename="camel"):
    template_code: Any = None
    text: Any = None
    inspection_status: Any = None
    status: Any = None
    block: Any = None
    dormant: Any = None
    modified_at: Any = None
    comments: list[_Comment] | None = None


class _Templates(msgspec.Struct):
    templates: list[_Template] | None = None


class _Some(msgspec.Struct):
    alimtalk: _Templates | None = None


class _One(msgspec.Struct):
    alimtalk: _Template | None = None


class _Category(msgspec.Struct, rename="camel"):
    code: str
    name: str = ""
    group_name: str = ""


class _Categories(msgspec.Struct):
    categories: list[_Category] | None = None


class BizgoTemplates(TemplateApi):
    """The templates of an account (``TemplateApi``)."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every template of a profile."""
        copies: dict[str, TemplateCopy] = {}
        for page in range(_PAGES):
            query = [("senderKey", sender_key), ("offset", str(page * _PAGE)), ("limit", str(_PAGE))]
            said = await self._call("GET", *_TEMPLATE, "list", query=query)
            found = self._read(said.data, _Some).alimtalk if said else None
            templates = (found and found.templates) or []
            fresh = {copy.code: copy for copy in map(_copy_of, templates) if copy and copy.code not in copies}
            copies |= fresh
            if len(templates) < _PAGE or not fresh:
                break
        return list(copies.values())

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one; ``MISSING`` if Bizgo does not know it."""
        said = await self._call("GET", *_TEMPLATE, query=[("senderKey", sender_key), ("templateCode", code)])
        template = self._read(said.data, _One).alimtalk if said and said.data else None
        return (template and _copy_of(template)) or TemplateCopy(code, TemplateStatus.MISSING)

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:
        """Register a template, or its new wording where Bizgo has it; return its code, which is ours."""
        body = self._encode({"alimtalk": template_of(sender_key, draft)})
        known = await self.get(sender_key, draft.code)
        method = "POST" if known.status is TemplateStatus.MISSING else "PUT"
        said = await self._call(method, *_TEMPLATE, body=body)
        template = self._read(said.data, _One).alimtalk if said and said.data else None
        copy = template and _copy_of(template)
        return copy.code if copy else draft.code

    async def submit(self, sender_key: str, code: str, comment: str) -> None:
        """Ask for inspection, with a word to the inspector; after a rejection, once it is worded anew."""
        asked = {"senderKey": sender_key, "templateCode": code, **({"comment": comment} if comment else {})}
        await self._must("POST", *_TEMPLATE, "request", body=self._encode({"alimtalk": asked}))

    async def delete(self, sender_key: str, code: str) -> None:
        """Delete a template that was never approved."""
        await self._must("DELETE", *_TEMPLATE, "senderKey", sender_key, "templateCode", code)

    async def categories(self) -> list[TemplateCategory]:
        """Return Kakao's categories."""
        said = await self._call("GET", "center", "alimtalk", "category")
        found = self._read(said.data, _Categories).categories if said and said.data else None
        return [TemplateCategory(each.code, each.name, each.group_name) for each in found or ()]

    # -- calls ---------------------------------------------------------------------------------------------------

    async def _must(self, method: str, *path: str, body: bytes | None = None) -> None:
        if await self._call(method, *path, body=body) is None:
            raise TemplateCallFailed("template_not_found", f"{wire.NO_SUCH_DATA}: Bizgo does not know it")

    async def _call(self, method: str, *path: str, body: bytes | None = None, query: Query = ()) -> Said | None:
        """Make a call; None for A820, no such data. Raises ``TemplateCallFailed``."""
        said = self._gateway.read(await self._gateway.call(method, *path, body=body, query=query))
        match said:
            case Said():
                return said if said.is_ok else _failed("duplicate", said.code)
            case Refused(code=wire.NO_SUCH_DATA):
                return None
            case Refused(reason, code, detail) | NotTaken(reason, code, detail):
                return _failed(reason, f"{code} {detail}".strip())
            case Ambiguous(detail):
                return _failed("dealer_unavailable", detail)

    @staticmethod
    def _read(data: bytes, kind: type[Any]) -> Any:  # noqa: ANN401 - as ``kind``
        try:
            return wire.read(data, kind)
        except wire.Unreadable:
            _failed("dealer_error", "the answer cannot be read")

    @staticmethod
    def _encode(body: dict[str, Any]) -> bytes:
        try:
            return msgspec.json.encode(body)
        except UnicodeEncodeError:
            _failed("content_charset", "half of a surrogate pair, which is no text")


def _failed(reason: str, detail: str) -> NoReturn:
    raise TemplateCallFailed(reason, detail)


def template_of(sender_key: str, draft: TemplateDraft) -> dict[str, Any]:
    """Return a draft as Bizgo wants it. Raises ``TemplateCallFailed`` for what it has no field for."""
    emphasis = "ITEM_LIST" if draft.items else "TEXT" if draft.title else "NONE"
    try:
        attachment = content.attachment_of(draft.buttons, draft.items, draft.summary, draft.highlight)
        supplement = content.supplement_of(draft.quick_replies)
    except content.Unfit as unfit:
        raise TemplateCallFailed(unfit.refusal.reason, unfit.refusal.detail) from unfit
    fields = {
        "senderKey": sender_key,
        "templateName": draft.name,
        "templateCode": draft.code,
        "templateMessageType": "AD" if any(button.kind == "AC" for button in draft.buttons) else "BA",
        "templateEmphasizeType": emphasis,
        "text": draft.text,
        "title": draft.title,
        "subTitle": draft.subtitle,
        "header": draft.header,
        "attachment": attachment,
        "supplement": supplement,
        "categoryCode": draft.category,
        "securityFlag": draft.secure,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _copy_of(template: _Template) -> TemplateCopy | None:
    """Return a template as Bizgo has it; None for one without a code."""
    if not isinstance(template.template_code, str) or not template.template_code:
        return None
    comments = tuple(
        text for each in template.comments or () for text in (each.content, each.comment) if isinstance(text, str)
    )
    return TemplateCopy(
        template.template_code,
        _status_of(template),
        template.text if isinstance(template.text, str) else "",
        comments,
        _moment(template.modified_at),
    )


def _status_of(template: _Template) -> TemplateStatus:
    """Return where a template stands; ``block`` and ``dormant`` are texts there."""
    if template.block in ("true", True):
        return TemplateStatus.BLOCKED
    if template.dormant in ("true", True):
        return TemplateStatus.DORMANT
    if template.status == _STOPPED:
        return TemplateStatus.STOPPED
    inspection = template.inspection_status
    return (
        _INSPECTION.get(inspection, TemplateStatus.REGISTERED)
        if isinstance(inspection, str)
        else (TemplateStatus.REGISTERED)
    )


def _moment(text: object) -> datetime | None:
    """Return a time; one without an offset is Seoul's."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=SEOUL)
