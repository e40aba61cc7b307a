"""What the adapter says after each thing that a gateway may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from shared.dealers.base import (
    Accepted,
    AlreadyTaken,
    Ambiguous,
    Checked,
    Dealer,
    ImageUse,
    NotFound,
    NotTaken,
    Pulled,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Uploaded,
)
from tests.contract.dealers.bizgo.bizgo_world import SEND, SHORT, attempt, bizgo_at, outgoing, said, some, taken
from tests.contract.dealers.fake_gateway import CUT, SILENCE, FakeGateway, Reply, Request

V1 = "/api/comm/v1"
HISTORY = f"GET {V1}/message/history"
SMS = outgoing(SHORT, some(1)[0].channel, n=999)
KEY = SMS.request_key
INQUIRY = f"GET {V1}/message/inquiry/msgKey/MSG1"


@pytest.fixture
async def dealer(fake: FakeGateway) -> AsyncIterator[Dealer]:
    fake.on(SEND, taken)
    fake.on(HISTORY, Reply(400, json=said("A820")))
    async with bizgo_at(f"http://127.0.0.1:{fake.port}") as built:
        yield built


@pytest.fixture
async def hasty(fake: FakeGateway) -> AsyncIterator[Dealer]:
    async with bizgo_at(f"http://127.0.0.1:{fake.port}", 0.5) as built:
        yield built


def entry(**changes: object) -> Reply:
    one = {"to": SMS.to, "msgKey": "MSG1", "code": "A000", "result": "Success", **changes}
    return Reply(json=said(ref=KEY, data={"destinations": [one]}))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(entry(), Accepted("MSG1"), id="taken"),
        pytest.param(entry(to=None), Accepted("MSG1"), id="unnamed-and-alone"),
        pytest.param(entry(code="A301"), AlreadyTaken(), id="taken-before"),
        pytest.param(Reply(400, json=said("A301")), AlreadyTaken(), id="request-taken-before"),
        pytest.param(entry(code="A306"), Refused("invalid_phone", "A306", "wrong or empty to"), id="refused"),
        pytest.param(entry(code="A777"), Refused("unknown", "A777"), id="unknown-code"),
        pytest.param(entry(code="A999"), Ambiguous("code A999"), id="broken-within"),
        pytest.param(
            entry(code="A020"), NotTaken("rate_limited", "A020", "over the limit of a second"), id="over-the-limit"
        ),
        pytest.param(entry(msgKey=None), Ambiguous("the answer gives no msgKey, or no code"), id="no-msg-key"),
        pytest.param(entry(msgKey="../x"), Ambiguous("the answer gives no msgKey, or no code"), id="bad-msg-key"),
        pytest.param(entry(code=None), Ambiguous("the answer gives no msgKey, or no code"), id="no-code"),
        pytest.param(
            entry(to="01099999999"),
            Ambiguous("the answer does not name the recipient, or others as well"),
            id="another-recipient",
        ),
        pytest.param(
            Reply(json=said(ref="other", data={"destinations": []})),
            Ambiguous("the answer is to another request"),
            id="another-request",
        ),
        pytest.param(
            Reply(json=said(data={"destinations": [{"to": SMS.to, "code": "A000", "msgKey": "M"}] * 2})),
            Ambiguous("the answer does not name the recipient, or others as well"),
            id="twice",
        ),
        pytest.param(
            Reply(json=said(data={"destinations": []})),
            Ambiguous("the answer does not name the recipient, or others as well"),
            id="nobody",
        ),
        pytest.param(Reply(json=said()), Ambiguous("the answer names no recipient"), id="no-data"),
        pytest.param(CUT, Ambiguous("POST ServerDisconnectedError"), id="cut"),
        pytest.param(
            Reply(json=said(), cut_after=-1), Ambiguous("HTTP 200, and the answer cannot be read"), id="cut-short"
        ),
        pytest.param(
            Reply(429, json=said("A020"), headers={"retry-after": "2"}),
            NotTaken("rate_limited", "A020", retry_after=timedelta(seconds=2)),
            id="429",
        ),
        pytest.param(
            Reply(403, json={"common": {"authCode": "A403"}}),
            Refused("auth_failed", "A403", "forbidden: address not registered for the key, or no right"),
            id="address-not-registered",
        ),
    ],
)
async def test_what_becomes_of_a_send(fake: FakeGateway, dealer: Dealer, reply: Reply, expected: SendResult) -> None:
    fake.on(SEND, reply)
    assert await dealer.send(None, [SMS]) == [expected]
    assert fake.lines().count(SEND) == 1


async def test_silence_is_ambiguous_and_a_closed_port_is_not(fake: FakeGateway, hasty: Dealer, unused: int) -> None:
    fake.on(SEND, SILENCE)
    [result] = await hasty.send(None, [SMS])
    assert isinstance(result, Ambiguous)
    async with bizgo_at(f"http://127.0.0.1:{unused}") as nobody:
        [result] = await nobody.send(None, [SMS])
    assert isinstance(result, NotTaken)
    assert result.reason == "dealer_unavailable"


async def test_each_recipient_has_a_request_and_a_key_of_its_own(fake: FakeGateway, dealer: Dealer) -> None:
    batch = some(60)
    results = await dealer.send(None, batch)
    assert results == [Accepted(f"{message.request_key}000") for message in batch]
    sent = [request.json() for request in fake.requests]
    assert sorted(each["idempotencyKey"] for each in sent) == sorted(message.request_key for message in batch)
    assert all(len(each["destinations"]) == len(each["messageFlow"]) == 1 for each in sent)


async def test_a_person_gets_messages_in_their_order(fake: FakeGateway, dealer: Dealer) -> None:
    batch = [outgoing(SHORT, SMS.channel, to=f"0101000000{n % 3}") for n in range(30)]
    under_way: set[str] = set()
    order: list[str] = []

    def answer(request: Request) -> Reply:
        to = request.json()["destinations"][0]["to"]
        assert to not in under_way
        order.append(request.json()["ref"])
        return taken(request)

    fake.on(SEND, answer)
    await dealer.send(None, batch)
    for person in range(3):
        keys = [message.request_key for message in batch[person::3]]
        assert [key for key in order if key in keys] == keys


async def test_one_over_the_limit_stops_the_rest_of_its_batch(fake: FakeGateway, dealer: Dealer) -> None:
    fake.on(SEND, Reply(429, json=said("A020"), headers={"retry-after": "1"}))
    results = await dealer.send(None, some(200))
    limited = NotTaken("rate_limited", "A020", retry_after=timedelta(seconds=1))
    assert results == [limited] * 200
    assert len(fake.requests) <= 20


async def test_a_slow_gateway_holds_a_batch_only_so_long(
    fake: FakeGateway, hasty: Dealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.dealers.bizgo.adapter._STARTED_WITHIN", timedelta(seconds=0.3))
    fake.on(SEND, SILENCE)
    results = await hasty.send(None, some(30))
    assert [type(result) for result in results] == [Ambiguous] * 20 + [NotTaken] * 10


async def test_what_cannot_be_sent_costs_no_call(fake: FakeGateway, dealer: Dealer) -> None:
    emoji = outgoing(type(SHORT)("0212345678", "안녕 😀"), SMS.channel)
    [refused, accepted] = await dealer.send(None, [emoji, SMS])
    assert refused == Refused("content_charset", "", "text: no carrier brings 😀 U+1F600")
    assert isinstance(accepted, Accepted)
    assert len(fake.requests) == 1


# -- A301, and the history behind it -----------------------------------------------------------------------------


def status(**changes: object) -> dict[str, Any]:
    return {
        "msgKey": "MSG1",
        "serviceType": "SMS",
        "fallback": "N",
        "responseCode": "A000",
        "ref": KEY,
        "reportTime": "2026-11-23T12:00:00.000+09:00",
        **changes,
    }


def messages(*several: dict[str, Any]) -> Reply:
    return Reply(json=said(data={"messages": list(several), "hasNext": False}))


async def test_what_was_taken_before_is_named_by_the_history(fake: FakeGateway, dealer: Dealer) -> None:
    fake.on(SEND, lambda request: taken(request, "A301", msgKey="REPLAYED"))
    fake.on(HISTORY, messages(status(msgKey="REPLAYED", responseCode="A301"), status()))
    assert await dealer.send(None, [SMS]) == [AlreadyTaken("MSG1")]
    [history] = [request for request in fake.requests if request.line == HISTORY]
    assert history.query("groupKey") == [KEY]


async def test_a_history_that_fails_is_asked_once_a_batch(fake: FakeGateway, dealer: Dealer) -> None:
    batch = [outgoing(SHORT, SMS.channel, to="01012345678") for _ in range(10)]
    fake.on(SEND, lambda request: taken(request, "A301"))
    fake.on(HISTORY, Reply(429, json=said("A020")))
    assert await dealer.send(None, batch) == [AlreadyTaken()] * 10
    assert fake.lines().count(HISTORY) == 1


# -- lookups -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "delivered", "code"),
    [
        pytest.param(messages(status(reportCode="10000")), True, "10000", id="delivered"),
        pytest.param(messages(status(reportCode="33019")), False, "33019", id="failed"),
        pytest.param(messages(status()), None, "A000", id="under-way"),
        pytest.param(messages(status(responseCode="A327")), False, "A327", id="refused-after-all"),
        pytest.param(messages(status(responseCode="9")), None, "9", id="odd-acceptance"),
        pytest.param(
            messages(status(reportCode="33019"), status(reportCode="10000")), True, "10000", id="delivered-of-two"
        ),
        pytest.param(
            messages(status(reportCode="33019"), status(reportCode="10000", fallback="Y")),
            False,
            "33019",
            id="failover",
        ),
    ],
)
async def test_a_lookup_by_msg_key(
    fake: FakeGateway,
    dealer: Dealer,
    reply: Reply,
    delivered: bool | None,  # noqa: FBT001 - a row
    code: str,
) -> None:
    fake.on(INQUIRY, reply)
    [report] = await dealer.lookup([attempt(SMS, "MSG1")])
    assert isinstance(report, Report)
    assert (report.delivered, report.code, report.dealer_message_id, report.request_key) == (
        delivered,
        code,
        "MSG1",
        KEY,
    )


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(400, json=said("A820")), id="no-such-data"),
        pytest.param(messages(), id="none"),
        pytest.param(Reply(json=said()), id="no-data"),
    ],
)
async def test_what_bizgo_does_not_know_is_not_found(fake: FakeGateway, dealer: Dealer, reply: Reply) -> None:
    fake.on(INQUIRY, reply)
    assert await dealer.lookup([attempt(SMS, "MSG1")]) == [NotFound()]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(CUT, id="cut"),
        pytest.param(Reply(500), id="500"),
        pytest.param(Reply(401), id="401"),
        pytest.param(Reply(raw=b"{"), id="unreadable"),
        pytest.param(Reply(json=said("A301")), id="no-answer-to-a-question"),
        pytest.param(Reply(json=said(data={"messages": [7]})), id="no-message"),
        pytest.param(messages(status(msgKey="OTHER")), id="of-another"),
        pytest.param(messages(status(ref="other")), id="of-another-key"),
        pytest.param(messages(status(fallback="Y")), id="of-a-failover-alone"),
    ],
)
async def test_a_lookup_that_failed_proves_nothing(fake: FakeGateway, dealer: Dealer, reply: Reply) -> None:
    fake.on(INQUIRY, reply)
    [result] = await dealer.lookup([attempt(SMS, "MSG1")])
    assert isinstance(result, StillUnknown)


async def test_lookups_over_the_limit_wait(fake: FakeGateway, dealer: Dealer) -> None:
    fake.on(INQUIRY, Reply(429, json=said("A020")))
    results = await dealer.lookup([attempt(SMS, "MSG1")] * 3)
    assert results == [StillUnknown("rate_limited", timedelta(seconds=1))] * 3
    assert len(fake.requests) == 1


async def test_without_a_msg_key_the_history_proves_only_what_it_has(fake: FakeGateway, dealer: Dealer) -> None:
    [result] = await dealer.lookup([attempt(SMS)])
    assert isinstance(result, StillUnknown)
    fake.on(HISTORY, messages(status(ref="other", reportCode="10000"), status(reportCode="10000")))
    [report] = await dealer.lookup([attempt(SMS)])
    assert isinstance(report, Report)
    assert (report.delivered, report.dealer_message_id) == (True, "MSG1")


# -- polling, uploads, checks ------------------------------------------------------------------------------------

POLLING = f"{V1}/report/polling"


async def test_reports_are_pulled_and_acknowledged(fake: FakeGateway, dealer: Dealer) -> None:
    good = {"msgKey": "MSG1", "serviceType": "SMS", "reportCode": "10000", "ref": KEY}
    fake.on(f"GET {POLLING}", Reply(json=said(data={"reportId": "RPT1", "report": [good, 7, {}]})))
    fake.on(f"DELETE {POLLING}/RPT1", Reply(json=said()))
    pulled = await dealer.pull()
    assert isinstance(pulled, Pulled)
    assert [(report.request_key, report.delivered) for report in pulled.reports] == [(KEY, True)]
    await dealer.acknowledge(pulled)
    assert fake.lines()[-1] == f"DELETE {POLLING}/RPT1"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(json=said(data={"reportId": "", "report": None})), id="nothing-new"),
        pytest.param(Reply(400, json=said("A801")), id="a-webhook-key"),
        pytest.param(Reply(json=said(data=[])), id="unreadable"),
        pytest.param(CUT, id="cut"),
    ],
)
async def test_there_may_be_nothing_to_pull(fake: FakeGateway, dealer: Dealer, reply: Reply) -> None:
    fake.on(f"GET {POLLING}", reply)
    assert await dealer.pull() is None


JPEG = b"\xff\xd8\xff\xe0" + b"x" * 100


async def test_an_image_is_named_by_bizgo(fake: FakeGateway, dealer: Dealer) -> None:
    fake.on(f"POST {V1}/file/mms", Reply(json=said(data={"fileKey": "FILE1", "expired": "2026-12-01T00:00:00"})))
    fake.on(f"POST {V1}/file/brandmessage/default", Reply(json=said(data={"imgUrl": "https://k.example/1.jpg"})))
    assert await dealer.upload(ImageUse.MMS, "감자.jpg", JPEG) == Uploaded("FILE1")
    assert await dealer.upload(ImageUse.BRAND, "감자.jpg", JPEG) == Uploaded("https://k.example/1.jpg")
    assert b'name="file"; filename="image.jpg"' in fake.requests[0].body
    assert JPEG in fake.requests[0].body


@pytest.mark.parametrize("image", [b"\x89PNG\r\n\x1a\n", b"GIF89a", JPEG + b"x" * 300 * 1024, b""])
async def test_no_other_image_goes_into_an_mms(fake: FakeGateway, dealer: Dealer, image: bytes) -> None:
    result = await dealer.upload(ImageUse.MMS, "a.png", image)
    assert isinstance(result, Refused)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(400, json=said("A203")), Refused("invalid_attachment", "A203", "wrong image resolution")),
        (Reply(500, json=said("A215")), NotTaken("dealer_unavailable", detail="HTTP 500 A215")),
        (Reply(json=said(data={})), NotTaken("dealer_error", detail="the answer names no file")),
        (CUT, NotTaken("dealer_unavailable", detail="POST ServerDisconnectedError")),
    ],
)
async def test_an_upload_that_failed(
    fake: FakeGateway, dealer: Dealer, reply: Reply, expected: Refused | NotTaken
) -> None:
    fake.on(f"POST {V1}/file/mms", reply)
    assert await dealer.upload(ImageUse.MMS, "a.jpg", JPEG) == expected


@pytest.mark.parametrize(
    ("profile", "ok"),
    [
        ({"status": "A", "block": False, "dormant": False, "profileStatus": "A"}, True),
        ({"status": "A", "block": True, "profileStatus": "A"}, False),
        ({"status": "A", "dormant": True}, False),
        ({"status": "A", "profileStatus": "B"}, False),
    ],
)
async def test_a_check_sends_nothing(
    fake: FakeGateway,
    dealer: Dealer,
    profile: dict[str, Any],
    ok: bool,  # noqa: FBT001 - a row
) -> None:
    fake.on(f"GET {V1}/center/alimtalk/category", Reply(json=said(data={"categories": []})))
    fake.on(f"GET {V1}/center/kakao/sender", Reply(json=said(data={"kakao": {"senderProfile": profile}})))
    [key, sender, number] = await dealer.check(["S" * 40], ["0212345678"])
    assert key == Checked("api_key", ok=True)
    assert (sender.what, sender.ok) == ("S" * 40, ok)
    assert number.ok is None


async def test_a_check_tells_a_wrong_key_from_a_gateway_that_is_down(fake: FakeGateway, dealer: Dealer) -> None:
    fake.on(f"GET {V1}/center/alimtalk/category", Reply(401, json={"common": {"authCode": "A401"}}), CUT)
    fake.on(f"GET {V1}/center/kakao/sender", Reply(400, json=said("A820")), CUT)
    assert [checked.ok for checked in await dealer.check(["S"], [])] == [False, False]
    assert [checked.ok for checked in await dealer.check(["S"], [])] == [None, None]


async def test_a_batch_can_be_cancelled(fake: FakeGateway, dealer: Dealer) -> None:
    arrived = asyncio.Event()
    fake.on(SEND, lambda _request: arrived.set())
    sending = asyncio.create_task(dealer.send(None, some(5)))
    await arrived.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
