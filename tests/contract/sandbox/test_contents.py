"""Brand messages, MMS and what they need: the storage, channels and sender numbers."""

from __future__ import annotations

import asyncio
import base64
import struct
from pathlib import Path
from typing import Any

import pytest
from solapi import SolapiMessageService
from solapi.model import Bms, KakaoOption, RequestMessage
from solapi.model.kakao.bms import BmsWebButton
from solapi.model.message_type import MessageType
from solapi.model.request.storage import FileTypeEnum

from bongsu.sandbox import DEFAULT_API_KEY, DEFAULT_API_SECRET, DEFAULT_CHANNEL, DEFAULT_SENDER
from bongsu.sandbox.solapi.storage import measures_of
from tests.contract.sandbox.wire import Answer, Client, Start, alimtalk, sms

_PAGE = "https://shop.example/a"
_WEB = {"linkType": "WL", "name": "보기", "linkMobile": _PAGE}


def jpeg(width: int, height: int, size: int = 0) -> bytes:
    """Return the head of a JPEG: a comment, then the frame."""
    comment = b"\xff\xfe\x00\x04ab"
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    image = b"\xff\xd8" + comment + frame + b"\xff\xd9"
    return image + bytes(max(0, size - len(image)))


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + bytes(9)


async def upload(client: Client, kind: str, image: bytes, **more: object) -> Answer:
    body = {"file": base64.b64encode(image).decode(), "type": kind, **more}
    return await client.call("POST", "/storage/v1/files", body)


def brand(text: str = "봄 신상품 🌸", **bms: object) -> dict[str, Any]:
    options = {"pfId": DEFAULT_CHANNEL, "disableSms": True, "bms": {"targeting": "I", "chatBubbleType": "TEXT", **bms}}
    return {"to": "01000000001", "from": DEFAULT_SENDER, "text": text, "type": "BMS_FREE", "kakaoOptions": options}


@pytest.mark.parametrize(
    ("kind", "image", "status"),
    [
        pytest.param("MMS", jpeg(1500, 1440), 200, id="mms"),
        pytest.param("MMS", jpeg(1501, 1440), 400, id="mms-too-wide"),
        pytest.param("MMS", jpeg(100, 100, 200 * 1024 + 1), 400, id="mms-too-large"),
        pytest.param("MMS", png(100, 100), 400, id="mms-as-png"),
        pytest.param("BMS", jpeg(800, 400), 200, id="brand"),
        pytest.param("BMS", png(600, 800), 200, id="brand-upright"),
        pytest.param("BMS", png(801, 400), 400, id="brand-too-wide"),
        pytest.param("BMS_WIDE", png(600, 800), 400, id="wide-upright"),
        pytest.param("BMS", b"GIF89a", 400, id="another-format"),
        pytest.param("NONE", jpeg(100, 100), 400, id="unknown-type"),
    ],
)
async def test_what_the_storage_takes(start: Start, kind: str, image: bytes, status: int) -> None:
    client = await start()
    answer = await upload(client, kind, image)
    assert answer.status == status
    if status == 200:
        assert len(answer.body["fileId"]) == 32
        shown = await client.call("GET", f"/storage/v1/files/{answer.body['fileId']}")
        assert (shown.status, shown.body["type"]) == (200, kind)
    else:
        assert answer.body["errorCode"] == "ValidationError"


async def test_other_uploads_are_refused(start: Start) -> None:
    client = await start()
    assert (await client.call("POST", "/storage/v1/files", {"file": "no base64!", "type": "MMS"})).status == 400
    assert (await upload(client, "MMS", jpeg(9, 9), name="x" * 101)).status == 400
    assert (await client.call("GET", "/storage/v1/files/none")).body["errorCode"] == "ResourceNotFound"


def test_measures() -> None:
    assert measures_of(jpeg(12, 34)) == (12, 34)
    assert measures_of(png(12, 34)) == (12, 34)
    assert measures_of(b"\xff\xd8\xff\xd9") is None
    assert measures_of(b"\xff\xd8\xff\xe0\x00") is None


