"""The dealer's own SDK says the same of a message as we do, field by field."""

from __future__ import annotations

import pytest
from solapi.model import KakaoOption, RequestMessage
from solapi.model.message_type import MessageType

from shared.contracts.states import Channel
from shared.dealers.base import Outgoing, Text
from shared.dealers.solapi import content
from tests.contract.dealers.fake_gateway import alimtalk, message_id, sms

LMS = Outgoing(message_id(3), 1, "key-3", Channel.LMS, "01012340003", Text("0212345678", "안녕", subject="제목"))


def ours(outgoing: Outgoing) -> RequestMessage:
    return RequestMessage(
        to=outgoing.to,
        from_="02-1234-5678",
        custom_fields={"bongsu_key": outgoing.request_key},
        auto_type_detect=False,
    )


def sdk_alimtalk() -> RequestMessage:
    options = KakaoOption(
        pf_id="KA01PF1",
        template_id="KA01TP1",
        variables={"이름": "봉수"},
        disable_sms=True,
    )
    return ours(alimtalk(1)).model_copy(update={"type": MessageType.ATA, "kakao_options": options})


def sdk_sms() -> RequestMessage:
    return ours(sms(2)).model_copy(update={"type": MessageType.SMS, "text": "안녕"})


def sdk_lms() -> RequestMessage:
    return ours(LMS).model_copy(update={"type": MessageType.LMS, "text": "안녕", "subject": "제목"})


@pytest.mark.parametrize(
    ("outgoing", "message"),
    [
        pytest.param(alimtalk(1), sdk_alimtalk(), id="alimtalk"),
        pytest.param(sms(2), sdk_sms(), id="sms"),
        pytest.param(LMS, sdk_lms(), id="lms"),
    ],
)
def test_the_sdk_sends_the_same(outgoing: Outgoing, message: RequestMessage) -> None:
    assert content.message_of(outgoing) == message.model_dump(exclude_none=True, by_alias=True, mode="json")
