"""The limit of a dealer account, shared by every process through one row of Postgres (a profile's limit: one more).

Whoever wants to send asks; ``admission`` decides on what the row holds, and the row is written only if nobody else
wrote it meanwhile. A grant may begin a little later than now, so that what comes before the call (a handle, the claim)
is done while its room becomes free. What came of a call is told with the next question of the same process, or soon
after. Times are those of the database, so that the clocks of processes do not matter.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import structlog
from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared import config
from shared.contracts.states import Channel, Lane
from shared.dealers.leaving import gate
from shared.errors import BongsuError
from shared.sending.admission import Ask, Book, Granted, NotYet, admit, book_grant, take_place
from shared.sending.limit_log import RANK, Ended
from shared.sending.limit_rules import floors_of, rules_of
from shared.sending.limit_standing import in_use
from shared.sending.limit_store import Row, at_rows, key_of, read, sessions, write
from shared.sending.row_clock import Reading, compare, tick

_AWAY = (SQLAlchemyError, PostgresError, InterfaceError, TimeoutError)
LINGER = 0.3
"""seconds for which the end of a call waits for a question that takes it along: it is needed a window later only"""
AHEAD = 0.2
"""seconds that one may book ahead, at most: so much longer a code may wait"""
TURN = 1.0
"""seconds between two questions, at most: a pause may be over, a limit changed"""


class NotNow(BongsuError):
    """There is no room yet, and whoever asked does not wait for it."""


@dataclass(slots=True)
class Taken:
    """``n`` messages may be sent, in one ``calling()``.

    Whoever finds that fewer are sent lowers ``used``; without a call nothing was. ``answered`` is set by whoever knows
    that the dealer took some: only then does the call tell how long the way is.
    """

    n: int
    used: int
    opens: float
    """when the call may be made, by this process's clock"""
    asked: float
    """when, by the same clock, the question was put to which this is the answer"""
    answered: bool = False
    ready: float | None = None
    began: float | None = None
    over: float | None = None

    @asynccontextmanager
    async def calling(self, *, prepares: bool = False) -> AsyncIterator[None]:
        """Wait until the call may be made; it is made within the block.

        ``prepares``: whoever calls waits by itself, in ``leaving.leave``, when all is ready.
        """
        if not prepares:
            await self._opening()
        try:
            with gate(self._opening):
                yield
        finally:
            self.over = time.monotonic()

    async def _opening(self) -> None:
        if self.began is not None:
            return
        self.ready = time.monotonic()
        if (early := self.opens - self.ready) > 0:
            await asyncio.sleep(early)
        self.began = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Told:
    """A call that came back, in this process's time; ``ids``: its grant in each row."""

    taken: Taken
    lane: Lane
    each: int
    one_by_one: bool
    at: float
    ids: Mapping[str, int]

    def ended(self, reading: Reading) -> Ended:
        """Return it in the row's time, rather too late than too early."""
        taken, used = self.taken, self.taken.used
        if taken.over is None:
            return Ended(RANK[self.lane], 0, 0, self.at, self.at, None)
        return Ended(
            rank=RANK[self.lane],
            units=used * self.each,
            requests=(used if self.one_by_one else 1) if used else 0,
            at=self.at,
            end=taken.over + reading.high,
            duration=taken.over - taken.began if taken.answered and taken.began is not None else None,
        )


@dataclass(frozen=True, slots=True)
class _Booked:
    messages: int
    at: float
    opens: float
    ids: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """A question that waits for its answer: what it got, or seconds to wait."""

    ask: Ask
    profile: str | None
    answer: asyncio.Future[_Booked | float]