async def test_an_mms_needs_an_image_of_its_own_kind(start: Start) -> None:
    client = await start()
    mms, other = [(await upload(client, kind, jpeg(800, 400))).body["fileId"] for kind in ("MMS", "BMS")]
    assert await client.code(sms(type="MMS", subject="제목", imageId=mms)) == "2000"
    assert await client.code(sms(imageId=mms)) == "2000"
    assert await client.code(sms(type="MMS")) == "1010"
    assert await client.code(sms(type="MMS", imageId="none")) == "1034"
    assert await client.code(sms(type="MMS", imageId=other)) == "1034"


async def test_images_outlive_a_reset(start: Start) -> None:
    client = await start()
    image = (await upload(client, "MMS", jpeg(9, 9))).body["fileId"]
    client.sandbox.solapi.reset()
    assert await client.code(sms(type="MMS", imageId=image)) == "2000"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(brand(), "2000", id="text"),
        pytest.param(brand(buttons=[_WEB]), "2000", id="button"),
        pytest.param(brand(buttons=[{"linkType": "AC"}]), "2000", id="add-channel-needs-no-name"),
        pytest.param(brand(""), "1010", id="no-text"),
        pytest.param(brand(targeting=None), "1010", id="no-targeting"),
        pytest.param(brand(targeting="M"), "1041", id="targeting-not-allowed"),
        pytest.param(brand(targeting="X"), "1011", id="unknown-targeting"),
        pytest.param(brand(chatBubbleType="ROUND"), "1025", id="unknown-bubble"),
        pytest.param(brand(imageId="x"), "1011", id="image-in-a-text"),
        pytest.param(brand(adFlag=True), "1011", id="unknown-field"),
        pytest.param(brand(chatBubbleType="IMAGE"), "1010", id="no-image"),
        pytest.param(brand(chatBubbleType="IMAGE", imageId="none"), "1051", id="unknown-image"),
        pytest.param(brand("가" * 1301), "1031", id="too-long"),
        pytest.param(brand("\n" * 100 + "x"), "1031", id="too-many-lines"),
        pytest.param(brand(buttons=[_WEB] * 6), "1050", id="six-buttons"),
        pytest.param(brand(buttons=[{**_WEB, "name": "가" * 15}]), "1049", id="long-name"),
        pytest.param(brand(buttons=[{**_WEB, "name": "#{이름}"}]), "1044", id="variable-in-a-name"),
        pytest.param(brand(buttons=[{**_WEB, "linkType": "DS"}]), "1044", id="unknown-kind"),
        pytest.param(brand(buttons=[{**_WEB, "chatExtra": "x"}]), "1044", id="field-of-another-kind"),
        pytest.param(brand(buttons=[{"linkType": "WL", "name": "보기"}]), "1045", id="no-link"),
        pytest.param(brand(buttons=[{"linkType": "AL", "name": "앱"}]), "1045", id="no-app-link"),
        pytest.param(brand(buttons=[{**_WEB, "linkMobile": "shop://a"}]), "1045", id="no-web-address"),
        pytest.param({**brand(), "kakaoOptions": {"pfId": DEFAULT_CHANNEL}}, "1010", id="no-bms"),
        pytest.param({**brand(), "from": None}, "1010", id="no-sender"),
        pytest.param({**brand(), "kakaoOptions": brand()["kakaoOptions"] | {"pfId": "KA01PFX"}}, "1041", id="channel"),
    ],
)
async def test_code_of_a_brand_message(start: Start, message: dict[str, Any], code: str) -> None:
    client = await start(accept_any_template=False)
    assert await client.code(message) == code


@pytest.mark.parametrize(
    ("kind", "bubble", "text", "code"),
    [
        ("BMS", "IMAGE", "봄", "2000"),
        ("BMS_WIDE", "IMAGE", "봄", "1051"),
        ("BMS_WIDE", "WIDE", "봄", "2000"),
        ("BMS_WIDE", "WIDE", "가" * 77, "1031"),
    ],
)
async def test_a_bubble_wants_its_own_kind_of_image(start: Start, kind: str, bubble: str, text: str, code: str) -> None:
    client = await start()
    image = (await upload(client, kind, jpeg(800, 600))).body["fileId"]
    assert await client.code(brand(text, chatBubbleType=bubble, imageId=image)) == code


