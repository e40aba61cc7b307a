"""What the endpoints that read and order answer with."""

from __future__ import annotations

import msgspec
from fastapi import Response

from services.ingest.refusals import unavailable
from shared.db.away import is_away


def as_json(body: object) -> Response:
    """Return ``body`` as JSON."""
    return Response(msgspec.json.encode(body), media_type="application/json")


def refusal_of(error: Exception) -> Exception:
    """Return what the caller is told of ``error``: to come again where the ledger is away, or the error itself."""
    return unavailable().as_problem() if is_away(error) else error
