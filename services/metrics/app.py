"""Wiring of metrics: the only module that knows all the others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from services.metrics.api import StatsApi
from services.metrics.handlers import Count, Refresh
from services.metrics.retention import Forget
from services.metrics.settings import Settings
from shared.bus import consume
from shared.bus.open import open_source
from shared.catalog.durations import format_span
from shared.config import BadConfig, Config
from shared.contracts.delivery import decode_delivery
from shared.contracts.states import Channel
from shared.contracts.topics import DELIVERY
from shared.db.engine import engine_for
from shared.http.auth import ApiKeys
from shared.service import Health, main, make_app, repeat, run
from shared.telemetry import configure_logging

_HOUR = timedelta(hours=1)


async def serve(settings: Settings) -> None:
    """Run metrics until it is told to stop."""
    configure_logging("metrics", settings.log_level)
    config, clock = settings.load_config(), settings.make_clock()
    check_caps(config, settings.retention_days)
    stopping, health = asyncio.Event(), Health()
    async with AsyncExitStack() as stack:
        engine = engine_for(settings.database_url, pool_size=settings.database_pool)
        stack.push_async_callback(engine.dispose)

        health.watch(engine, settings.kafka_bootstrap_servers)
        prices = sms_prices(config)
        count = Count(engine, clock)
        source = await stack.enter_async_context(
            open_source(
                engine,
                settings.kafka_bootstrap_servers,
                "metrics",
                [DELIVERY],
                session_seconds=settings.bus_session_seconds,
            )
        )

        def turn() -> None:
            count.turn()
            health.turn("count")

        refresh = Refresh(engine, clock, prices, timedelta(days=settings.metrics_window_days), lambda: count.latest)
        loops = [
            consume(
                source,
                decode_delivery,
                count,
                stopping=stopping,
                max_records=settings.metrics_batch,
                linger_seconds=settings.metrics_linger_seconds,
                on_turn=turn,
            ),
            repeat(
                refresh,
                every_seconds=settings.metrics_refresh_seconds,
                stopping=stopping,
                turn=partial(health.turn, "refresh"),
            ),
            repeat(
                Forget(engine, clock, settings.ages()),
                every_seconds=max(_HOUR / (clock.stretch(_HOUR) / _HOUR), timedelta(seconds=5)).total_seconds(),
                stopping=stopping,
                turn=lambda: None,  # turns too seldom to tell whether it lives
            ),
        ]
        app = make_app("bongsu metrics", health)
        app.include_router(StatsApi(engine, prices, ApiKeys(engine)).router())
        await run(app, settings, stopping=stopping, loops=loops)


def check_caps(config: Config, retention_days: int) -> None:
    """Raise ``BadConfig`` for a cap that looks further back than messages are kept."""
    longest = max((cap.per for cap in config.caps), default=timedelta())
    if longest > timedelta(days=retention_days):
        raise BadConfig(f"BONGSU_RETENTION_DAYS is {retention_days}, and a cap looks back {format_span(longest)}")


def sms_prices(config: Config) -> dict[str, int]:
    """Return what an SMS costs each profile that can send one, KRW."""
    found: dict[str, int] = {}
    for name, profile in config.profiles.items():
        if profile.text is not None:
            price = config.dealers[profile.text.dealer].prices.get(Channel.SMS)
            if price is not None:
                found[name] = price
    return found


def start() -> None:
    """Run the service as a process."""
    main(serve(Settings()))
