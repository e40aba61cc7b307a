"""Templates at SOLAPI. It gives the codes itself (``KA01TP…``), and says nothing of dormant, stopped or blocked ones.

Sources: the models and calls of SOLAPI's Node SDK (``kakaoAlimtalkTemplate``, ``createKakaoAlimtalkTemplateRequest``,
6.0.1 of 2026-04-21); asking for inspection in its 5.x (``requestInspectionKakaoAlimtalkTemplate``), left out of 6.0.1.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from shared.dealers.http import Answer
from shared.dealers.printable import printable
from shared.dealers.solapi.content import BUTTONS, QUICK_REPLIES
from shared.dealers.solapi.gateway import code_of
from shared.dealers.templates import (
    TemplateApi,
    TemplateCallFailed,
    TemplateCategory,
    TemplateCopy,
    TemplateDraft,
    TemplateStatus,
)

if TYPE_CHECKING:
    from shared.dealers.base import Button, QuickReply
    from shared.dealers.http import Query
    from shared.dealers.solapi.gateway import Gateway

_TEMPLATES = ("kakao", "v2", "templates")
_PAGE = 500
_MAX_PAGES = 20
_STATUS = {
    "PENDING": TemplateStatus.REGISTERED,
    "INSPECTING": TemplateStatus.INSPECTING,
    "APPROVED": TemplateStatus.APPROVED,
    "REJECTED": TemplateStatus.REJECTED,
}
_CHANGEABLE = frozenset({TemplateStatus.REGISTERED, TemplateStatus.REJECTED})
_REASONS: dict[int, str] = {
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limited",
    HTTPStatus.UNAUTHORIZED: "auth_failed",
    HTTPStatus.FORBIDDEN: "auth_failed",
    HTTPStatus.NOT_FOUND: "template_not_found",
    HTTPStatus.BAD_REQUEST: "invalid_request",
    HTTPStatus.CONFLICT: "invalid_request",
}
_LINKS = {"url_mobile": "linkMo", "url_pc": "linkPc", "scheme_android": "linkAnd", "scheme_ios": "linkIos"}


class _Comment(msgspec.Struct, rename="camel"):
    content: Any = None
    date_created: Any = None


class _Template(msgspec.Struct, rename="camel"):
    template_id: str
    name: Any = None
    channel_id: Any = None
    content: Any = None
    status: Any = None
    comments: list[_Comment] | None = None
    date_updated: Any = None


class _Page(msgspec.Struct, rename="camel"):
    template_list: list[_Template]
    next_key: str | None = None


class _Category(msgspec.Struct):
    code: str
    name: str = ""


class SolapiTemplates(TemplateApi):
    """The templates of an account's channels (``TemplateApi``)."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every template of a channel; those of its group are had one by one."""
        return [copy for each in await self._list(sender_key) if (copy := _copy(each)) is not None]

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one; ``MISSING`` if the account has none, or it is another channel's."""
        outcome = await self._gateway.call_signing_again("GET", *_TEMPLATES, code)
        if isinstance(outcome, Answer) and outcome.status == HTTPStatus.NOT_FOUND:
            return TemplateCopy(code, TemplateStatus.MISSING)
        template = _read(outcome, _Template)
        if isinstance(template.channel_id, str) and template.channel_id != sender_key:
            return TemplateCopy(code, TemplateStatus.MISSING)
        return _copy(template) or _failed("dealer_error", "a state that SOLAPI does not document")

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:
        """Register a template and return the code that SOLAPI gives it; ``draft.code`` is its code only if it has one.

        One that the channel has under this code or name is changed, which SOLAPI allows before inspection and after a
        rejection; so it does no harm to repeat a call whose answer was lost.
        """
        fields = _fields(draft)
        known = await self._known(sender_key, draft)
        if known is None:
            body = msgspec.json.encode({**fields, "channelId": sender_key})
            made: _Template = _read(await self._gateway.call("POST", *_TEMPLATES, body=body), _Template)
            return printable(made.template_id) or _failed("dealer_error", "registered, and its code cannot be read")
        if known.status not in _CHANGEABLE:
            _failed("not_permitted", f"a template that is {known.status} is not changed")
        _read(await self._gateway.call("PUT", *_TEMPLATES, known.code, body=msgspec.json.encode(fields)), None)
        return known.code

    async def submit(self, sender_key: str, code: str, comment: str) -> None:  # noqa: ARG002 - no field takes it
        """Ask for inspection. The call has no field for a word to the inspector."""
        if (await self.get(sender_key, code)).status is TemplateStatus.INSPECTING:
            return
        _read(await self._gateway.call("PUT", *_TEMPLATES, code, "inspection"), None)

    async def delete(self, sender_key: str, code: str) -> None:  # noqa: ARG002 - codes are the account's
        """Delete a template that waits or was rejected."""
        _read(await self._gateway.call("DELETE", *_TEMPLATES, code), None)

    async def categories(self) -> list[TemplateCategory]:
        """Return Kakao's categories; SOLAPI tells no groups of them."""
        outcome = await self._gateway.call_signing_again("GET", *_TEMPLATES, "categories")
        return [TemplateCategory(each.code, each.name, "") for each in _read(outcome, list[_Category])]

    async def _known(self, sender_key: str, draft: TemplateDraft) -> TemplateCopy | None:
        copy = await self.get(sender_key, draft.code)
        if copy.status is not TemplateStatus.MISSING:
            return copy
        named = (each for each in await self._list(sender_key) if each.name == draft.name)
        return next(filter(None, map(_copy, named)), None)

    async def _list(self, sender_key: str) -> list[_Template]:
        found: list[_Template] = []
        query: Query = [("channelId", sender_key), ("limit", str(_PAGE))]
        start: Query = []
        for _ in range(_MAX_PAGES):
            page = _read(await self._gateway.call_signing_again("GET", *_TEMPLATES, query=[*query, *start]), _Page)
            found += page.template_list
            if not page.next_key:
                break
            start = [("startKey", page.next_key)]
        return found


