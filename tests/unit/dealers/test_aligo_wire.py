"""What goes over Aligo's wires: requests, answers in two encodings, rows of results, and words of refusal."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.aligo import wire
from shared.dealers.aligo.adapter import Aligo
from shared.dealers.aligo.gateway import Gateway, Refusals
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    Content,
    Item,
    Links,
    Outgoing,
    QuickReply,
    Refused,
    Text,
)
from shared.dealers.codes import load_table
from shared.ids import MessageId

PLAIN = AlimTalk("SENDERKEY", "TA1234", {"이름": "봉수"}, "봉수님, 주문이 결제되었습니다.", sender="0212345678")
SMS = Text("0212345678", "안녕하세요")
REFUSALS = Refusals(
    "aligo", load_table("shared.dealers.aligo", "answers.csv"), load_table("shared.dealers.aligo", "messages.csv")
)


def outgoing(
    n: int, content: Content = PLAIN, *, to: str | None = None, channel: Channel = Channel.ALIMTALK
) -> Outgoing:
    return Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", channel, to or f"0101234{n:04}", content)


def calls(*batch: Outgoing) -> list[wire.Call]:
    return list(wire.calls_of(dict(enumerate(batch))))


# -- out ---------------------------------------------------------------------------------------------------------


def test_the_dealers_own_failover_is_off_and_test_mode_never_on() -> None:
    [call] = calls(outgoing(1), outgoing(2))
    assert ("failover", "N") in call.fields
    assert not [name for name, _ in call.fields if "test" in name.lower() or name.startswith(("fsubject", "fmessage"))]


def test_the_request_key_is_the_internal_title() -> None:
    [call] = calls(outgoing(7))
    assert dict(call.fields)["subject_1"] == "key7"


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["T1", "T2"])), max_size=30))
def test_a_request_has_one_template_and_every_number_once(wanted: list[tuple[int, str]]) -> None:
    batch = [
        outgoing(n, replace(PLAIN, template_code=code), to=f"0101234000{to}") for n, (to, code) in enumerate(wanted)
    ]
    made = calls(*batch)
    assert sorted(place for call in made for place in call.places) == list(range(len(batch)))
    for call in made:
        assert [batch[place] for place in call.places] == list(call.batch)
        assert max(Counter(one.to for one in call.batch).values()) == 1
        assert len({one.content.template_code for one in call.batch if isinstance(one.content, AlimTalk)}) == 1
    for to in {one.to for one in batch}:  # one person's messages leave in their order
        order = [place for call in made for place, one in zip(call.places, call.batch, strict=True) if one.to == to]
        assert order == sorted(order)


def test_a_number_that_is_none_of_a_mobile_goes_alone() -> None:
    made = calls(outgoing(1), outgoing(2, to="05012345678"), outgoing(3))
    assert [[one.request_key for one in call.batch] for call in made] == [["key1", "key3"], ["key2"]]


def test_a_request_takes_500() -> None:
    assert [len(call.batch) for call in calls(*(outgoing(n) for n in range(1001)))] == [500, 500, 1]


def test_equal_texts_go_as_one_text_and_others_as_many() -> None:
    def text(n: int, words: str) -> Outgoing:
        return outgoing(n, replace(SMS, text=words), channel=Channel.SMS)

    [equal] = calls(text(1, "가"), text(2, "가"))
    assert equal.path == ("send", "")
    assert dict(equal.fields) == {
        "sender": "0212345678",
        "msg_type": "SMS",
        "receiver": "01012340001,01012340002",
        "msg": "가",
    }
    [different] = calls(text(1, "가"), text(2, "나"))
    assert different.path == ("send_mass", "")
    assert dict(different.fields) == {
        "sender": "0212345678",
        "msg_type": "SMS",
        "cnt": "2",
        "rec_1": "01012340001",
        "msg_1": "가",
        "rec_2": "01012340002",
        "msg_2": "나",
    }


def test_texts_of_two_senders_or_subjects_do_not_share_a_request() -> None:
    long = Text("0212345678", "긴 글", subject="제목")
    made = calls(
        outgoing(1, long, channel=Channel.LMS),
        outgoing(2, replace(long, subject="다른 제목"), channel=Channel.LMS),
        outgoing(3, replace(long, sender="15441234"), channel=Channel.LMS),
    )
    assert [dict(call.fields)["title"] for call in made] == ["제목", "다른 제목", "제목"]
    assert {dict(call.fields)["msg_type"] for call in made} == {"LMS"}


def test_a_button_says_what_is_set_by_the_names_of_sending() -> None:
    buttons = (
        Button("AC", "채널 추가"),
        Button("WL", "보기", "https://m.example/1", "https://example/1"),
        Button("AL", "앱", scheme_android="shop://1", scheme_ios="shop://2"),
    )
    [call] = calls(outgoing(1, replace(PLAIN, buttons=buttons, title="결제 완료")))
    assert dict(call.fields)["emtitle_1"] == "결제 완료"
    assert msgspec.json.decode(dict(call.fields)["button_1"]) == {
        "button": [
            {"name": "채널 추가", "linkType": "AC", "linkTypeName": "채널 추가"},
            {
                "name": "보기",
                "linkType": "WL",
                "linkTypeName": "웹링크",
                "linkMo": "https://m.example/1",
                "linkPc": "https://example/1",
            },
            {
                "name": "앱",
                "linkType": "AL",
                "linkTypeName": "앱링크",
                "linkIos": "shop://2",
                "linkAnd": "shop://1",
            },
        ]
    }


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"header": "머리"}, "header"),
        ({"highlight": Item("a", "b")}, "highlight"),
        ({"items": (Item("a", "b"),)}, "items"),
        ({"summary": Item("a", "b")}, "summary"),
        ({"link": Links("https://example")}, "link"),
        ({"quick_replies": (QuickReply("BK", "네"),)}, "quick_replies"),
        ({"buttons": (Button("BC", "상담"),)}, "BC"),
        ({"buttons": (Button("TN", "전화 연결", phone="0212345678"),)}, "TN"),
        ({"sender": None}, "sender"),
    ],
)
def test_content_without_a_field_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    refusal = wire.refusal_of(outgoing(1, replace(PLAIN, **changes)))
    assert refusal is not None
    assert refusal.reason == "invalid_request"
    assert named in refusal.detail


@pytest.mark.parametrize(
    ("content", "channel", "reason"),
    [
        pytest.param(replace(PLAIN, text="가" * 1001), Channel.ALIMTALK, "content_too_long", id="alimtalk"),
        pytest.param(replace(PLAIN, text="\ud83d"), Channel.ALIMTALK, "content_charset", id="surrogate"),
        pytest.param(replace(SMS, text="가" * 46), Channel.SMS, "content_too_long", id="sms"),
        pytest.param(replace(SMS, text="가" * 1001), Channel.LMS, "content_too_long", id="lms"),
        pytest.param(replace(SMS, subject="가" * 23), Channel.LMS, "content_too_long", id="subject"),
        pytest.param(replace(SMS, text="감사합니다 😀"), Channel.SMS, "content_charset", id="emoji"),
        pytest.param(replace(SMS, text="%고객명%님"), Channel.SMS, "invalid_request", id="substituted"),
        pytest.param(replace(SMS, images=("x",)), Channel.MMS, "invalid_request", id="mms"),
        pytest.param(BrandMessage("K", "광고"), Channel.FRIENDTALK, "not_permitted", id="brand"),
    ],
)
def test_what_aligo_would_cut_or_garble_is_refused(content: Content, channel: Channel, reason: str) -> None:
    refusal = wire.refusal_of(outgoing(1, content, channel=channel))
    assert refusal is not None
    assert refusal.reason == reason


def test_the_character_that_no_carrier_brings_is_named() -> None:
    refusal = wire.refusal_of(outgoing(1, replace(SMS, text="a😀b❤"), channel=Channel.SMS))
    assert refusal is not None
    assert "😀 (U+1F600)" in refusal.detail


@pytest.mark.parametrize("content", [PLAIN, replace(PLAIN, text="가" * 1000), replace(PLAIN, has_image=True)])
def test_what_fits_is_not_refused(content: AlimTalk) -> None:
    assert wire.refusal_of(outgoing(1, content)) is None
    assert wire.refusal_of(outgoing(1, replace(SMS, text="똠" * 45), channel=Channel.SMS)) is None  # 2 bytes in cp949
    assert wire.refusal_of(outgoing(1, replace(SMS, subject="가" * 22), channel=Channel.LMS)) is None


# -- in ----------------------------------------------------------------------------------------------------------

ANSWER = '{"result_code":"1","message":"성공했습니다","msg_id":123,"success_cnt":"2","error_cnt":0}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_an_answer_is_read_in_either_encoding(encoding: str) -> None:
    reply = wire.read_reply(ANSWER.encode(encoding))
    assert (reply.code, reply.message) == (1, "성공했습니다")
    assert wire.read_text_receipt(reply) == wire.Receipt("123", 2, 0)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"message":"x"}', b'{"code":true}', b'{"code":"x"}', b'{"code":1', b"\xff"],
)
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(wire.Unreadable):
        wire.read_reply(body)


@given(st.binary())
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    try:
        reply = wire.read_reply(body)
    except wire.Unreadable:
        return
    assert isinstance(reply.code, int)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["msgid", "phone", "rslt", "rslt_message", "rsltdate"]), _JSON))
def test_any_row_of_alimtalks_is_read_or_unreadable(row: dict[str, Any]) -> None:
    try:
        read = wire.read_alimtalk_row(row)
    except wire.Unreadable:
        return
    assert read.code.isascii()
    assert 0 < len(read.code) <= 16
    if load_table("shared.dealers.aligo").read(read.code, Channel.ALIMTALK).delivered:
        assert str(row["rslt"]).strip() in {"0", "0000"}


@given(st.dictionaries(st.sampled_from(["receiver", "sms_state", "rslt", "send_date"]), _JSON))
def test_any_row_of_texts_is_read_or_unreadable(row: dict[str, Any]) -> None:
    try:
        read = wire.read_text_row(row)
    except wire.Unreadable:
        return
    assert read.code.isascii()
    assert 0 < len(read.code) <= 16
    if load_table("shared.dealers.aligo").read(read.code, Channel.SMS).delivered:
        assert str(row.get("rslt")).strip() in {"0", "done"} or row["sms_state"].strip() in {"발송완료", "전송완료"}


@pytest.fixture
def aligo() -> Aligo:
    return Aligo("aligo", Gateway("http://x", "http://y", apikey="a", userid="b", timeout_seconds=1), batch=500)


@pytest.mark.parametrize(
    ("row", "delivered", "reason"),
    [
        pytest.param({"msgid": "1", "rslt": "0", "rslt_message": ""}, True, None, id="delivered"),
        pytest.param({"msgid": "1", "rslt": 0, "rslt_message": None}, True, None, id="number"),
        pytest.param({"msgid": "1", "rslt": "0000", "rslt_message": "성공"}, True, None, id="0000"),
        pytest.param({"msgid": "Q1", "rslt": "0"}, None, None, id="still-being-sent"),
        pytest.param({"msgid": "1", "rslt": ""}, None, None, id="no-result"),
        pytest.param({"msgid": "1", "rslt": "0", "rslt_message": "실패"}, None, None, id="contradiction"),
        pytest.param({"msgid": "1", "rslt": "U"}, False, "template_mismatch", id="mismatch"),
        pytest.param({"msgid": "1", "rslt": "A"}, False, "not_kakao_user", id="capital"),
        pytest.param({"msgid": "1", "rslt": "a"}, False, "no_balance", id="small"),
        pytest.param({"msgid": "1", "rslt": "5"}, None, "delivery_uncertain", id="unconfirmed"),
        pytest.param({"msgid": "1", "rslt": "Z"}, False, "unknown", id="new-letter"),
        pytest.param({"msgid": "1", "rslt": "1234"}, None, None, id="new-code"),
        pytest.param({"msgid": "1", "rslt": "성공"}, None, None, id="no-code"),
    ],
)
def test_a_result_of_an_alimtalk(aligo: Aligo, row: dict[str, Any], delivered: bool | None, reason: str | None) -> None:  # noqa: FBT001 - parametrized
    meaning = aligo.meaning(wire.read_alimtalk_row(row).code, Channel.ALIMTALK)
    assert (meaning.delivered, meaning.reason) == (delivered, reason)


@pytest.mark.parametrize(
    ("row", "delivered", "reason"),
    [
        ({"sms_state": "발송완료"}, True, None),
        ({"sms_state": "전송중"}, None, None),
        ({"sms_state": ""}, None, None),
        ({"sms_state": "발송실패(결번)"}, False, "unknown"),
        ({"sms_state": "알 수 없는 상태"}, None, None),
        ({"sms_state": "발송완료", "rslt": "E"}, False, "handset_unreachable"),
        ({"rslt": "A"}, False, "handset_unreachable"),
    ],
)
def test_a_result_of_a_text(aligo: Aligo, row: dict[str, Any], delivered: bool | None, reason: str | None) -> None:  # noqa: FBT001 - parametrized
    meaning = aligo.meaning(wire.read_text_row(row).code, Channel.SMS)
    assert (meaning.delivered, meaning.reason) == (delivered, reason)


def test_a_moment_is_in_seoul() -> None:
    row = wire.read_alimtalk_row({"phone": "010-1234-5678", "rslt": "0", "rsltdate": "2026-11-23 09:00:05"})
    assert row.at == datetime(2026, 11, 23, 0, 0, 5, tzinfo=UTC)
    assert row.to == "01012345678"
    assert wire.read_alimtalk_row({"rsltdate": "0000-00-00 00:00:00"}).at is None


@pytest.mark.parametrize("number", ["010-1234-5678", "+82 10-1234-5678", "821012345678", "+82 010 1234 5678"])
def test_numbers_are_compared_as_we_write_them(number: str) -> None:
    assert wire.national(number) == "01012345678"


@pytest.mark.parametrize("value", ["01012345678", "", None, True, "a b", "x" * 41, "한글", 1.5, ["1"]])
def test_no_id_that_may_be_a_phone_number_or_cannot_be_kept(value: object) -> None:
    assert wire.request_id(value) is None


@pytest.mark.parametrize(
    ("code", "message", "channel", "reason"),
    [
        (-99, "포인트가 부족합니다.", Channel.ALIMTALK, "no_balance"),
        (-99, "등록되지 않은 인증키 입니다.", Channel.ALIMTALK, "auth_failed"),
        (-99, "인증오류입니다.", Channel.ALIMTALK, "auth_failed"),
        (-101, "인증오류입니다.", Channel.ALIMTALK, "auth_failed"),
        (-99, "발신 프로파일 키(=senderkey)파라메더 정보가 전달되지 않았습니다.", Channel.ALIMTALK, "invalid_request"),
        (-99, "계정 아이디(=userid) 파라메더 정보가 전달되지 않았습니다.", Channel.ALIMTALK, "invalid_request"),
        (-99, "등록되지 않은 발신번호 입니다.", Channel.SMS, "sender_number_unregistered"),
        (-102, "등록되지 않은 발신번호 입니다.", Channel.SMS, "sender_number_unregistered"),
        (-201, "", Channel.LMS, "no_balance"),
        (-99, "메시지가 템플릿과 일치하지않음", Channel.ALIMTALK, "template_mismatch"),
        (-99, "템플릿이 존재하지 않습니다.", Channel.ALIMTALK, "template_not_found"),
        (-99, "처음 보는 문구", Channel.ALIMTALK, "unknown"),
        (509, "요청한 번호가 카카오채널 관리자 알림 설정 되어있는지 확인해주세요.", Channel.ALIMTALK, "unknown"),
    ],
)
def test_a_refusal_is_read_by_its_words_first(code: int, message: str, channel: Channel, reason: str) -> None:
    refused = REFUSALS.of(wire.Reply(code, message, {}), channel)
    assert refused == Refused(reason, str(code), refused.detail)


def test_words_of_aligo_show_no_phone_number() -> None:
    reply = wire.read_reply('{"code":-99,"message":"수신번호 010-1234-5678 오류 01012345678"}'.encode())
    assert reply.message == "수신번호 ... 오류 ..."
