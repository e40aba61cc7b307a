"""The dashboard's queries are PromQL: by a grammar of what they use, and by promtool where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "bongsu.json"

_TOKEN = re.compile(
    r"""\s*(?:(?P<word>[a-zA-Z_:][\w:]*) | (?P<number>\d+(?:\.\d+)?) | (?P<string>"[^"]*")
        | (?P<range>\[\d+[smhd]\]) | (?P<sign>=~|!~|!=|==|>=|<=|[=<>+\-*/(){},]))""",
    re.VERBOSE,
)
_AGGREGATIONS = {"sum": 1, "max": 1, "min": 1, "topk": 2}
_FUNCTIONS = {"rate": 1, "increase": 1, "vector": 1, "histogram_quantile": 2}
_OPERATORS = {"+", "-", "*", "/", "==", "!=", ">", "<", ">=", "<=", "or", "and", "unless"}
_MATCHERS = {"=", "!=", "=~", "!~"}


class NotPromQL(ValueError):
    """The text says what was found where something else is wanted."""


class Parser:
    """Reads one query; the grammar is as much of PromQL as the dashboard needs."""

    def __init__(self, query: str) -> None:
        self.tokens: list[str] = []
        place = 0
        while query[place:].strip():
            found = _TOKEN.match(query, place)
            if found is None:
                raise NotPromQL(f"{query[place:]!r} is no token")
            self.tokens.append(found[0].strip())
            place = found.end()

    def query(self) -> None:
        self.expression()
        if self.tokens:
            raise NotPromQL(f"{self.tokens[0]!r} after the end")

    def expression(self) -> None:
        self.operand()
        while self.tokens and self.tokens[0] in _OPERATORS:
            self.take()
            self.operand()

    def operand(self) -> None:
        token = self.take()
        if token == "(":
            self.expression()
            self.want(")")
        elif token in _AGGREGATIONS:
            if self.tokens[:1] == ["by"]:
                self.take()
                self.names()
            self.arguments(_AGGREGATIONS[token])
        elif token in _FUNCTIONS:
            self.arguments(_FUNCTIONS[token])
        elif re.fullmatch(r"bongsu_\w+", token):
            self.selector()
        elif not re.fullmatch(r"[\d.]+", token):
            raise NotPromQL(f"{token!r} is no operand")

    def arguments(self, wanted: int) -> None:
        self.want("(")
        self.expression()
        for _ in range(wanted - 1):
            self.want(",")
            self.expression()
        self.want(")")

    def names(self) -> None:
        self.want("(")
        while True:
            if not re.fullmatch(r"[a-z_]\w*", name := self.take()):
                raise NotPromQL(f"{name!r} is no label")
            if self.take_one_of({",", ")"}) == ")":
                return

    def selector(self) -> None:
        if self.tokens[:1] == ["{"]:
            self.take()
            while True:
                if not re.fullmatch(r"[a-z_]\w*", name := self.take()):
                    raise NotPromQL(f"{name!r} is no label")
                how, value = self.take_one_of(_MATCHERS), self.take()
                if not value.startswith('"'):
                    raise NotPromQL(f"{value!r} is no string")
                if "~" in how:
                    re.compile(value[1:-1])
                if self.take_one_of({",", "}"}) == "}":
                    break
        if self.tokens and self.tokens[0].startswith("["):
            self.take()

    def want(self, token: str) -> None:
        self.take_one_of({token})

    def take_one_of(self, wanted: set[str]) -> str:
        if (token := self.take()) not in wanted:
            raise NotPromQL(f"{token!r} where one of {sorted(wanted)} is wanted")
        return token

    def take(self) -> str:
        if not self.tokens:
            raise NotPromQL("ends too early")
        return self.tokens.pop(0)


def queries() -> list[str]:
    """Return every query, with Grafana's variables filled in."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [query.replace("$__rate_interval", "5m").replace("$profile", ".*") for query in found]


def test_every_query_is_promql(tmp_path: Path) -> None:
    assert queries()
    for query in queries():
        assert "$" not in query
        Parser(query).query()
    if (promtool := shutil.which("promtool")) is not None:
        rules = tmp_path / "rules.yml"
        named = [{"record": f"dashboard:{n}", "expr": query} for n, query in enumerate(queries())]
        rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": named}]}), encoding="utf-8")
        checked = subprocess.run([promtool, "check", "rules", str(rules)], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("sum(bongsu_x", id="open"),
        pytest.param("sum by channel (bongsu_x)", id="labels-without-brackets"),
        pytest.param('bongsu_x{channel="sms}', id="open-string"),
        pytest.param("bongsu_x{channel=sms}", id="bare-value"),
        pytest.param("rate(bongsu_x[5m]) /", id="nothing-to-divide-by"),
        pytest.param("median(bongsu_x)", id="no-such-function"),
        pytest.param("topk(bongsu_x)", id="too-few-arguments"),
        pytest.param("bongsu_x bongsu_y", id="two-in-a-row"),
    ],
)
def test_the_grammar_refuses(query: str) -> None:
    with pytest.raises(NotPromQL):
        Parser(query).query()
