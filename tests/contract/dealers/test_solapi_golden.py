"""The bytes that go to SOLAPI, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, Button, Outgoing, Text
from shared.dealers.solapi.adapter import Solapi
from tests.contract.dealers.fake_gateway import FakeGateway, message_id

GOLDEN = Path(__file__).parent / "golden" / "solapi"

ORDER = AlimTalk(
    sender_key="KA01PF210129012741140ADezVtwJN2n",
    template_code="KA01TP210129012741140ADezVtwJN2n",
    variables={"이름": "김봉수", "주문번호": "A-1001"},
    text="김봉수님, 주문 A-1001이 결제되었습니다.",
    buttons=(
        Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),
        Button("AL", "앱에서 보기", scheme_android="shop://o/A-1001", scheme_ios="shop://o/A-1001"),
        Button("DS", "배송 조회"),
    ),
    sender="0212345678",
)
FIXED = AlimTalk("KA01PF1", "KA01TP2", {}, "가입을 축하합니다.", sender="0212345678")
LONG = Text("0212345678", '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")
SHORT = Text("0212345678", "[봉수상점] 결제 완료")

BATCHES = {
    "alimtalk": [
        Outgoing(message_id(1), 1, "0192f0c1-a-1", Channel.ALIMTALK, "01012345678", ORDER),
        Outgoing(message_id(2), 1, "0192f0c1-a-2", Channel.ALIMTALK, "01012345678", FIXED),
    ],
    "sms": [Outgoing(message_id(3), 2, "0192f0c1-s-1", Channel.SMS, "0111234567", SHORT)],
    "lms": [Outgoing(message_id(4), 2, "0192f0c1-l-1", Channel.LMS, "01087654321", LONG)],
}


def seen(fake: FakeGateway) -> list[dict[str, Any]]:
    return [
        {
            "request": f"{request.method} {request.path}",
            "authorization": request.headers["authorization"],
            "content_type": request.headers["content-type"],
            "body": request.body.decode(),
        }
        for request in fake.requests
    ]


@pytest.mark.parametrize("name", BATCHES)
async def test_requests_are_as_ever(dealer: Solapi, fake: FakeGateway, name: str) -> None:
    handle = await dealer.open()
    assert isinstance(handle, str)
    await dealer.send(handle, BATCHES[name])
    assert seen(fake) == msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
