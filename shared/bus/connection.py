"""One connection to Postgres for all of a process's bus: it reads the ledger, moves cursors, and is woken by NOTIFY.

It stands beside the pool, so that handlers which drain the pool stop no heartbeat. Its session differs in two ways:

* The planner may not scan or sort. The tail of the ledger grows faster than its statistics, and a plan made while it
  was empty would read and sort all of it for each batch; the index on ``(xid, position)`` is right always.
* Commits are asynchronous: a cursor that a crash of Postgres sets back only repeats records.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from shared.bell import Bell
from shared.bus.base import BusAway
from shared.ledger.repository import LEDGER_CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sqlalchemy import Connection, Row, TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

GROUP_CHANNEL = "bongsu_group"
"""``NOTIFY`` on it when a member of an embedded group came, left, or gave a partition free."""

_SESSION = """
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET synchronous_commit = off
"""
_CLOSE_SECONDS = 2.0
_LISTEN_SECONDS = 5.0

log = structlog.get_logger(__name__)


_NOTHING = text("SELECT 1")
_MISTAKES = (ProgrammingError, IntegrityError, DataError, asyncpg.SyntaxOrAccessError, asyncpg.DataError)


class BusConnection:
    """Runs one statement at a time, each its own transaction. After an error the next statement connects anew."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._driver: Any = None
        self._lock = asyncio.Lock()
        self.bell = Bell()
        """rings when the ledger grew, or a group changed, or the connection broke"""
        self.group_changes = 0
        self._session = 0

    async def session(self) -> int:
        """Return the number of the present session with Postgres, connecting if there is none. Raises ``BusAway``."""
        await self.execute(_NOTHING)
        return self._session

    async def execute(
        self,
        statement: TextClause,
        parameters: Mapping[str, Any] | None = None,
        *,
        session: int | None = None,
    ) -> Sequence[Row[Any]]:
        """Run ``statement`` and return its rows. Raises ``BusAway`` when Postgres does not answer.

        With ``session`` it is run in that one or not at all: what was read in an earlier session may not hold in a
        later one, and another reader may have connected anew meanwhile.
        """
        async with self._in(session) as connection:
            result = await connection.execute(statement, parameters)
            return result.all() if result.returns_rows else ()

    async def fetch(self, query: str, *arguments: object, session: int | None = None) -> Sequence[Sequence[Any]]:
        """Do the same with asyncpg's own means, for what brings many rows: one costs half as much there."""
        async with self._in(session):
            rows: Sequence[Sequence[Any]] = await self._driver.fetch(query, *arguments)
            return rows

    @asynccontextmanager
    async def _in(self, session: int | None) -> AsyncIterator[AsyncConnection]:
        async with self._lock:
            try:
                if self._connection is None:
                    self._connection = await self._connect()
                    self._session += 1
                if session not in {None, self._session}:
                    raise BusAway("Postgres was away meanwhile")  # noqa: TRY301 - under the lock
                yield self._connection
            except BusAway:
                raise
            except _MISTAKES:
                await self._drop()
                raise
            except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                await self._drop()
                raise BusAway(f"Postgres does not answer ({type(error).__name__})") from error
            except BaseException:
                await self._drop()  # cancelled in the middle of an exchange: it cannot be taken up again
                raise

    async def close(self) -> None:
        """Close the connection; a later statement would open another."""
        async with self._lock:
            await self._drop()

    async def _connect(self) -> AsyncConnection:
        connection = await self._engine.connect()
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await connection.run_sync(_detach)
            await driver.execute(_SESSION)
            await driver.add_listener(LEDGER_CHANNEL, self._on_ledger)
            await driver.add_listener(GROUP_CHANNEL, self._on_group)
            driver.add_termination_listener(self._on_end)
        except BaseException:
            await connection.close()
            raise
        self.group_changes += 1  # whatever was announced meanwhile was not heard
        self._driver = driver
        return connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._driver.remove_termination_listener(self._on_end)
        self._driver.terminate()  # without a farewell: the other side may be gone
        with suppress(Exception):
            await asyncio.wait_for(connection.close(), _CLOSE_SECONDS)

    def _on_ledger(self, *_: object) -> None:
        self.bell.ring()

    def _on_group(self, *_: object) -> None:
        self.group_changes += 1
        self.bell.ring()

    def _on_end(self, *_: object) -> None:
        self.bell.ring()


def _detach(connection: Connection) -> None:
    connection.detach()  # not the pool's any more


_shared: WeakKeyDictionary[AsyncEngine, tuple[BusConnection, int]] = WeakKeyDictionary()


@asynccontextmanager
async def bus_connection(engine: AsyncEngine) -> AsyncIterator[BusConnection]:
    """Lend the one connection that all readers on ``engine`` share; the last to leave closes it."""
    bus, users = _shared.get(engine) or (BusConnection(engine), 0)
    _shared[engine] = (bus, users + 1)
    try:
        yield bus
    finally:
        users = _shared[engine][1] - 1
        if users:
            _shared[engine] = (bus, users)
        else:
            del _shared[engine]
            await bus.close()


async def listen(bus: BusConnection, stopping: asyncio.Event) -> None:
    """Keep ``bus`` connected, so that its bell rings, where nobody reads the ledger through it."""
    while not stopping.is_set():
        with suppress(BusAway):
            await bus.session()
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _LISTEN_SECONDS)


async def announce(bus: BusConnection) -> None:
    """Let the other members of embedded groups look at their shares."""
    await bus.execute(text(f"NOTIFY {GROUP_CHANNEL}"))
