"""Where the copies of our templates stand at the dealers, and what follows from that. Pure.

A route is open to a template only where the dealer's copy of it is approved. What nobody knows is taken for approved:
a dealer that has no template API, one that was not asked yet, one whose templates the configuration trusts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.dealers.templates import TemplateCopy, TemplateStatus

if TYPE_CHECKING:
    from shared.catalog.template import Template
    from shared.config import Config, Profile, Route

Closed = frozenset[tuple[str, str, str]]
"""dealer, sender key and our code of what is known not to be approved"""

NOTHING_CLOSED: Closed = frozenset()

DORMANT_AFTER = timedelta(days=365)
"""unused so long, a template falls dormant; Kakao deletes it after another year (NHN guide, 2026-06-23)"""
WARN_BEFORE = timedelta(days=30)

_APPROVAL = "approval/"


@dataclass(frozen=True, slots=True, order=True)
class CopyKey:
    """A copy: ``code`` is what the dealer calls it."""

    dealer: str
    sender_key: str
    code: str

    @property
    def listed(self) -> Listed:
        """The list that it stands in."""
        return self.dealer, self.sender_key


Listed = tuple[str, str]
"""a dealer and a sender key: what a dealer lists templates by"""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy as it is kept. ``template`` is our code of it; ``last_sent_at`` is None for one that we never sent."""

    key: CopyKey
    template: str
    status: TemplateStatus
    comments: tuple[str, ...]
    changed_at: datetime | None
    checked_at: datetime
    last_sent_at: datetime | None = None

    @property
    def is_approved(self) -> bool:
        """Whether messages may be sent with it."""
        return self.status is TemplateStatus.APPROVED

    @property
    def dormant_at(self) -> datetime | None:
        """When it falls dormant unless it is used; None where that is not known, or is past.

        For one that we never sent it is counted from when the dealer last changed it.
        """
        used = [moment for moment in (self.last_sent_at, self.changed_at) if moment is not None]
        return max(used) + DORMANT_AFTER if used and self.is_approved else None


# -- which routes are open ---------------------------------------------------------------------------------------


def is_open(closed: Closed, route: Route, template: str) -> bool:
    """Return whether ``template`` (our code) may go over ``route``."""
    return (route.dealer, route.sender_key, template) not in closed


def open_routes(closed: Closed, profile: Profile, template: str) -> tuple[Route, ...]:
    """Return the routes of ``profile`` that ``template`` may go over, in their order."""
    return tuple(route for route in profile.routes if is_open(closed, route, template))


def approval_of(profile: str, template: str) -> str:
    """Return what a message is held by that waits until any route of ``profile`` is open to ``template``."""
    return f"{_APPROVAL}{profile}/{template}"


def is_approval(held_by: str) -> bool:
    """Return whether what is ``held_by`` that waits for an approval."""
    return held_by.startswith(_APPROVAL)


def granted(held_by: Iterable[str], profiles: Mapping[str, Profile], closed: Closed) -> list[str]:
    """Return which of these holds (``approval_of``) are over; so is one for a profile that is gone."""
    over = []
    for hold in held_by:
        name, _, template = hold.removeprefix(_APPROVAL).rpartition("/")
        profile = profiles.get(name)
        if profile is None or open_routes(closed, profile, template):
            over.append(hold)
    return over


# -- what to ask the dealers, and what their answers change --------------------------------------------------------


def wanted_copies(config: Config, templates: Iterable[Template], dealers: Collection[str]) -> dict[CopyKey, str]:
    """Return the copies that we would send with, each with our code: of every template, at each route of a profile.

    ``dealers`` are those that can be asked. Brand messages have no copies: nobody inspects them.
    """
    listed = {
        (route.dealer, route.sender_key): None
        for profile in config.profiles.values()
        for route in profile.routes
        if route.dealer in dealers
    }
    inspected = (template for template in templates if template.kind == "alimtalk")
    known = sorted(inspected, key=lambda template: template.code)
    wanted: dict[CopyKey, str] = {}
    for dealer, sender_key in listed:
        for template in known:
            wanted.setdefault(CopyKey(dealer, sender_key, template.codes.get(dealer, template.code)), template.code)
    return wanted


def lists_due(
    wanted: Mapping[CopyKey, str], kept: Mapping[CopyKey, Copy], *, now: datetime, every: timedelta
) -> list[Listed]:
    """Return which lists to ask for now: those with a copy not asked for yet, or not for ``every``."""
    due = {
        key.listed: None
        for key, template in wanted.items()
        if (copy := kept.get(key)) is None or copy.template != template or copy.checked_at <= now - every
    }
    return list(due)


def to_ask_alone(keys: Iterable[CopyKey], kept: Mapping[CopyKey, Copy], told: Mapping[str, TemplateCopy]) -> list[str]:
    """Return the codes to ask for one by one.

    What a list lacks is believed missing once the dealer says so itself: a list may be cut short or empty for a moment,
    and that must not stop what is approved. Some lists (SENS) keep the inspector's words to themselves.
    """

    def is_clear(key: CopyKey) -> bool:
        if (found := told.get(key.code)) is not None:
            return found.status is not TemplateStatus.REJECTED or bool(found.comments)
        return (copy := kept.get(key)) is not None and copy.status is TemplateStatus.MISSING

    return [key.code for key in keys if not is_clear(key)]


@dataclass(frozen=True, slots=True)
class Change:
    """A copy that stands elsewhere than before; ``was`` is None for one that was not known."""

    copy: Copy
    was: TemplateStatus | None


def compare(
    wanted: Mapping[CopyKey, str],
    kept: Mapping[CopyKey, Copy],
    told: Mapping[str, TemplateCopy],
    *,
    now: datetime,
) -> list[Copy]:
    """Return the copies of one list (``wanted``) as they are to be kept, now that the dealer has told of them."""
    return [
        Copy(
            key=key,
            template=template,
            status=(found := told.get(key.code) or TemplateCopy(key.code, TemplateStatus.MISSING)).status,
            comments=found.comments,
            changed_at=found.changed_at,
            checked_at=now,
            last_sent_at=kept[key].last_sent_at if key in kept else None,
        )
        for key, template in wanted.items()
    ]


def changes(copies: Sequence[Copy], kept: Mapping[CopyKey, Copy]) -> list[Change]:
    """Return which of ``copies`` stand elsewhere than they did."""
    return [
        Change(copy, was)
        for copy in copies
        if (was := kept[copy.key].status if copy.key in kept else None) is not copy.status
    ]


def dormant_soon(copies: Iterable[Copy], *, now: datetime) -> list[Copy]:
    """Return those that fall dormant within a month unless they are used."""
    return [copy for copy in copies if copy.dormant_at is not None and copy.dormant_at - WARN_BEFORE <= now]
