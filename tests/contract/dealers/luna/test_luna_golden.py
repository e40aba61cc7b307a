"""The requests that go to Luna, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.dealers.base import AlimTalk, BrandMessage
from tests.contract.dealers.luna.luna_world import BRAND, BUTTONS, FULL, ORDER, dealer_at, outgoing, sandbox_with

GOLDEN = Path(__file__).parent.parent / "golden" / "luna"

MESSAGES: dict[str, AlimTalk | BrandMessage] = {
    "alimtalk": ORDER,
    "alimtalk-full": FULL,
    "alimtalk-buttons": BUTTONS,
    "brand": BRAND,
}


def seen(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "request": f"{record['method']} {record['target']}",
        "content_type": record["headers"]["content-type"],
        "body": record["body"],
    }


@pytest.mark.parametrize("name", MESSAGES)
async def test_requests_are_as_ever(name: str) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        await dealer.send(None, [outgoing(MESSAGES[name], n=1)])
        [record] = sandbox.record
    assert seen(record) == msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
