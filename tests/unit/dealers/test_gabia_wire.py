from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, Ambiguous, Content, NotTaken, Outgoing, Refused, Text
from shared.dealers.codes import load_table
from shared.dealers.gabia import wire
from shared.dealers.gabia.gateway import refusal
from shared.dealers.http import Answer
from shared.ids import MessageId

MESSAGE = MessageId(UUID(int=7))
NUMBER = "01012345678"
ANSWERS = load_table("shared.dealers.gabia", "answers.csv")


def outgoing(content: Content, channel: Channel = Channel.SMS) -> Outgoing:
    return Outgoing(MESSAGE, 1, request_key(MESSAGE, channel, 1), channel, NUMBER, content)


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status, body if isinstance(body, bytes) else msgspec.json.encode(body))


def said(body: object) -> wire.Said:
    return wire.read_said(msgspec.json.encode(body))


def test_a_text_is_four_fields_and_an_lms_has_a_subject() -> None:
    short = dict(
        parse_qsl(wire.form_of(outgoing(Text("0212345678", "결제 100% & 감사\n합니다", subject="없음"))).decode())
    )
    assert short == {
        "phone": NUMBER,
        "callback": "0212345678",
        "message": "결제 100% & 감사\n합니다",
        "refkey": request_key(MESSAGE, Channel.SMS, 1),
    }
    long = outgoing(Text("0212345678", "결제되었습니다.", subject="결제 안내"), Channel.LMS)
    assert dict(parse_qsl(wire.form_of(long).decode()))["subject"] == "결제 안내"


@pytest.mark.parametrize(
    ("content", "channel", "reason", "named"),
    [
        pytest.param(Text("02", "축하 🎉"), Channel.SMS, "content_charset", "🎉 (U+1F389)", id="emoji"),
        pytest.param(Text("02", "\ud83d"), Channel.SMS, "content_charset", "U+D83D", id="half-a-character"),
        pytest.param(Text("02", "가" * 46), Channel.SMS, "content_too_long", "92 bytes", id="sms"),
        pytest.param(Text("02", "가" * 1001), Channel.LMS, "content_too_long", "2002 bytes", id="lms"),
        pytest.param(Text("02", "가", "가" * 21), Channel.LMS, "content_too_long", "42 bytes", id="subject"),
        pytest.param(Text("02", "가", None, ("1.jpg",)), Channel.LMS, "invalid_request", "images", id="images"),
        pytest.param(Text("02", "가"), Channel.MMS, "not_permitted", "mms", id="mms"),
        pytest.param(AlimTalk("K", "T", {}, "가"), Channel.ALIMTALK, "not_permitted", "alimtalk", id="alimtalk"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_named(
    content: Content, channel: Channel, reason: str, named: str
) -> None:  # fmt: skip
    with pytest.raises(wire.Unsendable) as caught:
        wire.form_of(outgoing(content, channel))
    assert caught.value.refusal.reason == reason
    assert named in caught.value.refusal.detail


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param({"INSERT_ID": 14086956, "AFTER_SMS_QTY": "999"}, "14086956", id="as-seen"),
        pytest.param({"INSERT_ID": "14086956"}, "14086956", id="as-text"),
        pytest.param({"INSERT_ID": f"9{NUMBER}"}, None, id="holds-the-number"),
        pytest.param({"INSERT_ID": True}, None, id="no-id"),
        pytest.param({"INSERT_ID": "1 2"}, None, id="not-a-number"),
        pytest.param({}, None, id="missing"),
        pytest.param([], None, id="no-object"),
    ],
)
def test_the_id_of_what_was_taken(data: object, expected: str | None) -> None:
    assert said({"code": "200", "data": data}).insert_id(NUMBER) == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        pytest.param(
            answer({"code": False, "message": "잘못된 번호 01012345678", "code_detail": "phone"}),
            Refused("unknown", "false", "phone - 잘못된 번호 (number)"),
            id="refused-in-words",
        ),
        pytest.param(answer({"code": False}, 400), Refused("unknown", "false", "not taken; "), id="with-400"),
        pytest.param(
            answer({"code": "token_verification_failed"}),
            NotTaken("dealer_unavailable", "token_verification_failed", "the token is not taken any more"),
            id="stale-token",
        ),
        pytest.param(answer(b"", 401), NotTaken("dealer_unavailable", "HTTP 401"), id="401"),
        pytest.param(answer(b"", 403), Refused("auth_failed", "HTTP 403"), id="403"),
        pytest.param(answer(b"", 429), NotTaken("rate_limited", "HTTP 429"), id="429"),
        pytest.param(answer({"code": "some_new_word"}), Ambiguous("answered some_new_word"), id="unknown-word"),
        pytest.param(answer({"code": "E000"}), Ambiguous("answered E000"), id="does-not-know-itself"),
        pytest.param(answer({"code": False}, 500), Ambiguous("answered false"), id="500"),
        pytest.param(answer({"code": False}, 408), Ambiguous("answered false"), id="408"),
        pytest.param(answer({"code": False}, 302), Ambiguous("answered false"), id="302"),
        pytest.param(answer(b"<html>"), Ambiguous("answered HTTP 200"), id="no-json"),
        pytest.param(answer(b"<html>", 404), Ambiguous("answered HTTP 404"), id="404-without-a-word"),
        pytest.param(answer({}), Ambiguous("answered HTTP 200"), id="no-code"),
    ],
)
def test_what_is_no_success_is_certain_only_where_gabia_says_so(
    given_: Answer, expected: Refused | NotTaken | Ambiguous
) -> None:
    result = refusal(given_, ANSWERS, NUMBER)
    match expected, result:
        case Refused(reason, code, detail), Refused():
            assert (result.reason, result.code) == (reason, code)
            assert result.detail.startswith(detail)
        case NotTaken(reason, code, detail), NotTaken():
            assert (result.reason, result.code) == (reason, code)
            assert result.detail.startswith(detail)
        case Ambiguous(detail), Ambiguous():
            assert result.detail.startswith(detail)
        case _:
            pytest.fail(f"{result}")


