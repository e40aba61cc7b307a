"""All that ingest reads from the environment."""

from __future__ import annotations

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """``BONGSU_*`` variables; the process refuses to start on a bad one, and names it."""

    port: int = Field(default=8000, ge=0, le=65535, description="the port to listen on")
    ingest_group: int = Field(default=500, ge=1, le=5000, description="events that share a transaction, at most")
    ingest_flights: int = Field(default=2, ge=1, le=16, description="transactions under way at once")
    ingest_waiting: int = Field(default=20_000, ge=1, description="events that may wait to be written, about")
    ingest_body_limit: int = Field(default=1024 * 1024, ge=1024, description="bytes of one request, or of a line")
    ingest_bodies: int = Field(default=1000, ge=1, description="requests with a body that are handled at once")
    ingest_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, description="bytes of all of them together")
    ingest_body_seconds: float = Field(
        default=10.0, gt=0, description="how long a client may keep its body waiting, besides a second a kB"
    )
    ingest_lag_seconds: float = Field(
        default=3600.0, ge=0, description="behind what is accepted, that nothing more is; 0: however far"
    )
