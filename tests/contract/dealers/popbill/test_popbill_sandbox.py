"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from bongsu.sandbox import CallFault, FaultProfile, Operation, Profile, Sandbox, Template
from bongsu.sandbox.popbill.dialect import DEFAULT_CHANNEL, credentials
from bongsu.sandbox.profile import DEFAULT_SENDER, Fates, Limits, spread
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    Checked,
    ImageUse,
    NotFound,
    NotTaken,
    Refused,
    Report,
    StillUnknown,
    Uploaded,
)
from shared.dealers.popbill.adapter import Popbill
from shared.dealers.templates import TemplateCallFailed, TemplateDraft, TemplateStatus
from tests.contract.dealers.fake_gateway import NOW
from tests.contract.dealers.popbill.popbill_world import (
    CONTENTS,
    JPEG,
    SHORT,
    attempt,
    dealer_at,
    outgoing,
    popbill_of,
    running,
    sandbox_with,
)

TAKEN = (CallFault.CUT_AFTER, CallFault.ERROR_AFTER, CallFault.GARBLED, CallFault.TRUNCATED)
LEFT = (CallFault.CUT_BEFORE, CallFault.ERROR_BEFORE, CallFault.REDIRECT)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running(sandbox_with()) as one:
        yield one


@pytest.fixture
async def dealer(sandbox: Sandbox) -> AsyncIterator[Popbill]:
    async with dealer_at(sandbox.url_of("popbill")) as one:
        yield one


@pytest.mark.parametrize("name", CONTENTS)
async def test_a_message_goes_out_once_and_is_told_of(sandbox: Sandbox, dealer: Popbill, name: str) -> None:
    channel, content = CONTENTS[name]
    one = outgoing(content, channel)
    [accepted] = await dealer.send(None, [one])
    assert isinstance(accepted, Accepted)
    [sent] = sandbox.truth()
    assert (sent.key, sent.to, sent.channel, sent.message_id) == (
        one.request_key,
        one.to,
        channel,
        accepted.dealer_message_id,
    )

    for by_id in (None, accepted.dealer_message_id):
        [waiting] = await dealer.lookup([attempt(one, by_id)])
        assert isinstance(waiting, Report)
        assert (waiting.delivered, waiting.code) == (None, "state-2")
    sandbox.settle()
    for by_id in (None, accepted.dealer_message_id):
        [report] = await dealer.lookup([attempt(one, by_id)])
        assert isinstance(report, Report)
        assert (report.delivered, report.code, report.reason) == (True, "100", None)
        assert (report.request_key, report.dealer_message_id) == (one.request_key, accepted.dealer_message_id)
        assert report.at is not None


async def test_a_batch_is_as_many_requests_and_keeps_its_order(sandbox: Sandbox, dealer: Popbill) -> None:
    batch = [outgoing() for _ in range(25)]
    batch[3] = replace(batch[3], content=replace(SHORT, text="😀"))
    results = await dealer.send(None, batch)
    assert isinstance(results[3], Refused)
    ids = {result.dealer_message_id: one for result, one in zip(results, batch, strict=True) if result != results[3]}  # type: ignore[union-attr]  # all others were accepted
    assert {sent.message_id: sent.key for sent in sandbox.truth()} == {
        identifier: one.request_key for identifier, one in ids.items()
    }


async def test_a_failure_of_whatever_code_is_never_a_success(sandbox: Sandbox, dealer: Popbill) -> None:
    talk, text = outgoing(), outgoing(SHORT, Channel.SMS)
    sandbox.faults = FaultProfile(fates=Fates(numbers={talk.to: "not_kakao_user", text.to: "no_subscriber"}))
    await dealer.send(None, [talk])
    await dealer.send(None, [text])
    sandbox.settle()
    for report in await dealer.lookup([attempt(talk), attempt(text)]):
        assert isinstance(report, Report)
        assert (report.delivered, report.reason) == (False, "unknown")


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
@pytest.mark.parametrize("fault", TAKEN)
async def test_a_lost_answer_is_found_by_our_number(
    sandbox: Sandbox, dealer: Popbill, fault: CallFault, channel: Channel
) -> None:
    one = outgoing(*((SHORT, channel) if channel.is_text else ()))
    sandbox.arrange(Operation.SEND, fault, dealer="popbill")
    [result] = await dealer.send(None, [one])
    assert isinstance(result, Ambiguous)
    [report] = await dealer.lookup([attempt(one)])
    assert isinstance(report, Report)
    assert [sent.key for sent in sandbox.truth()] == [one.request_key]


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
@pytest.mark.parametrize("fault", LEFT)
async def test_a_call_that_was_not_carried_out_is_not_found(
    sandbox: Sandbox, dealer: Popbill, fault: CallFault, channel: Channel
) -> None:
    one = outgoing(*((SHORT, channel) if channel.is_text else ()))
    sandbox.arrange(Operation.SEND, fault, dealer="popbill")
    [result] = await dealer.send(None, [one])
    assert isinstance(result, Ambiguous)
    assert isinstance((await dealer.lookup([attempt(one)]))[0], NotFound)
    assert sandbox.truth() == []


