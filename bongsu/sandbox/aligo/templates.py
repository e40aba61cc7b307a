"""The templates that Aligo keeps: registering, inspection, and whether a message is the one that was inspected."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINKS = {"linkM": "linkMo", "linkP": "linkPc", "linkI": "linkIos", "linkA": "linkAnd"}
"""how a link is called when a template is registered, and ever after"""


class BadTemplate(Exception):
    """It is not taken; the text says why, as Aligo would."""


@dataclass(slots=True)
class Template:
    """A template; ``inspection`` is REG, REQ, APR or REJ, ``status`` R, A or S."""

    code: str
    sender_key: str
    name: str
    content: str
    emphasis: str = "NONE"
    title: str = ""
    buttons: list[dict[str, str]] = field(default_factory=list)
    status: str = "R"
    inspection: str = "REG"
    comments: list[dict[str, str]] = field(default_factory=list)

    def as_row(self) -> dict[str, Any]:
        """Return it as the list shows it, with line breaks as CRLF."""
        return {
            "senderKey": self.sender_key,
            "templtCode": self.code,
            "templtName": self.name,
            "templtContent": re.sub(r"\r?\n", "\r\n", self.content),
            "templateEmType": self.emphasis,
            "templtTitle": self.title,
            "status": self.status,
            "inspStatus": self.inspection,
            "buttons": [{"ordering": str(n), **button} for n, button in enumerate(self.buttons, 1)],
            "comments": self.comments,
        }

    @property
    def is_open(self) -> bool:
        """Whether it may be changed."""
        return self.status == "R" and self.inspection in {"REG", "REJ"}

    def is_of(self, row: Mapping[str, str]) -> bool:
        """Whether a message (its fields without their number) is this template with variables filled in."""
        if not _fits(self.content, row["message"]):
            return False
        if self.emphasis == "TEXT" and not _fits(self.title, row.get("emtitle", "")):
            return False
        try:
            sent = msgspec.json.decode(row.get("button") or '{"button":[]}')["button"]
            names = [(button["name"], button["linkType"]) for button in sent]
        except (msgspec.DecodeError, KeyError, TypeError):
            return False
        return names == [(button["name"], button["linkType"]) for button in self.buttons]


def _fits(inspected: str, sent: str) -> bool:
    parts = re.split(r"#\{[^}]*\}", inspected.replace("\r\n", "\n"))
    return re.fullmatch(".*?".join(map(re.escape, parts)), sent.replace("\r\n", "\n"), re.DOTALL) is not None


class Registry:
    """All templates of the account, by code."""

    def __init__(self) -> None:
        self.by_code: dict[str, Template] = {}

    def add(self, form: Mapping[str, str]) -> Template:
        """Register one under a code of Aligo's own. Raises ``BadTemplate``."""
        code = f"TA{len(self.by_code) + 1:06}"
        self.by_code[code] = Template(code, form["senderkey"], "", "")
        self._fill(self.by_code[code], form)
        return self.by_code[code]

    def modify(self, form: Mapping[str, str]) -> Template:
        """Change one that may be changed. Raises ``BadTemplate``."""
        template = self.one(form)
        if not template.is_open:
            raise BadTemplate("수정 가능 상태가 아닙니다.")
        self._fill(template, form)
        template.inspection = "REG"
        return template

    def request(self, form: Mapping[str, str]) -> None:
        """Hand one in for inspection. Raises ``BadTemplate``."""
        template = self.one(form)
        if template.status != "R" or template.inspection != "REG":
            raise BadTemplate("검수요청 가능 상태가 아닙니다.")
        template.inspection = "REQ"

    def delete(self, form: Mapping[str, str]) -> None:
        """Delete one that was not approved. Raises ``BadTemplate``."""
        template = self.one(form)
        if template.inspection == "APR":
            raise BadTemplate("승인이 완료된 템플릿은 삭제할 수 없습니다.")
        del self.by_code[template.code]

    def one(self, form: Mapping[str, str]) -> Template:
        """Return the one that a call names. Raises ``BadTemplate``."""
        template = self.by_code.get(form["tpl_code"])
        if template is None or template.sender_key != form["senderkey"]:
            raise BadTemplate("템플릿이 존재하지 않습니다.")
        return template

    def _fill(self, template: Template, form: Mapping[str, str]) -> None:
        try:
            buttons = msgspec.json.decode(form.get("tpl_button") or '{"button":[]}')["button"]
            template.buttons = [_button(button) for button in buttons]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise BadTemplate("버튼(=tpl_button) 파라메더 정보가 올바르지 않습니다.") from error
        template.name, template.content = form["tpl_name"], form["tpl_content"]
        template.emphasis, template.title = form.get("tpl_emtype", "NONE"), form.get("tpl_title", "")


def _button(button: Mapping[str, str]) -> dict[str, str]:
    """Return a registered button as the list shows it. A web link without ``linkM`` (``linkMo``, say) is refused."""
    kept = {"name": button["name"], "linkType": button["linkType"]}
    if button["linkType"] == "WL" and not button["linkM"].startswith(("http://", "https://")):
        raise KeyError("linkM")
    return kept | {shown: button[name] for name, shown in _LINKS.items() if name in button}
