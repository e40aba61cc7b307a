"""Makes attempts: take tokens, write the attempts down, call the dealer, record. In batches, in this order.

The order is what survives a crash between any two lines:

1. A handle is opened at a two-phase dealer. Nothing goes out by it.
2. The attempts are committed, each with its request key and the handle, after the last check of deadline, hours and
   state. From here on they are *open*, and nobody opens another over the same channel.
3. The dealer is called. No connection is held: a slow dealer must not drain the pool.
4. The results are committed.

A process that dies after 2 leaves attempts that are ``sending``; after their lease ``shared.sending.reconcile`` asks
the dealer what became of them. One that stood still beyond its lease does not call any more. A job read again finds
its message moved on, and is void.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.catalog.repository import load_templates
from shared.catalog.template import Template, alimtalk, brand_message, text_message
from shared.clock import Clock, SystemClock
from shared.config import Config, Profile
from shared.contracts.states import OPEN_ATTEMPTS, AttemptState, Channel, Lane, MessageState
from shared.copies.rules import Closed
from shared.copies.store import load_closed
from shared.crypto import Vault
from shared.dealers.base import (
    Accepted,
    AlreadyTaken,
    Ambiguous,
    Content,
    Counting,
    Dealer,
    LookupMeans,
    NotTaken,
    Outgoing,
    Refused,
    SendResult,
)
from shared.errors import BongsuError
from shared.hours import next_allowed
from shared.ids import MessageId, PersonId
from shared.ledger.book import Attempt, Book, Close, GiveUp, Hold, Message, MoveTo, RetryAt
from shared.ledger.personal import open_personal
from shared.ledger.repository import load, save, storable
from shared.phone import national
from shared.sending import telemetry
from shared.sending.cancellations import cancel, count, load_cancelled
from shared.sending.caps import NO_CAPS, REASON, Contacts, people_under
from shared.sending.cases import case_of
from shared.sending.contacts import load_contacts, lock_people
from shared.sending.images import NOTHING_NAMED, Named, Wanted, brings_brand, may_bring_images, trouble_with, wanted_by
from shared.sending.limits import Limits, Taken
from shared.sending.order import AGAIN_AFTER, IN_ORDER, SOON, Order, load_ahead
from shared.sending.policy import (
    Await,
    Case,
    Decision,
    Doubt,
    Failure,
    FindOut,
    Means,
    RetryPolicy,
    decide,
    means_of,
    receipt_deadline,
    receipt_expected,
)
from shared.sending.stop_store import in_locking_order, load_orders, load_stops, note, take_probe
from shared.sending.stops import AWAY, Evidence, Gate, Scope, SeenIn, Stop, StopKey, Verdicts, keys_of, other_dealer
from shared.sending.uploads import Images, templates_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt to be made: what a ``SendJob`` or a ``queued`` over a text channel asks for."""

    message_id: MessageId
    seq: int
    dealer: str
    channel: Channel
    lane: Lane
    profile: str | None = None
    """whose message it is: it matters where the dealer limits each"""


class Jobs(Protocol):
    """Jobs that are brought in the transaction of their claim: drawn from the backlog there, or given beforehand."""

    async def __call__(self, connection: AsyncConnection, /) -> Sequence[Job]:
        """Return them; should the transaction be rolled back, nothing has happened."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """Jobs that are in hand."""

    jobs: Sequence[Job]

    async def __call__(self, _: AsyncConnection) -> Sequence[Job]:
        """Return them."""
        return self.jobs

    def first(self, room: int) -> Given:
        """Return the first ``room`` of them."""
        return Given(self.jobs[:room])


class Start:
    """How far an attempt is, for whoever waits for it to begin."""

    def begins(self) -> bool:
        """Whether the jobs may be claimed; asked once, when all that goes before is done."""
        return True

    def begun(self, jobs: int) -> None:
        """Take notice that ``jobs`` were claimed or are void: nobody needs to bring them again."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Until when a call may begin: by the rules' clock, and by one that does not step back while a process sleeps."""

    until: datetime
    until_monotonic: float

    def is_over(self, now: datetime, monotonic: float) -> bool:
        """Return whether it is too late for a call."""
        return now >= self.until or monotonic >= self.until_monotonic


