"""Kinds of dealers: our folders, and what other packages add."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shared.config import BadConfig, Config
from shared.dealers.kinds import ADAPTERS, KINDS
from shared.dealers.registry import build_dealers
from shared.extensions import modules

ADAPTER = """
from shared.dealers.account import Credentials
from shared.dealers.solapi import adapter

CREDENTIALS = Credentials(required=("api_key", "api_secret"))


def build(account):
    return adapter.build(account)
"""


def config(kind: str) -> Config:
    dealer = {"kind": kind, "base_url": "https://x.example", "credentials": {"api_key": "K", "api_secret": "S"}}
    profile = {"name": "봉수상점", "routes": [{"dealer": "main", "sender_key": "PF"}]}
    return Config.model_validate({"dealers": {"main": dealer}, "profiles": {"shop": profile}})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package of somebody's that brings a dealer, and one under a name of ours."""
    name = f"somebodys_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(ADAPTER, encoding="utf-8")
    (tmp_path / f"{name}_empty.py").write_text("", encoding="utf-8")
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    points = f"[bongsu.dealers]\nsomebodys = {name}\nempty = {name}_empty\naway = {name}_away\nsolapi = {name}\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for kind, module in modules(tmp_path, "", "nothing", group="bongsu.dealers").items():
        if kind not in ADAPTERS:
            monkeypatch.setitem(ADAPTERS, kind, module)
    return name


def test_a_folder_is_a_kind() -> None:
    assert ADAPTERS["solapi"] == "shared.dealers.solapi.adapter"
    assert list(KINDS) == sorted(KINDS)


def test_a_package_adds_kinds_and_replaces_none_of_ours(package: str) -> None:
    folder = Path(sys.modules["shared.dealers.kinds"].__file__ or "").parent
    found = modules(folder, "shared.dealers", "adapter", group="bongsu.dealers")
    assert found["somebodys"] == package
    assert found["solapi"] == "shared.dealers.solapi.adapter"


async def test_a_kind_of_a_package_is_built(package: str) -> None:
    dealer = build_dealers(config("somebodys"))["main"]
    assert dealer.name == "main"
    await dealer.close()
    assert package in sys.modules


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("kind", ["empty", "away"])
def test_a_package_that_brings_no_adapter_is_named(kind: str) -> None:
    with pytest.raises(BadConfig, match=rf"dealers\.main\.kind: \w+_{kind} is no adapter: "):
        build_dealers(config(kind))


def test_a_kind_that_nobody_has_is_refused() -> None:
    with pytest.raises(ValueError, match="'nobodys' is not one of aligo, "):
        config("nobodys")
