"""Messages, attempts and accounts for the tests of NHN Cloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bongsu.sandbox import Sandbox
from bongsu.sandbox.nhn.dialect import DEFAULT_SENDER_KEY, NhnDialect, credentials
from bongsu.sandbox.profile import DEFAULT_SENDER
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import AlimTalk, BrandMessage, Content, OpenAttempt, Outgoing, Text
from shared.dealers.nhn.adapter import Nhn, build
from shared.ids import MessageId
from tests.contract.dealers.fake_gateway import FakeGateway, Reply, Request

NOW = datetime(2026, 11, 23, 0, 0, 0, tzinfo=UTC)
ALIMTALK = AlimTalk(DEFAULT_SENDER_KEY, "ORDER_PAID", {"이름": "봉수"}, "봉수님, 주문이 결제되었습니다.")
BRAND = BrandMessage(DEFAULT_SENDER_KEY, "이번 주 소식 🎉")
SHORT = Text(DEFAULT_SENDER, "[봉수상점] 결제 완료")
LONG = Text(DEFAULT_SENDER, "주문이 결제되었습니다.\n" + "감사합니다. " * 10, subject="결제 안내")
CONTENTS: dict[Channel, Content] = {
    Channel.ALIMTALK: ALIMTALK,
    Channel.FRIENDTALK: BRAND,
    Channel.SMS: SHORT,
    Channel.LMS: LONG,
}

SEND = "POST /alimtalk/v2.3/appkeys/A/messages"
FIND = "GET /alimtalk/v2.3/appkeys/A/messages"
SEND_SMS = "POST /sms/v3.0/appKeys/B/sender/sms"
FIND_SMS = "GET /sms/v3.0/appKeys/B/sender/sms"
SEND_MMS = "POST /sms/v3.0/appKeys/B/sender/mms"
SEND_BRAND = "POST /brand-message/v1.0/appkeys/A/freestyle-messages"
REQUEST = "20261123090000ReZQ6KZzAH0"


def outgoing(n: int, channel: Channel = Channel.ALIMTALK, content: Content | None = None) -> Outgoing:
    """Return the ``n``-th message."""
    message = MessageId(UUID(int=n))
    key = request_key(message, channel, 1)
    return Outgoing(message, 1, key, channel, f"0101234{n:04}", CONTENTS[channel] if content is None else content)


def attempt(message: Outgoing, dealer_message_id: str | None = None, now: datetime = NOW) -> OpenAttempt:
    """Return a message's attempt, to be looked up."""
    key, number = message.request_key, message.to
    return OpenAttempt(message.message_id, 1, key, message.channel, number, None, dealer_message_id, now)


def header(code: int = 0, *, successful: bool | None = None) -> dict[str, Any]:
    """Return the part that every answer has."""
    ok = code == 0 if successful is None else successful
    return {"header": {"isSuccessful": ok, "resultCode": code, "resultMessage": "SUCCESS" if ok else "Failed."}}


def result(seq: int, message: Outgoing, code: int = 0, **fields: object) -> dict[str, Any]:
    """Return what an answer says of one recipient."""
    return {
        "recipientSeq": seq,
        "recipientNo": message.to,
        "resultCode": code,
        "resultMessage": "SUCCESS",
        "recipientGroupingKey": message.request_key,
        **fields,
    }


def sent(*results: dict[str, Any], code: int = 0, status: int = 200, request: object = REQUEST) -> Reply:
    """Return the answer to sending AlimTalks."""
    return Reply(status, {**header(code), "message": {"requestId": request, "sendResults": list(results)}})


def sent_text(*results: dict[str, Any]) -> Reply:
    """Return the answer to sending texts."""
    return Reply(json={**header(), "body": {"data": {"requestId": REQUEST, "sendResultList": list(results)}}})


def stored(message: Outgoing, seq: int, code: str | None, **fields: object) -> dict[str, Any]:
    """Return an AlimTalk as lists show it."""
    return {
        "requestId": REQUEST,
        "recipientSeq": seq,
        "recipientNo": message.to,
        "messageStatus": "COMPLETED",
        "resultCode": code,
        "createDate": "2026-11-23 09:00:00",
        "receiveDate": "2026-11-23 09:00:02",
        "recipientGroupingKey": message.request_key,
        **fields,
    }


def listed(*messages: dict[str, Any], total: int | None = None) -> Reply:
    """Return the answer to a search for AlimTalks."""
    found = {"messages": list(messages), "totalCount": len(messages) if total is None else total}
    return Reply(json={**header(), "messageSearchResultResponse": found})


def refused(code: int, status: int = 200) -> Reply:
    """Return NHN's refusal of a whole request."""
    return Reply(status, header(code))


def account(url: str, *, timeout_seconds: float = 5.0, **changes: Any) -> Account:  # noqa: ANN401 - fields of an Account
    """Return an account whose appkeys are A and B."""
    keys = {"appkey": "A", "secret_key": "secret-a", "sms_appkey": "B", "sms_secret_key": "secret-b"}
    made = Account("nhn", url, {}, keys, timeout_seconds, 1000, lambda: NOW)
    return replace(made, **changes)


@asynccontextmanager
async def at_sandbox(sandbox: Sandbox, *, timeout_seconds: float = 5.0) -> AsyncIterator[Nhn]:
    """Make an adapter for a running sandbox."""
    made = build(
        Account("nhn", sandbox.url_of("nhn"), {}, credentials(), timeout_seconds, 1000, lambda: datetime.now(UTC))
    )
    try:
        yield made
    finally:
        await made.close()


def nhn_of(sandbox: Sandbox) -> NhnDialect:
    """Return NHN's part of a sandbox."""
    dialect = sandbox.dialects["nhn"]
    assert isinstance(dialect, NhnDialect)
    return dialect


class Recorder(FakeGateway):
    """Takes every request, and says little."""

    def __init__(self) -> None:
        super().__init__()
        parts = {"body": {"data": {"fileId": 17}}, "image": {"imageUrl": "https://a.example/1"}}
        self.answer = Reply(json={**header(), **parts})

    def works(self, request: Request) -> Reply:
        """Answer as ever."""
        del request
        return self.answer
