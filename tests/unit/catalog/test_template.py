from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.catalog.template import Template, alimtalk, cut, text_message, variables_of
from shared.catalog.wording import TooLong, render
from shared.contracts.states import Channel
from shared.text import byte_length, carry, uncarried

BUTTON = {"kind": "WL", "name": "보기", "url_mobile": "https://shop.example.kr/orders/#{번호}"}


def template(**changed: object) -> Template:
    body: dict[str, Any] = {
        "code": "T-1",
        "text": "[상점] #{이름}님",
        "buttons": [BUTTON],
        "text_message": "#{이름}님 #{번호}",
        "subject": "[상점] #{이름}",
    }
    return Template.model_validate({**body, **changed})


def test_variables_stand_once_each_in_order() -> None:
    assert variables_of(template(text_message="#{이름} #{금액}")) == ("이름", "번호", "금액")


def test_an_alimtalk_is_rendered_as_the_dealer_knows_it() -> None:
    content = alimtalk(template(codes={"solapi": "KA01"}), "solapi", "key", {"이름": "봉수", "번호": "7"})
    assert (content.template_code, content.text) == ("KA01", "[상점] 봉수님")
    assert content.buttons[0].url_mobile == "https://shop.example.kr/orders/7"
    assert alimtalk(template(), "solapi", "key", {"이름": "봉수", "번호": "7"}).template_code == "T-1"


def test_a_value_is_never_read_as_a_variable() -> None:
    assert render("#{a}#{b}", {"a": "#{b}", "b": "x"}) == "#{b}x"


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1000, None), (1001, TooLong)],
)
def test_an_alimtalk_has_a_thousand_characters(length: int, expected: type[Exception] | None) -> None:
    values = {"이름": "😀" * (length - len("[상점] 님")), "번호": "7"}
    if expected is None:
        assert len(alimtalk(template(), "d", "k", values).text) == length
    else:
        with pytest.raises(expected):
            alimtalk(template(), "d", "k", values)


@pytest.mark.parametrize(
    ("name", "channel", "subject"),
    [
        pytest.param("가" * 42, Channel.SMS, None, id="90-bytes"),
        pytest.param("가" * 42 + "a", Channel.LMS, "[상점] " + "가" * 16, id="91-bytes"),
        pytest.param("똠" * 42, Channel.SMS, None, id="hangul-outside-ks-x-1001-is-two-bytes"),
    ],
)
def test_a_text_is_an_sms_up_to_90_bytes(name: str, channel: Channel, subject: str | None) -> None:
    found, content = text_message(template(), "02", {"이름": name, "번호": "777"})
    assert byte_length(content.text) == (90 if channel is Channel.SMS else 91)
    assert (found, content.subject) == (channel, subject)


def test_a_text_over_2000_bytes_is_too_long() -> None:
    with pytest.raises(TooLong) as refused:
        text_message(template(), "02", {"이름": "가" * 1000, "번호": "7"})
    assert refused.value.channel is Channel.LMS


@pytest.mark.parametrize(
    ("written", "carried"),
    [
        ("가 — 나", "가 - 나"),
        ("₩1,000", "원1,000"),
        ("•\u00a0하나", "· 하나"),
        ("\u200b봉수\ufe0f", "봉수"),
        ("José 😀", "Jose "),
        ("ก", "?"),
        ("… ※ ★ ☎ ♥ ㈜", "… ※ ★ ☎ ♥ ㈜"),
    ],
)
def test_what_no_carrier_brings_is_replaced(written: str, carried: str) -> None:
    assert carry(written) == carried


@given(st.text())
def test_whatever_is_written_is_carried(written: str) -> None:
    assert uncarried(carry(written)) == []
    assert carry(carry(written)) == carry(written)


@given(st.text(alphabet="가나a ", max_size=60), st.integers(0, 60))
def test_a_cut_is_never_half_a_character(text: str, limit: int) -> None:
    shorter = cut(text, limit)
    assert text.startswith(shorter)
    assert byte_length(shorter) <= limit
    assert shorter == text or byte_length(shorter) >= limit - 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"text": "#{이름} #{번호}!"}, "variables only", id="nothing-but-variables"),
        pytest.param({"text": "이름 #{이름"}, "closed", id="open"),
        pytest.param({"text": "이름 ${이름}"}, "#{name}", id="another-syntax"),
        pytest.param({"text": "이름 #{}"}, "no variable", id="empty"),
        pytest.param({"text": "이름 #{a.b}"}, "no dot", id="dot"),
        pytest.param({"text": "이름 #{a#{b}}"}, "closed", id="nested"),
        pytest.param({"text": "가" * 1001}, "1,001 characters", id="too-long"),
        pytest.param({"text": "글 " + " ".join(f"#{{v{n}}}" for n in range(41))}, "40 variables", id="too-many"),
        pytest.param({"text_message": "축하 🎉"}, "U+1F389", id="emoji-in-a-text"),
        pytest.param({"text_message": "가" * 1001}, "2,002 bytes", id="text-too-long"),
        pytest.param({"buttons": [{**BUTTON, "name": "#{이름} 보기"}]}, "no variable here", id="button-name"),
        pytest.param({"buttons": [{**BUTTON, "name": "가" * 15}]}, "at most 14", id="button-name-long"),
        pytest.param({"buttons": [{**BUTTON, "url_mobile": "#{url}"}]}, "host without variables", id="no-host"),
        pytest.param({"buttons": [{**BUTTON, "url_mobile": "shop.kr"}]}, "http://", id="no-scheme"),
        pytest.param({"buttons": [{"kind": "WL", "name": "보기"}]}, "url_mobile", id="no-link"),
        pytest.param({"buttons": [{"kind": "AL", "name": "보기", "scheme_ios": "a://b"}]}, "two of", id="app-link"),
        pytest.param({"buttons": [BUTTON] * 6}, "at most 5", id="six-buttons"),
        pytest.param({"examples": {"다른": "x"}}, "stands nowhere", id="example-of-nothing"),
        pytest.param({"colour": "red"}, "Extra inputs", id="unknown-key"),
    ],
)
def test_what_kakao_would_refuse_is_refused_first(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        template(**changed)
