"""How far what reads the ledger is behind it. Far behind, it is better to refuse than to promise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from services.ingest import telemetry
from services.ingest.refusals import unavailable
from shared.contracts.states import Lane
from shared.contracts.topics import SEND_JOBS
from shared.db.away import is_away

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.clock import Clock

# Of each reader the first row that it has not read: one step down an index. The mass lane's backlog is no lag: it
# waits for its limit, for as long as that takes.
_OLDEST = text("""
    SELECT min(next.at) FROM bus_cursors c CROSS JOIN LATERAL (
        SELECT at FROM transitions t WHERE (t.xid, t.position) > (c.xid, c.position)
        ORDER BY t.xid, t.position LIMIT 1
    ) next
    WHERE c.consumer_group = 'relay' OR c.topic = ANY(CAST(:topics AS text[]))
""")
_TOPICS = [SEND_JOBS[Lane.AUTH], SEND_JOBS[Lane.NORMAL]]


@dataclass
class Lag:
    """The age of the oldest change that the relay or, on the embedded bus, the dispatcher has not read yet."""

    engine: AsyncEngine
    clock: Clock
    most: timedelta
    """beyond which nothing more is taken; zero for any"""
    behind: timedelta = timedelta(0)

    async def follow(self) -> int:
        """Look again, for a loop. A database that is away leaves it as it was."""
        try:
            async with self.engine.connect() as connection:
                oldest = await connection.scalar(_OLDEST, {"topics": _TOPICS})
        except Exception as error:
            if not is_away(error):
                raise
            return 0
        self.behind = timedelta(0) if oldest is None else max(self.clock.now() - oldest, timedelta(0))
        telemetry.LAG.set(self.behind.total_seconds())
        return 0

    def check(self) -> None:
        """Raise a 503 ``Problem`` while the readers are too far behind."""
        if self.most and self.behind > self.clock.stretch(self.most):
            raise unavailable(
                "What was accepted before is not on its way yet, and more would only wait. Send the same request "
                "again later.",
                retry_after_seconds=10,
            ).as_problem()
