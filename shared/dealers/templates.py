"""Templates at a dealer: registering, inspection, and what became of it. The words are Kakao's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from shared.dealers.base import Button, Item, QuickReply
from shared.errors import BongsuError

if TYPE_CHECKING:
    from collections.abc import Sequence


class TemplateStatus(StrEnum):
    """Where a dealer's copy of a template stands; only an ``approved`` one is sent."""

    REGISTERED = "registered"  # REG: kept, not handed in
    INSPECTING = "inspecting"  # REQ
    APPROVED = "approved"  # APR
    REJECTED = "rejected"  # REJ, with the reviewer's words
    STOPPED = "stopped"
    DORMANT = "dormant"  # a year unused; Kakao deletes it after another
    BLOCKED = "blocked"
    MISSING = "missing"  # the dealer does not know it


@dataclass(frozen=True, slots=True)
class TemplateCopy:
    """A template as a dealer has it."""

    code: str
    status: TemplateStatus
    text: str = ""
    comments: tuple[str, ...] = ()
    """the inspector's words, oldest first"""
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TemplateDraft:
    """What is handed in for inspection. ``category`` is Kakao's code (``999999``: 기타, inspected last)."""

    code: str
    name: str
    text: str
    category: str = "999999"
    buttons: Sequence[Button] = ()
    quick_replies: Sequence[QuickReply] = ()
    title: str | None = None
    subtitle: str | None = None
    header: str | None = None
    highlight: Item | None = None
    items: Sequence[Item] = ()
    summary: Item | None = None
    secure: bool = False
    """shown on the main device only (보안 템플릿)"""


@dataclass(frozen=True, slots=True)
class TemplateCategory:
    """A category of Kakao's: what a template is about."""

    code: str
    name: str
    group: str


class TemplateCallFailed(BongsuError):
    """The dealer did not do it. ``reason`` is of our taxonomy; the text repeats the dealer's words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class TemplateApi(Protocol):
    """A dealer's template calls. All raise ``TemplateCallFailed``; ``not_permitted`` for one that it does not have."""

    async def every(self, sender_key: str) -> list[TemplateCopy]:
        """Return every template of a profile."""
        ...

    async def get(self, sender_key: str, code: str) -> TemplateCopy:
        """Return one; ``MISSING`` if the dealer does not know it."""
        ...

    async def register(self, sender_key: str, draft: TemplateDraft) -> str:
        """Register a template, or its new wording where it is rejected; return the code the dealer gave it."""
        ...

    async def submit(self, sender_key: str, code: str, comment: str) -> None:
        """Ask for inspection, or again after a rejection, with a word to the inspector."""
        ...

    async def stop(self, sender_key: str, code: str) -> None:
        """Stop an approved template."""
        raise TemplateCallFailed("not_permitted", "this dealer stops templates in its console only")

    async def delete(self, sender_key: str, code: str) -> None:
        """Delete a template that was never approved."""
        raise TemplateCallFailed("not_permitted", "this dealer deletes templates in its console only")

    async def categories(self) -> list[TemplateCategory]:
        """Return Kakao's categories."""
        raise TemplateCallFailed("not_permitted", "this dealer does not tell the categories")
