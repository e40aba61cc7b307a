from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, Outgoing, Text
from shared.dealers.solapi import wire
from shared.dealers.solapi.content import message_of
from shared.dealers.solapi.gateway import Answer, code_of, error_code_of, signature
from shared.ids import MessageId


def outgoing(n: int, text: str = "안녕하세요") -> Outgoing:
    return Outgoing(MessageId(UUID(int=n)), 1, f"key-{n}", Channel.LMS, "01012345678", Text("0212345678", text))


def test_the_signature_of_the_sdk() -> None:
    # computed by solapi 5.0.3, Authenticator.get_signature("SECRET", date + salt)
    header = signature("KEY", "SECRET", date="2019-07-01T00:41:48Z", salt="jqsba2jxjnrjor")
    assert header == (
        "HMAC-SHA256 apiKey=KEY, date=2019-07-01T00:41:48Z, salt=jqsba2jxjnrjor, "
        "signature=669c9fb6acda414922dec17b603459be1dfb7dcb12f81c68e78cbd2f06ca9028"
    )


@given(st.lists(st.text(max_size=50), max_size=40), st.integers(200, 2000))
def test_requests_hold_every_message_once_and_in_order(texts: list[str], max_bytes: int) -> None:
    batch = [outgoing(n, text) for n, text in enumerate(texts)]
    encoded = [(one, wire.encode(one)) for one in batch]
    requests = list(wire.requests_of(encoded, max_bytes=max_bytes))
    assert [one for some, _ in requests for one in some] == batch
    for some, body in requests:
        assert len(body) <= max_bytes or len(some) == 1
        keys = [message["customFields"]["bongsu_key"] for message in msgspec.json.decode(body)["messages"]]
        assert keys == [one.request_key for one in some]


def test_a_request_holds_at_most_10_000_recipients() -> None:
    encoded = [(outgoing(n), b"{}") for n in range(10_001)]
    assert [len(some) for some, _ in wire.requests_of(encoded)] == [10_000, 1]


def test_an_sms_has_no_subject() -> None:
    content = Text("0212345678", "안녕", subject="제목")
    sms = Outgoing(MessageId(UUID(int=1)), 1, "k", Channel.SMS, "01012345678", content)
    assert "subject" not in message_of(sms)  # SOLAPI refuses it: 1013


def test_an_alimtalk_without_variables_still_asks_solapi_to_render() -> None:
    content = AlimTalk("KA01PF1", "KA01TP1", {}, "고정")
    message = message_of(Outgoing(MessageId(UUID(int=1)), 1, "k", Channel.ALIMTALK, "01012345678", content))
    assert message["kakaoOptions"] == {
        "pfId": "KA01PF1",
        "templateId": "KA01TP1",
        "variables": {},
        "disableSms": True,
    }
    assert "text" not in message
    assert "from" not in message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = "messageId statusCode type to customFields dateReceived dateReported data eventDataId".split()  # noqa: SIM905 - reads better


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_whatever_fields_hold_a_message_can_be_asked(fields: dict[str, Any]) -> None:
    try:
        message, event_id = wire.read_item(msgspec.Raw(msgspec.json.encode(fields)))
    except wire.Unreadable:
        return
    for identifier in (message.id, message.request_key, event_id):
        assert identifier is None or (identifier.isascii() and identifier.isprintable())
    assert message.code == "" or message.code.isalnum() or "_" in message.code
    assert message.at is None or message.at.tzinfo is not None
    assert message.number is None or message.number.isdigit() or message.number == ""
    assert message.channel in {None, *Channel}


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        pytest.param({"dateReceived": "2026-11-23T09:00:00.000Z", "dateReported": "x"}, 9, id="received"),
        pytest.param({"dateReceived": None, "dateReported": "2026-11-23T18:00:00+09:00"}, 9, id="reported"),
        pytest.param({"dateReceived": "2026-11-23 18:00:00"}, None, id="whose-time"),
        pytest.param({"dateReceived": 1}, None, id="no-date"),
    ],
)
def test_when_it_happened(dates: dict[str, object], expected: int | None) -> None:
    message = msgspec.json.decode(msgspec.json.encode(dates), type=wire.Message)
    assert message.at == (None if expected is None else datetime(2026, 11, 23, expected, tzinfo=UTC))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"errorCode": 5}', b'{"errorCode":"a b"}', b"[" * 9999])
def test_an_unreadable_error_has_no_code(body: bytes) -> None:
    answer = Answer(400, body)
    assert error_code_of(answer) == ""
    assert code_of(answer) == "HTTP 400"


@pytest.mark.parametrize(
    ("kind", "channel"),
    [
        ("ATA", Channel.ALIMTALK),
        ("MMS", Channel.MMS),
        ("BMS_FREE", Channel.FRIENDTALK),
        ("BMS_TEXT", Channel.FRIENDTALK),
        ("RCS_SMS", None),
        (7, None),
    ],
)
def test_the_channel_of_a_message_by_its_type(kind: object, channel: Channel | None) -> None:
    assert wire.Message(type=kind).channel is channel


@given(st.binary(max_size=60))
def test_answers_around_sending_are_read_or_unreadable(body: bytes) -> None:
    for read in (wire.read_file_id, wire.read_channel_id, wire.read_numbers):
        try:
            read(body)
        except wire.Unreadable:
            continue


def test_ids_of_files_are_fit_to_be_kept() -> None:
    assert wire.read_file_id(b'{"fileId":"ST01FZ260318012740594oism3eYSGkp"}') == "ST01FZ260318012740594oism3eYSGkp"
    for body in (b"{}", b'{"fileId":null}', b'{"fileId":"a b"}', b'{"fileId":"' + b"x" * 33 + b'"}'):
        with pytest.raises(wire.Unreadable):
            wire.read_file_id(body)
