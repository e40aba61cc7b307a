from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.catalog import expressions
from shared.catalog.check import disagreements
from shared.catalog.durations import Hours, format_span, parse_span, read_moment
from shared.catalog.expressions import compile_expression
from shared.catalog.rule import At, Rule
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
        pytest.param(
            {"send": {"template": "T", "lane": "auth"}, "category": "advertising"}, "no advertisement", id="ad-as-code"
        ),
        pytest.param({"at": {"send_at": "data.["}}, "not JMESPath", id="bad-moment"),
        pytest.param({"at": {"send_at": "data.at", "zone": "UTC"}}, "Asia/Seoul", id="another-zone"),
        pytest.param({"at": {"send_at": "data.at", "time": 600}}, "in quotes", id="time-as-yaml-reads-it"),
        pytest.param({"at": {"send_at": "data.at", "time": "10:00:30"}}, "time of the day", id="time-with-seconds"),
        pytest.param({"at": {"send_at": "data.at", "time": "25:00"}}, "time", id="time-that-is-not"),
        pytest.param({"at": {"before": "3d"}}, "before: says something of send_at", id="before-nothing"),
        pytest.param({"at": {"time": "10:00"}}, "time: says something of send_at", id="time-of-no-day"),
        pytest.param({"at": {"zone": "Asia/Seoul"}}, "zone: says something of send_at", id="zone-of-nothing"),
        pytest.param({"at": {"after": "31d"}}, "30 days ahead", id="after-too-long"),
        pytest.param({"at": {"send_at": "data.at", "before": "367d"}}, "too long", id="before-too-long"),
        pytest.param({"name": "한글"}, "pattern", id="name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rule(**changed)


@pytest.mark.parametrize(
    ("named", "in_seoul", "moment"),
    [
        pytest.param("2026-12-01T10:00:00+09:00", False, "2026-12-01T01:00:00+00:00", id="seoul-by-its-offset"),
        pytest.param("2026-12-01T01:00Z", False, "2026-12-01T01:00:00+00:00", id="utc"),
        pytest.param("2026-12-01T10:00:00.25+05:30", True, "2026-12-01T04:30:00.250000+00:00", id="offset-goes-first"),
        pytest.param("2026-12-01T10:00", True, "2026-12-01T01:00:00+00:00", id="seoul-as-stated"),
        pytest.param("2026-12-01", True, "2026-11-30T15:00:00+00:00", id="a-day-begins-in-seoul"),
    ],
)
def test_moments_are_read(named: str, in_seoul: bool, moment: str) -> None:  # noqa: FBT001 - a table
    assert read_moment(named, in_seoul=in_seoul).isoformat() == moment


@pytest.mark.parametrize(
    ("named", "said"),
    [
        *[(each, "is no time") for each in ("", "tomorrow", "2026-12-01 10:00+09:00", "2026-12-01T10:00:00+0900")],
        *[(each, "is no time") for each in ("20261201", "1999-12-01T10:00Z", "٢026-12-01")],
        *[(each, "is no time") for each in list[object]([None, 1764550800, True, []])],
        *[(each, "no day or hour") for each in ("2026-02-29", "2026-13-01T00:00Z", "2026-12-01T24:30Z")],
        *[(each, "no day or hour") for each in ("2026-12-01T10:00:60Z", "2026-12-01T10:00+24:00")],
    ],
)
def test_what_is_no_moment_is_refused(named: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_moment(named, in_seoul=True)


@pytest.mark.parametrize("named", ["2026-12-01T10:00", "2026-12-01T10:00:00", "2026-12-01"])
def test_a_moment_without_an_offset_is_refused_unless_its_zone_is_stated(named: str) -> None:
    with pytest.raises(ValueError, match="offset"):
        read_moment(named, in_seoul=False)


@given(st.text() | st.from_regex(r"2\d{3}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", fullmatch=True))
def test_a_moment_is_read_or_refused(named: str) -> None:
    with suppress(ValueError):
        assert read_moment(named, in_seoul=True).tzinfo is UTC


@pytest.mark.parametrize(
    ("at", "named", "expected"),
    [
        pytest.param({}, "2026-12-31T00:00:00+09:00", "2026-12-30T15:00", id="as-it-is"),
        pytest.param({"before": "3d"}, "2026-12-31T00:00:00+09:00", "2026-12-27T15:00", id="three-days-before"),
        pytest.param({"after": "2h"}, "2026-12-31T00:00:00+09:00", "2026-12-30T17:00", id="later"),
        pytest.param({"before": "3d", "time": "10:00"}, "2026-12-31T00:00:00+09:00", "2026-12-28T01:00", id="at-ten"),
        pytest.param(
            {"before": "3d", "time": "10:00"}, "2026-12-30T23:59:59Z", "2026-12-28T01:00", id="the-day-is-seouls"
        ),
        pytest.param(
            {"zone": "Asia/Seoul", "before": "1d", "time": "09:30"}, "2027-01-01", "2026-12-31T00:30", id="day"
        ),
    ],
)
def test_a_moment_is_moved(at: dict[str, str], named: str, expected: str) -> None:
    when = At.model_validate({"send_at": "data.at", **at})
    assert when.of(named) == datetime.fromisoformat(f"{expected}+00:00")
    assert At.model_validate(when.model_dump(mode="json")) == when


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
