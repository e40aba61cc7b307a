"""Wiring of the fallback: the only module that knows all the others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial

from services.fallback.handlers import DecideFallback, SendTexts
from services.fallback.settings import Settings
from shared.bus import consume
from shared.bus.open import open_producer, open_source
from shared.bus.relay import relay
from shared.contracts.delivery import Interest
from shared.contracts.topics import DELIVERY
from shared.sending.lanes import TEXTS
from shared.sending.open import open_lanes, open_sender
from shared.service import Health, main, make_app, run
from shared.telemetry import configure_logging


async def serve(settings: Settings) -> None:
    """Run the fallback until it is told to stop."""
    configure_logging("fallback", settings.log_level)
    stopping, health = asyncio.Event(), Health()
    async with AsyncExitStack() as stack:
        sender = await open_sender(stack, settings)
        health.watch(sender.engine, settings.kafka_bootstrap_servers)
        lanes = await open_lanes(stack, sender, TEXTS)
        loops = [lanes.run(stopping, partial(health.turn, "draw"))]
        # Two groups: deciding does not wait behind sending.
        for group, interest, handler, on_turn in (
            (
                "fallback-decide",
                Interest.FAILURES,
                DecideFallback(sender.engine, sender.config, sender.vault, sender.clock, sender.dealers),
                partial(health.turn, "decide"),
            ),
            ("fallback-send", Interest.TEXTS, SendTexts(lanes), partial(health.turn, "send")),
        ):
            source = await stack.enter_async_context(
                open_source(
                    sender.engine,
                    settings.kafka_bootstrap_servers,
                    group,
                    [DELIVERY],
                    session_seconds=settings.bus_session_seconds,
                    interest=interest,
                )
            )
            loops.append(
                consume(
                    source,
                    interest.decode,
                    handler,
                    stopping=stopping,
                    max_records=settings.fallback_batch,
                    linger_seconds=settings.fallback_linger_seconds,
                    on_turn=on_turn,
                )
            )
        if settings.kafka_bootstrap_servers:
            producer = partial(open_producer, settings.kafka_bootstrap_servers)
            loops.append(relay(sender.engine, producer, stopping=stopping))
        await run(make_app("bongsu fallback", health), settings, stopping=stopping, loops=loops)


def start() -> None:
    """Run the service as a process."""
    main(serve(Settings()))
