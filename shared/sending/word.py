"""What somebody may say by hand of an attempt in doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.errors import BongsuError

_PHONE = re.compile(r"(?<!\d)(?:\+?82[-. ]?|0)1\d[-. ]?\d{3,4}[-. ]?\d{4}(?!\d)")
_MOST = {"by": 100, "why": 300}


class CannotResolve(BongsuError):
    """It cannot be said of this attempt now; the text says why, and what can be done."""


class Says(StrEnum):
    """What became of an attempt, as somebody found out."""

    DELIVERED = "delivered"
    FAILED = "failed"  # the person does not get it
    NOT_TAKEN = "not-taken"  # the dealer never had it


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says, for the timeline. Raises ``CannotResolve`` for what does not belong there."""

    says: Says
    by: str
    why: str

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value: str = getattr(self, name)
            if not value.strip() or len(value) > most or not value.isprintable():
                raise CannotResolve(f"--{name} wants a line of 1 to {most} characters")
            if _PHONE.search(value):
                raise CannotResolve(f"--{name} holds a phone number, and the timeline is no place for one")

    def as_detail(self) -> dict[str, Any]:
        """Return what the transition tells."""
        return {"by_hand": {"as": self.says.value, "by": self.by.strip(), "why": self.why.strip()}}
