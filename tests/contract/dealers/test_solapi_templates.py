"""Templates at SOLAPI: their life as the sandbox's inspectors decide it, and answers that help nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bongsu.sandbox import CallFault, Operation, Profile, Sandbox, start_sandbox
from bongsu.sandbox.profile import DEFAULT_CHANNEL
from bongsu.sandbox.solapi.dialect import credentials
from shared.dealers.account import Account
from shared.dealers.base import Button, Item, QuickReply
from shared.dealers.solapi.adapter import Solapi, build
from shared.dealers.templates import TemplateCallFailed, TemplateDraft, TemplateStatus
from tests.contract.dealers.fake_gateway import FakeGateway, Reply

DRAFT = TemplateDraft(
    "ORDER_PAID",
    "결제 완료",
    "#{이름}님, 주문이 결제되었습니다.",
    "002001",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o"),),
)
LISTED = replace(
    DRAFT,
    name="목록",
    header="주문 안내",
    highlight=Item("#{상점}", "주문 완료"),
    items=(Item("상품", "#{상품}"), Item("수량", "#{수량}")),
    summary=Item("합계", "#{금액}원"),
    quick_replies=(QuickReply("WL", "문의", "https://shop.example/q"),),
    secure=True,
)
LIST, ONE = "GET /kakao/v2/templates", "GET /kakao/v2/templates/T1"


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Sandbox, Solapi]]:
    async with start_sandbox(Profile()) as sandbox:
        account = Account("solapi", sandbox.url, {}, credentials(), 5.0, 100, lambda: datetime.now(UTC))
        dealer = build(account)
        try:
            yield sandbox, dealer
        finally:
            await dealer.close()


async def test_from_registration_to_approval() -> None:
    async with world() as (sandbox, dealer):
        api = dealer.templates
        assert (await api.get(DEFAULT_CHANNEL, "ORDER_PAID")).status is TemplateStatus.MISSING
        code = await api.register(DEFAULT_CHANNEL, DRAFT)
        assert code.startswith("KA01TP")
        assert (await api.get(DEFAULT_CHANNEL, code)).status is TemplateStatus.REGISTERED
        assert await api.register(DEFAULT_CHANNEL, DRAFT) == code, "once, however often it is asked"

        await api.submit(DEFAULT_CHANNEL, code, "")
        await api.submit(DEFAULT_CHANNEL, code, "")
        assert (await api.get(DEFAULT_CHANNEL, code)).status is TemplateStatus.INSPECTING
        with pytest.raises(TemplateCallFailed, match="inspecting"):
            await api.register(DEFAULT_CHANNEL, replace(DRAFT, code=code))

        sandbox.solapi.inspect(code, "rejected", "변수의 예시가 없습니다.")
        rejected = await api.get(DEFAULT_CHANNEL, code)
        assert (rejected.status, rejected.comments) == (TemplateStatus.REJECTED, ("변수의 예시가 없습니다.",))
        reworded = replace(DRAFT, code=code, text="#{이름}님, 결제가 끝났습니다.")
        assert await api.register(DEFAULT_CHANNEL, reworded) == code
        await api.submit(DEFAULT_CHANNEL, code, "")
        sandbox.solapi.inspect(code, "approved")
        [copy] = await api.every(DEFAULT_CHANNEL)
        assert (copy.code, copy.status, copy.text) == (code, TemplateStatus.APPROVED, reworded.text)
        assert copy.changed_at is not None
        with pytest.raises(TemplateCallFailed):
            await api.delete(DEFAULT_CHANNEL, code)
        with pytest.raises(TemplateCallFailed, match="console"):
            await api.stop(DEFAULT_CHANNEL, code)


async def test_all_that_a_template_can_have_is_registered_and_deleted() -> None:
    async with world() as (_, dealer):
        code = await dealer.templates.register(DEFAULT_CHANNEL, LISTED)
        titled = replace(DRAFT, name="강조", title="#{금액}원", subtitle="결제 금액")
        await dealer.templates.register(DEFAULT_CHANNEL, titled)
        await dealer.templates.delete(DEFAULT_CHANNEL, code)
        assert len(await dealer.templates.every(DEFAULT_CHANNEL)) == 1
        assert "999999" in {each.code for each in await dealer.templates.categories()}


async def test_a_registration_whose_answer_is_lost_is_found_by_its_name() -> None:
    async with world() as (sandbox, dealer):
        sandbox.arrange(Operation.ADD, CallFault.CUT_AFTER)
        with pytest.raises(TemplateCallFailed) as lost:
            await dealer.templates.register(DEFAULT_CHANNEL, DRAFT)
        assert lost.value.reason == "dealer_unavailable"
        code = await dealer.templates.register(DEFAULT_CHANNEL, DRAFT)
        assert [each.code for each in await dealer.templates.every(DEFAULT_CHANNEL)] == [code]


async def test_another_channels_template_is_none_of_ours() -> None:
    async with world() as (_, dealer):
        code = await dealer.templates.register(DEFAULT_CHANNEL, DRAFT)
        assert (await dealer.templates.get("KA01PF-other", code)).status is TemplateStatus.MISSING
        assert await dealer.templates.every("KA01PF-other") == []


async def test_a_template_of_the_channels_group_is_ours(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(ONE, Reply(200, {"templateId": "T1", "channelId": None, "channelGroupId": "G", "status": "APPROVED"}))
    assert (await dealer.templates.get("KA01PF", "T1")).status is TemplateStatus.APPROVED


async def test_pages_are_read_to_the_last(dealer: Solapi, fake: FakeGateway) -> None:
    pages = [
        Reply(200, {"templateList": [{"templateId": "T1", "status": "APPROVED"}], "nextKey": "T2"}),
        Reply(200, {"templateList": [{"templateId": "T2", "status": "PENDING"}], "nextKey": None}),
    ]
    fake.on(LIST, lambda _: pages.pop(0))
    assert [(each.code, each.status.value) for each in await dealer.templates.every("KA01PF")] == [
        ("T1", "approved"),
        ("T2", "registered"),
    ]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(Reply(401, {"errorCode": "InvalidAPIKey"}), "auth_failed", id="bad-key"),
        pytest.param(Reply(429, {"errorCode": "TooManyRequests"}), "rate_limited", id="too-fast"),
        pytest.param(Reply(500, {}), "dealer_error", id="ill"),
        pytest.param(Reply(520, {}), "dealer_error", id="a-status-that-nobody-knows"),
        pytest.param(Reply(200, {"templates": []}), "dealer_error", id="another-shape"),
        pytest.param(Reply(200, {"templateList": [{}]}), "dealer_error", id="without-an-id"),
    ],
)
async def test_an_answer_that_helps_nobody_is_a_failure(
    dealer: Solapi, fake: FakeGateway, reply: Reply, reason: str
) -> None:
    fake.on(LIST, reply)
    with pytest.raises(TemplateCallFailed) as failed:
        await dealer.templates.every("KA01PF")
    assert failed.value.reason == reason


async def test_a_state_that_nobody_knows_is_no_approval(dealer: Solapi, fake: FakeGateway) -> None:
    odd = [{"templateId": "T1", "status": "LIKED"}, {"templateId": "T2"}, {"templateId": "T\n3", "status": "APPROVED"}]
    fake.on(LIST, Reply(200, {"templateList": odd}))
    assert await dealer.templates.every("KA01PF") == []


@pytest.mark.parametrize(
    "draft",
    [
        pytest.param(replace(DRAFT, buttons=(Button("TN", "전화 연결", phone="02-1"),)), id="button"),
        pytest.param(replace(DRAFT, quick_replies=(QuickReply("BF", "톡에서 예약하기"),)), id="quick-reply"),
        pytest.param(replace(DRAFT, title="#{금액}"), id="title-alone"),
        pytest.param(replace(LISTED, title="#{금액}", subtitle="금액"), id="title-and-list"),
    ],
)
async def test_what_solapi_has_no_place_for_is_refused_before_any_call(
    dealer: Solapi, fake: FakeGateway, draft: TemplateDraft
) -> None:
    with pytest.raises(TemplateCallFailed) as failed:
        await dealer.templates.register("KA01PF", draft)
    assert failed.value.reason == "invalid_request"
    assert fake.lines() == []
