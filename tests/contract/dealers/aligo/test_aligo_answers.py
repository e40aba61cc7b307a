"""What the adapter makes of answers that say little: counts without names, two encodings, lost connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from shared.contracts.states import Channel
from shared.dealers.aligo.adapter import Aligo
from shared.dealers.aligo.gateway import Gateway
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    Ambiguous,
    Checked,
    Content,
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
from shared.ids import MessageId
from tests.contract.dealers.fake_gateway import CUT, SILENCE, FakeGateway, Reply

SEND, TEXT, MASS = "POST /akv10/alimtalk/send/", "POST /send/", "POST /send_mass/"
DETAIL, LIST = "POST /akv10/history/detail/", "POST /sms_list/"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
ALIMTALK = AlimTalk("SENDERKEY", "TA1", {}, "가입을 축하합니다.", sender="0212345678")


def alimtalk(n: int, code: str = "TA1") -> Outgoing:
    content = AlimTalk("SENDERKEY", code, {}, "가입을 축하합니다.", sender="0212345678")
    return outgoing(n, Channel.ALIMTALK, content)


def sms(n: int, text: str = "안녕") -> Outgoing:
    return outgoing(n, Channel.SMS, Text("0212345678", text))


def outgoing(n: int, channel: Channel, content: Content) -> Outgoing:
    return Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", channel, f"0101234{n:04}", content)


def attempt(
    n: int, mid: str | None = "4001", channel: Channel = Channel.ALIMTALK, to: str | None = None
) -> OpenAttempt:
    number = f"0101234{n:04}" if to is None else to
    return OpenAttempt(MessageId(UUID(int=n)), 1, f"key{n}", channel, number, None, mid, NOW)


def taken(scnt: object, fcnt: object, mid: object = 4001) -> dict[str, Any]:
    return {"code": 0, "message": "성공적으로 전송요청 하였습니다.", "info": {"mid": mid, "scnt": scnt, "fcnt": fcnt}}


def row(n: int, rslt: str, **fields: object) -> dict[str, Any]:
    return {"msgid": str(n), "phone": f"010-1234-{n:04}", "rslt": rslt, "rslt_message": "", **fields}


def detail(*rows: dict[str, Any], **fields: object) -> Reply:
    return Reply(json={"code": 0, "message": "", "list": list(rows), "totalPage": "1", **fields})


@pytest.fixture
async def dealer(fake: FakeGateway) -> AsyncIterator[Aligo]:
    origin = f"http://127.0.0.1:{fake.port}"
    made = Aligo("aligo", Gateway(origin, origin, apikey="A", userid="u", timeout_seconds=0.5), batch=500)
    yield made
    await made.close()


# -- acceptance --------------------------------------------------------------------------------------------------

IN_PART = Ambiguous("taken in part, and the answer does not say which", "4001")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(taken(2, 0), Accepted("4001"), id="all"),
        pytest.param(taken("2", "0", "4001"), Accepted("4001"), id="all-in-digits"),
        pytest.param(taken(2, None), Accepted("4001"), id="all-and-no-count-of-failures"),
        pytest.param(taken(0, 2), Refused("invalid_phone", "fcnt", "Aligo counts the number as wrong"), id="none"),
        pytest.param(taken(1, 1), IN_PART, id="some"),
        pytest.param(taken(None, None), IN_PART, id="no-counts"),
        pytest.param(taken(0, 0), IN_PART, id="counts-of-the-documents-example"),
        pytest.param(taken(2, 1), IN_PART, id="more-than-were-sent"),
        pytest.param(taken(2, 0, None), Ambiguous("taken, but the answer names no id"), id="no-id"),
        pytest.param(taken(2, 0, "01012340001"), Ambiguous("taken, but the answer names no id"), id="id-a-number"),
        pytest.param({"code": 0, "info": []}, Ambiguous("taken, but the answer names no id"), id="no-info"),
        pytest.param({"code": 1}, Ambiguous("a code that is neither success nor failure: 1"), id="success-elsewhere"),
        pytest.param(
            {"code": -99, "message": "포인트가 부족합니다."},
            Refused("no_balance", "-99", "포인트가 부족합니다."),
            id="no-points",
        ),
        pytest.param({"code": "-99", "message": "?"}, Refused("unknown", "-99", "?"), id="new-words"),
        pytest.param({"code": 509, "message": "?"}, Refused("unknown", "509", "?"), id="kakao"),
    ],
)
async def test_what_a_count_says(
    dealer: Aligo, fake: FakeGateway, answer: dict[str, Any], expected: SendResult
) -> None:
    fake.on(SEND, Reply(json=answer))
    assert await dealer.send(None, [alimtalk(1), alimtalk(2)]) == [expected, expected]


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
async def test_a_text_is_taken_whatever_encoding_says_so(dealer: Aligo, fake: FakeGateway, encoding: str) -> None:
    said = '{"result_code":"1","message":"성공","msg_id":"7001","success_cnt":1,"error_cnt":0,"msg_type":"SMS"}'
    fake.on(TEXT, Reply(raw=said.encode(encoding), headers={"content-type": "text/html"}))
    assert await dealer.send(None, [sms(1)]) == [Accepted("7001")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"result_code": 0, "message": ""}, Ambiguous, id="zero"),
        pytest.param({"result_code": -201, "message": ""}, Refused, id="no-points"),
        pytest.param({"result_code": 1, "msg_id": 7001, "success_cnt": 1, "error_cnt": 1}, Ambiguous, id="in-part"),
    ],
)
async def test_success_of_a_text_is_a_number_above_zero(
    dealer: Aligo,
    fake: FakeGateway,
    answer: dict[str, Any],
    expected: type,
) -> None:
    fake.on(MASS, Reply(json=answer))
    assert [type(result) for result in await dealer.send(None, [sms(1), sms(2, "잘 가")])] == [expected] * 2


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(CUT, id="cut"),
        pytest.param(SILENCE, id="silence"),
        pytest.param(Reply(json=taken(1, 0), cut_after=-1), id="truncated"),
        pytest.param(Reply(502, raw=b"Bad Gateway"), id="502"),
        pytest.param(Reply(302, headers={"location": "/elsewhere"}), id="redirect"),
        pytest.param(Reply(408), id="408"),
        pytest.param(Reply(raw=b"<html>"), id="page"),
        pytest.param(Reply(raw=b'{"code":0,"message":"\xff\xff"}'), id="no-encoding"),
    ],
)
async def test_a_lost_answer_is_no_answer_and_ends_the_batch(
    dealer: Aligo, fake: FakeGateway, lost: Reply | None
) -> None:
    fake.on(SEND, lost)
    first, second = await dealer.send(None, [alimtalk(1, "TA1"), alimtalk(2, "TA2")])
    assert isinstance(first, Ambiguous)
    assert first.dealer_message_id is None
    assert isinstance(second, NotTaken)  # it was not begun: nothing of it is in doubt
    assert len(fake.requests) == 1


async def test_a_wrong_row_does_not_end_the_batch(dealer: Aligo, fake: FakeGateway) -> None:
    fake.on(SEND, Reply(json={"code": -99, "message": "템플릿이 존재하지 않습니다."}), Reply(json=taken(1, 0)))
    first, second = await dealer.send(None, [alimtalk(1, "TA1"), alimtalk(2, "TA2")])
    assert isinstance(first, Refused)
    assert first.reason == "template_not_found"
    assert second == Accepted("4001")


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [(429, NotTaken, "rate_limited"), (401, Refused, "auth_failed"), (403, Refused, "auth_failed")],
)
async def test_a_status_is_of_something_before_aligo(
    dealer: Aligo, fake: FakeGateway, status: int, kind: type[NotTaken | Refused], reason: str
) -> None:
    fake.on(SEND, Reply(status))
    [result] = await dealer.send(None, [alimtalk(1)])
    assert isinstance(result, kind)
    assert result.reason == reason


async def test_nothing_left_without_a_connection(unused: int) -> None:
    origin = f"http://127.0.0.1:{unused}"
    dealer = Aligo("aligo", Gateway(origin, origin, apikey="A", userid="u", timeout_seconds=1), batch=500)
    results = await dealer.send(None, [alimtalk(1, "TA1"), alimtalk(2, "TA2")])
    await dealer.close()
    assert [type(result) for result in results] == [NotTaken] * 2


async def test_results_stand_in_the_order_of_the_batch(dealer: Aligo, fake: FakeGateway) -> None:
    fake.on(SEND, Reply(json=taken(2, 0, 4001)), Reply(json=taken(1, 0, 4002)))
    batch = [alimtalk(1, "TA1"), alimtalk(2, "TA2"), outgoing(3, Channel.SMS, Text("1", "😀")), alimtalk(4, "TA1")]
    results = await dealer.send(None, batch)
    assert [getattr(result, "dealer_message_id", None) for result in results] == ["4001", "4002", None, "4001"]


async def test_the_accounts_sender_stands_in_for_a_profile_without_one(fake: FakeGateway) -> None:
    origin = f"http://127.0.0.1:{fake.port}"
    fake.on(SEND, Reply(json=taken(1, 0)))
    gateway = Gateway(origin, origin, apikey="A", userid="u", timeout_seconds=1)
    dealer = Aligo("aligo", gateway, batch=500, sender="0299998888")
    nameless = outgoing(1, Channel.ALIMTALK, AlimTalk("SENDERKEY", "TA1", {}, "가입을 축하합니다."))
    assert await dealer.send(None, [nameless]) == [Accepted("4001")]
    await dealer.close()
    assert b"sender=0299998888" in fake.requests[0].body


# -- results -----------------------------------------------------------------------------------------------------


async def test_rows_are_found_by_number(dealer: Aligo, fake: FakeGateway) -> None:
    rows = [row(2, "U"), row(1, "0", rsltdate="2026-11-23 09:00:05"), row(3, "", msgid="Q3")]
    fake.on(DETAIL, detail(*rows))
    results = await dealer.lookup([attempt(1), attempt(2), attempt(3), attempt(4)])
    reports = [result for result in results if isinstance(result, Report)]
    assert [(one.request_key, one.delivered, one.reason, one.code) for one in reports] == [
        ("key1", True, None, "0"),
        ("key2", False, "template_mismatch", "U"),
        ("key3", None, None, "Q"),
    ]
    assert reports[0].at == datetime(2026, 11, 23, 0, 0, 5, tzinfo=UTC)
    assert msgspec.json.decode(reports[0].raw) == rows[1]
    assert {one.dealer_message_id for one in reports} == {"4001"}
    assert isinstance(results[3], NotFound)
    assert len(fake.requests) == 1


async def test_a_delivery_stands_before_what_else_is_said_of_a_number(dealer: Aligo, fake: FakeGateway) -> None:
    fake.on(DETAIL, detail(row(1, "A"), row(1, "0"), row(1, "")))
    [result] = await dealer.lookup([attempt(1)])
    assert isinstance(result, Report)
    assert result.delivered is True


async def test_a_text_is_looked_up_at_the_other_host(dealer: Aligo, fake: FakeGateway) -> None:
    rows = [{"mdid": "1", "receiver": "01012340001", "sms_state": "발송완료", "send_date": "2026-11-23 09:00:05"}]
    said = msgspec.json.encode({"result_code": "1", "message": "성공", "list": rows, "next_yn": "N"})
    fake.on(LIST, Reply(raw=said.decode().encode("cp949")))
    [result] = await dealer.lookup([attempt(1, "7001", Channel.SMS)])
    assert isinstance(result, Report)
    assert (result.delivered, result.code, result.detail) == (True, "done", "발송완료")


async def test_pages_are_read_to_their_end(dealer: Aligo, fake: FakeGateway) -> None:
    fake.on(DETAIL, detail(row(1, "0"), totalPage="2"), detail(row(2, "0"), totalPage="2"))
    results = await dealer.lookup([attempt(1), attempt(2)])
    assert [type(result) for result in results] == [Report] * 2
    assert len(fake.requests) == 2


async def test_an_attempt_without_aligos_id_cannot_be_asked_about(dealer: Aligo, fake: FakeGateway) -> None:
    results = await dealer.lookup([attempt(1, None), attempt(2, "4001", to="")])
    assert [type(result) for result in results] == [StillUnknown] * 2
    assert fake.requests == []


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(CUT, id="cut"),
        pytest.param(Reply(503), id="503"),
        pytest.param(Reply(raw=b"<html>"), id="page"),
        pytest.param(Reply(json={"code": -101, "message": "인증오류입니다."}), id="key"),
        pytest.param(Reply(json={"code": 0, "message": ""}), id="no-list"),
        pytest.param(detail({"phone": ["x"]}), id="no-row"),
    ],
)
async def test_a_lookup_that_fails_tells_nothing(dealer: Aligo, fake: FakeGateway, trouble: Reply) -> None:
    fake.on(DETAIL, trouble)
    results = await dealer.lookup([attempt(n, f"40{n:02}") for n in range(20)])
    assert [type(result) for result in results] == [StillUnknown] * 20
    assert len(fake.requests) <= 4  # those that were under way together


# -- account -----------------------------------------------------------------------------------------------------


async def test_the_account_is_checked_by_its_channels(dealer: Aligo, fake: FakeGateway) -> None:
    rows = [
        {"senderKey": "good", "status": "A", "profileStat": "A"},
        {"senderKey": "blocked", "status": "S", "profileStat": "B"},
    ]
    fake.on("POST /akv10/profile/list/", Reply(json={"code": 0, "message": "", "list": rows}))
    assert await dealer.check(["good", "blocked", "other"], ["0212345678"]) == [
        Checked("credentials", True),  # noqa: FBT003 - Checked(what, ok)
        Checked("good", True),  # noqa: FBT003 - likewise
        Checked("blocked", False, "status S, profileStat B"),  # noqa: FBT003 - likewise
        Checked("other", False, "not among the account's channels"),  # noqa: FBT003 - likewise
        Checked("0212345678", None, "Aligo has no call that lists sender numbers"),
    ]


@pytest.mark.parametrize(
    ("answer", "ok"), [(Reply(json={"code": -99, "message": "등록되지 않은 인증키 입니다."}), False), (CUT, None)]
)
async def test_a_wrong_key_is_told_from_a_dealer_that_is_away(
    dealer: Aligo,
    fake: FakeGateway,
    answer: Reply,
    ok: bool | None,  # noqa: FBT001 - parametrized
) -> None:
    fake.on("POST /akv10/profile/list/", answer)
    checks = await dealer.check(["good"], [])
    assert [one.ok for one in checks] == [ok, None]


async def test_counts_are_no_balance(dealer: Aligo) -> None:
    assert await dealer.balance_krw() is None
