"""SOLAPI's storage: what it takes by type (solapi.com/developers, "파일 업로드", 2026-03-18), and how it shows it."""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.solapi import wire
from bongsu.sandbox.solapi.codes import Refused
from bongsu.sandbox.truth import iso

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class _Kind:
    size: int
    formats: frozenset[str]
    largest: tuple[int, int] | None = None
    """width and height"""
    ratios: tuple[float, float] | None = None
    """of width to height"""


_PHOTO, _JPEG = frozenset({"png", "jpg"}), frozenset({"jpg"})
KINDS = {
    "DOCUMENT": _Kind(5 * 1024 * 1024, _PHOTO),
    "MMS": _Kind(200 * 1024, _JPEG, largest=(1500, 1440)),
    "KAKAO": _Kind(500 * 1024, _PHOTO, ratios=(1 / 1.5, 2)),
    "ATA": _Kind(500 * 1024, _PHOTO, ratios=(2, 2)),
    "KAKAO_HIGHLIGHT": _Kind(1000 * 1024, _PHOTO, ratios=(1, 1)),
    "BMS": _Kind(5 * 1024 * 1024, _PHOTO, ratios=(3 / 4, 2)),
    "BMS_WIDE": _Kind(5 * 1024 * 1024, _PHOTO, ratios=(1, 2)),
}
MAX_NAME = 100
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class File:
    """A file that was uploaded; ``measures`` are width and height, None where they could not be read."""

    id: str
    type: str
    name: str
    size: int
    measures: tuple[int, int] | None
    created_at: float


class _Upload(msgspec.Struct):
    file: str
    type: str = "DOCUMENT"
    name: str | None = None
    link: str | None = None


def store(body: bytes, now: datetime) -> File:
    """Return the file that an upload makes, or raise ``Refused``."""
    wanted = wire.read(body, _Upload)
    kind = KINDS.get(wanted.type)
    if kind is None:
        raise Refused(400, "ValidationError", "지원하지 않는 파일 타입입니다.")
    if len(wanted.name or "") > MAX_NAME:
        raise Refused(400, "ValidationError", f"name 은 {MAX_NAME}자 이하여야 합니다.")
    try:
        content = base64.b64decode(wanted.file, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "ValidationError", "file 은 Base64 여야 합니다.") from error
    if not content or len(content) > kind.size:
        raise Refused(400, "ValidationError", f"파일 크기는 {kind.size}바이트를 넘을 수 없습니다.")
    if _format_of(content) not in kind.formats:
        raise Refused(400, "ValidationError", "허용되지 않는 확장자입니다.")
    measures = measures_of(content)
    if measures is not None and not _fits(kind, *measures):
        raise Refused(400, "ValidationError", "허용되지 않는 해상도입니다.")
    identifier = f"ST01FZ{secrets.token_hex(13)}"
    return File(identifier, wanted.type, wanted.name or identifier, len(content), measures, now.timestamp())


def _fits(kind: _Kind, width: int, height: int) -> bool:
    if kind.largest is not None and (width > kind.largest[0] or height > kind.largest[1]):
        return False
    return kind.ratios is None or (height > 0 and kind.ratios[0] <= width / height <= kind.ratios[1])


def _format_of(content: bytes) -> str:
    if content.startswith(b"\xff\xd8"):
        return "jpg"
    return "png" if content.startswith(b"\x89PNG\r\n\x1a\n") else ""


def measures_of(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG or JPEG; None where its head does not say (ISO/IEC 10918-1, B.2.2)."""
    if _format_of(content) == "png":
        return (_number(content[16:20]), _number(content[20:24])) if content[12:16] == b"IHDR" else None
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:  # noqa: PLR2004 - every marker begins so
        marker, length = content[at + 1], _number(content[at + 2 : at + 4])
        if marker in _START_OF_FRAME:
            return _number(content[at + 7 : at + 9]), _number(content[at + 5 : at + 7])
        at += 2 + length
    return None


def _number(field: bytes) -> int:
    return int.from_bytes(field)


def file_view(file: File, account_id: str) -> dict[str, Any]:
    """Return a file as SOLAPI shows it."""
    width, height = file.measures or (None, None)
    return {
        "fileId": file.id,
        "accountId": account_id,
        "name": file.name,
        "originalName": file.name,
        "url": f"https://storage.invalid/{account_id}/{file.id}",
        "type": file.type,
        "link": None,
        "width": width,
        "height": height,
        "fileSize": file.size,
        "references": [],
        "kakao": {"daou": None, "biztalk": None},
        "dateCreated": iso(file.created_at),
        "dateUpdated": iso(file.created_at),
    }
