"""What a template has besides its text: buttons, quick replies, links, an item list. Kakao's rules for each.

Lengths, kinds and names are those of ``facts/alimtalk-rules.md`` section 2 (Kakao's template guide; NHN
``alimtalk-api-guide``, 2026-06-23). Variables stand where Kakao allows them: in links, in the descriptions of a list,
in a highlight; and in what a button is given with each message and no inspector sees (``chat_extra``, ``relay_id``,
``one_click_id``, ``product_id``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.catalog.wording import VARIABLE, Plain, Rendered, at_most, fixed, leave_room, names_in, render

ADD_CHANNEL = "채널 추가"
_FIXED_HOST = re.compile(r"https?://[^/#?\s]+([/?#][^\s]*)?")

CHAT_EXTRA = 50
HIGHLIGHT, HIGHLIGHT_BY_THUMBNAIL = (30, 19), (21, 13)
ITEM_DESCRIPTION = 23
SUMMARY_DESCRIPTION = 14


class Part(BaseModel):
    """A part of a template file: nothing unknown stands in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @cached_property
    def _filling(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The fields that are the same in every message, and the texts that are not."""
        varying = {name: value for name, value in self if isinstance(value, str) and names_in(value)}
        return {name: value for name, value in self if name not in varying}, varying

    def filled(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the fields, their texts filled in. Raises ``KeyError`` for a missing variable."""
        same, varying = self._filling
        return {**same, **{name: render(value, variables) for name, value in varying.items()}}


def _leads_to_a_fixed_host(value: str) -> str:
    if not _FIXED_HOST.fullmatch(value):
        raise ValueError("a link starts with http:// or https:// and a host without variables")
    return value


_SPACE = re.compile(r"\s")


def holds_space(value: str) -> bool:
    """Whether there is any white space in ``value``."""
    return _SPACE.search(value) is not None


def _holds_no_space(value: str) -> str:
    if holds_space(fixed(value)):
        raise ValueError("a link holds no space")
    return value


Url = Annotated[Rendered, Field(max_length=500), AfterValidator(_leads_to_a_fixed_host)]
Scheme = Annotated[Rendered, Field(max_length=500), AfterValidator(_holds_no_space)]


class TemplateLinks(Part):
    """Where something leads: to a page, or into an app."""

    url_mobile: Url | None = None
    url_pc: Url | None = None
    scheme_android: Scheme | None = None
    scheme_ios: Scheme | None = None

    def links(self) -> Iterator[str]:
        """Yield those that are set."""
        yield from filter(None, (self.url_mobile, self.url_pc, self.scheme_android, self.scheme_ios))

    @cached_property
    def _linked(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for link in self.links() for name in names_in(link)))

    def spaced(self, variables: Mapping[str, str]) -> list[str]:
        """Return the names of the variables that would put a space into a link."""
        return [name for name in self._linked if holds_space(variables[name])]


class RepresentativeLink(TemplateLinks):
    """Where a touch on the message itself leads (대표 링크)."""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> RepresentativeLink:
        if not any(self.links()):
            raise ValueError("leads nowhere: give it url_mobile or a scheme")
        return self


_URLS = ("url_mobile", "url_pc")
_APP = (*_URLS, "scheme_android", "scheme_ios")
_TAKES: dict[str, tuple[str, ...]] = {
    "WL": _URLS,
    "AL": _APP,
    "DS": (),
    "BK": (),
    "MD": (),
    "BC": ("chat_extra",),
    "BT": ("chat_extra", "chat_event"),
    "AC": (),
    "BF": ("biz_form_id",),
    "P1": ("plugin_id", "relay_id"),
    "P2": ("plugin_id",),
    "P3": ("plugin_id", "one_click_id", "product_id"),
    "TN": ("phone",),
}
"""kind -> the fields that it may have, besides kind and name"""

_NEEDS: dict[str, tuple[str, ...]] = {
    "WL": ("url_mobile",),
    "BF": ("biz_form_id",),
    "P1": ("plugin_id",),
    "P2": ("plugin_id",),
    "P3": ("plugin_id",),
    "TN": ("phone",),
}

_NAMES: dict[str, tuple[str, ...]] = {
    "AC": (ADD_CHANNEL,),
    "BF": ("톡에서 예약하기", "톡에서 설문하기", "톡에서 응모하기"),
    "TN": ("전화 연결", "고객센터 연결", "상담원 연결"),
}
"""kind -> the names that Kakao takes for it"""


