"""Templates at Popbill: read only. They are made, inspected and stopped in a window of its console."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.dealers.http import Answer
from shared.dealers.popbill import wire
from shared.dealers.popbill.gateway import Gateway, NoToken, Service, code_of
from shared.dealers.popbill.lookup import unknown
from shared.dealers.templates import TemplateApi, TemplateCallFailed, TemplateCopy, TemplateStatus

if TYPE_CHECKING:
    from shared.dealers.templates import TemplateDraft

_BY_HAND = "Popbill's templates are made and handed in in its console (GetATSTemplateMgtURL)"


@dataclass(frozen=True, slots=True)
class PopbillTemplates(TemplateApi):
    """The member's approved templates (``TemplateApi``); one under inspection is not listed, and ``MISSING``."""

    gateway: Gateway

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every approved template of the channel ``sender_key`` (검색용 아이디)."""
        outcome = await self.gateway.call(Service.KAKAO, "GET", "KakaoTalk", "ListATSTemplate")
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.OK:
            refused = isinstance(outcome, NoToken) and isinstance(outcome.outcome, Answer)
            code = f" ({code_of(outcome)})" if isinstance(outcome, Answer) else ""
            reason = "auth_failed" if refused else "dealer_unavailable"
            raise TemplateCallFailed(reason, f"{unknown(outcome).detail}{code}")
        try:
            listed = wire.read(outcome.body, list[wire.Template])
        except wire.Unreadable as error:
            raise TemplateCallFailed("dealer_error", "the list of templates cannot be read") from error
        return [_copy(template) for template in listed if template.channel == sender_key]

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one; ``MISSING`` if it is not among the approved."""
        for template in await self.every(sender_key):
            if template.code == code:
                return template
        return TemplateCopy(code, TemplateStatus.MISSING)

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:  # noqa: ARG002 - cannot be done
        """Refuse: by hand only."""
        raise TemplateCallFailed("not_permitted", _BY_HAND)

    async def submit(self, sender_key: str, code: str, comment: str) -> None:  # noqa: ARG002 - likewise
        """Refuse: by hand only."""
        raise TemplateCallFailed("not_permitted", _BY_HAND)


def _copy(template: wire.Template) -> TemplateCopy:
    return TemplateCopy(template.code, TemplateStatus.APPROVED, template.text, changed_at=wire.moment(template.changed))
