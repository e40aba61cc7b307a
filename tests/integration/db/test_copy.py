"""COPY belongs to its transaction, also as the first thing in it."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import copy


class Crash(Exception):
    """The process dies here."""


ROWS = [("solapi",), ("nhn",)]


async def copy_and_die(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await copy(connection, "dealer_limits", ("dealer",), ROWS)
        raise Crash


async def test_what_is_copied_first_is_rolled_back_with_its_transaction(database: AsyncEngine) -> None:
    with pytest.raises(Crash):
        await copy_and_die(database)
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT dealer FROM dealer_limits"))).all() == []
        await copy(connection, "dealer_limits", ("dealer",), ROWS)
    async with database.connect() as connection:
        assert len((await connection.execute(text("SELECT dealer FROM dealer_limits"))).all()) == 2
