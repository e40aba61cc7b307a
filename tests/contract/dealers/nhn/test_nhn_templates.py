"""The life of a template at NHN, as the sandbox's inspectors decide it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bongsu.sandbox import CallFault, Operation, Profile, Sandbox, start_sandbox
from bongsu.sandbox.nhn.dialect import DEFAULT_SENDER_KEY as KEY
from shared.dealers.base import Accepted, Button, Item, QuickReply
from shared.dealers.nhn.adapter import Nhn
from shared.dealers.templates import TemplateApi, TemplateCallFailed, TemplateDraft, TemplateStatus
from tests.contract.dealers.nhn.nhn_world import at_sandbox, nhn_of, outgoing

DRAFT = TemplateDraft(
    "ORDER_PAID",
    "결제 완료",
    "#{이름}님, 주문이 결제되었습니다.",
    "002001",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o"),),
)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with start_sandbox(Profile()) as running:
        yield running


@pytest.fixture
async def dealer(sandbox: Sandbox) -> AsyncIterator[Nhn]:
    async with at_sandbox(sandbox) as made:
        yield made


@pytest.fixture
def api(dealer: Nhn) -> TemplateApi:
    return dealer.templates


async def test_a_template_is_registered_rejected_reworded_and_approved(
    api: TemplateApi, dealer: Nhn, sandbox: Sandbox
) -> None:
    assert (await api.get(KEY, "ORDER_PAID")).status is TemplateStatus.MISSING
    assert await api.register(KEY, DRAFT) == "ORDER_PAID"
    assert (await api.get(KEY, "ORDER_PAID")).status is TemplateStatus.INSPECTING
    await api.submit(KEY, "ORDER_PAID", "")  # registering it has asked

    nhn_of(sandbox).inspect("ORDER_PAID", "rejected", "변수의 예시가 없습니다.")
    rejected = await api.get(KEY, "ORDER_PAID")
    assert (rejected.status, rejected.comments) == (TemplateStatus.REJECTED, ("변수의 예시가 없습니다.",))

    reworded = replace(DRAFT, text="#{이름}님, 주문하신 상품의 결제가 끝났습니다.")
    assert await api.register(KEY, reworded) == "ORDER_PAID"
    inspecting = await api.get(KEY, "ORDER_PAID")
    assert (inspecting.status, inspecting.text) == (TemplateStatus.INSPECTING, reworded.text)

    nhn_of(sandbox).inspect("ORDER_PAID", "approved")
    assert (await api.get(KEY, "ORDER_PAID")).status is TemplateStatus.APPROVED
    [said] = await dealer.send(None, [outgoing(1)])
    assert isinstance(said, Accepted)


async def test_a_comment_on_a_rejected_template_asks_again(api: TemplateApi, sandbox: Sandbox) -> None:
    await api.register(KEY, DRAFT)
    nhn_of(sandbox).inspect("ORDER_PAID", "rejected", "이유")
    await api.submit(KEY, "ORDER_PAID", "약관에 따른 안내입니다.")
    copy = await api.get(KEY, "ORDER_PAID")
    assert copy.status is TemplateStatus.INSPECTING
    assert copy.comments == ("이유", "약관에 따른 안내입니다.")
    nhn_of(sandbox).inspect("ORDER_PAID", "rejected")
    await api.submit(KEY, "ORDER_PAID", "")
    assert len((await api.get(KEY, "ORDER_PAID")).comments) == 3  # NHN takes no empty one
    nhn_of(sandbox).inspect("ORDER_PAID", "approved")
    with pytest.raises(TemplateCallFailed, match="approved"):
        await api.submit(KEY, "ORDER_PAID", "")


async def test_registering_again_after_a_lost_answer_does_no_harm(api: TemplateApi, sandbox: Sandbox) -> None:
    sandbox.arrange(Operation.OPEN, CallFault.CUT_AFTER, dealer="nhn")
    with pytest.raises(TemplateCallFailed) as lost:
        await api.register(KEY, DRAFT)
    assert lost.value.reason == "dealer_unavailable"
    assert await api.register(KEY, DRAFT) == "ORDER_PAID"
    with pytest.raises(TemplateCallFailed, match="-3001") as exists:
        await api.register(KEY, replace(DRAFT, text="다른 글 #{이름}"))
    assert exists.value.reason == "invalid_request"


async def test_all_of_a_profile_with_what_lists_do_not_tell(api: TemplateApi, sandbox: Sandbox) -> None:
    for n, status in enumerate(("approved", "dormant", "blocked", "rejected")):
        nhn_of(sandbox).add_template(f"T{n}", "#{이름}님")
        nhn_of(sandbox).inspect(f"T{n}", status)
    await api.register(KEY, DRAFT)
    assert {copy.code: copy.status for copy in await api.every(KEY)} == {
        "T0": TemplateStatus.APPROVED,
        "T1": TemplateStatus.DORMANT,
        "T2": TemplateStatus.BLOCKED,
        "T3": TemplateStatus.REJECTED,
        "ORDER_PAID": TemplateStatus.INSPECTING,
    }
    assert await api.every("another") == []


async def test_only_what_was_never_approved_is_deleted(api: TemplateApi, sandbox: Sandbox) -> None:
    await api.register(KEY, DRAFT)
    await api.delete(KEY, "ORDER_PAID")
    await api.delete(KEY, "ORDER_PAID")  # gone already
    assert (await api.get(KEY, "ORDER_PAID")).status is TemplateStatus.MISSING
    nhn_of(sandbox).add_template("T1", "#{이름}님")
    with pytest.raises(TemplateCallFailed) as refused:
        await api.delete(KEY, "T1")
    assert refused.value.reason == "not_permitted"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"title": "결제 완료"}, "-3016"),
        ({"subtitle": "주문"}, "-3027"),
        ({"buttons": (Button("WL", "#{이름} 보기", "https://a.example"),)}, "-3008"),
        ({"code": "X" * 21}, "20"),
        ({"title": "제목", "subtitle": "부제", "header": "머리"}, "not both"),
        ({"buttons": (Button("BF", "톡에서 예약하기", biz_form_id="form"),)}, "numbers"),
    ],
)
async def test_a_draft_that_nhn_does_not_take(api: TemplateApi, changes: dict[str, object], code: str) -> None:
    with pytest.raises(TemplateCallFailed, match=code) as refused:
        await api.register(KEY, replace(DRAFT, **changes))  # type: ignore[arg-type]  # a row of fields
    assert refused.value.reason == "invalid_request"


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "결제 완료", "subtitle": "주문 안내"},
        {"header": "머리", "items": (Item("상품", "#{상품}"),), "summary": Item("합계", "#{금액}원")},
        {"quick_replies": (QuickReply("BK", "문의"),), "secure": True},
        {"buttons": (Button("AC", "채널 추가"),)},
    ],
)
async def test_a_draft_with_all_its_parts(api: TemplateApi, sandbox: Sandbox, changes: dict[str, object]) -> None:
    await api.register(KEY, replace(DRAFT, **changes))  # type: ignore[arg-type]  # a row of fields
    kept = nhn_of(sandbox).templates.find(KEY, "ORDER_PAID").fields
    kinds = {"title": "TEXT", "header": "ITEM_LIST"}
    assert kept["templateEmphasizeType"] == next((kind for name, kind in kinds.items() if name in changes), "NONE")
    assert kept["templateMessageType"] == ("AD" if "buttons" in changes else "BA")


async def test_categories(api: TemplateApi) -> None:
    codes = {category.code: (category.name, category.group) for category in await api.categories()}
    assert codes["002001"] == ("구매완료", "구매")
    assert "999999" in codes


async def test_what_cannot_be_stopped_says_so(api: TemplateApi) -> None:
    with pytest.raises(TemplateCallFailed) as refused:
        await api.stop(KEY, "ORDER_PAID")
    assert refused.value.reason == "not_permitted"


async def test_a_broken_gateway_is_no_missing_template(api: TemplateApi, sandbox: Sandbox) -> None:
    await api.register(KEY, DRAFT)
    for fault in (CallFault.ERROR_BEFORE, CallFault.CUT_BEFORE, CallFault.GARBLED, CallFault.KEY_REFUSED):
        sandbox.arrange(Operation.LOOKUP, fault, dealer="nhn")
        with pytest.raises(TemplateCallFailed):
            await api.get(KEY, "ORDER_PAID")
