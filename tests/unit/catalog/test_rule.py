from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.catalog import expressions
from shared.catalog.check import disagreements
from shared.catalog.durations import Hours, format_span, parse_span
from shared.catalog.expressions import compile_expression
from shared.catalog.rule import Rule
from shared.catalog.template import Template

EVENT = {
    "type": "order.paid",
    "data": {"order": {"id": "A-1", "total": 15000, "items": [{"name": "컵"}]}, "vip": False},
}


def rule(**changed: object) -> Rule:
    body: dict[str, Any] = {"name": "r", "on": "order.paid", "send": {"template": "T"}}
    return Rule.model_validate({**body, **changed})


@pytest.mark.parametrize(
    ("written", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("1h30m", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("PT10M", timedelta(minutes=10)),
        ("P1DT2H", timedelta(hours=26)),
    ],
)
def test_spans_are_read(written: str, span: timedelta) -> None:
    assert parse_span(written) == span


@pytest.mark.parametrize("written", ["", "10", "m", "ten minutes", "-5m", "P", "PT", "1m1h", "1.5h"])
def test_what_is_no_span_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="span"):
        parse_span(written)


@given(st.integers(0, 10**7))
def test_a_span_written_is_read_again(seconds: int) -> None:
    assert parse_span(format_span(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


def test_a_rule_written_is_read_again() -> None:
    first = rule(at={"after": "10m", "between": "09:00-20:00"}, deadline="6h", when="data.order.total > `0`")
    assert Rule.model_validate(first.model_dump(mode="json")) == first
    assert str(Hours.model_validate("22:00-06:00")) == "22:00-06:00"


@pytest.mark.parametrize(
    ("lane", "valid_for"),
    [("auth", timedelta(minutes=3)), ("normal", timedelta(hours=24)), ("mass", timedelta(hours=24))],
)
def test_a_deadline_is_by_the_lane_unless_said(lane: str, valid_for: timedelta) -> None:
    assert rule(send={"template": "T", "lane": lane}).valid_for == valid_for
    assert rule(send={"template": "T", "lane": lane}, deadline="1h").valid_for == timedelta(hours=1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"whenn": "x"}, "Extra inputs", id="unknown-key"),
        pytest.param({"when": "data..x"}, "not JMESPath", id="bad-condition"),
        pytest.param({"when": "shout(data)"}, "no function shout", id="unknown-function"),
        pytest.param({"when": "data[?loud(@)]"}, "no function loud", id="unknown-function-within"),
        pytest.param({"send": {"template": "T", "variables": {"이름": "data.["}}}, "이름: not JMESPath", id="variable"),
        pytest.param({"at": "later"}, "now", id="at-is-no-word"),
        pytest.param({"at": {"between": "9-20"}}, "09:00-20:00", id="hours"),
        pytest.param({"at": {"between": "09:00-09:00"}}, "different times", id="hours-of-nothing"),
        pytest.param({"deadline": "0s"}, "longer than nothing", id="no-time"),
        pytest.param({"send": {"template": "T", "lane": "auth"}, "at": {"after": "1m"}}, "goes now", id="slow-code"),
        pytest.param({"category": "spam"}, "informational", id="category"),
        pytest.param({"name": "한글"}, "pattern", id="name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rule(**changed)


@pytest.mark.parametrize(
    ("text", "found", "pointer"),
    [
        ("data.order.id", "A-1", "/data/order/id"),
        ("thousands(data.order.total)", "15,000", "/data/order/total"),
        ("data.order.name || '없음'", "없음", "/data/order/name"),
        ("data.order.items[0].name", "컵", "/data/order/items/0/name"),
        ('data."a/b"', None, "/data/a~1b"),
        ("thousands(data.order.id)", None, "/data/order/id"),
        ("data.order.id.more", None, "/data/order/id/more"),
        ("floor(to_number('inf'))", None, None),
        ("length(data.order.items)", 1, "/data/order/items"),
        ("data.order.items[*].name", ["컵"], None),
    ],
)
def test_an_expression_finds_and_tells_where(text: str, found: object, pointer: str | None) -> None:
    expression = compile_expression(text)
    assert expression.of(EVENT) == found
    assert expression.pointer() == pointer


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("data.order.total > `0`", True),
        ("data.order.total", True),
        ("`0`", True),  # JMESPath: a number is no falsehood
        ("data.vip", False),
        ("data.nothing", False),
        ("data.nothing > `0`", False),
        ("data.order.items[?name == 'x']", False),
    ],
)
def test_a_condition_holds_as_jmespath_says(text: str, holds: bool) -> None:  # noqa: FBT001 - a table
    assert compile_expression(text).holds(EVENT) is holds


names = st.text(alphabet="abc", min_size=1, max_size=3)
documents = st.recursive(st.none() | st.integers() | st.text(), lambda c: st.dictionaries(names, c, max_size=3))


paths = st.lists(names, min_size=1, max_size=3).map(".".join)
values = paths | st.sampled_from(["`0`", "`1`", "`true`", "`null`", "'a'", "`[0]`"])
calls = st.builds("{}({})".format, st.sampled_from(["thousands", "length", "to_string", "abs"]), values)
comparisons = st.builds("{} {} {}".format, values | calls, st.sampled_from(["==", "!=", "<"]), values | calls)


@given(
    values
    | calls
    | comparisons
    | st.builds("{} || {}".format, values, calls)
    | st.builds("not_null({}, {})".format, values, calls),
    documents,
)
def test_a_compiled_expression_finds_what_the_interpreter_finds(text: str, document: object) -> None:
    expression = compile_expression(text)
    interpreted = replace(expression, find=partial(expression.parsed.search, options=expressions.OPTIONS))
    found, expected = expression.of(document), interpreted.of(document)
    assert (found, type(found)) == (expected, type(expected))


def test_what_rules_are_full_of_is_compiled() -> None:
    for text in ("data.order.id", "thousands(data.order.total_krw)", "data.order.total_krw != `0`", "a || 'b'"):
        assert getattr(compile_expression(text).find, "func", None).__module__ == expressions.__name__


def test_rule_and_template_must_agree() -> None:
    one = Template.model_validate({"code": "T", "text": "글 #{a} #{b}"})
    wrong = rule(send={"template": "T", "variables": {"a": "x", "c": "y"}}, fallback="text")
    assert disagreements(wrong, {"T": one}) == [
        "send.variables: #{b} of the template 'T' is missing",
        "send.variables.c: the template 'T' has no #{c}",
        "fallback: the template 'T' has no text_message to fall back to",
    ]
    assert disagreements(wrong, {}) == ["send.template: there is no template 'T'"]
