"""The bytes that go to Bizgo, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.contracts.states import Channel
from tests.contract.dealers.bizgo.bizgo_world import (
    BRAND,
    FIXED,
    FULL,
    LONG,
    ORDER,
    PICTURES,
    SEND,
    SHORT,
    VARIABLES,
    bizgo_at,
    outgoing,
    taken,
)
from tests.contract.dealers.fake_gateway import FakeGateway

GOLDEN = Path(__file__).parent.parent / "golden" / "bizgo"

BATCHES = {
    "alimtalk": [outgoing(ORDER, n=1), outgoing(FIXED, n=2), outgoing(VARIABLES, n=3)],
    "alimtalk-full": [outgoing(FULL, n=4)],
    "sms": [outgoing(SHORT, Channel.SMS, n=5)],
    "lms": [outgoing(LONG, Channel.LMS, n=6)],
    "mms": [outgoing(PICTURES, Channel.MMS, n=7)],
    "brand": [outgoing(BRAND, Channel.FRIENDTALK, n=8)],
}


def seen(fake: FakeGateway) -> list[dict[str, Any]]:
    return [
        {
            "request": f"{request.method} {request.path}",
            "authorization": request.headers["authorization"],
            "content_type": request.headers["content-type"],
            "body": request.body.decode(),
        }
        for request in sorted(fake.requests, key=lambda request: request.body)  # they go out side by side
    ]


@pytest.mark.parametrize("name", BATCHES)
async def test_requests_are_as_ever(fake: FakeGateway, name: str) -> None:
    fake.on(SEND, taken)
    async with bizgo_at(f"http://127.0.0.1:{fake.port}") as dealer:
        await dealer.send(None, BATCHES[name])
    assert seen(fake) == msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
