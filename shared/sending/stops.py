"""Stops: a cause that fails every next message as well is stopped at the first few, and the rest is held.

A stop has a scope: a dealer (no balance, bad credentials, or simply down), a profile at a dealer, a sender number, a
template, or the receipts of a dealer, whose silence stops campaigns alone. It is *counting* while failures follow one
another, *open* once they were enough; then messages go another route where there is one, else they are held with the
reason shown. A probe, one message at a time, finds out whether it is over; an operator may lift it.

A *pause* is a stop that somebody ordered: of a profile, a template, a lane or a dealer. Nothing but his word ends it.
Pure rules; ``shared.sending.stop_store`` keeps them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.contracts.states import Channel, Lane
from shared.copies.rules import NOTHING_CLOSED, Closed, approval_of, is_open, open_routes
from shared.ledger.book import GiveUp, Hold, Message, MoveTo
from shared.routes import choose_route

if TYPE_CHECKING:
    from uuid import UUID

    from shared.config import Profile, Route
    from shared.ids import MessageId


class Scope(StrEnum):
    """What a stop stops."""

    DEALER = "dealer"
    PROFILE = "profile"  # a profile's Kakao channel, at a dealer
    SENDER = "sender"  # a profile's sender number, at a dealer
    TEMPLATE = "template"  # at a dealer
    RECEIPTS = "receipts"  # of a dealer, over Kakao or the carriers: bars the mass lane alone
    PAUSE = "pause"  # of what somebody named


class SeenIn(StrEnum):
    """Where the failures showed: what shows there again tells whether they are over."""

    ANSWER = "answer"
    RECEIPT = "receipt"
    NOWHERE = "nowhere"  # a pause: nothing failed


class Pausable(StrEnum):
    """What can be paused."""

    PROFILE = "profile"
    TEMPLATE = "template"
    LANE = "lane"
    DEALER = "dealer"


@dataclass(frozen=True, slots=True, order=True)
class StopKey:
    """What is stopped; ``name`` is a profile's or a template's, for receipts ``kakao`` or ``text``, else empty.

    Of a pause ``dealer`` is one of ``Pausable``, and ``name`` which of them.
    """

    scope: Scope
    dealer: str
    name: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.scope, self.dealer, self.name)))

    @classmethod
    def parse(cls, text: str) -> StopKey | None:
        """Return the key that is written so, or None if it is none."""
        scope, _, rest = text.partition("/")
        dealer, _, name = rest.partition("/")
        known = scope in set(Scope) and dealer and bool(name) is (scope != Scope.DEALER)
        return cls(Scope(scope), dealer, name) if known else None


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop as it is kept. ``since`` is None while it counts. Times are the world's."""

    key: StopKey
    reason: str
    seen_in: SeenIn
    failures: int
    since: datetime | None = None
    probe_at: datetime | None = None
    probes: int = 0
    ordered_by: str | None = None
    """of a pause"""
    why: str | None = None
    """of a pause, in his words"""

    @property
    def is_open(self) -> bool:
        """Whether messages are held for it."""
        return self.since is not None


_REASONS = {
    Scope.DEALER: ("auth_failed", "account_suspended", "no_balance", "kakao_config", "dealer_unavailable"),
    Scope.PROFILE: ("sender_profile_invalid", "sender_profile_blocked"),
    Scope.SENDER: ("sender_number_unregistered", "sender_number_blocked"),
    Scope.TEMPLATE: ("template_not_found", "template_not_approved", "template_mismatch", "button_mismatch"),
}
_SCOPES = {reason: scope for scope, reasons in _REASONS.items() for reason in reasons}

FEW = 3
"""failures in a row that open a stop, where somebody must mend something"""
FEW_CALLS = 5
"""calls in a row that open one for a dealer that is away"""

AWAY = "dealer_unavailable"
"""A dealer that is down comes back by itself, and soon: it is probed at other times than what somebody must mend."""

_FIRST_PROBE = {True: timedelta(seconds=5), False: timedelta(seconds=30)}
_LAST_PROBE = {True: timedelta(minutes=2), False: timedelta(minutes=30)}


