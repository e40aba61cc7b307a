"""A dealer, workers and the row that they share, on a virtual clock."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.contracts.states import Lane
from shared.sending.admission import Ask, Book, Granted, admit, book_grant, take_place
from shared.sending.limit_log import RANK, Ended, Log, Rule

LINGER = 0.1
"""seconds until a call's end is told, if its worker does not ask again before"""
FLOORS = {Lane.NORMAL: 0.10, Lane.MASS: 0.05}


@dataclass(frozen=True, slots=True)
class Way:
    """The way to the dealer: the least seconds there and back, and up to how many more each may take."""

    there: float = 0.01
    back: float = 0.03
    jitter: float = 0.01


@dataclass(slots=True)
class Worker:
    """Sends one call after the other. ``wants``: messages of a call; ``pause``: seconds between two."""

    lane: Lane
    wants: int = 1000
    pause: float = 0.005
    starts: float = 0.0
    stops: float = 1e9
    dies: float = 1e9
    """in the midst of a call: its messages may arrive, and nobody says so"""
    hangs: float = 1e9
    """the call that it would begin then begins seconds later"""
    one_by_one: bool = False
    each: int = 1
    id: int = 0
    asked: float | None = None


@dataclass(slots=True)
class World:
    """Runs ``workers`` until ``lasts``; then ``arrivals`` are (time, units, requests), as the dealer saw them."""

    rules: tuple[Rule, ...]
    workers: Sequence[Worker]
    chance: random.Random
    way: Way = Way()
    lasts: float = 10.0
    patience: float = 1.0
    """seconds between two questions, at most"""
    ahead: float = 0.03
    floors: Mapping[Lane, float] = field(default_factory=lambda: FLOORS)
    log: Log = field(default_factory=Log)
    arrivals: list[tuple[float, int, int]] = field(default_factory=list)
    by_lane: Counter[Lane] = field(default_factory=Counter)
    waits: dict[Lane, list[float]] = field(default_factory=dict)
    asks: int = 0
    """transactions"""
    base_known: bool = True
    """the path was measured before"""

    def run(self) -> World:
        """Let it all happen."""
        if self.base_known:
            path = self.log.path
            path.least, path.calls, path.since = self.way.there + self.way.back, 100, 0.0
        agenda: list[tuple[float, int, tuple[int, Ended] | None]] = []
        alive = {}
        for n, worker in enumerate(self.workers):
            worker.id = n + 1
            alive[n + 1] = worker
            heapq.heappush(agenda, (worker.starts + self.chance.uniform(0, 0.01), n, None))
        while agenda:
            now, n, news = heapq.heappop(agenda)
            worker = self.workers[n]
            if news is not None:
                self.log.settle(news[1], news[0], now, self.rules)
            if now > min(self.lasts, worker.stops) or (news is not None and worker.pause > LINGER):
                continue
            again, news = self._turn(worker, now, alive)
            if again is not None and news is not None and worker.pause > LINGER:
                heapq.heappush(agenda, (again - worker.pause + LINGER, n, news))
                news = None
            if again is not None:
                heapq.heappush(agenda, (again, n, news))
        self.arrivals.sort()
        return self

    def _turn(
        self, worker: Worker, now: float, alive: dict[int, Worker]
    ) -> tuple[float | None, tuple[int, Ended] | None]:
        """Let ``worker`` ask; return when its next turn is, and what its call came to."""
        self.asks += 1
        log = self.log
        log.forget(now, self.rules)
        if looked_for := {grant.session for grant in log.late(now)}:
            log.bury(dict.fromkeys(looked_for & alive.keys(), -1.0), now, self.rules)
        worker.asked = now if worker.asked is None else worker.asked
        ask = Ask(worker.id, worker.lane, worker.wants, worker.each, worker.one_by_one, self.ahead)
        books = [Book(log, self.rules, self.floors, largest=worker.each)]
        said = admit(books, ask, now)
        if not isinstance(said, Granted):
            assert said.again > now
            take_place(books, ask, now, said.again)
            return min(said.again, now + self.patience) + self.chance.uniform(0, 0.003), None
        assert 1 <= said.messages <= worker.wants
        units, requests = said.messages * worker.each, ask.requests(said.messages)
        grant_id = book_grant(books[0], ask, said.messages, said.at, worker.id)
        begins = max(said.at, now) + self.chance.uniform(0, 0.002)
        if begins > worker.hangs:
            begins, worker.hangs = begins + self.chance.uniform(0, 5), 1e9
        arrives = begins + self.way.there + self._jitter()
        over = arrives + self.way.back + self._jitter()
        self.waits.setdefault(worker.lane, []).append(begins - worker.asked)
        worker.asked = None
        if begins > worker.dies:
            del alive[worker.id]
            if self.chance.random() < 0.5:
                self.arrivals.append((arrives, units, requests))
            return None, None
        self.arrivals.append((arrives, units, requests))
        self.by_lane[worker.lane] += units
        ended = Ended(RANK[worker.lane], units, requests, said.at, over + 0.0005, over - begins)
        return over + worker.pause, (grant_id, ended)

    def _jitter(self) -> float:
        return min(self.way.jitter, self.chance.expovariate(4 / self.way.jitter)) if self.way.jitter else 0.0

    def rate(self, since: float, until: float) -> float:
        """Return the units a second that arrived."""
        return sum(units for at, units, _ in self.arrivals if since <= at < until) / (until - since)


def busiest(arrivals: Iterable[tuple[float, int]], seconds: float) -> int:
    """Return the most that any window of ``seconds`` has held."""
    ordered, most, held, first = sorted(arrivals), 0, 0, 0
    for at, amount in ordered:
        held += amount
        while ordered[first][0] <= at - seconds:
            held -= ordered[first][1]
            first += 1
        most = max(most, held)
    return most
