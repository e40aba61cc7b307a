"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from bongsu.sandbox import CallFault, Operation, Sandbox
from bongsu.sandbox.luna.dialect import DEFAULT_SENDER_KEY
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    AlreadyTaken,
    Ambiguous,
    Dealer,
    ImageUse,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Refused,
    SendResult,
    StillUnknown,
    Text,
    Uploaded,
)
from tests.contract.dealers.luna.luna_world import (
    BRAND,
    BUTTONS,
    FULL,
    ORDER,
    dealer_at,
    outgoing,
    receiving,
    sandbox_with,
)

UNPROCESSED = [CallFault.CUT_BEFORE, CallFault.ERROR_BEFORE, CallFault.REDIRECT]
PROCESSED = [
    CallFault.CUT_AFTER,
    CallFault.ERROR_AFTER,
    CallFault.STALL_AFTER,
    CallFault.GARBLED,
    CallFault.TRUNCATED,
    CallFault.TRICKLE,
]


def strike(sandbox: Sandbox, fault: CallFault) -> None:
    sandbox.arrange(Operation.SEND, fault, dealer="luna")


def left(sandbox: Sandbox, one: Outgoing) -> int:
    return sum(dispatched.key == one.request_key for dispatched in sandbox.truth())


async def send_one(dealer: Dealer, one: Outgoing) -> SendResult:
    [result] = await dealer.send(None, [one])
    return result


async def test_each_message_of_a_batch_is_a_call_of_its_own() -> None:
    batch = [outgoing(content) for content in (ORDER, FULL, BUTTONS)]
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        results = await dealer.send(None, batch)
        assert results == [Accepted(one.request_key) for one in batch]
        assert {sent.key: sent.to for sent in sandbox.truth()} == {one.request_key: one.to for one in batch}
        assert len(sandbox.record) == 3


async def test_a_message_that_luna_cannot_say_leaves_its_neighbours_alone() -> None:
    odd = Outgoing(outgoing().message_id, 1, "key-1", Channel.SMS, "01012345678", Text("0212345678", "안녕"))
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        results = await dealer.send(None, [outgoing(), odd, outgoing(BRAND)])
        assert [type(result) for result in results] == [Accepted, Refused, Accepted]
        assert [sent.channel for sent in sandbox.truth()] == [Channel.ALIMTALK, Channel.FRIENDTALK]


@pytest.mark.parametrize("fault", UNPROCESSED + PROCESSED)
async def test_a_lost_answer_is_resolved_by_the_same_request_again(fault: CallFault) -> None:
    one = outgoing()
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna"), timeout_seconds=0.3) as dealer:
        strike(sandbox, fault)
        assert isinstance(await send_one(dealer, one), Ambiguous)
        assert left(sandbox, one) == (fault in PROCESSED)
        again = await send_one(dealer, one)
        assert again == (AlreadyTaken if fault in PROCESSED else Accepted)(one.request_key)
        assert left(sandbox, one) == 1


@pytest.mark.parametrize("fault", [None, *PROCESSED])
async def test_it_is_as_well_where_luna_tells_of_a_known_key_by_webhook_alone(fault: CallFault | None) -> None:
    one = outgoing()
    async with (
        receiving() as inbox,
        sandbox_with({"judges_late": True}, webhook_url=inbox.url) as sandbox,
        dealer_at(sandbox.url_of("luna"), timeout_seconds=0.3) as dealer,
    ):
        if fault is not None:
            strike(sandbox, fault)
        await send_one(dealer, one)
        assert await send_one(dealer, one) == Accepted(one.request_key)
        assert left(sandbox, one) == 1
        sandbox.settle()
        reports = [report for call in await inbox.wait_for(2) for report in dealer.read_receipts(*call)]
        assert {(report.code, report.delivered, report.reason) for report in reports} == {
            ("3012", None, None),  # it has it: no failure of the first request
            ("0000", True, None),
        }
        assert {report.request_key for report in reports} == {one.request_key}


async def test_a_wrong_content_type_is_no_riddle() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        strike(sandbox, CallFault.WRONG_TYPE)
        assert isinstance(await send_one(dealer, outgoing()), Accepted)


async def test_nobody_listens() -> None:
    async with sandbox_with() as sandbox:
        url = sandbox.url_of("luna")
    async with dealer_at(url) as dealer:
        result = await send_one(dealer, outgoing())
    assert isinstance(result, NotTaken)
    assert result.reason == "dealer_unavailable"


@pytest.mark.parametrize("agent_key", ["wrong", None])
async def test_a_key_that_is_not_known(agent_key: str | None) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna"), agent_key=agent_key) as dealer:
        if agent_key is None:
            strike(sandbox, CallFault.KEY_REFUSED)
        assert await send_one(dealer, outgoing()) == Refused("auth_failed", "LS0002", "no such agentKey")
        assert sandbox.truth() == []


