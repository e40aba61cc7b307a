"""Templates at SENS: its API reads them. They are registered, submitted, stopped and deleted in its console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.dealers.base import NotTaken, Refused
from shared.dealers.http import Answer
from shared.dealers.sens import answers
from shared.dealers.sens.gateway import OK
from shared.dealers.templates import TemplateApi, TemplateCallFailed, TemplateCopy, TemplateDraft, TemplateStatus

if TYPE_CHECKING:
    from shared.dealers.http import Query
    from shared.dealers.sens.gateway import Gateway

PAGE = 100
MAX_PAGES = 100

_INSPECTION = {
    "COMPLETE": TemplateStatus.APPROVED,
    "REJECT": TemplateStatus.REJECTED,
    "REGISTER": TemplateStatus.REGISTERED,
    "ACCEPT": TemplateStatus.REGISTERED,
    "INSPECT": TemplateStatus.INSPECTING,
}
"""COMPLETE is seen in clients; the others are SENS's words as far as we know them. Any other is not approved."""
_STATE = {
    "STOP": TemplateStatus.STOPPED,
    "STOPPED": TemplateStatus.STOPPED,
    "BLOCK": TemplateStatus.BLOCKED,
    "BLOCKED": TemplateStatus.BLOCKED,
    "DORMANT": TemplateStatus.DORMANT,
}
"""what outweighs an inspection that was passed"""


class SensTemplates(TemplateApi):
    """Reads the templates of a Biz Message service; a profile's key is its channel id (``@shop``)."""

    def __init__(self, gateway: Gateway, service: tuple[str, ...]) -> None:
        self._gateway = gateway
        self._service = service

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every template of a profile."""
        copies: list[TemplateCopy] = []
        for page in range(MAX_PAGES):
            some = await self._read([("channelId", sender_key), ("pageSize", str(PAGE)), ("pageIndex", str(page))])
            copies += some
            if len(some) < PAGE:
                break
        return copies

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one, with the inspector's words; ``MISSING`` if SENS does not know it."""
        for copy in await self._read([("channelId", sender_key), ("templateCode", code)]):
            if copy.code == code:
                return copy
        return TemplateCopy(code, TemplateStatus.MISSING)

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:  # noqa: ARG002 - says that it cannot
        """Raise ``TemplateCallFailed``: the API has no such call."""
        raise TemplateCallFailed("not_permitted", "SENS registers templates in its console only")

    async def submit(self, sender_key: str, code: str, comment: str) -> None:  # noqa: ARG002 - says that it cannot
        """Raise ``TemplateCallFailed``: the API has no such call."""
        raise TemplateCallFailed("not_permitted", "SENS submits templates in its console only")

    async def _read(self, query: Query) -> list[TemplateCopy]:
        outcome = await self._gateway.call("GET", *self._service, "templates", query=query)
        if not isinstance(outcome, Answer) or outcome.status not in OK:
            failure = self._gateway.failure(outcome)
            reason = failure.reason if isinstance(failure, Refused | NotTaken) else "dealer_unavailable"
            raise TemplateCallFailed(reason, failure.detail)
        try:
            templates = answers.read_templates(outcome.body)
        except answers.Unreadable as error:
            raise TemplateCallFailed("dealer_unavailable", "the answer cannot be read") from error
        return [copy for template in templates if (copy := _copy(template)) is not None]


def _copy(template: answers.Template) -> TemplateCopy | None:
    if not isinstance(template.template_code, str) or not template.template_code:
        return None
    inspected = answers.word(template.template_inspection_status)
    status = _INSPECTION.get(inspected, TemplateStatus.INSPECTING)
    if status is TemplateStatus.APPROVED:
        status = _STATE.get(answers.word(template.template_status), status)
    text = template.content if isinstance(template.content, str) else ""
    return TemplateCopy(template.template_code, status, text, answers.read_comments(template))
