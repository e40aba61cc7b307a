"""Wiring of the dispatcher: the only module that knows all the others."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from functools import partial

from services.dispatcher.api import ReceiptApi
from services.dispatcher.handlers import QueueDue, SendJobs
from services.dispatcher.settings import Settings
from shared.bus import consume
from shared.bus.kafka import KafkaProducer
from shared.bus.open import open_source
from shared.bus.relay import relay
from shared.contracts.jobs import decode_job
from shared.contracts.states import Lane
from shared.contracts.topics import SEND_JOBS
from shared.db.engine import engine_for
from shared.dealers.registry import build_dealers
from shared.sending.limits import Limits
from shared.sending.policy import DEFAULT
from shared.sending.receipts import Receipts
from shared.sending.reconcile import Reconciler
from shared.sending.sender import Sender
from shared.service import Health, main, make_app, repeat, run
from shared.telemetry import configure_logging


async def serve(settings: Settings) -> None:
    """Run the dispatcher until it is told to stop."""
    configure_logging("dispatcher", settings.log_level)
    config, clock, vault = settings.load_config(), settings.make_clock(), settings.make_vault()
    stopping, health = asyncio.Event(), Health()
    async with AsyncExitStack() as stack:
        engine = engine_for(settings.database_url, pool_size=settings.database_pool)
        stack.push_async_callback(engine.dispose)
        dealers = build_dealers(config)
        for dealer in dealers.values():
            stack.push_async_callback(dealer.close)
        limits = Limits(engine, {name: each.limits.messages_per_second for name, each in config.dealers.items()})
        sender = Sender(engine, dealers, limits, config, vault, clock, DEFAULT, random.random)

        health.watch(engine, settings.kafka_bootstrap_servers)
        loops = []
        for lane in Lane:  # a group each: a rebalance of one lane does not stop the others
            source = await stack.enter_async_context(
                open_source(engine, settings.kafka_bootstrap_servers, f"dispatcher-{lane}", [SEND_JOBS[lane]])
            )
            turn = partial(health.turn, f"send-{lane}")
            loops.append(
                consume(
                    source,
                    decode_job,
                    SendJobs(sender, lane, turn),
                    stopping=stopping,
                    max_records=settings.dispatch_batch,
                    linger_seconds=0 if lane is Lane.AUTH else settings.dispatch_linger_seconds,
                    on_turn=turn,
                )
            )
        receipts = Receipts(engine, dealers, config, clock)
        reconciler = Reconciler(engine, dealers, config, vault, clock, DEFAULT, random.random)
        arrived = asyncio.Event()

        async def reconcile() -> int:
            asked = await reconciler()
            if asked:
                arrived.set()  # what was learnt is stored as receipts
            return asked

        for name, work, every, bell in (
            ("due", QueueDue(engine, clock), 0.2, None),
            ("receipts", receipts.apply, 1.0, arrived),
            ("reconcile", reconcile, 0.5, None),
        ):
            turn = partial(health.turn, name)
            loops.append(repeat(work, every_seconds=every, stopping=stopping, turn=turn, bell=bell))
        if settings.kafka_bootstrap_servers:
            producer = partial(KafkaProducer, settings.kafka_bootstrap_servers)
            loops.append(relay(engine, producer, stopping=stopping))

        app = make_app("bongsu dispatcher", health)
        app.include_router(ReceiptApi(engine, dealers, vault, clock, settings.receipt_body_limit, arrived).router())
        await run(app, settings, stopping=stopping, loops=loops)


def start() -> None:
    """Run the service as a process."""
    main(serve(Settings()))
