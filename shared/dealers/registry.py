"""From configuration to dealers: the one place that knows every kind of them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.config import BadConfig, Config, DealerConfig
from shared.dealers.solapi.adapter import Solapi, load_codes
from shared.dealers.solapi.gateway import Gateway

if TYPE_CHECKING:
    from shared.dealers.base import Dealer

_SOLAPI_CREDENTIALS = frozenset({"api_key", "api_secret", "webhook_secret"})
_SOLAPI_REQUIRED = ("api_key", "api_secret")


def build_dealers(config: Config) -> dict[str, Dealer]:
    """Return every configured dealer by its name; each keeps connections of its own, to be closed.

    Raises ``BadConfig``, with the path in the file, for credentials that are missing, empty or not known.
    """
    return {name: _build(name, dealer) for name, dealer in config.dealers.items()}


def _build(name: str, config: DealerConfig) -> Dealer:
    match config.kind:
        case "solapi":
            return _solapi(name, config)


def _solapi(name: str, config: DealerConfig) -> Solapi:
    where = f"dealers.{name}.credentials"
    given = {key: secret.get_secret_value() for key, secret in config.credentials.items()}
    if unknown := sorted(given.keys() - _SOLAPI_CREDENTIALS):
        raise BadConfig(f"{where}: {unknown[0]} is not one of {', '.join(sorted(_SOLAPI_CREDENTIALS))}")
    for key in (*_SOLAPI_REQUIRED, *given):
        if not given.get(key):
            raise BadConfig(f"{where}.{key}: is missing or empty")
    gateway = Gateway(
        config.base_url,
        api_key=given["api_key"],
        api_secret=given["api_secret"],
        timeout_seconds=config.timeout_seconds,
        now=_world_time,
        salt=_salt,
    )
    return Solapi(
        name,
        gateway,
        codes=load_codes(),
        batch=config.limits.batch,
        webhook_secret=given.get("webhook_secret"),
    )


def _world_time() -> datetime:
    """Return the world's time: SOLAPI compares it with its own, however fast our rules' clock runs."""
    return datetime.now(UTC)


def _salt() -> str:
    return secrets.token_hex(16)