@dataclass(frozen=True, slots=True)
class Sender:
    """The collaborators of sending; one a process."""

    engine: AsyncEngine
    dealers: dict[str, Dealer]
    limits: Limits
    config: Config
    vault: Vault
    clock: Clock
    policy: RetryPolicy
    jitter: Callable[[], float]
    world: Clock = field(default_factory=SystemClock)
    """what dealers' troubles last by, however fast the rules' clock runs"""
    templates: dict[tuple[str, int], Template] = field(default_factory=dict)
    """a revision never changes, so what was read once stays true"""
    images: Images = field(default_factory=Images)
    monotonic: Callable[[], float] = time.monotonic
    """seconds, by a clock that nobody sets"""

    async def turn_away(self, jobs: Jobs) -> int:
        """Let messages go another way, or end, whose dealer is not configured; return how many jobs there were."""
        _, brought = await self._claim(jobs, None)
        return brought

    async def attempt(
        self, dealer: Dealer, channel: Channel, jobs: Jobs, taken: Taken, start: Start | None = None
    ) -> int:
        """Make the attempts of one call, of jobs that all go through ``dealer`` over ``channel``; return how many.

        ``start`` is told when they are claimed; the call and its record follow.
        """
        start = start or Start()
        named = await self._name_images(dealer, await self._wanted_by(jobs, channel))
        opened: str | NotTaken | None = None
        if dealer.capabilities.lookup is LookupMeans.TWO_PHASE:
            # While a stop holds everything there is nothing to open a handle for, and a dealer that is down is slow.
            opened = NotTaken(AWAY, detail="stopped") if await self._is_stopped(dealer) else await dealer.open()

        handle = opened if isinstance(opened, str) else None
        if not start.begins():
            return 0  # of the handle nothing goes out
        began = self.monotonic()
        claimed, brought = await self._claim(jobs, handle, named)
        start.begun(brought)
        if not claimed:
            return 0

        if isinstance(opened, NotTaken):
            results: list[SendResult] = [opened] * len(claimed)
        else:
            lease = self._lease(claimed[0][0].opened_at, began)
            results = await self._call(dealer, handle, claimed, named, taken, lease=lease)
        for result in results:
            telemetry.RESULTS.labels(dealer.name, channel, type(result).__name__.lower()).inc()
        if waits := [r.retry_after for r in results if isinstance(r, NotTaken) and r.retry_after]:
            await self.limits.pause(dealer.name, max(waits))

        await self._record(dealer, [attempt for attempt, _ in claimed], results)
        return len(claimed)

    async def _wanted_by(self, jobs: Jobs, channel: Channel) -> list[Wanted]:
        """Return the images that ``jobs`` will bring over ``channel``."""
        if not may_bring_images(channel):
            return []
        async with self.engine.connect() as connection:  # a look, rolled back: what is drawn stays in the backlog
            keys = await templates_of(connection, [job.message_id for job in await jobs(connection)])
            await self._load_templates(connection, keys)
        templates = [template for key in sorted(keys) if (template := self.templates.get(key)) is not None]
        return [each for template in templates for each in wanted_by(template, channel)]

    def _images_of(self, message: Message, channel: Channel) -> list[Wanted]:
        template = self.templates.get((message.template, message.template_revision))
        return wanted_by(template, channel) if template else []

    async def _name_images(self, dealer: Dealer, wanted: Collection[Wanted]) -> Named:
        """Return what ``dealer`` calls ``wanted``; one that is stopped for everybody is asked nothing."""
        if not wanted or await self._is_stopped(dealer):
            return {}
        return await self.images.names(self.engine, dealer, wanted, now=self.world.now())

    async def _claim(
        self, jobs: Jobs, handle: str | None, named: Named = NOTHING_NAMED
    ) -> tuple[list[tuple[Attempt, Message]], int]:
        """Return the attempts that were opened, and how many jobs there were."""
        async with self.engine.begin() as connection:
            brought = await jobs(connection)
            if not brought:
                return [], 0
            book = await load(connection, [job.message_id for job in brought], now=self.clock.now(), attempts=False)
            people = people_under(self.config.caps, book.messages.values())
            await lock_people(connection, people)
            book.now = self.clock.now()  # locks may have been waited for: the last check is made at the last moment
            lease = book.now + self.clock.stretch(self.policy.lease)
            contacts = await load_contacts(connection, self.config.caps, people, now=book.now)
            gate = await self._gate(connection, book, contacts)
            imageless = {
                message.id
                for message in book.messages.values()
                if message.channel is Channel.MMS
                and isinstance(trouble_with(self._images_of(message, message.channel), named), Refused)
            }
            ahead = await load_ahead(connection, book.messages.values())
            order = Order(
                ahead, soon=book.now + self.clock.stretch(SOON), again=book.now + self.clock.stretch(AGAIN_AFTER)
            )
            claimed = claim(
                book, brought, self.config, gate, order, contacts, handle=handle, check_at=lease, imageless=imageless
            )
            await save(connection, book)
            await self._load_templates(connection, _keys_of(claimed))
            cancelled = await count(connection, gate.cancelled, book)
        telemetry.CANCELLED.inc(cancelled)
        for change in book.transitions:
            if change.state is MessageState.SUPPRESSED and change.detail is not None:
                telemetry.CAPPED.labels(change.detail["cap"]).inc()
        telemetry.CLAIMED.inc(len(claimed))
        telemetry.VOID.inc(len(brought) - len(claimed))
        return claimed, len(brought)

    async def _is_stopped(self, dealer: Dealer) -> bool:
        """Whether an open stop holds everything at ``dealer``, and no probe of it is due."""
        async with self.engine.connect() as connection:
            stop = (await load_stops(connection)).get(StopKey(Scope.DEALER, dealer.name))
        return stop is not None and stop.is_open and not (stop.probe_at and stop.probe_at <= self.world.now())

    async def _gate(self, connection: AsyncConnection, book: Book, contacts: Contacts) -> Gate:
        """Return what these messages may pass, with the probes that this process was given."""
        closed = await self._closed(connection, book)
        stops, is_cancelling = await load_orders(connection)
        cancelled = await load_cancelled(connection, book) if is_cancelling else {}
        gate, world_now = Gate(stops, closed=closed, cancelled=cancelled), self.world.now()
        leaving = (
            message
            for message in book.messages.values()
            if message.id not in cancelled and _may_leave(book, message, self.config, contacts)
        )
        waiting = {key for message in leaving for key in keys_of(message)}
        for key in sorted(gate.stops, key=in_locking_order):
            stop = gate.stops[key]
            due = key in waiting and stop.probe_at is not None and stop.probe_at <= world_now
            if due and await take_probe(connection, stop, world_now=world_now):
                gate.probes.add(key)
        return gate

    async def _closed(self, connection: AsyncConnection, book: Book) -> Closed:
        """Return the routes that these messages cannot take: not approved there, or not brought by that dealer."""
        return await load_closed(connection, _templates_of(book)) | {
            (route.dealer, route.sender_key, message.template)
            for message in book.messages.values()
            if message.channel is Channel.FRIENDTALK and message.profile in self.config.profiles
            for route in self.config.profiles[message.profile].routes
            if not self._brings(route.dealer, message)
        }

    def _brings(self, dealer: str, message: Message) -> bool:
        """Whether ``dealer`` brings the brand message ``message``."""
        template = self.templates.get((message.template, message.template_revision))
        known = self.dealers.get(dealer)
        return known is not None and brings_brand(known.capabilities, template)

    async def _call(
        self,
        dealer: Dealer,
        handle: str | None,
        claimed: Sequence[tuple[Attempt, Message]],
        named: Named,
        taken: Taken,
        *,
        lease: Lease,
    ) -> list[SendResult]:
        """Call the dealer for what can be rendered; results in the order of ``claimed``.

        No call is made once ``lease`` is over: a process that stood still so long (stopped, suspended) does not know
        any more what happened meanwhile, and hours of rest or the deadline may have come.
        """
        results: dict[int, SendResult] = {}
        waves: dict[int, list[tuple[int, Outgoing]]] = {}
        before: Counter[PersonId] = Counter()
        for n, (attempt, message) in enumerate(claimed):
            rendered = self._rendered(attempt, message, named)
            if not isinstance(rendered, Outgoing):
                results[n] = rendered
                continue
            # One call may be many requests at once, and a person's messages leave in their order (promise P7).
            wave = 0 if handle is not None else before[message.person_id]
            waves.setdefault(wave, []).append((n, rendered))
            before[message.person_id] += 1
        async with taken.calling(prepares=dealer.capabilities.prepares):
            for _, some in sorted(waves.items()):
                if lease.is_over(self.clock.now(), self.monotonic()):
                    slept = NotTaken("dealer_unavailable", detail="the sender slept past its lease")
                    results |= {n: slept for n, _ in some}
                    continue
                with telemetry.DURATION.labels(dealer.name).time():
                    sent = await dealer.send(handle, [outgoing for _, outgoing in some])
                results |= {n: result for (n, _), result in zip(some, sent, strict=True)}
        taken.answered = any(isinstance(result, Accepted) for result in results.values())
        return [results[n] for n in range(len(claimed))]

    def _rendered(self, attempt: Attempt, message: Message, named: Named) -> Outgoing | Refused | NotTaken:
        wanted = self._images_of(message, attempt.channel)
        if (trouble := trouble_with(wanted, named)) is not None:
            return trouble
        try:
            return self._render(attempt, message, [str(named[each]) for each in wanted])
        except (BongsuError, KeyError, ValueError) as error:
            # Planned with checks that this passes; the kind of the error alone is logged, it may quote a value.
            kind = type(error).__name__
            structlog.get_logger().error("sending.unrenderable", message_id=str(message.id), error=kind)
            return Refused("invalid_request", "", f"cannot be rendered: {kind}")

    def _render(self, attempt: Attempt, message: Message, images: Sequence[str]) -> Outgoing:
        personal = open_personal(self.vault, message.personal, message.id)
        template = self.templates[message.template, message.template_revision]
        profile = self.config.profiles[message.profile]
        if attempt.channel.is_text:
            if profile.text is None:
                raise ValueError("the profile has no text route")
            _, content = text_message(template, profile.text.sender, personal.variables, images)
            return _outgoing(attempt, personal.phone, content)
        route = next((route for route in profile.routes if route.dealer == attempt.dealer), None)
        if route is None:
            raise ValueError("the profile has no route through this dealer any more")
        # SOLAPI and Bizppurio want a sender number even for an AlimTalk, and take only one registered with themselves.
        number = profile.number_at(attempt.dealer)
        if attempt.channel is Channel.FRIENDTALK:
            image = next(iter(images), None)
            brand = brand_message(template, route.sender_key, personal.variables, image, number)
            return _outgoing(attempt, personal.phone, brand)
        inspected = alimtalk(template, attempt.dealer, route.sender_key, personal.variables, number)
        return _outgoing(attempt, personal.phone, inspected)

    async def replay(
        self, dealer: Dealer, keys: Sequence[tuple[MessageId, int]], *, waiting: Callable[[], None] = lambda: None
    ) -> None:
        """Send attempts in doubt once more under their own request keys, which the dealer tells from new ones.

        All go over one channel, and no more in a call than the dealer takes. Should the first request not have arrived,
        this one delivers: so it takes tokens and passes the last check like any other. Only what the dealer then took,
        or took before, is news; a refusal says nothing of the first request.
        """
        rest = keys
        while rest:
            most, one_by_one = min(len(rest), self.batch_of(dealer.name)), self.is_one_by_one(dealer.name)
            async with self.limits.take(
                dealer.name, most, Lane.NORMAL, one_by_one=one_by_one, waiting=waiting
            ) as taken:
                some, rest = rest[: taken.n], rest[taken.n :]
                lease = self._lease(self.clock.now(), self.monotonic())  # counted from the last check
                again = await self._still_in_doubt(some)
                taken.used = len(again)
                if not again:
                    continue
                wanted = [each for attempt, message in again for each in self._images_of(message, attempt.channel)]
                named = await self._name_images(dealer, wanted)
                results = await self._call(dealer, None, again, named, taken, lease=lease)
            news = [
                (attempt, result)
                for (attempt, _), result in zip(again, results, strict=True)
                if isinstance(result, Accepted | AlreadyTaken)
            ]
            if news:
                await self._record(dealer, [attempt for attempt, _ in news], [result for _, result in news])

    async def _still_in_doubt(self, keys: Sequence[tuple[MessageId, int]]) -> list[tuple[Attempt, Message]]:
        """Return those of ``keys`` that may be replayed now."""
        async with self.engine.begin() as connection:
            book = await load(connection, {message_id for message_id, _ in keys}, now=self.clock.now())
            book.now = self.clock.now()
            attempts = [attempt for key in keys if (attempt := book.attempts.get(key)) is not None]
            again = []
            for attempt in attempts:
                case = self.case(book, attempt)
                in_doubt = attempt.state is AttemptState.UNCERTAIN and not attempt.is_unconfirmed
                if in_doubt and means_of(case) is Means.REPLAY and case.replays_at is None:
                    again.append((attempt, book.messages[attempt.message_id]))
            await self._load_templates(connection, _keys_of(again))
        return again

    async def _load_templates(self, connection: AsyncConnection, keys: set[tuple[str, int]]) -> None:
        if missing := keys - self.templates.keys():
            self.templates.update(await load_templates(connection, missing))

    async def _record(self, dealer: Dealer, attempts: Sequence[Attempt], results: Sequence[SendResult]) -> None:
        now = self.clock.now()
        async with self.engine.begin() as connection:
            book = await load(connection, [attempt.message_id for attempt in attempts], now=now)
            fresh = [book.attempts[attempt.message_id, attempt.n] for attempt in attempts]
            verdicts = await self._judge(connection, book, fresh, results)
            for attempt, result in zip(fresh, results, strict=True):
                self._apply(book, dealer, attempt, result, verdicts)
            await save(connection, book)

    async def _judge(
        self, connection: AsyncConnection, book: Book, attempts: Sequence[Attempt], results: Sequence[SendResult]
    ) -> Verdicts:
        """Take in what the answers show of the dealer, its profiles and templates, before messages follow from them."""
        before = await load_stops(connection)
        evidence = Evidence(before)
        for attempt, result in zip(attempts, results, strict=True):
            message = book.messages[attempt.message_id]
            match result:
                case Accepted() | AlreadyTaken():
                    evidence.success(message, attempt.dealer)
                case Refused(reason=reason) | NotTaken(reason=reason):
                    evidence.failure(message, attempt.channel, attempt.dealer, reason)
                case Ambiguous():
                    evidence.failure(message, attempt.channel, attempt.dealer, AWAY)
        changed = await note(connection, evidence.seen, SeenIn.ANSWER, world_now=self.world.now())
        still = {key: stop for key, stop in before.items() if key not in evidence.seen}
        return Verdicts(before, {**still, **changed}, await self._closed(connection, book))

    def _apply(self, book: Book, dealer: Dealer, attempt: Attempt, result: SendResult, verdicts: Verdicts) -> None:
        match result:
            case Accepted() | AlreadyTaken() if attempt.state is AttemptState.FAILED and attempt.code is None:
                self._wait_after_all(book, dealer, attempt, result)  # no receipt told the failure, but a search
            case Accepted(dealer_message_id, cost):
                book.taken(
                    attempt,
                    dealer_message_id=storable(dealer_message_id),
                    price_krw=price(self.config, attempt.dealer, attempt.channel) if cost is None else cost,
                    check_at=book.now + receipt_expected(dealer, attempt.channel),
                )
            case AlreadyTaken(dealer_message_id):
                book.taken(
                    attempt,
                    dealer_message_id=dealer_message_id and storable(dealer_message_id),
                    price_krw=price(self.config, attempt.dealer, attempt.channel),
                    check_at=book.now + receipt_expected(dealer, attempt.channel),
                )
            case Ambiguous(detail, dealer_message_id):
                if dealer_message_id:
                    book.name(attempt, storable(dealer_message_id))
                book.unsure(attempt, check_at=self.ask_at(book, attempt), why=storable(detail))
            case Refused() | NotTaken() if attempt.state not in OPEN_ATTEMPTS:
                pass  # its end is known from elsewhere, and the message may be on its way over another channel
            case Refused() | NotTaken():
                then = self.after_failure(book, attempt, result, verdicts)
                said = {"said": storable(result.detail)} if result.detail else None
                code = storable(result.code) if result.code else None
                book.failed(attempt, reason=result.reason, code=code, then=then, detail=said)

    def _wait_after_all(self, book: Book, dealer: Dealer, attempt: Attempt, result: Accepted | AlreadyTaken) -> None:
        """Let the message of a failed ``attempt`` wait: its dealer, who searched in vain, says now that he took it.

        This process stood still in the call so long that another asked meanwhile. A receipt will tell; sending again
        before none can come any more might double it (promise P2).
        """
        if result.dealer_message_id:
            book.name(attempt, storable(result.dealer_message_id))
        message = book.messages[attempt.message_id]
        waits = message.state in {MessageState.SCHEDULED, MessageState.QUEUED}
        if waits and message.attempt == attempt.n:
            until = min(message.deadline, attempt.opened_at + receipt_deadline(dealer, attempt))
            book.move(message, MessageState.SCHEDULED, due_at=until, detail={"why": "taken_late"})

    # -- what follows --------------------------------------------------------------------------------------------

    def follow(self, book: Book, attempt: Attempt, failure: Failure) -> Decision:
        """Return what follows ``failure`` of ``attempt``, by the one rule for all dealers."""
        return decide(failure, self.case(book, attempt), self.policy)

    def after_failure(
        self, book: Book, attempt: Attempt, failure: Refused | NotTaken, verdicts: Verdicts
    ) -> RetryAt | GiveUp | Close | Hold | MoveTo:
        """Return what follows a certain failure: again, another dealer, waiting for a stop to end, or nothing here."""
        then = self.follow(book, attempt, failure)
        assert isinstance(then, RetryAt | GiveUp | Close)  # noqa: S101 - what follows a certain failure
        if not isinstance(then, GiveUp):
            return then
        message = book.messages[attempt.message_id]
        tried = {a.dealer for a in book.attempts_of(message) if a.channel is attempt.channel}
        profile = self.config.profiles.get(message.profile)
        return verdicts.on(message, attempt.dealer, attempt.channel, failure.reason, profile, tried)

    def ask_at(self, book: Book, attempt: Attempt) -> datetime:
        """Return when to find out what became of an attempt in doubt, or when to stop waiting for its receipt."""
        decision = self.follow(book, attempt, Doubt())
        match decision:
            case FindOut(at=at):
                return at
            case Await(until):
                return until
            case RetryAt() | GiveUp() | Close():
                raise AssertionError(f"a doubt is followed by {decision}")

    def case(self, book: Book, attempt: Attempt) -> Case:
        """Return all that decides what follows a failure of ``attempt``."""
        return case_of(book, attempt, config=self.config, dealers=self.dealers, clock=self.clock, jitter=self.jitter())

    def _lease(self, since: datetime, began: float) -> Lease:
        lease = self.policy.lease
        return Lease(since + self.clock.stretch(lease), began + lease.total_seconds())

    def is_one_by_one(self, dealer: str) -> bool:
        """Whether each message of a call counts as a request at ``dealer``."""
        return self.dealers[dealer].capabilities.counts is Counting.REQUESTS

    def batch_of(self, dealer: str) -> int:
        """Return how many messages a call to ``dealer`` carries at most."""
        return min(self.config.dealers[dealer].limits.batch, self.dealers[dealer].capabilities.max_batch)


