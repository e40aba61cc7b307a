"""``GET /v1/stats/…``: figures out of the tables of counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.metrics import queries, reports
from services.metrics.domain import hour_of
from services.metrics.queries import Asked
from shared.clock import SEOUL
from shared.contracts.states import Channel, Lane
from shared.db.away import is_away
from shared.http.auth import ApiKeys
from shared.http.problems import Problem

T = TypeVar("T")


def read_hour(value: object) -> object:
    """Read a whole hour: a date (midnight in Asia/Seoul) or a time with its offset."""
    if not isinstance(value, str):
        return value
    try:
        try:
            moment = datetime.combine(date.fromisoformat(value), time(), SEOUL)
        except ValueError:
            moment = datetime.fromisoformat(value.replace(" ", "+"))  # a plus sign that was not escaped
    except ValueError:
        raise ValueError("want a date (2026-11-23) or a time with its offset (2026-11-23T09:00:00+09:00)") from None
    if moment.tzinfo is None:
        raise ValueError("has no offset: write 2026-11-23T09:00:00+09:00, or a date alone for midnight in Seoul")
    if moment != hour_of(moment):
        raise ValueError("is not a whole hour: counts are kept by the hour")
    return moment


Hour = Annotated[datetime | None, BeforeValidator(read_hour)]
Name = Annotated[str | None, Field(min_length=1, max_length=100)]


class _Period(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Hour = Field(default=None, alias="from", description="first hour; a date is midnight in Asia/Seoul")
    until: Hour = Field(default=None, alias="to", description="end, itself left out")
    profile: Name = None
    template: Name = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> _Period:
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise ValueError("'to' must be later than 'from'")
        return self


class AttemptQuery(_Period):
    """Which attempts, by the hour in which they were made."""

    channel: Channel | None = None
    dealer: Name = None


class MessageQuery(_Period):
    """Which messages, by the hour in which they were born."""

    rule: Name = None
    lane: Lane | None = None


@dataclass(frozen=True, slots=True)
class StatsApi:
    """The collaborators of the endpoints."""

    engine: AsyncEngine
    sms_prices: dict[str, int]
    keys: ApiKeys

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1/stats", tags=["stats"], dependencies=[Depends(self._admit)])
        for path, endpoint, summary in (
            ("/slots", self.slots, "What became of attempts, by the 168 hours of the week in Asia/Seoul"),
            ("/funnel", self.funnel, "Where messages are on their way, and over which channel they arrived"),
            ("/reasons", self.reasons, "Why attempts failed"),
            ("/costs", self.costs, "What attempts cost, by channel and against sending all by SMS"),
        ):
            router.add_api_route(path, endpoint, methods=["GET"], summary=summary, response_class=Response)
        return router

    async def slots(self, asked: Annotated[AttemptQuery, Query()]) -> Response:
        """Answer with 168 slots."""
        return self._answer(asked, reports.slots_report(await self._read(queries.slots, asked)))

    async def funnel(self, asked: Annotated[MessageQuery, Query()]) -> Response:
        """Answer with the funnel."""
        return self._answer(asked, reports.funnel_report(await self._read(queries.messages, asked)))

    async def reasons(self, asked: Annotated[AttemptQuery, Query()]) -> Response:
        """Answer with failures by reason, channel and dealer."""
        return self._answer(asked, reports.reasons_report(await self._read(queries.attempts, asked)))

    async def costs(self, asked: Annotated[AttemptQuery, Query()]) -> Response:
        """Answer with costs."""
        return self._answer(asked, reports.costs_report(await self._read(queries.attempts, asked), self.sms_prices))

    async def _admit(self, request: Request) -> None:
        await self.keys.check(request.headers.get("authorization"))

    async def _read(self, query: Callable[[AsyncConnection, Asked], Awaitable[T]], asked: _Period) -> T:
        try:
            async with self.engine.connect() as connection:
                return await query(connection, Asked(**asked.model_dump()))
        except Exception as error:
            if not is_away(error):
                raise
            raise Problem(
                503, "ledger-away", "Not read", "The database is away. Ask again.", headers={"Retry-After": "5"}
            ) from error

    @staticmethod
    def _answer(asked: _Period, report: dict[str, Any]) -> Response:
        filters = {name: value for name, value in asked.model_dump(by_alias=True).items() if value is not None}
        return Response(msgspec.json.encode({"asked": filters, **report}), media_type="application/json")
