"""Calls that go wrong: what the caller sees, and what the dealer did all the same."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from bongsu.sandbox import CallFault, Operation
from tests.contract.sandbox.wire import Start, alimtalk, sign, sms


@pytest.mark.parametrize(("fault", "dispatched"), [(CallFault.CUT_BEFORE, 0), (CallFault.CUT_AFTER, 1)], ids=str)
async def test_a_cut_send(start: Start, fault: CallFault, dispatched: int) -> None:
    client = await start()
    for _ in range(4):  # a reset or an end of file, by chance
        before = len(client.sandbox.truth())
        group_id = await client.group(sms())
        client.sandbox.arrange(Operation.SEND, fault)
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.send(group_id)
        assert len(client.sandbox.truth()) - before == dispatched
        assert (await client.send(group_id)).status == (409 if dispatched else 200)


@pytest.mark.parametrize(("fault", "dispatched"), [(CallFault.ERROR_BEFORE, 0), (CallFault.ERROR_AFTER, 1)], ids=str)
async def test_an_error_on_send(start: Start, fault: CallFault, dispatched: int) -> None:
    client = await start()
    group_id = await client.group(sms())
    client.sandbox.arrange(Operation.SEND, fault)
    path = client.sandbox.url + f"/messages/v4/groups/{group_id}/send"
    async with client.session.post(path, json={}, headers={"Authorization": sign()}) as answer:
        assert answer.status in {502, 503, 504}
    assert len(client.sandbox.truth()) == dispatched


async def test_a_stalled_answer_was_accepted(start: Start) -> None:
    client = await start(faults={"calls": {"default": {"stall_seconds": 3600}}})
    group_id = await client.group(sms())
    client.sandbox.arrange(Operation.SEND, CallFault.STALL_AFTER)
    waiting = asyncio.create_task(client.send(group_id))
    while not client.sandbox.truth():  # noqa: ASYNC110 - the call is over when its answer is, which is never
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_reads_may_lag_behind_sends_but_writes_never_do(start: Start) -> None:
    client = await start(faults={"read_lag": 3600})
    opened = await client.call("POST", "/messages/v4/groups", {})
    group_id = opened.body["groupId"]
    path = f"/messages/v4/groups/{group_id}"
    assert (await client.call("GET", path)).status == 404
    await client.add(group_id, sms())
    await client.send(group_id)
    listed = await client.call("GET", f"/messages/v4/list?groupId={group_id}")
    assert listed.body["messageList"] == {}
    assert (await client.send(group_id)).status == 409
    assert (await client.call("DELETE", path)).status == 400


async def test_over_the_limit_nothing_leaves(start: Start) -> None:
    client = await start(limits={"messages_per_second": 3, "lookups_per_window": 0})
    first, second = (
        await client.group(sms("01000000001"), sms("01000000002")),
        await client.group(sms("01000000003"), sms("01000000004")),
    )
    assert (await client.send(first)).status == 200
    refused = await client.send(second)
    assert refused.status == 429
    assert set(refused.body) == {"message"}
    assert refused.headers["x-retry-after"] == "1"
    assert refused.headers["x-ratelimit-limit"] == "3"
    stats = client.sandbox.stats()
    assert (stats["dispatched"], stats["max_in_a_second"], stats["max_asked_in_a_second"]) == (2, 2, 4)
    assert (await client.call("GET", f"/messages/v4/groups/{second}")).body["status"] == "PENDING"


async def test_a_limit_that_is_not_enforced_is_counted(start: Start) -> None:
    client = await start(limits={"messages_per_second": 1, "enforced": False})
    await client.send(await client.group(sms("01000000001"), sms("01000000002")))
    stats = client.sandbox.stats()
    assert (stats["windows_exceeded"], stats["max_in_a_second"]) == (1, 2)


async def test_too_many_lookups_are_refused(start: Start) -> None:
    client = await start(limits={"lookups_per_window": 2, "window_seconds": 3600})
    statuses = [(await client.call("GET", "/cash/v1/balance")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await client.call("GET", "/messages/v4/list")).status == 200  # each path has its own


async def test_a_forgotten_disable_sms_really_sends_an_sms(start: Start) -> None:
    client = await start(
        accept_any_template=False,
        templates=[{"templateId": "TPL", "content": "안녕하세요"}],
        faults={"fates": {"numbers": {"01000000001": "3104"}, "alimtalk": {"3104": 1}}},
    )
    both = [alimtalk("01000000001", disableSms=True), alimtalk("01000000002", disableSms=False)]
    await client.send(await client.group(*both))
    client.sandbox.settle()
    rows = [(row.to, str(row.channel), row.substitute, row.delivered) for row in client.sandbox.truth()]
    assert rows == [
        ("01000000001", "alimtalk", False, False),
        ("01000000002", "alimtalk", False, False),
        ("01000000002", "sms", True, True),
    ]


async def test_it_goes_on_by_another_clock(start: Start) -> None:
    client = await start(faults={"receipts": {"fate_after": 3600}})
    await client.send(await client.group(alimtalk("01000000001")))
    address = client.sandbox.origin + "/_sandbox/clock"
    async with client.session.post(address, json={"clock": f"2030-01-01T00:00:00+09:00@{time.time()}*60"}) as answer:
        assert (await answer.json(content_type=None))["now"].startswith("2029-12-31T15:")
    client.sandbox.timers.run_due()
    assert len(client.sandbox.timers) == 0
    async with client.session.post(address, json={"clock": "noon"}) as answer:
        assert answer.status == 400


async def test_faults_are_merged_while_it_runs(start: Start) -> None:
    client = await start(faults={"calls": {"send": {"stall_after": 1, "stall_seconds": 0}}})
    address = client.sandbox.origin + "/_sandbox/faults"
    async with client.session.post(address, json={"fates": {"alimtalk": {"3104": 1}}}) as answer:
        assert answer.status == 200
    assert client.sandbox.faults.fates.alimtalk == {"3104": 1}
    assert client.sandbox.faults.calls[Operation.SEND].stall_after == 1
    async with client.session.post(address, json={"fates": {"alimtalk": {"3104": 2}}}) as answer:
        assert answer.status == 400
        assert "fates.alimtalk.3104" in (await answer.json(content_type=None))["detail"]
