"""Infobank's own SDK, against the sandbox: it asks for the same as we do, field by field, and reads the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from bizgo import AlimtalkMessage, AsyncBizgo, Destination, MmsMessage, SmsMessage
from bizgo.models import BrandMessage as SdkBrand
from bizgo.webhooks import WebhookReceiver

from bongsu.sandbox import DEFAULT_WEBHOOK_SECRET, Profile, Sandbox, SandboxSettings
from bongsu.sandbox.bizgo.dialect import DEFAULT_API_KEY, BizgoDialect
from bongsu.sandbox.exchange import Taken
from bongsu.sandbox.profile import DealerProfile
from bongsu.sandbox.webhooks import Event
from shared.contracts.states import Channel
from shared.dealers.base import Accepted, AlreadyTaken, Content, ImageUse, Outgoing
from shared.dealers.bizgo.adapter import Bizgo
from tests.contract.dealers.bizgo.bizgo_world import (
    BRAND,
    FIXED,
    FULL,
    LONG,
    ORDER,
    PICTURES,
    SHORT,
    VARIABLES,
    attempt,
    bizgo_at,
    outgoing,
)

JPEG = b"\xff\xd8\xff\xe0picture"
SENDER_KEY = VARIABLES.sender_key
LINKS = {"url_pc": "https://shop.example/o/A-1001", "url_mobile": "https://m.shop.example/o/A-1001"}
WEB = {"type": "WL", "name": "주문 보기", **LINKS}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    own = DealerProfile(options={"lookups_per_second": 0})
    profile = Profile(accept_any_template=True, dealers={"bizgo": own})
    running = Sandbox(SandboxSettings(profile=profile, record=True))
    await running.start()
    yield running
    await running.close()


@pytest.fixture
async def sdk(sandbox: Sandbox) -> AsyncIterator[AsyncBizgo]:
    async with AsyncBizgo(
        api_key=DEFAULT_API_KEY, base_url=sandbox.url_of("bizgo"), rate_limit=None, max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def adapter(sandbox: Sandbox) -> AsyncIterator[Bizgo]:
    async with bizgo_at(sandbox.url_of("bizgo")) as built:
        yield built


def alimtalk(code: str, text: str, **more: Any) -> AlimtalkMessage:  # noqa: ANN401 - its fields
    """Return an AlimTalk of the SDK; ``responseMethod`` is its default, which it leaves out and we say."""
    return AlimtalkMessage(
        sender_key=SENDER_KEY, template_code=code, text=text, response_method="push", **{"msg_type": "AT", **more}
    )


FULL_PARTS: dict[str, Any] = {
    "msg_type": "AI",
    "title": "12,000원",
    "header": "결제 안내",
    "link": {
        "url_pc": "https://shop.example",
        "url_mobile": "https://m.shop.example",
        "scheme_android": "shop://",
        "scheme_ios": "shop://",
    },
    "attachment": {
        "button": [
            WEB,
            {
                "type": "AL",
                "name": "앱에서 보기",
                "scheme_android": "shop://o/A-1001",
                "scheme_ios": "shop://o/A-1001",
            },
            {"type": "BT", "name": "문의", "chat_extra": "A-1001", "chat_event": "order"},
            {"type": "P1", "name": "확인", "plugin_id": "plugin", "relay_id": "relay"},
            {"type": "TN", "name": "전화 연결", "tel_number": "02-1234-5678"},
        ],
        "item": {
            "list": [{"title": "상품", "description": "감자"}, {"title": "수량", "description": "1개"}],
            "summary": {"title": "합계", "description": "12,000원"},
        },
        "item_highlight": {"title": "감자 10kg", "description": "햇감자"},
    },
    "supplement": {
        "quick_reply": [
            {"type": "WL", "name": "배송", "url_mobile": "https://m.shop.example/d"},
            {"type": "BF", "name": "설문", "biz_form_id": "7"},
        ]
    },
}
TEMPLATE = AlimtalkMessage(
    sender_key=SENDER_KEY, template_code="order-paid", send_type="template", response_method="push"
)
SDK_BRAND = SdkBrand(
    send_type="free",
    msg_type="FI",
    sender_key=SENDER_KEY,
    text=BRAND.text,
    ad_flag="Y",
    attachment={"button": [WEB], "image": {"img_url": BRAND.image, "img_link": BRAND.image_link}},
)
MESSAGES: list[Any] = [
    pytest.param(ORDER, Channel.ALIMTALK, alimtalk(
        "order-shop", ORDER.text, attachment={"button": [WEB]}), id="alimtalk"),
    pytest.param(FULL, Channel.ALIMTALK, alimtalk("order-full", FULL.text, **FULL_PARTS), id="alimtalk-full"),
    pytest.param(FIXED, Channel.ALIMTALK, alimtalk("welcome", FIXED.text), id="alimtalk-fixed"),
    pytest.param(VARIABLES, Channel.ALIMTALK, TEMPLATE, id="alimtalk-filled-there"),
    pytest.param(BRAND, Channel.FRIENDTALK, SDK_BRAND, id="brand"),
    pytest.param(SHORT, Channel.SMS, SmsMessage(from_=SHORT.sender, text=SHORT.text), id="sms"),
    pytest.param(LONG, Channel.LMS, MmsMessage(
        from_=LONG.sender, title=LONG.subject, text=LONG.text), id="lms"),
    pytest.param(PICTURES, Channel.MMS, MmsMessage(
        from_=PICTURES.sender, title=PICTURES.subject, text=PICTURES.text, file_key=list(PICTURES.images)
    ), id="mms"),
]  # fmt: skip


def bodies(sandbox: Sandbox) -> list[Any]:
    """Return what was sent, as JSON."""
    sent = [call for call in sandbox.record if call["target"] == "/api/comm/v1/send/omni"]
    return [msgspec.json.decode(call["body"]) for call in sent]


async def send(sdk: AsyncBizgo, message: Outgoing, what: Any, words: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - its classes
    return await sdk.send.omni(
        to=Destination(to=message.to, replace_words=words) if words else message.to,
        messages=[what],
        ref=message.request_key,
        group_key=message.request_key,
        idempotency_key=message.request_key,
    )


@pytest.mark.parametrize(("content", "channel", "theirs"), MESSAGES)
async def test_the_sdk_sends_the_same(
    sandbox: Sandbox, sdk: AsyncBizgo, adapter: Bizgo, content: Content, channel: Channel, theirs: object
) -> None:
    for n in range(2):  # what the MMS names
        await adapter.upload(ImageUse.MMS, "a.jpg", JPEG + bytes([n]))
    message = outgoing(content, channel)
    words = {"이름": "김봉수"} if theirs is TEMPLATE else None
    result = await send(sdk, message, theirs, words)
    assert result.failed == []
    assert isinstance((await adapter.send(None, [message]))[0], AlreadyTaken)  # one key, so one message
    [by_sdk, by_us] = bodies(sandbox)
    assert by_us == by_sdk
    assert len(sandbox.truth()) == 1


async def test_a_replay_of_ours_is_a_duplicate_to_the_sdk(sdk: AsyncBizgo, adapter: Bizgo) -> None:
    message = outgoing(SHORT, Channel.SMS)
    [accepted] = await adapter.send(None, [message])
    assert isinstance(accepted, Accepted)
    result = await send(sdk, message, SmsMessage(from_=SHORT.sender, text=SHORT.text))
    assert (result.succeeded, len(result.duplicates)) == ([], 1)


async def test_the_sdk_reads_of_the_sandbox_what_we_do(sandbox: Sandbox, sdk: AsyncBizgo, adapter: Bizgo) -> None:
    message = outgoing(replace(VARIABLES, variables={}))
    [accepted] = await adapter.send(None, [message])
    assert isinstance(accepted, Accepted)
    sandbox.settle()
    [status] = await sdk.messages.status(accepted.dealer_message_id)
    [ours] = await adapter.lookup([attempt(message, accepted.dealer_message_id)])
    assert (status.msg_key, status.ref, status.report_code) == (
        getattr(ours, "dealer_message_id", None),
        getattr(ours, "request_key", None),
        getattr(ours, "code", None),
    )
    assert status.service_type == "ALIMTALK"
    by_request = await sdk.messages.status_by_request_id(accepted.dealer_message_id[:-3])
    assert [each.msg_key for each in by_request] == [accepted.dealer_message_id]
    [report] = await sdk.reports.inquiry(accepted.dealer_message_id)
    assert (report.msg_key, report.report_code) == (accepted.dealer_message_id, "10000")


async def test_an_upload_is_the_sdks(sandbox: Sandbox, sdk: AsyncBizgo, adapter: Bizgo) -> None:
    uploaded = await sdk.files.upload_mms(JPEG)
    ours = await adapter.upload(ImageUse.MMS, "image.jpg", JPEG)
    assert uploaded.file_key is not None
    assert uploaded.file_key != ours
    [by_sdk, by_us] = [call for call in sandbox.record if call["target"] == "/api/comm/v1/file/mms"]
    for part in ('name="file"', 'filename="image.jpg"', "Content-Type: image/jpeg"):
        assert part in by_sdk["body"]
        assert part in by_us["body"]


async def test_the_sdk_checks_the_sandboxs_reports_as_we_do(sandbox: Sandbox, adapter: Bizgo) -> None:
    dialect = sandbox.dialects["bizgo"]
    assert isinstance(dialect, BizgoDialect)
    event = Event("E1", Taken("20261123120000000POM0000000001000", "01012345678", Channel.SMS, "key1"), "10000", 1e9)
    body, headers = dialect._webhook([event]), dialect._signed("")  # noqa: SLF001 - what it would post
    theirs = WebhookReceiver(DEFAULT_WEBHOOK_SECRET).report(headers, body)
    [ours] = adapter.read_receipts(body, {name.lower(): value for name, value in headers.items()})
    assert (theirs.msg_key, theirs.ref, theirs.report_code) == (ours.dealer_message_id, ours.request_key, ours.code)
    assert msgspec.json.decode(adapter.answer_receipts([ours])) == WebhookReceiver.ack(theirs.msg_key)
