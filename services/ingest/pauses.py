"""``/v1/pauses``: somebody's word that nothing of a profile, template, lane or dealer leaves until he says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.ingest import documented
from services.ingest.answering import as_json, refusal_of
from services.ingest.api import Authorization
from services.ingest.refusals import Kind, Refusal
from shared.config import Config
from shared.contracts.states import Lane
from shared.http.auth import ApiKeys
from shared.sending.stop_store import held, lift, load_stops, open_stop
from shared.sending.stops import Pausable, Scope, Stop, pause, pause_key

Name = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^/\x00-\x1f]+$")]

Why = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class Order(BaseModel):
    """The body of a pause."""

    model_config = ConfigDict(extra="forbid")

    why: Why = Field(description="shown with the pause")


@dataclass(frozen=True, slots=True)
class PauseApi:
    """The collaborators of the endpoints."""

    engine: AsyncEngine
    keys: ApiKeys
    config: Config

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1/pauses", default_response_class=Response)
        router.add_api_route("", self.list, methods=["GET"], **documented.LIST_PAUSES)
        router.add_api_route("/{what}/{name}", self.begin, methods=["PUT"], **documented.PAUSE)
        router.add_api_route("/{what}/{name}", self.end, methods=["DELETE"], status_code=204, **documented.RESUME)
        return router

    async def list(self, authorization: Authorization = None) -> Response:
        """Return what is paused."""
        await self.keys.check(authorization)
        try:
            async with self.engine.connect() as connection:
                stops, waiting = await load_stops(connection), await held(connection)
        except Exception as error:
            raise refusal_of(error) from error
        pauses = [stop for key, stop in sorted(stops.items()) if key.scope is Scope.PAUSE]
        return as_json({"pauses": [_told(stop, waiting) for stop in pauses]})

    async def begin(self, what: Pausable, name: Name, order: Order, authorization: Authorization = None) -> Response:
        """Pause something; one that is paused already stays so, with the words of the first."""
        key_id = await self.keys.check(authorization)
        if (refusal := self._unknown(what, name)) is not None:
            raise refusal.as_problem()
        try:
            async with self.engine.begin() as connection:
                by = await name_of(connection, key_id)
                await open_stop(connection, pause(what, name, ordered_by=by, why=order.why, now=datetime.now(UTC)))
                stop = (await load_stops(connection))[pause_key(what, name)]
                waiting = await held(connection)
        except Exception as error:
            raise refusal_of(error) from error
        return as_json(_told(stop, waiting))

    async def end(self, what: Pausable, name: Name, authorization: Authorization = None) -> Response:
        """Resume something."""
        await self.keys.check(authorization)
        try:
            async with self.engine.begin() as connection:
                was_paused = await lift(connection, pause_key(what, name))
        except Exception as error:
            raise refusal_of(error) from error
        if not was_paused:
            raise Refusal(Kind.NOT_PAUSED, f"The {what} is not paused. GET /v1/pauses shows what is.").as_problem()
        structlog.get_logger().warning("pause.ended", what=what, name=name)
        return Response(status_code=204)

    def _unknown(self, what: Pausable, name: str) -> Refusal | None:
        known = {
            Pausable.PROFILE: self.config.profiles.keys(),
            Pausable.DEALER: self.config.dealers.keys(),
            Pausable.LANE: set(Lane),
        }.get(what)
        if known is None or name in known:
            return None
        return Refusal(Kind.NOTHING_TO_PAUSE, f"There is no such {what}. Use one of: {', '.join(sorted(known))}.")


async def name_of(connection: AsyncConnection, key: UUID) -> str:
    """Return the name of an API key: who gave an order."""
    return str(await connection.scalar(text("SELECT name FROM api_keys WHERE id = :id"), {"id": key}))


def _told(stop: Stop, waiting: dict[str, int]) -> dict[str, Any]:
    return {
        "what": stop.key.dealer,
        "name": stop.key.name,
        "why": stop.why,
        "by": stop.ordered_by,
        "since": stop.since,
        "held": waiting.get(str(stop.key), 0),
    }
