"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from aiohttp import web

from bongsu.sandbox import CallFault, FaultProfile, Operation, Profile, Sandbox, start_sandbox
from bongsu.sandbox.bizgo.dialect import credentials
from bongsu.sandbox.profile import DealerProfile, Limits
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    AlreadyTaken,
    Ambiguous,
    BadReceipt,
    Dealer,
    ImageUse,
    NotFound,
    NotTaken,
    Outgoing,
    Refused,
    Report,
    StillUnknown,
    Uploaded,
)
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
    some,
)

BEFORE = [CallFault.CUT_BEFORE, CallFault.ERROR_BEFORE, CallFault.REDIRECT]
AFTER = [
    CallFault.CUT_AFTER,
    CallFault.ERROR_AFTER,
    CallFault.STALL_AFTER,
    CallFault.GARBLED,
    CallFault.TRUNCATED,
    CallFault.TRICKLE,
]


@asynccontextmanager
async def world(
    *, any_template: bool = True, clock_skew_seconds: float = 0, **options: str | int | list[str]
) -> AsyncIterator[tuple[Sandbox, Dealer]]:
    """Run a sandbox whose Bizgo has ``options``, and an adapter for it."""
    own = DealerProfile(
        options={"lookups_per_second": 0, **options},
        limits=Limits(messages_per_second=1000),
        clock_skew_seconds=clock_skew_seconds,
    )
    profile = Profile(accept_any_template=any_template, dealers={"bizgo": own})
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(start_sandbox(profile))
        account = credentials(options)
        dealer = await stack.enter_async_context(bizgo_at(sandbox.url_of("bizgo"), 1.0, **account))
        yield sandbox, dealer


@pytest.fixture
async def here() -> AsyncIterator[tuple[Sandbox, Dealer]]:
    async with world() as both:
        yield both


def left(sandbox: Sandbox) -> Counter[str | None]:
    """Return how often each of our keys left."""
    return Counter(sent.key for sent in sandbox.truth())


def keys(batch: list[Outgoing]) -> Counter[str | None]:
    return Counter(message.request_key for message in batch)


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
async def test_what_is_accepted_left_once(here: tuple[Sandbox, Dealer], channel: Channel) -> None:
    sandbox, dealer = here
    batch = some(100, channel)
    results = await dealer.send(None, batch)
    ids = {result.dealer_message_id for result in results if isinstance(result, Accepted)}
    assert {sent.message_id for sent in sandbox.truth()} == ids
    assert len(ids) == 100
    assert left(sandbox) == keys(batch)


async def test_the_sandbox_takes_every_kind_of_content(here: tuple[Sandbox, Dealer]) -> None:
    sandbox, dealer = here
    files = [await dealer.upload(ImageUse.MMS, "a.jpg", b"\xff\xd8\xff" + bytes([n])) for n in range(2)]
    assert all(isinstance(file, Uploaded) for file in files)
    image = await dealer.upload(ImageUse.BRAND, "a.jpg", b"\xff\xd8\xff")
    assert isinstance(image, Uploaded)
    results = await dealer.send(
        None,
        [
            *(outgoing(content) for content in (VARIABLES, ORDER, FULL, FIXED)),
            outgoing(SHORT, Channel.SMS),
            outgoing(LONG, Channel.LMS),
            outgoing(replace(PICTURES, images=tuple(str(file) for file in files)), Channel.MMS),
            outgoing(replace(BRAND, image=str(image)), Channel.FRIENDTALK),
            outgoing(replace(BRAND, image=None, image_link=None), Channel.FRIENDTALK),
        ],
    )
    assert [type(result) for result in results] == [Accepted] * 9
    assert Counter(sent.channel for sent in sandbox.truth()) == {
        Channel.ALIMTALK: 4,
        Channel.SMS: 1,
        Channel.LMS: 1,
        Channel.MMS: 1,
        Channel.FRIENDTALK: 2,
    }


