"""From a template of ours to what is handed in for inspection. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.dealers.base import Button, Item, QuickReply
from shared.dealers.templates import TemplateCallFailed, TemplateDraft

if TYPE_CHECKING:
    from shared.catalog.parts import TemplateHighlight, TemplateSummary
    from shared.catalog.template import Template


def draft_of(template: Template, dealer: str, *, name: str, category: str, secure: bool) -> TemplateDraft:
    """Return ``template`` as ``dealer`` is asked to register it, with its variables as they stand.

    Raises ``TemplateCallFailed`` for what bongsu registers at no dealer: a brand message, an image, a link of the whole
    message.
    """
    if template.kind == "brand":
        raise TemplateCallFailed("invalid_request", "a brand message is registered nowhere: nobody inspects it")
    for what, there in (
        ("an image", template.has_image or (template.highlight is not None and template.highlight.thumbnail)),
        ("a representative link", template.link is not None),
    ):
        if there:
            raise TemplateCallFailed("invalid_request", f"a template with {what} is registered in the dealer's console")
    return TemplateDraft(
        code=template.codes.get(dealer, template.code),
        name=name,
        text=template.text,
        category=category,
        buttons=tuple(Button(**button.model_dump()) for button in template.buttons),
        quick_replies=tuple(QuickReply(**reply.model_dump()) for reply in template.quick_replies),
        title=template.title,
        subtitle=template.subtitle,
        header=template.header,
        highlight=_item(template.highlight),
        items=tuple(Item(item.title, item.description) for item in template.items),
        summary=_item(template.summary),
        secure=secure,
    )


def _item(part: TemplateHighlight | TemplateSummary | None) -> Item | None:
    return None if part is None else Item(part.title, part.description)


def words_of(template: Template) -> str:
    """Return what an inspector is told of a template when nobody says anything: an example of each variable."""
    examples = (f"#{{{name}}}: {value}" for name, value in template.examples.items())
    return "변수 예시\n" + "\n".join(examples) if template.examples else ""
