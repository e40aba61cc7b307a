"""The dealer's own Python SDK works against the sandbox: what it refuses to read would be our mistake."""

from __future__ import annotations

import asyncio

import pytest
from solapi import SolapiMessageService
from solapi.error.MessageNotReceiveError import MessageNotReceivedError
from solapi.model import KakaoOption, RequestMessage, SendRequestConfig
from solapi.model.request.groups.get_groups import GetGroupsRequest
from solapi.model.request.messages.get_messages import GetMessagesRequest
from solapi.model.webhook.single_report import SingleReportPayload

from bongsu.sandbox import DEFAULT_API_KEY, DEFAULT_API_SECRET, DEFAULT_CHANNEL, DEFAULT_SENDER
from tests.contract.sandbox.wire import Client, Receiver, Start


def _service(client: Client) -> SolapiMessageService:
    service = SolapiMessageService(DEFAULT_API_KEY, DEFAULT_API_SECRET)
    service.base_url = client.sandbox.url
    return service


def _message(to: str) -> RequestMessage:
    return RequestMessage(
        to=to,
        from_=DEFAULT_SENDER,
        kakao_options=KakaoOption(
            pf_id=DEFAULT_CHANNEL, template_id="TPL", variables={"이름": "홍길동"}, disable_sms=True
        ),
        custom_fields={"key": to},
    )


_TEMPLATE = {"templateId": "TPL", "pfId": DEFAULT_CHANNEL, "content": "#{이름}님, 안녕하세요"}


async def test_it_sends_one_message(start: Start) -> None:
    client = await start(accept_any_template=False, templates=[_TEMPLATE])
    service = _service(client)
    answer = await asyncio.to_thread(service.send, _message("010-0000-0001"))
    assert answer.group_info.count.registered_success == 1
    assert answer.group_info.status == "SENDING"
    assert [row.to for row in client.sandbox.truth()] == ["01000000001"]


async def test_it_sends_a_batch_and_reads_it_back(start: Start, receiver: Receiver) -> None:
    client = await start(receiver.url, accept_any_template=False, templates=[_TEMPLATE])
    service = _service(client)
    messages = [_message(f"0100000000{n}") for n in range(3)] + [_message("01000000000")]
    answer = await asyncio.to_thread(service.send, messages, SendRequestConfig(show_message_list=True))
    assert [failed.status_code for failed in answer.failed_message_list or []] == ["1026"]
    assert len(answer.message_list or []) == 4
    client.sandbox.settle()
    await client.sandbox.reports_pushed()

    group_id = answer.group_info.group_id
    group = await asyncio.to_thread(service.get_group, group_id)
    assert (group.status, group.count.sent_success) == ("COMPLETE", 3)
    groups = await asyncio.to_thread(service.get_groups, GetGroupsRequest(group_id=group_id))
    assert list(groups.group_list) == [group_id]
    in_group = await asyncio.to_thread(service.get_group_messages, group_id)
    assert sorted(message.status_code or "" for message in in_group.message_list.values()) == [
        "1026",
        "4000",
        "4000",
        "4000",
    ]
    listed = await asyncio.to_thread(service.get_messages, GetMessagesRequest(to="01000000001"))
    assert [message.custom_fields for message in listed.message_list.values()] == [{"key": "01000000001"}]
    assert (await asyncio.to_thread(service.get_balance)).balance == 100_000_000 - 3 * 13

    reports = SingleReportPayload.model_validate(receiver.events).root
    assert {report.data.status_code for report in reports} == {"4000"}


async def test_it_raises_when_nothing_was_registered(start: Start) -> None:
    client = await start(accept_any_template=False)
    with pytest.raises(MessageNotReceivedError):
        await asyncio.to_thread(_service(client).send, _message("01000000001"))
    assert client.sandbox.truth() == []


async def test_it_is_told_of_a_bad_secret(start: Start) -> None:
    client = await start()
    service = SolapiMessageService(DEFAULT_API_KEY, "wrong")
    service.base_url = client.sandbox.url
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        await asyncio.to_thread(service.get_balance)
