"""The way into Postgres: one pool a process, and the driver's COPY for what is written in bulk."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

SESSION = {
    "jit": "off",
    # To plan for the values at hand looks at every week of the ledger, each time: with 65 of them it took ten times as
    # long as the statement. A plan that is kept passes over weeks as it starts (docs/adr/0013).
    "plan_cache_mode": "force_generic_plan",
    # A process that stands still (stopped, swapped out) in a transaction would keep its locks, and with its
    # transaction number hold back all readers of the ledger, for as long as it likes.
    "idle_in_transaction_session_timeout": "15s",
}


def engine_for(url: str, *, pool_size: int = 8, statement_seconds: float | None = 30) -> AsyncEngine:
    """Return an engine for a ``postgresql://`` URL (a socket directory may stand in ``?host=``).

    A statement that takes longer than ``statement_seconds`` is given up; None for work that takes as long as it takes.
    """
    return create_async_engine(
        sa.make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=False,  # a broken connection is noticed, invalidated, and the batch read again
        connect_args={"timeout": 5, "command_timeout": statement_seconds, "server_settings": SESSION},
    )


async def driver_of(connection: AsyncConnection) -> Any:  # noqa: ANN401 - asyncpg ships no types
    """Return asyncpg's own connection, in the transaction of ``connection``."""
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    if not driver.is_in_transaction():
        await connection.execute(sa.text("SELECT"))  # SQLAlchemy begins at its first statement, the driver's is none
    return driver


async def copy(
    connection: AsyncConnection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """COPY ``rows`` into ``table`` within the connection's transaction."""
    driver = await driver_of(connection)
    await driver.copy_records_to_table(table, records=rows, columns=columns)


@asynccontextmanager
async def driver_transaction(engine: AsyncEngine) -> AsyncIterator[Any]:
    """Yield asyncpg's own connection in a transaction: for the few statements that run so often that it shows.

    SQLAlchemy's share of a statement is a tenth of a millisecond, and that of its transaction twice as much.
    """
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            async with driver.transaction():
                yield driver
        finally:
            if driver.is_closed():  # the pool cannot know: it saw no statement fail
                await connection.invalidate()
