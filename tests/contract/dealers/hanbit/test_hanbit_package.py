"""The example's folder is a package as the page describes one, and its table has what its contract has."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanbit import wire
from tests.contract.dealers.hanbit.hanbit_world import EXAMPLE

SEEN = """
from bongsu.sandbox.server import DIALECTS
from shared.config import Config
from shared.dealers.registry import build_dealers
config = Config.model_validate({
    "dealers": {"h": {"kind": "hanbit", "base_url": "https://x.example",
                      "credentials": {"api_key": "K", "webhook_secret": "S"}}},
    "profiles": {"shop": {"name": "x", "routes": [{"dealer": "h", "sender_key": "x"}]}},
})
print(type(build_dealers(config)["h"]).__module__, DIALECTS["hanbit"])
"""


def test_a_process_finds_it_once_it_is_installed(tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / "bongsu_hanbit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bongsu-hanbit\nVersion: 1.0\n", encoding="utf-8")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in names.items())
        for group, names in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points), encoding="utf-8")
    (tmp_path / "hanbit").symlink_to(EXAMPLE / "hanbit")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", SEEN], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout.split() == ["hanbit.adapter", "hanbit.dialect"], ran.stderr


def test_every_code_of_the_contract_is_in_the_table() -> None:
    contract = (EXAMPLE / "hanbit" / "contract.md").read_text(encoding="utf-8").partition("**7. 코드.**")[2]
    cells = [cell.strip() for cell in re.findall(r"(?<=\|)[^|\n]*(?=\|)", contract)]
    named = {cell for cell in cells if re.fullmatch(r"\d{4}", cell)}
    with (EXAMPLE / "hanbit" / "codes.csv").open(encoding="utf-8") as table:
        assert {row["code"] for row in csv.DictReader(table)} == named
    assert len(named) == 23


@given(st.binary(max_size=80) | st.sampled_from([b"[" * 5000, b'{"results":' * 3000, b'{"results":[[[]]]}', b"1"]))
@pytest.mark.parametrize("read", [wire.read_results, wire.read_found, wire.read_events, wire.read_account])
def test_any_bytes_are_read_or_unreadable(read: object, body: bytes) -> None:
    assert callable(read)
    try:
        read(body)
    except wire.Unreadable:
        return
