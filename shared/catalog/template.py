"""A template: what Kakao inspected, and what goes by SMS where Kakao cannot deliver; or a brand message of ours.

Only pure functions: whoever sends renders with them, and gets for the same template and variables the same message.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from shared.catalog.parts import (
    ADD_CHANNEL,
    CHAT_EXTRA,
    ITEM_DESCRIPTION,
    SUMMARY_DESCRIPTION,
    Part,
    RepresentativeLink,
    TemplateButton,
    TemplateHighlight,
    TemplateImage,
    TemplateItem,
    TemplateLinks,
    TemplateQuickReply,
    TemplateSummary,
    Url,
    holds_space,
    is_amount,
    texts_of,
)
from shared.catalog.wording import Plain, Rendered, TooLong, Unfit, at_most, counted, fixed, names_in, render
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Item, Links, QuickReply, Text
from shared.text import LMS_BYTES, SUBJECT_BYTES, byte_length, carry, channel_for, uncarried

ALIMTALK_CHARACTERS = 1000
ITEM_LIST_CHARACTERS = 700
"""of the text beside an item list (NHN)"""
SENTENCE = 36
"""characters of what Kakao adds to the text where there is a button AC (채널 추가하고 이 채널의 …)"""
TITLE, HEADER = 50, 16
BRAND_CHARACTERS, BRAND_IMAGE_CHARACTERS = 1300, 400
"""of a brand message without and with an image (Luna's and Bizgo's documents)"""
BRAND_BUTTONS = frozenset({"WL", "AL", "BK", "MD", "BC", "BT", "BF"})
MAX_VARIABLES = 40
BUTTONS_BESIDE_REPLIES = 2


class Template(Part):
    """One revision of a template; a revision never changes, so it may be kept for good."""

    code: str = Field(min_length=1, max_length=30, pattern=r"^[A-Za-z0-9_.-]+$")
    revision: int = Field(default=0, ge=0, description="given by the database; 0 before")
    kind: Literal["alimtalk", "brand"] = Field(
        default="alimtalk", description="brand: an advertisement to friends of the channel, inspected by nobody"
    )
    text: Rendered
    title: Annotated[Rendered, at_most(TITLE)] | None = Field(default=None, description="강조표기 of the kind TEXT")
    subtitle: Annotated[Plain, Field(max_length=50)] | None = Field(
        default=None, description="under the title; Kakao adds it itself, so it is for registration only"
    )
    header: Annotated[Rendered, at_most(HEADER)] | None = Field(default=None, description="above an item list")
    highlight: TemplateHighlight | None = Field(default=None, description="large, above an item list")
    items: tuple[TemplateItem, ...] = Field(default=(), max_length=10, description="아이템 리스트: 2 to 10")
    summary: TemplateSummary | None = Field(default=None, description="the last line of an item list")
    has_image: bool = Field(default=False, description="it was inspected with an image, which Kakao adds")
    link: RepresentativeLink | None = Field(default=None, description="where a touch on the message leads (대표 링크)")
    buttons: tuple[TemplateButton, ...] = Field(default=(), max_length=5)
    quick_replies: tuple[TemplateQuickReply, ...] = Field(default=(), max_length=10)
    image: TemplateImage | None = Field(default=None, description="of a brand message")
    image_link: Url | None = Field(default=None, description="where a touch on the image of a brand message leads")
    codes: Mapping[str, str] = Field(default_factory=dict, description="dealer -> the code it gave; else `code`")
    text_message: Rendered | None = Field(default=None, description="what goes by SMS or LMS")
    subject: Rendered | None = Field(default=None, description="of an LMS; cut to 40 bytes")
    images: tuple[TemplateImage, ...] = Field(default=(), max_length=3, description="beside text_message: it is an MMS")
    examples: Mapping[str, str] = Field(default_factory=dict, description="values that Kakao's inspectors are shown")

    @model_validator(mode="after")
    def _keeps_to_the_rules(self) -> Template:
        if len(self.text) > self.characters:
            plain = self.kind == "alimtalk" and self.characters == ALIMTALK_CHARACTERS
            what = "an AlimTalk" if plain else "this kind of message"
            raise ValueError(f"text: {len(self.text):,} characters where {what} has {self.characters:,}")
        if len(variables_of(self)) > MAX_VARIABLES:
            raise ValueError(f"more than {MAX_VARIABLES} variables")
        if not re.search(r"\w", fixed(self.text)):
            raise ValueError("text: consists of variables only, which Kakao's inspection refuses")
        _check_kind(self)
        _check_emphasis(self)
        _check_buttons(self)
        _check_text_message(self)
        if unknown := set(self.examples) - set(variables_of(self)):
            raise ValueError(f"examples: {', '.join(sorted(unknown))} stands nowhere in the template")
        return self

    @property
    def channel(self) -> Channel:
        """The channel that its messages begin with."""
        return Channel.ALIMTALK if self.kind == "alimtalk" else Channel.FRIENDTALK

    @cached_property
    def characters(self) -> int:
        """How many characters the text may have once filled in."""
        if self.kind == "brand":
            return BRAND_CHARACTERS if self.image is None else BRAND_IMAGE_CHARACTERS
        room = ALIMTALK_CHARACTERS - (SENTENCE if any(button.kind == "AC" for button in self.buttons) else 0)
        return min(room, ITEM_LIST_CHARACTERS) if self.items else room

    @cached_property
    def inspected_variables(self) -> tuple[str, ...]:
        """The names of the variables that stand in what goes to Kakao, each once, in order."""
        return _names(_inspected_texts(self))


_ALIMTALK_ONLY = (
    "title", "subtitle", "header", "highlight", "items", "summary", "has_image", "link", "quick_replies", "codes",
)  # fmt: skip
_BRAND_ONLY = ("image", "image_link")


def _check_kind(template: Template) -> None:
    other = _BRAND_ONLY if template.kind == "alimtalk" else _ALIMTALK_ONLY
    if odd := [field for field in other if getattr(template, field)]:
        what = "an AlimTalk (its image is registered: has_image)" if template.kind == "alimtalk" else "a brand message"
        raise ValueError(f"{odd[0]}: not of {what}")
    if template.kind == "alimtalk":
        return
    if template.text_message is not None or template.subject is not None:
        raise ValueError("text_message: no text follows a brand message; an advertisement by SMS is not built yet")
    if template.image is None and template.image_link is not None:
        raise ValueError("image_link: there is no image")
    if odd := [button.kind for button in template.buttons if button.kind not in BRAND_BUTTONS]:
        raise ValueError(f"buttons: {odd[0]} is not of a brand message")


def _check_emphasis(template: Template) -> None:
    if template.subtitle is not None and template.title is None:
        raise ValueError("subtitle: stands under a title, and there is none")
    if template.title is not None and template.has_image:
        raise ValueError("title: Kakao emphasizes by a title or by an image, not by both")
    if template.title is not None and template.items:
        raise ValueError("title: belongs to no item list; that has a header and a highlight")
    if template.items:
        if len(template.items) == 1:
            raise ValueError("items: a list has 2 to 10")
        if template.header is None and template.highlight is None and not template.has_image:
            raise ValueError("items: Kakao wants a header, a highlight or an image beside the list")
        return
    for field in ("header", "highlight", "summary"):
        if getattr(template, field) is not None:
            raise ValueError(f"{field}: belongs to an item list, and there are no items")


def _check_buttons(template: Template) -> None:
    if any(button.kind == "AC" for button in template.buttons[1:]):
        raise ValueError(f"buttons: {ADD_CHANNEL} (AC) stands first, and once")
    if template.quick_replies and len(template.buttons) > BUTTONS_BESIDE_REPLIES:
        raise ValueError(f"buttons: beside quick replies there are at most {BUTTONS_BESIDE_REPLIES}")


def _check_text_message(template: Template) -> None:
    for field, value in (("text_message", template.text_message), ("subject", template.subject)):
        if value is None:
            continue
        if lost := uncarried(carry(value, replace_all=False)):
            names = ", ".join(f"{c} (U+{ord(c):04X})" for c in lost)
            raise ValueError(f"{field}: no carrier brings {names}; write it in other words")
    if template.images and not template.text_message:
        raise ValueError("images: go beside a text_message, and there is none")
    if template.text_message and (size := byte_length(carry(fixed(template.text_message)))) > LMS_BYTES:
        raise ValueError(f"text_message: {size:,} bytes where an LMS has {LMS_BYTES:,}")


# -- variables ---------------------------------------------------------------------------------------------------


def variables_of(template: Template) -> tuple[str, ...]:
    """Return the names of the template's variables, each once, in order: what Kakao inspected, SMS text, subject."""
    texts = filter(None, (template.text_message, template.subject))
    return _names([*_inspected_texts(template), *texts])


