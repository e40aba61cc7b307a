"""All that the fallback reads from the environment."""

from __future__ import annotations

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """``BONGSU_*`` variables; the process refuses to start on a bad one, and names it."""

    port: int = Field(default=8002, ge=0, le=65535, description="the port to listen on")
    fallback_batch: int = Field(default=500, ge=1, le=5000, description="records read at once")
    fallback_linger_seconds: float = Field(default=0.05, ge=0, le=1, description="how long a small batch may grow")