def key_for(reason: str, *, channel: Channel, dealer: str, profile: str, template: str) -> StopKey | None:
    """Return what ``reason`` would stop; None where it is one message's own trouble."""
    match _SCOPES.get(reason):
        case Scope.DEALER:
            return StopKey(Scope.DEALER, dealer)
        case Scope.PROFILE if not channel.is_text:
            return StopKey(Scope.PROFILE, dealer, profile)
        case Scope.TEMPLATE if not channel.is_text:
            return StopKey(Scope.TEMPLATE, dealer, template)
        case Scope.SENDER if channel.is_text:
            return StopKey(Scope.SENDER, dealer, profile)
        case _:
            return None


def keys_of(message: Message, dealer: str | None = None) -> tuple[StopKey, ...]:
    """Return every stop that would hold ``message``, were it to go through ``dealer`` (default: its own)."""
    at = dealer or message.dealer
    blind = (receipts_key(at, message.channel),) if message.lane is Lane.MASS else ()
    pauses = (
        pause_key(Pausable.PROFILE, message.profile),
        pause_key(Pausable.TEMPLATE, message.template),
        pause_key(Pausable.LANE, message.lane),
        pause_key(Pausable.DEALER, at),
    )
    if message.channel.is_text:
        return StopKey(Scope.DEALER, at), StopKey(Scope.SENDER, at, message.profile), *blind, *pauses
    return (
        StopKey(Scope.DEALER, at),
        StopKey(Scope.PROFILE, at, message.profile),
        StopKey(Scope.TEMPLATE, at, message.template),
        *blind,
        *pauses,
    )


def pause_key(what: Pausable, name: str) -> StopKey:
    """Return what stops ``name`` while somebody wants it paused."""
    return StopKey(Scope.PAUSE, what, name)


PAUSED = "paused"


def pause(what: Pausable, name: str, *, ordered_by: str, why: str, now: datetime) -> Stop:
    """Return a pause that begins ``now``."""
    return Stop(pause_key(what, name), PAUSED, SeenIn.NOWHERE, 0, now, ordered_by=ordered_by, why=why)


def receipts_key(dealer: str, channel: Channel) -> StopKey:
    """Return what stops campaigns while receipts over ``channel`` do not come."""
    return StopKey(Scope.RECEIPTS, dealer, "text" if channel.is_text else "kakao")


def enough(reason: str) -> int:
    """Return how many failures in a row open a stop."""
    return FEW_CALLS if reason == AWAY else FEW


def probe_after(reason: str, probes: int) -> timedelta:
    """Return how long after the ``probes``-th probe the next one goes: doubled, up to a ceiling."""
    away = reason == AWAY
    return min(_FIRST_PROBE[away] * (1 << min(probes, 10)), _LAST_PROBE[away])


@dataclass(slots=True)
class Seen:
    """What a batch showed of one key: ``failures`` for ``reason``, and whether anything got through."""

    failures: int = 0
    reason: str = ""
    succeeded: bool = False


@dataclass(slots=True)
class Evidence:
    """What a batch showed, by key. Successes count only for what is counted or open already."""

    known: Mapping[StopKey, Stop]
    seen: dict[StopKey, Seen] = field(default_factory=dict)

    def failure(self, message: Message, channel: Channel, dealer: str, reason: str) -> None:
        """Take in that a message failed, for a reason that may be everybody's."""
        key = key_for(reason, channel=channel, dealer=dealer, profile=message.profile, template=message.template)
        if key is not None:
            seen = self.seen.setdefault(key, Seen())
            seen.reason = reason
            seen.failures = 1 if reason == AWAY else seen.failures + 1  # one call, however many messages it carried

    def success(self, message: Message, dealer: str) -> None:
        """Take in that a message got through. Of the silence of receipts it says nothing: that has rules of its own."""
        if not self.known:
            return
        for key in keys_of(message, dealer):
            if key in self.known and key.scope not in {Scope.RECEIPTS, Scope.PAUSE}:
                self.seen.setdefault(key, Seen()).succeeded = True


def after(stop: Stop | None, key: StopKey, seen: Seen, seen_in: SeenIn, *, now: datetime) -> Stop | None:
    """Return the stop that follows from ``seen``; None for none.

    A success where the failures showed ends it, open or counting; failures are added up, and open it once there are
    enough; failures of an open one put off its next probe.
    """
    if seen.succeeded:
        return None if stop is None or stop.seen_in is seen_in else stop
    if not seen.failures:
        return stop
    if stop is not None and stop.is_open and stop.reason != seen.reason:
        return stop  # what it was opened for is not what failed now
    if stop is not None and stop.is_open:
        return Stop(
            key, seen.reason, stop.seen_in, stop.failures + seen.failures, stop.since, stop.probe_at, stop.probes
        )
    failures = seen.failures + (stop.failures if stop else 0)
    if failures < enough(seen.reason):
        return Stop(key, seen.reason, seen_in, failures)
    return Stop(key, seen.reason, seen_in, failures, now, now + probe_after(seen.reason, 0))


