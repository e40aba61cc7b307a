"""The requests that go to Hanbit, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.dealers.base import AlimTalk, Text
from tests.contract.dealers.hanbit.hanbit_world import FULL, LONG, ORDER, SHORT, dealer_at, outgoing, sandbox_with

GOLDEN = Path(__file__).parent.parent / "golden" / "hanbit"
MESSAGES: dict[str, AlimTalk | Text] = {"alimtalk": ORDER, "alimtalk-full": FULL, "sms": SHORT, "lms": LONG}


@pytest.mark.parametrize("name", MESSAGES)
async def test_requests_are_as_ever(name: str) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("hanbit")) as dealer:
        await dealer.send(None, [outgoing(MESSAGES[name], n=1)])
    [record] = sandbox.record
    seen = {
        "request": f"{record['method']} {record['target']}",
        "content_type": record["headers"]["content-type"],
        "body": msgspec.json.decode(record["body"]),
    }
    assert seen == msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
