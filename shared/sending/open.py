"""Opens all that sending needs, in the order in which it depends on each other."""

from __future__ import annotations

import random
from collections.abc import Collection
from contextlib import AsyncExitStack

from shared.contracts.states import Channel, Lane
from shared.db.engine import engine_for
from shared.dealers.registry import build_dealers
from shared.sending.lanes import Lanes
from shared.sending.limits import Limits
from shared.sending.policy import DEFAULT
from shared.sending.sender import Sender
from shared.settings import ServiceSettings


async def open_sender(stack: AsyncExitStack, settings: ServiceSettings) -> Sender:
    """Return a sender with its pool and its dealers, which close with ``stack``. Raises ``BadConfig``."""
    config, clock, vault = settings.load_config(), settings.make_clock(), settings.make_vault()
    engine = engine_for(settings.database_url, pool_size=settings.database_pool)
    stack.push_async_callback(engine.dispose)
    dealers = build_dealers(config)
    for dealer in dealers.values():
        stack.push_async_callback(dealer.close)
    limits = Limits(engine, {name: each.limits for name, each in config.dealers.items()})
    stack.push_async_callback(limits.close)
    return Sender(engine, dealers, limits, config, vault, clock, DEFAULT, random.random)


async def open_lanes(
    stack: AsyncExitStack, sender: Sender, channels: Collection[Channel], served: Collection[Lane] = frozenset(Lane)
) -> Lanes:
    """Return what sends over ``channels`` in the lanes ``served``; calls end before ``stack`` closes what they need."""
    lanes = Lanes(sender, channels, served)
    stack.push_async_callback(lanes.finish)
    return lanes
