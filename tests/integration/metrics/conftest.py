"""A ledger to write lives into."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.partitions import make_partitions
from tests.unit.metrics.stories import BEGIN


@pytest.fixture
async def ledger(database: AsyncEngine) -> AsyncEngine:
    """An empty ledger with room for the stories' week."""
    async with database.begin() as connection:
        await make_partitions(connection, now=BEGIN)
    return database
