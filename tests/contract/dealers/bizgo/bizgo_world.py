"""Messages for Bizgo, and adapters that talk to a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

from bongsu.sandbox import DEFAULT_SENDER
from bongsu.sandbox.bizgo.dialect import DEFAULT_API_KEY, DEFAULT_SENDER_KEY
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    Content,
    Item,
    Links,
    OpenAttempt,
    Outgoing,
    QuickReply,
    Text,
)
from shared.dealers.bizgo.adapter import Bizgo, build
from tests.contract.dealers.fake_gateway import Reply, Request, message_id

SEND = "POST /api/comm/v1/send/omni"
WEB = Button("WL", "주문 보기", "https://m.shop.example/o/A-1001", "https://shop.example/o/A-1001")

VARIABLES = AlimTalk(DEFAULT_SENDER_KEY, "order-paid", {"이름": "김봉수"}, "김봉수님, 결제되었습니다.")
ORDER = AlimTalk(
    DEFAULT_SENDER_KEY,
    "order-shop",
    {"이름": "김봉수", "주문번호": "A-1001"},
    "김봉수님, 주문 A-1001이 결제되었습니다.",
    buttons=(WEB,),
)
FULL = AlimTalk(
    DEFAULT_SENDER_KEY,
    "order-full",
    {"이름": "김봉수"},
    '김봉수님,\n"감자" 주문이 결제되었습니다.',
    buttons=(
        WEB,
        Button("AL", "앱에서 보기", scheme_android="shop://o/A-1001", scheme_ios="shop://o/A-1001"),
        Button("BT", "문의", chat_extra="A-1001", chat_event="order"),
        Button("P1", "확인", plugin_id="plugin", relay_id="relay"),
        Button("TN", "전화 연결", phone="02-1234-5678"),
    ),
    title="12,000원",
    header="결제 안내",
    highlight=Item("감자 10kg", "햇감자"),
    items=(Item("상품", "감자"), Item("수량", "1개")),
    summary=Item("합계", "12,000원"),
    link=Links("https://m.shop.example", "https://shop.example", "shop://", "shop://"),
    quick_replies=(QuickReply("WL", "배송", "https://m.shop.example/d"), QuickReply("BF", "설문", biz_form_id="7")),
    has_image=True,
)
FIXED = AlimTalk(DEFAULT_SENDER_KEY, "welcome", {}, "가입을 축하합니다.")
SHORT = Text(DEFAULT_SENDER, "[봉수상점] 결제 완료")
LONG = Text(DEFAULT_SENDER, '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")
PICTURES = Text(DEFAULT_SENDER, "가을 감자", subject="감자", images=("FILE000001", "FILE000002"))
BRAND = BrandMessage(
    DEFAULT_SENDER_KEY,
    "가을 감자가 나왔습니다.",
    buttons=(WEB,),
    image="https://kakao.example/image/1.jpg",
    image_link="https://shop.example/potato",
)

_numbers = count(1)


def outgoing(content: Content, channel: Channel = Channel.ALIMTALK, *, n: int = 0, to: str = "") -> Outgoing:
    """Return a message of its own; the ``n``-th where a file must stay the same."""
    n = n or next(_numbers)
    return Outgoing(message_id(n), 1, request_key(message_id(n), channel, 1), channel, to or f"0101{n:07}", content)


def some(amount: int, channel: Channel = Channel.SMS) -> list[Outgoing]:
    """Return messages to as many people."""
    return [outgoing(VARIABLES if channel is Channel.ALIMTALK else SHORT, channel) for _ in range(amount)]


def attempt(message: Outgoing, dealer_message_id: str | None = None) -> OpenAttempt:
    """Return the attempt to send ``message``, to be looked up."""
    key, channel = message.request_key, message.channel
    return OpenAttempt(message.message_id, 1, key, channel, message.to, None, dealer_message_id, datetime.now(UTC))


@asynccontextmanager
async def bizgo_at(url: str, timeout_seconds: float = 5.0, /, **credentials: str) -> AsyncIterator[Bizgo]:
    """Build the adapter as a service does."""
    adapter = build(
        Account(
            name="bizgo",
            base_url=url,
            urls={},
            credentials={"api_key": DEFAULT_API_KEY, **credentials},
            timeout_seconds=timeout_seconds,
            batch=200,
            now=lambda: datetime.now(UTC),
        )
    )
    try:
        yield adapter
    finally:
        await adapter.close()


def said(code: str = "A000", *, gateway: str = "A000", **more: object) -> dict[str, Any]:
    """Return an answer's envelope."""
    common = {"authCode": gateway, "authResult": "", "infobankTrId": "TR"}
    return {"common": common, "data": {"code": code, "result": "", **more}}


def taken(request: Request, code: str = "A000", **changes: object) -> Reply:
    """Answer a send by one code for every recipient."""
    entries = [
        {"to": each["to"], "msgKey": f"{request.json()['ref']}000", "code": code, "result": "", **changes}
        for each in request.json()["destinations"]
    ]
    return Reply(json=said(ref=request.json()["ref"], data={"destinations": entries}))
