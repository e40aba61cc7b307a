"""The requests that go to Gabia, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.dealers.base import Text
from tests.contract.dealers.gabia.gabia_world import LONG, SHORT, dealer_at, outgoing, sandbox_with

GOLDEN = Path(__file__).parent.parent / "golden" / "gabia"
MESSAGES = {"sms": SHORT, "lms": LONG}


@pytest.mark.parametrize("name", MESSAGES)
async def test_requests_are_as_ever(name: str) -> None:
    message: Text = MESSAGES[name]
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        await dealer.send(None, [outgoing(message, n=1)])
    seen = [
        {
            "request": f"{record['method']} {record['target']}",
            "content_type": record["headers"]["content-type"],
            "body": record["body"],
        }
        for record in sandbox.record
    ]
    assert seen == msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
