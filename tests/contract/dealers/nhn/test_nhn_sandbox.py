"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest
from aiohttp import web

from bongsu.sandbox import CallFault, FaultProfile, Operation, Profile, Sandbox, start_sandbox
from bongsu.sandbox.nhn.dialect import DEFAULT_SENDER_KEY, credentials
from bongsu.sandbox.profile import BadProfile, DealerProfile, Fates, Limits, spread
from shared.config import Config
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    Checked,
    Content,
    ImageUse,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Uploaded,
)
from shared.dealers.nhn.adapter import Nhn
from shared.dealers.registry import build_dealers
from tests.contract.dealers.nhn.nhn_world import (
    ALIMTALK,
    BRAND,
    CONTENTS,
    LONG,
    SHORT,
    at_sandbox,
    attempt,
    nhn_of,
    outgoing,
)

NOT_PROCESSED = {CallFault.CUT_BEFORE, CallFault.ERROR_BEFORE, CallFault.REDIRECT, CallFault.KEY_REFUSED}
READABLE = {CallFault.WRONG_TYPE}
_numbers = count(1)


def some(amount: int, channel: Channel = Channel.ALIMTALK, content: Content | None = None) -> list[Outgoing]:
    return [outgoing(next(_numbers), channel, content) for _ in range(amount)]


def attempts(batch: Sequence[Outgoing], results: Sequence[SendResult] = ()) -> list[OpenAttempt]:
    now = datetime.now(UTC)
    ids = [said.dealer_message_id if isinstance(said, Accepted) else None for said in results]
    return [attempt(m, i, now) for m, i in zip(batch, ids or [None] * len(batch), strict=True)]


def left(sandbox: Sandbox) -> Counter[str | None]:
    """Return how often each of our keys left."""
    return Counter(sent.key for sent in sandbox.truth())


@pytest.mark.parametrize("channel", CONTENTS)
async def test_what_is_accepted_left_and_its_end_is_found(sandbox: Sandbox, dealer: Nhn, channel: Channel) -> None:
    batch = some(3, channel)
    results = await dealer.send(None, batch)
    assert all(isinstance(said, Accepted) for said in results)
    assert left(sandbox) == Counter(message.request_key for message in batch)
    assert {sent.channel for sent in sandbox.truth()} == {channel}
    waiting = await dealer.lookup(attempts(batch, results))
    assert [said.delivered for said in waiting if isinstance(said, Report)] == [None] * 3
    sandbox.settle()
    for known in (attempts(batch, results), attempts(batch)):  # by id, and by key
        for said, message, result in zip(await dealer.lookup(known), batch, results, strict=True):
            assert isinstance(said, Report)
            assert isinstance(result, Accepted)
            assert (said.delivered, said.request_key) == (True, message.request_key)
            assert said.dealer_message_id == result.dealer_message_id


@pytest.mark.parametrize("channel", CONTENTS)
@pytest.mark.parametrize("fault", CallFault)
async def test_a_fault_leaves_no_doubt_that_a_lookup_cannot_end(fault: CallFault, channel: Channel) -> None:
    profile = Profile(
        accept_any_template=True,
        faults=FaultProfile.model_validate({"calls": {"default": {"stall_seconds": 1.0}}}),
    )
    async with start_sandbox(profile) as sandbox, at_sandbox(sandbox, timeout_seconds=0.4) as dealer:
        sandbox.arrange(Operation.SEND, fault, dealer="nhn")
        batch = some(2, channel)
        results = await dealer.send(None, batch)
        was_sent = bool(sandbox.truth())
        assert was_sent == (fault not in NOT_PROCESSED)
        for said in results:
            if fault in READABLE:
                assert isinstance(said, Accepted)
            elif fault is CallFault.KEY_REFUSED:
                assert isinstance(said, Refused)
                assert said.reason == "auth_failed"
            else:
                assert isinstance(said, Ambiguous)
        sandbox.settle()
        for found in await dealer.lookup(attempts(batch)):
            assert isinstance(found, Report) == was_sent
            assert isinstance(found, NotFound) != was_sent
        assert all(times == 1 for times in left(sandbox).values())


