"""What every service reads from the environment; each service's own ``settings.py`` adds to it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.clock import Clock, clock_from
from shared.config import Config, load_config
from shared.crypto import Vault


class ServiceSettings(BaseSettings):
    """``BONGSU_*`` variables; the process refuses to start on a bad one, and names it."""

    model_config = SettingsConfigDict(env_prefix="BONGSU_", frozen=True, extra="ignore")

    database_url: str = Field(description="postgresql://…; a socket directory may stand in ?host=")
    kafka_bootstrap_servers: str = Field(default="", description="empty: the embedded bus")
    bus_session_seconds: float = Field(
        default=6.0, ge=1, le=60, description="how long a reader that died is waited for"
    )
    config: Path = Field(description="the YAML file of dealers, profiles, routes, limits and prices")
    encryption_keys: SecretStr = Field(description="NAME:BASE64,…; see `bongsu keys encryption`")
    clock: str = Field(default="", description="empty: the system's; ORIGIN@STARTED*SPEED for a demo")
    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(ge=0, le=65535, description="the port to listen on")
    database_pool: int = Field(default=8, ge=2, le=100, description="connections to Postgres")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @field_validator("clock")
    @classmethod
    def _is_a_clock(cls, value: str) -> str:
        clock_from(value)
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        Vault.from_text(value.get_secret_value())
        return value

    def load_config(self) -> Config:
        """Read ``BONGSU_CONFIG``. Raises ``BadConfig``."""
        return load_config(self.config)

    def make_clock(self) -> Clock:
        """Return the clock of all rules."""
        return clock_from(self.clock)

    def make_vault(self) -> Vault:
        """Return what seals and opens personal data."""
        return Vault.from_text(self.encryption_keys.get_secret_value())
