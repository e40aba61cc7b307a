"""Popbill's own SDK (``popbill`` 1.64.2) says the same of a message as we do, field by field.

Both send to the sandbox, which knows each by its signature. A field that is null or empty in the SDK's request is
one that nobody set; ``altSendType`` is the exception: null in ours, empty in theirs, and no substitute text in both.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import linkhub.linkhub  # type: ignore[import-untyped]  # it ships no types; this test alone calls it
import msgspec
import popbill.base  # type: ignore[import-untyped]  # likewise
import pytest
from popbill import KakaoButton, KakaoService, MessageService

from bongsu.sandbox import Sandbox
from bongsu.sandbox.popbill.dialect import DEFAULT_CORP_NUM, DEFAULT_LINK_ID, DEFAULT_SECRET_KEY
from shared.dealers.base import Accepted, Outgoing, Report
from tests.contract.dealers.popbill.popbill_world import (
    CONTENTS,
    JPEG,
    attempt,
    dealer_at,
    outgoing,
    running,
    sandbox_with,
)

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # in the SDK

Point = Callable[[Sandbox], None]


@pytest.fixture
def point_sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Point]:
    """Give the SDK's two hosts, which are constants of its modules, the address of a sandbox."""
    opened: list[http.client.HTTPConnection] = []

    def point(sandbox: Sandbox) -> None:
        host, prefix = sandbox.url_of("popbill").removeprefix("http://").split("/", 1)

        class Connection(http.client.HTTPConnection):
            def __init__(self, _host: str) -> None:
                super().__init__(host)
                opened.append(self)

            def putrequest(self, method: str, url: str, *args: bool, **kwargs: bool) -> None:
                super().putrequest(method, f"/{prefix}{url}", *args, **kwargs)

        for module in (popbill.base, linkhub.linkhub):
            monkeypatch.setattr(module, "httpclient", SimpleNamespace(HTTPSConnection=Connection))

    monkeypatch.setattr(popbill.base.Singleton, "_instances", {})  # services remember tokens and connections
    yield point
    for connection in opened:
        connection.close()


def buttons_of(one: Outgoing) -> list[KakaoButton]:
    kinds = {
        "WL": lambda button: {"u1": button.url_mobile, "u2": button.url_pc},
        "AL": lambda button: {"u1": button.scheme_ios, "u2": button.scheme_android},
        "TN": lambda button: {"telNum": button.phone},
    }
    content: Any = one.content
    return [KakaoButton(n=b.name, t=b.kind, **kinds.get(b.kind, lambda _: {})(b)) for b in content.buttons]


def send_by_sdk(name: str, one: Outgoing, jpeg: Path) -> str:
    """Send ``one`` as a user of the SDK would; the recipient's name and the RequestNum are our key."""
    content: Any = one.content
    kakao = KakaoService(DEFAULT_LINK_ID, DEFAULT_SECRET_KEY)
    texts = MessageService(DEFAULT_LINK_ID, DEFAULT_SECRET_KEY)
    corp, key, to, nothing = DEFAULT_CORP_NUM, one.request_key, one.to, ""
    image = str(jpeg)
    calls: dict[str, Callable[[], str]] = {
        "ATS": lambda: kakao.sendATS(
            corp,
            content.template_code,
            content.sender,
            content.text,
            nothing,
            nothing,
            nothing,
            to,
            key,
            RequestNum=key,
            ButtonList=buttons_of(one),
            EmphasizeTitle=content.title,
        ),
        "FTS": lambda: kakao.sendFTS(
            corp,
            content.sender_key,
            content.sender,
            content.text,
            nothing,
            nothing,
            nothing,
            to,
            key,
            buttons_of(one),
            AdsYN=True,
            RequestNum=key,
        ),
        "FMS": lambda: kakao.sendFMS(
            corp,
            content.sender_key,
            content.sender,
            content.text,
            nothing,
            nothing,
            nothing,
            image,
            content.image_link,
            to,
            key,
            buttons_of(one),
            AdsYN=True,
            RequestNum=key,
        ),
        "SMS": lambda: texts.sendSMS(corp, content.sender, to, key, content.text, nothing, RequestNum=key),
        "LMS": lambda: texts.sendLMS(
            corp, content.sender, to, key, content.subject, content.text, nothing, RequestNum=key
        ),
        "MMS": lambda: texts.sendMMS(
            corp, content.sender, to, key, content.subject, content.text, image, nothing, RequestNum=key
        ),
    }
    return calls[PATHS[name]]()


