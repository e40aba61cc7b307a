"""One database for all cases, emptied for each: making one takes longer than most cases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import engine_for
from tests.conftest import TEMPLATE, execute, in_database

TABLES = ("messages", "attempts", "transitions", "receipts", "templates", "stops", "dealer_limits")


@pytest.fixture(scope="session")
def one_database_url(postgres_url: str) -> Iterator[str]:
    """A migrated database for all cases of a run."""
    name = "bongsu_conformance"
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log"))
    yield in_database(postgres_url, name)
    asyncio.run(execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(one_database_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool into it, with nothing in it."""
    engine = engine_for(one_database_url)
    async with engine.begin() as connection:
        for table in TABLES:
            await connection.execute(text(f"DELETE FROM {table}"))
    yield engine
    await engine.dispose()
