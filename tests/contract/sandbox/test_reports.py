"""Webhooks: their shape, retries and disorder; and what lookups say when none came."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from bongsu.sandbox import DEFAULT_WEBHOOK_SECRET
from tests.contract.sandbox.wire import Client, Receiver, Start, alimtalk, sms

_AT_ONCE = {"fate_after": 0}
_EAGER = {"linger_seconds": 0, "retry_after_seconds": [0, 0, 0, 0]}


async def _sent(client: Client, *messages: dict[str, Any]) -> str:
    group_id = await client.group(*messages)
    await client.send(group_id)
    client.sandbox.settle()
    await client.sandbox.reports_pushed()
    return group_id


async def test_a_report_names_message_code_and_custom_fields(start: Start, receiver: Receiver) -> None:
    client = await start(receiver.url, faults={"receipts": _AT_ONCE})
    await _sent(client, {**alimtalk(), "customFields": {"key": "value"}})
    ((headers, events),) = receiver.calls
    assert headers["X-Solapi-Event-Name"] == "SINGLE-REPORT"
    wanted = hashlib.sha1(DEFAULT_WEBHOOK_SECRET.encode(), usedforsecurity=False).hexdigest()
    assert headers["X-Solapi-Secret"] == wanted
    (event,) = events
    assert event["eventDataId"]
    assert event["retryCount"] == 0
    assert event["data"]["messageId"] == client.sandbox.truth()[0].message_id
    assert event["data"]["statusCode"] == "4000"
    assert event["data"]["customFields"] == {"key": "value"}


async def test_the_flat_shape(start: Start, receiver: Receiver) -> None:
    client = await start(receiver.url, webhook={"shape": "flat"}, faults={"receipts": _AT_ONCE})
    await _sent(client, sms())
    assert receiver.events[0]["statusCode"] == "4000"


async def test_a_call_carries_at_most_a_batch(start: Start, receiver: Receiver) -> None:
    client = await start(receiver.url, webhook={"batch": 100}, faults={"receipts": _AT_ONCE})
    await _sent(client, *(sms(f"0100000{n:04d}") for n in range(250)))
    assert max(len(events) for _, events in receiver.calls) <= 100
    assert len({event["data"]["to"] for event in receiver.events}) == 250


async def test_a_refused_call_is_repeated(start: Start, receiver: Receiver) -> None:
    receiver.statuses = [503, 202]  # only 200 will do
    client = await start(receiver.url, webhook=_EAGER, faults={"receipts": _AT_ONCE})
    await _sent(client, sms())
    assert [event["retryCount"] for event in receiver.events] == [0, 1, 2]
    assert len({event["eventDataId"] for event in receiver.events}) == 1


async def test_after_five_tries_only_a_lookup_tells(start: Start, receiver: Receiver) -> None:
    receiver.statuses = [500] * 9
    client = await start(receiver.url, webhook=_EAGER, faults={"receipts": _AT_ONCE})
    group_id = await _sent(client, sms())
    assert len(receiver.calls) == 5
    assert client.sandbox.stats()["webhooks"]["events_given_up"] == 1
    listed = (await client.call("GET", f"/messages/v4/groups/{group_id}/messages")).body["messageList"]
    assert [message["statusCode"] for message in listed.values()] == ["4000"]


@pytest.mark.parametrize(
    ("receipts", "codes", "ids"),
    [
        pytest.param({"missing": 1}, [], 0, id="missing"),
        pytest.param({"repeated": {"probability": 1, "new_id": 0}}, ["4000", "4000"], 1, id="repeated"),
        pytest.param({"repeated": {"probability": 1, "new_id": 1}}, ["4000", "4000"], 2, id="new-id"),
        pytest.param({"pending_after": {"probability": 1, "after": 1}}, ["4000", "3000"], 2, id="pending"),
        pytest.param({"contradiction": {"probability": 1, "after": 1}}, ["4000", "3040"], 2, id="contra"),
        pytest.param({"failure_first": {"probability": 1, "after": 1}}, ["3040", "4000"], 2, id="failure"),
        pytest.param({"late": {"probability": 1, "after": 60}}, ["4000"], 1, id="late"),
    ],
)
async def test_disorder(start: Start, receiver: Receiver, receipts: dict[str, Any], codes: list[str], ids: int) -> None:
    client = await start(receiver.url, webhook={"senders": 1}, faults={"receipts": {**_AT_ONCE, **receipts}})
    group_id = await _sent(client, sms())
    assert [event["data"]["statusCode"] for event in receiver.events] == codes
    assert len({event["eventDataId"] for event in receiver.events}) == ids
    assert [row.delivered for row in client.sandbox.truth()] == [True]
    listed = (await client.call("GET", f"/messages/v4/groups/{group_id}/messages")).body["messageList"]
    assert [message["statusCode"] for message in listed.values()] == ["4000"]


async def test_lookups_may_lag_behind_the_report(start: Start, receiver: Receiver) -> None:
    client = await start(receiver.url, faults={"receipts": {**_AT_ONCE, "lookup_lag": 3600}})
    group_id = await _sent(client, sms())
    assert len(receiver.events) == 1
    listed = (await client.call("GET", f"/messages/v4/groups/{group_id}/messages")).body["messageList"]
    assert [message["statusCode"] for message in listed.values()] == ["3000"]


async def test_without_settling_reports_come_by_themselves(start: Start, receiver: Receiver) -> None:
    client = await start(receiver.url, faults={"receipts": {"fate_after": 0.01}})
    await client.send(await client.group(sms()))
    await receiver.came.wait()
    assert receiver.events[0]["data"]["statusCode"] == "4000"


async def test_the_truth_is_told_over_http(start: Start) -> None:
    client = await start(faults={"fates": {"numbers": {"01000000002": "3107"}}})
    await client.send(
        await client.group(
            alimtalk("01000000001") | {"customFields": {"key": "m1:alimtalk:1"}},
            alimtalk("01000000002") | {"customFields": {"key": "m2:alimtalk:1"}},
        )
    )
    await client.send(await client.group(alimtalk("01000000001") | {"customFields": {"key": "m1:alimtalk:2"}}))
    address = client.sandbox.origin + "/_sandbox/truth?after=1&limit=1"
    async with client.session.get(address) as answer:
        row = msgspec.json.decode(await answer.read())
    assert (row["to"], row["delivered"], row["code"]) == ("01000000002", False, "3107")
    assert row["custom_fields"] == {"key": "m2:alimtalk:1"}
    address = client.sandbox.origin + "/_sandbox/stats?key=key&until=:"
    async with client.session.get(address) as answer:
        stats = msgspec.json.decode(await answer.read())
    assert (stats["dispatched"], stats["delivered"]) == (3, 2)
    assert stats["duplicates"]["dispatched"] == stats["duplicates"]["delivered"] == 1
    assert stats["duplicates"]["examples"] == ["m1"]

    async with client.session.post(client.sandbox.origin + "/_sandbox/reset") as answer:
        assert answer.status == 200
    assert client.sandbox.truth() == []
