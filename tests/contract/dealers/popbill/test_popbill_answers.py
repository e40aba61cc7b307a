"""What the adapter makes of answers that no sandbox gives: bare bytes, and shapes that Popbill may yet have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.config import BadConfig
from shared.contracts.states import Channel
from shared.dealers.base import Accepted, Ambiguous, NotFound, NotTaken, Refused, Report, SendResult, StillUnknown
from shared.dealers.popbill.adapter import Popbill
from shared.dealers.telemetry import UNMAPPED_CODES
from tests.contract.dealers.fake_gateway import CUT, NOW, FakeGateway, Reply
from tests.contract.dealers.popbill.popbill_world import SHORT, attempt, dealer_at, outgoing

TALK = outgoing(n=1)
TEXT = outgoing(SHORT, Channel.SMS, n=1)
RECEIPT = "026112300000000001"
BY_KEY = f"GET /KakaoTalk/Get/{TALK.request_key}"
SEARCH = "GET /KakaoTalk/Search"
NOTHING = Reply(json={"code": 1, "total": 0, "list": []})
UNKNOWN_ERROR = Reply(400, json={"code": -19000009, "message": "?"})


@pytest.fixture
async def dealer(fake: FakeGateway) -> AsyncIterator[Popbill]:
    fake.on("POST /POPBILL/Token", Reply(json={"session_token": "TOKEN", "expiration": "2026-11-23T00:30:00.000Z"}))
    async with dealer_at(f"http://127.0.0.1:{fake.port}", timeout_seconds=0.5, now=NOW) as one:
        yield one


def error(code: int, status: int = 400) -> Reply:
    return Reply(status, json={"code": code, "message": "01012345678 is in a message of Popbill's"})


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(Reply(json={"receiptNum": RECEIPT}), Accepted(RECEIPT), id="taken"),
        pytest.param(
            error(-10000018),
            Refused("account_suspended", "-10000018", "the user id is disabled"),
            id="a-code-we-know",
        ),
        pytest.param(
            error(-10000018, 500),
            Refused("account_suspended", "-10000018", "the user id is disabled"),
            id="whatever-its-status",
        ),
        pytest.param(error(-99000001), Refused("no_balance", "-99000001", "an error about points"), id="points"),
        pytest.param(error(-99000001, 500), Ambiguous("answered -99000001"), id="points-and-a-breakdown"),
        pytest.param(error(-19000001), Ambiguous("answered -19000001"), id="a-code-we-do-not-know"),
        pytest.param(Reply(403), Refused("auth_failed", "HTTP 403"), id="forbidden"),
        pytest.param(
            Reply(429, headers={"retry-after": "2"}),
            NotTaken("rate_limited", "HTTP 429", retry_after=timedelta(seconds=2)),
            id="limit",
        ),
        pytest.param(Reply(404, raw=b"<html>"), Ambiguous("answered HTTP 404"), id="not-popbill"),
        pytest.param(Reply(500, raw=b""), Ambiguous("answered HTTP 500"), id="breakdown"),
        pytest.param(Reply(302, headers={"location": "/"}), Ambiguous("answered HTTP 302"), id="redirect"),
        pytest.param(Reply(json={}), Ambiguous("the answer has no receipt number"), id="no-receipt"),
        pytest.param(Reply(json=[]), Ambiguous("the answer has no receipt number"), id="no-object"),
        pytest.param(Reply(raw=b'{"receiptNum":'), Ambiguous("the answer has no receipt number"), id="half"),
        pytest.param(
            Reply(json={"receiptNum": "0 1"}), Ambiguous("the answer has no receipt number"), id="unprintable"
        ),
        pytest.param(
            Reply(json={"code": 1, "message": ""}), Ambiguous("the answer has no receipt number"), id="success-of-what"
        ),
        pytest.param(CUT, Ambiguous("POST ServerDisconnectedError"), id="cut"),
        pytest.param(None, Ambiguous("POST TimeoutError"), id="silence"),
    ],
)
async def test_what_an_answer_to_a_send_means(
    fake: FakeGateway, dealer: Popbill, reply: Reply | None, expected: SendResult
) -> None:
    fake.on("POST /ATS", reply)
    [result] = await dealer.send(None, [TALK])
    if isinstance(expected, Ambiguous) and reply is None:
        assert isinstance(result, Ambiguous)
    else:
        assert result == expected
    assert fake.lines().count("POST /ATS") == 1


async def test_no_connection_is_not_taken(unused: int) -> None:
    async with dealer_at(f"http://127.0.0.1:{unused}") as dealer:
        [result] = await dealer.send(None, [TALK])
        assert isinstance(result, NotTaken)
        assert result.reason == "dealer_unavailable"


async def test_an_error_that_we_do_not_know_is_counted(fake: FakeGateway, dealer: Popbill) -> None:
    fake.on("POST /ATS", UNKNOWN_ERROR)
    before = UNMAPPED_CODES.labels("popbill", "")._value.get()  # noqa: SLF001 - the client has no other way to read it
    await dealer.send(None, [TALK])
    assert UNMAPPED_CODES.labels("popbill", "")._value.get() == before + 1  # noqa: SLF001 - likewise


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            Reply(401, json={"code": -99000002, "message": ""}),
            Refused("auth_failed", "-99000002", "Linkhub gives no token"),
        ),
        (Reply(429), NotTaken("rate_limited", "HTTP 429")),
        (Reply(503), NotTaken("dealer_unavailable", "HTTP 503", "no token")),
        (Reply(302), NotTaken("dealer_unavailable", "HTTP 302", "no token")),
        (Reply(json={}), NotTaken("dealer_unavailable", "HTTP 200", "no token")),
        (Reply(json={"session_token": "a\r\nb"}), NotTaken("dealer_unavailable", "HTTP 200", "no token")),
        (Reply(json={"session_token": ""}), NotTaken("dealer_unavailable", "HTTP 200", "no token")),
    ],
)
async def test_what_follows_when_there_is_no_token(
    fake: FakeGateway, dealer: Popbill, reply: Reply, expected: SendResult
) -> None:
    fake.on("POST /POPBILL/Token", reply)
    assert await dealer.send(None, [TALK]) == [expected]
    assert fake.lines() == ["POST /POPBILL/Token"]


@pytest.mark.parametrize("expiration", [None, 5, "soon", "2026-11-23T00:30:00", "2026-11-23T09:30:00.0000000+09:00"])
async def test_a_token_of_whatever_date_is_used(fake: FakeGateway, dealer: Popbill, expiration: object) -> None:
    fake.on("POST /POPBILL/Token", Reply(json={"session_token": "TOKEN", "expiration": expiration}))
    fake.on("POST /ATS", Reply(json={"receiptNum": RECEIPT}))
    for _ in range(2):
        assert await dealer.send(None, [TALK]) == [Accepted(RECEIPT)]
    assert fake.lines().count("POST /POPBILL/Token") == 1


def test_a_secret_key_must_be_base64() -> None:
    async def never() -> None:
        async with dealer_at("http://127.0.0.1:1", changed={"secret_key": "*"}):
            raise AssertionError

    with pytest.raises(BadConfig, match=r"dealers\.popbill\.credentials\.secret_key: is not base64"):
        never().send(None)


# -- looking up --------------------------------------------------------------------------------------------------


def info(*messages: dict[str, object], **counts: object) -> Reply:
    return Reply(json={"msgs": list(messages), "receiptNum": RECEIPT, "requestNum": TALK.request_key, **counts})


DONE: dict[str, object] = {"state": 3, "result": 100, "resultDT": "20261123090000"}
FAILED: dict[str, object] = {"state": 3, "result": 777, "resultDT": "20261123090000"}


@pytest.mark.parametrize(
    ("reply", "delivered", "code", "reason"),
    [
        pytest.param(info(DONE), True, "100", None, id="delivered"),
        pytest.param(info(DONE, successCnt="1", failCnt="0"), True, "100", None, id="and-counted"),
        pytest.param(info(DONE, successCnt="0", failCnt="1"), None, "100", None, id="counted-as-a-failure"),
        pytest.param(info(FAILED, successCnt="0", failCnt="1"), False, "777", "unknown", id="a-failure-unknown"),
        pytest.param(info(FAILED, successCnt="1", failCnt="0"), None, "777", None, id="counted-as-a-success"),
        pytest.param(info({"state": 0}), None, "state-0", None, id="waiting"),
        pytest.param(info({"state": 3}), None, "state-3", None, id="processed-without-a-result"),
        pytest.param(info({"state": 4}), False, "state-4", "cancelled", id="cancelled"),
        pytest.param(info({"state": 9}), None, "state-9", None, id="a-state-unknown"),
        pytest.param(info({}), None, "state-none", None, id="no-state"),
        pytest.param(info({"state": 1}, DONE), True, "100", None, id="of-two-the-delivered-one"),
        pytest.param(info(FAILED, DONE, successCnt="1", failCnt="1"), True, "100", None, id="counts-of-two"),
    ],
)
async def test_what_a_lookup_says(
    fake: FakeGateway,
    dealer: Popbill,
    reply: Reply,
    delivered: bool | None,  # noqa: FBT001 - likewise
    code: str,
    reason: str | None,
) -> None:
    fake.on(BY_KEY, reply)
    [report] = await dealer.lookup([attempt(TALK)])
    assert isinstance(report, Report)
    assert (report.delivered, report.code, report.reason) == (delivered, code, reason)
    assert report.dealer_message_id == RECEIPT
    assert fake.lines() == ["POST /POPBILL/Token", BY_KEY]


@pytest.mark.parametrize("first", [UNKNOWN_ERROR, error(-19000009, 500), Reply(raw=b"null"), info()])
async def test_only_a_search_that_worked_proves_an_absence(fake: FakeGateway, dealer: Popbill, first: Reply) -> None:
    fake.on(BY_KEY, first)
    fake.on(SEARCH, NOTHING)
    assert isinstance((await dealer.lookup([attempt(TALK)]))[0], NotFound)
    request = fake.requests[-1]
    assert request.query("QString") == [TALK.request_key]
    assert request.query("SDate") == ["20261122"]
    assert request.query("EDate") == ["20261124"]


@pytest.mark.parametrize(
    "searched",
    [
        pytest.param(UNKNOWN_ERROR, id="refused"),
        pytest.param(Reply(503), id="breakdown"),
        pytest.param(CUT, id="cut"),
        pytest.param(Reply(json={"code": 1}), id="no-list"),
        pytest.param(Reply(json=None), id="nothing-at-all"),
        pytest.param(Reply(json={"total": 1200, "list": [{"requestNum": "another"}]}), id="more-than-shown"),
    ],
)
async def test_a_search_that_did_not_work_proves_nothing(fake: FakeGateway, dealer: Popbill, searched: Reply) -> None:
    fake.on(BY_KEY, UNKNOWN_ERROR)
    fake.on(SEARCH, searched)
    assert isinstance((await dealer.lookup([attempt(TALK)]))[0], StillUnknown)


async def test_a_search_may_find_what_the_number_did_not(fake: FakeGateway, dealer: Popbill) -> None:
    fake.on(BY_KEY, UNKNOWN_ERROR)
    rows = [{"requestNum": "another", **DONE}, {"requestNum": TALK.request_key, "receiptNum": RECEIPT, "state": 2}]
    fake.on(SEARCH, Reply(json={"total": 2, "list": rows}))
    [report] = await dealer.lookup([attempt(TALK)])
    assert isinstance(report, Report)
    assert (report.delivered, report.dealer_message_id) == (None, RECEIPT)
    assert b"another" not in report.raw


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(401), id="401"),
        pytest.param(Reply(403), id="403"),
        pytest.param(Reply(429, headers={"retry-after": "3"}), id="429"),
        pytest.param(error(-10000018), id="suspended"),
        pytest.param(Reply(500), id="500"),
        pytest.param(Reply(404, raw=b"<html>"), id="404"),
        pytest.param(Reply(302), id="302"),
        pytest.param(Reply(json=[]), id="no-object"),
        pytest.param(Reply(json={"msgs": "none"}), id="no-messages"),
        pytest.param(CUT, id="cut"),
        pytest.param(Reply(json={"msgs": [DONE], "requestNum": outgoing(n=2).request_key}), id="another-request"),
    ],
)
async def test_a_lookup_that_failed_is_asked_again(fake: FakeGateway, dealer: Popbill, reply: Reply) -> None:
    fake.on(BY_KEY, reply)
    [result] = await dealer.lookup([attempt(TALK)])
    assert isinstance(result, StillUnknown)
    assert SEARCH not in fake.lines()
    if reply.status == 429:
        assert result.retry_after == timedelta(seconds=3)


async def test_what_was_taken_is_never_said_to_be_absent(fake: FakeGateway, dealer: Popbill) -> None:
    fake.on(f"GET /KakaoTalk/{RECEIPT}", UNKNOWN_ERROR)
    fake.on(SEARCH, NOTHING)
    assert isinstance((await dealer.lookup([attempt(TALK, RECEIPT)]))[0], StillUnknown)


async def test_texts_come_as_a_list(fake: FakeGateway, dealer: Popbill) -> None:
    line = f"GET /Message/Get/{TEXT.request_key}"
    fake.on(line, Reply(json=[{"requestNum": TEXT.request_key, "receiptNum": RECEIPT, **DONE}]))
    [report] = await dealer.lookup([attempt(TEXT)])
    assert isinstance(report, Report)
    assert (report.delivered, report.dealer_message_id) == (True, RECEIPT)
    fake.on(line, Reply(json=[]))
    fake.on("GET /Message/Search", NOTHING)
    assert isinstance((await dealer.lookup([attempt(TEXT)]))[0], NotFound)


@pytest.mark.parametrize(
    ("point", "balance"), [(1500.7, 1500), ("1500.7", 1500), (None, None), ("much", None), ([], None), (1e400, None)]
)
async def test_a_balance_that_cannot_be_read_is_none(
    fake: FakeGateway, dealer: Popbill, point: object, balance: int | None
) -> None:
    fake.on("GET /POPBILL/Point", Reply(raw=repr({"remainPoint": point}).replace("'", '"').encode()))
    assert await dealer.balance_krw() == balance


async def test_lists_that_cannot_be_read_leave_a_check_open(fake: FakeGateway, dealer: Popbill) -> None:
    fake.on("GET /KakaoTalk/ListPlusFriendID", Reply(503))
    fake.on("GET /Message/SenderNumber", Reply(raw=b"{"))
    assert [checked.ok for checked in await dealer.check(["@봉수상점"], ["0212345678"])] == [None, None]
