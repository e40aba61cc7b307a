"""``POST /v1/receipts/{dealer}``: what dealers report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher import telemetry
from shared.clock import Clock
from shared.crypto import Vault
from shared.db.away import is_away
from shared.dealers.base import BadReceipt, Dealer, Push
from shared.http.body import read_body
from shared.http.problems import Problem
from shared.sending.receipts import keep


@dataclass(frozen=True, slots=True)
class ReceiptApi:
    """The collaborators of the receipt endpoint."""

    engine: AsyncEngine
    dealers: dict[str, Dealer]
    vault: Vault
    clock: Clock
    body_limit: int
    arrived: asyncio.Event
    """set when receipts were stored"""

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1", tags=["receipts"])
        router.add_api_route(
            "/receipts/{dealer}",
            self.take,
            methods=["POST"],
            summary="Take a dealer's receipts",
            description="Each dealer's own shape and authentication. Answers 200 once the receipts are stored;"
            " they are applied soon after, in any order, and however often they come.",
            response_class=Response,
        )
        return router

    async def take(self, dealer: str, request: Request) -> Response:
        """Store the reports of one call, then answer."""
        adapter = self.dealers.get(dealer)
        if adapter is None or adapter.capabilities.push is Push.NONE:
            raise Problem(404, "unknown-dealer", "No such dealer", "No dealer of that name pushes receipts here.")
        try:
            body = await read_body(request, self.body_limit)
            reports = adapter.read_receipts(body, request.headers)
        except BadReceipt as error:
            telemetry.RECEIPT_CALLS.labels(dealer, error.status).inc()
            raise Problem(error.status, "bad-receipt", "Not a receipt", error.detail) from error
        try:
            async with self.engine.begin() as connection:
                await keep(connection, self.vault, dealer, "push", reports, now=self.clock.now())
        except Exception as error:
            if not is_away(error):
                raise
            telemetry.RECEIPT_CALLS.labels(dealer, 503).inc()
            raise Problem(
                503, "ledger-away", "Not stored", "The ledger is away. Send it again.", headers={"Retry-After": "5"}
            ) from error
        self.arrived.set()
        telemetry.RECEIPT_CALLS.labels(dealer, 200).inc()
        telemetry.RECEIPTS_KEPT.labels(dealer).inc(len(reports))
        return Response(adapter.answer_receipts(reports), media_type="application/json")
