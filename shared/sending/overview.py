"""How each dealer is: what the ledger knows of it, and what the dealer says itself. No personal data."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.config import Config
from shared.dealers.base import Checked, Dealer, Push
from shared.sending.limit_standing import in_use
from shared.sending.stop_store import held, load_stops
from shared.sending.stops import Pausable, Scope, Stop, StopKey, enough

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_OPEN = text("""
    SELECT dealer, count(*) FILTER (WHERE state = 'uncertain') AS uncertain,
           count(*) FILTER (WHERE state = 'sent') AS awaited, min(opened_at) FILTER (WHERE state = 'sent') AS oldest
    FROM attempts WHERE state IN ('sending', 'uncertain', 'sent') GROUP BY dealer
""")


@dataclass(frozen=True, slots=True)
class Overview:
    """A dealer at one moment."""

    dealer: str
    kind: str
    stops: tuple[Stop, ...]
    """open or counting, its own first"""
    in_use: int
    """recipients that count against the limit just now"""
    per_second: int
    paused_until: datetime | None
    """the dealer said that it has enough; world time"""
    uncertain: int
    awaited: int
    """attempts that the dealer took and has not reported on"""
    oldest_awaited: timedelta | None
    held: int
    lookup: str
    push: str
    polled: bool
    """receipts can be asked for, by message or in bulk"""

    @property
    def health(self) -> str:
        """Return ``paused``, ``stopped``, ``failing`` (counted, not enough yet), ``partly`` (narrower), or ``ok``."""
        if any(stop.key.scope is Scope.PAUSE for stop in self.stops):
            return "paused"
        own = next((stop for stop in self.stops if stop.key.scope is Scope.DEALER), None)
        if own is not None:
            return "stopped" if own.is_open else "failing"
        return "partly" if any(stop.is_open for stop in self.stops) else "ok"


def in_words(stop: Stop) -> str:
    """Return a stop as people read it."""
    if stop.key.scope is Scope.PAUSE:
        return f"{stop.key}: paused by {stop.ordered_by}: {stop.why}"
    if stop.is_open:
        return f"{stop.key}: {stop.reason}"
    return f"{stop.key}: {stop.reason}, {stop.failures} of {enough(stop.reason)}"


async def read_overview(
    connection: AsyncConnection, config: Config, dealers: Mapping[str, Dealer], *, now: datetime
) -> Sequence[Overview]:
    """Return every configured dealer, in the order of the configuration. ``now`` is rule time."""
    stops: dict[str, list[Stop]] = defaultdict(list)
    for _, stop in sorted((await load_stops(connection)).items()):
        stops[_dealer_of(stop.key)].append(stop)
    waiting: dict[str, int] = defaultdict(int)
    for name, count in (await held(connection)).items():
        if (key := StopKey.parse(name)) is not None:
            waiting[_dealer_of(key)] += count
    grants = await in_use(connection)
    attempts = {row.dealer: row for row in await connection.execute(_OPEN)}
    found: list[Overview] = []
    for name, account in config.dealers.items():
        grant, row, can = grants.get(name), attempts.get(name), dealers[name].capabilities
        found.append(
            Overview(
                dealer=name,
                kind=account.kind,
                stops=tuple(stops[name]),
                in_use=grant.n if grant else 0,
                per_second=account.limits.messages_per_second,
                paused_until=grant.paused_until if grant else None,
                uncertain=row.uncertain if row else 0,
                awaited=row.awaited if row else 0,
                oldest_awaited=now - row.oldest if row and row.oldest else None,
                held=waiting[name],
                lookup=can.lookup,
                push=can.push,
                polled=can.receipts_polled or can.receipts_pulled,
            )
        )
    return found


def _dealer_of(key: StopKey) -> str:
    """Return which dealer ``key`` is shown with; nothing for a pause of anything else."""
    if key.scope is Scope.PAUSE:
        return key.name if key.dealer == Pausable.DEALER else ""
    return key.dealer


async def balances(dealers: Mapping[str, Dealer], *, timeout_seconds: float) -> dict[str, int | None]:
    """Ask all dealers at once what is left, in KRW; None where one does not say, or not in time."""

    async def ask(dealer: Dealer) -> int | None:
        async with asyncio.timeout(timeout_seconds):
            return await dealer.balance_krw()

    answers = await asyncio.gather(*map(ask, dealers.values()), return_exceptions=True)
    return {
        name: None if isinstance(said, BaseException) else said for name, said in zip(dealers, answers, strict=True)
    }


# -- before the first message ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; ``ok`` is None where it cannot be known."""

    dealer: str
    what: str
    profiles: tuple[str, ...]
    """that use it; empty for the account itself"""
    ok: bool | None
    detail: str


async def check_dealers(config: Config, dealers: Mapping[str, Dealer], *, timeout_seconds: float) -> list[Finding]:
    """Verify all dealers at once, with the sender keys and numbers that profiles use; nothing is sent.

    A dealer that does not answer in time is wrong: so it would be for a message.
    """

    async def ask(name: str, dealer: Dealer) -> list[Checked]:
        keys, numbers = senders_of(config, name)
        async with asyncio.timeout(timeout_seconds):
            return await dealer.check(list(keys), list(numbers))

    answers = await asyncio.gather(*(ask(*each) for each in dealers.items()), return_exceptions=True)
    found: list[Finding] = []
    for (name, dealer), answer in zip(dealers.items(), answers, strict=True):
        if isinstance(answer, BaseException):
            detail = "no answer in time" if isinstance(answer, TimeoutError) else type(answer).__name__
            found.append(Finding(name, "account", (), ok=False, detail=detail))
        else:
            keys, numbers = senders_of(config, name)
            found.extend(_finding(name, checked, keys, numbers) for checked in answer)
        if (door := _door(config, name, dealer)) is not None:
            found.append(door)
    return found


def senders_of(config: Config, dealer: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the sender keys and the sender numbers that go through ``dealer``, each with its profiles."""
    keys: dict[str, list[str]] = defaultdict(list)
    numbers: dict[str, list[str]] = defaultdict(list)
    for name, profile in config.profiles.items():
        if (route := profile.route(dealer)) is not None:
            keys[route.sender_key].append(name)
        if profile.text is not None and profile.text.dealer == dealer:
            numbers[profile.text.sender].append(name)
    return dict(keys), dict(numbers)


def _finding(
    dealer: str, checked: Checked, keys: Mapping[str, Sequence[str]], numbers: Mapping[str, Sequence[str]]
) -> Finding:
    if checked.what in keys:  # a key is a secret of sorts: its profiles tell which it is
        shown, profiles = f"sender key {checked.what[:4]}…", keys[checked.what]
    elif checked.what in numbers:
        shown, profiles = f"sender number {checked.what}", numbers[checked.what]
    else:
        shown, profiles = checked.what, ()
    return Finding(dealer, shown, tuple(profiles), checked.ok, checked.detail)


def _door(config: Config, name: str, dealer: Dealer) -> Finding | None:
    """Return what is to be said of who may post receipts; None where the dealer pushes none."""
    push, door = dealer.capabilities.push, config.dealers[name].receipts
    if push is Push.NONE:
        return None
    if push is not Push.OPEN or door.token is not None:
        return Finding(name, "receipts", (), ok=True, detail="proved by each call" if push is not Push.OPEN else "")
    if door.addresses:
        why = "by addresses alone; a token in the path is surer"
        return Finding(name, "receipts", (), ok=None, detail=why)
    return Finding(name, "receipts", (), ok=False, detail=f"anybody can forge them: set dealers.{name}.receipts.token")
