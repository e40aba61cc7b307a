"""A template: the text that Kakao inspected, its buttons, and what goes by SMS where Kakao cannot deliver.

Only pure functions: whoever sends renders with them, and gets for the same template and variables the same text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, Button, Text
from shared.errors import BongsuError
from shared.text import LMS_BYTES, SUBJECT_BYTES, byte_length, carry, channel_for, uncarried

ALIMTALK_CHARACTERS = 1000
MAX_VARIABLES = 40

_VARIABLE = re.compile(r"#\{([^{}]*)\}")
_NAME = re.compile(r"[^\s.@#{}]+( [^\s.@#{}]+)*")  # no dot (SOLAPI), no @ (NHN)
_FIXED_HOST = re.compile(r"https?://[^/#?\s]+([/?#][^\s]*)?")


class TooLong(BongsuError, ValueError):
    """The rendered text is longer than its channel brings: ``length`` and ``limit`` in ``unit``."""

    def __init__(self, channel: Channel, length: int, limit: int, unit: str) -> None:
        super().__init__(f"{length:,} {unit} where {channel} brings {limit:,}")
        self.channel = channel
        self.length = length
        self.limit = limit
        self.unit = unit


def _variables_are_well_formed(value: str) -> str:
    for name in _VARIABLE.findall(value):
        if not _NAME.fullmatch(name):
            raise ValueError(f"#{{{name}}} is no variable: a name has no dot, no @ and no outer spaces")
    rest = _VARIABLE.sub("", value)
    if "#{" in rest or "${" in rest:
        raise ValueError("a variable is written #{name}, closed and not nested")
    return value


def _is_plain(value: str) -> str:
    if "#{" in value:
        raise ValueError("Kakao allows no variable here")
    return value


Rendered = Annotated[str, Field(min_length=1), AfterValidator(_variables_are_well_formed)]
"""A text with ``#{variables}``."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TemplateButton(_Part):
    """A button as registered; ``kind`` is Kakao's code."""

    kind: Literal["WL", "AL", "DS", "BK", "MD", "BC", "BT", "AC"]
    name: Annotated[str, Field(min_length=1, max_length=14), AfterValidator(_is_plain)]
    url_mobile: Rendered | None = None
    url_pc: Rendered | None = None
    scheme_android: Rendered | None = None
    scheme_ios: Rendered | None = None

    @model_validator(mode="after")
    def _links_suit_the_kind(self) -> TemplateButton:
        if self.kind == "WL" and self.url_mobile is None:
            raise ValueError("a WL button needs url_mobile")
        links = [link for link in (self.url_mobile, self.scheme_android, self.scheme_ios) if link is not None]
        if self.kind == "AL" and len(links) < 2:  # noqa: PLR2004 - Kakao's rule
            raise ValueError("an AL button needs two of url_mobile, scheme_android, scheme_ios")
        for url in filter(None, (self.url_mobile, self.url_pc)):
            if not _FIXED_HOST.fullmatch(url):
                raise ValueError("a link starts with http:// or https:// and a host without variables")
        return self


class Template(_Part):
    """One revision of a template; a revision never changes, so it may be kept for good."""

    code: str = Field(min_length=1, max_length=30, pattern=r"^[A-Za-z0-9_.-]+$")
    revision: int = Field(default=0, ge=0, description="given by the database; 0 before")
    text: Rendered
    buttons: tuple[TemplateButton, ...] = Field(default=(), max_length=5)
    codes: Mapping[str, str] = Field(default_factory=dict, description="dealer -> the code it gave; else `code`")
    text_message: Rendered | None = Field(default=None, description="what goes by SMS or LMS")
    subject: Rendered | None = Field(default=None, description="of an LMS; cut to 40 bytes")
    examples: Mapping[str, str] = Field(default_factory=dict, description="values that Kakao's inspectors are shown")

    @model_validator(mode="after")
    def _keeps_to_the_rules(self) -> Template:
        if len(self.text) > ALIMTALK_CHARACTERS:
            raise ValueError(f"text: {len(self.text):,} characters where an AlimTalk has {ALIMTALK_CHARACTERS:,}")
        if len(variables_of(self)) > MAX_VARIABLES:
            raise ValueError(f"more than {MAX_VARIABLES} variables")
        if not re.search(r"\w", _VARIABLE.sub("", self.text)):
            raise ValueError("text: consists of variables only, which Kakao's inspection refuses")
        for field, value in (("text_message", self.text_message), ("subject", self.subject)):
            if value is None:
                continue
            if lost := uncarried(carry(value, replace_all=False)):
                names = ", ".join(f"{c} (U+{ord(c):04X})" for c in lost)
                raise ValueError(f"{field}: no carrier brings {names}; write it in other words")
        if self.text_message and (size := byte_length(carry(_VARIABLE.sub("", self.text_message)))) > LMS_BYTES:
            raise ValueError(f"text_message: {size:,} bytes where an LMS has {LMS_BYTES:,}")
        if unknown := set(self.examples) - set(variables_of(self)):
            raise ValueError(f"examples: {', '.join(sorted(unknown))} stands nowhere in the template")
        return self


