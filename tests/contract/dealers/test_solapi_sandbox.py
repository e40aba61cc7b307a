"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest
from aiohttp import web

from bongsu.sandbox import (
    DEFAULT_API_KEY,
    DEFAULT_API_SECRET,
    DEFAULT_CHANNEL,
    DEFAULT_SENDER,
    DEFAULT_WEBHOOK_SECRET,
    CallFault,
    FaultProfile,
    Operation,
    Profile,
    Sandbox,
    start_sandbox,
)
from bongsu.sandbox.profile import CallFaults, Fates, Limits, spread
from shared.config import Config
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    AlreadyTaken,
    Ambiguous,
    Dealer,
    LookupResult,
    NotFound,
    NotTaken,
    NotTakenForSure,
    OpenAttempt,
    Outgoing,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Text,
)
from shared.dealers.registry import build_dealers
from tests.contract.dealers.fake_gateway import message_id

BEFORE = [CallFault.CUT_BEFORE, CallFault.ERROR_BEFORE]
AFTER = [CallFault.CUT_AFTER, CallFault.ERROR_AFTER, CallFault.STALL_AFTER]

BREAKS = (
    CallFault.CUT_BEFORE,
    CallFault.CUT_AFTER,
    CallFault.ERROR_BEFORE,
    CallFault.ERROR_AFTER,
    CallFault.STALL_AFTER,
)
"""after which nobody can tell; the other faults are in the conformance suite"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with start_sandbox() as running:
        yield running


@asynccontextmanager
async def dealer_at(sandbox: Sandbox) -> AsyncIterator[Dealer]:
    """Build the dealer as a service does."""
    config = Config.model_validate(
        {
            "dealers": {
                "solapi": {
                    "kind": "solapi",
                    "base_url": sandbox.url,
                    "credentials": {
                        "api_key": DEFAULT_API_KEY,
                        "api_secret": DEFAULT_API_SECRET,
                        "webhook_secret": DEFAULT_WEBHOOK_SECRET,
                    },
                    "timeout_seconds": 0.5,
                }
            },
            "profiles": {"shop": {"name": "봉수상점", "routes": [{"dealer": "solapi", "sender_key": "x"}]}},
        }
    )
    built = build_dealers(config)["solapi"]
    try:
        yield built
    finally:
        await built.close()


@pytest.fixture
async def dealer(sandbox: Sandbox) -> AsyncIterator[Dealer]:
    async with dealer_at(sandbox) as built:
        yield built


_numbers = count(1)


def some(amount: int, channel: Channel = Channel.ALIMTALK) -> list[Outgoing]:
    content: AlimTalk | Text = Text(DEFAULT_SENDER, "안녕하세요")
    if channel is Channel.ALIMTALK:
        content = AlimTalk(DEFAULT_CHANNEL, "KA01TP1", {"이름": "봉수"}, "봉수님", sender=DEFAULT_SENDER)
    return [
        Outgoing(message_id(n), 1, f"key-{n}", channel, f"0101{n:07}", content)
        for n in (next(_numbers) for _ in range(amount))
    ]


def attempt(outgoing: Outgoing, handle: str, dealer_message_id: str | None = None) -> OpenAttempt:
    return OpenAttempt(
        outgoing.message_id,
        1,
        outgoing.request_key,
        outgoing.channel,
        outgoing.to,
        handle,
        dealer_message_id,
        datetime.now(UTC),
    )


def left(sandbox: Sandbox) -> Counter[str]:
    """Return how often each of our keys left."""
    return Counter(dict(sent.custom_fields)["bongsu_key"] for sent in sandbox.truth())


async def opened(dealer: Dealer) -> str:
    handle = await dealer.open()
    assert isinstance(handle, str)
    return handle


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
async def test_what_is_accepted_left_once(dealer: Dealer, sandbox: Sandbox, channel: Channel) -> None:
    batch = some(100, channel)
    results = await dealer.send(await opened(dealer), batch)
    ids = {result.dealer_message_id for result in results if isinstance(result, Accepted)}
    assert {sent.message_id for sent in sandbox.truth()} == ids
    assert left(sandbox) == Counter(outgoing.request_key for outgoing in batch)


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("operation", [Operation.OPEN, Operation.ADD])
async def test_nothing_left_when_an_early_call_broke(
    dealer: Dealer, sandbox: Sandbox, operation: Operation, fault: CallFault
) -> None:
    sandbox.arrange(operation, fault)
    handle = await dealer.open()
    if isinstance(handle, str):
        results = await dealer.send(handle, some(3))
        assert [type(result) for result in results] == [NotTaken] * 3
    assert sandbox.truth() == []


@pytest.mark.parametrize("fault", BREAKS)
async def test_a_lookup_resolves_a_send_that_broke(dealer: Dealer, sandbox: Sandbox, fault: CallFault) -> None:
    handle, batch = await opened(dealer), some(3)
    sandbox.arrange(Operation.SEND, fault)
    results = await dealer.send(handle, batch)
    assert [type(result) for result in results] == [Ambiguous] * 3
    said = await dealer.lookup([attempt(outgoing, handle) for outgoing in batch])
    if fault in AFTER:
        assert [report.request_key for report in said if isinstance(report, Report)] == list(left(sandbox))
        assert len(sandbox.truth()) == 3
    else:
        assert [type(result) for result in said] == [NotTakenForSure] * 3
        assert [type(result) for result in await dealer.send(handle, batch)] == [NotTaken] * 3  # closed for good
        assert sandbox.truth() == []


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("operation", [Operation.LOOKUP, Operation.REMOVE])
async def test_a_lookup_that_breaks_claims_nothing_false(
    dealer: Dealer, sandbox: Sandbox, operation: Operation, fault: CallFault
) -> None:
    handle, [outgoing] = await opened(dealer), some(1)
    sandbox.arrange(operation, fault)
    [first] = await dealer.lookup([attempt(outgoing, handle)])
    assert not isinstance(first, NotTakenForSure | Report)
    [second] = await dealer.lookup([attempt(outgoing, handle)])
    assert isinstance(second, NotTakenForSure)


def taken(result: SendResult | LookupResult) -> bool | None:
    """Return whether a result claims that the sandbox has the message; None when it claims nothing."""
    match result:
        case Accepted() | AlreadyTaken() | Report():
            return True
        case NotTaken() | Refused() | NotTakenForSure():
            return False
        case Ambiguous() | NotFound() | StillUnknown():
            return None


@pytest.mark.parametrize("seed", range(3))
async def test_every_claim_holds_when_anything_may_break(seed: int) -> None:
    """Send through a sandbox that breaks often and shows old states; then ask until everything is known."""
    breaking = CallFaults(cut_before=0.1, cut_after=0.1, error_before=0.1, error_after=0.1)
    faults = FaultProfile(
        calls={"default": breaking},
        registration={"1042": 0.1},
        read_lag=spread(0.02),
        fates=Fates(alimtalk={"3104": 0.2}),
    )
    profile = Profile(accept_any_template=True, seed=seed, faults=faults, limits=Limits(enforced=False))
    claims: dict[str, bool] = {}
    unknown: list[OpenAttempt] = []

    def note(attempts: Sequence[OpenAttempt], results: Sequence[SendResult | LookupResult]) -> None:
        for one, result in zip(attempts, results, strict=True):
            claim = taken(result)
            if claim is None:
                unknown.append(one)
            else:
                claims[one.request_key] = claim

    async with start_sandbox(profile) as sandbox, dealer_at(sandbox) as talking:
        for _ in range(40):
            handle = await talking.open()
            if isinstance(handle, str):
                batch = some(3)
                results = await talking.send(handle, batch)
                note([attempt(outgoing, handle) for outgoing in batch], results)
        assert unknown
        while unknown:
            asked = list(unknown)
            unknown.clear()
            note(asked, await talking.lookup(asked))
        assert left(sandbox) == Counter(key for key, claim in claims.items() if claim)


async def test_receipts_that_the_sandbox_pushes_are_understood() -> None:
    faults = FaultProfile(fates=Fates(numbers={"01099990001": "3104", "01099990002": "3999"}))
    received: list[Report] = []

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received.extend(talking.read_receipts(await request.read(), headers))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    profile = Profile(accept_any_template=True, faults=faults)
    async with (
        start_sandbox(profile, webhook_url=f"http://127.0.0.1:{port}/") as sandbox,
        dealer_at(sandbox) as talking,
    ):
        batch = some(3)
        batch[1] = replace(batch[1], to="01099990001")
        batch[2] = replace(batch[2], to="01099990002")
        handle = await opened(talking)
        results = await talking.send(handle, batch)
        ids = [result.dealer_message_id for result in results if isinstance(result, Accepted)]
        sandbox.settle()
        await sandbox.reports_pushed()
        looked_up = await talking.lookup(
            [attempt(one, handle, identifier) for one, identifier in zip(batch, ids, strict=True)]
        )
    await runner.cleanup()
    final = {report.request_key: report for report in received if report.delivered is not None}
    expected = [(True, None), (False, "not_kakao_user"), (False, "unknown")]
    assert [(final[one.request_key].delivered, final[one.request_key].reason) for one in batch] == expected
    assert [final[one.request_key].dealer_message_id for one in batch] == ids
    assert [(one.delivered, one.reason) for one in looked_up if isinstance(one, Report)] == expected


async def test_the_balance_is_the_sandboxs(dealer: Dealer) -> None:
    assert await dealer.balance_krw() == 100_000_000
