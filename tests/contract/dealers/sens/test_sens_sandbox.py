"""What the adapter claims, against what the sandbox really did, whatever breaks in between."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from bongsu.sandbox import CallFault, FaultProfile, Operation, Profile, Sandbox
from bongsu.sandbox.profile import BadProfile, CallFaults, DealerProfile, Fates, Limits, Receipts, spread
from bongsu.sandbox.sens.dialect import DEFAULT_ACCESS_KEY, DEFAULT_CHANNEL, DEFAULT_SERVICE_ID, DEFAULT_TEMPLATE
from bongsu.sandbox.server import SandboxSettings
from shared.config import load_config
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    Ambiguous,
    Button,
    ImageUse,
    Item,
    NotFound,
    NotTaken,
    Refused,
    Report,
    StillUnknown,
    Text,
    Uploaded,
)
from shared.dealers.registry import build_dealers
from shared.dealers.sens.adapter import Sens
from shared.dealers.sens.gateway import signature
from shared.dealers.templates import TemplateStatus
from tests.contract.dealers.sens.sens_world import CONTENTS, adapter_of, attempt, dialect_of, running, some

CHANNELS = (Channel.ALIMTALK, Channel.FRIENDTALK, Channel.SMS, Channel.LMS)
LOST = (
    CallFault.CUT_BEFORE,
    CallFault.CUT_AFTER,
    CallFault.ERROR_BEFORE,
    CallFault.ERROR_AFTER,
    CallFault.STALL_AFTER,
    CallFault.GARBLED,
    CallFault.TRUNCATED,
    CallFault.REDIRECT,
    CallFault.TRICKLE,
)
"""after which nobody can tell whether the messages left"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running() as one:
        yield one


@pytest.fixture
async def dealer(sandbox: Sandbox) -> AsyncIterator[Sens]:
    async with adapter_of(sandbox) as one:
        yield one


def ids(results: list[object]) -> list[str]:
    assert all(isinstance(result, Accepted) for result in results), results
    return [result.dealer_message_id for result in results if isinstance(result, Accepted)]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_what_is_accepted_left_once_and_is_reported(dealer: Sens, sandbox: Sandbox, channel: Channel) -> None:
    batch = some(100, channel)
    known = ids(list(await dealer.send(None, batch)))
    assert len(set(known)) == 100
    assert Counter(sent.to for sent in sandbox.truth()) == Counter(one.to for one in batch)
    assert {sent.channel for sent in sandbox.truth()} == {channel}
    asked = [attempt(one, identifier) for one, identifier in zip(batch, known, strict=True)]
    waiting = await dealer.lookup(asked)
    assert all(isinstance(one, Report) and one.delivered is None for one in waiting)
    sandbox.settle()
    done = await dealer.lookup(asked)
    assert [one.request_key for one in done if isinstance(one, Report) and one.delivered] == [
        one.request_key for one in batch
    ]


@pytest.mark.parametrize("channel", [Channel.ALIMTALK, Channel.SMS])
@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_answer_leaves_every_message_in_doubt(
    sandbox: Sandbox, channel: Channel, fault: CallFault
) -> None:
    sandbox.faults = FaultProfile(calls={"default": CallFaults(stall_seconds=2)})
    async with adapter_of(sandbox) as dealer:
        sandbox.arrange(Operation.SEND, fault, dealer="sens")
        batch = some(3, channel)
        results = await dealer.send(None, batch)
        assert [type(result) for result in results] == [Ambiguous] * 3
        said = await dealer.lookup([attempt(one, None) for one in batch])
        assert [type(one) for one in said] == [StillUnknown] * 3


async def test_an_answer_of_the_wrong_type_is_an_answer(dealer: Sens, sandbox: Sandbox) -> None:
    sandbox.arrange(Operation.SEND, CallFault.WRONG_TYPE, dealer="sens")
    ids(list(await dealer.send(None, some(2))))


async def test_a_refused_key_took_nothing(dealer: Sens, sandbox: Sandbox) -> None:
    sandbox.arrange(Operation.SEND, CallFault.KEY_REFUSED, dealer="sens")
    results = await dealer.send(None, some(2))
    assert [(one.reason, one.code) for one in results if isinstance(one, Refused)] == [("auth_failed", "401/200")] * 2
    assert sandbox.truth() == []


