"""What is certain after each answer, down to a connection that breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    Checked,
    ImageUse,
    LookupResult,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Text,
)
from shared.dealers.bizppurio.adapter import CALLS_AT_ONCE, Bizppurio
from tests.contract.dealers.bizppurio.conftest import NOW, TOKEN, Connect
from tests.contract.dealers.fake_gateway import CUT, SILENCE, FakeGateway, Reply, Request, message_id

NO_IMAGE = Refused("invalid_attachment", "", "not a JPEG of at most 300000 bytes")
SEND, ASK, LOG_IN = "POST /v3/message", "POST /v2/report", "POST /v1/token"


def sms(n: int, text: str = "안녕") -> Outgoing:
    key = request_key(message_id(n), Channel.SMS, 1)
    return Outgoing(message_id(n), 1, key, Channel.SMS, f"0101234{n:04}", Text("0212345678", text))


def asked(n: int, dealer_message_id: str | None = "m1") -> OpenAttempt:
    key = request_key(message_id(n), Channel.SMS, 1)
    return OpenAttempt(message_id(n), 1, key, Channel.SMS, f"0101234{n:04}", None, dealer_message_id, NOW)


def refused(code: int, status: int = 400) -> Reply:
    return Reply(status, {"code": code, "description": "no 01012345678"})


def works(request: Request) -> Reply:
    key = request.json()["refkey"]
    return Reply(json={"code": 1000, "description": "Success", "refkey": key, "messagekey": f"m-{key[-4:]}"})


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(json={"code": "1000", "messagekey": "m1"}), Accepted("m1")),
        (Reply(json={"code": 1000}), Ambiguous("taken, and its id cannot be read")),
        (Reply(json={"code": 1000, "messagekey": "m\x001"}), Ambiguous("taken, and its id cannot be read")),
        (Reply(json={"code": 1000, "messagekey": "m", "refkey": "x"}), Ambiguous("the answer is to another message")),
        (Reply(json={"code": 1001, "messagekey": "m"}), Ambiguous("answered 200 with the unknown code 1001")),
        (Reply(raw=b"<html>"), Ambiguous("answered HTTP 200")),
        (Reply(json={"code": 1000, "messagekey": "m"}, cut_after=-1), Ambiguous("answered HTTP 200")),
        (Reply(201, {"code": 1000, "messagekey": "m"}), Ambiguous("answered 1000")),
        (Reply(302, headers={"location": "/"}), Ambiguous("answered HTTP 302")),
        (Reply(503, raw=b"busy"), Ambiguous("answered HTTP 503")),
        (refused(9000, 500), Ambiguous("answered 9000")),
        (refused(3002, 502), Ambiguous("answered 3002")),
        (refused(3011), Ambiguous("answered 3011")),
        (Reply(400, raw=b""), Ambiguous("answered HTTP 400")),
        (refused(2000), Refused("invalid_request", "2000", "message not valid")),
        (refused(2000, 200), Refused("invalid_request", "2000", "message not valid")),
        (refused(2222), Refused("unknown", "2222")),
        (refused(3004), Refused("auth_failed", "3004", "account not valid")),
        (refused(3009), Refused("account_suspended", "3009", "account stopped")),
        (refused(3008), NotTaken("rate_limited", "3008", "more connections than allowed")),
        (refused(3002), NotTaken("dealer_unavailable", "3002", "the token is not taken any more")),
        (refused(3005), NotTaken("dealer_unavailable", "3005", "the token is not taken any more")),
        (Reply(401, raw=b""), NotTaken("dealer_unavailable", "HTTP 401", "the token is not taken any more")),
        (Reply(403, raw=b""), Refused("auth_failed", "HTTP 403")),
        (
            Reply(429, raw=b"", headers={"retry-after": "3"}),
            NotTaken("rate_limited", "HTTP 429", retry_after=timedelta(seconds=3)),
        ),
        (CUT, Ambiguous("POST ServerDisconnectedError")),
    ],
)
async def test_what_an_answer_is_worth(
    talking: Bizppurio, fake: FakeGateway, reply: Reply, expected: SendResult
) -> None:
    fake.on(SEND, reply)
    assert await talking.send(None, [sms(1)]) == [expected]
    assert fake.lines() == [LOG_IN, SEND]  # once, whatever happened


async def test_silence_is_ambiguous(fake: FakeGateway, connect: Connect) -> None:
    fake.on(LOG_IN, TOKEN)
    fake.on(SEND, SILENCE)
    impatient = connect(f"http://127.0.0.1:{fake.port}", timeout_seconds=0.2)
    [result] = await impatient.send(None, [sms(1)])
    assert isinstance(result, Ambiguous)


async def test_nobody_there_is_not_taken(connect: Connect, unused: int) -> None:
    [result] = await connect(f"http://127.0.0.1:{unused}").send(None, [sms(1)])
    assert isinstance(result, NotTaken)
    assert result.reason == "dealer_unavailable"


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (refused(3001), Refused, "auth_failed"),
        (refused(3005), Refused, "auth_failed"),
        (refused(3007), Refused, "auth_failed"),
        (refused(3010), Refused, "auth_failed"),
        (refused(3009), Refused, "account_suspended"),
        (Reply(401, raw=b""), Refused, "auth_failed"),
        (Reply(403, raw=b""), Refused, "auth_failed"),
        (refused(3008), NotTaken, "rate_limited"),
        (Reply(429, raw=b""), NotTaken, "rate_limited"),
        (refused(2000), NotTaken, "dealer_unavailable"),
        (refused(3001, 500), NotTaken, "dealer_unavailable"),
        (Reply(404, raw=b"<html>"), NotTaken, "dealer_unavailable"),
        (Reply(json={"accesstoken": "a b"}), NotTaken, "dealer_unavailable"),
        (Reply(raw=b"{"), NotTaken, "dealer_unavailable"),
        (CUT, NotTaken, "dealer_unavailable"),
    ],
)
async def test_without_a_token_nothing_is_taken(
    talking: Bizppurio, fake: FakeGateway, reply: Reply, kind: type[Refused | NotTaken], reason: str
) -> None:
    fake.on(LOG_IN, reply)
    results = await talking.send(None, [sms(1), sms(2, "😀")])
    assert [(type(result), getattr(result, "reason", "")) for result in results] == [
        (kind, reason),
        (Refused, "content_charset"),
    ]
    assert fake.lines() == [LOG_IN]


async def test_a_batch_that_cannot_be_sent_wants_no_token(talking: Bizppurio, fake: FakeGateway) -> None:
    [result] = await talking.send(None, [sms(1, "😀")])
    assert isinstance(result, Refused)
    assert fake.lines() == []


async def test_each_message_has_the_result_of_its_own_call(talking: Bizppurio, fake: FakeGateway) -> None:
    ill = sms(2).request_key

    def reply(request: Request) -> Reply:
        return refused(2000) if request.json()["refkey"] == ill else works(request)

    fake.on(SEND, reply)
    batch = [sms(n) for n in range(1, 31)]
    results = await talking.send(None, batch)
    assert [result.reason for result in results if isinstance(result, Refused)] == ["invalid_request"]
    for outgoing, result in zip(batch, results, strict=True):
        if outgoing.request_key != ill:
            assert result == Accepted(f"m-{outgoing.request_key[-4:]}")
    assert Counter(fake.lines()) == {LOG_IN: 1, SEND: 30}


async def test_a_stale_token_is_dropped_and_the_rest_of_the_batch_not_tried(
    talking: Bizppurio, fake: FakeGateway
) -> None:
    fake.on(LOG_IN, TOKEN, Reply(json={"accesstoken": "token-2", "expired": "20261125090000"}))

    def reply(request: Request) -> Reply:
        return works(request) if request.headers["authorization"] == "Bearer token-2" else refused(3002)

    fake.on(SEND, reply)
    batch = [sms(n) for n in range(1, 51)]
    first = await talking.send(None, batch)
    assert {(type(result), getattr(result, "reason", "")) for result in first} == {(NotTaken, "dealer_unavailable")}
    assert fake.lines().count(SEND) <= CALLS_AT_ONCE
    second = await talking.send(None, batch)
    assert {type(result) for result in second} == {Accepted}
    assert fake.lines().count(LOG_IN) == 2


async def test_one_token_serves_batches_at_the_same_time(talking: Bizppurio, fake: FakeGateway) -> None:
    fake.on(SEND, works)
    await asyncio.gather(*(talking.send(None, [sms(n)]) for n in range(1, 21)))
    assert Counter(fake.lines()) == {LOG_IN: 1, SEND: 20}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(json={"code": 1000}), StillUnknown("asked for its report again", timedelta(minutes=10))),
        (refused(3012), NotFound("Bizppurio has no such message")),
        (refused(5000), StillUnknown("its report cannot be asked for again", timedelta(minutes=10))),
        (refused(3008), StillUnknown("answered 3008")),
        (refused(3012, 500), StillUnknown("answered 3012")),
        (Reply(json={"code": 2}), StillUnknown("answered 2")),
        (Reply(raw=b"<html>"), StillUnknown("answered HTTP 200")),
        (Reply(404, raw=b""), StillUnknown("answered HTTP 404")),
        (Reply(429, raw=b"", headers={"retry-after": "3"}), StillUnknown("answered HTTP 429", timedelta(seconds=3))),
        (CUT, StillUnknown("POST ServerDisconnectedError")),
    ],
)
async def test_what_asking_again_says(
    talking: Bizppurio, fake: FakeGateway, reply: Reply, expected: LookupResult
) -> None:
    fake.on(ASK, reply)
    assert await talking.lookup([asked(1)]) == [expected]


async def test_a_message_that_is_not_reported_yet_is_pending(talking: Bizppurio, fake: FakeGateway) -> None:
    fake.on(ASK, refused(3013))
    [report] = await talking.lookup([asked(1)])
    assert isinstance(report, Report)
    assert (report.delivered, report.reason, report.code) == (None, None, "3013")
    assert (report.request_key, report.dealer_message_id) == (asked(1).request_key, "m1")


async def test_a_lookup_asks_about_ids_and_ends_at_the_first_trouble(talking: Bizppurio, fake: FakeGateway) -> None:
    fake.on(ASK, Reply(json={"code": 1000}), Reply(503, raw=b""))
    results = await talking.lookup([asked(1), asked(2, None), asked(3), asked(4)])
    assert [result.detail for result in results if isinstance(result, StillUnknown)] == [
        "asked for its report again",
        "Bizppurio cannot be asked by our key",
        "answered HTTP 503",
        "answered HTTP 503",
    ]
    assert fake.lines().count(ASK) == 2


async def test_a_lookup_without_a_token_claims_nothing(talking: Bizppurio, fake: FakeGateway) -> None:
    fake.on(LOG_IN, refused(3007))
    assert await talking.lookup([asked(1)]) == [StillUnknown("auth_failed: wrong password")]


@pytest.mark.parametrize(
    ("image", "reply", "expected"),
    [
        (b"\x89PNG", Reply(), NO_IMAGE),
        (b"\xff\xd8\xff" + bytes(300_000), Reply(), NO_IMAGE),
        (b"\xff\xd8\xff", refused(2000), Refused("invalid_request", "2000", "message not valid")),
        (b"\xff\xd8\xff", Reply(503, raw=b""), NotTaken("dealer_unavailable", "", "answered HTTP 503")),
        (b"\xff\xd8\xff", Reply(json={}), NotTaken("dealer_unavailable", "", "answered HTTP 200")),
        (b"\xff\xd8\xff", CUT, NotTaken("dealer_unavailable", "", "POST ServerDisconnectedError")),
    ],
)
async def test_what_an_upload_says(
    talking: Bizppurio, fake: FakeGateway, image: bytes, reply: Reply, expected: Refused | NotTaken
) -> None:
    fake.on("POST /v1/file", reply)
    assert await talking.upload(ImageUse.MMS, "a.jpg", image) == expected


async def test_no_image_is_taken_for_a_brand_message(talking: Bizppurio) -> None:
    assert await talking.upload(ImageUse.BRAND, "a.jpg", b"\xff\xd8\xff") == Refused(
        "not_permitted", "", "this dealer takes no images for brand"
    )


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (TOKEN, Checked("account", ok=True)),
        (refused(3010), Checked("account", ok=False, detail="3010 called from an address that is not allowed")),
        (Reply(503, raw=b""), Checked("account", ok=None, detail="no token")),
    ],
)
async def test_a_check_sends_nothing(talking: Bizppurio, fake: FakeGateway, reply: Reply, expected: Checked) -> None:
    fake.on(LOG_IN, reply)
    first, *rest = await talking.check(["KEY"], ["0212345678"])
    assert first == expected
    assert [(one.what, one.ok) for one in rest] == [("KEY", None), ("0212345678", None)]
    assert fake.lines() == [LOG_IN]
