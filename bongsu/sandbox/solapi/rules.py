"""What SOLAPI checks when a message is registered: pure functions, answered in its status codes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bongsu.sandbox.solapi.brand import judge_brand
from bongsu.sandbox.solapi.codes import ACCEPTED
from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bongsu.sandbox.profile import Template, TemplateButton
    from bongsu.sandbox.solapi.storage import File
    from bongsu.sandbox.solapi.wire import Button, KakaoOptions, Message, QuickReply

CHANNELS = {
    "SMS": Channel.SMS,
    "LMS": Channel.LMS,
    "MMS": Channel.MMS,
    "ATA": Channel.ALIMTALK,
    "CTA": Channel.FRIENDTALK,
    "CTI": Channel.FRIENDTALK,
    "BMS_FREE": Channel.FRIENDTALK,
}
SMS_BYTES = 90
LMS_BYTES = 2000
SUBJECT_BYTES = 40
KAKAO_CHARACTERS = 1000
BUTTONS = 5
BUTTON_NAME = 14
BUTTON_URL = 100
BUTTON_KINDS = frozenset({"WL", "AL", "BK", "MD", "DS", "BC", "BT", "AC"})
QUICK_REPLIES = 10
QUICK_REPLY_KINDS = frozenset({"WL", "AL", "BK", "BC", "BT"})
FIELD_NAME = 30
FIELD_VALUE = 100

_VARIABLE = re.compile(r"#\{[^{}]+\}")
_NUMBER = re.compile(r"\d{8,15}")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def text_bytes(text: str) -> int | None:
    """Return the length of ``text`` as carriers count it, in cp949, or None if it cannot be written so."""
    try:
        return len(text.encode("cp949"))
    except UnicodeEncodeError:
        return None


class _Pattern:
    """A text with ``#{variables}``: fills it, or recognises what it was filled to."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.variables = tuple(dict.fromkeys(_VARIABLE.findall(content)))
        parts = _VARIABLE.split(content)
        self._shape = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)

    def fill(self, values: Mapping[str, str]) -> str:
        return _VARIABLE.sub(lambda found: values.get(found[0], found[0]), self.content)

    def fits(self, text: str) -> bool:
        return self._shape.fullmatch(text) is not None


class _ButtonPattern:
    def __init__(self, button: TemplateButton) -> None:
        self.kind = button.button_type
        self.name = _Pattern(button.button_name)
        links = (button.link_mo, button.link_pc, button.link_and, button.link_ios)
        self.links = tuple(None if link is None else _Pattern(link) for link in links)

    @property
    def variables(self) -> tuple[str, ...]:
        patterns = (self.name, *(link for link in self.links if link))
        return tuple(name for pattern in patterns for name in pattern.variables)


class RegisteredTemplate:
    """A template and the patterns that its messages must fit."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.content = _Pattern(template.content)
        self.buttons = tuple(_ButtonPattern(button) for button in template.buttons)
        self.variables = frozenset(self.content.variables).union(*(button.variables for button in self.buttons))


@dataclass(frozen=True, slots=True)
class Known:
    """What the dealer knows when it judges a message."""

    senders: frozenset[str]
    channels: frozenset[str]
    templates: Mapping[str, RegisteredTemplate]
    any_template: bool
    any_sender: bool
    files: Mapping[str, File] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome: a status code, the type the message got, and its text once rendered."""

    code: str
    type: str
    text: str


def judge(message: Message, known: Known) -> Judged:
    """Judge a message, apart from its recipient."""
    kind = _type_of(message)
    text = message.text or ""
    if kind not in CHANNELS:
        return Judged("1025", kind, text)
    code = _judge_fields(message, known)
    if code == ACCEPTED:
        if CHANNELS[kind].is_text:
            code = _judge_text(message, kind, text)
            if code == ACCEPTED and kind == "MMS":
                code = _judge_image(message, known)
        elif kind == "BMS_FREE":
            code = _judge_brand(message, known)
        else:
            code, text = _judge_kakao(message, kind, known)
    return Judged(code, kind, text)


def judge_recipient(to: str) -> str:
    """Judge a recipient's number."""
    if not to:
        return "1010"
    return ACCEPTED if _NUMBER.fullmatch(to) else "1011"


def _type_of(message: Message) -> str:
    if message.type:
        return message.type
    options = message.kakao_options
    if options is not None and options.template_id:
        return "ATA"
    if options is not None and options.pf_id:
        return "CTA" if options.bms is None else "BMS_FREE"
    if message.image_id:
        return "MMS"
    size = text_bytes(message.text or "")
    return "SMS" if not message.subject and size is not None and size <= SMS_BYTES else "LMS"


def _judge_fields(message: Message, known: Known) -> str:
    if not message.from_:
        return "1010"
    if not known.any_sender and message.from_ not in known.senders:
        return "1062"
    for name, value in (message.custom_fields or {}).items():
        if len(name) > FIELD_NAME or len(value) > FIELD_VALUE:
            return "1032"
    return ACCEPTED


