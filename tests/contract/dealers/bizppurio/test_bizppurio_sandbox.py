"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from bongsu.sandbox import (
    DEFAULT_CHANNEL,
    DEFAULT_SENDER,
    CallFault,
    FaultProfile,
    Operation,
    Profile,
    Sandbox,
    start_sandbox,
)
from bongsu.sandbox import Template as SandboxTemplate
from bongsu.sandbox.bizppurio.dialect import Bizppurio as Dialect
from bongsu.sandbox.profile import CallFaults, DealerProfile, Fates, Limits, TemplateButton
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    Ambiguous,
    BrandMessage,
    Button,
    Content,
    ImageUse,
    Item,
    Links,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    QuickReply,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Text,
    Uploaded,
)
from shared.dealers.bizppurio.adapter import Bizppurio
from tests.contract.dealers.bizppurio.conftest import Connect
from tests.contract.dealers.fake_gateway import message_id

ALIMTALK = AlimTalk(DEFAULT_CHANNEL, "T1", {"이름": "봉수"}, "봉수님", sender=DEFAULT_SENDER)
FULL = replace(
    ALIMTALK,
    title="제목",
    header="머리",
    highlight=Item("가", "나"),
    items=(Item("다", "라"),),
    summary=Item("합계", "1원"),
    link=Links("https://shop.example"),
    buttons=(Button("WL", "보기", "https://shop.example"), Button("AL", "앱", None, None, "a://", "i://")),
    quick_replies=(QuickReply("BK", "예"),),
    has_image=True,
)
CONTENTS: dict[Channel, Content] = {
    Channel.ALIMTALK: FULL,
    Channel.FRIENDTALK: BrandMessage(DEFAULT_CHANNEL, "세일", image="https://i.example/1.jpg", sender=DEFAULT_SENDER),
    Channel.SMS: Text(DEFAULT_SENDER, "안녕하세요"),
    Channel.LMS: Text(DEFAULT_SENDER, "안녕하세요", subject="인사"),
}
UNPROCESSED = {CallFault.CUT_BEFORE, CallFault.ERROR_BEFORE, CallFault.REDIRECT, CallFault.KEY_REFUSED}

SLOW = {CallFault.STALL_AFTER, CallFault.TRICKLE}


def outgoing(n: int, channel: Channel = Channel.ALIMTALK, content: Content | None = None) -> Outgoing:
    key = request_key(message_id(n), channel, 1)
    return Outgoing(message_id(n), 1, key, channel, f"0101{n:07}", content or CONTENTS.get(channel, ALIMTALK))


def attempt(one: Outgoing, dealer_message_id: str | None) -> OpenAttempt:
    now = datetime.now(UTC)
    return OpenAttempt(one.message_id, one.n, one.request_key, one.channel, one.to, None, dealer_message_id, now)


def left(sandbox: Sandbox) -> Counter[str | None]:
    """Return how often each of our keys left."""
    return Counter(sent.key for sent in sandbox.truth())


def id_of(result: SendResult) -> str:
    assert isinstance(result, Accepted), result
    return result.dealer_message_id


@asynccontextmanager
async def receiver(dealer: Bizppurio) -> AsyncIterator[tuple[str, list[Report]]]:
    """Take pushes as the ingest service does; give its address and what it took."""
    received: list[Report] = []

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received.extend(dealer.read_receipts(await request.read(), headers))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", received
    finally:
        await runner.cleanup()


def push_to(sandbox: Sandbox, url: str) -> Dialect:
    dialect = sandbox.dialects["bizppurio"]
    assert isinstance(dialect, Dialect)
    if dialect.webhooks is not None:
        dialect.webhooks.url = url
    return dialect


@pytest.mark.parametrize("channel", CONTENTS)
async def test_what_is_accepted_left_once(bizppurio: Bizppurio, sandbox: Sandbox, channel: Channel) -> None:
    batch = [outgoing(n, channel) for n in range(1, 31)]
    results = await bizppurio.send(None, batch)
    assert {id_of(result) for result in results} == {sent.message_id for sent in sandbox.truth()}
    assert left(sandbox) == Counter(one.request_key for one in batch)


