"""All that the dispatcher reads from the environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shared.contracts.states import Lane
from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """``BONGSU_*`` variables; the process refuses to start on a bad one, and names it."""

    port: int = Field(default=8001, ge=0, le=65535, description="the port to listen on")
    dispatch_lanes: Annotated[frozenset[Lane], NoDecode] = Field(
        default=",".join(Lane), validate_default=True, description="the lanes that this process sends, by commas"
    )
    dispatch_batch: int = Field(default=500, ge=1, le=5000, description="jobs read at once from a lane")
    dispatch_linger_seconds: float = Field(default=0.05, ge=0, le=1, description="how long a small batch may grow")
    receipt_body_limit: int = Field(default=4 * 1024 * 1024, ge=1024, description="bytes of one receipt call")

    @field_validator("dispatch_lanes", mode="before")
    @classmethod
    def _by_commas(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value