class _Touchable(TemplateLinks):
    """A button or a quick reply; ``kind`` is Kakao's code."""

    kind: str
    name: Annotated[Plain, Field(max_length=14)]
    chat_extra: Annotated[Rendered, at_most(CHAT_EXTRA)] | None = None
    chat_event: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,50}$")] | None = None
    biz_form_id: Annotated[Plain, Field(max_length=100)] | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_has(self) -> _Touchable:
        given = {name for name, value in self if value is not None} - {"kind", "name"}
        if odd := sorted(given - set(_TAKES[self.kind])):
            raise ValueError(f"{self.kind} has no {', '.join(odd)}")
        if lacking := [name for name in _NEEDS.get(self.kind, ()) if name not in given]:
            raise ValueError(f"{self.kind} needs {', '.join(lacking)}")
        if self.kind == "AL" and len(given - {"url_pc"}) < 2:  # noqa: PLR2004 - Kakao's rule
            raise ValueError("AL needs two of url_mobile, scheme_android, scheme_ios")
        names = _NAMES.get(self.kind)
        if names is not None and self.name not in names:
            raise ValueError(f"the name of {self.kind} is {' or '.join(names)}")
        return self


class TemplateButton(_Touchable):
    """A button as registered."""

    kind: Literal["WL", "AL", "DS", "BK", "MD", "BC", "BT", "AC", "BF", "P1", "P2", "P3", "TN"]
    plugin_id: Annotated[Plain, Field(max_length=24)] | None = None
    relay_id: Rendered | None = None
    one_click_id: Rendered | None = None
    product_id: Rendered | None = None
    phone: Annotated[str, Field(max_length=14, pattern=r"^-*[0-9][0-9-]*$")] | None = None

    @model_validator(mode="after")
    def _pays_for_something(self) -> TemplateButton:
        if self.kind == "P3" and self.one_click_id is None and self.product_id is None:
            raise ValueError("P3 needs one_click_id or product_id")
        return self


class TemplateQuickReply(_Touchable):
    """A quick reply as registered (바로연결)."""

    kind: Literal["WL", "AL", "BK", "BC", "BT", "BF"]


class TemplateItem(Part):
    """A line of an item list."""

    title: Annotated[Plain, Field(max_length=6)]
    description: Annotated[Rendered, at_most(ITEM_DESCRIPTION)]


def is_amount(text: str) -> bool:
    """Whether ``text`` may stand in a summary: digits, separators, signs and codes of currencies."""
    rest = re.sub(r"[A-Z]{3}|[0-9,. 원元円]", "", text)
    return all(unicodedata.category(character) == "Sc" for character in rest)


def _fixed_part_is_an_amount(value: str) -> str:
    if not all(is_amount(piece) for piece in VARIABLE.sub("\0", value).split("\0")):
        raise ValueError("holds digits, commas, periods, spaces and a currency only, besides variables")
    return value


class TemplateSummary(Part):
    """The last line of an item list: a sum of money."""

    title: Annotated[Plain, Field(max_length=6)]
    description: Annotated[Rendered, at_most(SUMMARY_DESCRIPTION), AfterValidator(_fixed_part_is_an_amount)]


class TemplateHighlight(Part):
    """What stands large above an item list."""

    title: Rendered
    description: Rendered
    thumbnail: bool = Field(default=False, description="registered with a small image, which leaves less room")

    @property
    def limits(self) -> tuple[int, int]:
        """How many characters title and description may have."""
        return HIGHLIGHT_BY_THUMBNAIL if self.thumbnail else HIGHLIGHT

    @model_validator(mode="after")
    def _has_room(self) -> TemplateHighlight:
        for value, limit in zip((self.title, self.description), self.limits, strict=True):
            leave_room(value, limit)
        return self


class TemplateImage(Part):
    """An image: in a file its path beside the file, and once loaded also the SHA-256 that it is kept by."""

    file: str = Field(min_length=1, max_length=200)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="given by `bongsu apply`")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"file": value} if isinstance(value, str) else value


def texts_of(part: BaseModel) -> Iterator[str]:
    """Yield every text of ``part``, in the order of its fields; variables stand only where they are allowed."""
    yield from (value for _, value in part if isinstance(value, str))