def other_dealer(
    message: Message,
    profile: Profile,
    stops: Mapping[StopKey, Stop],
    tried: Collection[str],
    closed: Closed = NOTHING_CLOSED,
) -> str | None:
    """Return the dealer of the next of the profile's routes that is open to the message's template, that nothing
    stops and that was not tried, or None.
    """  # noqa: D205 - one sentence
    if message.channel.is_text:
        return None

    def usable(route: Route) -> bool:
        stopped = holds(stops, keys_of(message, route.dealer)) is not None
        return route.dealer not in tried and not stopped and is_open(closed, route, message.template)

    found = choose_route(profile.routes, message.person_id, usable)
    return found.dealer if found else None


@dataclass(slots=True)
class Gate:
    """What a batch may pass: the stops and cancellations that were read with it, the probes this process may send."""

    stops: Mapping[StopKey, Stop]
    probes: set[StopKey] = field(default_factory=set)
    closed: Closed = NOTHING_CLOSED
    cancelled: Mapping[MessageId, UUID] = field(default_factory=dict)
    """messages that somebody cancelled with many others, and by which cancellation"""

    @property
    def held(self) -> set[str]:
        """What holds messages just now, as their ``held_by`` says it."""
        return {str(key) for key, stop in self.stops.items() if stop.is_open}

    def detour(self, message: Message, profile: Profile) -> MoveTo | Hold | None:
        """Return how ``message`` gets round a route that is gone or closed to its template; None where it is open.

        It goes to a dealer where the template is approved, to one that is stopped if there is no other, and is held
        where none has approved it.
        """
        if message.channel.is_text:
            return None
        own = profile.route(message.dealer)
        if own is not None and is_open(self.closed, own, message.template):
            return None
        routes = open_routes(self.closed, profile, message.template)
        if not routes:
            return Hold(approval_of(message.profile, message.template), message.deadline)
        other = other_dealer(message, profile, self.stops, {message.dealer}, self.closed)
        return MoveTo(other or routes[0].dealer)

    def bars(self, message: Message) -> Stop | None:
        """Return the stop that holds ``message``; None lets it pass, and may use up a probe."""
        if not self.stops:
            return None
        barring = [stop for key in keys_of(message) if (stop := self.stops.get(key)) is not None and stop.is_open]
        if still := next((stop for stop in barring if stop.key not in self.probes), None):
            return still
        self.probes -= {stop.key for stop in barring}
        return None


def holds(stops: Mapping[StopKey, Stop], keys: Iterable[StopKey]) -> Stop | None:
    """Return the first open stop among ``keys``."""
    return next((stop for key in keys if (stop := stops.get(key)) is not None and stop.is_open), None)


@dataclass(slots=True)
class Verdicts:
    """What becomes of messages that fail for everybody's reason: the first few fail, the rest is moved or held."""

    before: Mapping[StopKey, Stop]
    now: Mapping[StopKey, Stop]
    closed: Closed = NOTHING_CLOSED
    spent: dict[StopKey, int] = field(default_factory=dict)

    def on(
        self,
        message: Message,
        dealer: str,
        channel: Channel,
        reason: str,
        profile: Profile | None,
        tried: Collection[str],
    ) -> GiveUp | Hold | MoveTo:
        """Return what follows a certain failure of ``message``."""
        key = key_for(reason, channel=channel, dealer=dealer, profile=message.profile, template=message.template)
        if key is None:
            return GiveUp()
        if profile is not None and (other := other_dealer(message, profile, self.now, tried, self.closed)) is not None:
            return MoveTo(other)
        stop = self.now.get(key)
        if stop is None or not stop.is_open or reason == AWAY:
            return GiveUp()
        was = self.before.get(key)
        first = self.spent.get(key, was.failures if was else 0)
        self.spent[key] = first + 1
        return GiveUp() if first < enough(reason) else Hold(str(key), message.deadline)
