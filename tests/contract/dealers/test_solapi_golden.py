"""The bytes that go to SOLAPI, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.contracts.states import Channel
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    Checked,
    ImageUse,
    Item,
    Outgoing,
    QuickReply,
    Text,
)
from shared.dealers.solapi.adapter import Solapi
from tests.contract.dealers.fake_gateway import FakeGateway, Reply, message_id

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
FULL = AlimTalk(
    sender_key="KA01PF210129012741140ADezVtwJN2n",
    template_code="KA01TP260307012741140ADezVtwJN2n",
    variables={"이름": "김봉수", "주문번호": "A-1001", "금액": "12,000원"},
    text="김봉수님, 결제되었습니다.",
    buttons=(
        Button("AC", "채널 추가"),
        Button("BC", "상담하기", chat_extra="A-1001"),
        Button("BT", "봇에게 묻기", chat_extra="A-1001"),
        Button("BK", "키워드"),
        Button("MD", "전달"),
    ),
    sender="0212345678",
    title="결제 완료",
    header="주문 내역",
    highlight=Item("12,000원", "결제 금액"),
    items=(Item("주문번호", "A-1001"), Item("상품", "봉수대")),
    summary=Item("합계", "12,000원"),
    quick_replies=(
        QuickReply("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),
        QuickReply("AL", "앱에서", scheme_android="shop://o/A-1001", scheme_ios="shop://o/A-1001"),
        QuickReply("BC", "상담", chat_extra="A-1001"),
        QuickReply("BK", "배송"),
    ),
    has_image=True,
)
BRAND = BrandMessage(
    sender_key="KA01PF210129012741140ADezVtwJN2n",
    text="봄 신상품이 왔어요 🌸\n지금 만나 보세요.",
    buttons=(
        Button("WL", "보러 가기", "https://shop.example/spring", "https://shop.example/pc/spring"),
        Button("AL", "앱에서", "https://shop.example/app", scheme_android="shop://s", scheme_ios="shop://s"),
        Button("AC", "채널 추가"),
        Button("BK", "문의", chat_extra="spring"),
    ),
    sender="0212345678",
)
BRAND_IMAGE = BrandMessage(
    "KA01PF210129012741140ADezVtwJN2n",
    "봄 신상품",
    image="ST01FZ260318012740594oism3eYSGkp",
    image_link="https://shop.example/spring",
    sender="0212345678",
)
PICTURE = Text("0212345678", "약도입니다.", subject="오시는 길", images=("ST01FZ260318012740594oism3eYSGkp",))
SHORT = Text("0212345678", "[봉수상점] 결제 완료")

BATCHES = {
    "alimtalk": [
        Outgoing(message_id(1), 1, "0192f0c1-a-1", Channel.ALIMTALK, "01012345678", ORDER),
        Outgoing(message_id(2), 1, "0192f0c1-a-2", Channel.ALIMTALK, "01012345678", FIXED),
    ],
    "sms": [Outgoing(message_id(3), 2, "0192f0c1-s-1", Channel.SMS, "0111234567", SHORT)],
    "alimtalk-full": [Outgoing(message_id(5), 1, "0192f0c1-a-3", Channel.ALIMTALK, "01012345678", FULL)],
    "brand": [
        Outgoing(message_id(6), 1, "0192f0c1-f-1", Channel.FRIENDTALK, "01012345678", BRAND),
        Outgoing(message_id(7), 1, "0192f0c1-f-2", Channel.FRIENDTALK, "01087654321", BRAND_IMAGE),
    ],
    "mms": [Outgoing(message_id(8), 2, "0192f0c1-m-1", Channel.MMS, "01087654321", PICTURE)],
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


async def test_calls_around_sending_are_as_ever(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on("POST /storage/v1/files", Reply(json={"fileId": "ST01FZ260318012740594oism3eYSGkp"}))
    fake.on("GET /kakao/v2/channels/KA01PF1", Reply(json={"channelId": "KA01PF1"}))
    fake.on("GET /senderid/v1/numbers/active", Reply(json=["0212345678"]))
    image = b"\xff\xd8\xff\xd9"
    assert await dealer.upload(ImageUse.MMS, "map.jpg", image) == "ST01FZ260318012740594oism3eYSGkp"
    assert await dealer.upload(ImageUse.BRAND, "", image) == "ST01FZ260318012740594oism3eYSGkp"
    checked = await dealer.check(["KA01PF1"], ["02-1234-5678", "0299999999"])
    assert checked == [
        Checked("KA01PF1", ok=True),
        Checked("02-1234-5678", ok=True),
        Checked("0299999999", ok=False, detail="not registered with SOLAPI, or not active"),
    ]
    assert seen(fake) == msgspec.json.decode((GOLDEN / "around.json").read_bytes())