async def test_a_stalled_answer_is_ambiguous(sandbox: Sandbox) -> None:
    sandbox.arrange(Operation.SEND, CallFault.STALL_AFTER, dealer="popbill")
    async with dealer_at(sandbox.url_of("popbill"), timeout_seconds=0.3) as impatient:
        assert isinstance((await impatient.send(None, [outgoing()]))[0], Ambiguous)
    assert len(sandbox.truth()) == 1


@pytest.mark.parametrize("fault", [*LEFT, *TAKEN])
async def test_without_a_token_nothing_leaves(sandbox: Sandbox, dealer: Popbill, fault: CallFault) -> None:
    sandbox.arrange(Operation.OPEN, fault, dealer="popbill")
    [result] = await dealer.send(None, [outgoing()])
    assert isinstance(result, NotTaken)
    assert result.reason == "dealer_unavailable"
    assert sandbox.truth() == []


@pytest.mark.parametrize("fault", [fault for fault in (*LEFT, *TAKEN) if fault is not CallFault.REDIRECT])
async def test_a_lookup_that_failed_says_nothing(sandbox: Sandbox, dealer: Popbill, fault: CallFault) -> None:
    one = outgoing()
    await dealer.send(None, [one])
    sandbox.arrange(Operation.LOOKUP, fault, dealer="popbill")
    assert isinstance((await dealer.lookup([attempt(one)]))[0], StillUnknown)


async def test_an_index_that_lags_is_not_found_and_later_is(sandbox: Sandbox, dealer: Popbill) -> None:
    one = outgoing()
    sandbox.faults = FaultProfile(read_lag=spread(3600))
    await dealer.send(None, [one])
    assert isinstance((await dealer.lookup([attempt(one)]))[0], NotFound)
    taken = popbill_of(sandbox).exchange.by_key[one.request_key]
    [found] = await dealer.lookup([attempt(one, taken[0].id)])
    assert isinstance(found, StillUnknown)  # it was taken for sure
    taken[0].found_from = 0.0
    assert isinstance((await dealer.lookup([attempt(one)]))[0], Report)


async def test_the_same_number_twice_is_looked_up_and_goes_out_once(sandbox: Sandbox, dealer: Popbill) -> None:
    one = outgoing()
    first, second = await dealer.send(None, [one, one])
    assert {type(first), type(second)} == {Accepted, Ambiguous}
    assert isinstance((await dealer.lookup([attempt(one)]))[0], Report)
    assert len(sandbox.truth()) == 1


async def test_a_limit_is_waited_for() -> None:
    profile = Profile(accept_any_template=True, limits=Limits(messages_per_second=1))
    async with running(sandbox_with(profile)) as sandbox, dealer_at(sandbox.url_of("popbill")) as dealer:
        results = await dealer.send(None, [outgoing(), outgoing()])
        [refusal] = [result for result in results if isinstance(result, NotTaken)]
        assert refusal.reason == "rate_limited"
        assert refusal.retry_after is not None
        assert timedelta() < refusal.retry_after <= timedelta(seconds=2)
        assert len(sandbox.truth()) == 1


# -- credentials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"link_id": "NOBODY"}, {"secret_key": "b3RoZXI="}, {"corp_num": "9999999999"}, {"service_id": "POPBILL_TEST"}],
)
async def test_wrong_keys_are_refused_before_anything_leaves(sandbox: Sandbox, wrong: dict[str, str]) -> None:
    async with dealer_at(sandbox.url_of("popbill"), changed=wrong) as dealer:
        [result] = await dealer.send(None, [outgoing()])
        assert isinstance(result, Refused)
        assert result.reason == "auth_failed"
        [checked] = await dealer.check([DEFAULT_CHANNEL], [])
        assert checked.ok is None
        assert await dealer.balance_krw() is None
    assert sandbox.truth() == []


async def test_a_business_number_may_have_its_hyphens(sandbox: Sandbox) -> None:
    async with dealer_at(sandbox.url_of("popbill"), changed={"corp_num": "123-45-67890"}) as dealer:
        assert isinstance((await dealer.send(None, [outgoing()]))[0], Accepted)


async def test_a_clock_that_is_an_hour_off_gets_no_token(sandbox: Sandbox) -> None:
    async with dealer_at(sandbox.url_of("popbill"), now=NOW) as dealer:
        [result] = await dealer.send(None, [outgoing()])
        assert isinstance(result, Refused)
        assert result.reason == "auth_failed"


async def test_a_token_that_wore_out_is_renewed_by_the_next_call(sandbox: Sandbox, dealer: Popbill) -> None:
    await dealer.send(None, [outgoing()])
    popbill_of(sandbox).desk.revoke()
    [worn_out] = await dealer.send(None, [outgoing()])
    assert isinstance(worn_out, NotTaken)
    assert worn_out.reason == "dealer_unavailable"
    assert isinstance((await dealer.send(None, [outgoing()]))[0], Accepted)
    assert len(sandbox.truth()) == 2