def _inspected_texts(template: Template) -> Iterator[str]:
    yield template.text
    yield from filter(None, (template.title, template.header, template.image_link))
    parts: Sequence[BaseModel | None] = (
        template.highlight,
        *template.items,
        template.summary,
        template.link,
        *template.buttons,
        *template.quick_replies,
    )
    for part in parts:
        if part is not None:
            yield from texts_of(part)


def _names(texts: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for text in texts for name in names_in(text)))


# -- rendering ---------------------------------------------------------------------------------------------------


def alimtalk(
    template: Template, dealer: str, sender_key: str, variables: Mapping[str, str], sender: str | None = None
) -> AlimTalk:
    """Return the rendered AlimTalk as ``dealer`` knows it.

    Raises ``TooLong``, ``Unfit``, and ``KeyError`` for a missing variable; none happens to a message that was planned.
    """
    return AlimTalk(
        sender_key=sender_key,
        template_code=template.codes.get(dealer, template.code),
        variables={name: variables[name] for name in template.inspected_variables},
        text=_within(template.characters, "text", template.text, variables),
        buttons=tuple(
            Button(**_touchable(f"buttons[{n}]", button, variables)) for n, button in enumerate(template.buttons)
        ),
        title=None if template.title is None else _within(TITLE, "title", template.title, variables),
        header=None if template.header is None else _within(HEADER, "header", template.header, variables),
        highlight=_highlight(template.highlight, variables),
        items=tuple(
            Item(item.title, _within(ITEM_DESCRIPTION, f"items[{n}].description", item.description, variables))
            for n, item in enumerate(template.items)
        ),
        summary=_summary(template.summary, variables),
        link=None if template.link is None else Links(**_links("link", template.link, variables)),
        quick_replies=tuple(
            QuickReply(**_touchable(f"quick_replies[{n}]", reply, variables))
            for n, reply in enumerate(template.quick_replies)
        ),
        has_image=template.has_image,
        sender=sender,
    )


