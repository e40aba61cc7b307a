"""Reads a stream of lines, an event each, in groups: no more of it is held than a group and the line under way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from services.ingest.events import Event, read_event
from services.ingest.refusals import Kind, Refusal

if TYPE_CHECKING:
    from shared.http.body import Body

GROUP = 500
"""lines that are taken in together"""
GROUP_BYTES = 1024 * 1024


async def lines_of(body: Body, longest: int) -> AsyncIterator[list[Event | Refusal]]:
    """Yield the events of ``body`` in groups, in order; a line that is none, or too long, is its own refusal.

    Blank lines are passed over. Raises as ``Body.part``.
    """
    cutter = Cutter(longest)
    group: list[Event | Refusal] = []
    size = 0
    while not body.complete:
        part = await body.part()
        for line in cutter.cut(part if not body.complete else part + b"\n"):
            group.append(_too_long(longest) if line is None else read_event(line))
            size += len(line or b"")
            if len(group) >= GROUP or size >= GROUP_BYTES:
                yield group
                group, size = [], 0
        body.keep(len(cutter.rest) + size)
    if group:
        yield group


class Cutter:
    """Cuts parts of a stream into lines of at most ``longest`` bytes."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.rest = b""
        """the beginning of a line that is not complete"""
        self._skipping = False

    def cut(self, part: bytes) -> Iterator[bytes | None]:
        """Yield the lines that ``part`` completes, None for one that is too long; not those that are blank."""
        *lines, self.rest = (self.rest + part).split(b"\n")
        for line in lines:
            if self._skipping or len(line) > self._longest:
                self._skipping = False
                yield None
            elif line.strip():
                yield line
        if self._skipping or len(self.rest) > self._longest:
            self._skipping, self.rest = True, b""


def _too_long(longest: int) -> Refusal:
    return Refusal(Kind.BODY_TOO_LARGE, f"A line has at most {longest} bytes. Send less in one event.")