# -- replay ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["recipient", "request"])
@pytest.mark.parametrize("fault", [*BEFORE, *AFTER])
async def test_a_replay_one_by_one_resolves_a_send_that_broke(fault: CallFault, way: str) -> None:
    async with world(a301=way) as (sandbox, dealer):
        batch = some(5)
        sandbox.arrange(Operation.SEND, fault, times=3, dealer="bizgo")
        results = await dealer.send(None, batch)
        broken = [place for place, result in enumerate(results) if isinstance(result, Ambiguous)]
        assert len(broken) == 3
        for place in broken:
            [again] = await dealer.send(None, [batch[place]])
            if fault in BEFORE:
                assert isinstance(again, Accepted)
            else:
                [sent] = [sent for sent in sandbox.truth() if sent.key == batch[place].request_key]
                assert again == AlreadyTaken(sent.message_id)
        assert left(sandbox) == keys(batch)


async def test_a_replay_is_told_apart_however_often_and_with_whomever(here: tuple[Sandbox, Dealer]) -> None:
    sandbox, dealer = here
    batch = some(10)
    await dealer.send(None, batch)
    others = some(3)
    again = await dealer.send(None, [*others, *batch[4:7], batch[0]])
    assert [type(result) for result in again] == [Accepted] * 3 + [AlreadyTaken] * 4
    assert left(sandbox) == keys([*batch, *others])


async def test_whatever_breaks_each_message_leaves_once(here: tuple[Sandbox, Dealer]) -> None:
    sandbox, dealer = here
    kinds = [*BEFORE, *AFTER, CallFault.WRONG_TYPE]
    slow = {CallFault.TRICKLE: 0.01, CallFault.STALL_AFTER: 0.01, "stall_seconds": 1.2}
    rough: dict[str, float] = {**{str(kind): 0.04 for kind in kinds}, **slow}
    sandbox.faults = FaultProfile.model_validate({"calls": {"send": rough, "lookup": {"cut_after": 0.2}}})
    batch = open_ = some(200)
    settled: Counter[str | None] = Counter()
    while open_:
        results = await dealer.send(None, open_)
        done = [isinstance(result, Accepted | AlreadyTaken) for result in results]
        settled += keys([message for message, is_done in zip(open_, done, strict=True) if is_done])
        open_ = [message for message, is_done in zip(open_, done, strict=True) if not is_done]
    assert settled == left(sandbox) == keys(batch)


async def test_a_replay_that_the_history_does_not_show_yet_stays_without_an_id(here: tuple[Sandbox, Dealer]) -> None:
    sandbox, dealer = here
    sandbox.faults = FaultProfile.model_validate({"read_lag": 3600})
    [message] = some(1)
    [taken] = await dealer.send(None, [message])
    assert isinstance(taken, Accepted)
    assert await dealer.send(None, [message]) == [AlreadyTaken()]
    assert await dealer.lookup([attempt(message, taken.dealer_message_id)]) == [NotFound()]
    [unknown] = await dealer.lookup([attempt(message)])
    assert isinstance(unknown, StillUnknown)


async def test_a_key_that_was_refused_may_be_taken_later(here: tuple[Sandbox, Dealer]) -> None:
    sandbox, dealer = here
    [message] = some(1)
    sandbox.faults = FaultProfile.model_validate({"registration": {"spam_blocked": 1.0}})
    assert await dealer.send(None, [message]) == [Refused("spam_blocked", "A322", "spam block: content")]
    sandbox.faults = FaultProfile()
    [taken] = await dealer.send(None, [message])
    assert isinstance(taken, Accepted)