@dataclass(slots=True)
class _Desk:
    """What this process knows of a dealer's row, and what it has to tell and to ask."""

    dealer: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    lines: dict[tuple[Lane, str | None], asyncio.Lock] = field(default_factory=dict)
    turns: list[_Turn] = field(default_factory=list)
    told: list[_Told] = field(default_factory=list)
    reading: Reading | None = None
    ahead: float = AHEAD / 2
    """how long it took lately from the question until the call was ready"""
    telling: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of all dealers, by name."""

    engine: AsyncEngine
    accounts: dict[str, config.Limits]
    desks: dict[str, _Desk] = field(default_factory=dict)

    @asynccontextmanager
    async def take(
        self,
        dealer: str,
        wanted: int,
        lane: Lane,
        *,
        channel: Channel | None = None,
        profile: str | None = None,
        one_by_one: bool = False,
        waiting: Callable[[], None] = lambda: None,
        gives_up: Callable[[float], bool] = lambda _: False,
    ) -> AsyncIterator[Taken]:
        """Wait until some of ``wanted`` messages may be sent, and give how many (at least one).

        The call is made within the block, in ``Taken.calling``. ``profile`` is whose messages they are: it matters
        where the dealer limits each. ``one_by_one``: each message is a request of its own. ``waiting`` is called at
        each turn of the wait. ``gives_up`` is asked before each turn, with its seconds: if so, ``NotNow`` is raised.
        """
        desk, account = self._desk(dealer), self.accounts[dealer]
        each = account.counts_as.get(channel, 1) if channel else 1
        mine = profile if self.by_profile(dealer) else None
        waiter = random.getrandbits(48)
        # Of those who wait alike in this process one asks, and the others wait for it.
        line = desk.lines.setdefault((lane, mine), asyncio.Lock())
        while not await _turn_in(line, gives_up):
            waiting()
        try:
            while True:
                asked = time.monotonic()
                said = await self._ask(desk, Ask(waiter, lane, wanted, each, one_by_one, desk.ahead), mine)
                if isinstance(said, _Booked):
                    break
                waiting()
                if gives_up(said):
                    raise NotNow(dealer)
                await asyncio.sleep(said)
        finally:
            line.release()
        taken = Taken(said.messages, said.messages, said.opens, asked)
        try:
            yield taken
        finally:
            if taken.ready is not None:
                desk.ahead = min(AHEAD, max(taken.ready - taken.asked, desk.ahead * 0.95))
            desk.told.append(_Told(taken, lane, each, one_by_one, said.at, said.ids))
            self._tell_soon(desk)

    def by_profile(self, dealer: str) -> bool:
        """Whether ``dealer`` limits each profile besides the account."""
        return self.accounts[dealer].is_per_profile

    async def pause(self, dealer: str, span: timedelta) -> None:
        """Let nobody send to ``dealer`` for ``span``: it said that it has enough. A longer pause stays."""
        desk = self._desk(dealer)
        async with desk.lock:
            while True:
                async with at_rows(self.engine) as driver:
                    rows, now = await self._read(driver, desk, [dealer])
                    if await write(driver, [rows[dealer].paused(now + span.total_seconds())]):
                        return

    async def is_paused(self, dealer: str) -> bool:
        """Whether nobody may send to ``dealer`` just now, because it had enough."""
        async with self.engine.connect() as connection:
            used = (await in_use(connection)).get(dealer)
        return used is not None and used.paused_until is not None

    async def tell(self) -> None:
        """Tell at once what came of calls."""
        for desk in self.desks.values():
            async with desk.lock:
                await self._serve(desk)

    async def close(self) -> None:
        """Tell what came of calls, if that is possible; what is not told is missed when this process is."""
        for desk in self.desks.values():
            if desk.telling is not None:
                desk.telling.cancel()
        with suppress(*_AWAY, OSError):
            await self.tell()

    def _desk(self, dealer: str) -> _Desk:
        return self.desks.setdefault(dealer, _Desk(dealer))

    def _tell_soon(self, desk: _Desk) -> None:
        if desk.telling is None or desk.telling.done():
            desk.telling = asyncio.create_task(self._tell_later(desk))

    async def _tell_later(self, desk: _Desk) -> None:
        while desk.told:
            if all(told.taken.used == told.taken.n for told in desk.told):  # what is given back may serve others now
                await asyncio.sleep(LINGER)
            try:
                async with desk.lock:
                    if desk.told:
                        await self._serve(desk)
            except (*_AWAY, OSError) as error:
                # Until it is told the grant counts, so that nothing is sent too fast.
                structlog.get_logger().warning("limits.not_told", dealer=desk.dealer, error=type(error).__name__)
                await asyncio.sleep(TURN)

    async def _ask(self, desk: _Desk, ask: Ask, profile: str | None) -> _Booked | float:
        """Ask, with all others of this process that wait to ask: one transaction serves them."""
        turn = _Turn(ask, profile, asyncio.get_running_loop().create_future())
        desk.turns.append(turn)
        try:
            async with desk.lock:
                if not turn.answer.done():
                    await self._serve(desk)
        finally:
            if turn in desk.turns:
                desk.turns.remove(turn)
        return turn.answer.result()

    async def _read(self, driver: Any, desk: _Desk, keys: Sequence[str]) -> tuple[dict[str, Row], float]:  # noqa: ANN401 - asyncpg is untyped
        """Return the rows, without grants of the dead, and the time of the account's row."""
        sent = time.monotonic()
        rows = await read(driver, keys)
        received = time.monotonic()
        log = rows[desk.dealer].log
        now = tick(log, rows[desk.dealer].clock, desk.reading, received)
        desk.reading = compare(desk.reading, now, sent, received)
        if late := {grant.session for row in rows.values() for grant in row.log.late(now)}:
            alive = {pid: at + log.skew for pid, at in (await sessions(driver, sorted(late))).items()}
            for key, row in rows.items():
                row.log.bury(alive, now, self._book(desk, key, row, now).rules)
        return rows, now

    def _book(self, desk: _Desk, key: str, row: Row, now: float) -> Book:
        """Return what holds for a row, without what counts no more."""
        limits = self.accounts[desk.dealer]
        allowed = limits if key == desk.dealer else limits.per_profile
        rules = rules_of(allowed, row.changed or {}, limits, first_at=row.first_at, now=now)
        row.log.forget(now, rules)
        return Book(row.log, rules, floors_of(limits), max(limits.counts_as.values(), default=1))

    async def _serve(self, desk: _Desk) -> None:
        """Tell all that is to be told, and answer all that was asked. Raises what the database raises."""
        while True:
            turns, told = sorted(desk.turns, key=lambda turn: RANK[turn.ask.lane]), list(desk.told)
            keys = {desk.dealer, *(key for each in told for key in each.ids)}
            keys |= {key_of(desk.dealer, turn.profile) for turn in turns}
            async with at_rows(self.engine) as driver:
                rows, now = await self._read(driver, desk, sorted(keys))
                answers, changed = self._decide(desk, rows, now, turns, told)
                if not changed or await write(driver, changed):
                    break
            await asyncio.sleep(random.uniform(0, 0.003))  # noqa: S311 - two that met shall not meet again
        desk.told = desk.told[len(told) :]
        desk.turns = [turn for turn in desk.turns if turn not in turns]
        for turn, answer in zip(turns, answers, strict=True):
            if not turn.answer.done():
                turn.answer.set_result(answer)

    def _decide(
        self, desk: _Desk, rows: dict[str, Row], now: float, turns: Sequence[_Turn], told: Sequence[_Told]
    ) -> tuple[list[_Booked | float], list[Row]]:
        """Return the answer to each of ``turns``, and the rows to be written, if any."""
        reading = desk.reading
        assert reading is not None  # noqa: S101 - the rows were just read
        books = {key: self._book(desk, key, row, now) for key, row in rows.items()}
        before = {key: _standing(book) for key, book in books.items()}
        for each in told:
            ended = each.ended(reading)
            for key, grant_id in each.ids.items():
                books[key].log.settle(ended, grant_id, now, books[key].rules)
        answers: list[_Booked | float] = []
        granted = False
        pause = rows[desk.dealer].paused_until
        for turn in turns:
            if pause is not None and pause > now:
                answers.append(min(pause - now, TURN))
                continue
            keys = dict.fromkeys((desk.dealer, key_of(desk.dealer, turn.profile)))
            mine = [books[key] for key in keys]
            match admit(mine, turn.ask, now):
                case Granted(messages, at):
                    granted = True
                    ids = {key: book_grant(books[key], turn.ask, messages, at, rows[key].session) for key in keys}
                    answers.append(_Booked(messages, at, at - reading.low, ids))
                case NotYet(again):
                    take_place(mine, turn.ask, now, again)
                    # A little later each, so that those who wait for the same do not all come at once.
                    answers.append(min(max(0.0, again - now), TURN) + random.uniform(0, 0.003))  # noqa: S311 - jitter
        changed = [
            replace(row, first_at=row.first_at or (now if granted else None))
            for key, row in rows.items()
            if told or granted or _standing(books[key]) != before[key]
        ]
        return answers, changed


async def _turn_in(line: asyncio.Lock, gives_up: Callable[[float], bool]) -> bool:
    """Wait for ``line``, for a while; return whether it was got. Raises ``NotNow``."""
    if line.locked() and gives_up(TURN):
        raise NotNow("others wait for the same")
    try:
        async with asyncio.timeout(TURN):
            await line.acquire()
    except TimeoutError:
        return False
    return True


def _standing(book: Book) -> tuple[int, list[tuple[int, int, float]]]:
    """Return what makes it worth to write a row in which nothing was granted."""
    return len(book.log.out), [(waiter.id, waiter.units, round(waiter.until, 2)) for waiter in book.log.waiting]
