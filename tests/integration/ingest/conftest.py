"""Fixtures over the parts of ingest."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.ingest.parts import Ingest, make_ingest


@pytest.fixture
async def ingest(database: AsyncEngine) -> Ingest:
    """The parts of ingest, with the shipped rules loaded."""
    return await make_ingest(database)
