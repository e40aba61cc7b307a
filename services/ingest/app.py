"""Wiring of ingest: the only module that knows all the others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from services.ingest import documented, telemetry
from services.ingest.api import Api
from services.ingest.cancelling import CancelApi
from services.ingest.catalog import CurrentRules
from services.ingest.handlers import EventRecords, Intake, Writer, as_it_came
from services.ingest.lag import Lag
from services.ingest.pauses import PauseApi
from services.ingest.posting import Posting
from services.ingest.repository import Outcome, Submission
from services.ingest.settings import Settings
from shared.bus import consume
from shared.bus.open import open_producer, open_source
from shared.bus.relay import relay
from shared.contracts.topics import EVENTS
from shared.db.away import is_away
from shared.db.engine import engine_for
from shared.db.partitions import make_partitions
from shared.groups import Groups
from shared.http.auth import ApiKeys
from shared.http.body import Bodies
from shared.http.direct import Direct
from shared.service import Health, main, make_app, repeat, run
from shared.telemetry import configure_logging

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from starlette.types import ASGIApp

    from shared.clock import Clock
    from shared.config import Config
    from shared.crypto import Vault

_HOUR = timedelta(hours=1)
_ANY_NUMBER = 1_000_000_000
"""Poison in a row that is let pass: a customer's refused events say nothing against this reader."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """The parts that belong together, over one engine."""

    app: ASGIApp
    rules: CurrentRules
    intake: Intake
    writer: Writer
    lag: Lag


def build(
    engine: AsyncEngine, config: Config, vault: Vault, clock: Clock, health: Health, settings: Settings
) -> Ingest:
    """Wire the HTTP side."""
    writer = Writer(engine, clock)
    groups: Groups[Submission, Outcome] = Groups(
        writer.apart,
        cap=settings.ingest_group,
        flights=settings.ingest_flights,
        most_waiting=settings.ingest_waiting,
    )
    rules = CurrentRules(engine, config.profiles)
    intake = Intake(engine, rules, groups, vault, clock)
    lag = Lag(engine, clock, timedelta(seconds=settings.ingest_lag_seconds))
    bodies = Bodies(
        settings.ingest_body_limit,
        most=settings.ingest_bodies,
        most_bytes=settings.ingest_body_bytes,
        grace_seconds=settings.ingest_body_seconds,
    )
    telemetry.BODIES.set_function(lambda: bodies.under_way)
    telemetry.BODY_BYTES.set_function(lambda: bodies.held)

    health.watch(engine, settings.kafka_bootstrap_servers)
    app = make_app("bongsu ingest", health)
    keys = ApiKeys(engine)
    app.include_router(Api(engine, keys, vault, clock).router())
    app.include_router(PauseApi(engine, keys, config).router())
    app.include_router(CancelApi(engine, keys, clock, intake.births).router())
    _document(app)
    events = Posting(keys, intake, bodies, lag)
    return Ingest(Direct(app, {"/v1/events": events}), rules, intake, writer, lag)


def _document(app: FastAPI) -> None:
    """Name in the OpenAPI page what no route of ``app`` tells: the API key, and the endpoint that stands before it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        page = plain()
        page.setdefault("components", {})["securitySchemes"] = documented.SECURITY_SCHEMES
        page["paths"]["/v1/events"] = {"post": documented.TAKE_EVENTS}
        return page

    app.openapi = openapi  # type: ignore[method-assign]  # how FastAPI says to extend it


async def serve(settings: Settings) -> None:
    """Run ingest until it is told to stop."""
    configure_logging("ingest", settings.log_level)
    config, clock, vault = settings.load_config(), settings.make_clock(), settings.make_vault()
    stopping, health = asyncio.Event(), Health()
    async with AsyncExitStack() as stack:
        engine = engine_for(settings.database_url, pool_size=settings.database_pool)
        stack.push_async_callback(engine.dispose)
        ingest = build(engine, config, vault, clock, health, settings)
        stack.push_async_callback(ingest.intake.groups.close)
        await ingest.rules.refresh()
        await _make_partitions(engine, clock)
        world_hour = _HOUR / (clock.stretch(_HOUR) / _HOUR)
        loops = [
            repeat(ingest.rules.follow, every_seconds=1.0, stopping=stopping, turn=partial(health.turn, "catalog")),
            repeat(ingest.lag.follow, every_seconds=1.0, stopping=stopping, turn=partial(health.turn, "lag")),
            repeat(
                partial(_make_partitions, engine, clock),
                every_seconds=max(world_hour.total_seconds(), 5.0),
                stopping=stopping,
                turn=lambda: None,  # turns too seldom to tell whether it lives
            ),
        ]
        if settings.kafka_bootstrap_servers:
            source = await stack.enter_async_context(
                open_source(
                    engine,
                    settings.kafka_bootstrap_servers,
                    "ingest",
                    [EVENTS],
                    session_seconds=settings.bus_session_seconds,
                )
            )
            loops.append(
                consume(
                    source,
                    as_it_came,
                    EventRecords(ingest.intake, ingest.writer, stopping),
                    stopping=stopping,
                    max_records=settings.ingest_group,
                    max_poison=_ANY_NUMBER,
                    on_turn=partial(health.turn, "events"),
                )
            )
            loops.append(
                relay(
                    engine,
                    partial(open_producer, settings.kafka_bootstrap_servers),
                    stopping=stopping,
                    on_turn=partial(health.turn, "relay"),
                )
            )
        await run(ingest.app, settings, stopping=stopping, loops=loops)


async def _make_partitions(engine: AsyncEngine, clock: Clock) -> int:
    """Make the ledger's partitions ahead; a database that is away has made them long before."""
    try:
        async with engine.begin() as connection:
            made = await make_partitions(connection, now=clock.now())
    except Exception as error:
        if not is_away(error):
            raise
        return 0
    telemetry.PARTITIONS.inc(made)
    return 0


def start() -> None:
    """Run the service as a process."""
    main(serve(Settings()))
