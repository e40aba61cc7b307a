"""The requests that go to NHN Cloud, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.contracts.states import Channel
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    ImageUse,
    Item,
    Links,
    OpenAttempt,
    Outgoing,
    QuickReply,
    Text,
    Uploaded,
)
from shared.dealers.nhn.adapter import build
from shared.dealers.templates import TemplateDraft
from tests.contract.dealers.fake_gateway import FakeGateway, Reply
from tests.contract.dealers.nhn.nhn_world import Recorder, account, attempt, header, outgoing

GOLDEN = Path(__file__).parents[1] / "golden" / "nhn"
SENDER_KEY = "0123456789abcdef0123456789abcdef01234567"
ORDER = AlimTalk(
    sender_key=SENDER_KEY,
    template_code="ORDER_PAID",
    variables={"이름": "김봉수", "주문번호": "A-1001"},
    text="김봉수님, 주문 A-1001이 결제되었습니다.",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),),
    sender="0212345678",
)
FULL = replace(
    ORDER,
    template_code="FULL",
    buttons=(
        Button("BT", "상담", chat_extra="order=A-1001", chat_event="START"),
        Button("P1", "보안 이미지", plugin_id="PLUGIN", relay_id="relay-1"),
    ),
    title="결제 완료",
    header="주문 안내",
    highlight=Item("결제 금액", "12,000원"),
    items=(Item("상품", "봉수 세트"), Item("수량", "1개")),
    summary=Item("합계", "12,000원"),
    link=Links("https://shop.example/o/A-1001"),
    quick_replies=(QuickReply("WL", "보기", "https://shop.example"), QuickReply("BC", "문의", chat_extra="order")),
    has_image=True,
)
BRAND = BrandMessage(
    SENDER_KEY,
    "이번 주 소식 🎉",
    buttons=(
        Button("WL", "보러 가기", "https://shop.example/news"),
        Button("AL", "앱에서", "https://shop.example/news", scheme_android="shop://news", scheme_ios="shop://news"),
        Button("BT", "묻기", chat_event="ASK"),
    ),
    image="https://mud-kage.example/1.jpg",
    image_link="https://shop.example/news",
)
SHORT = Text("0212345678", "[봉수상점] 결제 완료")
LONG = Text("0212345678", '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")

BATCHES: dict[str, list[Outgoing]] = {
    "alimtalk": [
        outgoing(1, Channel.ALIMTALK, ORDER),
        outgoing(2, Channel.ALIMTALK, replace(ORDER, variables={"이름": "이연수", "주문번호": "A-1002"})),
        outgoing(3, Channel.ALIMTALK, AlimTalk(SENDER_KEY, "WELCOME", {}, "가입을 축하합니다.")),
    ],
    "alimtalk-full": [outgoing(4, Channel.ALIMTALK, FULL)],
    "brand": [outgoing(5, Channel.FRIENDTALK, BRAND), outgoing(6, Channel.FRIENDTALK, BrandMessage(SENDER_KEY, "글"))],
    "sms": [outgoing(7, Channel.SMS, SHORT), outgoing(8, Channel.SMS, SHORT)],
    "lms": [outgoing(9, Channel.LMS, LONG), outgoing(10, Channel.LMS, replace(LONG, subject=None))],
    "mms": [outgoing(11, Channel.MMS, replace(LONG, images=("17", "18")))],
}
LOOKED_UP: list[OpenAttempt] = [
    attempt(outgoing(1), "20261123090000ReZQ6KZzAH0/1"),
    attempt(outgoing(2), "20261123090000ReZQ6KZzAH0/2"),
    attempt(outgoing(3), "20261123090001ReZQ6KZzAH0/3"),
    attempt(outgoing(4)),
    attempt(outgoing(5, Channel.FRIENDTALK)),
    attempt(outgoing(6, Channel.SMS), "20261123090002ReZQ6KZzAH0/1"),
    attempt(outgoing(7, Channel.SMS)),
    attempt(outgoing(8, Channel.LMS)),
]
DRAFT = TemplateDraft(
    code="ORDER_PAID",
    name="결제 완료",
    text="#{이름}님, 주문 #{주문번호}이 결제되었습니다.",
    category="002001",
    buttons=(
        Button("WL", "주문 보기", "https://shop.example/o/#{주문번호}"),
        Button("BF", "톡에서 설문하기", biz_form_id="7"),
    ),
    quick_replies=(QuickReply("BK", "문의"),),
    header="주문 안내",
    highlight=Item("결제 금액", "#{금액}원"),
    items=(Item("상품", "#{상품}"), Item("수량", "#{수량}개")),
    summary=Item("합계", "#{금액}원"),
)


def seen(fake: FakeGateway) -> list[dict[str, Any]]:
    names = ("x-secret-key", "content-type", "x-nc-api-idempotency-key")
    requests = [
        {
            "request": f"{request.method} {request.path}",
            **{name: request.headers[name] for name in names if name in request.headers},
            "body": request.body.decode(),
        }
        for request in fake.requests
    ]
    return sorted(requests, key=lambda request: (request["request"], request["body"]))  # several go at once


def check(name: str, fake: FakeGateway) -> None:
    path = GOLDEN / f"{name}.json"
    assert seen(fake) == msgspec.json.decode(path.read_bytes())


@pytest.mark.parametrize("name", BATCHES)
async def test_requests_are_as_ever(recorder: Recorder, name: str) -> None:
    dealer = build(account(f"http://127.0.0.1:{recorder.port}"))
    await dealer.send(None, BATCHES[name])
    await dealer.close()
    check(name, recorder)


async def test_lookups_are_as_ever(recorder: Recorder) -> None:
    recorder.answer = Reply(json=header(-4000))  # says nothing of anyone, and does not end the lookup
    dealer = build(account(f"http://127.0.0.1:{recorder.port}"))
    await dealer.lookup(LOOKED_UP)
    await dealer.close()
    check("lookup", recorder)


async def test_registering_and_uploading_are_as_ever(recorder: Recorder) -> None:
    dealer = build(account(f"http://127.0.0.1:{recorder.port}"))
    assert await dealer.templates.register(SENDER_KEY, DRAFT) == "ORDER_PAID"
    assert await dealer.upload(ImageUse.MMS, "쿠폰.png", b"\xff\xd8\xff\xe0") == Uploaded("17")
    await dealer.close()
    check("around", recorder)