@lru_cache(maxsize=4096)
def _pieces(text: str) -> tuple[str, ...]:
    """Return fixed text and variable names in turn."""
    return tuple(_VARIABLE.split(text))


def render(text: str, variables: Mapping[str, str]) -> str:
    """Return ``text`` with its variables filled in, in one pass. Raises ``KeyError`` for a missing one."""
    pieces = _pieces(text)
    if len(pieces) == 1:
        return text
    return "".join(piece if n % 2 == 0 else variables[piece] for n, piece in enumerate(pieces))


def variables_of(template: Template) -> tuple[str, ...]:
    """Return the names of the template's variables, each once, in order: text, buttons, SMS text, subject."""
    texts = [template.text]
    for button in template.buttons:
        texts += filter(None, (button.url_mobile, button.url_pc, button.scheme_android, button.scheme_ios))
    texts += filter(None, (template.text_message, template.subject))
    return tuple(dict.fromkeys(name for text in texts for name in _pieces(text)[1::2]))


def alimtalk(template: Template, dealer: str, sender_key: str, variables: Mapping[str, str]) -> AlimTalk:
    """Return the rendered AlimTalk as ``dealer`` knows it.

    Raises ``TooLong``, and ``KeyError`` for a missing variable; neither happens to a message that was planned.
    """
    text = render(template.text, variables)
    if len(text) > ALIMTALK_CHARACTERS:
        raise TooLong(Channel.ALIMTALK, len(text), ALIMTALK_CHARACTERS, "characters")
    return AlimTalk(
        sender_key=sender_key,
        template_code=template.codes.get(dealer, template.code),
        variables=variables,
        text=text,
        buttons=tuple(_button(button, variables) for button in template.buttons),
    )


def _button(button: TemplateButton, variables: Mapping[str, str]) -> Button:
    def filled(value: str | None) -> str | None:
        return None if value is None else render(value, variables)

    return Button(
        kind=button.kind,
        name=button.name,
        url_mobile=filled(button.url_mobile),
        url_pc=filled(button.url_pc),
        scheme_android=filled(button.scheme_android),
        scheme_ios=filled(button.scheme_ios),
    )


def text_message(template: Template, sender: str, variables: Mapping[str, str]) -> tuple[Channel, Text]:
    """Return the SMS, or the LMS where 90 bytes do not hold it, with every character one that carriers bring.

    Raises ``TooLong``, ``KeyError`` for a missing variable, ``ValueError`` where the template has no SMS text.
    """
    if template.text_message is None:
        raise ValueError(f"template {template.code!r} has no text_message")
    text = carry(unicodedata.normalize("NFC", render(template.text_message, variables)))
    if (size := byte_length(text)) > LMS_BYTES:
        raise TooLong(Channel.LMS, size, LMS_BYTES, "bytes")
    channel = channel_for(text)
    if channel is Channel.SMS or template.subject is None:
        return channel, Text(sender, text)
    return channel, Text(sender, text, cut(carry(render(template.subject, variables)), SUBJECT_BYTES))


def cut(text: str, limit: int) -> str:
    """Return as much of ``text`` as fits ``limit`` bytes of cp949, never half a character."""
    return text.encode("cp949")[:limit].decode("cp949", errors="ignore")