async def test_the_adapter_promises_less_than_bizgo_remembers() -> None:
    """After a day the same key sends again, so nobody may replay so late."""

    class Days:
        later = timedelta()

        def now(self) -> datetime:
            return datetime.now(UTC) + self.later

        def stretch(self, span: timedelta) -> timedelta:
            return span

    clock = Days()
    [message] = some(1)
    async with start_sandbox(clock=clock) as sandbox, bizgo_at(sandbox.url_of("bizgo")) as dealer:
        await dealer.send(None, [message])
        clock.later = dealer.capabilities.replay_within
        [again] = await dealer.send(None, [message])
        assert isinstance(again, AlreadyTaken)
        clock.later = timedelta(days=1)
        [again] = await dealer.send(None, [message])
        assert isinstance(again, Accepted)
        assert len(sandbox.truth()) == 2


# -- refusals ----------------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_refused_and_sends_nothing() -> None:
    async with world() as (sandbox, _), bizgo_at(sandbox.url_of("bizgo"), api_key="wrong") as dealer:
        assert await dealer.send(None, some(1)) == [Refused("auth_failed", "A401", "key missing or wrong")]
        assert sandbox.truth() == []


async def test_recipients_are_counted_against_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bongsu.sandbox.exchange.time", SimpleNamespace(monotonic=lambda: 1000.0, time=time.time))
    profile = Profile(accept_any_template=True, limits=Limits(messages_per_second=10))
    async with start_sandbox(profile) as sandbox, bizgo_at(sandbox.url_of("bizgo")) as dealer:
        batch = some(30)
        results = await dealer.send(None, batch)
        accepted = [message for message, result in zip(batch, results, strict=True) if isinstance(result, Accepted)]
        limited = [result for result in results if isinstance(result, NotTaken)]
        assert (len(accepted), len(limited)) == (10, 20)
        assert {result.reason for result in limited} == {"rate_limited"}
        assert all(result.retry_after is not None for result in limited)
        assert left(sandbox) == keys(accepted)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (outgoing(replace(SHORT, sender="0299999999"), Channel.SMS), "sender_number_unregistered"),
        (outgoing(replace(VARIABLES, template_code="never-inspected")), "template_not_found"),
        (outgoing(replace(VARIABLES, sender_key="x" * 40)), "sender_profile_invalid"),
        (outgoing(replace(PICTURES, images=("NONE",)), Channel.MMS), "invalid_attachment"),
        (outgoing(SHORT, Channel.SMS, to="0212345678"), "invalid_phone"),
    ],
)
async def test_what_the_account_may_not_send_is_refused(message: Outgoing, reason: str) -> None:
    async with world(any_template=False) as (sandbox, dealer):
        [result] = await dealer.send(None, [message])
        assert isinstance(result, Refused)
        assert result.reason == reason
        assert sandbox.truth() == []


# -- lookups and receipts ----------------------------------------------------------------------------------------


async def test_a_lookup_tells_how_it_ended(here: tuple[Sandbox, Dealer]) -> None:
    sandbox, dealer = here
    numbers = {"01010000001": "not_kakao_user", "01010000002": "delivery_uncertain"}
    sandbox.faults = FaultProfile.model_validate({"fates": {"numbers": numbers}})
    batch = [outgoing(VARIABLES, to=f"0101000000{n}") for n in range(3)]
    taken = await dealer.send(None, batch)
    ids = [result.dealer_message_id for result in taken if isinstance(result, Accepted)]
    attempts = [attempt(message, known) for message, known in zip(batch, ids, strict=True)]
    pending = await dealer.lookup(attempts)
    assert [report.delivered for report in pending if isinstance(report, Report)] == [None] * 3
    sandbox.settle()
    for asked in (attempts, [attempt(message) for message in batch]):
        ended = await dealer.lookup(asked)
        assert [(r.request_key, r.delivered, r.reason) for r in ended if isinstance(r, Report)] == [
            (batch[0].request_key, True, None),
            (batch[1].request_key, False, "unknown"),  # its code is published nowhere
            (batch[2].request_key, None, "delivery_uncertain"),
        ]


