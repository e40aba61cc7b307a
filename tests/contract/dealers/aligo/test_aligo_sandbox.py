"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

import pytest

from bongsu.sandbox import CallFault, FaultProfile, Operation, Profile, Sandbox, start_sandbox
from bongsu.sandbox.aligo.dialect import DEFAULT_SENDER_KEY, AligoDialect, credentials
from bongsu.sandbox.profile import DEFAULT_SENDER, CallFaults, DealerProfile, Fates, Limits, spread
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.aligo.adapter import Aligo, build
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    Ambiguous,
    Button,
    Content,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Text,
)
from shared.dealers.templates import TemplateCallFailed, TemplateDraft, TemplateStatus
from shared.ids import MessageId

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LOST = [
    CallFault.CUT_AFTER,
    CallFault.ERROR_AFTER,
    CallFault.STALL_AFTER,
    CallFault.GARBLED,
    CallFault.TRUNCATED,
    CallFault.TRICKLE,
]
"""after which the dealer has it and nobody was told"""
KEPT_BACK = [CallFault.CUT_BEFORE, CallFault.ERROR_BEFORE, CallFault.REDIRECT]
"""after which it has not, and nobody was told"""

_numbers = count(1)


@asynccontextmanager
async def dealer_at(sandbox: Sandbox, **changes: str) -> AsyncIterator[Aligo]:
    account = Account(
        name="aligo",
        base_url=sandbox.url_of("aligo"),
        urls={},
        credentials=credentials() | changes,
        timeout_seconds=0.5,
        batch=500,
        now=lambda: NOW,
    )
    dealer = build(account)
    try:
        yield dealer
    finally:
        await dealer.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with start_sandbox() as running:
        yield running


@pytest.fixture
async def dealer(sandbox: Sandbox) -> AsyncIterator[Aligo]:
    async with dealer_at(sandbox) as made:
        yield made


def some(amount: int, channel: Channel = Channel.ALIMTALK) -> list[Outgoing]:
    contents: dict[Channel, Content] = {
        Channel.ALIMTALK: AlimTalk(DEFAULT_SENDER_KEY, "TA1", {}, "가입을 축하합니다."),
        Channel.SMS: Text(DEFAULT_SENDER, "안녕하세요"),
        Channel.LMS: Text(DEFAULT_SENDER, "안녕하세요 " * 20, subject="인사"),
    }
    return [
        Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", channel, f"010{n:08}", contents[channel])
        for n in (next(_numbers) for _ in range(amount))
    ]


def attempts(batch: Sequence[Outgoing], results: Sequence[SendResult]) -> list[OpenAttempt]:
    """Return those that are, or may be, at the dealer."""
    return [
        OpenAttempt(one.message_id, 1, one.request_key, one.channel, one.to, None, result.dealer_message_id, NOW)
        for one, result in zip(batch, results, strict=True)
        if isinstance(result, Accepted | Ambiguous)
    ]


def left(sandbox: Sandbox) -> Counter[str]:
    return Counter(sent.to for sent in sandbox.truth())


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS, Channel.LMS])
@pytest.mark.parametrize("amount", [1, 70])
async def test_what_is_accepted_left_once_and_is_reported(
    dealer: Aligo, sandbox: Sandbox, channel: Channel, amount: int
) -> None:
    batch = some(amount, channel)
    results = await dealer.send(None, batch)
    assert {type(result) for result in results} == {Accepted}
    assert left(sandbox) == Counter(one.to for one in batch)
    assert {sent.channel for sent in sandbox.truth()} == {channel}
    if channel is Channel.ALIMTALK:
        assert [sent.key for sent in sandbox.truth()] == [one.request_key for one in batch]

    asked = attempts(batch, results)
    waiting = await dealer.lookup(asked)
    assert [(one.delivered, one.code) for one in waiting if isinstance(one, Report)] == [(None, "Q")] * amount
    sandbox.settle()
    said = await dealer.lookup(asked)
    assert [one.delivered for one in said if isinstance(one, Report)] == [True] * amount


