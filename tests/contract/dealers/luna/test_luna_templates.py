"""Templates, from registration to the message that Kakao compares with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from bongsu.sandbox import CallFault, Operation
from bongsu.sandbox.luna.dialect import DEFAULT_SENDER_KEY, LunaDialect
from shared.dealers.base import Accepted, AlimTalk, Button, Dealer, Item, QuickReply, Refused
from shared.dealers.templates import TemplateApi, TemplateCallFailed, TemplateDraft, TemplateStatus
from tests.contract.dealers.luna.luna_world import FULL, ORDER, dealer_at, luna_of, outgoing, sandbox_with

ORDER_PAID = TemplateDraft(
    code="ORDER_PAID",
    name="주문 결제",
    text="#{이름}님, 주문 #{주문번호}이 결제되었습니다.",
    category="002001",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o/#{주문번호}", "https://shop.example/pc/o/#{주문번호}"),),
)
LISTED = TemplateDraft(
    code="FULL",
    name="목록",
    text="#{이름}님의 주문입니다. 🙂",
    buttons=FULL.buttons,
    quick_replies=FULL.quick_replies,
    header="주문 안내",
    highlight=Item("#{상점}", "주문 완료"),
    items=(Item("상품", "#{상품}"), Item("수량", "#{수량}")),
    summary=Item("합계", "#{금액}"),
    secure=True,
)


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Dealer, TemplateApi, LunaDialect]]:
    async with sandbox_with(accept_any_template=False) as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        templates = dealer.templates
        assert templates is not None
        yield dealer, templates, luna_of(sandbox)


async def test_from_registration_to_a_message() -> None:
    async with world() as (dealer, templates, luna):
        assert await templates.register(DEFAULT_SENDER_KEY, ORDER_PAID) == "ORDER_PAID"
        assert (await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")).status is TemplateStatus.REGISTERED
        await templates.submit(DEFAULT_SENDER_KEY, "ORDER_PAID", "주문하신 분께 갑니다.")
        assert (await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")).status is TemplateStatus.INSPECTING
        luna.inspect("ORDER_PAID", "approved", "승인되었습니다.")
        copy = await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")
        assert (copy.status, copy.text) == (TemplateStatus.APPROVED, ORDER_PAID.text)
        assert copy.comments == ("주문하신 분께 갑니다.", "승인되었습니다.")
        assert copy.changed_at is not None
        assert copy.changed_at.tzinfo is not None
        [result] = await dealer.send(None, [outgoing()])
        assert isinstance(result, Accepted)


async def test_a_rejected_template_takes_a_new_wording_and_is_submitted_again() -> None:
    async with world() as (_, templates, luna):
        await templates.register(DEFAULT_SENDER_KEY, ORDER_PAID)
        await templates.submit(DEFAULT_SENDER_KEY, "ORDER_PAID", "")
        luna.inspect("ORDER_PAID", "rejected", "광고성 문구입니다.")
        copy = await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")
        assert (copy.status, copy.comments) == (TemplateStatus.REJECTED, ("광고성 문구입니다.",))
        await templates.register(DEFAULT_SENDER_KEY, replace(ORDER_PAID, text="#{이름}님, 결제되었습니다."))
        copy = await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")
        assert (copy.status, copy.text) == (TemplateStatus.REGISTERED, "#{이름}님, 결제되었습니다.")
        await templates.submit(DEFAULT_SENDER_KEY, "ORDER_PAID", "고쳤습니다.")
        assert (await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")).status is TemplateStatus.INSPECTING


async def test_an_approved_template_keeps_its_wording() -> None:
    async with world() as (_, templates, luna):
        await templates.register(DEFAULT_SENDER_KEY, ORDER_PAID)
        luna.inspect("ORDER_PAID", "approved")
        with pytest.raises(TemplateCallFailed) as failed:
            await templates.register(DEFAULT_SENDER_KEY, replace(ORDER_PAID, text="다른 글"))
        assert failed.value.reason == "invalid_request"
        assert (await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")).text == ORDER_PAID.text


FITS = replace(FULL, title=None)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(FITS, None, id="fits"),
        pytest.param(replace(FITS, text="봉수님의 주문입니다."), "3016", id="text"),
        pytest.param(FULL, "3028", id="title"),
        pytest.param(replace(FITS, header="다른 안내"), "3031", id="header"),
        pytest.param(replace(FITS, highlight=Item("봉수상점", "취소")), "3033", id="highlight"),
        pytest.param(replace(FITS, items=FITS.items[:1]), "3036", id="items"),
        pytest.param(replace(FITS, summary=None), "3038", id="summary"),
        pytest.param(replace(FITS, buttons=FITS.buttons[:1]), "3027", id="buttons"),
        pytest.param(replace(FITS, quick_replies=(QuickReply("BK", "다른 문의"),)), "3027", id="replies"),
        pytest.param(replace(FITS, has_image=True), "3030", id="image"),
    ],
)
async def test_a_message_is_compared_with_its_template(content: AlimTalk, code: str | None) -> None:
    async with world() as (dealer, templates, luna):
        await templates.register(DEFAULT_SENDER_KEY, LISTED)
        luna.inspect("FULL", "approved")
        [result] = await dealer.send(None, [outgoing(content)])
        assert (result.code if isinstance(result, Refused) else None) == code


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("stopped", TemplateStatus.STOPPED),
        ("dormant", TemplateStatus.DORMANT),
        ("blocked", TemplateStatus.BLOCKED),
    ],
)
async def test_a_template_that_was_approved_once(word: str, status: TemplateStatus) -> None:
    async with world() as (dealer, templates, luna):
        await templates.register(DEFAULT_SENDER_KEY, ORDER_PAID)
        luna.inspect("ORDER_PAID", "approved")
        luna.inspect("ORDER_PAID", word)
        assert (await templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")).status is status
        [result] = await dealer.send(None, [outgoing(ORDER)])
        assert isinstance(result, Refused)
        assert result.reason == "template_not_found"


async def test_stop_and_delete() -> None:
    async with world() as (_, templates, luna):
        await templates.register(DEFAULT_SENDER_KEY, ORDER_PAID)
        with pytest.raises(TemplateCallFailed):
            await templates.stop(DEFAULT_SENDER_KEY, "ORDER_PAID")  # only an approved one
        luna.inspect("ORDER_PAID", "approved")
        with pytest.raises(TemplateCallFailed):
            await templates.delete(DEFAULT_SENDER_KEY, "ORDER_PAID")  # only one never approved
        await templates.stop(DEFAULT_SENDER_KEY, "ORDER_PAID")
        await templates.register(DEFAULT_SENDER_KEY, LISTED)
        await templates.delete(DEFAULT_SENDER_KEY, "FULL")
        assert (await templates.get(DEFAULT_SENDER_KEY, "FULL")).status is TemplateStatus.MISSING
        [stopped] = await templates.every(DEFAULT_SENDER_KEY)
        assert (stopped.code, stopped.status) == ("ORDER_PAID", TemplateStatus.STOPPED)


async def test_every_template_of_a_profile() -> None:
    async with world() as (_, templates, _luna):
        for n in range(3):
            await templates.register(DEFAULT_SENDER_KEY, replace(ORDER_PAID, code=f"T{n}", name=f"이름 {n}"))
        assert [copy.code for copy in await templates.every(DEFAULT_SENDER_KEY)] == ["T0", "T1", "T2"]
        assert await templates.every("other") == []


async def test_categories() -> None:
    async with world() as (_, templates, _luna):
        assert "999999" in {category.code for category in await templates.categories()}


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        pytest.param(
            replace(ORDER_PAID, buttons=(Button("TN", "전화 연결", phone="1588"),)), "invalid_request", id="call"
        ),
        pytest.param(replace(ORDER_PAID, buttons=(Button("WL", "보기"),)), "invalid_request", id="link"),
        pytest.param(replace(ORDER_PAID, title="제목"), "invalid_request", id="title-without-subtitle"),
        pytest.param(replace(ORDER_PAID, text="가" * 1001), "content_too_long", id="too-long"),
        pytest.param(replace(ORDER_PAID, text=""), "invalid_request", id="empty"),
    ],
)
async def test_what_the_center_refuses(draft: TemplateDraft, reason: str) -> None:
    async with world() as (_, templates, _luna):
        with pytest.raises(TemplateCallFailed) as failed:
            await templates.register(DEFAULT_SENDER_KEY, draft)
        assert failed.value.reason == reason


@pytest.mark.parametrize(
    "fault", [CallFault.CUT_AFTER, CallFault.ERROR_BEFORE, CallFault.GARBLED, CallFault.TRUNCATED, CallFault.REDIRECT]
)
async def test_a_center_that_is_away(fault: CallFault) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        sandbox.arrange(Operation.LOOKUP, fault, dealer="luna")
        assert dealer.templates is not None
        with pytest.raises(TemplateCallFailed) as failed:
            await dealer.templates.get(DEFAULT_SENDER_KEY, "ORDER_PAID")
        assert failed.value.reason == "dealer_unavailable"


async def test_a_key_that_is_not_known() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna"), agent_key="wrong") as dealer:
        assert dealer.templates is not None
        with pytest.raises(TemplateCallFailed) as failed:
            await dealer.templates.categories()
        assert failed.value.reason == "auth_failed"
