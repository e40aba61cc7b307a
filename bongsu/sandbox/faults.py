"""Chance: every draw that decides what goes wrong, from one seedable source."""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from bongsu.sandbox.profile import CallFault, CallFaults, FaultProfile, Operation

if TYPE_CHECKING:
    from datetime import datetime

    from shared.contracts.states import Channel

_NO_FAULTS = CallFaults()


class Faults:
    """Draws from ``profile``, which may be replaced while the sandbox runs."""

    def __init__(self, profile: FaultProfile, seed: int | None) -> None:
        self.profile = profile
        self.dice = random.Random(seed)  # noqa: S311 - faults, no secrets
        self.met: Counter[str] = Counter()
        """how often each fault struck"""
        self._arranged: defaultdict[Operation, deque[CallFault]] = defaultdict(deque)

    def arrange(self, operation: Operation, fault: CallFault, times: int = 1) -> None:
        """Let ``fault`` strike the next ``times`` calls of this kind, before anything is left to chance."""
        self._arranged[operation].extend([fault] * times)

    def of_calls(self, operation: Operation) -> CallFaults:
        """Return how calls of this kind go wrong."""
        calls = self.profile.calls
        return calls.get(operation) or calls.get("default") or _NO_FAULTS

    def latency(self, operation: Operation) -> float:
        """Return how long a call takes, in seconds of world time."""
        return self.of_calls(operation).latency.draw(self.dice)

    def call_fault(self, operation: Operation) -> CallFault | None:
        """Return what becomes of a call, None for nothing out of the ordinary."""
        if arranged := self._arranged[operation]:
            struck = arranged.popleft()
        else:
            drawn = self._draw({fault: getattr(self.of_calls(operation), fault) for fault in CallFault})
            if drawn is None:
                return None
            struck = CallFault(drawn)
        self.met[struck] += 1
        return struck

    def outage(self, when: datetime) -> CallFault | None:
        """Return what every call meets at ``when``, None on a normal day."""
        for outage in self.profile.outages:
            if outage.holds_at(when):
                self.met[outage.fault] += 1
                return outage.fault
        return None

    def registration(self, to: str) -> str | None:
        """Return the code by which a message is refused at registration, or None."""
        certain = self.profile.fates.numbers.get(to)
        if certain is not None and certain.startswith("1"):
            return certain
        return self._draw(self.profile.registration)

    def hour_factor(self, when: datetime) -> float:
        """Return how much more likely failures are at ``when``."""
        return self.profile.fates.factor(when)

    def fate(self, channel: Channel, to: str, factor: float) -> str | None:
        """Return the failure in which a message ends, as the profile writes it; None if it is delivered."""
        certain = self.profile.fates.numbers.get(to)
        if certain is not None and not certain.startswith("1"):
            return certain
        return self._draw(self.profile.fates.of(channel), factor)

    def happens(self, name: str, probability: float) -> bool:
        """Draw, and count under ``name`` if it happens."""
        if probability and self.dice.random() < probability:
            self.met[name] += 1
            return True
        return False

    def _draw(self, shares: dict[str, float], factor: float = 1.0) -> str | None:
        if not shares:
            return None
        rest = self.dice.random()
        for code, probability in shares.items():
            rest -= probability * factor
            if rest < 0:
                return code
        return None
