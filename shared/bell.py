"""What wakes a loop that has nothing to do."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Counts rings, so that none is missed between looking and waiting."""

    def __init__(self) -> None:
        self.rings = 0
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake who waits."""
        self.rings += 1
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, heard: int, timeout_seconds: float) -> None:
        """Return once it has rung more than ``heard`` times, or after ``timeout_seconds``."""
        if self.rings == heard:
            rung = self._rung
            with suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), timeout_seconds)
