"""The sandbox's templates at NHN, and an inspection that a test steers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bongsu.sandbox.nhn.rules import Refusal, text

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = {"TSC01": "요청", "TSC02": "검수 중", "TSC03": "승인", "TSC04": "반려"}
CATEGORIES = [
    {
        "name": "구매",
        "subCategories": [
            {"code": "002001", "name": "구매완료", "groupName": "구매", "inclusion": "", "exclusion": ""},
            {"code": "002002", "name": "상품가입", "groupName": "구매", "inclusion": "", "exclusion": ""},
        ],
    },
    {"name": "기타", "subCategories": [{"code": "999999", "name": "기타", "groupName": "기타"}]},
]
_VARIABLE = re.compile(r"#\{([^{}]+)\}")
_STATUSES = {"inspecting": "TSC02", "approved": "TSC03", "rejected": "TSC04"}
_COMMENTS = {"TSC02": "REP", "TSC03": "APR", "TSC04": "REJ"}


@dataclass(slots=True)
class Registered:
    """A template as NHN keeps it."""

    fields: dict[str, Any]
    status: str = "TSC01"
    block: bool = False
    dormant: bool = False
    comments: list[dict[str, Any]] = field(default_factory=list)
    created: str = ""
    updated: str = ""

    @property
    def is_sent(self) -> bool:
        """Whether messages may be sent with it."""
        return self.status == "TSC03" and not (self.block or self.dormant)

    def check(self, values: Mapping[str, str]) -> None:
        """Check that a message has a value for each variable, and is not too long with them."""
        content = self.fields["templateContent"]
        missing = {name for name in _VARIABLE.findall(str(self.fields)) if name not in values}
        if missing:
            raise Refusal(-3049, "The template parameter is not matched to template.")
        if len(_VARIABLE.sub(lambda match: values[match[1]], content)) > 1300:  # noqa: PLR2004 - as -2019 says
            raise Refusal(-2019, "The content can not exceed 1,300 characters.")

    def told(self, *, whole: bool) -> dict[str, Any]:
        """Return it as lists tell of it, or ``whole`` with what only a single query tells."""
        told = {
            **self.fields,
            "kakaoTemplateCode": self.fields["templateCode"],
            "comments": self.comments,
            "status": self.status,
            "statusName": NAMES[self.status],
            "createDate": self.created,
            "updateDate": self.updated,
        }
        return told | {"block": self.block, "dormant": self.dormant} if whole else told


class Templates:
    """Every profile's templates, by sender key and code."""

    def __init__(self) -> None:
        self.by_code: dict[tuple[str, str], Registered] = {}

    def find(self, sender_key: str, code: str) -> Registered:
        """Return one, or refuse."""
        found = self.by_code.get((sender_key, code))
        if found is None:
            raise Refusal(-3003, "Template does not exist.")
        return found

    def of(self, sender_key: str) -> list[Registered]:
        """Return those of a profile."""
        return [template for (key, _), template in self.by_code.items() if key == sender_key]

    def register(self, sender_key: str, body: dict[str, Any], now: str) -> None:
        """Take a template in, which hands it to the inspectors."""
        code, name = text(body, "templateCode", 20), text(body, "templateName", 150)
        if any(t.fields["templateCode"] == code or t.fields["templateName"] == name for t in self.of(sender_key)):
            raise Refusal(-3001, "Already exist templateCode or templateName.")
        _check(body)
        self.by_code[sender_key, code] = Registered({"senderKey": sender_key, **body}, created=now)

    def change(self, sender_key: str, code: str, body: dict[str, Any], now: str) -> None:
        """Take a new wording in."""
        template = self.find(sender_key, code)
        if template.status not in {"TSC03", "TSC04"}:
            raise Refusal(-3012, "Only templates with TSC03(APPROVE)/TSC04(REJECT) can be modified.")
        text(body, "templateName", 150)
        _check(body)
        template.fields = {"senderKey": sender_key, "templateCode": code, **body}
        template.status, template.updated = "TSC01", now

    def comment(self, sender_key: str, code: str, body: Mapping[str, Any], now: str) -> None:
        """Take a comment; one on a rejected template asks for inspection again."""
        template = self.find(sender_key, code)
        if template.status in {"TSC01", "TSC03"}:
            raise Refusal(-3100, "Could not add comment on registered/completed template status.")
        words = text(body, "comment", 500)
        again = template.status == "TSC04"
        self._say(template, words, "REQ" if again else "INQ", now)
        template.status = "TSC02"

    def inspect(self, code: str, status: str, comment: str, now: str) -> None:
        """Let the inspectors decide on every profile's template ``code``: in our words (``TemplateStatus``)."""
        found = [template for (_, own), template in self.by_code.items() if own == code]
        if not found:
            raise KeyError(code)
        for template in found:
            match status:
                case "blocked":
                    template.block = True
                case "dormant":
                    template.dormant = True
                case _:
                    template.status, template.block, template.dormant = _STATUSES[status], False, False
                    if comment:
                        self._say(template, comment, _COMMENTS[template.status], now)
            template.updated = now

    @staticmethod
    def _say(template: Registered, words: str, status: str, now: str) -> None:
        template.comments.append(
            {
                "id": len(template.comments) + 1,
                "content": words,
                "userName": "",
                "createdAt": now,
                "attachment": [],
                "status": status,
            }
        )


def _check(body: Mapping[str, Any]) -> None:
    text(body, "templateContent", 1300)
    emphasis = body.get("templateEmphasizeType", "NONE")
    titled = bool(body.get("templateTitle") or body.get("templateSubtitle"))
    if emphasis == "TEXT" and not (body.get("templateTitle") and body.get("templateSubtitle")):
        raise Refusal(-3016, "The Template which emphasizeType is 'TEXT' must have templateTitle, templateSubtitle.")
    if emphasis == "NONE" and titled:
        raise Refusal(-3027, "The Template which emphasizeType is 'NONE' can't have templateTitle, templateSubtitle.")
    if emphasis == "ITEM_LIST" and not (body.get("templateItem") or body.get("templateHeader")):
        raise Refusal(-3035, "The Template which emphasizeType is 'ITEM_LIST' must have at least one of its parts.")
    for button in body.get("buttons") or []:
        if "#{" in text(button, "name", 14):
            raise Refusal(-3008, "The button name can't include the replacement parameter.")
        if button.get("type") == "WL" and not button.get("linkMo"):
            raise Refusal(-3000, "If template have a WL(webLink), must input linkMo")