def _judge_text(message: Message, kind: str, text: str) -> str:  # noqa: PLR0911 - one line a rule
    if message.kakao_options is not None:
        return "1033"
    if not text:
        return "1010"
    if _UNPRINTABLE.search(text):
        return "1028"
    size = text_bytes(text)
    if size is None:
        return "1029"
    if size > (SMS_BYTES if kind == "SMS" else LMS_BYTES):
        return "1031"
    if message.subject:
        if kind == "SMS":
            return "1013"
        subject = text_bytes(message.subject)
        if subject is None:
            return "1029"
        if subject > SUBJECT_BYTES:
            return "1014"
    return ACCEPTED


def _judge_image(message: Message, known: Known) -> str:
    if not message.image_id:
        return "1010"
    file = known.files.get(message.image_id)
    return ACCEPTED if file is not None and file.type == "MMS" else "1034"


def _judge_brand(message: Message, known: Known) -> str:
    options = message.kakao_options
    if options is None or not options.pf_id or options.bms is None:
        return "1010"
    if not known.any_template and options.pf_id not in known.channels:
        return "1041"
    return judge_brand(message.text or "", options.bms, known.files)


def _judge_kakao(message: Message, kind: str, known: Known) -> tuple[str, str]:
    options, text = message.kakao_options, message.text or ""
    if options is None or not options.pf_id or (kind == "ATA" and not options.template_id):
        return "1010", text
    if not known.any_template and options.pf_id not in known.channels:
        return "1041", text
    if kind == "ATA":
        code, text = _judge_template(options, message.text, known)
        if code != ACCEPTED:
            return code, text
    if not text and not (kind == "ATA" and known.any_template):  # of an unknown template the text is too
        return "1010", text
    if len(text) > KAKAO_CHARACTERS:
        return "1031", text
    code = _judge_buttons(options.buttons or ())
    return (_judge_quick_replies(options.quick_replies or ()) if code == ACCEPTED else code), text


def _judge_template(options: KakaoOptions, text: str | None, known: Known) -> tuple[str, str]:
    registered = known.templates.get(options.template_id or "")
    if registered is None:
        return (ACCEPTED if known.any_template else "1042"), text or ""
    if registered.template.status != "APPROVED" or registered.template.pf_id != options.pf_id:
        return "1042", text or ""
    if text is not None and not registered.content.fits(text):
        return "1043", text
    if options.variables is not None:
        values = {name if name.startswith("#{") else f"#{{{name}}}": value for name, value in options.variables.items()}
        if not registered.variables <= values.keys():
            return "1043", text or ""
        text = registered.content.fill(values)
    elif text is None:
        if registered.variables:
            return "1043", ""
        text = registered.content.content
    return _match_buttons(registered, options), text


def _match_buttons(registered: RegisteredTemplate, options: KakaoOptions) -> str:  # noqa: PLR0911 - likewise
    if options.buttons is None and options.variables is not None:
        return ACCEPTED  # the dealer takes them from the template
    sent: Sequence[Button] = options.buttons or ()
    if registered.buttons and not sent:
        return "1046"
    if sent and not registered.buttons:
        return "1047"
    if len(sent) != len(registered.buttons):
        return "1044"
    for button, wanted in zip(sent, registered.buttons, strict=True):
        if button.button_type != wanted.kind or not wanted.name.fits(button.button_name or ""):
            return "1052"
        links = (button.link_mo, button.link_pc, button.link_and, button.link_ios)
        for link, pattern in zip(links, wanted.links, strict=True):
            if (link is None) != (pattern is None) or (pattern and not pattern.fits(link or "")):
                return "1045"
    return ACCEPTED


def _judge_buttons(buttons: Sequence[Button]) -> str:  # noqa: PLR0911 - likewise
    if len(buttons) > BUTTONS:
        return "1050"
    for button in buttons:
        if not button.button_name or button.button_type not in BUTTON_KINDS:
            return "1044"
        if len(button.button_name) > BUTTON_NAME:
            return "1049"
        if button.button_type == "WL" and not button.link_mo:
            return "1045"
        if button.button_type == "AL" and not (button.link_and and button.link_ios):
            return "1045"
        links = (button.link_mo, button.link_pc, button.link_and, button.link_ios)
        if any(link and len(link) > BUTTON_URL for link in links):
            return "1048"
    return ACCEPTED


def _judge_quick_replies(replies: Sequence[QuickReply]) -> str:
    """Judge quick replies by their form; no code of their own is published, so they get those of buttons."""
    if len(replies) > QUICK_REPLIES:
        return "1050"
    for reply in replies:
        if not reply.name or reply.link_type not in QUICK_REPLY_KINDS:
            return "1044"
        if len(reply.name) > BUTTON_NAME:
            return "1049"
        if reply.link_type == "WL" and not reply.link_mo:
            return "1045"
        if reply.link_type == "AL" and not (reply.link_and and reply.link_ios):
            return "1045"
    return ACCEPTED
