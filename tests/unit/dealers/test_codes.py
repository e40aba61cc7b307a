from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.codes import REASONS, BadTable, Meaning, load_table, read_table

HEAD = "code,channel,outcome,reason,text,source"


def test_a_line_for_a_channel_stands_before_the_line_for_all() -> None:
    table = read_table([HEAD, "3012,*,failed,carrier_error,carrier,spec", "3012,alimtalk,failed,duplicate,twice,spec"])
    assert table.read("3012", Channel.ALIMTALK) == Meaning(delivered=False, reason="duplicate", text="twice")
    assert table.reason("3012", Channel.SMS) == "carrier_error"
    assert table.reason("3012") == "carrier_error"


def test_a_line_may_stand_for_several_channels() -> None:
    table = read_table([HEAD, "3012,sms lms,failed,spam_blocked,spam,spec", "3012,mms,failed,unknown,other,spec"])
    assert {channel for (_, channel) in table.lines} == {Channel.SMS, Channel.LMS, Channel.MMS}
    with pytest.raises(BadTable, match="3012: stands twice for the channel lms"):
        read_table([HEAD, "3012,sms lms,failed,spam_blocked,t,s", "3012,lms,failed,unknown,t,s"])


@given(st.text(), st.sampled_from([None, *Channel]))
def test_an_unknown_code_is_never_a_success(code: str, channel: Channel | None) -> None:
    meaning = read_table([HEAD]).read(code, channel)
    assert meaning == Meaning(delivered=False, reason="unknown", known=False)


def test_a_success_gives_no_reason_to_fail() -> None:
    assert load_table("shared.dealers.solapi").read("4000").reason is None
    assert load_table("shared.dealers.solapi").reason("4000") == "unknown"  # asked for where only a failure can stand


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        pytest.param(["1,*,failed,nonsense,t,s"], "1: no such reason: 'nonsense'", id="reason"),
        pytest.param(["1,*,lost,,t,s"], "1: outcome 'lost'", id="outcome"),
        pytest.param(["1,*,failed,,t,s"], "1: a reason stands at a failure and nowhere else", id="no-reason"),
        pytest.param(["1,*,pending,unknown,t,s"], "1: a reason stands at a failure", id="pending"),
        pytest.param(["1,*,pending,,t,"], "1: no source", id="source"),
        pytest.param(["1,*,pending,,t,s", "1,*,delivered,,t,s"], "1: stands twice", id="twice"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(lines: list[str], complaint: str) -> None:
    with pytest.raises(BadTable, match=complaint):
        read_table([HEAD, *lines])


@pytest.mark.parametrize(
    ("code", "delivered", "reason"),
    [
        ("2000", None, None),
        ("3000", None, None),
        ("4000", True, None),
        ("1031", False, "content_too_long"),
        ("1062", False, "sender_number_unregistered"),
        ("2230", False, "no_balance"),
        ("3032", False, "no_subscriber"),
        ("3104", False, "not_kakao_user"),
        ("3107", False, "inactive_kakao_user"),
        ("3108", False, "night_ban"),
    ],
)
def test_codes_of_solapi(code: str, delivered: bool | None, reason: str | None) -> None:  # noqa: FBT001 - a row
    meaning = load_table("shared.dealers.solapi").read(code, Channel.ALIMTALK)
    assert (meaning.delivered, meaning.reason) == (delivered, reason)


def test_only_4000_is_a_delivery_at_solapi() -> None:
    lines = load_table("shared.dealers.solapi").lines
    assert [code for (code, _), meaning in lines.items() if meaning.delivered] == ["4000"]
    assert all(meaning.reason in REASONS for meaning in lines.values() if meaning.delivered is False)
