"""The balance, and that it never raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.dealers.fake_gateway import CUT, FakeGateway, Reply

if TYPE_CHECKING:
    from shared.dealers.solapi.adapter import Solapi


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(Reply(json={"balance": 1200.5, "point": 300}), 1500, id="cash-and-points"),
        pytest.param(Reply(json={"balance": 7}), 7, id="cash"),
        pytest.param(Reply(json={"balance": None}), None, id="unsaid"),
        pytest.param(Reply(500, {}), None, id="500"),
        pytest.param(CUT, None, id="cut"),
    ],
)
async def test_balance(dealer: Solapi, fake: FakeGateway, reply: Reply, expected: int | None) -> None:
    fake.on("GET /cash/v1/balance", reply)
    assert await dealer.balance_krw() == expected
