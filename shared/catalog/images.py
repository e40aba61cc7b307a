"""Images that templates name: what they may be, and what they are known by. Pure."""

from __future__ import annotations

import hashlib

from shared.dealers.base import ImageUse

MAX_BYTES = {ImageUse.MMS: 300_000, ImageUse.BRAND: 500_000}
"""the least that any dealer with uploads takes (Popbill; Bizppurio for MMS; others 300 KiB and up)"""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def hash_of(image: bytes) -> str:
    """Return what an image is known by: its SHA-256, as 64 hex digits."""
    return hashlib.sha256(image).hexdigest()


def extension_of(image: bytes) -> str | None:
    """Return ``jpg`` or ``png`` by what the image begins with, None for anything else."""
    if image.startswith(_JPEG):
        return "jpg"
    return "png" if image.startswith(_PNG) else None


def problem_with(image: bytes, use: ImageUse) -> str | None:
    """Return why ``image`` cannot be used so, None if it can."""
    match use, extension_of(image):
        case ImageUse.MMS, kind if kind != "jpg":
            return "an image of an MMS is a JPEG"
        case ImageUse.BRAND, None:
            return "an image of a brand message is a JPEG or a PNG"
    if len(image) > MAX_BYTES[use]:
        return f"{len(image):,} bytes where dealers take {MAX_BYTES[use]:,}"
    return None
