"""Tells a database that is away, or asks for the transaction again, from a mistake of ours."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_AWAY = ("08", "57P", "53", "25006")  # connection, shutdown and start, resources, a standby: PostgreSQL, appendix A
_AGAIN = ("40001", "40P01")  # serialization failure, deadlock


def is_away(error: BaseException) -> bool:
    """Return whether Postgres could not be reached, went away or had no room: the same may succeed later."""
    if isinstance(error, asyncpg.DataError):
        return False  # an argument of ours that it cannot encode; an InterfaceError to asyncpg
    if isinstance(error, OSError | TimeoutError | PoolTimeout | asyncpg.InterfaceError | PendingRollbackError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = _sqlstate(error)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    return state.startswith(_AWAY)


def wants_again(error: BaseException) -> bool:
    """Return whether Postgres gave the transaction up for another's sake: it may be run again at once."""
    return _sqlstate(error) in _AGAIN


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
    return state if isinstance(state, str) else None