async def test_two_messages_of_one_person_are_told_apart(dealer: Aligo, sandbox: Sandbox) -> None:
    first, second = some(2)
    second = replace(second, to=first.to)
    results = await dealer.send(None, [first, second])
    ids = [result.dealer_message_id for result in results if isinstance(result, Accepted)]
    assert len(set(ids)) == 2
    assert [sent.key for sent in sandbox.truth()] == [first.request_key, second.request_key]


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
async def test_failures_have_our_reasons(channel: Channel) -> None:
    words = {"0": "not_kakao_user", "1": "blocked_channel", "2": "delivery_uncertain"}
    batch = some(3, channel)
    fates = Fates(numbers={one.to: words[str(n)] for n, one in enumerate(batch)})
    profile = Profile(accept_any_template=True, faults=FaultProfile(fates=fates))
    async with start_sandbox(profile) as sandbox, dealer_at(sandbox) as dealer:
        results = await dealer.send(None, batch)
        sandbox.settle()
        said = [one for one in await dealer.lookup(attempts(batch, results)) if isinstance(one, Report)]
    if channel is Channel.ALIMTALK:
        assert [(one.delivered, one.reason) for one in said] == [
            (False, "not_kakao_user"),
            (False, "blocked_channel"),
            (None, "delivery_uncertain"),
        ]
    else:  # of a text Aligo says that it failed, and no more
        assert [(one.delivered, one.reason) for one in said] == [(False, "unknown")] * 3


async def test_partial_acceptance_is_told_apart_by_the_results() -> None:
    batch = some(5)
    refused = {batch[1].to, batch[3].to}
    fates = Fates(numbers=dict.fromkeys(refused, "1020"))
    profile = Profile(accept_any_template=True, faults=FaultProfile(fates=fates))
    async with start_sandbox(profile) as sandbox, dealer_at(sandbox) as dealer:
        results = await dealer.send(None, batch)
        assert [type(result) for result in results] == [Ambiguous] * 5
        said = await dealer.lookup(attempts(batch, results))
        assert [type(one) for one in said] == [Report, NotFound, Report, NotFound, Report]
        assert left(sandbox) == Counter({one.to for one in batch} - refused)


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
@pytest.mark.parametrize("fault", [*LOST, *KEPT_BACK])
async def test_a_broken_call_is_in_doubt_for_good(
    dealer: Aligo, sandbox: Sandbox, fault: CallFault, channel: Channel
) -> None:
    sandbox.arrange(Operation.SEND, fault, dealer="aligo")
    batch = some(3, channel)
    results = await dealer.send(None, batch)
    assert [type(result) for result in results] == [Ambiguous] * 3
    assert sum(left(sandbox).values()) == (3 if fault in LOST else 0)
    said = await dealer.lookup(attempts(batch, results))
    assert [type(one) for one in said] == [StillUnknown] * 3


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
async def test_a_refused_key_is_said(dealer: Aligo, sandbox: Sandbox, channel: Channel) -> None:
    sandbox.arrange(Operation.SEND, CallFault.KEY_REFUSED, dealer="aligo")
    results = await dealer.send(None, some(2, channel))
    assert [(type(one), getattr(one, "reason", "")) for one in results] == [(Refused, "auth_failed")] * 2
    assert sandbox.truth() == []


async def test_a_wrong_type_of_content_does_no_harm(dealer: Aligo, sandbox: Sandbox) -> None:
    sandbox.arrange(Operation.SEND, CallFault.WRONG_TYPE, dealer="aligo")
    assert isinstance((await dealer.send(None, some(1)))[0], Accepted)


async def test_a_wrong_key_is_refused_by_both_hosts(sandbox: Sandbox) -> None:
    async with dealer_at(sandbox, apikey="other") as dealer:
        for channel in (Channel.ALIMTALK, Channel.SMS):
            [result] = await dealer.send(None, some(1, channel))
            assert isinstance(result, Refused)
            assert result.reason == "auth_failed"


