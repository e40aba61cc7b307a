"""Texts with variables: how they are written, how long Kakao lets them be, and how they are filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.contracts.states import Channel
from shared.errors import BongsuError

VARIABLE = re.compile(r"#\{([^{}]*)\}")
_NAME = re.compile(r"[^\s.@#{}]+( [^\s.@#{}]+)*")  # no dot (SOLAPI), no @ (NHN)
STRUCK = "\\s"
"""At the end of a title or of a highlight's: Kakao strikes it through, and does not count it."""


class TooLong(BongsuError, ValueError):
    """A rendered text is longer than its channel brings: ``length`` and ``limit`` in ``unit``; ``names`` made it so."""

    def __init__(
        self, channel: Channel, length: int, limit: int, unit: str, *, field: str = "text", names: tuple[str, ...] = ()
    ) -> None:
        super().__init__(f"{field}: {length:,} {unit} where {channel} brings {limit:,}")
        self.channel = channel
        self.length = length
        self.limit = limit
        self.unit = unit
        self.field = field
        self.names = names


class Unfit(BongsuError, ValueError):
    """A rendered text that cannot stand where its template puts it: ``what`` it holds by the values of ``names``."""

    def __init__(self, field: str, what: str, names: Sequence[str]) -> None:
        super().__init__(f"{field}: {what}")
        self.field = field
        self.what = what
        self.names = names


@lru_cache(maxsize=4096)
def pieces(text: str) -> tuple[str, ...]:
    """Return fixed text and variable names in turn."""
    return tuple(VARIABLE.split(text))


def names_in(text: str) -> tuple[str, ...]:
    """Return the variables of ``text`` in order."""
    return pieces(text)[1::2]


def fixed(text: str) -> str:
    """Return ``text`` without its variables."""
    return "".join(pieces(text)[::2])


def render(text: str, variables: Mapping[str, str]) -> str:
    """Return ``text`` with its variables filled in, in one pass. Raises ``KeyError`` for a missing one."""
    filled = list(pieces(text))
    filled[1::2] = [variables[name] for name in filled[1::2]]
    return "".join(filled)


def counted(text: str) -> int:
    """Return how many characters of ``text`` Kakao counts."""
    return len(text.removesuffix(STRUCK))


def leave_room(value: str, limit: int) -> str:
    """Return ``value``. Raises ``ValueError`` if its fixed part alone is over ``limit`` characters."""
    if (length := counted(fixed(value))) > limit:
        raise ValueError(f"{length:,} characters where Kakao takes at most {limit:,}")
    return value


def at_most(limit: int) -> AfterValidator:
    """Return the check that a text leaves room within ``limit`` characters."""
    return AfterValidator(partial(leave_room, limit=limit))


def _variables_are_well_formed(value: str) -> str:
    for name in VARIABLE.findall(value):
        if not _NAME.fullmatch(name):
            raise ValueError(f"#{{{name}}} is no variable: a name has no dot, no @ and no outer spaces")
    rest = VARIABLE.sub("", value)
    if "#{" in rest or "${" in rest:
        raise ValueError("a variable is written #{name}, closed and not nested")
    return value


def _is_plain(value: str) -> str:
    if "#{" in value:
        raise ValueError("Kakao allows no variable here")
    return value


Rendered = Annotated[str, Field(min_length=1), AfterValidator(_variables_are_well_formed)]
"""A text with ``#{variables}``."""

Plain = Annotated[str, Field(min_length=1), AfterValidator(_is_plain)]
"""A text that is the same in every message."""