@pytest.mark.parametrize("changed", [{"access_key": "x"}, {"secret_key": "x"}, {"service_id": "ncp:kkobizmsg:kr:9:x"}])
async def test_wrong_credentials_are_told(sandbox: Sandbox, changed: dict[str, str]) -> None:
    async with adapter_of(sandbox, **changed) as dealer:
        [result] = await dealer.send(None, some(1))
        assert isinstance(result, Refused)
        assert result.reason == "auth_failed"
        assert (await dealer.check([DEFAULT_CHANNEL], []))[0].ok is False
    assert sandbox.truth() == []


@pytest.mark.parametrize(("minutes", "expected"), [(4.9, Accepted), (-4.9, Accepted), (5.1, Refused), (-5.1, Refused)])
async def test_a_clock_five_minutes_off_is_refused(minutes: float, expected: type) -> None:
    profile = Profile(accept_any_template=True, dealers={"sens": DealerProfile(clock_skew_seconds=minutes * 60)})
    async with running(profile) as sandbox, adapter_of(sandbox) as dealer:
        assert [type(result) for result in await dealer.send(None, some(1))] == [expected]


async def test_the_signature_covers_the_query(sandbox: Sandbox) -> None:
    target = f"/alimtalk/v2/services/{DEFAULT_SERVICE_ID}/messages"
    timestamp = str(int(datetime.now(UTC).timestamp() * 1000))
    headers = {
        "x-ncp-apigw-timestamp": timestamp,
        "x-ncp-iam-access-key": DEFAULT_ACCESS_KEY,
        "x-ncp-apigw-signature-v2": signature(
            "sandboxSecretKey00000000000000000000000",
            method="GET",
            target=target,
            timestamp=timestamp,
            access_key=DEFAULT_ACCESS_KEY,
        ),
    }
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{sandbox.url_of('sens')}{target}?requestId=r", headers=headers) as answer,
    ):
        assert answer.status == 401


async def test_one_number_twice_in_a_batch_is_two_requests_in_their_order(dealer: Sens, sandbox: Sandbox) -> None:
    [one] = some(1, Channel.SMS)
    [other, third] = some(2, Channel.SMS)
    batch = [one, replace(other, to=one.to), third]
    known = ids(list(await dealer.send(None, batch)))
    assert len(set(known)) == 3
    assert [sent.to for sent in sandbox.truth()] == [one.to, third.to, one.to]
    sandbox.settle()
    said = await dealer.lookup([attempt(out, identifier) for out, identifier in zip(batch, known, strict=True)])
    assert all(isinstance(report, Report) and report.delivered for report in said)


async def test_chance_refuses_single_messages(sandbox: Sandbox) -> None:
    sandbox.faults = FaultProfile(registration={"template_mismatch": 0.5})
    async with adapter_of(sandbox) as dealer:
        batch = some(50)
        results = await dealer.send(None, batch)
    took = {one.to for one, result in zip(batch, results, strict=True) if isinstance(result, Accepted)}
    assert {result.reason for result in results if isinstance(result, Refused)} == {"template_mismatch"}
    assert {sent.to for sent in sandbox.truth()} == took
    assert 0 < len(took) < 50


@pytest.mark.parametrize(
    ("channel", "fate", "delivered", "reason"),
    [
        pytest.param(Channel.ALIMTALK, "not_kakao_user", False, "not_kakao_user", id="no-user"),
        pytest.param(Channel.ALIMTALK, "blocked_channel", False, "blocked_channel", id="blocked"),
        pytest.param(Channel.ALIMTALK, "delivery_uncertain", None, "delivery_uncertain", id="3005"),
        pytest.param(Channel.ALIMTALK, "7777", False, "unknown", id="unknown-code"),
        pytest.param(Channel.FRIENDTALK, "night_ban", False, "night_ban", id="night"),
        pytest.param(Channel.SMS, "no_subscriber", False, "no_subscriber", id="no-subscriber"),
        pytest.param(Channel.LMS, "7777", False, "unknown", id="unknown-text-code"),
    ],
)
async def test_a_failure_is_reported_with_its_reason(
    dealer: Sens, sandbox: Sandbox, channel: Channel, fate: str, *, delivered: bool | None, reason: str
) -> None:
    [one] = some(1, channel)
    sandbox.faults = FaultProfile(fates=Fates(numbers={one.to: fate}))
    [identifier] = ids(list(await dealer.send(None, [one])))
    sandbox.settle()
    [report] = await dealer.lookup([attempt(one, identifier)])
    assert isinstance(report, Report)
    assert (report.delivered, report.reason) == (delivered, reason)


