from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import AlimTalk, Outgoing
from shared.dealers.nhn import answers
from shared.dealers.nhn.gateway import code_of, scrubbed
from shared.ids import MessageId

REQUEST = "20261123090000ReZQ6KZzAH0"


def outgoing(n: int) -> Outgoing:
    message = MessageId(UUID(int=n))
    key = request_key(message, Channel.ALIMTALK, 1)
    return Outgoing(message, 1, key, Channel.ALIMTALK, f"0101234{n:04}", AlimTalk("S", "T", {}, "글"))


BATCH = [outgoing(1), outgoing(2)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["recipientSeq", "recipientNo", "resultCode", "recipientGroupingKey", "requestId", "messageStatus", "msgStatus"]
)
VALUES = JSON | st.sampled_from([0, 1, 2, "0", REQUEST, *(m.request_key for m in BATCH), *(m.to for m in BATCH)])
ITEMS = st.lists(st.dictionaries(FIELDS, VALUES) | JSON, max_size=5)


def encoded(value: object) -> bytes:
    """Return JSON with whatever numbers it has."""
    with suppress(OverflowError):
        return msgspec.json.encode(value)
    return b'{"header":{},"body":{"data":[{"recipientSeq":%d}]}}' % 10**40


@given(JSON, ITEMS, VALUES)
def test_no_answer_breaks_the_reading_of_results(other: object, items: list[object], request_id: object) -> None:
    told = {"requestId": request_id, "sendResults": items, "sendResultList": items}
    for body in (other, {"message": told}, {"body": {"data": told}}, {"message": other}):
        for result in answers.results_of(encoded(body), BATCH).values():
            assert result.code
            assert result.id is None or answers.parts_of(result.id) is not None


@given(JSON, ITEMS)
def test_no_list_breaks_the_reading_of_messages(other: object, items: list[object]) -> None:
    for body in (
        other,
        {"messageSearchResultResponse": {"messages": items, "totalCount": other}},
        {"body": {"data": items, "totalCount": other}},
    ):
        with suppress(answers.Unreadable):
            records, total = answers.records_of(encoded(body))
            assert len(records) <= total
            for record in records:
                assert record.id or record.request_key
        with suppress(answers.Unreadable):
            answers.single_of(encoded(body))


def test_numbers_too_large_to_write_again_are_read() -> None:
    item = b'{"requestId":"R","recipientSeq":1,"extra":%d}' % 10**40
    [record], _ = answers.records_of(b'{"body":{"data":[' + item + b"]}}")
    assert record.id == "R/1"


@given(st.text(), st.integers())
def test_an_id_is_read_back_as_it_was_written(request_id: str, seq: int) -> None:
    written = answers.message_id(request_id, seq)
    if written is None:
        assert answers.parts_of(f"{request_id}/{seq}") is None
    else:
        assert answers.parts_of(written) == (request_id, seq)


@pytest.mark.parametrize("text", [None, "", "2026-11-23", "yesterday", "0001-01-01 00:00:00", "9999-12-31 23:59:59", 7])
def test_what_is_no_moment(text: object) -> None:
    assert answers.moment(text) is None


@pytest.mark.parametrize(
    "text", ["2026-11-23 09:00", "2026-11-23 09:00:00", "2026-11-23 09:00:00.0", "2026-11-23T09:00:00"]
)
def test_moments_are_seouls(text: str) -> None:
    moment = answers.moment(text)
    assert moment is not None
    assert moment.astimezone(UTC).isoformat() == "2026-11-23T00:00:00+00:00"


@pytest.mark.parametrize(
    ("value", "code"),
    [(0, "0"), (-1000, "-1000"), ("1000", "1000"), ("E915", "E915"), (True, ""), (1.5, ""), ("a b", ""), (10**40, "")],
)
def test_codes(value: object, code: str) -> None:
    assert code_of(value) == code


def test_words_are_repeated_without_numbers_of_phones() -> None:
    assert scrubbed("RecipientNo 010-1234-5678 is invalid.") == "RecipientNo … is invalid."
    assert scrubbed("The max recipient size is 1000.") == "The max recipient size is 1000."