def claim(  # noqa: PLR0913 - all that decides at the last step
    book: Book,
    jobs: Sequence[Job],
    config: Config,
    gate: Gate,
    order: Order = IN_ORDER,
    contacts: Contacts = NO_CAPS,
    *,
    handle: str | None,
    check_at: datetime,
    imageless: Collection[MessageId] = (),
) -> list[tuple[Attempt, Message]]:
    """Open an attempt for each of ``jobs`` that may still be sent at ``book.now``: the last check before the call.

    A message that moved on since its job was written (sent already, cancelled, delivered) is left alone; one that was
    cancelled with many others ends so; one past its deadline expires; one in its hours of rest is scheduled for their
    end; one whose profile is not configured any more, or a text whose dealer is not, has failed; one whose route is
    gone takes another; one that a stop bars goes to another dealer, or is held until the stop is over; one whose images
    the dealer refused (``imageless``) goes as an LMS; one that an earlier message of its person goes before (``order``)
    waits a moment; one that would go over a frequency cap (``contacts``) is suppressed.
    """
    claimed: list[tuple[Attempt, Message]] = []
    leaving: set[MessageId] = set()
    held = gate.held
    for job in jobs:
        message = book.messages.get(job.message_id)
        if message is None or message.state is not MessageState.QUEUED or message.seq != job.seq:
            continue
        if (by := gate.cancelled.get(message.id)) is not None:
            cancel(book, message.id, by)
            continue
        profile = _may_go(book, message, config)
        if profile is None:
            continue
        if message.id in imageless:
            book.turn_to(message, Channel.LMS, message.dealer, detail={"images": "refused"})
        elif (detour := gate.detour(message, profile)) is not None:
            _go_round(book, message, detour, is_gone=profile.route(message.dealer) is None)
        elif (stop := gate.bars(message)) is not None:
            _turn_away(book, message, profile, stop, gate)
        elif order.holds(message, book, leaving, held):
            book.move(message, MessageState.SCHEDULED, due_at=order.again, detail={"why": "order"})
        elif (full := contacts.full(message, book.now)) is not None:
            cap = {"cap": str(full.cap), "opens": full.opens.isoformat()}
            book.move(message, MessageState.SUPPRESSED, final=True, reason=REASON, detail=cap)
        else:
            claimed.append((book.open_attempt(message, handle=handle, check_at=check_at), message))
            contacts.add(message, book.now)
            leaving.add(message.id)
    return claimed


