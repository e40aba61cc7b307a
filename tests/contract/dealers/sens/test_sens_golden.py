"""The requests that go to SENS, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from bongsu.sandbox import Profile
from bongsu.sandbox.sens.dialect import credentials
from bongsu.sandbox.server import Sandbox, SandboxSettings
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    BrandMessage,
    Button,
    Content,
    ImageUse,
    Item,
    Outgoing,
    Text,
    Uploaded,
)
from shared.dealers.sens.adapter import build
from shared.ids import MessageId

GOLDEN = Path(__file__).parents[1] / "golden" / "sens"
JPEG = b"\xff\xd8\xff\xe0bongsu"

ORDER = AlimTalk(
    "@봉수상점",
    "ORDER1",
    {"이름": "김봉수", "주문번호": "A-1001"},
    "김봉수님, 주문 A-1001이 결제되었습니다.",
    (Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),),
    sender="0212345678",
)
FULL = AlimTalk(
    "@봉수상점",
    "ORDER2",
    {},
    "결제되었습니다.\n감사합니다.",
    (
        Button("AL", "앱에서 보기", "https://m.example", scheme_android="shop://1", scheme_ios="shop://2"),
        Button("DS", "배송 조회"),
        Button("BK", "문의"),
        Button("MD", "전달"),
        Button("AC", "채널 추가"),
    ),
    title="12,000원",
    header="결제 안내",
    highlight=Item("봉수상점", "사과 한 상자"),
    items=(Item("물건", "사과"), Item("수량", "1")),
    summary=Item("합계", "12,000원"),
    has_image=True,
)
AD = BrandMessage("@봉수상점", "새 물건이 왔습니다.", (Button("WL", "보기", "https://shop.example"),))
SHORT = Text("02-1234-5678", "[봉수상점] 결제 완료")
LONG = Text("0212345678", '주문이 결제되었습니다.\n감사합니다 "봉수"상점', "결제 안내")
PICTURE = Text("0212345678", "(광고) 봉수상점 사과", "사과", ("IMAGE",))

BATCHES: dict[str, list[tuple[Channel, str, Content]]] = {
    "alimtalk": [(Channel.ALIMTALK, "01012345678", ORDER), (Channel.ALIMTALK, "0111234567", ORDER)],
    "alimtalk-full": [(Channel.ALIMTALK, "01012345678", FULL)],
    "brand": [(Channel.FRIENDTALK, "01012345678", AD)],
    "sms": [(Channel.SMS, "01012345678", SHORT)],
    "lms": [(Channel.LMS, "01012345678", LONG)],
    "mms": [(Channel.MMS, "01012345678", PICTURE)],
}


@pytest.mark.parametrize("name", BATCHES)
async def test_requests_are_as_ever(name: str) -> None:
    sandbox = Sandbox(SandboxSettings(profile=Profile(accept_any_template=True), record=True))
    await sandbox.start()
    account = Account("sens", sandbox.url_of("sens"), {}, credentials(), 5.0, 100, lambda: datetime.now(UTC))
    dealer = build(account)
    try:
        batch = []
        for n, (channel, to, content) in enumerate(BATCHES[name]):
            if content is PICTURE:
                image = await dealer.upload(ImageUse.MMS, "apple.jpg", JPEG)
                assert isinstance(image, Uploaded)
                content = Text(PICTURE.sender, PICTURE.text, PICTURE.subject, (image,))  # noqa: PLW2901 - the image's id is the sandbox's
            batch.append(Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", channel, to, content))
        results = await dealer.send(None, batch)
        assert [type(result) for result in results] == [Accepted] * len(batch)
    finally:
        await dealer.close()
        await sandbox.close()
    seen = [
        {
            "request": f"{request['method']} {request['target']}",
            "content_type": request["headers"]["content-type"],
            "body": msgspec.json.decode(request["body"]),
        }
        for request in sandbox.record
    ]
    assert seen == msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