KEY = request_key(MESSAGE, Channel.SMS, 1)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"code": "200", "data": [{"CODE": "SUCC"}]}, [wire.Result("SUCC", "")], id="delivered"),
        pytest.param({"data": [{"CODE": "SUCC"}]}, [wire.Result("SUCC", "")], id="no-code-of-its-own"),
        pytest.param(
            {"code": "200", "data": [{"CODE": "FAIL", "MESG": f"결번 {NUMBER}", "SMS_REFKEY": KEY}]},
            [wire.Result("FAIL", "결번 (number)")],
            id="failed",
        ),
        pytest.param({"code": "200", "data": [{"CODE": ""}]}, [wire.Result("", "")], id="not-yet"),
        pytest.param({"code": "200", "data": []}, [], id="nothing"),
        pytest.param({"code": "200", "data": None}, [], id="null"),
        pytest.param({"data": []}, None, id="nothing-and-no-code"),
        pytest.param({"code": False, "data": []}, None, id="an-error-with-a-list"),
        pytest.param({"code": False}, None, id="an-error"),
        pytest.param({"code": "200", "data": {}}, None, id="no-list"),
        pytest.param({"code": "200", "data": ["SUCC"]}, None, id="no-items"),
        pytest.param({"code": "200", "data": [{"CODE": "SUCC", "SMS_REFKEY": "other"}]}, None, id="anothers"),
    ],
)
def test_only_a_search_that_worked_says_that_there_is_nothing(body: Any, expected: list[wire.Result] | None) -> None:  # noqa: ANN401 - JSON
    assert wire.read_results(said(body), KEY, NUMBER) == expected


@given(st.text(max_size=60))
def test_no_code_or_words_of_gabias_carry_a_number(text: str) -> None:
    body = {"code": text + NUMBER, "message": text + NUMBER, "data": [{"CODE": text + NUMBER, "MESG": NUMBER + text}]}
    read = said(body)
    assert NUMBER not in read.word
    assert NUMBER not in read.detail(NUMBER)
    assert read.detail(NUMBER).isprintable()
    results = wire.read_results(said({**body, "code": "200"}), KEY, NUMBER) or ()
    assert all(NUMBER not in result.code + result.detail for result in results)


@given(st.binary(max_size=80) | st.sampled_from([b"[" * 5000, b'{"code":' * 3000, b"\xff", b"null", b"1"]))
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    with suppress(wire.Unreadable):
        wire.read_said(body)
    wire.read_token(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"access_token": "T", "expires_in": 3600, "token_type": "bearer"}, ("T", 3600), id="as-seen"),
        pytest.param({"access_token": "T"}, ("T", 3600), id="no-end"),
        pytest.param({"access_token": "T", "expires_in": -1}, ("T", 3600), id="ended"),
        pytest.param({"access_token": "T", "expires_in": 10**12}, ("T", 86_400), id="for-ever"),
        pytest.param({"access_token": "a b"}, None, id="no-token"),
        pytest.param({"message": "(현재 IP : 192.0.2.1)"}, None, id="refused"),
    ],
)
def test_tokens(body: object, expected: tuple[str, int] | None) -> None:
    assert wire.read_token(msgspec.json.encode(body)) == expected


def test_what_the_log_calls_anything_else_is_no_success() -> None:
    codes = load_table("shared.dealers.gabia")
    assert codes.read("SUCC").delivered is True
    assert codes.read("FAIL").delivered is False
    assert codes.read("succ").delivered is False
    assert not codes.read("WAIT").known