@pytest.mark.parametrize(("channel", "lagging"), [(Channel.ALIMTALK, NotFound), (Channel.SMS, StillUnknown)])
async def test_an_index_that_lags_denies_nothing(sandbox: Sandbox, channel: Channel, lagging: type) -> None:
    sandbox.faults = FaultProfile(read_lag=spread(3600))
    async with adapter_of(sandbox) as dealer:
        [one] = some(1, channel)
        [identifier] = ids(list(await dealer.send(None, [one])))
        assert [type(said) for said in await dealer.lookup([attempt(one, identifier)])] == [lagging]


async def test_a_report_that_lags_is_not_yet(sandbox: Sandbox) -> None:
    sandbox.faults = FaultProfile(receipts=Receipts(fate_after=spread(0), lookup_lag=spread(3600)))
    async with adapter_of(sandbox) as dealer:
        [one] = some(1)
        [identifier] = ids(list(await dealer.send(None, [one])))
        sandbox.settle()
        [report] = await dealer.lookup([attempt(one, identifier)])
        assert isinstance(report, Report)
        assert report.delivered is None


async def test_a_broken_lookup_is_asked_again_later(dealer: Sens, sandbox: Sandbox) -> None:
    batch = some(20)
    known = ids(list(await dealer.send(None, batch)))
    sandbox.arrange(Operation.LOOKUP, CallFault.ERROR_BEFORE, times=8, dealer="sens")
    said = await dealer.lookup([attempt(one, identifier) for one, identifier in zip(batch, known, strict=True)])
    assert {type(one) for one in said} == {StillUnknown}


async def test_over_the_limit_nothing_is_taken() -> None:
    profile = Profile(accept_any_template=True, limits=Limits(messages_per_second=10))
    async with running(profile) as sandbox, adapter_of(sandbox) as dealer:
        results = await dealer.send(None, some(11))
        assert [(one.reason, one.code) for one in results if isinstance(one, NotTaken)] == [
            ("rate_limited", "429/410")
        ] * 11
        assert sandbox.truth() == []


async def test_an_mms_goes_with_its_image(dealer: Sens, sandbox: Sandbox) -> None:
    image = await dealer.upload(ImageUse.MMS, "logo.jpg", b"\xff\xd8\xff\xe0" + b"0" * 1000)
    assert isinstance(image, Uploaded)
    text = Text("0212345678", "그림을 보세요", "그림", (image,))
    ids(list(await dealer.send(None, some(2, Channel.MMS, text))))
    assert {sent.channel for sent in sandbox.truth()} == {Channel.MMS}
    [refused] = await dealer.send(None, some(1, Channel.MMS, replace(text, images=("file-99999999",))))
    assert isinstance(refused, Refused)
    assert refused.reason == "invalid_request"


async def test_everything_that_an_alimtalk_of_sens_can_hold(dealer: Sens) -> None:
    whole = AlimTalk(
        DEFAULT_CHANNEL,
        DEFAULT_TEMPLATE,
        {},
        "결제되었습니다.",
        buttons=(
            Button("WL", "보기", "https://shop.example/o/1"),
            Button("AL", "앱", scheme_android="shop://1", scheme_ios="shop://1"),
            Button("DS", "배송 조회"),
            Button("BK", "문의"),
            Button("MD", "전달"),
        ),
        title="1,000원",
        header="결제",
        highlight=Item("합계", "1,000원"),
        items=(Item("물건", "사과"), Item("수량", "1")),
        summary=Item("합계", "1,000원"),
        has_image=True,
        sender="0212345678",
    )
    ids(list(await dealer.send(None, some(1, content=whole))))


