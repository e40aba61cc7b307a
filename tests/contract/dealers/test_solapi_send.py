"""What the adapter makes of every way in which a send can go wrong."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from shared.dealers.base import Accepted, Ambiguous, NotTaken, Refused, SendResult
from tests.contract.dealers.fake_gateway import (
    CUT,
    GROUP,
    SILENCE,
    FakeGateway,
    Reply,
    Request,
    alimtalk,
    group,
    sms,
)

if TYPE_CHECKING:
    from shared.dealers.solapi.adapter import Solapi
    from tests.contract.dealers.conftest import Connect

OPEN = "POST /messages/v4/groups"
ADD = f"PUT /messages/v4/groups/{GROUP}/messages"
SEND = f"POST /messages/v4/groups/{GROUP}/send"


def error(status: int, code: str, **headers: str) -> Reply:
    return Reply(status, {"errorCode": code, "errorMessage": "…"}, headers)


LIMITED = Reply(429, {"message": "…"}, {"x-retry-after": "3"})


async def send(dealer: Solapi, n: int = 2) -> list[SendResult]:
    handle = await dealer.open()
    assert isinstance(handle, str)
    return await dealer.send(handle, [alimtalk(i) for i in range(1, n + 1)])


async def test_what_is_taken_is_accepted_under_its_own_id(dealer: Solapi, fake: FakeGateway) -> None:
    def backwards(request: Request) -> Reply:
        return Reply(json={"errorCount": 0, "resultList": fake.registered(request)[::-1]})

    fake.on(ADD, backwards)
    assert await send(dealer) == [Accepted("M4V0001"), Accepted("M4V0002")]
    assert fake.lines() == [OPEN, ADD, SEND]
    assert fake.requests[0].json() == {"allowDuplicates": True}


async def test_every_call_is_signed_with_a_salt_of_its_own(dealer: Solapi, fake: FakeGateway) -> None:
    await send(dealer)
    assert len({request.headers["authorization"] for request in fake.requests}) == 3


# -- open --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason", "retry_after"),
    [
        pytest.param(LIMITED, "rate_limited", timedelta(seconds=3), id="429"),
        pytest.param(Reply(503, {}, {"retry-after": "7"}), "dealer_unavailable", timedelta(seconds=7), id="503"),
        pytest.param(error(403, "InvalidAPIKey"), "auth_failed", None, id="403"),
        pytest.param(error(402, "NotEnoughBalance"), "no_balance", None, id="402"),
        pytest.param(error(400, "SomethingNew"), "dealer_unavailable", None, id="400-unknown"),
        pytest.param(Reply(raw=b"<html>"), "dealer_unavailable", None, id="no-json"),
        pytest.param(Reply(json={"groupId": ""}), "dealer_unavailable", None, id="no-id"),
        pytest.param(CUT, "dealer_unavailable", None, id="cut"),
        pytest.param(Reply(302, headers={"location": "/x"}), "dealer_unavailable", None, id="redirect"),
    ],
)
async def test_nothing_goes_out_by_opening(
    dealer: Solapi, fake: FakeGateway, reply: Reply, reason: str, retry_after: timedelta | None
) -> None:
    fake.on(OPEN, reply)
    result = await dealer.open()
    assert isinstance(result, NotTaken)
    assert (result.reason, result.retry_after) == (reason, retry_after)
    assert fake.lines() == [OPEN]


async def test_a_used_signature_is_replaced_once_when_opening(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(OPEN, error(403, "DuplicatedSignature"), Reply(json=group("PENDING")))
    assert await dealer.open() == GROUP
    assert len({request.headers["authorization"] for request in fake.requests}) == 2


# -- before a byte is written ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_a_gateway_that_cannot_be_reached_has_nothing(connect: Connect, unused: int, host: str) -> None:
    dealer = connect(unused, host=host)
    opened = await dealer.open()
    assert isinstance(opened, NotTaken)
    assert opened.reason == "dealer_unavailable"
    results = await dealer.send(GROUP, [sms(1)])
    assert [type(result) for result in results] == [NotTaken]


async def test_a_connection_that_tls_refuses_carried_nothing(connect: Connect) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 no TLS here\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
    dealer = connect(server.sockets[0].getsockname()[1], scheme="https")
    assert isinstance(await dealer.open(), NotTaken)
    assert [type(result) for result in await dealer.send(GROUP, [sms(1)])] == [NotTaken]
    server.close()


async def test_sending_the_group_while_the_gateway_is_gone_sends_nothing(connect: Connect, fake: FakeGateway) -> None:
    dealer = connect(fake.port)

    def last(request: Request) -> Reply:
        fake.stop()
        return Reply(json={"resultList": fake.registered(request)}, headers={"connection": "close"})

    fake.on(ADD, last)
    results = await send(dealer)
    assert [result.reason for result in results if isinstance(result, NotTaken)] == ["dealer_unavailable"] * 2
    assert SEND not in fake.lines()


# -- adding to the group -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(CUT, NotTaken("dealer_unavailable", detail="PUT ServerDisconnectedError"), id="cut"),
        pytest.param(LIMITED, NotTaken("rate_limited", "HTTP 429", retry_after=timedelta(seconds=3)), id="429"),
        pytest.param(Reply(500, {}), NotTaken("dealer_unavailable", "HTTP 500"), id="500"),
        pytest.param(
            Reply(raw=b"{"),
            NotTaken("dealer_unavailable", detail="the answer to adding them cannot be read"),
            id="no-json",
        ),
        pytest.param(
            Reply(json={"resultList": []}, cut_after=-1),
            NotTaken("dealer_unavailable", detail="the answer to adding them cannot be read"),
            id="half-an-answer",
        ),
        pytest.param(error(403, "InvalidAPIKey"), Refused("auth_failed", "InvalidAPIKey", "no such API key"), id="403"),
        pytest.param(
            error(400, "ValidationError"),
            Refused("invalid_request", "ValidationError", "the request is malformed"),
            id="400",
        ),
        pytest.param(
            error(402, "NotEnoughBalance"), Refused("no_balance", "NotEnoughBalance", "balance too low"), id="402"
        ),
        pytest.param(
            error(404, "ResourceNotFound"),
            NotTaken("dealer_unavailable", "ResourceNotFound", "no such group, so nothing goes out by it"),
            id="404",
        ),
    ],
)
async def test_a_group_that_could_not_be_filled_is_never_sent(
    dealer: Solapi, fake: FakeGateway, reply: Reply, expected: SendResult
) -> None:
    fake.on(ADD, reply)
    assert await send(dealer) == [expected, expected]
    assert fake.lines() == [OPEN, ADD]  # once: a second PUT would add every message a second time


async def test_a_fill_that_is_never_answered_is_given_up(connect: Connect, fake: FakeGateway) -> None:
    fake.on(ADD, SILENCE)
    results = await send(connect(fake.port, timeout_seconds=0.2))
    assert [type(result) for result in results] == [NotTaken, NotTaken]
    assert fake.lines() == [OPEN, ADD]


async def test_a_used_signature_is_not_replaced_when_filling(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(ADD, error(403, "DuplicatedSignature"))
    results = await send(dealer)
    assert [type(result) for result in results] == [NotTaken, NotTaken]
    assert fake.lines() == [OPEN, ADD]


async def test_each_recipient_is_refused_by_its_own_code(dealer: Solapi, fake: FakeGateway) -> None:
    codes = ["2000", "1042", "1997", "2999"]

    def some(request: Request) -> Reply:
        items = fake.registered(request)
        return Reply(
            json={"resultList": [item | {"statusCode": code} for item, code in zip(items, codes, strict=True)]}
        )

    fake.on(ADD, some)
    assert await send(dealer, 4) == [
        Accepted("M4V0001"),
        Refused("template_not_found", "1042", "wrong template id, or not approved"),
        Refused("unknown", "1997"),
        Refused("unknown", "2999"),
    ]


async def test_a_group_without_any_message_is_not_sent(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(ADD, lambda request: Reply(json={"resultList": fake.registered(request, statusCode="1062")}))
    results = await send(dealer)
    assert [result.reason for result in results if isinstance(result, Refused)] == ["sender_number_unregistered"] * 2
    assert SEND not in fake.lines()


async def test_without_our_key_a_message_goes_by_its_number(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(ADD, lambda request: Reply(json={"resultList": fake.registered(request, customFields={})}))
    batch = [alimtalk(1), alimtalk(2), alimtalk(3, to="01099990000"), alimtalk(4, to="01099990000")]
    results = await dealer.send(GROUP, batch)
    assert results[:2] == [Accepted("M4V0001"), Accepted("M4V0002")]
    assert [type(result) for result in results[2:]] == [Ambiguous, Ambiguous]  # which is which?


async def test_a_message_that_the_answer_forgets_is_ambiguous(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(ADD, lambda request: Reply(json={"resultList": [*fake.registered(request)[:1], 7]}))
    results = await send(dealer)
    assert results[0] == Accepted("M4V0001")
    assert isinstance(results[1], Ambiguous)


@pytest.mark.parametrize("own_key", [True, False])
async def test_a_group_that_has_a_message_twice_is_never_sent(
    dealer: Solapi, fake: FakeGateway, *, own_key: bool
) -> None:
    fields = {} if own_key else {"customFields": None}

    def twice(request: Request) -> Reply:
        return Reply(json={"resultList": fake.registered(request, **fields) + fake.registered(request, **fields)})

    fake.on(ADD, twice)
    results = await send(dealer)
    assert [result.reason for result in results if isinstance(result, NotTaken)] == ["dealer_error"] * 2
    assert SEND not in fake.lines()


async def test_what_is_no_text_is_refused_alone(dealer: Solapi) -> None:
    results = await dealer.send(GROUP, [alimtalk(1, variables={"이름": "\ud83d"}), alimtalk(2)])
    assert results == [Refused("content_charset", "", "not a text"), Accepted("M4V0001")]


# -- sending the group -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(LIMITED, NotTaken("rate_limited", "HTTP 429", retry_after=timedelta(seconds=3)), id="429"),
        pytest.param(
            error(402, "NotEnoughBalance"), Refused("no_balance", "NotEnoughBalance", "balance too low"), id="402"
        ),
        pytest.param(
            error(403, "SignatureDoesNotMatch"),
            Refused("auth_failed", "SignatureDoesNotMatch", "wrong API secret"),
            id="403",
        ),
        pytest.param(
            error(400, "DeletedGroup"),
            NotTaken("dealer_unavailable", "DeletedGroup", "the group was deleted, so nothing goes out by it"),
            id="deleted",
        ),
        pytest.param(
            error(400, "FailedGroup"),
            NotTaken(
                "dealer_unavailable", "FailedGroup", "the group failed when it was made, so nothing goes out by it"
            ),
            id="failed",
        ),
        pytest.param(
            error(400, "InactiveApp"),
            Refused("not_permitted", "InactiveApp", "the app behind the key is not active"),
            id="inactive-app",
        ),
    ],
)
async def test_a_group_that_was_surely_not_sent(
    dealer: Solapi, fake: FakeGateway, reply: Reply, expected: SendResult
) -> None:
    fake.on(SEND, reply)
    assert await send(dealer) == [expected, expected]
    assert fake.lines() == [OPEN, ADD, SEND]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(CUT, id="cut-before-the-answer"),
        pytest.param(Reply(json=group("SENDING"), cut_after=-1), id="cut-in-the-answer"),
        pytest.param(Reply(500, {}), id="500"),
        pytest.param(Reply(502, raw=b"<html>"), id="502"),
        pytest.param(Reply(200, raw=b"<html>"), id="no-json"),
        pytest.param(Reply(200, raw=b"[" * 100_000), id="absurdly-deep"),
        pytest.param(Reply(200, json=group("PENDING")), id="still-pending"),
        pytest.param(Reply(200, json=group("SENDING", groupId="G4Vother")), id="another-group"),
        pytest.param(Reply(307, headers={"location": "/elsewhere"}), id="redirect"),
        pytest.param(error(400, "InvalidStatus"), id="not-pending-any-more"),
        pytest.param(error(400, "SomethingNew"), id="unknown-400"),
        pytest.param(error(409, "ScheduledGroup"), id="scheduled-by-somebody"),
        pytest.param(error(403, "DuplicatedSignature"), id="another-copy-of-the-call-was-first"),
        pytest.param(Reply(404, raw=b"<html>"), id="404-of-a-proxy"),
    ],
)
async def test_a_group_that_may_have_been_sent(dealer: Solapi, fake: FakeGateway, reply: Reply) -> None:
    fake.on(SEND, reply)
    assert [type(result) for result in await send(dealer)] == [Ambiguous, Ambiguous]
    assert fake.lines() == [OPEN, ADD, SEND]  # never again by itself


async def test_a_send_that_is_never_answered_is_ambiguous(connect: Connect, fake: FakeGateway) -> None:
    fake.on(SEND, SILENCE)
    results = await send(connect(fake.port, timeout_seconds=0.2))
    assert results == [Ambiguous("POST TimeoutError")] * 2


@pytest.mark.parametrize("code", ["AlreadySent", "GroupInProcessing"])
async def test_a_call_that_arrived_twice_has_sent_the_group(dealer: Solapi, fake: FakeGateway, code: str) -> None:
    fake.on(SEND, error(409, code))
    assert await send(dealer) == [Accepted("M4V0001"), Accepted("M4V0002")]


async def test_what_was_refused_stays_refused_when_the_rest_is_ambiguous(dealer: Solapi, fake: FakeGateway) -> None:
    def some(request: Request) -> Reply:
        first, second = fake.registered(request)
        return Reply(json={"resultList": [first | {"statusCode": "1031"}, second]})

    fake.on(ADD, some)
    fake.on(SEND, CUT)
    results = await send(dealer)
    assert [type(result) for result in results] == [Refused, Ambiguous]


async def test_many_batches_may_be_under_way_at_once(dealer: Solapi) -> None:
    results = await asyncio.gather(*(send(dealer, 3) for _ in range(10)))
    ids = {result.dealer_message_id for batch in results for result in batch if isinstance(result, Accepted)}
    assert len(ids) == 30
