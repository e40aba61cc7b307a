"""The configuration that the operators' page shows can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.config import load_config
from shared.dealers.registry import build_dealers

PAGE = Path(__file__).parents[4] / "docs" / "dealers" / "luna.md"


async def test_the_configuration_that_is_shown_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for name in re.findall(r"\$\{(\w+)\}", shown):
        monkeypatch.setenv(name, "made-up-and-long-enough")
    path = tmp_path / "bongsu.yaml"
    path.write_text(shown, encoding="utf-8")
    dealers = build_dealers(load_config(path))
    assert dealers["luna"].capabilities.max_batch == 30
    for dealer in dealers.values():
        await dealer.close()
