"""How limits stand, for those who look on, and changing them while all runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared import config
from shared.sending.limit_log import Log
from shared.sending.limit_rules import NAMES, rules_of, share_of
from shared.sending.limit_store import Row, change, key_of, read_all

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class InUse:
    """How much of a limit is in use: ``n`` messages; until ``paused_until``, if it is set, nobody sends."""

    n: int
    paused_until: datetime | None


async def in_use(connection: AsyncConnection) -> dict[str, InUse]:
    """Return what counts against the limit of each dealer within a second just now."""
    return {row.key: _in_use(row) for row in await read_all(connection) if "/" not in row.key}


@dataclass(frozen=True, slots=True)
class Counted:
    """One limit: its name in the file, what it is just now, and what counts against it."""

    name: str
    most: int
    used: int
    by_hand: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """The limits of an account, or of a profile there."""

    dealer: str
    profile: str | None
    limits: tuple[Counted, ...]
    share: float
    """of a warm-up"""
    paused_until: datetime | None
    changed_by: str | None
    changed_at: datetime | None


async def standings(connection: AsyncConnection, accounts: Mapping[str, config.Limits]) -> list[Standing]:
    """Return how the limits of ``accounts`` stand, and of profiles that sent through them."""
    rows = {row.key: row for row in await read_all(connection)}
    found = []
    for dealer, limits in accounts.items():
        keys = [dealer, *(key for key in rows if key.startswith(f"{dealer}/") and limits.is_per_profile)]
        for key in keys:
            row = rows.get(key) or Row(key, 0, Log(), 0.0, 0)
            found.append(_standing_of(row, dealer, limits))
    return found


def _standing_of(row: Row, dealer: str, limits: config.Limits) -> Standing:
    now, profile = _now(row), row.key.removeprefix(dealer).removeprefix("/") or None
    allowed = limits if profile is None else limits.per_profile
    rules = rules_of(allowed, row.changed or {}, limits, first_at=row.first_at, now=now)
    row.log.forget(now, rules)
    names = {what_and_seconds: name for name, what_and_seconds in NAMES.items()}
    counted = [
        Counted(name, rule.most, row.log.counted(rule), name in (row.changed or {}))
        for rule in rules
        for name in (names[rule.what, rule.seconds],)
    ]
    share = share_of(limits.warm_up, row.first_at, now)
    return Standing(dealer, profile, tuple(counted), share, _in_use(row).paused_until, row.changed_by, row.changed_at)


async def change_limits(
    connection: AsyncConnection, dealer: str, profile: str | None, changes: Mapping[str, int] | None, by: str
) -> dict[str, int]:
    """Let ``changes`` hold besides those made before; None takes all back. Return what is changed then."""
    key = key_of(dealer, profile)
    before = next((row.changed for row in await read_all(connection) if row.key == key), None)
    after = None if changes is None else {**(before or {}), **changes}
    await change(connection, key, after, by)
    return after or {}


def _now(row: Row) -> float:
    return max(row.clock + row.log.skew, row.log.told)


def _in_use(row: Row) -> InUse:
    now, until = _now(row), row.paused_until
    pause = datetime.fromtimestamp(until - row.log.skew, UTC) if until is not None and until > now else None
    return InUse(row.log.in_use(now), pause)
