"""``bongsu tail``: the ledger's changes as they are committed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import typer
from sqlalchemy import text

from bongsu.cli.output import in_seoul
from shared.bus.connection import BusConnection
from shared.bus.ledger import START, Place, read
from shared.contracts.delivery import Delivery
from shared.contracts.topics import DELIVERY
from shared.db.engine import engine_for

_POLL_SECONDS = 1.0
_HORIZON = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")


async def follow(database_url: str, *, from_start: bool, limit: timedelta | None, as_json: bool) -> None:
    """Print every change of state, from now or from the start, for ``limit`` or until interrupted."""
    engine = engine_for(database_url, pool_size=2)
    bus = BusConnection(engine)
    try:
        async with asyncio.timeout(None if limit is None else limit.total_seconds()):
            place = START if from_start else await _now(bus)
            while True:
                heard = bus.bell.rings
                page = await read(bus, DELIVERY, place, limit=500)
                for entry in page.entries:
                    typer.echo(entry.delivery.encode().decode() if as_json else _line(entry.delivery))
                place = page.upto
                if not page.entries:
                    await bus.bell.wait(heard, _POLL_SECONDS)
    except TimeoutError:
        return
    finally:
        await bus.close()
        await engine.dispose()


async def _now(bus: BusConnection) -> Place:
    (row,) = await bus.execute(_HORIZON, {})
    return Place(int(row[0]), 0)


def _line(change: Delivery) -> str:
    parts = [
        in_seoul(change.at.isoformat()),
        str(change.message_id),
        f"{change.state:<10}",
        f"{change.channel or '-'}/{change.dealer or '-'}",
        change.rule,
        change.reason or "",
        change.code or "",
    ]
    return "  ".join(part for part in parts if part)
