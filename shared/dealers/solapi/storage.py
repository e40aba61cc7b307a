"""Images at SOLAPI: what its storage takes (solapi.com/developers, "파일 업로드", 2026-03-18)."""

from __future__ import annotations

import base64

import msgspec

from shared.dealers.base import ImageUse, Refused

TYPES = {ImageUse.MMS: "MMS", ImageUse.BRAND: "BMS"}
MAX_BYTES = {ImageUse.MMS: 200 * 1024, ImageUse.BRAND: 5 * 1024 * 1024}
MAX_NAME = 100

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"


def refusal_of_image(use: ImageUse, image: bytes) -> Refused | None:
    """Return why SOLAPI would not take ``image``, or None. Its measures are left to SOLAPI to judge."""
    kinds = (_JPEG,) if use is ImageUse.MMS else (_JPEG, _PNG)
    if image.startswith(kinds) and len(image) <= MAX_BYTES[use]:
        return None
    named = "a JPEG" if use is ImageUse.MMS else "a JPEG or PNG"
    return Refused("invalid_attachment", "", f"SOLAPI takes {named} of up to {MAX_BYTES[use]:,} bytes for {use}")


def body_of(use: ImageUse, name: str, image: bytes) -> bytes:
    """Return the body of the upload; ``name`` is what the console shows."""
    fields = {"file": base64.b64encode(image).decode(), "type": TYPES[use]}
    shown = name.encode(errors="ignore").decode()[:MAX_NAME]
    return msgspec.json.encode(fields | ({"name": shown} if shown else {}))
