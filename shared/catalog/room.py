"""How much room a template leaves for its values: enough to know of most messages that they fit, without rendering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.catalog.parts import CHAT_EXTRA, ITEM_DESCRIPTION, holds_space
from shared.catalog.template import HEADER, TITLE, Template
from shared.catalog.wording import fixed, names_in
from shared.text import LMS_BYTES, byte_length, carry, uncarried

_CHARACTER_BYTES = 2
"""of cp949, at most"""


@dataclass(frozen=True, slots=True)
class Room:
    """What values surely fit a template. Those that may not are to be rendered, to see."""

    characters: int
    """that all values may have together"""
    in_links: tuple[str, ...]
    """the variables that stand in links, where no space may"""

    @classmethod
    def of(cls, template: Template) -> Room:
        """Return the room of ``template``: that of its narrowest text."""
        rooms = [room // times for text, room in _rooms(template) if (times := _most_often(text))]
        return cls(min(rooms, default=0), tuple(sorted({name for link in _links(template) for name in names_in(link)})))

    def holds(self, values: Mapping[str, str]) -> bool:
        """Return True only if the template can be rendered with ``values``, over Kakao and as a text."""
        together = "".join(values.values())
        if len(together) > self.characters or uncarried(together):
            return False
        return not any(holds_space(values[name]) for name in self.in_links)


def _most_often(text: str) -> int:
    """Return how often the variable that stands most often in ``text`` does; 0 if there is none."""
    return max(Counter(names_in(text)).values(), default=0)


def _rooms(template: Template) -> Iterator[tuple[str, int]]:
    """Yield each text that has a limit, with the characters that the limit leaves for its variables."""
    limited = [(template.text, template.characters), (template.title, TITLE), (template.header, HEADER)]
    if template.highlight is not None:
        texts = (template.highlight.title, template.highlight.description)
        limited += zip(texts, template.highlight.limits, strict=True)
    limited += [(item.description, ITEM_DESCRIPTION) for item in template.items]
    limited += [(part.chat_extra, CHAT_EXTRA) for part in (*template.buttons, *template.quick_replies)]
    for text, limit in limited:
        if text is not None:
            yield text, limit - len(fixed(text))
    if template.summary is not None:
        yield template.summary.description, 0  # not every value is a sum of money
    if template.text_message is not None:
        size = byte_length(carry(fixed(template.text_message)))
        yield template.text_message, (LMS_BYTES - size) // _CHARACTER_BYTES


def _links(template: Template) -> Iterator[str]:
    for part in (template.link, *template.buttons, *template.quick_replies):
        if part is not None:
            yield from part.links()
    if template.image_link is not None:
        yield template.image_link