async def test_the_text_host_may_speak_euc_kr() -> None:
    options = {"aligo": DealerProfile(options={"text_encoding": "cp949"})}
    async with start_sandbox(Profile(dealers=options)) as sandbox, dealer_at(sandbox) as dealer:
        batch = some(2, Channel.LMS)
        results = await dealer.send(None, batch)
        assert {type(result) for result in results} == {Accepted}
        sandbox.settle()
        said = await dealer.lookup(attempts(batch, results))
        assert [one.delivered for one in said if isinstance(one, Report)] == [True, True]
        [refused] = await dealer.send(None, [replace(batch[0], content=Text("0299999999", "안녕"))])
        assert isinstance(refused, Refused)
        assert refused.reason == "sender_number_unregistered"


async def test_a_limit_is_answered_as_one() -> None:
    limits = Limits(messages_per_second=3)
    async with start_sandbox(Profile(accept_any_template=True, limits=limits)) as sandbox, dealer_at(sandbox) as dealer:
        results = await dealer.send(None, [*some(3)])
        assert {type(result) for result in results} == {Accepted}
        [result] = await dealer.send(None, some(1))
        assert isinstance(result, NotTaken)
        assert result.reason == "rate_limited"
        assert result.retry_after is not None


async def test_results_lag_and_then_are_found() -> None:
    faults = FaultProfile(read_lag=spread(60))
    profile = Profile(accept_any_template=True, faults=faults)
    async with start_sandbox(profile) as sandbox, dealer_at(sandbox) as dealer:
        batch = some(1)
        results = await dealer.send(None, batch)
        assert [type(one) for one in await dealer.lookup(attempts(batch, results))] == [NotFound]
        assert dealer.capabilities.not_found_after.total_seconds() >= 24 * 3600  # so nobody concludes anything yet
        assert len(sandbox.truth()) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_every_claim_holds_when_anything_may_break(seed: int) -> None:
    breaking = CallFaults(cut_before=0.1, cut_after=0.1, error_before=0.1, error_after=0.1, garbled=0.1, truncated=0.1)
    faults = FaultProfile(
        calls={Operation.SEND: breaking}, registration={"invalid_phone": 0.1}, fates=Fates(alimtalk={"A": 0.2})
    )
    profile = Profile(accept_any_template=True, seed=seed, faults=faults, limits=Limits(enforced=False))
    surely: set[str] = set()
    never: set[str] = set()
    async with start_sandbox(profile) as sandbox, dealer_at(sandbox) as dealer:
        for channel in [Channel.ALIMTALK, Channel.SMS] * 20:
            batch = some(4, channel)
            results = await dealer.send(None, batch)
            for one, result in zip(batch, results, strict=True):
                if isinstance(result, Accepted):
                    surely.add(one.to)
                elif isinstance(result, Refused | NotTaken):
                    never.add(one.to)
            asked = attempts(batch, results)
            found = zip(asked, await dealer.lookup(asked), strict=True)
            surely |= {open_.to for open_, told in found if isinstance(told, Report)}
        gone = left(sandbox)
    assert surely
    assert surely <= gone.keys()
    assert not never & gone.keys()
    assert max(gone.values()) == 1


# -- templates ---------------------------------------------------------------------------------------------------


def part_of(sandbox: Sandbox) -> AligoDialect:
    dialect = sandbox.dialects["aligo"]
    assert isinstance(dialect, AligoDialect)
    return dialect


DRAFT = TemplateDraft(
    code="ORDER_PAID",
    name="결제 완료",
    text="#{이름}님,\n주문이 결제되었습니다.",
    buttons=(Button("WL", "보기", "https://shop.example/#{번호}", "https://shop.example/#{번호}"),),
)
PAID = AlimTalk(
    DEFAULT_SENDER_KEY,
    "",
    {"이름": "봉수"},
    "봉수님,\n주문이 결제되었습니다.",
    buttons=(Button("WL", "보기", "https://shop.example/1", "https://shop.example/1"),),
)


