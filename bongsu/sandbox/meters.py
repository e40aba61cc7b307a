"""Counting in a window that slides: the dealer's limits, and what the judge wants to know of them."""

from __future__ import annotations

from collections import deque


class SlidingWindow:
    """How much was counted within the last ``seconds``."""

    __slots__ = ("_counted", "peak", "seconds", "total")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.total = 0
        self.peak = 0
        """the most that any window of this length has held"""
        self._counted: deque[tuple[float, int]] = deque()

    def at(self, now: float) -> int:
        """Return what the window that ends at ``now`` holds; ``now`` never goes back."""
        counted = self._counted
        while counted and counted[0][0] <= now - self.seconds:
            self.total -= counted.popleft()[1]
        return self.total

    def add(self, now: float, amount: int) -> None:
        """Count ``amount`` at ``now``."""
        self.at(now)
        if amount:
            self._counted.append((now, amount))
            self.total += amount
            self.peak = max(self.peak, self.total)

    def room_after(self, now: float, amount: int, limit: int) -> float:
        """Return in how many seconds ``amount`` more would be within ``limit``; infinite if never."""
        if amount > limit:
            return float("inf")
        held = self.at(now)
        for when, counted in self._counted:
            if held + amount <= limit:
                break
            held -= counted
            last = when
        else:
            last = self._counted[-1][0] if self._counted else now - self.seconds
        return 0.0 if self.total + amount <= limit else max(0.0, last + self.seconds - now)
