"""The status code that each mistake in a message gets."""

from __future__ import annotations

from typing import Any

import pytest

from bongsu.sandbox import DEFAULT_CHANNEL
from tests.contract.sandbox.wire import Start, alimtalk, sms

_BUTTON = {"buttonName": "주문 보기", "buttonType": "WL", "linkMo": "https://shop.example/o/7"}
_PROFILE: dict[str, Any] = {
    "accept_any_template": False,
    "templates": [
        {
            "templateId": "TPL",
            "pfId": DEFAULT_CHANNEL,
            "content": "#{이름}님, 주문 #{번호}이 접수되었습니다.",
            "buttons": [{"buttonName": "주문 보기", "buttonType": "WL", "linkMo": "https://shop.example/o/#{번호}"}],
        },
        {"templateId": "PLAIN", "pfId": DEFAULT_CHANNEL, "content": "환영합니다."},
        {"templateId": "WAITS", "pfId": DEFAULT_CHANNEL, "content": "x", "status": "INSPECTING"},
    ],
}
_VALUES = {"#{이름}": "홍길동", "#{번호}": "7"}


def _texted(text: str, **options: object) -> dict[str, Any]:
    return {**alimtalk("01000000001", **options), "text": text}


_RIGHT = "홍길동님, 주문 7이 접수되었습니다."


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(sms(), "2000", id="sms"),
        pytest.param(sms(text="가" * 45), "2000", id="sms-of-90-bytes"),
        pytest.param(sms(text="가" * 46, type="SMS"), "1031", id="sms-over-90-bytes"),
        pytest.param(sms(text="가" * 46), "2000", id="becomes-lms"),
        pytest.param(sms(text="가" * 1001), "1031", id="lms-over-2000-bytes"),
        pytest.param(sms(text="안녕 😀"), "1029", id="emoji"),
        pytest.param(sms(text="a\x00b"), "1028", id="unprintable"),
        pytest.param(sms(text=""), "1010", id="no-text"),
        pytest.param(sms(type="SMS", subject="제목"), "1013", id="subject-of-an-sms"),
        pytest.param(sms(type="LMS", subject="가" * 21), "1014", id="subject-over-40-bytes"),
        pytest.param(sms(type="XXX"), "1025", id="unknown-type"),
        pytest.param({**sms(), "from": "0299999999"}, "1062", id="unregistered-sender"),
        pytest.param({**sms(), "from": None}, "1010", id="no-sender"),
        pytest.param(sms(to="number"), "1011", id="bad-number"),
        pytest.param(sms(customFields={"k" * 31: "v"}), "1032", id="long-field-name"),
        pytest.param(sms(customFields={"k": "v" * 101}), "1032", id="long-field-value"),
        pytest.param({**alimtalk(), "type": "SMS", "text": "x"}, "1033", id="kakao-options-in-sms"),
        pytest.param(alimtalk(variables=_VALUES), "2000", id="variables"),
        pytest.param(alimtalk(variables={"이름": "홍", "번호": "7"}), "2000", id="bare-variables"),
        pytest.param(alimtalk(variables={"#{이름}": "홍길동"}), "1043", id="variable-missing"),
        pytest.param(alimtalk(variables=_VALUES, pfId="KA01PFX"), "1041", id="unknown-channel"),
        pytest.param(alimtalk(variables=_VALUES, templateId="NONE"), "1042", id="unknown-template"),
        pytest.param(alimtalk(variables={}, templateId="WAITS"), "1042", id="unapproved-template"),
        pytest.param(alimtalk(variables={**_VALUES, "#{이름}": "가" * 1000}), "1031", id="over-1000"),
        pytest.param(_texted(_RIGHT, buttons=[_BUTTON]), "2000", id="text-and-buttons"),
        pytest.param(_texted("홍길동님 주문 7", buttons=[_BUTTON]), "1043", id="another-text"),
        pytest.param(_texted(_RIGHT), "1046", id="button-missing"),
        pytest.param(_texted("환영합니다.", templateId="PLAIN", buttons=[_BUTTON]), "1047", id="button-too-many"),
        pytest.param(_texted(_RIGHT, buttons=[{**_BUTTON, "buttonName": "가"}]), "1052", id="another-button"),
        pytest.param(_texted(_RIGHT, buttons=[{**_BUTTON, "linkMo": "https://x.example"}]), "1045", id="another-link"),
    ],
)
async def test_code(start: Start, message: dict[str, Any], code: str) -> None:
    client = await start(**_PROFILE)
    assert await client.code(message) == code


async def test_the_dealer_renders_variables(start: Start) -> None:
    client = await start(**_PROFILE)
    group_id = await client.group(alimtalk(variables=_VALUES))
    listed = (await client.call("GET", f"/messages/v4/list?groupId={group_id}")).body["messageList"]
    assert [message["text"] for message in listed.values()] == [_RIGHT]


async def test_templates_can_be_added_while_it_runs(start: Start) -> None:
    client = await start(accept_any_template=False)
    new = [{"templateId": "NEW", "pfId": DEFAULT_CHANNEL, "content": "안녕 #{이름}", "buttons": []}]
    async with client.session.post(client.sandbox.origin + "/_sandbox/templates", json=new) as answer:
        assert answer.status == 200
    assert await client.code(alimtalk(templateId="NEW", variables={"#{이름}": "홍"})) == "2000"


async def test_more_than_10000_recipients_are_refused_whole(start: Start) -> None:
    client = await start()
    group_id = await client.group(sms())
    answer = await client.add(group_id, sms() | {"to": ["01000000001"] * 10_001})
    assert (answer.status, answer.body["errorCode"]) == (413, "RecipientsTooMany")


async def test_some_messages_are_refused_by_chance(start: Start) -> None:
    client = await start(faults={"registration": {"1024": 0.5}})
    opened = await client.call("POST", "/messages/v4/groups", {"allowDuplicates": True})
    added = await client.add(opened.body["groupId"], *(sms() for _ in range(200)))
    codes = [result["statusCode"] for result in added.body["resultList"]]
    assert set(codes) == {"2000", "1024"}
    await client.send(opened.body["groupId"])
    assert len(client.sandbox.truth()) == codes.count("2000")
