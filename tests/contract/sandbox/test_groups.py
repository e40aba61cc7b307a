"""The two-phase flow: what each step changes, and which steps are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.sandbox.wire import Start, alimtalk, sms


async def test_only_send_dispatches(start: Start) -> None:
    client = await start()
    group_id = await client.group(alimtalk("01000000001"), alimtalk("01000000002"))
    seen = await client.call("GET", f"/messages/v4/groups/{group_id}")
    assert (seen.body["status"], seen.body["count"]["registeredSuccess"]) == ("PENDING", 2)
    assert client.sandbox.truth() == []

    sent = await client.send(group_id)
    assert (sent.status, sent.body["status"]) == (200, "SENDING")
    assert [row.to for row in client.sandbox.truth()] == ["01000000001", "01000000002"]

    client.sandbox.settle()
    seen = await client.call("GET", f"/messages/v4/groups/{group_id}")
    assert (seen.body["status"], seen.body["count"]["sentSuccess"]) == ("COMPLETE", 2)


async def test_a_second_send_is_refused_and_sends_nothing(start: Start) -> None:
    client = await start()
    group_id = await client.group(sms())
    await client.send(group_id)
    again = await client.send(group_id)
    assert (again.status, again.body["errorCode"]) == (409, "GroupInProcessing")
    client.sandbox.settle()
    again = await client.send(group_id)
    assert (again.status, again.body["errorCode"]) == (409, "AlreadySent")
    assert len(client.sandbox.truth()) == 1


async def test_a_deleted_group_is_never_sent(start: Start) -> None:
    client = await start()
    group_id = await client.group(sms())
    deleted = await client.call("DELETE", f"/messages/v4/groups/{group_id}")
    assert (deleted.status, deleted.body["status"]) == (200, "DELETED")
    sent = await client.send(group_id)
    assert (sent.status, sent.body["errorCode"]) == (400, "DeletedGroup")
    assert client.sandbox.truth() == []


async def test_a_sent_group_cannot_be_deleted_or_changed(start: Start) -> None:
    client = await start()
    group_id = await client.group(sms())
    await client.send(group_id)
    path = f"/messages/v4/groups/{group_id}"
    deleted = await client.call("DELETE", path)
    assert (deleted.status, deleted.body["errorCode"]) == (400, "NotOperationalStatus")
    assert "SENDING" in deleted.body["errorMessage"]
    assert (await client.add(group_id, sms("01000000002"))).status == 400
    assert (await client.call("DELETE", path + "/messages", {"messageIds": []})).status == 400


async def test_messages_taken_out_are_not_sent(start: Start) -> None:
    client = await start()
    group_id = await client.group(sms("01000000001"))
    added = await client.add(group_id, sms("01000000002"))
    message_id = added.body["resultList"][0]["messageId"]
    path = f"/messages/v4/groups/{group_id}/messages"
    removed = await client.call("DELETE", path, {"messageIds": [message_id, "M4VNOTHING"]})
    assert removed.body["errorCount"] == 1
    await client.send(group_id)
    assert [row.to for row in client.sandbox.truth()] == ["01000000001"]


async def test_refused_messages_stay_and_are_not_sent(start: Start) -> None:
    client = await start()
    opened = await client.call("POST", "/messages/v4/groups", {})
    group_id = opened.body["groupId"]
    added = await client.add(group_id, sms("01000000001"), sms("010-0000-0001"), sms(""))
    assert [result["statusCode"] for result in added.body["resultList"]] == ["2000", "1026", "1010"]
    assert added.body["errorCount"] == 2
    sent = await client.send(group_id)
    assert sent.body["count"]["registeredFailed"] == 2
    assert len(client.sandbox.truth()) == 1


async def test_an_unknown_group_is_not_found(start: Start) -> None:
    client = await start()
    answer = await client.send("G4VNOTHING")
    assert (answer.status, answer.body["errorCode"]) == (404, "ResourceNotFound")


async def test_broken_bodies_are_refused(start: Start) -> None:
    client = await start()
    group_id = await client.group(sms())
    answer = await client.call("PUT", f"/messages/v4/groups/{group_id}/messages", {"messages": "no list"})
    assert (answer.status, answer.body["errorCode"]) == (400, "ValidationError")


async def test_a_scheduled_group_waits_and_can_be_cancelled(start: Start) -> None:
    client = await start()
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    cancelled, kept = await client.group(sms("01000000001")), await client.group(sms("01000000002"))
    for group_id in (cancelled, kept):
        path = f"/messages/v4/groups/{group_id}/schedule"
        booked = await client.call("POST", path, {"scheduledDate": later})
        assert booked.body["status"] == "SCHEDULED"
        assert (await client.send(group_id)).body["errorCode"] == "ScheduledGroup"
    assert (await client.call("DELETE", f"/messages/v4/groups/{cancelled}/schedule")).status == 200
    assert client.sandbox.truth() == []
    client.sandbox.settle()
    assert [row.group_id for row in client.sandbox.truth()] == [kept]


async def test_messages_are_paged_in_the_order_of_their_registration(start: Start) -> None:
    client = await start()
    group_id = await client.group(*(sms(f"0100000000{n}") for n in range(5)))
    seen: list[str] = []
    start_key = ""
    while True:
        path = f"/messages/v4/groups/{group_id}/messages?limit=2{start_key}"
        page = (await client.call("GET", path)).body
        seen += [message["to"] for message in page["messageList"].values()]
        if page["nextKey"] is None:
            break
        start_key = f"&startKey={page['nextKey']}"
    assert seen == [f"0100000000{n}" for n in range(5)]


@pytest.mark.parametrize("query", ["messageId={0}", "messageIds[in]={0},{1}", "to=01000000001", "limit=1"])
async def test_messages_are_listed_by(start: Start, query: str) -> None:
    client = await start()
    group_id = await client.group(sms("01000000002", customFields={"key": "b"}))
    added = await client.add(group_id, sms("01000000001", customFields={"key": "a"}))
    first = (await client.call("GET", f"/messages/v4/list?groupId={group_id}")).body["messageList"]
    ids = [added.body["resultList"][0]["messageId"], *first]
    listed = (await client.call("GET", "/messages/v4/list?" + query.format(*ids))).body["messageList"]
    assert listed[ids[0]]["customFields"] == {"key": "a"}
    assert listed[ids[0]]["statusCode"] == "2000"
    assert len(listed) == (2 if "in" in query else 1)


async def test_what_is_sent_is_paid_and_what_fails_is_refunded(start: Start) -> None:
    client = await start(faults={"fates": {"numbers": {"01000000001": "3104"}}})
    group_id = await client.group(alimtalk("01000000001"), alimtalk("01000000002"))
    await client.send(group_id)
    before = (await client.call("GET", "/cash/v1/balance")).body["balance"]
    client.sandbox.settle()
    after = (await client.call("GET", "/cash/v1/balance")).body["balance"]
    prices = (await client.call("GET", "/pricing/v1/messaging?countryId=82")).body
    assert before == 100_000_000 - 2 * prices["ata"]
    assert after == before + prices["ata"]


async def test_an_empty_purse_sends_nothing(start: Start) -> None:
    client = await start(accounts=[{"balance": 1}])
    answer = await client.send(await client.group(sms()))
    assert (answer.status, answer.body["errorCode"]) == (402, "NotEnoughBalance")
    assert client.sandbox.truth() == []
