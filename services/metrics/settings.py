"""All that metrics reads from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from shared.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Ages:
    """How long each kind of data is kept."""

    messages: timedelta
    """with their attempts, transitions, receipts, and the keys by which a repeated event is known"""
    events: timedelta
    """the documents as they came"""
    requests: timedelta
    """``Idempotency-Key``s"""
    figures: timedelta


class Settings(ServiceSettings):
    """``BONGSU_*`` variables; the process refuses to start on a bad one, and names it."""

    port: int = Field(default=8003, ge=0, le=65535, description="the port to listen on")
    metrics_batch: int = Field(default=1000, ge=1, le=5000, description="records read at once")
    metrics_linger_seconds: float = Field(default=0.25, ge=0, le=1, description="how long a small batch may grow")
    metrics_refresh_seconds: float = Field(default=5.0, gt=0, le=20, description="how often the gauges are read")
    metrics_window_days: int = Field(default=28, ge=1, le=400, description="what the gauges look back on")
    retention_days: int = Field(
        default=180, ge=14, le=4000, description="messages, with all that happened to them and their events' keys"
    )
    retention_events_days: int = Field(default=35, ge=1, le=4000, description="the documents of events as they came")
    retention_requests_days: int = Field(default=30, ge=1, le=4000, description="Idempotency-Keys and their answers")
    retention_figures_days: int = Field(
        default=1100, ge=14, le=10_000, description="statistics; not less than messages"
    )

    @model_validator(mode="after")
    def _figures_outlive_messages(self) -> Self:
        if self.retention_figures_days < self.retention_days:
            raise ValueError("BONGSU_RETENTION_FIGURES_DAYS is less than BONGSU_RETENTION_DAYS")
        return self

    def ages(self) -> Ages:
        """Return how long what is kept."""
        return Ages(
            messages=timedelta(days=self.retention_days),
            events=timedelta(days=self.retention_events_days),
            requests=timedelta(days=self.retention_requests_days),
            figures=timedelta(days=self.retention_figures_days),
        )
