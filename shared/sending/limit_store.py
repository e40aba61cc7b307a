"""The rows of ``dealer_limits``: read without a lock, written if nobody else did meanwhile.

A lock would be held over round trips, and by a process that stands still for seconds; here the slower one reads again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

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
_READ = text(f"SELECT {_COLUMNS} FROM dealer_limits WHERE dealer = ANY(CAST(:keys AS text[]))")  # noqa: S608 - a constant
_READ_ALL = text(f"SELECT {_COLUMNS} FROM dealer_limits ORDER BY dealer")  # noqa: S608 - a constant
_CREATE = text("""
    INSERT INTO dealer_limits (dealer) SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING
""")
_WRITE = text("""
    UPDATE dealer_limits
    SET log = :log, version = version + 1, paused_until = to_timestamp(CAST(:paused_until AS float8)),
        first_at = to_timestamp(CAST(:first_at AS float8))
    WHERE dealer = :key AND version = :version
""")
_CHANGE = text("""
    UPDATE dealer_limits SET changed = CAST(:changed AS jsonb), changed_by = :by, changed_at = clock_timestamp(),
        version = version + 1
    WHERE dealer = :key
""")
_SESSIONS = text("""
    SELECT pid, coalesce(extract(epoch FROM backend_start), 0)::float8 AS began
    FROM pg_stat_activity WHERE pid = ANY(CAST(:pids AS int[]))
""")

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


async def read(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, Row]:
    """Return the rows of ``keys``; one that does not exist yet is made."""
    rows = (await connection.execute(_READ, {"keys": list(keys)})).all()
    if len(rows) < len(keys):
        await connection.execute(_CREATE, {"keys": list(keys)})
        rows = (await connection.execute(_READ, {"keys": list(keys)})).all()
    return {row.dealer: _row(row) for row in rows}


async def read_all(connection: AsyncConnection) -> list[Row]:
    """Return all rows there are."""
    return [_row(row) for row in await connection.execute(_READ_ALL)]


async def write(engine: AsyncEngine, rows: Sequence[Row]) -> bool:
    """Write ``rows``, all or none; return False if one of them was written by somebody else since it was read.

    Durable when it returns. The account's row goes first, so that two never wait for each other.
    """
    ordered = sorted(rows, key=lambda row: ("/" in row.key, row.key))
    if len(ordered) == 1:
        async with engine.connect() as connection:
            await at_once(connection)
            return await _write(connection, ordered[0])
    async with engine.connect() as connection:
        for row in ordered:
            if not await _write(connection, row):
                return False  # what is not committed is rolled back
        await connection.commit()
    return True


async def at_once(connection: AsyncConnection) -> None:
    """Let each statement commit itself: one round trip, not three."""
    await connection.execution_options(isolation_level="AUTOCOMMIT")


async def change(connection: AsyncConnection, key: str, limits: Mapping[str, int] | None, by: str) -> None:
    """Let ``limits`` hold in place of what the file says; None: let the file speak again."""
    await connection.execute(_CREATE, {"keys": [key]})
    changed = None if limits is None else msgspec.json.encode(limits).decode()
    await connection.execute(_CHANGE, {"key": key, "changed": changed, "by": by})


async def sessions(connection: AsyncConnection, pids: Sequence[int]) -> dict[int, float]:
    """Return those of ``pids`` that are sessions of the database, and when each began (its clock)."""
    rows = await connection.execute(_SESSIONS, {"pids": list(pids)})
    return {row.pid: row.began for row in rows}


async def _write(connection: AsyncConnection, row: Row) -> bool:
    values = {
        "key": row.key,
        "version": row.version,
        "log": _encode(row.log),
        "paused_until": row.paused_until,
        "first_at": row.first_at,
    }
    return (await connection.execute(_WRITE, values)).rowcount == 1


def _row(row: Any) -> Row:  # noqa: ANN401 - a row of whatever was selected
    return Row(
        key=row.dealer,
        version=row.version,
        log=_decode(row.log) if row.log else Log(),
        clock=row.clock,
        session=row.session,
        paused_until=row.paused_until,
        first_at=row.first_at,
        changed=msgspec.json.decode(row.changed) if row.changed else None,
        changed_by=row.changed_by,
        changed_at=row.changed_at and row.changed_at.astimezone(UTC),
    )
