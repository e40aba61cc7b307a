"""Keeps the active rules at hand, bound and compiled, and follows what is loaded meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from services.ingest import telemetry
from services.ingest.domain import Planner
from shared.catalog.repository import catalog_revision, load_catalog
from shared.copies.store import load_closed
from shared.db.away import is_away

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.config import Profile

_ASK_AGAIN_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass
class CurrentRules:
    """The planner of the newest catalog that was seen, and of what dealers have approved of it."""

    engine: AsyncEngine
    profiles: Mapping[str, Profile]
    planner: Planner = field(init=False)
    _revision: str | None = None
    _asked: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.planner = Planner({}, self.profiles)

    async def refresh(self) -> None:
        """Load the catalog if it has changed, and what is not approved."""
        async with self._lock, self.engine.connect() as pooled:
            connection = await pooled.execution_options(isolation_level="REPEATABLE READ")
            self._asked = asyncio.get_running_loop().time()
            closed = await load_closed(connection)
            if closed != self.planner.closed:
                self.planner = replace(self.planner, closed=closed)
            if await catalog_revision(connection) == self._revision:
                return
            catalog = await load_catalog(connection)
            self.planner = Planner.of(catalog.rules, catalog.templates, self.profiles, closed)
            self._revision = catalog.revision
            telemetry.RULES.set(len(catalog.rules))
            log.info("catalog.loaded", rules=len(catalog.rules), templates=len(catalog.templates))

    async def follow(self) -> int:
        """Refresh, for a loop: a database that is away leaves the rules as they are.

        So does a catalog that this version cannot read: a newer one may have been given a new kind of rule while this
        one still runs, and events go on by the rules that were.
        """
        try:
            await self.refresh()
        except ValidationError:
            log.error("catalog.unreadable")  # noqa: TRY400 - what pydantic says quotes the rule
        except Exception as error:
            if not is_away(error):
                raise
        return 0

    async def for_unknown(self) -> Planner:
        """Return the planner for an event that no rule wants: what was loaded a moment ago may want it."""
        if asyncio.get_running_loop().time() - self._asked > _ASK_AGAIN_SECONDS:
            await self.follow()
        return self.planner
