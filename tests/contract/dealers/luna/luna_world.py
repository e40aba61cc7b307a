"""What Luna's contract tests share: a sandbox, the adapter as a service builds it, and messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import UUID

from aiohttp import web

from bongsu.sandbox import Profile, Sandbox, SandboxSettings
from bongsu.sandbox.luna.dialect import DEFAULT_SENDER_KEY, LunaDialect, credentials
from bongsu.sandbox.profile import DealerProfile
from shared.config import Config
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, BrandMessage, Button, Dealer, Item, Outgoing, QuickReply
from shared.dealers.registry import build_dealers
from shared.ids import MessageId

ORDER = AlimTalk(
    sender_key=DEFAULT_SENDER_KEY,
    template_code="ORDER_PAID",
    variables={"이름": "김봉수", "주문번호": "A-1001"},
    text="김봉수님, 주문 A-1001이 결제되었습니다.",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),),
    sender="0212345678",
)
FULL = AlimTalk(
    sender_key=DEFAULT_SENDER_KEY,
    template_code="FULL",
    variables={"이름": "김봉수"},
    text="김봉수님의 주문입니다. 🙂",
    buttons=(
        Button("AC", "채널 추가"),
        Button(
            "AL",
            "앱에서 보기",
            url_mobile="https://shop.example/o/1",
            scheme_android="shop://o/1",
            scheme_ios="shop://o/1",
        ),
    ),
    title="9,900원",
    header="주문 안내",
    highlight=Item("봉수상점", "주문 완료"),
    items=(Item("상품", "기와"), Item("수량", "2개")),
    summary=Item("합계", "9,900원"),
    quick_replies=(QuickReply("BK", "배송 문의"), QuickReply("WL", "상점", url_mobile="https://shop.example")),
)
BUTTONS = AlimTalk(
    sender_key=DEFAULT_SENDER_KEY,
    template_code="BUTTONS",
    variables={},
    text="예약이 접수되었습니다.",
    buttons=(
        Button("DS", "배송 조회"),
        Button("BC", "상담하기", chat_extra="order-1"),
        Button("BT", "챗봇", chat_extra="order-1", chat_event="order"),
        Button("P3", "간편 결제", plugin_id="plugin", one_click_id="click", product_id="product"),
        Button("BF", "톡에서 예약하기", biz_form_id="4711"),
    ),
    has_image=True,
)
BRAND = BrandMessage(
    sender_key=DEFAULT_SENDER_KEY,
    text="새 상품이 나왔습니다.",
    buttons=(Button("WL", "보러 가기", "https://shop.example/new"),),
    image="https://image.example/1.jpg",
    image_link="https://shop.example/new",
)

_numbers = count(1)


def outgoing(content: AlimTalk | BrandMessage = ORDER, n: int | None = None) -> Outgoing:
    """Make an attempt of its own message, with a key as the engine writes it."""
    n = next(_numbers) if n is None else n
    message = MessageId(UUID(int=n))
    channel = Channel.FRIENDTALK if isinstance(content, BrandMessage) else Channel.ALIMTALK
    return Outgoing(message, 1, request_key(message, channel, 1), channel, f"010{n:08}", content)


def luna_of(sandbox: Sandbox) -> LunaDialect:
    """Return Luna's part of a sandbox."""
    dialect = sandbox.dialects["luna"]
    assert isinstance(dialect, LunaDialect)
    return dialect


@asynccontextmanager
async def sandbox_with(
    options: dict[str, Any] | None = None, *, webhook_url: str | None = None, **profile: object
) -> AsyncIterator[Sandbox]:
    """Run a sandbox that records what it is sent."""
    parts = {"accept_any_template": True, **profile}
    made = Profile.model_validate(parts | {"dealers": {"luna": DealerProfile(options=options or {})}})
    sandbox = Sandbox(SandboxSettings(made, webhook_url=webhook_url, record=True))
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


@asynccontextmanager
async def dealer_at(
    base_url: str, *, timeout_seconds: float = 5.0, agent_key: str | None = None
) -> AsyncIterator[Dealer]:
    """Build the dealer as a service does; ``agent_key`` stands in for the sandbox's."""
    config = Config.model_validate(
        {
            "dealers": {
                "luna": {
                    "kind": "luna",
                    "base_url": base_url,
                    "urls": {"center": base_url},
                    "credentials": credentials({} if agent_key is None else {"agent_key": agent_key}),
                    "timeout_seconds": timeout_seconds,
                }
            },
            "profiles": {"shop": {"name": "봉수상점", "routes": [{"dealer": "luna", "sender_key": "x"}]}},
        }
    )
    built = build_dealers(config)["luna"]
    try:
        yield built
    finally:
        await built.close()


class Inbox:
    """Takes webhook calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, dict[str, str]]] = []
        self.url = ""
        self._came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """Keep a call."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((await request.read(), headers))
        self._came.set()
        return web.Response()

    async def wait_for(self, amount: int) -> list[tuple[bytes, dict[str, str]]]:
        """Wait until so many calls came."""
        while len(self.calls) < amount:
            self._came.clear()
            await self._came.wait()
        return self.calls


@asynccontextmanager
async def receiving() -> AsyncIterator[Inbox]:
    """Listen for webhook calls."""
    inbox = Inbox()
    app = web.Application()
    app.router.add_post("/", inbox.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    inbox.url = f"http://{host}:{port}/"
    try:
        yield inbox
    finally:
        await runner.cleanup()
