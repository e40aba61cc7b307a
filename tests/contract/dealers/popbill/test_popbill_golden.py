"""The bytes that go to Popbill, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.dealers.base import Accepted
from tests.contract.dealers.fake_gateway import NOW, FakeGateway, Reply
from tests.contract.dealers.popbill.popbill_world import CONTENTS, dealer_at, outgoing

GOLDEN = Path(__file__).parents[1] / "golden" / "popbill"
HEADERS = ("authorization", "content-type", "x-lh-date", "x-lh-version", "x-pb-version", "x-pb-userid")


def seen(fake: FakeGateway) -> list[dict[str, object]]:
    return [
        {
            "request": f"{request.method} {request.path}",
            "headers": {name: request.headers[name] for name in HEADERS if name in request.headers},
            "body": request.body.decode(errors="backslashreplace"),
        }
        for request in fake.requests
    ]


@pytest.mark.parametrize("name", CONTENTS)
async def test_requests_are_as_ever(fake: FakeGateway, name: str) -> None:
    channel, content = CONTENTS[name]
    token = {"session_token": "TOKEN", "expiration": "2026-11-23T00:30:00.000Z"}
    fake.on("POST /POPBILL/Token", Reply(json=token))
    for path in ("ATS", "FTS", "FMS", "SMS", "LMS", "MMS"):
        fake.on(f"POST /{path}", Reply(json={"receiptNum": "026112300000000001"}))
    async with dealer_at(f"http://127.0.0.1:{fake.port}", now=NOW, changed={"user_id": "bongsu"}) as dealer:
        assert await dealer.send(None, [outgoing(content, channel, 1)]) == [Accepted("026112300000000001")]
    assert seen(fake) == msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