def _may_go(book: Book, message: Message, config: Config) -> Profile | None:
    """Return the profile of ``message`` if it may go at this hour; if not, put it off or end it, and return None."""
    if book.now >= message.deadline:
        book.move(message, MessageState.EXPIRED, final=True, reason="expired")
        return None
    profile = config.profiles.get(message.profile)
    if profile is None or (message.channel.is_text and message.dealer not in config.dealers):
        last = message.fallback == "none" or message.channel.is_text
        why = {"why": "not_configured"}
        book.move(message, MessageState.FAILED, final=last, reason="sender_profile_invalid", detail=why)
        return None
    opens = next_allowed(book.now, message.category, profile, lane=message.lane)
    if opens >= message.deadline:
        book.move(message, MessageState.EXPIRED, final=True, reason="expired", detail={"why": "quiet_hours"})
        return None
    if opens > book.now:
        book.move(message, MessageState.SCHEDULED, due_at=opens, detail={"why": "quiet_hours"})
        return None
    return profile


def _may_leave(book: Book, message: Message, config: Config, contacts: Contacts) -> bool:
    """Return whether only a stop may keep ``message`` here: what waits for other things uses up no probe."""
    if message.state is not MessageState.QUEUED or book.now >= message.deadline:
        return False
    profile = config.profiles.get(message.profile)
    if profile is None or next_allowed(book.now, message.category, profile, lane=message.lane) > book.now:
        return False
    return contacts.full(message, book.now) is None


