"""Templates at NHN: registering one hands it in for inspection, and a comment on a rejected one asks again.

Source: NHN docs ``alimtalk-api-guide`` v2.3, 2026-06-23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared.contracts.states import Channel
from shared.dealers.base import Ambiguous, Button, Item, QuickReply
from shared.dealers.http import Lost, NotReached
from shared.dealers.nhn import answers, wire
from shared.dealers.nhn.gateway import Said
from shared.dealers.templates import (
    TemplateApi,
    TemplateCallFailed,
    TemplateCategory,
    TemplateCopy,
    TemplateDraft,
    TemplateStatus,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dealers.nhn.gateway import Result, Service, Verdicts

PAGE = 1000
MAX_PAGES = 20
MAX_CODE = 20
ASK_AGAIN = "수정하였습니다. 다시 검수를 요청합니다."
"""a comment may not be empty"""

_STATUS = {
    "TSC01": TemplateStatus.INSPECTING,  # 요청: handed in, not begun
    "TSC02": TemplateStatus.INSPECTING,
    "TSC03": TemplateStatus.APPROVED,
    "TSC04": TemplateStatus.REJECTED,
}
_NO_SUCH_TEMPLATE = "-3003"
_EXISTS = "-3001"
_IN_USE = frozenset({TemplateStatus.APPROVED, TemplateStatus.DORMANT, TemplateStatus.BLOCKED})


class NhnTemplates(TemplateApi):
    """The templates of an account's profiles (``TemplateApi``)."""

    def __init__(self, service: Service, verdicts: Verdicts) -> None:
        self._service = service
        self._verdicts = verdicts

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every template of a profile; an approved one is asked for by itself: lists tell no ``dormant``."""
        copies: list[TemplateCopy] = []
        for page in range(1, MAX_PAGES + 1):
            query = [("pageNum", str(page)), ("pageSize", str(PAGE))]
            said = await self._service.call("GET", wire.BIZMESSAGE, "senders", sender_key, "templates", query=query)
            body = self._read(said)
            records = answers.at_path(body, "templateListResponse", "templates")
            if not isinstance(records, list):
                raise TemplateCallFailed("dealer_error", "the list of templates cannot be read")
            for record in records:
                copy = _copy(record)
                if copy is not None and copy.status is TemplateStatus.APPROVED and "dormant" not in record:
                    copy = await self.get(sender_key, copy.code)
                copies += [copy] if copy is not None else []
            if len(records) < PAGE:
                break
        return copies

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one; ``MISSING`` if NHN does not know it."""
        said = await self._service.call("GET", wire.BIZMESSAGE, "senders", sender_key, "templates", code)
        if isinstance(said, Said) and not said.successful and said.code == _NO_SUCH_TEMPLATE:
            return TemplateCopy(code, TemplateStatus.MISSING)
        copy = _copy(answers.at_path(self._read(said), "templates"))
        if copy is None:
            raise TemplateCallFailed("dealer_error", "the template cannot be read")
        return copy

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:
        """Register a template, which hands it in, or the new wording of a rejected one; return its code, our own.

        Done again after its answer was lost it does no harm.
        """
        body = msgspec.json.encode(_draft(draft))
        path = ("senders", sender_key, "templates")
        said = await self._service.call("POST", wire.BIZMESSAGE, *path, body=body)
        if not (isinstance(said, Said) and not said.successful and said.code == _EXISTS):
            self._read(said)
            return draft.code
        there = await self.get(sender_key, draft.code)
        if there.status is TemplateStatus.INSPECTING and there.text == draft.text:
            return draft.code
        if there.status is not TemplateStatus.REJECTED:
            raise TemplateCallFailed("invalid_request", f"-3001: a template of this code or name is {there.status}")
        change = {name: value for name, value in _draft(draft).items() if name != "templateCode"}
        self._read(
            await self._service.call("PUT", wire.BIZMESSAGE, *path, draft.code, body=msgspec.json.encode(change))
        )
        return draft.code

    async def submit(self, sender_key: str, code: str, comment: str) -> None:
        """Ask for inspection again after a rejection, or give a word to the inspector meanwhile.

        For a template that waits its turn (TSC01) there is nothing to do: registering it asked.
        """
        path = ("senders", sender_key, "templates", code)
        said = await self._service.call("GET", wire.BIZMESSAGE, *path)
        status = answers.at_path(self._read(said), "templates", "status")
        if status == "TSC01" or (status == "TSC02" and not comment):
            return
        if status == "TSC03":
            raise TemplateCallFailed("invalid_request", "the template is approved")
        body = msgspec.json.encode({"comment": comment or ASK_AGAIN})
        self._read(await self._service.call("POST", wire.BIZMESSAGE, *path, "comments", body=body))

    async def delete(self, sender_key: str, code: str) -> None:
        """Delete a template that was never approved: an approved one would vanish at NHN and stay at Kakao."""
        status = (await self.get(sender_key, code)).status
        if status is TemplateStatus.MISSING:
            return
        if status in _IN_USE:
            raise TemplateCallFailed("not_permitted", f"the template is {status}")
        self._read(await self._service.call("DELETE", wire.BIZMESSAGE, "senders", sender_key, "templates", code))

    async def categories(self) -> list[TemplateCategory]:
        """Return Kakao's categories."""
        groups = answers.at_path(
            self._read(await self._service.call("GET", wire.BIZMESSAGE, "template", "categories")), "categories"
        )
        return [
            TemplateCategory(
                str(category["code"]),
                str(category.get("name", "")),
                str(category.get("groupName") or answers.at_path(group, "name")),
            )
            for group in _items(groups)
            for category in _items(answers.at_path(group, "subCategories"))
            if isinstance(category, dict) and category.get("code")
        ]

    def _read(self, said: Result) -> Any:  # noqa: ANN401 - whatever was answered
        """Return the body of a success. Raises ``TemplateCallFailed``."""
        if isinstance(said, NotReached | Lost):
            raise TemplateCallFailed("dealer_unavailable", said.detail)
        if isinstance(said, Said) and said.successful:
            try:
                return answers.parsed(said.answer.body)
            except answers.Unreadable as error:
                raise TemplateCallFailed("dealer_error", "the answer cannot be read") from error
        verdict = self._verdicts.of_request(said, Channel.ALIMTALK)
        words = f"{said.code}: {said.words}" if isinstance(said, Said) else verdict.detail
        raise TemplateCallFailed("dealer_error" if isinstance(verdict, Ambiguous) else verdict.reason, words)


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _copy(record: object) -> TemplateCopy | None:
    code, status = answers.at_path(record, "templateCode"), _STATUS.get(str(answers.at_path(record, "status")))
    if not isinstance(code, str) or status is None:
        return None
    if answers.at_path(record, "block") is True:
        status = TemplateStatus.BLOCKED
    elif answers.at_path(record, "dormant") is True:
        status = TemplateStatus.DORMANT
    comments = [said for said in _items(answers.at_path(record, "comments")) if answers.at_path(said, "content")]
    comments.sort(key=lambda said: str(said.get("createdAt", "")))
    text = answers.at_path(record, "templateContent")
    return TemplateCopy(
        code=code,
        status=status,
        text=text if isinstance(text, str) else "",
        comments=tuple(str(said["content"]) for said in comments),
        changed_at=answers.moment(answers.at_path(record, "updateDate") or answers.at_path(record, "createDate")),
    )