def brand_message(
    template: Template,
    sender_key: str,
    variables: Mapping[str, str],
    image: str | None = None,
    sender: str | None = None,
) -> BrandMessage:
    """Return the rendered brand message, with its image as the dealer names it. Raises as ``alimtalk``."""
    if guilty := [name for name in names_in(template.image_link or "") if holds_space(variables[name])]:
        raise Unfit("image_link", "a space in a link", guilty)
    return BrandMessage(
        sender_key=sender_key,
        text=_within(template.characters, "text", template.text, variables, Channel.FRIENDTALK),
        buttons=tuple(
            Button(**_touchable(f"buttons[{n}]", button, variables)) for n, button in enumerate(template.buttons)
        ),
        image=image,
        image_link=None if template.image_link is None else render(template.image_link, variables),
        sender=sender,
    )


def _within(
    limit: int, field: str, text: str, variables: Mapping[str, str], channel: Channel = Channel.ALIMTALK
) -> str:
    rendered = render(text, variables)
    if (length := counted(rendered)) > limit:
        raise TooLong(channel, length, limit, "characters", field=field, names=names_in(text))
    return rendered


def _highlight(highlight: TemplateHighlight | None, variables: Mapping[str, str]) -> Item | None:
    if highlight is None:
        return None
    title, description = highlight.limits
    return Item(
        _within(title, "highlight.title", highlight.title, variables),
        _within(description, "highlight.description", highlight.description, variables),
    )


def _summary(summary: TemplateSummary | None, variables: Mapping[str, str]) -> Item | None:
    if summary is None:
        return None
    description = _within(SUMMARY_DESCRIPTION, "summary.description", summary.description, variables)
    if not is_amount(description):
        guilty = [name for name in names_in(summary.description) if not is_amount(variables[name])]
        raise Unfit("summary.description", "more than digits, commas, periods, spaces and a currency", guilty)
    return Item(summary.title, description)


def _links(field: str, part: TemplateLinks, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of ``part``, filled in."""
    if guilty := part.spaced(variables):
        raise Unfit(field, "a space in a link", guilty)
    return part.filled(variables)


def _touchable(field: str, part: TemplateButton | TemplateQuickReply, variables: Mapping[str, str]) -> dict[str, Any]:
    if part.chat_extra is not None:
        _within(CHAT_EXTRA, f"{field}.chat_extra", part.chat_extra, variables)
    return _links(field, part, variables)


def text_message(
    template: Template, sender: str, variables: Mapping[str, str], images: Sequence[str] = ()
) -> tuple[Channel, Text]:
    """Return the SMS, or the LMS where 90 bytes do not hold it, with every character one that carriers bring.

    It is an MMS with ``images``, which are the template's as a dealer names them; a dealer that brings none is given
    none. Raises ``TooLong``, ``KeyError`` for a missing variable, ``ValueError`` where the template has no SMS text.
    """
    if template.text_message is None:
        raise ValueError(f"template {template.code!r} has no text_message")
    text = carry(unicodedata.normalize("NFC", render(template.text_message, variables)))
    if (size := byte_length(text)) > LMS_BYTES:
        names = names_in(template.text_message)
        raise TooLong(Channel.LMS, size, LMS_BYTES, "bytes", field="text_message", names=names)
    channel = Channel.MMS if images else channel_for(text)
    if channel is Channel.SMS or template.subject is None:
        return channel, Text(sender, text, images=tuple(images))
    subject = cut(carry(render(template.subject, variables)), SUBJECT_BYTES)
    return channel, Text(sender, text, subject, tuple(images))


def cut(text: str, limit: int) -> str:
    """Return as much of ``text`` as fits ``limit`` bytes of cp949, never half a character."""
    return text.encode("cp949")[:limit].decode("cp949", errors="ignore")
