"""What of a dealer's answer is fit to be kept."""

from __future__ import annotations

import re


def printable(value: object, most: int = 100) -> str | None:
    """Return an id fit to be kept: ASCII without spaces, at most ``most`` characters; None for anything else."""
    fits = isinstance(value, str) and len(value) <= most and re.fullmatch(r"[\x21-\x7e]+", value)
    return str(value) if fits else None
