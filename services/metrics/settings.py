"""All that metrics reads from the environment."""

from __future__ import annotations

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """``BONGSU_*`` variables; the process refuses to start on a bad one, and names it."""

    port: int = Field(default=8003, ge=0, le=65535, description="the port to listen on")
    metrics_batch: int = Field(default=1000, ge=1, le=5000, description="records read at once")
    metrics_linger_seconds: float = Field(default=0.05, ge=0, le=1, description="how long a small batch may grow")
    metrics_refresh_seconds: float = Field(default=5.0, gt=0, le=20, description="how often the gauges are read")
    metrics_window_days: int = Field(default=28, ge=1, le=400, description="what the gauges look back on")
