"""What sets an installation up: schema, topics, catalog, keys; and the recount."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.apply import apply_directory
from services.metrics.repository import differences
from services.metrics.repository import rebuild as rebuild_statistics
from shared.bus.kafka import create_topics
from shared.clock import clock_from
from shared.db.engine import engine_for
from shared.db.migrate import migrate as migrate_schema
from shared.http.auth import ensure_key, new_key
from shared.http.auth import revoke_key as revoke


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[AsyncEngine]:
    engine = engine_for(url, pool_size=1, statement_seconds=None)  # a large ledger takes long to recount or to index
    try:
        yield engine
    finally:
        await engine.dispose()


async def migrate(database_url: str, clock: str) -> None:
    """Create or upgrade the schema."""
    async with _database(database_url) as engine:
        await migrate_schema(engine, now=clock_from(clock).now())


async def topics(bootstrap: str, partitions: int, replication: int) -> list[str]:
    """Create missing topics; return their names."""
    return await create_topics(bootstrap, partitions=partitions, replication=replication)


async def apply(database_url: str, directory: Path, clock: str, *, prune: bool) -> dict[str, list[str]]:
    """Load a directory of rules and templates; return what changed, by kind."""
    async with _database(database_url) as engine:
        applied = await apply_directory(engine, directory, now=clock_from(clock).now(), prune=prune)
    return {"templates": applied.templates, "rules": applied.rules, "retired": applied.retired}


async def create_key(database_url: str, name: str, clock: str) -> str:
    """Make and store an API key; return it."""
    key = new_key()
    async with _database(database_url) as engine, engine.begin() as connection:
        await ensure_key(connection, name, key, now=clock_from(clock).now())
    return key


async def list_keys(database_url: str) -> list[dict[str, Any]]:
    """Return the API keys, without what they are."""
    async with _database(database_url) as engine, engine.connect() as connection:
        rows = await connection.execute(text("SELECT name, created_at, revoked_at FROM api_keys ORDER BY created_at"))
        return [dict(row) for row in rows.mappings()]


async def revoke_key(database_url: str, name: str, clock: str) -> int:
    """Revoke the keys of a name; return how many."""
    async with _database(database_url) as engine, engine.begin() as connection:
        return await revoke(connection, name, now=clock_from(clock).now())


async def rebuild(database_url: str) -> None:
    """Replace the statistics by a recount of the ledger."""
    async with _database(database_url) as engine, engine.begin() as connection:
        await rebuild_statistics(connection)


async def recount(database_url: str) -> list[dict[str, Any]]:
    """Return where the statistics differ from a recount of the ledger."""
    async with _database(database_url) as engine, engine.begin() as connection:
        return [each if isinstance(each, dict) else vars(each) for each in await differences(connection)]
