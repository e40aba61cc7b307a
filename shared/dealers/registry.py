"""From configuration to dealers. A kind is a module with ``CREDENTIALS`` and ``build`` (``shared.dealers.kinds``)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from shared.config import BadConfig, Config, DealerConfig
from shared.dealers.account import Account, Credentials
from shared.dealers.kinds import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.dealers.base import Dealer


def build_dealers(config: Config) -> dict[str, Dealer]:
    """Return every configured dealer by its name; each keeps connections of its own, to be closed.

    Raises ``BadConfig``, with the path in the file, for credentials that are missing, empty or not known, for a
    route over a channel that its dealer does not have, and for a package's adapter that cannot be loaded.
    """
    dealers = {name: _build(name, dealer) for name, dealer in config.dealers.items()}
    for name, profile in config.profiles.items():
        if profile.text and not any(channel.is_text for channel in dealers[profile.text.dealer].capabilities.channels):
            raise BadConfig(f"profiles.{name}.text: {profile.text.dealer} sends no texts; name another dealer")
        for n, route in enumerate(profile.routes):
            if all(channel.is_text for channel in dealers[route.dealer].capabilities.channels):
                raise BadConfig(f"profiles.{name}.routes.{n}: {route.dealer} has no way to Kakao; name another dealer")
    return dealers


def _build(name: str, config: DealerConfig) -> Dealer:
    known, build = _adapter(name, ADAPTERS[config.kind])
    dealer = build(
        Account(
            name=name,
            base_url=config.base_url,
            urls=config.urls,
            credentials=_checked(f"dealers.{name}.credentials", config, known),
            timeout_seconds=config.timeout_seconds,
            batch=config.limits.batch,
            now=_world_time,
        )
    )
    if config.not_found_after_seconds is not None:
        believed = timedelta(seconds=config.not_found_after_seconds)
        dealer.capabilities = replace(dealer.capabilities, not_found_after=believed)
    return dealer


def _adapter(name: str, module: str) -> tuple[Credentials, Callable[[Account], Dealer]]:
    try:
        adapter = import_module(module)
        known, build = adapter.CREDENTIALS, adapter.build
    except (ImportError, AttributeError) as error:
        raise BadConfig(f"dealers.{name}.kind: {module} is no adapter: {error}") from error
    return known, build


def _checked(where: str, config: DealerConfig, known: Credentials) -> dict[str, str]:
    given = {key: secret.get_secret_value() for key, secret in config.credentials.items()}
    if unknown := sorted(given.keys() - known.names):
        raise BadConfig(f"{where}: {unknown[0]} is not one of {', '.join(sorted(known.names))}")
    for key in (*known.required, *given):
        if not given.get(key):
            raise BadConfig(f"{where}.{key}: is missing or empty")
    return given


def _world_time() -> datetime:
    return datetime.now(UTC)