PATHS = {
    "alimtalk": "ATS",
    "alimtalk-full": "ATS",
    "sms": "SMS",
    "lms": "LMS",
    "mms": "MMS",
    "friendtalk": "FTS",
    "friendtalk-image": "FMS",
}


def meaning_of(record: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - JSON
    """Return the form of a request without what nobody set, and with ``KEY`` for the key of its own."""
    body = record["body"]
    if record["headers"]["content-type"].startswith("multi"):
        body = body.partition('name="form"')[2].partition("\r\n\r\n")[2].partition("\r\n--")[0]
    return _without_nothing(msgspec.json.decode(body.replace(key, "KEY")))


def _without_nothing(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nothing(item) for name, item in value.items() if item not in (None, "", [])}
    return value


@pytest.mark.parametrize("name", CONTENTS)
async def test_both_requests_mean_the_same(point_sdk: Point, tmp_path: Path, name: str) -> None:
    jpeg = tmp_path / "picture.jpg"
    jpeg.write_bytes(JPEG)
    channel, content = CONTENTS[name]
    theirs, ours = outgoing(content, channel), outgoing(content, channel)
    ours = replace(ours, to=theirs.to)
    async with running(sandbox_with()) as sandbox, dealer_at(sandbox.url_of("popbill")) as dealer:
        point_sdk(sandbox)
        receipt = await asyncio.to_thread(send_by_sdk, name, theirs, jpeg)
        [accepted] = await dealer.send(None, [ours])
        assert isinstance(accepted, Accepted)
        [sdk, adapter] = [row for row in sandbox.record if row["target"] == f"/{PATHS[name]}"]
        assert meaning_of(adapter, ours.request_key) == meaning_of(sdk, theirs.request_key)
        assert ("a picture" in sdk["body"]) is ("a picture" in adapter["body"])
        by_sdk, by_adapter = sandbox.truth()
        assert (by_sdk.to, by_sdk.channel, by_sdk.key) == (by_adapter.to, channel, theirs.request_key)
        assert by_sdk.message_id == receipt


def token_requests(sandbox: Sandbox) -> list[Any]:
    rows = [row for row in sandbox.record if row["target"].endswith("/Token")]
    return [
        (row["method"], row["target"], row["headers"]["x-lh-version"], msgspec.json.decode(row["body"])) for row in rows
    ]


@pytest.mark.parametrize("name", ["alimtalk", "sms"])
async def test_both_ask_for_the_same_token(point_sdk: Point, tmp_path: Path, name: str) -> None:
    channel, content = CONTENTS[name]
    async with running(sandbox_with()) as sandbox, dealer_at(sandbox.url_of("popbill")) as dealer:
        point_sdk(sandbox)
        await asyncio.to_thread(send_by_sdk, name, outgoing(content, channel), tmp_path)
        await dealer.send(None, [outgoing(content, channel)])
        theirs, ours = token_requests(sandbox)
        assert ours == theirs


@pytest.mark.parametrize("name", ["alimtalk", "lms"])
async def test_the_sdk_reads_the_same_of_what_the_adapter_sent(point_sdk: Point, name: str) -> None:
    channel, content = CONTENTS[name]
    one = outgoing(content, channel)
    service = MessageService if channel.is_text else KakaoService
    async with running(sandbox_with()) as sandbox, dealer_at(sandbox.url_of("popbill")) as dealer:
        point_sdk(sandbox)
        await dealer.send(None, [one])
        sandbox.settle()
        [report] = await dealer.lookup([attempt(one)])
        assert isinstance(report, Report)
        client = service(DEFAULT_LINK_ID, DEFAULT_SECRET_KEY)
        answer = await asyncio.to_thread(client.getMessagesRN, DEFAULT_CORP_NUM, one.request_key)
        [message] = answer if channel.is_text else answer.msgs
        assert (message.requestNum, message.receiptNum, str(message.result)) == (
            report.request_key,
            report.dealer_message_id,
            report.code,
        )
        assert await asyncio.to_thread(client.getBalance, DEFAULT_CORP_NUM) == await dealer.balance_krw()
