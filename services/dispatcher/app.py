"""Wiring of the dispatcher: the only module that knows all the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from services.dispatcher.api import ReceiptApi, warn_of_open_doors
from services.dispatcher.handlers import (
    DUE_PAUSE,
    CancelOrdered,
    EndForgotten,
    LetGo,
    LetGoApproved,
    QueueDue,
    SendJobs,
)
from services.dispatcher.settings import Settings
from shared.bell import Bell
from shared.bus import consume
from shared.bus.connection import BusConnection, bus_connection, listen
from shared.bus.open import open_producer, open_source
from shared.bus.relay import relay
from shared.contracts.jobs import decode_job
from shared.contracts.states import Lane
from shared.contracts.topics import SEND_JOBS
from shared.copies.sync import TemplateSync, template_apis
from shared.groups import Groups
from shared.sending.lanes import KAKAO, Lanes
from shared.sending.open import open_lanes, open_sender
from shared.sending.pull import Pull
from shared.sending.receipts import Receipts
from shared.sending.reconcile import Reconciler
from shared.sending.sender import Sender
from shared.sending.silence import Silence
from shared.service import Health, main, make_app, repeat, run
from shared.telemetry import configure_logging


async def serve(settings: Settings) -> None:
    """Run the dispatcher until it is told to stop."""
    configure_logging("dispatcher", settings.log_level)
    stopping, health = asyncio.Event(), Health()
    async with AsyncExitStack() as stack:
        sender = await open_sender(stack, settings)
        ledger = await stack.enter_async_context(bus_connection(sender.engine))
        warn_of_open_doors(sender.dealers, sender.config)
        health.watch(sender.engine, settings.kafka_bootstrap_servers)
        lanes = await open_lanes(stack, sender, KAKAO, settings.dispatch_lanes)
        loops = [
            *[await _lane(stack, settings, lanes, lane, stopping, health) for lane in sorted(settings.dispatch_lanes)],
            lanes.run(stopping, partial(health.turn, "draw")),
            *_chores(sender, settings.dispatch_lanes, stopping, health, ledger),
        ]
        if settings.kafka_bootstrap_servers:
            producer = partial(open_producer, settings.kafka_bootstrap_servers)
            loops += [relay(sender.engine, producer, stopping=stopping), listen(ledger, stopping)]

        app = make_app("bongsu dispatcher", health)
        groups = Groups(Receipts(sender).take)
        stack.push_async_callback(groups.close)
        app.include_router(ReceiptApi(sender.dealers, sender.config, groups, settings.receipt_body_limit).router())
        await run(app, settings, stopping=stopping, loops=loops)


async def _lane(
    stack: AsyncExitStack, settings: Settings, lanes: Lanes, lane: Lane, stopping: asyncio.Event, health: Health
) -> Coroutine[Any, Any, None]:
    """Return the loop that sends what ``lane`` brings.

    Each lane is a consumer group of its own: a rebalance of one does not stop the others.
    """
    source = await stack.enter_async_context(
        open_source(
            lanes.sender.engine,
            settings.kafka_bootstrap_servers,
            f"dispatcher-{lane}",
            [SEND_JOBS[lane]],
            session_seconds=settings.bus_session_seconds,
        )
    )
    return consume(
        source,
        decode_job,
        SendJobs(lanes, lane),
        stopping=stopping,
        max_records=settings.dispatch_batch,
        linger_seconds=0 if lane is Lane.AUTH else settings.dispatch_linger_seconds,
        on_turn=partial(health.turn, f"send-{lane}"),
    )


def _chores(
    sender: Sender, lanes: Iterable[Lane], stopping: asyncio.Event, health: Health, ledger: BusConnection
) -> list[Coroutine[Any, Any, None]]:
    """Return the loops that go by the clock: queue what is due, apply receipts, ask what became of attempts and where
    templates stand.
    """  # noqa: D205 - one sentence
    arrived = Bell()
    reconciler = Reconciler(sender, partial(health.turn, "reconcile"))
    queues = [QueueDue(sender.engine, sender.clock, lane) for lane in sorted(lanes)]
    apis = template_apis(sender.config, sender.dealers)

    async def reconcile() -> int:
        asked = await reconciler()
        if asked:
            arrived.ring()  # what was learnt is stored as receipts
        return asked

    chore = partial(repeat, stopping=stopping)
    return [
        *[
            chore(
                queue,
                every_seconds=queue.rest,
                turn=partial(health.turn, f"due-{queue.lane}"),
                bell=ledger.bell,  # what is scheduled now may be due before what was waited for
                at_least_seconds=DUE_PAUSE,
            )
            for queue in queues
        ],
        chore(
            EndForgotten(sender.engine, sender.clock),
            every_seconds=60.0,
            turn=lambda: None,  # turns too seldom to tell whether it lives
        ),
        chore(CancelOrdered(sender.engine, sender.clock), every_seconds=1.0, turn=partial(health.turn, "cancel")),
        chore(LetGo(sender), every_seconds=1.0, turn=partial(health.turn, "stops")),
        chore(LetGoApproved(sender), every_seconds=2.0, turn=partial(health.turn, "approvals")),
        chore(
            TemplateSync(sender.engine, apis, sender.config, sender.clock),
            every_seconds=10.0,
            turn=lambda: None,  # a slow dealer may take its time: that says nothing of this process
        ),
        chore(reconcile, every_seconds=1.0, turn=partial(health.turn, "reconcile")),
        chore(
            Receipts(sender).apply,
            every_seconds=1.0,
            turn=partial(health.turn, "receipts"),
            bell=arrived,
        ),
        chore(
            Silence(sender, sender.clock.now()),
            every_seconds=5.0,
            turn=partial(health.turn, "silence"),
        ),
        *[
            chore(Pull(sender, dealer, arrived), every_seconds=1.0, turn=lambda: None)  # as above
            for dealer in sender.dealers.values()
            if dealer.capabilities.receipts_pulled
        ],
    ]


def start() -> None:
    """Run the service as a process."""
    main(serve(Settings()))
