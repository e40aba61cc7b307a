"""The made-up dealer of docs/dealers/write-your-own.md, added as its package adds it."""

from __future__ import annotations

import tomllib

import pytest

from bongsu.sandbox.server import DIALECTS
from shared.dealers.kinds import ADAPTERS
from tests.contract.dealers.hanbit.hanbit_world import EXAMPLE


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    for group, names in (("bongsu.dealers", ADAPTERS), ("bongsu.sandbox", DIALECTS)):
        for name, module in points[group].items():
            monkeypatch.setitem(names, name, module)
