"""The adapter against the sandbox's Gabia: what each failure is said to be, and what a lookup finds."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from bongsu.sandbox import CallFault, Operation, Sandbox
from shared.config import BadConfig
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    Checked,
    LookupMeans,
    NotFound,
    NotTaken,
    Refused,
    Report,
    StillUnknown,
)
from tests.contract.dealers.gabia.gabia_world import (
    LONG,
    attempt,
    dealer_at,
    gabia_of,
    look_up,
    outgoing,
    sandbox_with,
)


async def test_a_batch_is_sent_a_call_each_and_found_by_our_keys() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        batch = [outgoing() for _ in range(25)] + [outgoing(LONG)]
        results = await dealer.send(None, batch)
        assert all(isinstance(result, Accepted) for result in results)
        sent = {message.key: message for message in sandbox.truth()}
        assert {each.request_key: each.to for each in batch} == {key: message.to for key, message in sent.items()}
        sandbox.settle()
        found = await dealer.lookup([attempt(*pair) for pair in zip(batch, results, strict=True)])
        for each, result, report in zip(batch, results, found, strict=True):
            assert isinstance(result, Accepted)
            assert isinstance(report, Report)
            assert (report.request_key, report.delivered, report.code) == (each.request_key, True, "SUCC")
            assert report.dealer_message_id == result.dealer_message_id
        tokens = [record for record in sandbox.record if record["target"] == "/oauth/token"]
        assert len(tokens) == 1


async def test_a_failure_is_told_with_its_words() -> None:
    message = outgoing()
    faults = {"fates": {"numbers": {message.to: "handset_unreachable"}}}
    async with sandbox_with(faults=faults) as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        [result] = await dealer.send(None, [message])
        assert isinstance(result, Accepted)
        sandbox.settle()
        report = await look_up(dealer, message, result)
        assert isinstance(report, Report)
        assert (report.delivered, report.reason, report.detail) == (False, "unknown", "전송 실패")


@pytest.mark.parametrize(
    ("fault", "expected", "left"),
    [
        pytest.param(CallFault.CUT_BEFORE, Ambiguous, 0, id="cut-before"),
        pytest.param(CallFault.CUT_AFTER, Ambiguous, 1, id="cut-after"),
        pytest.param(CallFault.ERROR_BEFORE, Ambiguous, 0, id="error-before"),
        pytest.param(CallFault.ERROR_AFTER, Ambiguous, 1, id="error-after"),
        pytest.param(CallFault.GARBLED, Ambiguous, 1, id="garbled"),
        pytest.param(CallFault.TRUNCATED, Ambiguous, 1, id="truncated"),
        pytest.param(CallFault.WRONG_TYPE, Accepted, 1, id="wrong-type"),
        pytest.param(CallFault.REDIRECT, Ambiguous, 0, id="redirect"),
        pytest.param(CallFault.STALL_AFTER, Ambiguous, 1, id="stall"),
        pytest.param(CallFault.KEY_REFUSED, NotTaken, 0, id="key-refused"),
    ],
)
async def test_each_fault_of_a_send_is_told_apart(fault: CallFault, expected: type, left: int) -> None:
    faults = {"calls": {"send": {"stall_seconds": 5}}}
    async with (
        sandbox_with(faults=faults) as sandbox,
        dealer_at(sandbox.url_of("gabia"), timeout_seconds=0.5) as dealer,
    ):
        sandbox.arrange(Operation.SEND, fault, dealer="gabia")
        message = outgoing()
        [result] = await dealer.send(None, [message])
        assert isinstance(result, expected)
        assert len(sandbox.truth()) == left
        sandbox.settle()
        found = await look_up(dealer, message, result)
        assert isinstance(found, Report if left else NotFound)


@pytest.mark.parametrize("fault", [CallFault.CUT_AFTER, CallFault.ERROR_AFTER, CallFault.GARBLED, CallFault.REDIRECT])
async def test_without_a_token_nothing_leaves(fault: CallFault) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        sandbox.arrange(Operation.OPEN, fault, dealer="gabia")
        [first, second] = await dealer.send(None, [outgoing(), outgoing()])
        assert isinstance(first, NotTaken)
        assert isinstance(second, NotTaken)
        assert first.reason == "dealer_unavailable"
        assert not sandbox.truth()
        [result] = await dealer.send(None, [outgoing()])
        assert isinstance(result, Accepted)


async def test_a_wrong_key_is_said_once_for_a_batch() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia"), api_key="wrong") as dealer:
        results = await dealer.send(None, [outgoing() for _ in range(20)])
        assert {type(result) for result in results} == {Refused}
        assert {result.reason for result in results if isinstance(result, Refused)} == {"auth_failed"}
        assert len(sandbox.record) == 1
        [account, number] = await dealer.check([], ["0212345678"])
        assert account.ok is False
        assert number.ok is None


async def test_a_stale_token_costs_a_try_and_no_more() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        await dealer.send(None, [outgoing()])
        gabia_of(sandbox).forget_tokens()
        message = outgoing()
        [result] = await dealer.send(None, [message])
        assert isinstance(result, NotTaken)
        [result] = await dealer.send(None, [message])
        assert isinstance(result, Accepted)
        gabia_of(sandbox).forget_tokens()
        assert isinstance(await look_up(dealer, message, result), StillUnknown)
        sandbox.settle()
        assert isinstance(await look_up(dealer, message, result), Report)


async def test_what_it_refuses_it_did_not_take() -> None:
    async with sandbox_with({"messages": 0}) as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        [result] = await dealer.send(None, [outgoing()])
        assert isinstance(result, Refused)
        assert (result.reason, result.code, result.detail) == ("unknown", "false", "sms_count - sms_count")
        assert not sandbox.truth()


async def test_over_the_limit_is_not_taken_and_says_when() -> None:
    limits = {"messages_per_second": 1}
    async with sandbox_with(limits=limits) as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        results = await dealer.send(None, [outgoing(), outgoing()])
        [refused] = [result for result in results if not isinstance(result, Accepted)]
        assert isinstance(refused, NotTaken)
        assert refused.reason == "rate_limited"
        assert refused.retry_after is not None
        assert len(sandbox.truth()) == 1


async def test_nobody_there_is_certain() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with dealer_at(f"http://127.0.0.1:{port}") as dealer:
        [result] = await dealer.send(None, [outgoing()])
        assert isinstance(result, NotTaken)
        assert isinstance(await look_up(dealer, outgoing()), StillUnknown)


# -- the log -----------------------------------------------------------------------------------------------------


async def lost(sandbox: Sandbox, dealer: Any) -> Any:  # noqa: ANN401 - a dealer, and a message
    """Send one whose answer is lost though it was taken."""
    sandbox.arrange(Operation.SEND, CallFault.CUT_AFTER, dealer="gabia")
    message = outgoing()
    [result] = await dealer.send(None, [message])
    assert isinstance(result, Ambiguous)
    return message


async def test_a_log_of_results_hides_what_waits_so_its_silence_is_not_believed() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        message = await lost(sandbox, dealer)
        assert isinstance(await look_up(dealer, message), NotFound)
        capabilities = dealer.capabilities
        assert capabilities.lookup is LookupMeans.BY_KEY
        assert capabilities.not_found_after >= max(capabilities.receipt_deadline.values())
        sandbox.settle()
        report = await look_up(dealer, message)
        assert isinstance(report, Report)
        assert report.delivered


async def test_a_log_that_shows_what_waits_may_be_believed_soon() -> None:
    async with (
        sandbox_with({"shows_pending": True}) as sandbox,
        dealer_at(sandbox.url_of("gabia"), log_shows_pending="yes") as dealer,
    ):
        message = await lost(sandbox, dealer)
        report = await look_up(dealer, message)
        assert isinstance(report, Report)
        assert (report.delivered, report.code) == (None, "none")
        assert dealer.capabilities.not_found_after < dealer.capabilities.receipt_deadline[Channel.SMS]


async def test_a_message_that_was_taken_is_never_not_found() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        message = outgoing()
        [result] = await dealer.send(None, [message])
        assert isinstance(await look_up(dealer, message, result), StillUnknown)


@pytest.mark.parametrize(
    "fault", [CallFault.CUT_AFTER, CallFault.ERROR_BEFORE, CallFault.GARBLED, CallFault.REDIRECT, CallFault.KEY_REFUSED]
)
async def test_a_lookup_that_fails_says_nothing(fault: CallFault) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        await dealer.send(None, [outgoing()])
        sandbox.arrange(Operation.LOOKUP, fault, dealer="gabia")
        assert isinstance(await look_up(dealer, outgoing()), StillUnknown)


async def test_the_account_is_checked_by_what_it_has_left() -> None:
    async with sandbox_with({"messages": 7}) as sandbox, dealer_at(sandbox.url_of("gabia")) as dealer:
        assert (await dealer.check([], []))[0] == Checked("account", ok=True, detail="7 SMS left")
        assert await dealer.balance_krw() is None  # Gabia counts messages


async def test_yes_or_no() -> None:
    with pytest.raises(BadConfig, match=r"dealers\.gabia\.credentials\.log_shows_pending: want yes or no"):
        async with dealer_at("http://127.0.0.1:1", log_shows_pending="perhaps"):
            pass