async def test_an_mms_goes_with_the_image_that_was_uploaded(bizppurio: Bizppurio, sandbox: Sandbox) -> None:
    uploaded = await bizppurio.upload(ImageUse.MMS, "map.jpg", b"\xff\xd8\xff\xe0picture")
    assert isinstance(uploaded, Uploaded)
    content = Text(DEFAULT_SENDER, "약도", subject="길", images=(uploaded,))
    strange = replace(content, images=("somebody-elses.jpg",))
    results = await bizppurio.send(None, [outgoing(1, Channel.MMS, content), outgoing(2, Channel.MMS, strange)])
    assert [type(result) for result in results] == [Accepted, Refused]
    assert [sent.channel for sent in sandbox.truth()] == [Channel.MMS]


@pytest.mark.parametrize("fault", CallFault)
async def test_no_claim_is_false_whatever_strikes_a_call(
    bizppurio: Bizppurio, sandbox: Sandbox, fault: CallFault
) -> None:
    await bizppurio.check([], [])  # a token
    sandbox.faults = FaultProfile(calls={"default": CallFaults(stall_seconds=2)})
    sandbox.arrange(Operation.SEND, fault, dealer="bizppurio")
    [result] = await bizppurio.send(None, [outgoing(1)])
    match result:
        case Accepted():
            assert sum(left(sandbox).values()) == 1
            assert fault is CallFault.WRONG_TYPE
        case NotTaken() | Refused():
            assert left(sandbox) == {}
            assert fault is CallFault.KEY_REFUSED
        case _:
            assert isinstance(result, Ambiguous)
            assert sum(left(sandbox).values()) == (fault not in UNPROCESSED)


@pytest.mark.parametrize("fault", CallFault)
async def test_nothing_leaves_when_there_is_no_token(bizppurio: Bizppurio, sandbox: Sandbox, fault: CallFault) -> None:
    sandbox.faults = FaultProfile(calls={"default": CallFaults(stall_seconds=2)})
    sandbox.arrange(Operation.OPEN, fault, dealer="bizppurio")
    [result] = await bizppurio.send(None, [outgoing(1)])
    if fault is CallFault.WRONG_TYPE:  # it is a token all the same
        assert isinstance(result, Accepted)
        return
    assert isinstance(result, Refused if fault is CallFault.KEY_REFUSED else NotTaken)
    assert sandbox.truth() == []
    [again] = await bizppurio.send(None, [outgoing(1)])
    assert isinstance(again, Accepted)


@pytest.mark.parametrize("seed", range(3))
async def test_claims_and_reports_together_tell_the_truth(connect: Connect, seed: int) -> None:
    """Send through a sandbox in which every second call breaks: what nobody could tell, the reports tell."""
    breaking = CallFaults(**{fault.value: 0.05 for fault in CallFault if fault not in SLOW})
    faults = FaultProfile(calls={"default": breaking}, registration={"1042": 0.1}, fates=Fates(alimtalk={"7318": 0.2}))
    profile = Profile(accept_any_template=True, seed=seed, faults=faults, limits=Limits(enforced=False))
    claims: dict[str, bool] = {}
    async with start_sandbox(profile) as sandbox:
        dealer = connect(sandbox.url_of("bizppurio"), world=True)
        async with receiver(dealer) as (url, received):
            push_to(sandbox, url)
            for some in range(20):
                batch = [outgoing(some * 10 + n) for n in range(10)]
                for one, result in zip(batch, await dealer.send(None, batch), strict=True):
                    if not isinstance(result, Ambiguous):
                        claims[one.request_key] = isinstance(result, Accepted)
            sandbox.settle()
            await sandbox.reports_pushed()
        taken = {report.request_key for report in received}
        assert 0 < len(claims) < 200
        assert taken >= {key for key, claim in claims.items() if claim}
        assert not taken & {key for key, claim in claims.items() if not claim}
        assert left(sandbox) == Counter(taken)
        delivered = {sent.key: sent.delivered for sent in sandbox.truth()}
        assert {report.request_key: report.delivered for report in received} == delivered