async def test_partial_acceptance(sandbox: Sandbox, dealer: Nhn) -> None:
    batch = some(3)
    batch[1] = replace(batch[1], to="123")
    good, bad, also_good = await dealer.send(None, batch)
    assert isinstance(good, Accepted)
    assert isinstance(also_good, Accepted)
    assert isinstance(bad, Refused)
    assert (bad.reason, bad.code) == ("invalid_phone", "-5000")
    assert len(sandbox.truth()) == 2
    [alone] = await dealer.send(None, [replace(message, to="123") for message in some(1)])
    assert isinstance(alone, Refused)
    assert alone.reason == "invalid_phone"  # and not -1031


async def test_a_batch_of_many_templates_and_texts(sandbox: Sandbox, dealer: Nhn) -> None:
    batch = [
        message for n in range(20) for message in some(2, Channel.ALIMTALK, replace(ALIMTALK, template_code=f"T{n}"))
    ]
    results = await dealer.send(None, batch)
    assert all(isinstance(said, Accepted) for said in results)
    assert len({said.dealer_message_id for said in results if isinstance(said, Accepted)}) == 40
    assert left(sandbox) == Counter(message.request_key for message in batch)
    for message, sent in zip(batch, await dealer.lookup(attempts(batch, results)), strict=True):
        assert isinstance(sent, Report)
        assert sent.request_key == message.request_key


async def test_a_request_doubled_on_the_way_is_told_apart_and_left_once(sandbox: Sandbox, dealer: Nhn) -> None:
    batch = some(2)
    first = await dealer.send(None, batch)
    second = await dealer.send(None, batch)  # what a proxy does; nobody of ours
    assert all(isinstance(said, Accepted) for said in first)
    assert all(isinstance(said, Ambiguous) and said.detail.startswith("-1005") for said in second)
    assert left(sandbox) == Counter(message.request_key for message in batch)


async def test_the_failover_is_off(sandbox: Sandbox, dealer: Nhn) -> None:
    await dealer.send(None, some(2))
    await dealer.send(None, some(2, Channel.FRIENDTALK))
    assert sandbox.book.counted["failover_left_on"] == 0


async def test_lists_that_lag_behind_find_nothing_yet() -> None:
    profile = Profile(accept_any_template=True, faults=FaultProfile(read_lag=spread(60)))
    async with start_sandbox(profile) as sandbox, at_sandbox(sandbox) as dealer:
        batch = some(2)
        results = await dealer.send(None, batch)
        for known in (attempts(batch), attempts(batch, results)):
            assert all(isinstance(said, NotFound) for said in await dealer.lookup(known))


async def test_the_limit_is_a_refusal_of_now() -> None:
    profile = Profile(accept_any_template=True, limits=Limits(messages_per_second=5))
    async with start_sandbox(profile) as sandbox, at_sandbox(sandbox) as dealer:
        assert all(isinstance(said, Accepted) for said in await dealer.send(None, some(5)))
        [said] = await dealer.send(None, some(1))
        assert isinstance(said, NotTaken)
        assert said.reason == "rate_limited"
        assert said.retry_after is not None
        assert len(sandbox.truth()) == 5


async def test_wrong_keys_are_said_by_the_header_alone(sandbox: Sandbox) -> None:
    config = Config.model_validate(
        {
            "dealers": {
                "mine": {
                    "kind": "nhn",
                    "base_url": sandbox.url_of("nhn"),
                    "credentials": {**credentials(), "secret_key": "wrong", "sms_appkey": "wrong"},
                }
            },
            "profiles": {"shop": {"name": "봉수상점", "routes": [{"dealer": "mine", "sender_key": "x"}]}},
        }
    )
    dealer = build_dealers(config)["mine"]
    for channel in CONTENTS:
        [said] = await dealer.send(None, some(1, channel))
        assert isinstance(said, Refused)
        assert said.reason == "auth_failed"
        [unknown] = await dealer.lookup(attempts(some(1, channel)))
        assert isinstance(unknown, StillUnknown)
    checked = await dealer.check([DEFAULT_SENDER_KEY], [SHORT.sender])
    assert [check.ok for check in checked] == [False, False]
    await dealer.close()


async def test_what_is_good_is_said_to_be(dealer: Nhn) -> None:
    checked = await dealer.check([DEFAULT_SENDER_KEY], [SHORT.sender, "0319999999"])
    assert checked[:2] == [Checked(DEFAULT_SENDER_KEY, ok=True), Checked(SHORT.sender, ok=True)]
    assert checked[2].ok is False


