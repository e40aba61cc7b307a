"""The example of docs/dealers/write-your-own.md against its own part of the sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from bongsu.sandbox import CallFault, Operation
from hanbit.adapter import Hanbit
from shared.dealers.base import (
    Accepted,
    AlreadyTaken,
    Ambiguous,
    BadReceipt,
    Button,
    Item,
    Links,
    NotFound,
    NotTaken,
    QuickReply,
    Refused,
    Report,
    StillUnknown,
)
from tests.contract.dealers.hanbit.hanbit_world import (
    FULL,
    LONG,
    ORDER,
    SHORT,
    attempt,
    attempts,
    dealer_at,
    outgoing,
    sandbox_with,
)


async def test_a_batch_is_one_call_and_found_by_our_keys() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("hanbit")) as dealer:
        assert isinstance(dealer, Hanbit)
        batch = [outgoing(content) for content in (ORDER, FULL, SHORT, LONG)] + [outgoing() for _ in range(96)]
        results = await dealer.send(None, batch)
        assert all(isinstance(result, Accepted) for result in results)
        assert len(sandbox.record) == 1
        assert {one.request_key: one.to for one in batch} == {one.key: one.to for one in sandbox.truth()}
        [waiting] = await dealer.lookup([attempt(batch[0], results[0])])
        assert isinstance(waiting, Report)
        assert (waiting.delivered, waiting.code) == (None, "1000")
        sandbox.settle()
        for one, report in zip(batch, await dealer.lookup(attempts(batch, results)), strict=True):
            assert isinstance(report, Report)
            assert (report.request_key, report.delivered, report.code) == (one.request_key, True, "4000")
            assert report.at is not None


async def test_what_cannot_be_sent_does_not_hold_its_neighbours() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("hanbit")) as dealer:
        batch = [outgoing(replace(LONG, text="축하 🎉")), outgoing(LONG), outgoing(replace(LONG, text="가" * 1001))]
        emoji, sent, long = await dealer.send(None, batch)
        assert isinstance(emoji, Refused)
        assert (emoji.reason, emoji.detail) == ("content_charset", "no carrier brings 🎉 (U+1F389)")
        assert isinstance(sent, Accepted)
        assert isinstance(long, Refused)
        assert long.reason == "content_too_long"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param({"header": "주문"}, "header", id="header"),
        pytest.param({"highlight": Item("a", "b")}, "highlight", id="highlight"),
        pytest.param({"items": (Item("a", "b"),)}, "items", id="items"),
        pytest.param({"summary": Item("a", "b")}, "summary", id="summary"),
        pytest.param({"link": Links("https://shop.example")}, "link", id="link"),
        pytest.param({"sender": None}, "sender number", id="sender"),
        pytest.param({"buttons": (Button("BT", "챗봇"),)}, "button BT", id="kind-of-button"),
        pytest.param({"buttons": (Button("BK", "x", chat_extra="y"),)}, "chat_extra", id="field-of-a-button"),
        pytest.param({"quick_replies": (QuickReply("BT", "챗봇"),)}, "quick reply BT", id="quick-reply"),
    ],
)
async def test_nothing_is_dropped_silently(changed: dict[str, Any], named: str) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("hanbit")) as dealer:
        [result] = await dealer.send(None, [outgoing(replace(ORDER, **changed))])
        assert isinstance(result, Refused)
        assert result.reason == "invalid_request"
        assert named in result.detail
        assert not sandbox.record


@pytest.mark.parametrize(
    ("fault", "expected", "left"),
    [
        pytest.param(CallFault.CUT_BEFORE, Ambiguous, 0, id="cut-before"),
        pytest.param(CallFault.CUT_AFTER, Ambiguous, 2, id="cut-after"),
        pytest.param(CallFault.ERROR_BEFORE, Ambiguous, 0, id="error-before"),
        pytest.param(CallFault.ERROR_AFTER, Ambiguous, 2, id="error-after"),
        pytest.param(CallFault.GARBLED, Ambiguous, 2, id="garbled"),
        pytest.param(CallFault.TRUNCATED, Ambiguous, 2, id="truncated"),
        pytest.param(CallFault.WRONG_TYPE, Accepted, 2, id="wrong-type"),
        pytest.param(CallFault.REDIRECT, Ambiguous, 0, id="redirect"),
        pytest.param(CallFault.STALL_AFTER, Ambiguous, 2, id="stall"),
        pytest.param(CallFault.KEY_REFUSED, Refused, 0, id="key-refused"),
    ],
)
async def test_each_fault_of_a_send_is_told_apart(fault: CallFault, expected: type, left: int) -> None:
    faults = {"calls": {"send": {"stall_seconds": 5}}}
    async with (
        sandbox_with(faults=faults) as sandbox,
        dealer_at(sandbox.url_of("hanbit"), timeout_seconds=0.5) as dealer,
    ):
        sandbox.arrange(Operation.SEND, fault, dealer="hanbit")
        batch = [outgoing(), outgoing()]
        results = await dealer.send(None, batch)
        assert {type(result) for result in results} == {expected}
        assert len(sandbox.truth()) == left
        found = await dealer.lookup(attempts(batch, results))
        assert {type(one) for one in found} == {Report if left else NotFound}


async def test_nobody_there_is_certain() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with dealer_at(f"http://127.0.0.1:{port}") as dealer:
        message = outgoing()
        assert isinstance((await dealer.send(None, [message]))[0], NotTaken)
        assert isinstance((await dealer.lookup([attempt(message)]))[0], StillUnknown)
        assert await dealer.balance_krw() is None


async def test_refusals_are_of_one_message_and_limits_of_a_call() -> None:
    numbers = {"01000000002": "1"}  # what begins with 1 strikes at acceptance; the dialect makes it a code of Hanbit's
    async with (
        sandbox_with(limits={"messages_per_second": 2}, faults={"fates": {"numbers": numbers}}) as sandbox,
        dealer_at(sandbox.url_of("hanbit")) as dealer,
    ):
        taken, refused = await dealer.send(None, [outgoing(n=1), outgoing(n=2)])
        assert isinstance(taken, Accepted)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.code) == ("unknown", "4999")
        results = await dealer.send(None, [outgoing(n=3), outgoing(n=4)])
        for result in results:
            assert isinstance(result, NotTaken)
            assert (result.reason, result.code) == ("rate_limited", "3429")
            assert result.retry_after is not None
        assert len(sandbox.truth()) == 1


async def test_a_key_that_was_used_is_not_sent_again() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("hanbit")) as dealer:
        message = outgoing()
        [first] = await dealer.send(None, [message])
        assert isinstance(first, Accepted)
        assert await dealer.send(None, [message]) == [AlreadyTaken(first.dealer_message_id)]
        assert len(sandbox.truth()) == 1


async def test_an_unregistered_sender_is_refused_by_name() -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("hanbit")) as dealer:
        [result] = await dealer.send(None, [outgoing(replace(ORDER, sender="0299999999"))])
        assert isinstance(result, Refused)
        assert (result.reason, result.code) == ("sender_number_unregistered", "2102")
        checked = await dealer.check(["a" * 40], ["0212345678", "0299999999"])
        assert [one.ok for one in checked] == [True, False, True, False]
        assert await dealer.balance_krw() == 100_000_000
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("hanbit"), api_key="wrong") as dealer:
        assert [one.ok for one in await dealer.check(["a" * 40], [])] == [False, None]


async def test_a_message_that_was_taken_is_never_not_found() -> None:
    async with sandbox_with(faults={"read_lag": 60}) as sandbox, dealer_at(sandbox.url_of("hanbit")) as dealer:
        message = outgoing()
        [result] = await dealer.send(None, [message])
        assert isinstance((await dealer.lookup([attempt(message, result)]))[0], StillUnknown)
        assert isinstance((await dealer.lookup([attempt(message)]))[0], NotFound)  # which is why it is asked twice


# -- receipts ------------------------------------------------------------------------------------------------------


async def test_receipts_are_signed_and_read() -> None:
    calls: list[tuple[bytes, dict[str, str]]] = []
    came = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        calls.append((await request.read(), {name.lower(): value for name, value in request.headers.items()}))
        came.set()
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    message, unconfirmed = outgoing(), outgoing()
    faults = {"fates": {"numbers": {unconfirmed.to: "delivery_uncertain"}}}
    async with (
        sandbox_with(webhook_url=f"http://{host}:{port}/", faults=faults) as sandbox,
        dealer_at(sandbox.url_of("hanbit")) as dealer,
    ):
        await dealer.send(None, [message, unconfirmed])
        sandbox.settle()
        await came.wait()
        await sandbox.reports_pushed()
        reports = {one.request_key: one for call in calls for one in dealer.read_receipts(*call)}
        told = reports[message.request_key]
        assert (told.delivered, told.code, told.reason) == (True, "4000", None)
        assert told.event_id is not None
        doubtful = reports[unconfirmed.request_key]
        assert (doubtful.delivered, doubtful.reason) == (None, "delivery_uncertain")
        body, headers = calls[0]
        with pytest.raises(BadReceipt):
            dealer.read_receipts(body + b" ", headers)
    await runner.cleanup()


def signed(body: bytes, key: str = "made-up") -> dict[str, str]:
    return {"x-hanbit-signature": hmac.digest(key.encode(), body, hashlib.sha256).hex()}


async def test_forged_and_unreadable_calls_are_refused() -> None:
    async with dealer_at("http://127.0.0.1:1", webhook_secret="made-up") as dealer:
        body = b'{"events":[]}'
        assert dealer.read_receipts(body, signed(body)) == []
        assert dealer.answer_receipts([]) == b'{"ok":true}'
        for headers in ({}, signed(body, "another"), {"x-hanbit-signature": "é"}):
            with pytest.raises(BadReceipt) as caught:
                dealer.read_receipts(body, headers)
            assert caught.value.status == 401
        for bad in (b"", b"[]", b'{"events":1}', b"\xff", b"[" * 5000):
            with pytest.raises(BadReceipt) as caught:
                dealer.read_receipts(bad, signed(bad))
            assert caught.value.status == 400


async def test_one_unreadable_item_does_not_refuse_its_neighbours() -> None:
    async with dealer_at("http://127.0.0.1:1", webhook_secret="made-up") as dealer:
        body = (
            b'{"events":[7,{},{"clientKey":"k"},{"code":"4000"},{"clientKey":"k","code":"9999"},'
            b'{"clientKey":"k","messageId":"\xea\xb0\x80","code":4000,"doneAt":"never","eventId":[]}]}'
        )
        unknown, delivered = dealer.read_receipts(body, signed(body))
        assert (unknown.delivered, unknown.reason) == (False, "unknown")
        assert (delivered.delivered, delivered.dealer_message_id, delivered.at) == (True, None, None)