async def test_a_token_that_is_not_taken_any_more_costs_one_try(bizppurio: Bizppurio, sandbox: Sandbox) -> None:
    dialect = push_to(sandbox, "")
    await bizppurio.send(None, [outgoing(1)])
    dialect.forget_tokens()
    batch = [outgoing(n) for n in range(2, 12)]
    assert {type(result) for result in await bizppurio.send(None, batch)} == {NotTaken}
    assert {type(result) for result in await bizppurio.send(None, batch)} == {Accepted}
    assert set(left(sandbox).values()) == {1}


async def test_a_wrong_password_is_refused(sandbox: Sandbox, connect: Connect) -> None:
    intruder = connect(sandbox.url_of("bizppurio"), password="guess")
    [result] = await intruder.send(None, [outgoing(1)])
    assert result == Refused("auth_failed", "3001", "account or password not valid")


async def test_the_limit_is_not_taken_and_spares_the_rest_of_the_batch(connect: Connect) -> None:
    profile = Profile(accept_any_template=True, limits=Limits(messages_per_second=5))
    async with start_sandbox(profile) as sandbox:
        dealer = connect(sandbox.url_of("bizppurio"), world=True)
        results = await dealer.send(None, [outgoing(n) for n in range(1, 51)])
        late = [result for result in results if not isinstance(result, Accepted)]
        assert {result.reason for result in late if isinstance(result, NotTaken)} == {"rate_limited"}
        assert len(results) - len(late) == len(sandbox.truth())
        assert sandbox.stats()["dealers"]["bizppurio"]["answered"][3008] <= 10


async def test_a_lost_answer_is_resolved_by_the_report(bizppurio: Bizppurio, sandbox: Sandbox) -> None:
    async with receiver(bizppurio) as (url, received):
        push_to(sandbox, url)
        sandbox.arrange(Operation.SEND, CallFault.CUT_AFTER, dealer="bizppurio")
        [result] = await bizppurio.send(None, [outgoing(1)])
        assert isinstance(result, Ambiguous)
        sandbox.settle()
        await sandbox.reports_pushed()
    [report] = received
    assert (report.request_key, report.delivered) == (outgoing(1).request_key, True)


async def test_receipts_that_the_sandbox_pushes_are_understood(connect: Connect) -> None:
    numbers = {"01010000002": "not_kakao_user", "01010000003": "7999", "01010000004": "delivery_uncertain"}
    profile = Profile(accept_any_template=True, faults=FaultProfile(fates=Fates(numbers=numbers)))
    async with start_sandbox(profile) as sandbox:
        dealer = connect(sandbox.url_of("bizppurio"), world=True)
        async with receiver(dealer) as (url, received):
            push_to(sandbox, url)
            batch = [outgoing(n) for n in range(1, 5)]
            ids = [id_of(result) for result in await dealer.send(None, batch)]
            sandbox.settle()
            await sandbox.reports_pushed()
    by_key = {report.request_key: report for report in received}
    assert [(by_key[one.request_key].delivered, by_key[one.request_key].reason) for one in batch] == [
        (True, None),
        (False, "inactive_kakao_user"),
        (False, "unknown"),
        (None, "delivery_uncertain"),
    ]
    assert [by_key[one.request_key].dealer_message_id for one in batch] == ids


async def test_a_report_that_did_not_come_is_asked_for_again(bizppurio: Bizppurio, sandbox: Sandbox) -> None:
    [result] = await bizppurio.send(None, [outgoing(1)])
    one = attempt(outgoing(1), id_of(result))
    [pending] = await bizppurio.lookup([one])
    assert isinstance(pending, Report)
    assert pending.delivered is None
    sandbox.settle()
    async with receiver(bizppurio) as (url, received):
        push_to(sandbox, url)
        [asked, stranger] = await bizppurio.lookup([one, replace(one, dealer_message_id="nobodys")])
        assert isinstance(asked, StillUnknown)
        assert isinstance(stranger, NotFound)
        await sandbox.reports_pushed()
    assert [(report.dealer_message_id, report.delivered) for report in received] == [(one.dealer_message_id, True)]