def _draft(draft: TemplateDraft) -> dict[str, Any]:
    if len(draft.code) > MAX_CODE:
        raise TemplateCallFailed("invalid_request", f"NHN's template codes have {MAX_CODE} characters at most")
    listed = bool(draft.items or draft.header or draft.highlight or draft.summary)
    body: dict[str, Any] = {
        "templateCode": draft.code,
        "templateName": draft.name,
        "templateContent": draft.text,
        "templateMessageType": "AD" if any(button.kind == "AC" for button in draft.buttons) else "BA",
        "templateEmphasizeType": "ITEM_LIST" if listed else "TEXT" if draft.title else "NONE",
        "securityFlag": draft.secure,
        "categoryCode": draft.category,
    }
    if draft.title and listed:
        raise TemplateCallFailed("invalid_request", "a template has a title or an item list, not both")
    if draft.title or draft.subtitle:
        body |= {"templateTitle": draft.title, "templateSubtitle": draft.subtitle}
    if draft.header:
        body["templateHeader"] = draft.header
    if draft.items or draft.summary:
        body["templateItem"] = {"list": [_item(item) for item in draft.items]}
        if draft.summary:
            body["templateItem"]["summary"] = _item(draft.summary)
    if draft.highlight:
        body["templateItemHighlight"] = _item(draft.highlight)
    if draft.buttons:
        body["buttons"] = _parts(draft.buttons)
    if draft.quick_replies:
        body["quickReplies"] = _parts(draft.quick_replies)
    return body


def _item(item: Item) -> dict[str, str]:
    return {"title": item.title, "description": item.description}


def _parts(parts: Sequence[Button | QuickReply]) -> list[dict[str, Any]]:
    return [_part(n, part) for n, part in enumerate(parts, 1)]


def _part(n: int, part: Button | QuickReply) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "ordering": n,
        "type": part.kind,
        "name": part.name,
        "linkMo": part.url_mobile,
        "linkPc": part.url_pc,
        "schemeIos": part.scheme_ios,
        "schemeAndroid": part.scheme_android,
    }
    if part.biz_form_id is not None:
        if not (part.biz_form_id.isascii() and part.biz_form_id.isdigit()):
            raise TemplateCallFailed("invalid_request", "NHN's biz form ids are numbers")
        fields["bizFormId"] = int(part.biz_form_id)
    if isinstance(part, Button):
        fields |= {"pluginId": part.plugin_id, "telNumber": part.phone}
    return {name: value for name, value in fields.items() if value is not None}
