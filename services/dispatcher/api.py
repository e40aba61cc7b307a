"""``POST /v1/receipts/{dealer}``: what dealers report, where it is wanted behind a secret path and an address list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from fastapi import APIRouter, Request, Response

from services.dispatcher import telemetry
from services.dispatcher.domain import caller_of, has_the_token, is_listed
from shared.config import Config
from shared.db.away import is_away
from shared.dealers.base import BadReceipt, Dealer, Push
from shared.groups import Groups, Overloaded
from shared.http.body import read_body
from shared.http.problems import Problem
from shared.sending.receipts import Arrived


@dataclass(frozen=True, slots=True)
class ReceiptApi:
    """The collaborators of the receipt endpoint."""

    dealers: dict[str, Dealer]
    config: Config
    groups: Groups[Arrived, bool]
    """calls that come at once share a transaction"""
    body_limit: int

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1", tags=["receipts"])
        for path, beside in (
            ("/receipts/{dealer}", ""),
            ("/receipts/{dealer}/{token}", " For a dealer whose path ends with a secret."),
        ):
            router.add_api_route(
                path,
                self.take,
                methods=["POST"],
                summary="Take a dealer's receipts",
                description="Each dealer's own shape and authentication. Answers 200 once the receipts are stored."
                f" They are applied in any order, and however often they come.{beside}",
                response_class=Response,
            )
        return router

    async def take(self, dealer: str, request: Request, token: str | None = None) -> Response:
        """Store the reports of one call, then answer."""
        adapter = self._let_in(dealer, token, request)
        try:
            body = await read_body(request, self.body_limit)
            reports = adapter.read_receipts(body, request.headers)
        except BadReceipt as error:
            telemetry.RECEIPT_CALLS.labels(dealer, error.status).inc()
            raise Problem(error.status, "bad-receipt", "Not a receipt", error.detail) from error
        try:
            await self.groups.submit_together([Arrived(dealer, "push", report) for report in reports])
        except Exception as error:
            if not (is_away(error) or isinstance(error, Overloaded)):
                raise
            telemetry.RECEIPT_CALLS.labels(dealer, 503).inc()
            raise Problem(
                503, "ledger-away", "Not stored", "The ledger is away. Send it again.", headers={"Retry-After": "5"}
            ) from error
        telemetry.RECEIPT_CALLS.labels(dealer, 200).inc()
        telemetry.RECEIPTS_KEPT.labels(dealer).inc(len(reports))
        return Response(adapter.answer_receipts(reports), media_type="application/json")

    def _let_in(self, dealer: str, token: str | None, request: Request) -> Dealer:
        """Return the adapter for a call that may come in. Whoever lacks the token learns nothing, not even a name."""
        adapter = self.dealers.get(dealer)
        door = self.config.dealers[dealer].receipts if adapter is not None else None
        if adapter is None or door is None or adapter.capabilities.push is Push.NONE or not has_the_token(door, token):
            telemetry.RECEIPT_CALLS.labels(dealer if adapter is not None else "", 404).inc()
            raise Problem(404, "unknown-dealer", "No such dealer", "No dealer pushes receipts to this path.")
        if door.addresses:
            peer = request.client.host if request.client else None
            caller = caller_of(peer, request.headers.getlist("x-forwarded-for"), self.config.trusted_proxies)
            if not is_listed(caller, door.addresses):
                telemetry.RECEIPT_CALLS.labels(dealer, 403).inc()
                raise Problem(
                    403,
                    "address-not-listed",
                    "Not from here",
                    f"The call came from {caller or 'an address that cannot be read'}, which is not listed.",
                )
        return adapter


def warn_of_open_doors(dealers: Mapping[str, Dealer], config: Config) -> None:
    """Say, in the log and as a metric, whose receipts anybody could forge."""
    for name, dealer in dealers.items():
        door = config.dealers[name].receipts
        is_open = dealer.capabilities.push is Push.OPEN and door.token is None
        telemetry.OPEN_DOORS.labels(name).set(is_open)
        if is_open:
            structlog.get_logger().error(
                "receipts.door_open",
                dealer=name,
                addresses=len(door.addresses),
                why="this dealer proves nothing with its calls, so anybody who knows the path can report what he likes",
                do=f"set dealers.{name}.receipts.token",
            )