@pytest.fixture
async def strict() -> AsyncIterator[tuple[Sandbox, Sens]]:
    """A sandbox that compares templates, and its adapter."""
    async with running(Profile()) as sandbox, adapter_of(sandbox) as dealer:
        yield sandbox, dealer


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        pytest.param("ORDER", "김봉수님, 주문 A-1이 결제되었습니다.", None, id="fits"),
        pytest.param("ORDER", "김봉수님,  주문 A-1이 결제되었습니다.", "template_mismatch", id="a-space-too-many"),
        pytest.param("ORDER2", "김봉수님", "template_not_found", id="unknown"),
        pytest.param("DRAFT", "김봉수님", "template_not_approved", id="not-approved"),
    ],
)
async def test_a_template_is_compared(strict: tuple[Sandbox, Sens], code: str, text: str, expected: str | None) -> None:
    sandbox, dealer = strict
    dialect_of(sandbox).add_template("ORDER", "#{이름}님, 주문 #{번호}이 결제되었습니다.")
    dialect_of(sandbox).add_template("DRAFT", inspection="INSPECT")
    [one] = some(1, content=AlimTalk(DEFAULT_CHANNEL, code, {}, text))
    [identifier] = ids(list(await dealer.send(None, [one])))
    sandbox.settle()
    [report] = await dealer.lookup([attempt(one, identifier)])
    assert isinstance(report, Report)
    assert report.reason == expected
    assert report.delivered is (expected is None)


async def test_templates_are_read_with_the_inspectors_words(strict: tuple[Sandbox, Sens]) -> None:
    sandbox, dealer = strict
    dialect_of(sandbox).add_template("ORDER", "#{이름}님", inspection="INSPECT")
    assert (await dealer.templates.get(DEFAULT_CHANNEL, "ORDER")).status is TemplateStatus.INSPECTING
    dialect_of(sandbox).inspect("ORDER", "REJECT", "변수만으로는 안 됩니다.")
    copy = await dealer.templates.get(DEFAULT_CHANNEL, "ORDER")
    assert (copy.status, copy.text, copy.comments) == (
        TemplateStatus.REJECTED,
        "#{이름}님",
        ("변수만으로는 안 됩니다.",),
    )
    every = {copy.code: copy.status for copy in await dealer.templates.every(DEFAULT_CHANNEL)}
    assert every == {DEFAULT_TEMPLATE: TemplateStatus.APPROVED, "ORDER": TemplateStatus.REJECTED}
    assert (await dealer.templates.get(DEFAULT_CHANNEL, "NONE")).status is TemplateStatus.MISSING
    assert await dealer.templates.every("@봉수 상점&x=1") == []  # signed as it is written in the request line


async def test_an_unknown_channel_or_sender_refuses_the_request(strict: tuple[Sandbox, Sens]) -> None:
    _, dealer = strict
    wrong = [
        *some(1, content=AlimTalk("@nobody", DEFAULT_TEMPLATE, {}, "안녕하세요")),
        *some(1, Channel.SMS, Text("0299999999", "안녕")),
    ]
    for one in wrong:
        [refused] = await dealer.send(None, [one])
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.code) == ("invalid_request", "400")
    checked = await dealer.check([DEFAULT_CHANNEL, "@nobody"], ["0212345678"])
    assert [(one.what, one.ok) for one in checked] == [
        ("credentials", True),
        (DEFAULT_CHANNEL, True),
        ("@nobody", False),
        ("0212345678", None),
    ]


async def test_a_mixed_batch_is_told_apart(dealer: Sens, sandbox: Sandbox) -> None:
    content = CONTENTS[Channel.ALIMTALK]
    assert isinstance(content, AlimTalk)
    batch = (
        some(1) + some(1, content=replace(content, template_code="OTHER")) + some(1, content=replace(content, text=""))
    )
    results = await dealer.send(None, batch)
    assert [type(result) for result in results] == [Accepted, Accepted, Refused]
    assert len({sent.group_id for sent in sandbox.truth()}) == 2


def test_an_option_that_it_does_not_know_is_refused_at_start() -> None:
    profile = Profile(dealers={"sens": DealerProfile(options={"acess_key": "x"})})
    with pytest.raises(BadProfile, match="acess_key"):
        Sandbox(SandboxSettings(profile=profile))


def test_the_configuration_that_the_page_shows_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[4] / "docs/dealers/sens.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"\$\{(\w+)\}", shown):
        monkeypatch.setenv(name, "made-up")
    path = tmp_path / "bongsu.yaml"
    path.write_text(shown, encoding="utf-8")
    built = build_dealers(load_config(path))
    assert built["sens"].capabilities.max_batch == 50
    assert Channel.MMS in built["sens"].capabilities.channels
