"""Who may send how much, and from when on: the rules of a dealer's limit, apart from the row that holds them.

``admit`` is all of it: work-conserving priority (any lane may use the whole limit while nobody more urgent waits), a
floor for each lane that waits, and first come, first served within a lane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from shared.contracts.states import Lane
from shared.sending.limit_log import LANES, MARGIN, RANK, WINDOW, Log, Rule, Waiter, What, over

PIECE = 0.1
PACE = 1.05
"""lanes that can wait take a limit in pieces of at most this share, and begin them no faster than the limit times this:
or else a code would wait for a whole window"""
SLACK = 0.06
"""seconds by which one of them may be ahead of that pace: so that a call that was late delays none but its own room"""
LEAST_SHARE = 0.02
"""no less is given to lanes that can wait while they want more, or a backlog would leave in ones and twos"""
KEPT_FOR_CODES, KEPT_AT_MOST = 4, 100
"""Lanes that can wait leave free a quarter of what codes took in the last second, but no more than a hundredth of the
limit: or else each code would wait until a piece leaves the window."""
BLIND = 0.05
"""seconds until one asks again who waits for calls that should be back by now: nobody knows when they will be"""
SOON = 0.005
"""seconds until one asks again, at least"""
GRACE = 0.1
"""a waiter keeps its place so long after the moment at which it should have come"""


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody wants to send ``wanted`` messages in one call."""

    waiter: int
    """a number of its own, by which it keeps its place"""
    lane: Lane
    wanted: int
    each: int = 1
    """units of a message"""
    one_by_one: bool = False
    """each message is a request of its own"""
    ahead: float = 0.0
    """seconds it needs before it can make the call: it may book that far ahead"""

    def requests(self, messages: int) -> int:
        """Return the requests that ``messages`` in one call make."""
        return messages if self.one_by_one else 1


@dataclass(frozen=True, slots=True)
class Granted:
    """``messages`` may be sent from ``at`` on."""

    messages: int
    at: float


@dataclass(frozen=True, slots=True)
class NotYet:
    """There is no room; ``again`` is when to ask again."""

    again: float


@dataclass(frozen=True, slots=True)
class Book:
    """A log and the rules it is held against. ``floors``: the share of the limit that others leave a waiting lane."""

    log: Log
    rules: tuple[Rule, ...]
    floors: Mapping[Lane, float] = field(default_factory=dict)
    largest: int = 1
    """units of the message that has the most: no floor is less"""

    def of(self, what: What, seconds: int = 1) -> int | None:
        """Return the limit of ``what``, or None."""
        return next((rule.most for rule in self.rules if (rule.what, rule.seconds) == (what, seconds)), None)


def admit(books: Sequence[Book], ask: Ask, now: float) -> Granted | NotYet:
    """Choose how many of ``ask.wanted`` may go and from when on, or when to ask again.

    All ``books`` (the account's, a profile's) must have room. The earliest moment is taken at which there is room
    worth a call, as far ahead as the asker may book: known from the ends of the grants that count. Whoever is more
    urgent has room left for what it wants, down to the asker's floor; whoever is less urgent, up to its own floor; and
    whoever waited first in the same lane is first.
    """
    messages, opens = _long_room(books, ask, now)
    if not messages:
        return NotYet(opens)
    found = _earliest(books, ask, now, messages, hopeful=False)
    if found is not None and found.at <= now + ask.ahead:
        return found
    turns = [found.at - ask.ahead] if found else []
    if hoped := _earliest(books, ask, now, messages, hopeful=True):
        turns.append(max(now + BLIND, hoped.at - min(ask.ahead, BLIND)))
    if not turns:
        # Those before it take more than a window: it is not worth to ask before half of that has passed.
        turns.append(now + max([BLIND, *(_queue(book, ask) / 2 for book in books)]))
    return NotYet(max(now + SOON, min(turns)))