async def test_nothing_follows_a_brand_message_by_sms(start: Start) -> None:
    client = await start(faults={"fates": {"friendtalk": {"not_friend": 1}}})
    message = brand()
    message["kakaoOptions"]["disableSms"] = False
    await client.send(await client.group(message))
    client.sandbox.settle()
    assert [(row.channel, row.code) for row in client.sandbox.truth()] == [("friendtalk", "3102")]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"name": "보기", "linkType": "WL", "linkMo": _PAGE}, "2000"),
        ({"name": "상담", "linkType": "BC", "chatExtra": "x"}, "2000"),
        ({"name": "보기", "linkType": "WL"}, "1045"),
        ({"name": "앱", "linkType": "AL", "linkAnd": "a://"}, "1045"),
        ({"name": "예약", "linkType": "BF"}, "1044"),
        ({"linkType": "BK"}, "1044"),
        ({"name": "가" * 15, "linkType": "BK"}, "1049"),
    ],
)
async def test_code_of_a_quick_reply(start: Start, reply: dict[str, Any], code: str) -> None:
    client = await start()
    assert await client.code(alimtalk(variables={}, quickReplies=[reply])) == code


async def test_a_button_of_an_unknown_kind_is_refused(start: Start) -> None:
    client = await start()
    button = {"buttonName": "전화 연결", "buttonType": "TN"}
    assert await client.code(alimtalk(variables={}, buttons=[button])) == "1044"


async def test_what_kakao_does_not_confirm_stays_at_3000(start: Start) -> None:
    client = await start(faults={"fates": {"alimtalk": {"delivery_uncertain": 1}}})
    group_id = await client.group(alimtalk(variables={}))
    await client.send(group_id)
    client.sandbox.settle()
    listed = (await client.call("GET", f"/messages/v4/list?groupId={group_id}")).body["messageList"]
    assert [message["statusCode"] for message in listed.values()] == ["3000"]
    assert (await client.call("GET", f"/messages/v4/groups/{group_id}")).body["status"] == "SENDING"


async def test_channels_and_numbers(start: Start) -> None:
    client = await start(accept_any_template=False)
    assert (await client.call("GET", "/senderid/v1/numbers/active")).body == [DEFAULT_SENDER]
    listed = (await client.call("GET", "/kakao/v2/channels")).body["channelList"]
    assert [channel["channelId"] for channel in listed] == [DEFAULT_CHANNEL]
    assert (await client.call("GET", f"/kakao/v2/channels/{DEFAULT_CHANNEL}")).body == listed[0]
    assert (await client.call("GET", "/kakao/v2/channels/KA01PFX")).status == 404


async def test_the_official_sdk_uploads_and_sends(start: Start, tmp_path: Path) -> None:
    client = await start(accept_any_template=False)
    service = SolapiMessageService(DEFAULT_API_KEY, DEFAULT_API_SECRET)
    service.base_url = client.sandbox.url
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(800, 400))
    mms, photo = [
        (await asyncio.to_thread(service.upload_file, str(path), kind)).file_id
        for kind in (FileTypeEnum.MMS, FileTypeEnum.BMS)
    ]
    bms = Bms(
        targeting="I",
        chat_bubble_type="IMAGE",
        image_id=photo,
        buttons=[BmsWebButton(name="보기", link_mobile=_PAGE)],
    )
    messages = [
        RequestMessage(to="01000000001", from_=DEFAULT_SENDER, text="약도", image_id=mms),
        RequestMessage(
            to="01000000002",
            from_=DEFAULT_SENDER,
            text="봄",
            type=MessageType.BMS_FREE,
            kakao_options=KakaoOption(pf_id=DEFAULT_CHANNEL, bms=bms),
        ),
    ]
    answer = await asyncio.to_thread(service.send, messages)
    assert not answer.failed_message_list
    assert sorted((row.to, row.channel) for row in client.sandbox.truth()) == [
        ("01000000001", "mms"),
        ("01000000002", "friendtalk"),
    ]
