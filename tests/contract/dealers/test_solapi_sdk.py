"""The dealer's own SDK says the same of a message as we do, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from solapi.model import Bms, KakaoOption, RequestMessage
from solapi.model.kakao.bms import (
    BmsAppButton,
    BmsBotKeywordButton,
    BmsBotTransferButton,
    BmsButton,
    BmsChannelAddButton,
    BmsConsultButton,
    BmsMessageDeliveryButton,
    BmsWebButton,
)
from solapi.model.message_type import MessageType
from solapi.model.request.storage import FileTypeEnum, FileUploadRequest

from shared.contracts.states import Channel
from shared.dealers.base import BrandMessage, Button, ImageUse, Outgoing, Text
from shared.dealers.solapi import content, storage
from tests.contract.dealers.fake_gateway import alimtalk, message_id, sms
from tests.contract.dealers.test_solapi_golden import FULL

IMAGE = "ST01FZ260318012740594oism3eYSGkp"
LMS = Outgoing(message_id(3), 1, "key-3", Channel.LMS, "01012340003", Text("0212345678", "안녕", subject="제목"))
MMS = Outgoing(message_id(4), 1, "key-4", Channel.MMS, "01012340004", Text("0212345678", "안녕", "제목", (IMAGE,)))
ALL = Outgoing(message_id(5), 1, "key-5", Channel.ALIMTALK, "01012340005", FULL)

PAGE, APP = "https://shop.example/a", "shop://a"
FIVE = (
    (Button("WL", "보기", PAGE, PAGE), BmsWebButton(name="보기", link_mobile=PAGE, link_pc=PAGE)),
    (
        Button("AL", "앱", PAGE, scheme_android=APP, scheme_ios=APP),
        BmsAppButton(name="앱", link_mobile=PAGE, link_android=APP, link_ios=APP),
    ),
    (Button("AC", "채널 추가"), BmsChannelAddButton(name="채널 추가")),
    (Button("BK", "문의", chat_extra="x"), BmsBotKeywordButton(name="문의", chat_extra="x")),
    (Button("MD", "전달"), BmsMessageDeliveryButton(name="전달")),
)
TWO = (
    (Button("BC", "상담", chat_extra="x"), BmsConsultButton(name="상담", chat_extra="x")),
    (Button("BT", "봇", chat_extra="x"), BmsBotTransferButton(name="봇", chat_extra="x")),
)


def brand(buttons: Sequence[Button] = (), **image: Any) -> Outgoing:  # noqa: ANN401 - fields of it
    said = BrandMessage("KA01PF1", "봄 🌸", tuple(buttons), sender="0212345678", **image)
    return Outgoing(message_id(6), 1, "key-6", Channel.FRIENDTALK, "01012340006", said)


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


def sdk_mms() -> RequestMessage:
    changes = {"type": MessageType.MMS, "text": "안녕", "subject": "제목", "image_id": IMAGE}
    return ours(MMS).model_copy(update=changes)


def sdk_brand(buttons: Sequence[BmsButton] = (), **image: Any) -> RequestMessage:  # noqa: ANN401 - fields of it
    bubble = "IMAGE" if image else "TEXT"
    bms = Bms(targeting="I", chat_bubble_type=bubble, buttons=list(buttons) or None, **image)
    options = KakaoOption(pf_id="KA01PF1", disable_sms=True, bms=bms)
    changes = {"type": MessageType.BMS_FREE, "text": "봄 🌸", "kakao_options": options}
    return ours(brand()).model_copy(update=changes)


def dumped(message: RequestMessage) -> dict[str, Any]:
    said: dict[str, Any] = message.model_dump(exclude_none=True, by_alias=True, mode="json")
    return said


@pytest.mark.parametrize(
    ("outgoing", "message"),
    [
        pytest.param(alimtalk(1), sdk_alimtalk(), id="alimtalk"),
        pytest.param(sms(2), sdk_sms(), id="sms"),
        pytest.param(LMS, sdk_lms(), id="lms"),
        pytest.param(MMS, sdk_mms(), id="mms"),
        pytest.param(brand(), sdk_brand(), id="brand"),
        pytest.param(brand([a for a, _ in FIVE]), sdk_brand([b for _, b in FIVE]), id="brand-five-buttons"),
        pytest.param(brand([a for a, _ in TWO]), sdk_brand([b for _, b in TWO]), id="brand-two-buttons"),
        pytest.param(brand(image=IMAGE, image_link=PAGE), sdk_brand(image_id=IMAGE, image_link=PAGE), id="brand-image"),
    ],
)
def test_the_sdk_sends_the_same(outgoing: Outgoing, message: RequestMessage) -> None:
    assert content.refusal_of(outgoing) is None
    assert content.message_of(outgoing) == dumped(message)


def test_of_a_full_alimtalk_the_sdk_sends_the_same_but_buttons_and_quick_replies() -> None:
    """Its model has neither: it leaves both to SOLAPI's template, as we leave title, header and list."""
    message = content.message_of(ALL)
    assert {"buttons", "quickReplies"} < message["kakaoOptions"].keys()
    for field in ("buttons", "quickReplies"):
        del message["kakaoOptions"][field]
    options = KakaoOption(
        pf_id=FULL.sender_key, template_id=FULL.template_code, variables=dict(FULL.variables), disable_sms=True
    )
    theirs = ours(ALL).model_copy(update={"type": MessageType.ATA, "kakao_options": options})
    assert message == dumped(theirs)


@pytest.mark.parametrize(
    ("use", "kind"), [(ImageUse.MMS, FileTypeEnum.MMS), (ImageUse.BRAND, FileTypeEnum.BMS)], ids=["mms", "brand"]
)
def test_the_sdk_uploads_the_same(use: ImageUse, kind: FileTypeEnum) -> None:
    theirs = FileUploadRequest(type=kind, file="/9j/2Q==", name="map.jpg").model_dump(exclude_none=True, mode="json")
    assert msgspec.json.decode(storage.body_of(use, "map.jpg", b"\xff\xd8\xff\xd9")) == theirs
