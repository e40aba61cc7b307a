"""Asks the dealers where our templates stand, and keeps the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text

from shared.catalog.repository import load_active_templates
from shared.config import Trust
from shared.copies import telemetry
from shared.copies.rules import (
    Change,
    Copy,
    CopyKey,
    Listed,
    changes,
    compare,
    dormant_soon,
    lists_due,
    to_ask_alone,
    wanted_copies,
)
from shared.copies.store import forget_others, load_copies, note_sent, save_copies
from shared.dealers.templates import TemplateApi, TemplateCallFailed, TemplateCopy
from shared.errors import BongsuError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.clock import Clock
    from shared.config import Config
    from shared.dealers.base import Dealer

EVERY = timedelta(minutes=10)
"""of the world's time"""
_AGAIN = timedelta(minutes=1)
"""after a list that could not be had"""
_COUNTED_LATE = timedelta(days=7)
"""how far the statistics may lie behind, for the last use of a template"""

_LOCK = 0x626F6E6774706C73  # any constant: whose session holds it, asks
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")
_TAKE_LOCK = text("SELECT pg_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")

log = structlog.get_logger(__name__)


class Busy(BongsuError):
    """Another process asks the dealers, and does not come to an end."""

    def __init__(self) -> None:
        super().__init__("another process asks the dealers just now; try again in a minute")


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync found: where something changed, and which lists could not be had, each with the reason."""

    changes: list[Change]
    failures: dict[Listed, str]


def template_apis(config: Config, dealers: Mapping[str, Dealer]) -> dict[str, TemplateApi]:
    """Return the template API of each dealer that has one and is not trusted."""
    return {
        name: api
        for name, dealer in dealers.items()
        if config.dealers[name].templates is Trust.ASKED and (api := dealer.templates) is not None
    }


@dataclass
class TemplateSync:
    """Keeps ``template_copies``: for each profile's route and each active template, where its copy stands."""

    engine: AsyncEngine
    apis: Mapping[str, TemplateApi]
    config: Config
    clock: Clock
    every: timedelta = EVERY
    pause_seconds: float = 0.5
    """between calls for one template: a dealer's lookups are counted with them (Bizgo: five a second)"""
    _failed: dict[Listed, datetime] = field(default_factory=dict)
    _warned: set[CopyKey] = field(default_factory=set)

    async def __call__(self) -> int:
        """Ask for what was not asked for lately, unless another process is at it; for a loop: return 0."""
        async with self._alone(wait=False) as alone:
            if alone:
                wanted, kept = await self._plan()
                now = self.clock.now()
                patient = [
                    listed
                    for listed in lists_due(wanted, kept, now=now, every=self.clock.stretch(self.every))
                    if self._failed.get(listed, now) <= now
                ]
                _tell(await self._sync(wanted, kept, patient))
        async with self.engine.connect() as connection:
            self._show(list((await load_copies(connection)).values()))
        return 0

    async def now(self, only: Listed | None = None) -> Synced:
        """Ask for every list, or one alone, whenever it was asked for last; wait for another process that is at it."""
        async with self._alone(wait=True):
            wanted, kept = await self._plan()
            lists = dict.fromkeys(key.listed for key in wanted)
            return await self._sync(wanted, kept, [each for each in lists if only in {None, each}])

    @asynccontextmanager
    async def _alone(self, *, wait: bool) -> AsyncIterator[bool]:
        """Hold the lock in a session of its own, without a transaction; yield whether we have it."""
        async with self.engine.connect() as pooled:
            connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
            given = {"key": _LOCK}
            if wait:
                try:
                    await connection.execute(_TAKE_LOCK, given)
                except TimeoutError as error:
                    raise Busy from error
                mine = True
            else:
                mine = bool(await connection.scalar(_TRY_LOCK, given))
            try:
                yield mine
            finally:
                if mine:
                    await connection.execute(_UNLOCK, given)

    async def _plan(self) -> tuple[dict[CopyKey, str], dict[CopyKey, Copy]]:
        """Return the copies that are wanted, with our codes, and those that are kept; drop what nobody wants."""
        async with self.engine.begin() as connection:
            wanted = wanted_copies(self.config, await load_active_templates(connection), self.apis.keys())
            await forget_others(connection, wanted)
            return wanted, await load_copies(connection)

    async def _sync(
        self, wanted: Mapping[CopyKey, str], kept: Mapping[CopyKey, Copy], lists: Sequence[Listed]
    ) -> Synced:
        synced = Synced([], {})
        if lists:
            async with self.engine.begin() as connection:
                await note_sent(connection, self.config, since=self.clock.now() - _COUNTED_LATE)
        for listed in lists:
            mine = {key: code for key, code in wanted.items() if key.listed == listed}
            try:
                told = await self._ask(listed, mine, kept)
            except TemplateCallFailed as failure:
                self._note_failure(synced, listed, str(failure))
                continue
            except Exception as error:  # noqa: BLE001 - a list that an adapter stumbles over must not stop sending
                self._note_failure(synced, listed, type(error).__name__)
                continue
            self._failed.pop(listed, None)
            copies = compare(mine, kept, told, now=self.clock.now())
            async with self.engine.begin() as connection:
                await save_copies(connection, copies)
            synced.changes.extend(changes(copies, kept))
        return synced

    async def _ask(
        self, listed: Listed, mine: Mapping[CopyKey, str], kept: Mapping[CopyKey, Copy]
    ) -> dict[str, TemplateCopy]:
        dealer, sender_key = listed
        api = self.apis[dealer]
        told = {copy.code: copy for copy in await api.every(sender_key)}
        for code in to_ask_alone(mine, kept, told):
            await asyncio.sleep(self.pause_seconds)
            told[code] = await api.get(sender_key, code)
        return told

    def _note_failure(self, synced: Synced, listed: Listed, why: str) -> None:
        """Leave the list alone for a while; what was known of it stays."""
        synced.failures[listed] = why
        self._failed[listed] = self.clock.now() + self.clock.stretch(_AGAIN)
        telemetry.FAILURES.labels(listed[0]).inc()

    def _show(self, copies: Sequence[Copy]) -> None:
        fading = dormant_soon(copies, now=self.clock.now())
        telemetry.show(copies, fading)
        for copy in fading:
            if copy.key not in self._warned and copy.dormant_at is not None:
                log.warning(
                    "templates.dormant_soon",
                    template=copy.template,
                    dealer=copy.key.dealer,
                    dormant_at=copy.dormant_at.isoformat(),
                )
        self._warned = {copy.key for copy in fading}


def _tell(synced: Synced) -> None:
    for change in synced.changes:
        copy = change.copy
        tell = log.info if copy.is_approved else log.warning
        tell("templates.changed", template=copy.template, dealer=copy.key.dealer, was=change.was, status=copy.status)
    for (dealer, _), error in synced.failures.items():
        log.warning("templates.not_told", dealer=dealer, error=error)
