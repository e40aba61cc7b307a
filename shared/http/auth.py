"""API keys: ``Authorization: Bearer KEY``. Only their SHA-256 is kept."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from shared.db.away import is_away
from shared.http.problems import Problem
from shared.ids import new_id

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_KEEP_SECONDS = 4.0
_ASK_SECONDS = 1.0
"""How long it is still taken meanwhile, so that one request asks and not all; with the above, five seconds."""
_FORGET_SECONDS = 0.5
"""How long a key that was just made may still be refused, if it was tried before."""
_REMEMBERED = 10_000
_HINT = 'Send the header "Authorization: Bearer KEY"; `bongsu keys create NAME` makes one.'


@dataclass
class ApiKeys:
    """The keys that are valid, asked of the database at most every few seconds each."""

    engine: AsyncEngine
    _known: dict[bytes, tuple[UUID | None, float]] = field(default_factory=dict)

    async def check(self, authorization: str | None) -> UUID:
        """Return the id of the key in an ``Authorization`` header. Raises a 401 ``Problem``, or 503."""
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("No API key", f"The request has no API key. {_HINT}")
        hashed = hash_key(token)
        now = asyncio.get_running_loop().time()
        known = self._known.get(hashed)
        if known is None or known[1] < now:
            if known is not None and known[0] is not None:
                self._known[hashed] = known[0], now + _ASK_SECONDS
            found = await self._look_up(hashed)
            known = found, now + (_FORGET_SECONDS if found is None else _KEEP_SECONDS)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[hashed] = known
        if known[0] is None:
            raise _unauthorized("No such API key", f"The API key is unknown or was revoked. {_HINT}")
        return known[0]

    async def _look_up(self, hashed: bytes) -> UUID | None:
        try:
            async with self.engine.connect() as connection:
                found = await connection.scalar(
                    text("SELECT id FROM api_keys WHERE hash = :hash AND revoked_at IS NULL"), {"hash": hashed}
                )
        except Exception as error:
            if not is_away(error):
                raise
            raise Problem(
                503,
                "unavailable",
                "Nothing can be accepted now",
                "The database is away for a moment. Send the same request again.",
                headers={"Retry-After": "1"},
            ) from error
        return None if found is None else UUID(str(found))


def _unauthorized(title: str, detail: str) -> Problem:
    return Problem(401, "unauthorized", title, detail, headers={"WWW-Authenticate": "Bearer"})


def hash_key(key: str) -> bytes:
    """Return what is kept of a key. It is random and long, so a plain hash does."""
    return hashlib.sha256(key.encode()).digest()


def new_key() -> str:
    """Return a fresh API key."""
    return "bk_" + secrets.token_urlsafe(24)


async def ensure_key(connection: AsyncConnection, name: str, key: str, *, now: datetime) -> None:
    """Make ``key`` valid. Calling twice is safe; a key that was revoked stays so."""
    await connection.execute(
        text("""
            INSERT INTO api_keys (id, name, hash, created_at) VALUES (:id, :name, :hash, :now)
            ON CONFLICT ON CONSTRAINT api_keys_hash DO NOTHING
        """),
        {"id": new_id(now), "name": name, "hash": hash_key(key), "now": now},
    )


async def revoke_key(connection: AsyncConnection, name: str, *, now: datetime) -> int:
    """Revoke the keys of this name; return how many. They may still be taken for a few seconds."""
    found = await connection.execute(
        text("UPDATE api_keys SET revoked_at = :now WHERE name = :name AND revoked_at IS NULL RETURNING id"),
        {"name": name, "now": now},
    )
    return len(found.all())
