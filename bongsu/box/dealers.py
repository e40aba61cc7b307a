"""A configuration in which the sandbox plays every dealer, and what follows from what these can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any

from bongsu.sandbox.server import DIALECTS
from shared.config import Config
from shared.dealers.base import Capabilities, Push
from shared.dealers.registry import build_dealers

SENDER_NUMBER = "0212345678"
SENDER_KEYS = {"solapi": "KA01PF-bongsu-shop", "sens": "@bongsu-shop"}
"""as each dealer writes them; Kakao's own are 40 characters"""

INDEX_LAG_SECONDS = 3.0
"""The sandbox's indexes lag by less than a second of the world; a real one's minutes are days of a fast clock."""

AN_INDEX = timedelta(minutes=10)
"""A dealer whose "not found" counts for nothing much longer is never to be believed, and not for its index."""


async def config_for(
    kinds: Sequence[str],
    origin: str,
    *,
    profiles: Mapping[str, str | None],
    shares: Mapping[str, int],
    messages_per_second: int,
    quiet_hours: str | None,
    receipt_token: str,
) -> dict[str, Any]:
    """Return a configuration for a sandbox at ``origin``: an account at each of ``kinds``, under the kind's name.

    Kakao is reached through all of them that have a way to it; ``profiles`` names who carries a profile's texts, None
    for the first that can.
    """
    accounts = {kind: _account(kind, origin, messages_per_second) for kind in kinds}
    can = await capabilities_of(accounts)
    for kind in kinds:
        if can[kind].not_found_after <= AN_INDEX:
            accounts[kind]["not_found_after_seconds"] = INDEX_LAG_SECONDS
        if can[kind].push is not Push.NONE:
            accounts[kind]["receipts"] = {"token": receipt_token}
    texts = [kind for kind in kinds if any(channel.is_text for channel in can[kind].channels)]
    kakao = [kind for kind in kinds if not all(channel.is_text for channel in can[kind].channels)]
    routes = [_route(kind, shares) for kind in kakao]
    made: dict[str, dict[str, Any]] = {}
    for name, carrier in profiles.items():
        made[name] = {"name": "봉수상점", "routes": routes}
        if by := carrier or next(iter(texts), None):
            made[name]["text"] = {"dealer": by, "from": SENDER_NUMBER}
        if quiet_hours:
            made[name]["quiet_hours"] = {"informational": quiet_hours}
    return {"dealers": accounts, "profiles": made}


async def capabilities_of(accounts: Mapping[str, Mapping[str, Any]]) -> dict[str, Capabilities]:
    """Return what each of ``accounts``, written as in a configuration, can do."""
    anyone = {"name": "nobody", "routes": [{"dealer": next(iter(accounts)), "sender_key": "none"}]}
    config = Config.model_validate({"dealers": accounts, "profiles": {"nobody": anyone}})
    dealers = build_dealers(config.model_copy(update={"profiles": {}}))
    try:
        return {name: dealer.capabilities for name, dealer in dealers.items()}
    finally:
        for dealer in dealers.values():
            await dealer.close()


def _account(kind: str, origin: str, messages_per_second: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "base_url": f"{origin}/{kind}",
        "credentials": import_module(DIALECTS[kind]).credentials(),
        "limits": {"messages_per_second": messages_per_second, "batch": 1000},
        "prices": {"alimtalk": 13, "sms": 18, "lms": 45},
        "timeout_seconds": 1.5,
        "templates": "trusted",
    }


def _route(kind: str, shares: Mapping[str, int]) -> dict[str, Any]:
    share = {"share": shares[kind]} if kind in shares else {}
    return {"dealer": kind, "sender_key": SENDER_KEYS.get(kind, "K" * 40), "from": SENDER_NUMBER, **share}