async def test_above_the_limit() -> None:
    batch = [outgoing() for _ in range(5)]
    async with (
        sandbox_with(limits={"messages_per_second": 3}) as sandbox,
        dealer_at(sandbox.url_of("luna")) as dealer,
    ):
        results = await dealer.send(None, batch)
        refused = [result for result in results if isinstance(result, NotTaken)]
        assert len(sandbox.truth()) == 3
        assert [(result.reason, result.code) for result in refused] == [("rate_limited", "HTTP 429")] * 2
        assert all(result.retry_after for result in refused)


@pytest.mark.parametrize(
    ("one", "reason", "code"),
    [
        pytest.param(outgoing(replace(ORDER, sender_key="other")), "sender_profile_invalid", "1003", id="sender"),
        pytest.param(outgoing(), "template_not_found", "3015", id="template"),
        pytest.param(outgoing(replace(ORDER, title="가" * 51)), "variable_too_long", "3029", id="title"),
        pytest.param(outgoing(replace(ORDER, buttons=ORDER.buttons * 6)), "button_mismatch", "3027", id="buttons"),
        pytest.param(replace(outgoing(), to="0212345678"), "invalid_phone", "3008", id="phone"),
        pytest.param(outgoing(replace(ORDER, text="")), "invalid_request", "1004", id="empty"),
    ],
)
async def test_what_kakao_refuses(one: Outgoing, reason: str, code: str) -> None:
    async with sandbox_with(accept_any_template=False) as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        result = await send_one(dealer, one)
        assert isinstance(result, Refused)
        assert (result.reason, result.code) == (reason, code)
        assert sandbox.truth() == []


@pytest.mark.parametrize(
    ("word", "delivered", "reason"),
    [("not_kakao_user", False, "not_kakao_user"), ("delivery_uncertain", None, "delivery_uncertain")],
)
async def test_receipts_tell_how_it_ended(
    word: str,
    delivered: bool | None,  # noqa: FBT001 - a row
    reason: str,
) -> None:
    lost, got = outgoing(), outgoing(BRAND)
    async with (
        receiving() as inbox,
        sandbox_with(webhook_url=inbox.url, faults={"fates": {"numbers": {lost.to: word}}}) as sandbox,
        dealer_at(sandbox.url_of("luna")) as dealer,
    ):
        await dealer.send(None, [lost, got])
        sandbox.settle()
        reports = [report for call in await inbox.wait_for(2) for report in dealer.read_receipts(*call)]
    by_key = {report.request_key: report for report in reports}
    assert (by_key[lost.request_key].delivered, by_key[lost.request_key].reason) == (delivered, reason)
    assert by_key[got.request_key].delivered is True
    assert by_key[got.request_key].leg is None
    assert lost.to.encode() not in b"".join(report.raw for report in reports)


async def test_there_is_no_lookup() -> None:
    one = outgoing()
    attempt = OpenAttempt(
        one.message_id, 1, one.request_key, one.channel, one.to, None, None, datetime(2026, 11, 23, tzinfo=UTC)
    )
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        [result] = await dealer.lookup([attempt])
        assert isinstance(result, StillUnknown)
        assert sandbox.record == []


async def test_the_check_asks_for_sender_profiles() -> None:
    async with sandbox_with(accept_any_template=False) as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        checked = await dealer.check([DEFAULT_SENDER_KEY, "other"], ["0212345678"])
    assert [item.ok for item in checked] == [True, False, None]


async def test_an_image_of_a_brand_message() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        uploaded = await dealer.upload(ImageUse.BRAND, "new.png", b"\x89PNG\r\n\x1a\n...")
        assert isinstance(uploaded, Uploaded)
        assert uploaded.startswith("https://")
        assert isinstance(await dealer.upload(ImageUse.BRAND, "new.gif", b"GIF89a"), Refused)
        assert isinstance(await dealer.upload(ImageUse.MMS, "new.png", b"\x89PNG\r\n\x1a\n..."), Refused)


async def test_many_at_once_share_no_state() -> None:
    batches = [[outgoing() for _ in range(30)] for _ in range(4)]
    async with (
        sandbox_with(limits={"messages_per_second": 0}) as sandbox,
        dealer_at(sandbox.url_of("luna")) as dealer,
    ):
        results = await asyncio.gather(*(dealer.send(None, batch) for batch in batches))
        assert [[Accepted(one.request_key) for one in batch] for batch in batches] == results
        assert len(sandbox.truth()) == 120


async def test_the_sandbox_writes_receipts_as_documented() -> None:
    async with (
        receiving() as inbox,
        sandbox_with(webhook_url=inbox.url) as sandbox,
        dealer_at(sandbox.url_of("luna")) as dealer,
    ):
        one = outgoing()
        await dealer.send(None, [one])
        sandbox.settle()
        [(body, headers)] = await inbox.wait_for(1)
    said = msgspec.json.decode(body)
    assert headers["content-type"] == "application/json"
    assert said.pop("response_dt")[10] == " "
    assert said == {"code": "0000", "message_key": one.request_key, "message_type": "AT"}
