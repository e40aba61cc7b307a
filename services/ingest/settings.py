"""All that ingest reads from the environment."""

from __future__ import annotations

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """``BONGSU_*`` variables; the process refuses to start on a bad one, and names it."""

    port: int = Field(default=8000, ge=0, le=65535, description="the port to listen on")
    ingest_group: int = Field(default=500, ge=1, le=5000, description="events that share a transaction, at most")
    ingest_flights: int = Field(default=2, ge=1, le=16, description="transactions under way at once")
    ingest_body_limit: int = Field(default=1024 * 1024, ge=1024, description="bytes of one request")
