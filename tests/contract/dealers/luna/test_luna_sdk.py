"""The published client (``luna-alimtalk`` 0.1.0) and the adapter mean the same by the same message.

It speaks Luna's legacy route, the adapter the hub: what has a field in both is compared, and what the hub alone can
say (a key of ours, the profile) is named.
"""

from __future__ import annotations

from typing import Any

import luna_alimtalk.luna  # type: ignore[import-untyped]  # it ships no types; this test alone calls it
import msgspec
import pytest
from luna_alimtalk import Luna

from bongsu.sandbox import Sandbox
from bongsu.sandbox.luna.dialect import DEFAULT_API_KEY, DEFAULT_SENDER_KEY, DEFAULT_USERID
from shared.dealers.templates import TemplateDraft
from tests.contract.dealers.luna.luna_world import ORDER, dealer_at, luna_of, outgoing, sandbox_with

TEXT = "{이름}님, 주문 {주문번호}이 결제되었습니다."
BUTTON = {"url_mobile": "https://shop.example/o/A-1001", "url_pc": "https://shop.example/pc/o/A-1001"}


@pytest.fixture
def client() -> Luna:
    return Luna(userid=DEFAULT_USERID, api_key=DEFAULT_API_KEY)


def point_at(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # the client has its address as a constant of its module
    monkeypatch.setattr(luna_alimtalk.luna, "endpoint", f"{sandbox.url_of('luna')}/api/AlimTalk/message/send")


def meaning_of_legacy(body: dict[str, Any]) -> dict[str, Any]:
    [message] = body["messages"]
    return {
        "template": body["template_id"],
        "to": message["tel_num"],
        "text": message["msg_content"],
        "links": message["btn_url"],
        "text message after a failure": message["use_sms"] == "1",
    }


def meaning_of_hub(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "template": body["template_code"],
        "to": body["recipient_number"],
        "text": body["message"],
        "links": [{name: button[name] for name in ("url_mobile", "url_pc")} for button in body["attachment"]["button"]],
        "text message after a failure": "failover_message" in body,
    }


HUB_ALONE = {"message_type", "message_key", "sender_key", "country_code"}
IN_BOTH = {"recipient_number", "template_code", "message", "attachment"}


async def test_both_requests_mean_the_same(client: Luna, monkeypatch: pytest.MonkeyPatch) -> None:
    one = outgoing(ORDER)
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        point_at(sandbox, monkeypatch)
        answer = await client.send_with_phone(
            contacts=one.to,
            template_id=ORDER.template_code,
            message=TEXT,
            params=dict(ORDER.variables),
            urls=BUTTON,
        )
        await dealer.send(None, [one])
        theirs, ours = (msgspec.json.decode(record["body"]) for record in sandbox.record)
        assert answer.json()["messages"][0]["result_code"] == "0"
        assert meaning_of_legacy(theirs) == meaning_of_hub(ours)
        assert ours.keys() == HUB_ALONE | IN_BOTH
        by_client, by_adapter = sandbox.truth()
        assert (by_client.to, by_client.channel) == (by_adapter.to, by_adapter.channel)
        assert (by_client.key, by_adapter.key) == (None, one.request_key)


async def test_the_legacy_route_cannot_tell_a_repeated_request_from_a_new_one(
    client: Luna, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sandbox_with() as sandbox:
        point_at(sandbox, monkeypatch)
        for _ in range(2):
            await client.send_with_phone("01012345678", "ORDER_PAID", TEXT, urls=BUTTON)
        assert len(sandbox.truth()) == 2  # and this is why the adapter does not speak it


async def test_the_legacy_route_drops_a_message_without_its_buttons(
    client: Luna, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sandbox_with() as sandbox, dealer_at(sandbox.url_of("luna")) as dealer:
        assert dealer.templates is not None
        draft = TemplateDraft(
            "ORDER_PAID", "주문", "#{이름}님, 주문 #{주문번호}이 결제되었습니다.", buttons=ORDER.buttons
        )
        await dealer.templates.register(DEFAULT_SENDER_KEY, draft)
        luna_of(sandbox).inspect("ORDER_PAID", "approved")
        point_at(sandbox, monkeypatch)
        answer = await client.send_with_phone("01012345678", "ORDER_PAID", TEXT, dict(ORDER.variables))
        assert answer.json()["code"] == 0
        assert sandbox.truth() == []
