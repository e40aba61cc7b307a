"""What counts against a dealer's limit, and until when.

A *grant* books some messages from a moment on. Until its call came back it counts, because the dealer may see the
messages at any moment. A call that began at ``b`` and took ``d`` seconds was seen by the dealer between ``b + f`` and
``b + d - r``, where ``f`` and ``r`` are the least times of the way there and back. The least duration seen of any call,
``base``, is their sum, and sliding windows do not mind that all is shifted by ``f``; so the grant counts until
``WINDOW + MARGIN`` after ``b + d - base``. Two grants of which one began after the other stopped to count are never in
one window, as the dealer sees it. ADR 0012 says what this assumes, and what happens where it does not hold.

Times are seconds of the row's own clock (``row_clock``). Amounts are as the dealer counts: *units* (messages or parts)
and requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from shared.contracts.states import Lane

WINDOW = 1.0
MARGIN = 0.006
"""seconds by which a window is made longer: what ``Path.base`` and the clocks may be wrong by"""
LOST_AFTER = 60.0
"""a grant whose holder says nothing counts so long"""
AFTERMATH = 1.0
"""seconds in which a process that lost its session may yet finish its call"""
LOOK_AFTER = 0.5
"""a call that is out so long has its holder looked for: most were told by then"""
ENOUGH_CALLS = 20
"""before so many the least duration is not believed"""
GENERATION = 60.0
"""seconds after which the least duration is sought anew: a path may have become slower"""
STALE = 600.0
"""without a call for so long nothing is known of the path"""
KEPT = 64
"""ended grants that are kept one by one"""

RANK = {Lane.AUTH: 0, Lane.NORMAL: 1, Lane.MASS: 2}
LANES = tuple(RANK)


class What(StrEnum):
    """What a rule counts."""

    UNITS = "messages"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``most`` in any ``seconds``."""

    what: What
    seconds: int
    most: int

    @property
    def grain(self) -> int:
        """Return the seconds that are counted together where the window is long."""
        return max(1, self.seconds // 96)


class Out(msgspec.Struct, array_like=True):
    """A grant whose call has not come back; ``at``: from when it may be made."""

    id: int
    rank: int
    units: int
    requests: int
    at: float
    session: int
    """the server process of the holder: gone with the holder"""


class Past(msgspec.Struct, array_like=True):
    """A grant whose call came back; it counts until ``until``."""

    rank: int
    units: int
    requests: int
    at: float
    until: float


class Waiter(msgspec.Struct, array_like=True):
    """Somebody who found no room, and will ask again before ``until``."""

    id: int
    rank: int
    units: int
    until: float


class Path(msgspec.Struct, array_like=True):
    """The least duration of calls: in this generation, and in the one before."""

    least: float = 0.0
    calls: int = 0
    since: float = 0.0
    before: float = 0.0

    def base(self, now: float) -> float:
        """Return how long a call takes at least; 0, the worst case, where that is not known."""
        if now - self.since > STALE:
            return 0.0
        if self.calls < ENOUGH_CALLS:
            return min(self.before, self.least) if self.calls else self.before
        return min(self.before, self.least) if self.before else self.least

    def learn(self, duration: float, now: float) -> None:
        """Take in a call that the dealer answered."""
        if now - self.since > STALE:
            self.before, self.calls, self.since = 0.0, 0, now
        elif now - self.since > GENERATION and self.calls >= ENOUGH_CALLS:
            self.before, self.calls, self.since = self.least, 0, now
        self.least = min(self.least, duration) if self.calls else duration
        self.calls += 1


class Log(msgspec.Struct, array_like=True):
    """All that a row knows. Small, since it is written with every grant."""

    told: float = 0.0
    """the row's time when it was written"""
    skew: float = 0.0
    """the row's time minus the database's clock"""
    last_id: int = 0
    out: list[Out] = msgspec.field(default_factory=list)
    past: list[Past] = msgspec.field(default_factory=list)
    waiting: list[Waiter] = msgspec.field(default_factory=list)
    path: Path = msgspec.field(default_factory=Path)
    long: dict[int, list[tuple[int, int, int]]] = msgspec.field(default_factory=dict)
    """window in seconds -> (grain, units, requests), the oldest first; kept for rules there are"""

    def forget(self, now: float, rules: Sequence[Rule]) -> None:
        """Drop what counts no more."""
        for gone in [grant for grant in self.out if grant.at + LOST_AFTER <= now]:
            self._end(gone, gone.at + LOST_AFTER, rules)
        self.past = [grant for grant in self.past if grant.until > now]
        self.waiting = [waiter for waiter in self.waiting if waiter.until > now]
        self.long = {
            rule.seconds: [bucket for bucket in self.long.get(rule.seconds, []) if over(bucket[0], rule) > now]
            for rule in rules
            if rule.seconds > WINDOW
        }
        if len(self.past) > KEPT:
            self._compact()

    def grant(self, units: int, requests: int, rank: int, at: float, session: int) -> int:
        """Add a grant; return its id."""
        self.last_id += 1
        self.out.append(Out(self.last_id, rank, units, requests, at, session))
        return self.last_id

    def settle(self, ended: Ended, grant_id: int, now: float, rules: Sequence[Rule]) -> None:
        """End a grant: what was not sent does not count. One that was given up as lost counts again."""
        self.out = [grant for grant in self.out if grant.id != grant_id]
        if not ended.units:
            return
        if ended.duration is not None:
            self.path.learn(ended.duration, now)
        early = self.path.base(now) if ended.duration is not None else 0.0
        until = min(ended.end, now) - early + WINDOW + MARGIN
        self._count_long(ended.units, ended.requests, min(ended.end, now), rules)
        if until > now:
            self.past.append(Past(ended.rank, ended.units, ended.requests, ended.at, until))

    def bury(self, sessions: Mapping[int, float], now: float, rules: Sequence[Rule]) -> None:
        """End the grants that are late and whose session is not among ``sessions`` (process id -> when it began).

        Of the others nobody asked whether their session is there.
        """
        for grant in self.late(now):
            if sessions.get(grant.session, now) > grant.at:
                self._end(grant, now + AFTERMATH, rules)

    def late(self, now: float) -> list[Out]:
        """Return the grants whose session is to be looked for: their call takes longer than most."""
        return [grant for grant in self.out if grant.at + LOOK_AFTER < now]

    def wait(self, waiter: Waiter) -> None:
        """Keep a place, which stays the one it had."""
        for known in self.waiting:
            if known.id == waiter.id:
                known.rank, known.units, known.until = waiter.rank, waiter.units, waiter.until
                return
        self.waiting.append(waiter)

    def leave(self, waiter_id: int) -> None:
        """Give up a place."""
        self.waiting = [waiter for waiter in self.waiting if waiter.id != waiter_id]

    def counted(self, rule: Rule) -> int:
        """Return what counts against ``rule``, after ``forget``."""
        unit = rule.what is What.UNITS
        held = sum(grant.units if unit else grant.requests for grant in self.out)
        if rule.seconds == WINDOW:
            return held + sum(past.units if unit else past.requests for past in self.past)
        return held + sum(units if unit else requests for _, units, requests in self.long.get(rule.seconds, []))

    def in_use(self, now: float) -> int:
        """Return the units that count within a second just now."""
        return sum(grant.units for grant in self.out) + sum(grant.units for grant in self.past if grant.until > now)

    def _end(self, grant: Out, at: float, rules: Sequence[Rule]) -> None:
        self.out = [other for other in self.out if other.id != grant.id]
        self._count_long(grant.units, grant.requests, at, rules)
        self.past.append(Past(grant.rank, grant.units, grant.requests, grant.at, at + WINDOW + MARGIN))

    def _count_long(self, units: int, requests: int, at: float, rules: Sequence[Rule]) -> None:
        for seconds, grain in {rule.seconds: rule.grain for rule in rules if rule.seconds > WINDOW}.items():
            slot = int(at // grain)
            buckets = {known: (has, asked) for known, has, asked in self.long.get(seconds, [])}
            has, asked = buckets.get(slot, (0, 0))
            buckets[slot] = (has + units, asked + requests)
            self.long[seconds] = [(known, *counted) for known, counted in sorted(buckets.items())]

    def _compact(self) -> None:
        """Take neighbours of a lane together; they count until the last of them would."""
        step = (WINDOW + MARGIN) / (KEPT // len(LANES))
        found: dict[tuple[int, int], Past] = {}
        for grant in self.past:
            key = (grant.rank, int(grant.until // step))
            if (known := found.get(key)) is None:
                found[key] = grant
            else:
                known.units += grant.units
                known.requests += grant.requests
                known.at, known.until = max(known.at, grant.at), max(known.until, grant.until)
        self.past = list(found.values())


def over(slot: int, rule: Rule) -> float:
    """Return when a bucket has left the window of ``rule``: not before the last moment that it stands for."""
    return (slot + 1) * rule.grain + rule.seconds + MARGIN


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that came back. ``duration`` is None where the dealer took nothing: then it says nothing of the way."""

    rank: int
    units: int
    requests: int
    at: float
    end: float
    duration: float | None
