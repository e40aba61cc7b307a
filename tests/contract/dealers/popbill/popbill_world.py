"""A sandbox, the adapter that talks to it, and messages to send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from bongsu.sandbox import Profile, Sandbox, SandboxSettings
from bongsu.sandbox.popbill.dialect import DEFAULT_CHANNEL, PopbillDialect, credentials
from bongsu.sandbox.profile import DEFAULT_SENDER, DealerProfile
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import AlimTalk, BrandMessage, Button, Content, OpenAttempt, Outgoing, Text
from shared.dealers.popbill import wire
from shared.dealers.popbill.adapter import Popbill, build
from tests.contract.dealers.fake_gateway import NOW, message_id

JPEG = b"\xff\xd8\xff\xe0 a picture"
ORDER = AlimTalk(
    DEFAULT_CHANNEL,
    "022070000338",
    {"이름": "김봉수", "주문번호": "A-1001"},
    "김봉수님, 주문 A-1001이 결제되었습니다.",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),),
    sender=DEFAULT_SENDER,
)
FULL = replace(
    ORDER,
    title="11,000원",
    buttons=(
        *ORDER.buttons,
        Button("AL", "앱에서 보기", scheme_android="shop://a/A-1001", scheme_ios="shop://i/A-1001"),
        Button("DS", "배송 조회"),
        Button("MD", "문의하기"),
        Button("TN", "전화하기", phone="0212345678"),
    ),
    has_image=True,
)
SHORT = Text(DEFAULT_SENDER, "[봉수상점] 결제 완료")
LONG = Text(DEFAULT_SENDER, '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")
PICTURE = replace(LONG, images=(wire.inline(JPEG),))
SALE = BrandMessage(
    DEFAULT_CHANNEL,
    "(광고) 겨울 세일",
    buttons=(Button("WL", "보러 가기", "https://shop.example/sale"),),
    sender=DEFAULT_SENDER,
)
SALE_WITH_PICTURE = replace(SALE, image=wire.inline(JPEG), image_link="https://shop.example/sale")

CONTENTS: dict[str, tuple[Channel, Content]] = {
    "alimtalk": (Channel.ALIMTALK, ORDER),
    "alimtalk-full": (Channel.ALIMTALK, FULL),
    "sms": (Channel.SMS, SHORT),
    "lms": (Channel.LMS, LONG),
    "mms": (Channel.MMS, PICTURE),
    "friendtalk": (Channel.FRIENDTALK, SALE),
    "friendtalk-image": (Channel.FRIENDTALK, SALE_WITH_PICTURE),
}

_numbers = count(1)


def outgoing(content: Content = ORDER, channel: Channel = Channel.ALIMTALK, n: int | None = None) -> Outgoing:
    n = next(_numbers) if n is None else n
    message = message_id(n)
    return Outgoing(message, 1, request_key(message, channel, 1), channel, f"0101{n:07}", content)


def attempt(one: Outgoing, dealer_message_id: str | None = None, opened_at: datetime = NOW) -> OpenAttempt:
    return OpenAttempt(one.message_id, one.n, one.request_key, one.channel, one.to, None, dealer_message_id, opened_at)


def sandbox_with(profile: Profile | None = None, **options: str | float | list[str]) -> Sandbox:
    profile = profile or Profile(accept_any_template=True)
    if options:
        profile = profile.model_copy(update={"dealers": {"popbill": DealerProfile(options=options)}})
    return Sandbox(SandboxSettings(profile=profile, record=True))


@asynccontextmanager
async def running(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


def popbill_of(sandbox: Sandbox) -> PopbillDialect:
    dialect = sandbox.dialects["popbill"]
    assert isinstance(dialect, PopbillDialect)
    return dialect


@asynccontextmanager
async def dealer_at(
    url: str, *, timeout_seconds: float = 2.0, now: datetime | None = None, changed: Mapping[str, str] | None = None
) -> AsyncIterator[Popbill]:
    account = Account(
        name="popbill",
        base_url=url,
        urls={"auth": url},
        credentials=credentials() | dict(changed or {}),
        timeout_seconds=timeout_seconds,
        batch=1000,
        now=lambda: now or datetime.now(UTC),
    )
    dealer = build(account)
    try:
        yield dealer
    finally:
        await dealer.close()