def _failed(reason: str, detail: str) -> NoReturn:
    raise TemplateCallFailed(reason, detail)


def _read(outcome: object, kind: Any) -> Any:  # noqa: ANN401 - as ``kind``
    """Return the body of a success, as ``kind`` unless that is None. Raises ``TemplateCallFailed``."""
    if not isinstance(outcome, Answer):
        _failed("dealer_unavailable", getattr(outcome, "detail", ""))
    if outcome.status != HTTPStatus.OK:
        _failed(_REASONS.get(outcome.status, "dealer_error"), code_of(outcome))
    if kind is None:
        return None
    try:
        return msgspec.json.decode(outcome.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _failed("dealer_error", "the answer cannot be read")


def _copy(template: _Template) -> TemplateCopy | None:
    """Return a template as SOLAPI has it; None for one whose id or state cannot be told."""
    status = _STATUS.get(template.status) if isinstance(template.status, str) else None
    if status is None or printable(template.template_id) is None:
        return None
    said = sorted(template.comments or (), key=lambda each: str(each.date_created or ""))
    return TemplateCopy(
        template.template_id,
        status,
        template.content if isinstance(template.content, str) else "",
        tuple(each.content for each in said if isinstance(each.content, str) and each.content),
        _moment(template.date_updated),
    )


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _fields(draft: TemplateDraft) -> dict[str, Any]:
    """Return a draft as SOLAPI takes it. Raises ``TemplateCallFailed`` for what it has no field for."""
    for what, given, kinds in (
        ("button", {button.kind for button in draft.buttons}, BUTTONS),
        ("quick reply", {reply.kind for reply in draft.quick_replies}, QUICK_REPLIES),
    ):
        if unknown := sorted(given - kinds):
            _failed("invalid_request", f"SOLAPI has no {what} of the kind {unknown[0]}")
    listed = bool(draft.items or draft.header or draft.highlight or draft.summary)
    if draft.title and listed:
        _failed("invalid_request", "a template has a title or an item list, not both")
    if (draft.title is None) != (draft.subtitle is None):
        _failed("invalid_request", "title and subtitle stand together, or neither does")
    fields: dict[str, Any] = {
        "name": draft.name,
        "content": draft.text,
        "categoryCode": draft.category,
        "messageType": "AD" if any(button.kind == "AC" for button in draft.buttons) else "BA",
        "emphasizeType": "ITEM_LIST" if listed else "TEXT" if draft.title else "NONE",
        "securityFlag": draft.secure,
        "buttons": [{"buttonName": each.name, "buttonType": each.kind, **_links(each)} for each in draft.buttons],
        "quickReplies": [{"name": each.name, "linkType": each.kind, **_links(each)} for each in draft.quick_replies],
    }
    if draft.title is not None:
        fields |= {"emphasizeTitle": draft.title, "emphasizeSubTitle": draft.subtitle}
    if draft.header is not None:
        fields["header"] = draft.header
    if draft.highlight is not None:
        fields["highlight"] = {"title": draft.highlight.title, "description": draft.highlight.description}
    if draft.items:
        fields["item"] = {
            "list": [{"title": item.title, "description": item.description} for item in draft.items],
            "summary": {"title": draft.summary.title, "description": draft.summary.description}
            if draft.summary
            else {},
        }
    return fields


def _links(part: Button | QuickReply) -> dict[str, str]:
    return {theirs: value for ours, theirs in _LINKS.items() if (value := getattr(part, ours)) is not None}