async def test_a_template_goes_from_draft_to_delivery() -> None:
    async with start_sandbox(Profile()) as sandbox, dealer_at(sandbox) as dealer:
        api = dealer.templates
        code = await api.register(DEFAULT_SENDER_KEY, DRAFT)
        assert code != DRAFT.code  # Aligo gives its own
        [message] = some(1)
        message = replace(message, content=replace(PAID, template_code=code))
        [early] = await dealer.send(None, [message])
        assert isinstance(early, Refused)

        await api.submit(DEFAULT_SENDER_KEY, code, "")
        assert (await api.get(DEFAULT_SENDER_KEY, code)).status is TemplateStatus.INSPECTING
        part_of(sandbox).inspect(code, "REJ", "변수가 너무 많습니다.")
        rejected = await api.get(DEFAULT_SENDER_KEY, code)
        assert (rejected.status, rejected.comments) == (TemplateStatus.REJECTED, ("변수가 너무 많습니다.",))
        assert rejected.text == DRAFT.text  # CRLF on the wire

        assert await api.register(DEFAULT_SENDER_KEY, replace(DRAFT, code=code)) == code
        await api.submit(DEFAULT_SENDER_KEY, code, "")
        part_of(sandbox).inspect(code, "APR")
        assert (await api.get(DEFAULT_SENDER_KEY, code)).status is TemplateStatus.APPROVED
        with pytest.raises(TemplateCallFailed) as failed:
            await api.register(DEFAULT_SENDER_KEY, replace(DRAFT, code=code))
        assert failed.value.reason == "not_permitted"
        with pytest.raises(TemplateCallFailed):
            await api.delete(DEFAULT_SENDER_KEY, code)

        different = replace(
            some(1)[0], content=replace(PAID, template_code=code, text="봉수님, 주문이 결제되었습니다.")
        )
        results = await dealer.send(None, [message, different])
        assert [type(result) for result in results] == [Accepted] * 2
        sandbox.settle()
        said = await dealer.lookup(attempts([message, different], results))
        assert [one.reason for one in said if isinstance(one, Report)] == [None, "template_mismatch"]


async def test_a_template_may_be_deleted_before_it_is_approved(dealer: Aligo) -> None:
    code = await dealer.templates.register(DEFAULT_SENDER_KEY, DRAFT)
    assert [copy.code for copy in await dealer.templates.every(DEFAULT_SENDER_KEY)] == [code]
    await dealer.templates.delete(DEFAULT_SENDER_KEY, code)
    assert (await dealer.templates.get(DEFAULT_SENDER_KEY, code)).status is TemplateStatus.MISSING


async def test_a_template_call_that_fails_says_why(sandbox: Sandbox, dealer: Aligo) -> None:
    for fault, reason in ((CallFault.CUT_BEFORE, "dealer_unavailable"), (CallFault.KEY_REFUSED, "auth_failed")):
        sandbox.arrange(Operation.LOOKUP, fault, dealer="aligo")
        with pytest.raises(TemplateCallFailed) as failed:
            await dealer.templates.every(DEFAULT_SENDER_KEY)
        assert failed.value.reason == reason
    with pytest.raises(TemplateCallFailed, match="header"):
        await dealer.templates.register(DEFAULT_SENDER_KEY, replace(DRAFT, header="머리"))
    with pytest.raises(TemplateCallFailed, match="BC"):
        await dealer.templates.register(DEFAULT_SENDER_KEY, replace(DRAFT, buttons=(Button("BC", "상담"),)))
    assert await dealer.templates.every(DEFAULT_SENDER_KEY) == []


async def test_the_account_is_checked(dealer: Aligo) -> None:
    checks = await dealer.check([DEFAULT_SENDER_KEY, "other"], [DEFAULT_SENDER])
    assert [one.ok for one in checks] == [True, True, False, None]
