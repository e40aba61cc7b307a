"""What SOLAPI checks of a free-form brand message (``BMS_FREE``): bubbles of text, image and wide image.

The rules are those of SOLAPI's Node SDK 6.0.1 (``bmsConstraints.ts``), which calls them the server's own; which status
code stands for which is our reading, since none is published. Other bubbles are refused as unknown types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bongsu.sandbox.solapi.codes import ACCEPTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bongsu.sandbox.solapi.storage import File


@dataclass(frozen=True, slots=True)
class _Bubble:
    fields: frozenset[str]
    characters: int
    line_breaks: int
    buttons: int
    button_name: int
    image: str | None = None
    """the type under which its image must have been uploaded"""


_ALWAYS = frozenset({"targeting", "chatBubbleType", "adult", "content", "buttons", "coupon"})
_BUBBLES = {
    "TEXT": _Bubble(_ALWAYS, 1300, 99, 5, 14),
    "IMAGE": _Bubble(_ALWAYS | {"imageId", "imageLink"}, 1300, 99, 5, 14, "BMS"),
    "WIDE": _Bubble(_ALWAYS | {"imageId"}, 76, 1, 2, 8, "BMS_WIDE"),
}
_LINKS = frozenset({"linkMobile", "linkPc", "linkAndroid", "linkIos", "targetOut"})
_BUTTONS: Mapping[str, frozenset[str]] = {
    "WL": frozenset({"linkMobile", "linkPc", "targetOut"}),
    "AL": frozenset({"linkMobile", "linkAndroid", "linkIos", "targetOut"}),
    "AC": frozenset(),
    "BK": frozenset({"chatExtra"}),
    "MD": frozenset({"chatExtra"}),
    "BC": frozenset({"chatExtra"}),
    "BT": frozenset({"chatExtra"}),
    "BF": frozenset(),
}
_VARIABLE = re.compile(r"#\{[^#{}]+\}")
_WEB = re.compile(r"https?://[^\s/]+\.[A-Za-z0-9]+\S*")


def judge_brand(text: str, bms: Mapping[str, Any], files: Mapping[str, File]) -> str:
    """Return the status code of a message with ``text`` and these ``kakaoOptions.bms``."""
    return next(_faults(text, bms, files), ACCEPTED)


def _faults(text: str, bms: Mapping[str, Any], files: Mapping[str, File]) -> Iterator[str]:
    if not bms.get("targeting") or not bms.get("chatBubbleType") or not text:
        yield "1010"
    if bms.get("targeting") in {"M", "N"}:
        yield "1041"  # only for channels that Kakao allows it
    elif bms.get("targeting") != "I":
        yield "1011"
    bubble = _BUBBLES.get(str(bms.get("chatBubbleType")))
    if bubble is None:
        yield "1025"
        return
    if not {name for name, value in bms.items() if value is not None} <= bubble.fields:
        yield "1011"
    if len(text) > bubble.characters or len(re.findall(r"\r\n|\r|\n", text)) > bubble.line_breaks:
        yield "1031"
    if bubble.image is not None:
        yield from _faults_of_image(bms, bubble.image, files)
    buttons = bms.get("buttons") or []
    if len(buttons) > bubble.buttons:
        yield "1050"
    for button in buttons:
        yield from _faults_of_button(button, bubble.button_name)


def _faults_of_image(bms: Mapping[str, Any], kind: str, files: Mapping[str, File]) -> Iterator[str]:
    if not bms.get("imageId"):
        yield "1010"
        return
    file = files.get(str(bms["imageId"]))
    if file is None or file.type != kind:
        yield "1051"
    link = bms.get("imageLink")
    if link is not None and not _WEB.fullmatch(str(link)):
        yield "1045"


def _faults_of_button(button: Mapping[str, Any], longest: int) -> Iterator[str]:
    kind, name = str(button.get("linkType")), str(button.get("name") or "")
    given = {field for field, value in button.items() if value is not None} - {"linkType", "name"}
    if kind not in _BUTTONS or not given <= _BUTTONS[kind] or (kind != "AC" and not name) or _VARIABLE.search(name):
        yield "1044"
        return
    if kind != "AC" and len(name) > longest:
        yield "1049"
    if (kind == "WL" and not button.get("linkMobile")) or (kind == "AL" and not given & _LINKS - {"targetOut"}):
        yield "1045"
    if any(not _WEB.fullmatch(str(button[link])) for link in ("linkMobile", "linkPc") if button.get(link) is not None):
        yield "1045"
