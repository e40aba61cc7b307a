"""What really left and what became of it: the judge's book, which no fault touches."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bongsu.sandbox.meters import SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.contracts.states import Channel


@dataclass(slots=True)
class Dispatched:
    """A message that left, and whether the person gets it, reported or not."""

    dealer: str
    message_id: str
    group_id: str
    to: str
    channel: Channel
    custom_fields: tuple[tuple[str, str], ...]
    key: str | None
    """the caller's own key; None where the dealer's wire has no place for one"""
    world_at: float
    """when it left, by the world's clock (Unix seconds)"""
    at: float
    """when it left, by the rules' clock"""
    substitute: bool
    """the dealer's own SMS after a failure on Kakao"""
    code: str
    """what became of it, as the dealer says it"""
    delivered: bool
    final_at: float
    """when it reached the person or failed, by the rules' clock"""

    def as_row(self) -> dict[str, Any]:
        """Return it as ``/_sandbox/truth`` shows it."""
        return {
            "dealer": self.dealer,
            "message_id": self.message_id,
            "group_id": self.group_id,
            "to": self.to,
            "channel": self.channel.value,
            "custom_fields": dict(self.custom_fields),
            "key": self.key,
            "dispatched_at": iso(self.world_at),
            "at": iso(self.at),
            "substitute": self.substitute,
            "delivered": self.delivered,
            "code": self.code,
            "delivered_at": iso(self.final_at) if self.delivered else None,
        }


def iso(moment: float) -> str:
    """Return a Unix time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Truth:
    """All that left, in the order in which it left, and how fast."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.sent: list[Dispatched] = []
        self._sent: defaultdict[str, SlidingWindow] = defaultdict(lambda: SlidingWindow(1.0))
        self._asked: defaultdict[str, SlidingWindow] = defaultdict(lambda: SlidingWindow(1.0))
        """with what was refused for the limit"""
        self._exceeded: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.refused_at_registration: Counter[str] = Counter()
        self._ends: Counter[tuple[Channel, str]] = Counter()
        self._substitutes = 0
        self._delivered = 0

    def add(self, dispatched: Dispatched) -> None:
        """Write down a message that leaves."""
        self.sent.append(dispatched)
        self._ends[dispatched.channel, dispatched.code] += 1
        self._delivered += dispatched.delivered
        self._substitutes += dispatched.substitute

    def meter(self, dealer: str) -> SlidingWindow:
        """Return what left through ``dealer`` within a second."""
        return self._sent[dealer]

    def count_asked(self, dealer: str, amount: int) -> None:
        """Count what a caller wanted to send just now."""
        self._asked[dealer].add(time.monotonic(), amount)

    def count_sent(self, dealer: str, amount: int, limit: int) -> None:
        """Count what leaves just now; ``limit`` is what may leave in a second, 0 for anything."""
        meter = self._sent[dealer]
        meter.add(time.monotonic(), amount)
        if limit and meter.total > limit:
            self.counted["windows_exceeded"] += 1
            self._exceeded[dealer] += 1

    def rows(self, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield rows from the ``after``-th on."""
        end = len(self.sent) if limit is None else after + limit
        for dispatched in self.sent[after:end]:
            yield dispatched.as_row()

    def summary(self, key: str | None = None, until: str = "") -> dict[str, Any]:
        """Return totals; with ``key`` also the ``duplicates``, for which every message is looked at."""
        channels: Counter[str] = Counter()
        for (channel, _), count in self._ends.items():
            channels[channel.value] += count
        totals: dict[str, Any] = {
            "dispatched": len(self.sent),
            "delivered": self._delivered,
            "substitutes": self._substitutes,
            "by_channel": dict(channels),
            "by_code": {f"{channel}:{code}": count for (channel, code), count in sorted(self._ends.items())},
            "refused_at_registration": dict(self.refused_at_registration),
            "max_in_a_second": max((meter.peak for meter in self._sent.values()), default=0),
            "max_asked_in_a_second": max((meter.peak for meter in self._asked.values()), default=0),
            "windows_exceeded": self.counted["windows_exceeded"],
            "by_dealer": self._by_dealer(),
            "counted": dict(self.counted),
        }
        return totals if key is None else {**totals, "duplicates": self.duplicates(key, until)}

    def _by_dealer(self) -> dict[str, dict[str, int]]:
        """Return what left through each dealer, and how it kept to the limit."""
        sent = Counter(dispatched.dealer for dispatched in self.sent)
        return {
            dealer: {
                "dispatched": sent[dealer],
                "max_in_a_second": self._sent[dealer].peak,
                "windows_exceeded": self._exceeded[dealer],
            }
            for dealer in sorted(sent)
        }

    def duplicates(self, key: str = "", until: str = "") -> dict[str, Any]:
        """Count messages that left (or reached someone) twice to a person over a channel.

        Two are the same if they agree in recipient, channel and the custom field ``key`` (the first one
        if empty), up to the first ``until`` in its value if that is not empty.
        """
        sent: Counter[tuple[str, str, str]] = Counter()
        got: Counter[tuple[str, str, str]] = Counter()
        unnamed = 0
        for dispatched in self.sent:
            fields = dispatched.custom_fields
            name = next((value for field, value in fields if not key or field == key), dispatched.key)
            if name is None:
                unnamed += 1
                continue
            same = (name.split(until)[0] if until else name, dispatched.channel.value, dispatched.to)
            sent[same] += 1
            got[same] += dispatched.delivered
        return {
            "dispatched": sum(count - 1 for count in sent.values()),
            "delivered": sum(count - 1 for count in got.values() if count > 1),
            "without_key": unnamed,
            "examples": [name for (name, _, _), count in sent.items() if count > 1][:10],
        }