def _go_round(book: Book, message: Message, detour: MoveTo | Hold, *, is_gone: bool) -> None:
    """Take ``message`` to a dealer where its template is approved, or hold it until there is one.

    A brand message is approved by nobody: it goes to a dealer that brings it, and has failed where there is none.
    ``is_gone`` tells that its own route was taken out of the configuration.
    """
    is_brand = message.channel is Channel.FRIENDTALK
    why = {"why": "not_brought" if is_brand else "not_approved", "dealer": message.dealer}
    match detour:
        case MoveTo(dealer):
            book.turn_to(message, message.channel, dealer, detail={**why, "why": "route_gone"} if is_gone else why)
        case Hold() if is_brand:
            book.move(message, MessageState.FAILED, final=True, reason="not_permitted", detail=why)
        case Hold(by, until):
            book.move(message, MessageState.SCHEDULED, due_at=until, held_by=by, detail=why)


def _keys_of(claimed: Iterable[tuple[Attempt, Message]]) -> set[tuple[str, int]]:
    return {(message.template, message.template_revision) for _, message in claimed}


def _templates_of(book: Book) -> set[str]:
    """Return the templates of what goes to Kakao."""
    return {message.template for message in book.messages.values() if not message.channel.is_text}


def _turn_away(book: Book, message: Message, profile: Profile, stop: Stop, gate: Gate) -> None:
    """Let ``message`` go another way, or hold it until ``stop`` is over; at its deadline it expires."""
    why: dict[str, Any] = {"why": "stopped", "stop": str(stop.key), "stopped_for": stop.reason}
    if other := other_dealer(message, profile, gate.stops, {message.dealer}, gate.closed):
        book.turn_to(message, message.channel, other, detail=why)
    else:
        held_by = str(stop.key)
        book.move(message, MessageState.SCHEDULED, due_at=message.deadline, held_by=held_by, detail=why)


def _outgoing(attempt: Attempt, phone: str, content: Content) -> Outgoing:
    return Outgoing(
        message_id=attempt.message_id,
        n=attempt.n,
        request_key=attempt.request_key,
        channel=attempt.channel,
        to=national(phone),
        content=content,
    )


def price(config: Config, dealer: str, channel: Channel) -> int:
    """Return what an attempt costs if ``dealer`` takes it, in KRW, by the configured prices; 0 where none is set."""
    known = config.dealers.get(dealer)
    return known.prices.get(channel, 0) if known else 0


async def together(ways: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run ``ways`` at the same time, each to its end; return what they return, or raise what the first raised."""
    ended = await asyncio.gather(*ways, return_exceptions=True)
    for each in ended:
        if isinstance(each, BaseException):
            raise each
    return [each for each in ended if not isinstance(each, BaseException)]