async def test_a_key_that_is_refused_for_long_is_a_refusal(sandbox: Sandbox, dealer: Popbill) -> None:
    sandbox.arrange(Operation.SEND, CallFault.KEY_REFUSED, times=2, dealer="popbill")
    [first], [second] = [await dealer.send(None, [outgoing()]) for _ in range(2)]
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert first.reason == second.reason == "auth_failed"
    assert isinstance((await dealer.send(None, [outgoing()]))[0], Accepted)


async def test_one_token_serves_many_calls(sandbox: Sandbox, dealer: Popbill) -> None:
    await dealer.send(None, [outgoing() for _ in range(12)])
    await dealer.send(None, [outgoing(SHORT, Channel.SMS)])
    assert [row["target"] for row in sandbox.record].count("/POPBILL/Token") == 2  # one a service


async def test_a_token_is_renewed_before_it_ends() -> None:
    async with running(sandbox_with(token_seconds=30.0)) as sandbox, dealer_at(sandbox.url_of("popbill")) as dealer:
        for _ in range(2):
            assert isinstance((await dealer.send(None, [outgoing()]))[0], Accepted)
        assert [row["target"] for row in sandbox.record].count("/POPBILL/Token") == 2


# -- the account -------------------------------------------------------------------------------------------------


async def test_channels_and_numbers_are_checked(dealer: Popbill) -> None:
    assert await dealer.check([DEFAULT_CHANNEL, "@남의상점"], [DEFAULT_SENDER, "0298765432"]) == [
        Checked(DEFAULT_CHANNEL, ok=True),
        Checked("@남의상점", ok=False, detail="not registered at Popbill"),
        Checked(DEFAULT_SENDER, ok=True),
        Checked("0298765432", ok=False, detail="not registered at Popbill"),
    ]


async def test_the_balance_is_in_points(dealer: Popbill) -> None:
    assert await dealer.balance_krw() == 100_000_000


async def test_an_image_is_taken_as_its_own_name(dealer: Popbill) -> None:
    named = await dealer.upload(ImageUse.MMS, "sale.jpg", JPEG)
    assert isinstance(named, Uploaded)
    assert isinstance(await dealer.upload(ImageUse.MMS, "sale.jpg", JPEG + bytes(300_000)), Refused)
    refused = await dealer.upload(ImageUse.BRAND, "sale.png", b"\x89PNG")
    assert isinstance(refused, Refused)
    assert refused.detail == "sale.png is no JPEG"


async def test_templates_are_read_and_never_made() -> None:
    profile = Profile(templates=(Template(template_id="T1", pf_id=DEFAULT_CHANNEL, content="안녕 #{이름}"),))
    async with running(sandbox_with(profile)) as sandbox, dealer_at(sandbox.url_of("popbill")) as dealer:
        templates = dealer.templates
        assert templates is not None
        [copy] = await templates.every(DEFAULT_CHANNEL)
        assert (copy.code, copy.status, copy.text) == ("T1", TemplateStatus.APPROVED, "안녕 #{이름}")
        assert await templates.every("@남의상점") == []
        assert (await templates.get(DEFAULT_CHANNEL, "T1")).status is TemplateStatus.APPROVED
        popbill_of(sandbox).inspect("T1", "blocked", "")
        assert (await templates.get(DEFAULT_CHANNEL, "T1")).status is TemplateStatus.MISSING
        with pytest.raises(TemplateCallFailed) as made:
            await templates.register(DEFAULT_CHANNEL, TemplateDraft("T2", "둘", "안녕"))
        with pytest.raises(TemplateCallFailed) as handed_in:
            await templates.submit(DEFAULT_CHANNEL, "T2", "")
        assert made.value.reason == handed_in.value.reason == "not_permitted"


async def test_templates_that_cannot_be_listed_say_why(sandbox: Sandbox, dealer: Popbill) -> None:
    templates = dealer.templates
    assert templates is not None
    for fault, reason in ((CallFault.GARBLED, "dealer_error"), (CallFault.CUT_AFTER, "dealer_unavailable")):
        sandbox.arrange(Operation.LOOKUP, fault, dealer="popbill")
        with pytest.raises(TemplateCallFailed) as failed:
            await templates.every(DEFAULT_CHANNEL)
        assert failed.value.reason == reason


async def test_a_strict_sandbox_refuses_what_is_not_registered() -> None:
    async with running(sandbox_with(Profile())) as sandbox, dealer_at(sandbox.url_of("popbill")) as dealer:
        results = await dealer.send(None, [outgoing(), outgoing(replace(SHORT, sender="0298765432"), Channel.SMS)])
        assert all(isinstance(result, Ambiguous) for result in results)  # codes that nobody published
        assert sandbox.truth() == []


def test_the_sandbox_names_the_keys_it_takes() -> None:
    assert credentials({"link_id": "OTHER"})["link_id"] == "OTHER"
    assert set(credentials()) == {"link_id", "secret_key", "corp_num", "service_id"}