def _queue(book: Book, ask: Ask) -> float:
    """Return the seconds that those who wait in the same lane, or more urgently, take."""
    most = book.of(What.UNITS) or 1
    before = (waiter for waiter in book.log.waiting if waiter.id != ask.waiter and waiter.rank <= RANK[ask.lane])
    return sum(waiter.units for waiter in before) / most * WINDOW


def _earliest(books: Sequence[Book], ask: Ask, now: float, messages: int, *, hopeful: bool) -> Granted | None:
    """Return the earliest grant that is worth a call; ``hopeful``: if calls that are out come back at once."""
    sweeps = [_Sweep(book, rule, ask, now, hopeful) for book in books for rule in book.rules if rule.seconds == WINDOW]
    least = min([ask.wanted, messages, *(sweep.least for sweep in sweeps if sweep.least is not None)])
    for at in sorted({at for sweep in sweeps for at in sweep.moments}):
        room = min([messages, *(sweep.room(at) for sweep in sweeps)])
        if room >= least:
            return Granted(room, at)
    return None


def book_grant(book: Book, ask: Ask, messages: int, at: float, session: int) -> int:
    """Write down that ``messages`` of ``ask`` go from ``at`` on; return the grant's id."""
    book.log.leave(ask.waiter)
    return book.log.grant(messages * ask.each, ask.requests(messages), RANK[ask.lane], at, session)


def take_place(books: Sequence[Book], ask: Ask, now: float, again: float) -> None:
    """Let ``ask`` wait until ``again`` in those of ``books`` that have no room, and in no other's way."""
    for book in books:
        if len(books) > 1 and isinstance(admit([book], ask, now), Granted):
            book.log.leave(ask.waiter)
        else:
            most = book.of(What.UNITS) or ask.wanted * ask.each
            units = min(ask.wanted * ask.each, _piece(book, most, ask) if RANK[ask.lane] else most)
            book.log.wait(Waiter(ask.waiter, RANK[ask.lane], units, again + GRACE))


def _long_room(books: Sequence[Book], ask: Ask, now: float) -> tuple[int, float]:
    """Return how many messages fit into windows of minutes and days, or when to look again."""
    room, opens = ask.wanted, now + BLIND
    for book in books:
        for rule in book.rules:
            if rule.seconds == WINDOW:
                continue
            fits = _messages_in(rule.most - book.log.counted(rule), rule.what, ask)
            if fits < 1:
                buckets = book.log.long.get(rule.seconds, [])
                opens = max(opens, min((over(slot, rule) for slot, _, _ in buckets), default=opens))
            room = min(room, max(0, fits))
    return room, opens


def _messages_in(amount: int, what: What, ask: Ask) -> int:
    """Return how many messages ``amount`` is enough for."""
    if what is What.UNITS:
        return amount // ask.each
    if ask.one_by_one:
        return amount
    return ask.wanted if amount >= 1 else 0


