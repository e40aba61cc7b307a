"""The list of safeguards fits the code, so that ``make mutants`` takes out what it says; the page shows all of them.

That a test fails without each is tried by ``make mutants`` itself, which is slow.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.mutants import BEGIN, END, PAGE, ROOT, Moved, taken_out, where
from tests.safeguards import SAFEGUARDS, Change, Safeguard

every_safeguard = pytest.mark.parametrize("safeguard", [pytest.param(each, id=each.name) for each in SAFEGUARDS])


@every_safeguard
def test_it_stands_where_it_is_said_to(safeguard: Safeguard) -> None:
    for path, text in taken_out(safeguard.changes).items():
        ast.parse(text, path)  # what does not parse would fail every test
        assert text != (ROOT / path).read_text(encoding="utf-8")


@every_safeguard
def test_the_tests_that_must_notice_exist(safeguard: Safeguard) -> None:
    for test in safeguard.tests:
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name or 'test_'}", text, re.MULTILINE), test


def test_names_are_told_apart() -> None:
    assert len({each.name for each in SAFEGUARDS}) == len(SAFEGUARDS)


def test_one_that_moved_is_found_missing() -> None:
    with pytest.raises(Moved, match="0 times"):
        taken_out([Change("shared/sending/policy.py", "nobody wrote this", "")])


def test_the_page_shows_every_safeguard_and_a_test_that_exists() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| .+ \| `(.+?)`: `(.+?)` \|$", rest.partition(END)[0], re.MULTILINE)
    assert [row[:2] for row in rows] == [(each.name, where(each).partition(":")[0]) for each in SAFEGUARDS]
    for _, _, file, name in rows:
        assert any(f"def {name}(" in each.read_text(encoding="utf-8") for each in ROOT.glob(f"tests/**/{file}")), name