async def test_reports_are_pulled_until_they_are_acknowledged(connect: Connect) -> None:
    profile = Profile(accept_any_template=True, dealers={"bizppurio": DealerProfile(options={"polling": True})})
    async with start_sandbox(profile) as sandbox:
        dealer = connect(sandbox.url_of("bizppurio"), world=True, polling=True)
        assert await dealer.pull() is None
        batch = [outgoing(n) for n in range(1, 6)]
        await dealer.send(None, batch)
        assert await dealer.pull() is None
        sandbox.settle()
        first, again = await dealer.pull(), await dealer.pull()
        assert first is not None
        assert first == again
        assert {report.request_key for report in first.reports} == {one.request_key for one in batch}
        assert all(report.delivered for report in first.reports)
        await dealer.acknowledge(first)
        assert await dealer.pull() is None


@pytest.mark.parametrize("fault", CallFault)
async def test_a_pull_that_breaks_loses_nothing(connect: Connect, fault: CallFault) -> None:
    profile = Profile(accept_any_template=True, dealers={"bizppurio": DealerProfile(options={"polling": True})})
    async with start_sandbox(profile) as sandbox:
        sandbox.faults = FaultProfile(calls={"default": CallFaults(stall_seconds=1)})
        dealer = connect(sandbox.url_of("bizppurio"), world=True, polling=True, timeout_seconds=0.3)
        await dealer.send(None, [outgoing(1)])
        sandbox.settle()
        sandbox.arrange(Operation.LOOKUP, fault, dealer="bizppurio")
        broken = await dealer.pull()
        assert broken is None or fault is CallFault.WRONG_TYPE
        pulled = await dealer.pull()
        assert pulled is not None
        assert len(pulled.reports) == 1


async def test_an_account_that_is_pushed_to_pulls_nothing(bizppurio: Bizppurio, sandbox: Sandbox) -> None:
    assert await bizppurio.pull() is None
    assert "calls_lookup" not in sandbox.book.counted


async def test_a_wrong_template_or_sender_is_accepted_and_fails_later(connect: Connect) -> None:
    button = TemplateButton(button_name="보기", button_type="WL", link_mo="https://shop.example")
    profile = Profile(templates=(SandboxTemplate(template_id="T1", content="#{이름}님", buttons=(button,)),))
    good = replace(ALIMTALK, buttons=(Button("WL", "보기", "https://shop.example"),))
    expected = {
        1: (outgoing(1, content=good), True, "7000"),
        2: (outgoing(2, content=replace(good, text="봉수")), False, "7204"),
        3: (outgoing(3, content=replace(good, template_code="T2")), False, "7315"),
        4: (outgoing(4, content=replace(good, sender_key="nobodys")), False, "7105"),
        5: (outgoing(5, content=replace(good, buttons=())), False, "7327"),
        6: (outgoing(6, Channel.SMS, Text("0299999999", "안녕")), False, "4434"),
        7: (outgoing(7, Channel.FRIENDTALK, BrandMessage("nobodys", "세일", sender="02")), False, "7105"),
    }
    async with start_sandbox(profile) as sandbox:
        dealer = connect(sandbox.url_of("bizppurio"), world=True)
        results = await dealer.send(None, [one for one, _, _ in expected.values()])
        assert {type(result) for result in results} == {Accepted}
        ends = {sent.key: (sent.delivered, sent.code) for sent in sandbox.truth()}
    assert ends == {one.request_key: (delivered, code) for one, delivered, code in expected.values()}


async def test_the_sandbox_knows_its_options() -> None:
    profile = Profile(dealers={"bizppurio": DealerProfile(options={"pasword": "x"})})
    with pytest.raises(ValueError, match="pasword is not one of account, password"):
        async with start_sandbox(profile):
            pass
