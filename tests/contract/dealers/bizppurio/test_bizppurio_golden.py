"""The bytes that go to Bizppurio, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    Content,
    ImageUse,
    Item,
    Links,
    OpenAttempt,
    Outgoing,
    QuickReply,
    Text,
)
from shared.dealers.bizppurio.adapter import Bizppurio
from tests.contract.dealers.bizppurio.conftest import NOW
from tests.contract.dealers.fake_gateway import FakeGateway, Reply, message_id

GOLDEN = Path(__file__).parent.parent / "golden" / "bizppurio"

ORDER = AlimTalk(
    sender_key="2662e99eb7a1f21abb3955278e9955f5a9a99b62",
    template_code="bizp_2026112309000012345678901",
    variables={"이름": "김봉수", "주문번호": "A-1001"},
    text="김봉수님, 주문 A-1001이 결제되었습니다.",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),),
    sender="0212345678",
)
FULL = AlimTalk(
    sender_key="2662e99eb7a1f21abb3955278e9955f5a9a99b62",
    template_code="bizp_2026112309000012345678902",
    variables={"이름": "김봉수"},
    text="김봉수님의 예약 안내",
    sender="0212345678",
    title="11월 30일",
    header="예약 안내",
    highlight=Item("봉수상점", "예약 확정"),
    items=(Item("날짜", "11월 30일"), Item("인원", "2명")),
    summary=Item("합계", "50,000원"),
    link=Links("https://shop.example/m", "https://shop.example/pc", "shop://r", "shop://r"),
    buttons=(
        Button("AL", "앱에서 보기", "https://shop.example/m", None, "shop://r", "shop://r"),
        Button("BT", "챗봇 문의", chat_extra="reservation", chat_event="ask"),
    ),
    quick_replies=(
        QuickReply("BK", "변경"),
        QuickReply("BC", "상담", chat_extra="reservation"),
        QuickReply("WL", "지도", "https://shop.example/map"),
    ),
    has_image=True,
)
FRIEND = BrandMessage(
    sender_key="2662e99eb7a1f21abb3955278e9955f5a9a99b62",
    text="겨울 세일이 시작됩니다.",
    buttons=(Button("WL", "보러 가기", "https://shop.example/sale"),),
    image="https://mud-kage.kakao.com/dn/sale.jpg",
    image_link="https://shop.example/sale",
    sender="0212345678",
)
SHORT = Text("0212345678", "[봉수상점] 결제 완료")
LONG = Text("0212345678", '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")
PICTURE = Text("0212345678", "약도를 보냅니다.", subject="오시는 길", images=("1585011852_DD7482861185100000001.jpg",))

MESSAGES: dict[str, tuple[Channel, Content]] = {
    "alimtalk": (Channel.ALIMTALK, ORDER),
    "alimtalk_full": (Channel.ALIMTALK, FULL),
    "friendtalk": (Channel.FRIENDTALK, FRIEND),
    "sms": (Channel.SMS, SHORT),
    "lms": (Channel.LMS, LONG),
    "mms": (Channel.MMS, PICTURE),
}


def seen(fake: FakeGateway) -> list[dict[str, Any]]:
    return [
        {
            "request": f"{request.method} {request.path}",
            "authorization": request.headers["authorization"],
            "content_type": request.headers["content-type"].partition("boundary")[0],
            "body": request.body.decode("utf-8", "replace") if b"form-data" not in request.body else None,
        }
        for request in fake.requests
    ]


def golden(name: str) -> object:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", MESSAGES)
async def test_messages_are_as_ever(talking: Bizppurio, fake: FakeGateway, name: str) -> None:
    channel, content = MESSAGES[name]
    fake.on("POST /v3/message", Reply(json={"code": 1000, "messagekey": "m"}))
    key = request_key(message_id(1), channel, 1)
    await talking.send(None, [Outgoing(message_id(1), 1, key, channel, "01012345678", content)])
    assert seen(fake) == golden(name)


async def test_asking_for_a_report_again_is_as_ever(talking: Bizppurio, fake: FakeGateway) -> None:
    fake.on("POST /v2/report", Reply(json={"code": 1000, "description": "Success"}))
    key = request_key(message_id(1), Channel.SMS, 1)
    asked = OpenAttempt(
        message_id(1), 1, key, Channel.SMS, "01012345678", None, "190922175225820#ft002951servj8FU67", NOW
    )
    await talking.lookup([asked])
    assert seen(fake) == golden("report")


async def test_an_upload_is_as_ever(talking: Bizppurio, fake: FakeGateway) -> None:
    fake.on("POST /v1/file", Reply(json={"filekey": " 0920msg_123912934949595969"}))
    uploaded = await talking.upload(ImageUse.MMS, "map.jpg", b"\xff\xd8\xff\xe0picture")
    assert uploaded == "0920msg_123912934949595969"
    assert seen(fake) == golden("file")
    body = fake.requests[-1].body
    assert b'Content-Disposition: form-data; name="account"\r\n\r\nbongsu_api\r\n' in body
    assert b'Content-Type: image/jpeg\r\nContent-Disposition: form-data; name="file"; filename="map.jpg"\r\n' in body
    assert b"\r\n\r\n\xff\xd8\xff\xe0picture\r\n" in body
