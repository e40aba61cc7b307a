"""Every kind of content against the sandbox, and what is around sending: uploads and checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bongsu.sandbox import DEFAULT_CHANNEL, DEFAULT_SENDER, CallFault, Operation, Profile, Sandbox, start_sandbox
from bongsu.sandbox.solapi.dialect import credentials
from shared.config import Config
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    BrandMessage,
    Button,
    Checked,
    Dealer,
    ImageUse,
    NotTaken,
    OpenAttempt,
    Outgoing,
    QuickReply,
    Refused,
    Report,
    SendResult,
    Text,
    Uploaded,
)
from shared.dealers.registry import build_dealers
from shared.dealers.solapi.adapter import Solapi
from tests.contract.dealers.fake_gateway import CUT, NOW, FakeGateway, Reply, message_id

JPEG = b"\xff\xd8\xff\xd9"
PAGE = "https://shop.example/a"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with start_sandbox() as running:
        yield running


@asynccontextmanager
async def dealer_at(sandbox: Sandbox, **changed: str) -> AsyncIterator[Dealer]:
    config = Config.model_validate(
        {
            "dealers": {
                "solapi": {
                    "kind": "solapi",
                    "base_url": sandbox.url_of("solapi"),
                    "credentials": credentials() | changed,
                    "timeout_seconds": 0.5,
                }
            },
            "profiles": {"shop": {"name": "봉수상점", "routes": [{"dealer": "solapi", "sender_key": "x"}]}},
        }
    )
    built = build_dealers(config)["solapi"]
    try:
        yield built
    finally:
        await built.close()


@pytest.fixture
async def shop(sandbox: Sandbox) -> AsyncIterator[Dealer]:
    async with dealer_at(sandbox) as built:
        yield built


def outgoing(channel: Channel, content: AlimTalk | BrandMessage | Text, n: int = 1) -> Outgoing:
    return Outgoing(message_id(n), 1, f"key-{n}", channel, f"0101234{n:04}", content)


async def send(dealer: Dealer, *batch: Outgoing) -> tuple[str, list[SendResult]]:
    handle = await dealer.open()
    assert isinstance(handle, str)
    return handle, await dealer.send(handle, batch)


async def uploaded(dealer: Dealer, use: ImageUse) -> str:
    image = await dealer.upload(use, "a.jpg", JPEG)
    assert isinstance(image, Uploaded)
    return image


def contents(mms: str, photo: str) -> dict[str, tuple[Channel, AlimTalk | BrandMessage | Text]]:
    buttons = (Button("WL", "보기", PAGE, PAGE), Button("AC", "채널 추가"), Button("BK", "문의", chat_extra="x"))
    return {
        "quick replies": (
            Channel.ALIMTALK,
            AlimTalk(
                DEFAULT_CHANNEL,
                "KA01TP1",
                {"이름": "봉수"},
                "봉수님",
                buttons=(Button("BC", "상담", chat_extra="x"),),
                quick_replies=(QuickReply("WL", "보기", PAGE), QuickReply("BK", "배송")),
                sender=DEFAULT_SENDER,
            ),
        ),
        "brand": (Channel.FRIENDTALK, BrandMessage(DEFAULT_CHANNEL, "봄 🌸", buttons, sender=DEFAULT_SENDER)),
        "brand with image": (
            Channel.FRIENDTALK,
            BrandMessage(DEFAULT_CHANNEL, "봄", image=photo, image_link=PAGE, sender=DEFAULT_SENDER),
        ),
        "mms": (Channel.MMS, Text(DEFAULT_SENDER, "약도", "오시는 길", (mms,))),
    }


async def test_every_content_is_taken_and_its_report_read(shop: Dealer, sandbox: Sandbox) -> None:
    images = await uploaded(shop, ImageUse.MMS), await uploaded(shop, ImageUse.BRAND)
    for n, (channel, content) in enumerate(contents(*images).values(), 1):
        assert channel in shop.capabilities.channels
        handle, [result] = await send(shop, outgoing(channel, content, n))
        assert isinstance(result, Accepted)
        sandbox.settle()
        open_ = OpenAttempt(
            message_id(n), 1, f"key-{n}", channel, f"0101234{n:04}", handle, result.dealer_message_id, NOW
        )
        [report] = await shop.lookup([open_])
        assert isinstance(report, Report)
        assert (report.delivered, report.request_key) == (True, f"key-{n}")
    assert [row.channel for row in sandbox.truth()] == ["alimtalk", "friendtalk", "friendtalk", "mms"]


async def test_a_refused_content_holds_nobody_else_back(shop: Dealer, sandbox: Sandbox) -> None:
    good = Text(DEFAULT_SENDER, "안녕")
    _, results = await send(
        shop,
        outgoing(Channel.SMS, good, 1),
        outgoing(Channel.SMS, Text(DEFAULT_SENDER, "안녕 😀"), 2),
        outgoing(Channel.SMS, Text(DEFAULT_SENDER, "가" * 46), 3),
    )
    assert isinstance(results[0], Accepted)
    assert [result.reason for result in results[1:] if isinstance(result, Refused)] == [
        "content_charset",
        "content_too_long",
    ]
    assert len(sandbox.truth()) == 1


async def test_no_call_is_made_for_what_is_refused_all(dealer: Solapi, fake: FakeGateway) -> None:
    _, [result] = await send(dealer, outgoing(Channel.SMS, Text(DEFAULT_SENDER, "😀")))
    assert isinstance(result, Refused)
    assert fake.lines() == ["POST /messages/v4/groups"]


@pytest.mark.parametrize(
    ("channel", "content", "reason"),
    [
        (Channel.MMS, Text(DEFAULT_SENDER, "약도", images=("ST01FZ1",)), "invalid_attachment"),
        (
            Channel.FRIENDTALK,
            BrandMessage(DEFAULT_CHANNEL, "봄", image="ST01FZ1", sender=DEFAULT_SENDER),
            "invalid_attachment",
        ),
        (Channel.FRIENDTALK, BrandMessage("KA01PFX", "봄", sender=DEFAULT_SENDER), "sender_profile_invalid"),
        (Channel.FRIENDTALK, BrandMessage(DEFAULT_CHANNEL, "봄", sender="0299999999"), "sender_number_unregistered"),
    ],
)
async def test_what_solapi_refuses(channel: Channel, content: BrandMessage | Text, reason: str) -> None:
    async with start_sandbox(Profile()) as strict, dealer_at(strict) as shop:
        _, [result] = await send(shop, outgoing(channel, content))
        assert isinstance(result, Refused)
        assert result.reason == reason
        assert strict.truth() == []


@pytest.mark.parametrize("fault", [CallFault.CUT_BEFORE, CallFault.CUT_AFTER, CallFault.GARBLED, CallFault.REDIRECT])
async def test_an_upload_that_broke_can_be_made_again(shop: Dealer, sandbox: Sandbox, fault: CallFault) -> None:
    sandbox.arrange(Operation.ADD, fault)
    assert isinstance(await shop.upload(ImageUse.MMS, "a.jpg", JPEG), NotTaken)
    assert isinstance(await shop.upload(ImageUse.MMS, "a.jpg", JPEG), Uploaded)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(Reply(json={"fileId": "x" * 32}), Uploaded("x" * 32), id="uploaded"),
        pytest.param(
            Reply(json={"fileId": 7}),
            NotTaken("dealer_unavailable", detail="the answer to the upload names no file"),
            id="no-id",
        ),
        pytest.param(
            Reply(json={"fileId": "010 1234"}),
            NotTaken("dealer_unavailable", detail="the answer to the upload names no file"),
            id="odd-id",
        ),
        pytest.param(
            Reply(400, {"errorCode": "ValidationError"}),
            Refused("invalid_attachment", "ValidationError", "the request is malformed"),
            id="refused",
        ),
        pytest.param(
            Reply(403, {"errorCode": "Forbidden"}),
            Refused("auth_failed", "Forbidden", "the key may not do this"),
            id="no-right",
        ),
        pytest.param(Reply(429, {"message": "x"}), NotTaken("rate_limited", "HTTP 429"), id="429"),
        pytest.param(Reply(502, raw=b"<html>"), NotTaken("dealer_unavailable", "HTTP 502"), id="502"),
        pytest.param(CUT, NotTaken("dealer_unavailable", detail="POST ServerDisconnectedError"), id="cut"),
    ],
)
async def test_answers_to_an_upload(
    dealer: Solapi, fake: FakeGateway, reply: Reply, expected: Uploaded | Refused | NotTaken
) -> None:
    fake.on("POST /storage/v1/files", reply)
    assert await dealer.upload(ImageUse.MMS, "a.jpg", JPEG) == expected


async def test_an_image_that_solapi_would_not_take_stays_here(dealer: Solapi, fake: FakeGateway) -> None:
    refusal = await dealer.upload(ImageUse.MMS, "a.png", b"\x89PNG")
    assert isinstance(refusal, Refused)
    assert (refusal.reason, fake.requests) == ("invalid_attachment", [])


async def test_a_check_knows_channels_and_numbers() -> None:
    async with start_sandbox(Profile()) as strict, dealer_at(strict) as shop:
        checked = await shop.check([DEFAULT_CHANNEL, "KA01PFX"], [DEFAULT_SENDER, "0299999999"])
    assert [(each.what, each.ok) for each in checked] == [
        (DEFAULT_CHANNEL, True),
        ("KA01PFX", False),
        (DEFAULT_SENDER, True),
        ("0299999999", False),
    ]


async def test_a_check_tells_a_bad_key(sandbox: Sandbox) -> None:
    async with dealer_at(sandbox, api_secret="wrong") as shop:
        checked = await shop.check(["KA01PF1"], ["0212345678"])
    assert checked == [
        Checked("KA01PF1", ok=False, detail="SignatureDoesNotMatch: wrong API secret"),
        Checked("0212345678", ok=False, detail="SignatureDoesNotMatch: wrong API secret"),
    ]


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        pytest.param(Reply(403, {"errorCode": "Forbidden"}), "Forbidden: the key may lack the right {}", id="right"),
        pytest.param(Reply(429, {"message": "x"}), "SOLAPI answered HTTP 429", id="429"),
        pytest.param(Reply(raw=b"["), "SOLAPI's answer cannot be read", id="garbled"),
        pytest.param(Reply(json=7), "SOLAPI's answer cannot be read", id="another-shape"),
        pytest.param(CUT, "SOLAPI could not be asked", id="cut"),
    ],
)
async def test_a_check_that_could_not_be_made_says_so(
    dealer: Solapi, fake: FakeGateway, reply: Reply, detail: str
) -> None:
    fake.on("GET /kakao/v2/channels/KA01PF1", reply)
    fake.on("GET /senderid/v1/numbers/active", reply)
    assert await dealer.check(["KA01PF1"], ["0212345678"]) == [
        Checked("KA01PF1", None, detail.format("kakao:read")),
        Checked("0212345678", None, detail.format("senderid:read")),
    ]


async def test_numbers_may_come_as_objects(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on("GET /senderid/v1/numbers/active", Reply(json=[{"phoneNumber": "02-1234-5678"}, {"other": 1}]))
    assert await dealer.check([], ["0212345678"]) == [Checked("0212345678", ok=True)]