async def test_inquiries_are_five_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bongsu.sandbox.bizgo.dialect.time", SimpleNamespace(monotonic=lambda: 1000.0))
    async with world(lookups_per_second=5) as (_sandbox, dealer):
        batch = some(7)
        results = await dealer.send(None, batch)
        ids = [result.dealer_message_id for result in results if isinstance(result, Accepted)]
        assert dealer.capabilities.lookup_batch == 5
        looked = await dealer.lookup([attempt(message, known) for message, known in zip(batch, ids, strict=True)])
        assert [type(result) for result in looked] == [Report] * 5 + [StillUnknown] * 2
        assert isinstance(looked[-1], StillUnknown)
        assert looked[-1].retry_after is not None


@asynccontextmanager
async def receiving(dealer: Dealer, received: list[Report], refused: list[int]) -> AsyncIterator[str]:
    """Take webhook calls as the dispatcher does."""

    async def take(call: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in call.headers.items()}
        try:
            reports = dealer.read_receipts(await call.read(), headers)
        except BadReceipt as error:
            refused.append(error.status)
            return web.Response(status=error.status)
        received.extend(reports)
        return web.Response(body=dealer.answer_receipts(reports), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/receipts/bizgo", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/receipts/bizgo"
    finally:
        await runner.cleanup()


def push_to(sandbox: Sandbox, url: str) -> None:
    webhooks = sandbox.dialects["bizgo"].webhooks
    assert webhooks is not None
    webhooks.url = url


@pytest.mark.parametrize("signature", ["hex", "base64"])
async def test_reports_are_pushed_signed_and_answered_by_their_msg_key(signature: str) -> None:
    received: list[Report] = []
    refused: list[int] = []
    async with world(signature=signature) as (sandbox, dealer), receiving(dealer, received, refused) as url:
        push_to(sandbox, url)
        batch = some(20)
        results = await dealer.send(None, batch)
        sandbox.settle()
        await sandbox.reports_pushed()
        assert {(r.request_key, r.dealer_message_id, r.delivered) for r in received} == {
            (message.request_key, result.dealer_message_id, True)
            for message, result in zip(batch, results, strict=True)
            if isinstance(result, Accepted)
        }
        assert (len(received), refused) == (20, [])  # each answer was the one that Bizgo wants: none came twice


async def test_a_clock_far_off_refuses_every_report_and_a_lookup_still_tells() -> None:
    received: list[Report] = []
    refused: list[int] = []
    async with (
        world(clock_skew_seconds=600) as (sandbox, dealer),
        receiving(dealer, received, refused) as url,
    ):
        webhooks = sandbox.dialects["bizgo"].webhooks
        assert webhooks is not None
        webhooks.config = webhooks.config.model_copy(update={"retry_after_seconds": ()})
        push_to(sandbox, url)
        [message] = some(1)
        [taken] = await dealer.send(None, [message])
        assert isinstance(taken, Accepted)
        sandbox.settle()
        await sandbox.reports_pushed()
        assert (received, refused) == ([], [401])
        [report] = await dealer.lookup([attempt(message, taken.dealer_message_id)])
        assert isinstance(report, Report)
        assert report.delivered is True


async def test_polled_reports_come_again_until_they_are_acknowledged() -> None:
    async with world(reports="polling") as (sandbox, dealer):
        assert await dealer.pull() is None
        batch = some(3)
        await dealer.send(None, batch)
        sandbox.settle()
        first, second = await dealer.pull(), await dealer.pull()
        assert first is not None
        assert first == second
        assert {report.request_key for report in first.reports} == keys(batch).keys()
        await dealer.acknowledge(first)
        assert await dealer.pull() is None


async def test_a_webhook_key_has_nothing_to_pull(here: tuple[Sandbox, Dealer]) -> None:
    _sandbox, dealer = here
    assert await dealer.pull() is None


async def test_a_check_passes_what_the_account_has() -> None:
    async with world(any_template=False) as (_sandbox, dealer):
        checked = await dealer.check([VARIABLES.sender_key, "x" * 40], [SHORT.sender])
        assert [each.ok for each in checked] == [True, True, False, None]