async def test_a_template_that_is_not_approved_is_not_sent() -> None:
    async with start_sandbox(Profile()) as sandbox, at_sandbox(sandbox) as dealer:
        nhn_of(sandbox).add_template("ORDER_PAID", "#{이름}님, 주문이 결제되었습니다.")
        [good] = await dealer.send(None, some(1))
        assert isinstance(good, Accepted)
        [mismatch] = await dealer.send(None, some(1, content=replace(ALIMTALK, variables={})))
        assert isinstance(mismatch, Refused)
        assert mismatch.reason == "template_mismatch"
        nhn_of(sandbox).inspect("ORDER_PAID", "dormant")
        [dormant] = await dealer.send(None, some(1))
        assert isinstance(dormant, Refused)
        assert dormant.reason == "template_not_approved"
        [unknown] = await dealer.send(None, some(1, content=replace(ALIMTALK, template_code="NONE")))
        assert isinstance(unknown, Refused)
        assert unknown.reason == "template_not_found"


async def test_an_mms_and_a_brand_message_with_their_images(sandbox: Sandbox, dealer: Nhn) -> None:
    file = await dealer.upload(ImageUse.MMS, "coupon.jpg", b"\xff\xd8\xff\xe0image")
    picture = await dealer.upload(ImageUse.BRAND, "news.jpg", b"\xff\xd8\xff\xe0image")
    assert isinstance(file, Uploaded)
    assert isinstance(picture, Uploaded)
    mms = some(1, Channel.MMS, replace(LONG, images=(file,)))
    brand = some(1, Channel.FRIENDTALK, replace(BRAND, image=picture))
    for batch in (mms, brand):
        [said] = await dealer.send(None, batch)
        assert isinstance(said, Accepted)
    sandbox.settle()
    for found in await dealer.lookup(attempts(mms + brand)):
        assert isinstance(found, Report)
        assert found.delivered is True
    [gone] = await dealer.send(None, some(1, Channel.MMS, replace(LONG, images=("999999",))))
    assert isinstance(gone, Refused)
    assert gone.reason == "invalid_attachment"


@pytest.mark.parametrize(
    ("channel", "fate", "delivered", "reason"),
    [
        (Channel.ALIMTALK, "not_kakao_user", False, "not_kakao_user"),
        (Channel.ALIMTALK, "delivery_uncertain", None, "delivery_uncertain"),
        (Channel.ALIMTALK, "7777", False, "unknown"),
        (Channel.SMS, "no_subscriber", False, "no_subscriber"),
        (Channel.LMS, "duplicate_suppressed", False, "duplicate_suppressed"),
    ],
)
async def test_an_end_is_told_alike_by_push_and_lookup(
    channel: Channel,
    fate: str,
    delivered: bool | None,  # noqa: FBT001 - a row
    reason: str,
    receiver: Receiver,
) -> None:
    profile = Profile(accept_any_template=True, faults=FaultProfile(fates=Fates.model_validate({channel: {fate: 1}})))
    async with start_sandbox(profile, webhook_url=receiver.url) as sandbox, at_sandbox(sandbox) as dealer:
        batch = some(2, channel)
        await dealer.send(None, batch)
        await receiver.settled(sandbox)
        pushed = [report for call in receiver.calls for report in dealer.read_receipts(*call)]
        looked_up = await dealer.lookup(attempts(batch))
        assert {report.request_key for report in pushed} == {message.request_key for message in batch}
        for report in (*pushed, *looked_up):
            assert isinstance(report, Report)
            assert (report.delivered, report.reason) == (delivered, reason)


async def test_an_account_that_does_not_exist_in_the_profile_is_refused_at_the_start() -> None:
    profile = Profile(dealers={"nhn": DealerProfile(options={"nonsense": 1})})
    with pytest.raises(BadProfile, match=r"dealers\.nhn\.options: nonsense"):
        async with start_sandbox(profile):
            pass


class Receiver:
    """Takes webhook calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, dict[str, str]]] = []
        self.url = ""

    async def take(self, call: web.Request) -> web.Response:
        """Take one."""
        self.calls.append((await call.read(), {name.lower(): value for name, value in call.headers.items()}))
        return web.Response(text="{}")

    async def settled(self, sandbox: Sandbox) -> None:
        """Wait until everything that happened was pushed."""
        sandbox.settle()
        async with asyncio.timeout(10):
            await sandbox.reports_pushed()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A service that takes receipts."""
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{dealer}", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{{dealer}}"
    yield made
    await runner.cleanup()
