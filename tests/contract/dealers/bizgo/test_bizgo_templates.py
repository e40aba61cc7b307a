"""Templates at Bizgo: registered, inspected, worded anew, sent only while they may be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bongsu.sandbox import Profile, Sandbox, start_sandbox
from bongsu.sandbox.bizgo.dialect import DEFAULT_SENDER_KEY, BizgoDialect
from bongsu.sandbox.profile import DealerProfile
from shared.dealers.base import Accepted, Button, Item, QuickReply, Refused
from shared.dealers.bizgo.adapter import Bizgo
from shared.dealers.bizgo.templates import BizgoTemplates
from shared.dealers.templates import TemplateCallFailed, TemplateDraft, TemplateStatus
from tests.contract.dealers.bizgo.bizgo_world import VARIABLES, bizgo_at, outgoing, said
from tests.contract.dealers.fake_gateway import CUT, FakeGateway, Reply

DRAFT = TemplateDraft("order-paid", "결제 안내", "#{이름}님, 결제되었습니다.", category="001001")
FULL = replace(
    DRAFT,
    code="order-full",
    buttons=(Button("WL", "보기", "https://m.example", "https://example"),),
    quick_replies=(QuickReply("BK", "문의"),),
    title="12,000원",
    subtitle="결제",
    header="결제 안내",
    highlight=Item("감자", "햇감자"),
    items=(Item("상품", "감자"), Item("수량", "1")),
    summary=Item("합계", "12,000원"),
    secure=True,
)
TEMPLATE = "/api/comm/v1/center/alimtalk/template"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    own = DealerProfile(options={"lookups_per_second": 0})
    async with start_sandbox(Profile(dealers={"bizgo": own})) as running:
        yield running


@pytest.fixture
async def adapter(sandbox: Sandbox) -> AsyncIterator[Bizgo]:
    async with bizgo_at(sandbox.url_of("bizgo")) as built:
        yield built


@pytest.fixture
def templates(adapter: Bizgo) -> BizgoTemplates:
    return adapter.templates


@pytest.fixture
def bizgo(sandbox: Sandbox) -> BizgoDialect:
    dialect = sandbox.dialects["bizgo"]
    assert isinstance(dialect, BizgoDialect)
    return dialect


async def status(templates: BizgoTemplates, code: str = DRAFT.code) -> TemplateStatus:
    return (await templates.get(DEFAULT_SENDER_KEY, code)).status


async def test_a_template_from_draft_to_approval(
    templates: BizgoTemplates, bizgo: BizgoDialect, adapter: Bizgo
) -> None:
    assert await status(templates) is TemplateStatus.MISSING
    assert await templates.register(DEFAULT_SENDER_KEY, DRAFT) == DRAFT.code
    assert await status(templates) is TemplateStatus.REGISTERED
    await templates.submit(DEFAULT_SENDER_KEY, DRAFT.code, "결제 뒤에 보냅니다.")
    assert await status(templates) is TemplateStatus.INSPECTING
    [refused] = await adapter.send(None, [outgoing(VARIABLES)])
    assert isinstance(refused, Refused)
    bizgo.inspect(DRAFT.code, "approved")
    [copy] = await templates.every(DEFAULT_SENDER_KEY)
    assert (copy.code, copy.status, copy.text) == (DRAFT.code, TemplateStatus.APPROVED, DRAFT.text)
    assert copy.changed_at is not None
    [accepted] = await adapter.send(None, [outgoing(VARIABLES)])
    assert isinstance(accepted, Accepted)


async def test_a_rejected_template_is_worded_anew_and_handed_in_again(
    templates: BizgoTemplates, bizgo: BizgoDialect
) -> None:
    await templates.register(DEFAULT_SENDER_KEY, DRAFT)
    await templates.submit(DEFAULT_SENDER_KEY, DRAFT.code, "")
    bizgo.inspect(DRAFT.code, "rejected", "광고성 문구를 빼 주세요.")
    copy = await templates.get(DEFAULT_SENDER_KEY, DRAFT.code)
    assert (copy.status, copy.comments) == (TemplateStatus.REJECTED, ("광고성 문구를 빼 주세요.",))
    await templates.register(DEFAULT_SENDER_KEY, replace(DRAFT, text="#{이름}님, 결제를 마쳤습니다."))
    await templates.submit(DEFAULT_SENDER_KEY, DRAFT.code, "고쳤습니다.")
    copy = await templates.get(DEFAULT_SENDER_KEY, DRAFT.code)
    assert (copy.status, copy.text) == (TemplateStatus.INSPECTING, "#{이름}님, 결제를 마쳤습니다.")


@pytest.mark.parametrize("word", ["stopped", "dormant", "blocked"])
async def test_an_approved_template_may_be_taken_away(
    templates: BizgoTemplates, bizgo: BizgoDialect, adapter: Bizgo, word: str
) -> None:
    await templates.register(DEFAULT_SENDER_KEY, DRAFT)
    bizgo.inspect(DRAFT.code, "approved")
    bizgo.inspect(DRAFT.code, word)
    assert await status(templates) is TemplateStatus(word)
    [refused] = await adapter.send(None, [outgoing(VARIABLES)])
    assert isinstance(refused, Refused)


async def test_all_that_a_draft_has_is_registered(templates: BizgoTemplates, bizgo: BizgoDialect) -> None:
    await templates.register(DEFAULT_SENDER_KEY, FULL)
    kept = bizgo.center.templates[DEFAULT_SENDER_KEY, FULL.code]
    assert kept["templateEmphasizeType"] == "ITEM_LIST"
    assert kept["attachment"]["item"]["summary"] == {"title": "합계", "description": "12,000원"}
    assert kept["attachment"]["itemHighlight"] == {"title": "감자", "description": "햇감자"}
    assert kept["attachment"]["button"][0]["urlMobile"] == "https://m.example"
    assert kept["supplement"]["quickReply"][0]["name"] == "문의"
    names = ("title", "subTitle", "header", "categoryCode", "securityFlag", "templateMessageType")
    assert [kept[name] for name in names] == ["12,000원", "결제", "결제 안내", "001001", True, "BA"]


async def test_a_template_with_a_channel_button_is_called_so(templates: BizgoTemplates, bizgo: BizgoDialect) -> None:
    await templates.register(DEFAULT_SENDER_KEY, replace(DRAFT, buttons=(Button("AC", "채널 추가"),)))
    assert bizgo.center.templates[DEFAULT_SENDER_KEY, DRAFT.code]["templateMessageType"] == "AD"


async def test_every_page_is_read(templates: BizgoTemplates) -> None:
    for n in range(205):
        await templates.register(DEFAULT_SENDER_KEY, replace(DRAFT, code=f"t{n}"))
    assert {copy.code for copy in await templates.every(DEFAULT_SENDER_KEY)} == {f"t{n}" for n in range(205)}


async def test_only_what_was_never_approved_is_deleted(templates: BizgoTemplates, bizgo: BizgoDialect) -> None:
    await templates.register(DEFAULT_SENDER_KEY, DRAFT)
    bizgo.inspect(DRAFT.code, "approved")
    with pytest.raises(TemplateCallFailed, match="A213"):
        await templates.delete(DEFAULT_SENDER_KEY, DRAFT.code)
    bizgo.inspect(DRAFT.code, "rejected")
    await templates.delete(DEFAULT_SENDER_KEY, DRAFT.code)
    with pytest.raises(TemplateCallFailed, match="A820"):
        await templates.delete(DEFAULT_SENDER_KEY, DRAFT.code)


async def test_categories_are_kakaos(templates: BizgoTemplates) -> None:
    assert {category.code for category in await templates.categories()} >= {"999999"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(401, json={"common": {"authCode": "A401"}}), "auth_failed"),
        (Reply(400, json=said("A502")), "sender_profile_invalid"),
        (Reply(429, json=said("A020")), "rate_limited"),
        (Reply(503, json=said("A920")), "dealer_unavailable"),
        (Reply(json=said(data=7)), "dealer_error"),
        (CUT, "dealer_unavailable"),
    ],
)
async def test_a_call_that_failed_says_why(fake: FakeGateway, reply: Reply, reason: str) -> None:
    fake.on(f"GET {TEMPLATE}/list", reply)
    async with bizgo_at(f"http://127.0.0.1:{fake.port}") as adapter:
        with pytest.raises(TemplateCallFailed) as failed:
            await adapter.templates.every(DEFAULT_SENDER_KEY)
    assert failed.value.reason == reason


async def test_what_bizgo_has_no_room_for_is_refused_before_any_call(fake: FakeGateway) -> None:
    async with bizgo_at(f"http://127.0.0.1:{fake.port}") as adapter:
        for draft in (replace(DRAFT, items=(Item("a", "b"),)), replace(DRAFT, text="\ud800")):
            with pytest.raises(TemplateCallFailed):
                await adapter.templates.register(DEFAULT_SENDER_KEY, draft)
    assert fake.requests == []
