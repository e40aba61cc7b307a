"""``/v1/cancellations``: cancels all messages that a filter means, and shows how far that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.ingest import documented
from services.ingest.answering import as_json, refusal_of
from services.ingest.api import Authorization
from services.ingest.handlers import KEY_REUSED, claim_of
from services.ingest.pauses import Why, name_of
from services.ingest.posting import read_idempotency_key
from services.ingest.refusals import Kind, Refusal
from services.ingest.repository import Claim, KeyReused, Replayed, answer_batch, claim_batch
from shared.clock import Clock
from shared.contracts.states import Lane
from shared.http.auth import ApiKeys
from shared.ids import Births
from shared.sending.cancellations import Cancellation, Filter, newest, order, read

_SHOWN = 100

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", include_in_schema=False)]


class CancelOrder(BaseModel):
    """The body of a cancellation: a message is meant if all that is named is true of it."""

    model_config = ConfigDict(extra="forbid")

    campaign: Name | None = Field(default=None, description="the attribute `campaign` of its event")
    rule: Name | None = None
    template: Name | None = None
    profile: Name | None = None
    lane: Lane | None = None
    events: list[UUID] | None = Field(
        default=None, min_length=1, max_length=1000, description="`event_id`s, as their answers named them"
    )
    why: Why = Field(description="shown with the cancellation")

    @model_validator(mode="after")
    def _something_is_named(self) -> CancelOrder:
        if self.which() == Filter():
            raise ValueError("name at least one of campaign, rule, template, profile, lane and events")
        return self

    def which(self) -> Filter:
        """Return what it means."""
        events = None if self.events is None else tuple(self.events)
        return Filter(self.campaign, self.rule, self.template, self.profile, self.lane, events)


@dataclass(frozen=True, slots=True)
class CancelApi:
    """The collaborators of the endpoints."""

    engine: AsyncEngine
    keys: ApiKeys
    clock: Clock
    births: Births
    """those of the messages: what has a smaller id was made before"""

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1/cancellations", default_response_class=Response)
        router.add_api_route("", self.list, methods=["GET"], **documented.LIST_CANCELLATIONS)
        router.add_api_route("", self.cancel, methods=["POST"], status_code=202, **documented.CANCEL_MANY)
        router.add_api_route("/{cancellation}", self.get, methods=["GET"], **documented.GET_CANCELLATION)
        return router

    async def cancel(
        self, wanted: CancelOrder, authorization: Authorization = None, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Cancel all that ``wanted`` means of what was made until now."""
        key_id = await self.keys.check(authorization)
        written = None if idempotency_key is None else idempotency_key.encode("latin-1", "replace")
        key = read_idempotency_key(written)
        body = b"/v1/cancellations\n" + wanted.model_dump_json().encode()
        claim = None if key is None else claim_of(key_id.bytes, key, body)
        try:
            async with self.engine.begin() as connection:
                by = await name_of(connection, key_id)
                answer = await self._order(connection, wanted, by, claim)
        except Exception as error:
            raise refusal_of(error) from error
        if answer is None:
            raise KEY_REUSED.as_problem()
        return Response(answer, status_code=202, media_type="application/json")

    async def list(self, authorization: Authorization = None) -> Response:
        """Return the latest cancellations."""
        await self.keys.check(authorization)
        try:
            async with self.engine.connect() as connection:
                found = await newest(connection, limit=_SHOWN)
        except Exception as error:
            raise refusal_of(error) from error
        return as_json({"cancellations": [_told(each) for each in found]})

    async def get(self, cancellation: UUID, authorization: Authorization = None) -> Response:
        """Return how far a cancellation is."""
        await self.keys.check(authorization)
        try:
            async with self.engine.connect() as connection:
                found = await read(connection, cancellation)
        except Exception as error:
            raise refusal_of(error) from error
        if found is None:
            raise Refusal(
                Kind.CANCELLATION_NOT_FOUND, "There is no cancellation of this id. GET /v1/cancellations shows all."
            ).as_problem()
        return as_json(_told(found))

    async def _order(
        self, connection: AsyncConnection, wanted: CancelOrder, by: str, claim: Claim | None
    ) -> bytes | None:
        """Write the cancellation down; return its answer, now or of an earlier time, or None for a key used else."""
        driver: Any = (await connection.get_raw_connection()).driver_connection
        now = self.clock.now()
        if claim is not None:
            match await claim_batch(driver, claim, now=now):
                case Replayed(response):
                    return response
                case KeyReused():
                    return None
        [cancellation] = self.births.new(now, 1)
        await order(connection, cancellation, wanted.which(), by=by, why=wanted.why, now=now)
        answer = msgspec.json.encode(_as_ordered(cancellation, wanted, by, now))
        if claim is not None:
            await answer_batch(driver, claim, answer)
        structlog.get_logger().warning("cancellation.ordered", cancellation=str(cancellation))
        return answer


def _as_ordered(cancellation: UUID, wanted: CancelOrder, by: str, now: datetime) -> dict[str, Any]:
    return _told(Cancellation(cancellation, wanted.which(), wanted.why, by, now, 0, 0, is_through=False))


def _told(found: Cancellation) -> dict[str, Any]:
    return {
        "id": found.id,
        "filter": {name: value for name, value in asdict(found.filter).items() if value is not None},
        "why": found.why,
        "by": found.by,
        "at": found.at,
        "cancelled": found.cancelled,
        "left": found.left,
        "through": found.is_through,
    }
