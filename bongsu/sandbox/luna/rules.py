"""What Kakao's hub behind Luna says of a message before it goes out (alimtalk-api.md 4 and 6, 2025-12-26)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_KEY = 27
_MAX_NUMBER = 16
_MAX_BUTTONS = 5
_MAX_BUTTONS_BESIDE_REPLIES = 2
_MAX_REPLIES = 10
_MAX_TITLE = 50
_MAX_HEADER = 16
_TEXT = {"AT": 1000, "AI": 1000, "FT": 1000, "FI": 400, "FW": 76}
_LINKS = (
    ("url_mobile", "linkMo"),
    ("url_pc", "linkPc"),
    ("scheme_android", "linkAnd"),
    ("scheme_ios", "linkIos"),
)

TYPES = {"alimtalk": frozenset({"AT", "AI"}), "friendtalk": frozenset({"FT", "FI", "FW"})}
"""of the friend talk's eight types those that bongsu sends"""


def malformed(kind: str, message: Mapping[str, Any]) -> str | None:
    """Return the code for a body that lacks something or holds something else, or None."""
    wanted = ["message_type", "message_key", "sender_key", "country_code", "message"]
    if kind == "alimtalk":
        wanted.append("template_code")
    if any(not isinstance(message.get(name), str) or not message[name] for name in wanted):
        return "1004"
    number = message.get("recipient_number")
    if not isinstance(number, str) or not number:
        return "1020"
    fits = len(message["message_key"]) <= MAX_KEY and message["message_type"] in TYPES[kind]
    shapes = {"title": str, "header": str, "attachment": dict, "supplement": dict}
    if not fits or not all(isinstance(message.get(name, shape()), shape) for name, shape in shapes.items()):
        return "1030"
    if len(message["country_code"]) + len(number) > _MAX_NUMBER or not re.fullmatch(r"(01|821)\d{8,9}", number):
        return "3008"
    return None


def refusal(message: Mapping[str, Any]) -> str | None:
    """Return the code for what is too long or too many, or None."""
    buttons = message.get("attachment", {}).get("button", [])
    replies = message.get("supplement", {}).get("quick_reply", [])
    most = _MAX_BUTTONS_BESIDE_REPLIES if replies else _MAX_BUTTONS
    checks = {
        "3014": len(message["message"]) > _TEXT[message["message_type"]],
        "3029": len(message.get("title", "")) > _MAX_TITLE,
        "3032": len(message.get("header", "")) > _MAX_HEADER,
        "3027": len(buttons) > most or len(replies) > _MAX_REPLIES,
        "3024": message["message_type"] in {"FI", "FW"} and not message.get("attachment", {}).get("image"),
    }
    return next((code for code, struck in checks.items() if struck), None)


def mismatch(message: Mapping[str, Any], template: Mapping[str, Any]) -> str | None:
    """Return the code for the first difference between a message and its template, or None."""
    if template["inspectionStatus"] != "APR" or template["status"] == "S" or template["block"] or template["dormant"]:
        return "3015"
    attachment = message.get("attachment", {})
    item, template_item = attachment.get("item", {}), template.get("templateItem", {})
    is_image = template["templateEmphasizeType"] == "IMAGE"
    checks = {
        "3030": is_image != (message["message_type"] == "AI"),
        "3016": not _same(template["templateContent"], message["message"]),
        "3028": not _same(template.get("templateTitle"), message.get("title")),
        "3031": not _same(template.get("templateHeader"), message.get("header")),
        "3033": not _same_item(template.get("templateItemHighlight"), attachment.get("item_highlight")),
        "3036": not _same_items(template_item.get("list", []), item.get("list", [])),
        "3038": not _same_item(template_item.get("summary"), item.get("summary")),
        "3027": not _same_links(template.get("buttons", []), attachment.get("button", []))
        or not _same_links(template.get("quickReplies", []), message.get("supplement", {}).get("quick_reply", [])),
    }
    return next((code for code, struck in checks.items() if struck), None)


def _same(template: str | None, said: str | None) -> bool:
    if template is None or said is None:
        return template is said
    pattern = ".*".join(re.escape(fixed) for fixed in re.split(r"#\{[^}]*\}", template))
    return re.fullmatch(pattern, said, re.DOTALL) is not None


def _same_item(template: Mapping[str, str] | None, said: Mapping[str, str] | None) -> bool:
    if template is None or said is None:
        return template is said
    return all(_same(template.get(name), said.get(name)) for name in ("title", "description"))


def _same_items(template: Sequence[Mapping[str, str]], said: Sequence[Mapping[str, str]]) -> bool:
    return len(template) == len(said) and all(map(_same_item, template, said))


def _same_links(template: Sequence[Mapping[str, str]], said: Sequence[Mapping[str, str]]) -> bool:
    return len(template) == len(said) and all(map(_same_link, template, said))


def _same_link(template: Mapping[str, str], said: Mapping[str, str]) -> bool:
    named = (template.get("linkType"), template.get("name")) == (said.get("type"), said.get("name"))
    return named and all(_same(template.get(theirs), said.get(ours)) for ours, theirs in _LINKS)
