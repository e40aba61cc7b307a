"""What Hanbit's contract tests share: a sandbox, the adapter as a service builds it, and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID

from bongsu.sandbox import Profile, Sandbox, SandboxSettings
from hanbit.dialect import credentials
from shared.config import Config
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import Accepted, AlimTalk, Button, Dealer, OpenAttempt, Outgoing, QuickReply, SendResult, Text
from shared.dealers.registry import build_dealers
from shared.ids import MessageId

EXAMPLE = Path(__file__).parents[4] / "docs" / "dealers" / "example"

ORDER = AlimTalk(
    sender_key="a" * 40,
    template_code="ORDER_PAID",
    variables={"이름": "김봉수", "주문번호": "A-1001"},
    text="김봉수님, 주문 A-1001이 결제되었습니다.",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),),
    sender="0212345678",
)
FULL = AlimTalk(
    sender_key="a" * 40,
    template_code="FULL",
    variables={},
    text="주문 안내입니다. 🙂",
    buttons=(
        Button("AC", "채널 추가"),
        Button("AL", "앱에서 보기", scheme_android="shop://o/1", scheme_ios="shop://o/1"),
        Button("DS", "배송 조회"),
    ),
    sender="0212345678",
    title="9,900원",
    quick_replies=(QuickReply("BK", "배송 문의"), QuickReply("WL", "상점", url_mobile="https://shop.example")),
    has_image=True,
)
SHORT = Text("0212345678", "[봉수상점] 결제 완료")
LONG = Text("0212345678", '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")

_numbers = count(1)


def outgoing(content: AlimTalk | Text = ORDER, n: int | None = None) -> Outgoing:
    """Make an attempt of its own message, with a key as the engine writes it."""
    n = next(_numbers) if n is None else n
    message = MessageId(UUID(int=n))
    channel = Channel.ALIMTALK if isinstance(content, AlimTalk) else Channel.SMS if content is SHORT else Channel.LMS
    return Outgoing(message, 1, request_key(message, channel, 1), channel, f"010{n:08}", content)


def attempt(sent: Outgoing, result: SendResult | None = None) -> OpenAttempt:
    """Return what the engine knows of an attempt when it asks."""
    taken = result.dealer_message_id if isinstance(result, Accepted) else None
    now = datetime.now(UTC)
    return OpenAttempt(sent.message_id, sent.n, sent.request_key, sent.channel, sent.to, None, taken, now)


def attempts(batch: Sequence[Outgoing], results: Sequence[SendResult]) -> list[OpenAttempt]:
    """Return what the engine knows of a batch when it asks."""
    return [attempt(*pair) for pair in zip(batch, results, strict=True)]


@asynccontextmanager
async def sandbox_with(*, webhook_url: str | None = None, **profile: object) -> AsyncIterator[Sandbox]:
    """Run a sandbox that records what it is sent."""
    made = Profile.model_validate({"accept_any_template": True, **profile})
    sandbox = Sandbox(SandboxSettings(made, webhook_url=webhook_url, record=True))
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


@asynccontextmanager
async def dealer_at(base_url: str, *, timeout_seconds: float = 5.0, **changed: str) -> AsyncIterator[Dealer]:
    """Build the dealer as a service does; ``changed`` are credentials."""
    dealer = {
        "kind": "hanbit",
        "base_url": base_url,
        "credentials": credentials() | changed,
        "timeout_seconds": timeout_seconds,
    }
    profile = {"name": "봉수상점", "routes": [{"dealer": "hanbit", "sender_key": "a" * 40}]}
    config = Config.model_validate({"dealers": {"hanbit": dealer}, "profiles": {"shop": profile}})
    built = build_dealers(config)["hanbit"]
    try:
        yield built
    finally:
        await built.close()
