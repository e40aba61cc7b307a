"""Hears how receipts come, and when they stop: alarms, pauses campaigns, asks the dealer harder (promise P3).

Receipts that come by themselves, pushed or fetched from where the dealer keeps them, teach the pace and end an alarm.
What only comes because an attempt is asked about does so at dealers that have no other way. Elsewhere it ends the
pause, since what happens is known then, and not the alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.contracts.states import Channel
from shared.dealers.base import Dealer, Push
from shared.sending import telemetry
from shared.sending.pace import ENOUGH, Pace, heard, ought_to_be_reported, patience
from shared.sending.pace_store import (
    Key,
    ask_sooner,
    count_missing,
    declare_silent,
    lock_paces,
    read_paces,
    save_pace,
)
from shared.sending.policy import can_look_up, receipt_expected
from shared.sending.sender import Sender
from shared.sending.stop_store import note, open_stop
from shared.sending.stops import Seen, SeenIn, Stop, StopKey, probe_after, receipts_key

REASON = "receipts_silent"

LEAST = timedelta(minutes=1)
"""of world time: no receipt is missing earlier"""
ASK_AGAIN = timedelta(seconds=30)
"""of world time: how often an attempt is asked about while receipts are silent"""
ASK_CALLS = 20
"""lookup calls' worth of attempts that are asked about sooner at each turn, at most"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A receipt that told the end of an open attempt."""

    dealer: str
    channel: Channel
    via: str
    lag: timedelta
    """since the attempt"""


async def hear(connection: AsyncConnection, sender: Sender, arrivals: Sequence[Arrival]) -> None:
    """Take in that receipts arrived: learn from them, and end the silence that they break."""
    by_key: dict[Key, list[Arrival]] = {}
    for arrival in arrivals:
        by_key.setdefault((arrival.dealer, arrival.channel), []).append(arrival)
    if not by_key:
        return
    paces = await lock_paces(connection, by_key)
    over: dict[StopKey, Seen] = {}
    for key, some in sorted(by_key.items()):
        pace = paces.get(key)
        now_is, ends_pause = _heard(sender, key, pace, some)
        await save_pace(connection, key, now_is)
        if ends_pause:
            over[receipts_key(*key)] = Seen(succeeded=True)
        if pace is not None and pace.silent_since is not None and now_is.silent_since is None:
            structlog.get_logger().warning("receipts.heard_again", dealer=key[0], channel=key[1])
    if over:
        await note(connection, over, SeenIn.RECEIPT, world_now=sender.world.now())


def _heard(sender: Sender, key: Key, pace: Pace | None, some: Sequence[Arrival]) -> tuple[Pace, bool]:
    """Return the pace after ``some`` arrived, and whether they end a pause."""
    dealer = sender.dealers.get(key[0])
    own = [each.lag for each in some if each.via != "lookup" or _only_answers(dealer)]
    asked = [each.lag for each in some if each.via == "lookup" and not _only_answers(dealer)]
    prior, least = receipt_expected(dealer, key[1]), sender.clock.stretch(LEAST)
    return heard(pace, own, asked, prior=prior, least=least, now=sender.clock.now())


def _only_answers(dealer: Dealer | None) -> bool:
    """Whether ``dealer`` reports only when it is asked about an attempt."""
    return dealer is None or (dealer.capabilities.push is Push.NONE and not dealer.capabilities.receipts_pulled)


@dataclass(frozen=True, slots=True)
class Silence:
    """Finds out that receipts stopped. Every replica looks; each silence is declared by one of them."""

    sender: Sender
    since: datetime
    """since when this process listens, rule time"""

    async def __call__(self) -> int:
        """Look once; return how many dealers and channels have fallen silent."""
        now = self.sender.clock.now()
        async with self.sender.engine.begin() as connection:
            paces = await read_paces(connection)
            missing = await self._missing(connection, paces, now)
            declared = [await self._declare(connection, key, paces.get(key), n, now) for key, n in missing.items()]
            paces = await read_paces(connection)
            for key, pace in paces.items():
                if pace.silent_since is not None:
                    await self._ask_sooner(connection, key, pace, now)
        for (dealer, channel), pace in paces.items():
            telemetry.SILENT.labels(dealer, channel).set(pace.silent_since is not None)
        return sum(declared)

    async def _missing(self, connection: AsyncConnection, paces: Mapping[Key, Pace], now: datetime) -> dict[Key, int]:
        """Return of which dealers and channels enough receipts are missing, and how many."""
        windows: dict[Key, tuple[datetime, datetime]] = {}
        for name, dealer in self.sender.dealers.items():
            for channel in dealer.capabilities.channels:
                pace = paces.get((name, channel))
                waited = patience(pace, prior=receipt_expected(dealer, channel), least=self.sender.clock.stretch(LEAST))
                window = ought_to_be_reported(pace, waited, watched_since=self.since, now=now)
                if window is not None:
                    windows[name, channel] = window
        counts = await count_missing(connection, windows, now=now) if windows else {}
        return {key: n for key, n in sorted(counts.items()) if n >= ENOUGH}

    async def _declare(
        self, connection: AsyncConnection, key: Key, pace: Pace | None, missing: int, now: datetime
    ) -> bool:
        """Raise the alarm and pause campaigns, unless another replica did or a receipt arrived just now."""
        dealer, channel = key
        prior = receipt_expected(self.sender.dealers.get(dealer), channel)
        was = pace or Pace(prior, 0, self.since)
        if not await declare_silent(connection, key, was, now=now):
            return False
        structlog.get_logger().error(
            "receipts.silent",
            dealer=dealer,
            channel=channel,
            missing=missing,
            last_at=was.last_at.isoformat(),
            lag_seconds=round(was.lag.total_seconds(), 1),
        )
        world_now = self.sender.world.now()
        probe_at = world_now + probe_after(REASON, 0)
        stop = Stop(receipts_key(dealer, channel), REASON, SeenIn.RECEIPT, missing, world_now, probe_at)
        await open_stop(connection, stop)
        return True

    async def _ask_sooner(self, connection: AsyncConnection, key: Key, pace: Pace, now: datetime) -> None:
        dealer = self.sender.dealers.get(key[0])
        if dealer is None or not can_look_up(dealer.capabilities):
            return
        await ask_sooner(
            connection,
            key,
            until=now - pace.lag,
            now=now,
            again=now + self.sender.clock.stretch(ASK_AGAIN),
            limit=min(500, ASK_CALLS * dealer.capabilities.lookup_batch),
        )
