"""The flow of jobs to their dealers: at once if they can go at once, else into the backlog and out of it by turns.

Whoever reads the bus never waits for tokens for long: what has none in a moment, or no call to spare, or whose line has
a backlog already, is put away, and its record can be committed. Each line that has a backlog has a drawer in every
process, which waits for tokens and draws. Calls go on in the background once their attempts are claimed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from shared.bell import Bell
from shared.contracts.states import Channel, Lane
from shared.sending import telemetry
from shared.sending.backlog import Draw, Line, Standing, count, expire, put_away, standing, waiting
from shared.sending.limits import NotNow
from shared.sending.sender import Given, Job, Jobs, Sender, Start, together
from shared.sending.sharing import Turn
from shared.service import repeat

TEXTS = frozenset(channel for channel in Channel if channel.is_text)
KAKAO = frozenset(Channel) - TEXTS

PATIENCE, PATIENCE_OF_CODES = 0.1, 0.5
"""seconds that the jobs of a batch wait for tokens, or for a call to end, before they are put away: the way through the
table takes longer than a code is to wait"""
SLOW = 1.0
"""seconds that a dealer may take to get ready for a call (a handle, images) before the job is put away"""
LOOK = 1.0
"""seconds between two looks for what others put away"""
COUNT = 15.0
"""seconds between two counts, which metrics show"""
LARGE, FEW = 200, 2
"""A batch that is not as large as this waits its patience out while so many calls are under way, lest batches be cut
small: calls would cost more than they gain. Codes do not wait."""
LATE = 500
"""messages that expire in one transaction"""


class _Begun(Start):
    """How far a call is: it waits for room, gets ready, claims its jobs; or whoever waited has withdrawn them."""

    def __init__(self) -> None:
        self.room: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """for how many messages there is, once there is"""
        self.jobs: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """how many were claimed"""
        self._is_claiming = False

    def begins(self) -> bool:
        self._is_claiming = not self.jobs.done()
        return self._is_claiming

    def begun(self, jobs: int) -> None:
        self.jobs.set_result(jobs)

    def ends(self) -> None:
        """Take notice that nothing more will come."""
        for each in (self.room, self.jobs):
            if not each.done():
                each.set_result(0)

    async def within(self, seconds: float) -> int:
        """Return how many jobs were claimed; 0, and none will be, if it took too long until they could be."""
        await asyncio.wait({self.jobs}, timeout=seconds)
        if not self.jobs.done() and not self._is_claiming:
            self.jobs.set_result(0)
        return await self.jobs


@dataclass(slots=True)
class _Patience:
    """Seconds that may yet be waited."""

    left: float = PATIENCE

    def gives_up(self, seconds: float) -> bool:
        """Whether to wait so long is too long; if not, it is counted."""
        self.left -= seconds
        return self.left < 0


@dataclass(eq=False)
class Lanes:
    """What this process sends: jobs over ``channels`` in the lanes ``served``."""

    sender: Sender
    channels: Collection[Channel]
    served: Collection[Lane] = frozenset(Lane)
    look_seconds: float = LOOK
    _drawers: dict[Line, asyncio.Task[None]] = field(default_factory=dict)
    _more: set[Line] = field(default_factory=set)
    """lines into which something was put since their drawers looked last"""
    _shares: Mapping[str, int] = field(init=False)
    _turns: dict[Line, Turn] = field(default_factory=dict)
    _calls: dict[Line, set[asyncio.Task[None]]] = field(default_factory=dict)
    """those that are under way"""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: Bell = field(default_factory=Bell)
    _errors: list[BaseException] = field(default_factory=list)
    _counted_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._shares = {name: profile.share for name, profile in self.sender.config.profiles.items()}

    async def __call__(self, jobs: Sequence[Job]) -> None:
        """Begin or put away what ``jobs`` ask for; for one read again, do nothing.

        When this returns every job is in the ledger: its attempt is open, or it stands in the backlog.
        """
        dealers = self.sender.dealers
        if strays := [job for job in jobs if job.dealer not in dealers]:
            await self.sender.turn_away(Given(strays))
        lines: dict[Line, list[Job]] = {}
        for job in jobs:
            if job.dealer in dealers:
                lines.setdefault(self._line(job), []).append(job)
        self._raise()
        left = await together(self._begin(line, some) for line, some in lines.items())
        self._raise()
        if late := [job for some in left for job in some]:
            async with self.sender.engine.begin() as connection:
                await put_away(connection, late)
            for line, some in zip(lines, left, strict=True):
                if some:
                    telemetry.PUT_AWAY.labels(line.lane, line.dealer).inc(len(some))
                    self._draw_from(line)

    async def run(self, stopping: asyncio.Event, turn: Callable[[], None]) -> None:
        """Draw what is put away, by whichever process, until ``stopping``; what is under way then ends first.

        Raises what a call in the background raised.
        """
        try:
            await repeat(self.look, every_seconds=self.look_seconds, stopping=stopping, turn=turn, bell=self._failed)
        finally:
            await self.finish()
        self._raise()

    async def finish(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._stopping.set()
        await self._settle()

    async def idle(self) -> None:
        """Wait until nothing is under way: no call, and no drawer. Raises what one of them raised."""
        await self._settle()
        self._raise()

    async def _settle(self) -> None:
        while tasks := [*self._drawers.values(), *chain.from_iterable(self._calls.values())]:
            await asyncio.wait(tasks)

    # -- in ----------------------------------------------------------------------------------------------------------

    def _line(self, of: Job | Standing) -> Line:
        limits_each = of.dealer in self.sender.dealers and self.sender.limits.by_profile(of.dealer)
        return Line(of.lane, of.dealer, of.channel, of.profile if limits_each else None)

    async def _begin(self, line: Line, jobs: Sequence[Job]) -> Sequence[Job]:
        """Begin calls for ``jobs`` of one line; return those that have to wait."""
        is_code, most = line.lane is Lane.AUTH, self.sender.batch_of(line.dealer)
        patience = _Patience(PATIENCE_OF_CODES if is_code else PATIENCE)
        if len(jobs) < min(most, LARGE) and not is_code:
            await self._fewer_than(FEW, line, _Patience())  # meanwhile the next batch grows
        while jobs and line not in self._drawers and await self._fewer_than(self._most(line), line, patience):
            some = Given(jobs[:most])
            begun = self._start(line, len(some.jobs), some.first, patience.gives_up)
            done = await begun.within(PATIENCE + SLOW)
            if not done:
                break
            jobs = jobs[done:]
        return jobs

    # -- out ---------------------------------------------------------------------------------------------------------

    async def look(self) -> int:
        """Find lines that have a backlog, and end what waits past its deadline; return how many that were."""
        self._raise()
        async with self.sender.engine.connect() as connection:
            found = await standing(connection)
            counted = None
            if found and time.monotonic() > self._counted_at + COUNT:
                self._counted_at = time.monotonic()
                counted = await count(connection)
        telemetry.show_backlog(found, counted)
        for each in found:
            if each.channel in self.channels and each.lane in self.served:
                self._draw_from(self._line(each))
        if not found:
            return 0
        async with self.sender.engine.begin() as connection:
            return await expire(connection, now=self.sender.clock.now(), most=LATE)

    def _draw_from(self, line: Line) -> None:
        """Let ``line`` have a drawer."""
        self._more.add(line)
        if line not in self._drawers and not self._stopping.is_set():
            drawer = self._drawers[line] = asyncio.create_task(self._draw(line))
            drawer.add_done_callback(self._take_note)

    async def _draw(self, line: Line) -> None:
        """Draw from ``line`` until nothing is left, or others have what is left.

        The next draw waits for its room while the last gets ready: a limit is used though a dealer takes its time.
        """
        drawing: list[_Begun] = []
        try:
            while not self._stopping.is_set():
                self._more.discard(line)
                on_its_way = sum(each.room.result() for each in drawing if not each.jobs.done())
                if wanted := await self._waiting(line, on_its_way):
                    drawing.append(await self._draw_once(line, wanted))
                elif on_its_way:
                    await asyncio.wait({each.jobs for each in drawing}, return_when=asyncio.FIRST_COMPLETED)
                elif line not in self._more:
                    return
                if any(each.jobs.done() and not each.jobs.result() for each in drawing):
                    return
                drawing = [each for each in drawing if not each.jobs.done()]
        finally:
            del self._drawers[line]

    async def _waiting(self, line: Line, on_its_way: int) -> int:
        """Return how many wait in ``line``, up to a call's worth, besides those that are drawn just now."""
        known = line.dealer in self.sender.dealers
        most = on_its_way + (self.sender.batch_of(line.dealer) if known else LATE)
        async with self.sender.engine.connect() as connection:
            return max(0, await waiting(connection, line, most) - on_its_way)

    async def _draw_once(self, line: Line, wanted: int) -> _Begun:
        """Return a draw of up to ``wanted`` that has room."""
        draw = Draw(line, wanted, self._shares, self._turns)
        if line.dealer not in self.sender.dealers:
            begun = _Begun()
            begun.begun(await self.sender.turn_away(draw))
            begun.ends()
            return begun
        await self._fewer_than(self._most(line), line)
        begun = self._start(line, wanted, draw.of, lambda _: self._stopping.is_set())
        await begun.room
        return begun

    # -- calls -------------------------------------------------------------------------------------------------------

    def _most(self, line: Line) -> int:
        return self.sender.config.dealers[line.dealer].limits.calls

    async def _fewer_than(self, calls: int, line: Line, patience: _Patience | None = None) -> bool:
        """Wait until fewer than ``calls`` of ``line`` are under way; return False if patience ends before.

        What is begun with no wait in between keeps them at ``calls``.
        """
        while len(under_way := self._calls.get(line, ())) >= calls:
            if patience is not None and patience.left <= 0:
                return False
            began = time.monotonic()
            timeout = None if patience is None else patience.left
            await asyncio.wait(under_way, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if patience is not None:
                patience.left -= time.monotonic() - began
        return True

    def _start(
        self, line: Line, wanted: int, with_room: Callable[[int], Jobs], gives_up: Callable[[float], bool]
    ) -> _Begun:
        """Let a call go on in the background."""
        begun = _Begun()
        call = asyncio.create_task(self._call(line, wanted, with_room, gives_up, begun))
        self._calls.setdefault(line, set()).add(call)

        def ended(call: asyncio.Task[None]) -> None:
            self._calls[line].discard(call)
            self._take_note(call)
            begun.ends()

        call.add_done_callback(ended)
        return begun

    async def _call(
        self,
        line: Line,
        wanted: int,
        with_room: Callable[[int], Jobs],
        gives_up: Callable[[float], bool],
        begun: _Begun,
    ) -> None:
        sender, dealer = self.sender, self.sender.dealers[line.dealer]
        try:
            async with sender.limits.take(
                line.dealer,
                wanted,
                line.lane,
                channel=line.channel,
                profile=line.profile,
                one_by_one=sender.is_one_by_one(line.dealer),
                gives_up=gives_up,
            ) as taken:
                begun.room.set_result(taken.n)
                taken.used = await sender.attempt(dealer, line.channel, with_room(taken.n), taken, begun)
        except NotNow:
            pass  # nothing was begun

    def _take_note(self, task: asyncio.Task[None]) -> None:
        """Let the process die of what a task in the background died of."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)
            self._stopping.set()
            self._failed.ring()

    def _raise(self) -> None:
        if self._errors:
            raise self._errors[0]