def _piece(book: Book, most: int, ask: Ask) -> int:
    """Return the units that a lane which can wait takes at most; few requests must carry the whole limit."""
    calls = None if ask.one_by_one else book.of(What.REQUESTS)
    return max(ask.each, int(most * PIECE), -(-most // calls) if calls else 0)


def _next_by_pace(begun: Sequence[tuple[float, int]], most: int) -> float:
    """Return when the next would begin if ``begun`` (when, how many units) kept the pace: a virtual schedule."""
    due = 0.0
    for at, units in sorted(begun):
        due = max(due, at) + units / (most * PACE)
    return due


class _Sweep:
    """The room within one rule of a second, at moments that only go on."""

    def __init__(self, book: Book, rule: Rule, ask: Ask, now: float, hopeful: bool) -> None:  # noqa: FBT001 - private
        log, self._rule, self._ask, self._rank = book.log, rule, ask, RANK[ask.lane]
        unit = rule.what is What.UNITS
        amount_of = attrgetter("units" if unit else "requests")
        self._held = [0] * len(LANES)
        """what counts, by lane; what is booked for later is among it"""
        paced: list[tuple[float, int]] = []
        self._ends: list[tuple[float, int, int]] = []
        for grant in log.out:
            amount = amount_of(grant)
            self._held[grant.rank] += amount
            if hopeful:
                # The longer it is overdue, the longer it may yet be.
                back = max(now + max(BLIND, (now - grant.at) / 4), grant.at + WINDOW + MARGIN)
                self._ends.append((back, grant.rank, amount))
            if grant.rank:
                paced.append((grant.at, amount))
        for past in log.past:
            amount = amount_of(past)
            self._held[past.rank] += amount
            self._ends.append((past.until, past.rank, amount))
            if past.rank:
                paced.append((past.at, amount))
        self._ends.sort(reverse=True)
        self._later = self._loads([(grant.at, amount_of(grant)) for grant in log.out if grant.at > now])
        self._opens = max(now, _next_by_pace(paced, rule.most) - SLACK) if self._rank else now
        """when lanes that can wait may begin again"""

        self._wants, self._before_me = [0] * len(LANES), 0
        mine = next((n for n, waiter in enumerate(log.waiting) if waiter.id == ask.waiter), len(log.waiting))
        for n, waiter in enumerate(log.waiting):
            if n != mine:
                amount = waiter.units if unit else 1
                self._wants[waiter.rank] += amount
                self._before_me += amount if waiter.rank == self._rank and n < mine else 0

        largest = book.largest if unit else 1
        shares = [book.floors.get(lane, 0.0) for lane in LANES]
        self._floors = [max(largest, int(rule.most * share)) if share else 0 for share in shares]
        self._piece = _piece(book, rule.most, ask) if unit else max(1, int(rule.most * PIECE))
        self.least: int | None = None
        """messages that are worth a call"""
        self._worth = 1
        if unit or ask.one_by_one:
            if self._rank:
                self._worth = max(1, int(self._piece * LEAST_SHARE / PIECE))
            else:
                self._worth = self._piece  # the room for them all is no farther than the end of a piece
            floor = self._floors[self._rank]
            self.least = max(1, min(self._worth, floor or self._worth) // (ask.each if unit else 1))
        self.moments = [self._opens, *(at for at, _, _ in self._ends if at > self._opens)]

    def room(self, at: float) -> int:
        """Return how many messages fit at ``at``, which is no earlier than when this was asked before."""
        while self._ends and self._ends[-1][0] <= at:
            _, rank, amount = self._ends.pop()
            self._held[rank] -= amount
        free = self._rule.most - max(self._load(at), *(load for begins, _, load in self._later if begins > at), 0)
        urgent = sum(self._wants[: self._rank])
        if self._rank:
            kept = -(-self._held[RANK[Lane.AUTH]] // KEPT_FOR_CODES)
            urgent = max(urgent, min(kept, self._rule.most // KEPT_AT_MOST))
        less_urgent = range(self._rank + 1, len(LANES))
        floors = sum(max(0, min(self._wants[rank], self._floors[rank] - self._held[rank])) for rank in less_urgent)
        own = min(free, self._floors[self._rank] - self._held[self._rank])
        room = max(free - urgent - floors, own) - self._before_me
        if self._rank:
            # What a piece would leave, if it is worth no call, goes with it: or it would be left for ever.
            piece = self._piece if room >= self._piece + self._worth else room
            room = piece if at >= self._opens else 0
        return _messages_in(room, self._rule.what, self._ask)

    def _loads(self, begin: Sequence[tuple[float, int]]) -> list[tuple[float, int, int]]:
        """Return (when, how much begins, what counts then) of what is booked for later.

        A booking does not count before it begins: with what has ended by then it is in no window.
        """
        whole = sum(self._held)

        def load(at: float) -> int:
            ended = sum(amount for end, _, amount in self._ends if end <= at)
            return whole - ended - sum(amount for begins, amount in begin if begins > at)

        return [(at, amount, load(at)) for at, amount in begin]

    def _load(self, at: float) -> int:
        """Return what counts at ``at``, up to which the ends were taken off."""
        return sum(self._held) - sum(amount for begins, amount, _ in self._later if begins > at)
