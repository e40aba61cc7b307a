"""The rows of ``dealer_limits``: read without a lock, written if nobody else did meanwhile.

A lock would be held over round trips, and by a process that stands still for seconds; here the slower one reads again.
What is done with every grant goes to the driver itself, each statement a transaction: two round trips, and a third of
the CPU that SQLAlchemy would add.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from sqlalchemy import text

from shared.sending.limit_log import Log

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_COLUMNS = """
    dealer, version, log, changed::text AS changed, changed_by, changed_at,
    extract(epoch FROM paused_until)::float8 AS paused_until, extract(epoch FROM first_at)::float8 AS first_at,
    extract(epoch FROM clock_timestamp())::float8 AS clock, pg_backend_pid() AS session
"""
_READ = f"SELECT {_COLUMNS} FROM dealer_limits WHERE dealer = ANY($1::text[])"  # noqa: S608 - a constant
_READ_ALL = text(f"SELECT {_COLUMNS} FROM dealer_limits ORDER BY dealer")  # noqa: S608 - a constant
_CREATE = "INSERT INTO dealer_limits (dealer) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
_WRITE = """
    UPDATE dealer_limits
    SET log = $3, version = version + 1, paused_until = to_timestamp($4::float8), first_at = to_timestamp($5::float8)
    WHERE dealer = $1 AND version = $2
    RETURNING version
"""
_CHANGE = text("""
    INSERT INTO dealer_limits AS known (dealer, changed, changed_by, changed_at)
    VALUES (:key, CAST(:changed AS jsonb), :by, clock_timestamp())
    ON CONFLICT (dealer) DO UPDATE SET changed = excluded.changed, changed_by = excluded.changed_by,
        changed_at = excluded.changed_at, version = known.version + 1
""")
_SESSIONS = """
    SELECT pid, coalesce(extract(epoch FROM backend_start), 0)::float8 AS began
    FROM pg_stat_activity WHERE pid = ANY($1::int[])
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Log).decode


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was read. ``log`` is the reader's own, to change and to write. Times but ``clock`` are the row's."""

    key: str
    version: int
    log: Log
    clock: float
    session: int
    paused_until: float | None = None
    first_at: float | None = None
    changed: Mapping[str, int] | None = None
    changed_by: str | None = None
    changed_at: datetime | None = None

    def paused(self, until: float) -> Row:
        """Return it with a pause; one that lasts longer stays."""
        return replace(self, paused_until=max(until, self.paused_until or 0.0))


def key_of(dealer: str, profile: str | None = None) -> str:
    """Return the key of an account's row, or of a profile's at that account."""
    return dealer if profile is None else f"{dealer}/{profile}"


@asynccontextmanager
async def at_rows(engine: AsyncEngine) -> AsyncIterator[Any]:
    """Give a connection of the driver's, with no transaction open: for the functions below."""
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        try:
            yield raw.driver_connection
        except BaseException as error:
            await connection.invalidate()  # the pool does not see what the driver raises, and would give it again
            if isinstance(error, asyncpg.InternalClientError):  # the server ended the session just now
                raise asyncpg.InterfaceError(str(error)) from error
            raise


async def read(driver: Any, keys: Sequence[str]) -> dict[str, Row]:  # noqa: ANN401 - asyncpg is untyped
    """Return the rows of ``keys``; one that does not exist yet is made."""
    rows = await driver.fetch(_READ, keys)
    if len(rows) < len(keys):
        await driver.execute(_CREATE, keys)
        rows = await driver.fetch(_READ, keys)
    return {row["dealer"]: _row(row) for row in rows}


async def read_all(connection: AsyncConnection) -> list[Row]:
    """Return all rows there are."""
    return [_row(dict(row)) for row in (await connection.execute(_READ_ALL)).mappings()]


async def write(driver: Any, rows: Sequence[Row]) -> bool:  # noqa: ANN401 - asyncpg is untyped
    """Write ``rows``, all or none; return False if one of them was written by somebody else since it was read.

    Durable when it returns. The account's row goes first, so that two never wait for each other.
    """
    first, *others = sorted(rows, key=lambda row: ("/" in row.key, row.key))
    if not others:
        return await _write(driver, first)
    transaction = driver.transaction()
    await transaction.start()
    try:
        written = [await _write(driver, row) for row in (first, *others)]
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.commit() if all(written) else transaction.rollback())
    return all(written)


async def change(connection: AsyncConnection, key: str, limits: Mapping[str, int] | None, by: str) -> None:
    """Let ``limits`` hold in place of what the file says; None: let the file speak again."""
    changed = None if limits is None else msgspec.json.encode(limits).decode()
    await connection.execute(_CHANGE, {"key": key, "changed": changed, "by": by})


async def sessions(driver: Any, pids: Sequence[int]) -> dict[int, float]:  # noqa: ANN401 - asyncpg is untyped
    """Return those of ``pids`` that are sessions of the database, and when each began (its clock)."""
    return {row["pid"]: row["began"] for row in await driver.fetch(_SESSIONS, pids)}


async def _write(driver: Any, row: Row) -> bool:  # noqa: ANN401 - asyncpg is untyped
    written = await driver.fetchval(_WRITE, row.key, row.version, _encode(row.log), row.paused_until, row.first_at)
    return written is not None


def _row(row: Mapping[str, Any]) -> Row:
    return Row(
        key=row["dealer"],
        version=row["version"],
        log=_decode(row["log"]) if row["log"] else Log(),
        clock=row["clock"],
        session=row["session"],
        paused_until=row["paused_until"],
        first_at=row["first_at"],
        changed=msgspec.json.decode(row["changed"]) if row["changed"] else None,
        changed_by=row["changed_by"],
        changed_at=row["changed_at"] and row["changed_at"].astimezone(UTC),
    )
