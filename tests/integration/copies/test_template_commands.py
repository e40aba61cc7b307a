"""``bongsu templates``: from registration to the first message, without anybody's console."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from bongsu.cli.app import app
from shared.errors import BongsuError
from tests.integration.copies.copies_world import World, settings_at, world_of

WORDS = "변수의 예시가 없습니다."


@pytest.fixture
async def world(database: AsyncEngine) -> AsyncIterator[World]:
    async with world_of(database, {"nhn": {}, "luna": {}}) as made:
        yield made


class Shell:
    """Runs commands as a terminal does."""

    def __init__(self, world: World, database_url: str, directory: Path) -> None:
        self.env = {"BONGSU_DATABASE_URL": database_url, "BONGSU_CONFIG": str(directory / "config.yaml")}
        text = yaml.safe_dump(settings_at(world.sandbox, {"nhn": {}, "luna": {}}))
        (directory / "config.yaml").write_text(text, encoding="utf-8")

    async def run(self, *words: str) -> Result:
        """Run ``bongsu templates``; a mistake of the user's is raised, as ``errors.run`` gets it."""
        result = await asyncio.to_thread(CliRunner().invoke, app, ["templates", *words], env=self.env)
        if isinstance(result.exception, BongsuError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    async def read(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        """Return what a command answers to a program."""
        return json.loads((await self.run(*words, "--json")).stdout)


@pytest.fixture
def shell(world: World, database_url: str, tmp_path: Path) -> Shell:
    return Shell(world, database_url, tmp_path)


async def test_a_template_is_registered_submitted_rejected_and_approved(world: World, shell: Shell) -> None:
    assert "templates sync" in (await shell.run("list")).stdout
    registered = await shell.read("register", "PAID", "--name", "결제 완료", "--category", "002001")
    assert [(row["dealer"], row["status"], row["error"]) for row in registered] == [
        ("nhn", "inspecting", None),  # registering hands it in there
        ("luna", "registered", None),
    ]
    submitted = await shell.run("submit", "PAID", "--comment", "주문하신 분께 갑니다.")
    assert submitted.stdout.splitlines() == [
        "PAID at nhn: done, it is inspecting",
        "PAID at luna: done, it is inspecting",
    ]
    world.inspect("nhn", "rejected", WORDS)
    world.inspect("luna", "approved")
    assert (await shell.run("sync")).stdout.splitlines() == [
        f"PAID at nhn: inspecting → rejected: {WORDS}",
        "PAID at luna: inspecting → approved: 주문하신 분께 갑니다.",
    ]
    assert (await shell.run("sync")).stdout == "nothing has changed\n"
    told = {row["dealer"]: row for row in await shell.read("list")}
    assert (told["nhn"]["status"], told["nhn"]["comments"][-1]) == ("rejected", WORDS)
    assert told["luna"]["status"] == "approved"
    assert [row["dealer"] for row in await shell.read("list", "--dealer", "luna")] == ["luna"]
    assert WORDS.split(maxsplit=1)[0] in (await shell.run("list")).stdout


async def test_one_dealer_that_refuses_does_not_keep_the_others_from_it(shell: Shell) -> None:
    await shell.run("register", "PAID", "--dealer", "nhn")
    result = await shell.run("submit", "PAID")
    assert result.exit_code == 1
    assert result.stdout == "PAID at nhn: done, it is inspecting\n"
    [line] = result.stderr.splitlines()
    assert line.startswith("bongsu: PAID at luna: ")


async def test_stopping_and_deleting_name_their_dealer(world: World, shell: Shell) -> None:
    await shell.run("register", "PAID")
    with pytest.raises(BongsuError, match=r"--dealer nhn\|luna"):
        await shell.run("delete", "PAID")
    assert (await shell.run("delete", "PAID", "--dealer", "nhn")).stdout == "PAID at nhn: done, it is missing\n"
    await shell.run("submit", "PAID", "--dealer", "luna")
    world.inspect("luna", "approved")
    assert (await shell.run("stop", "PAID", "--dealer", "luna")).stdout == "PAID at luna: done, it is stopped\n"
    refused = await shell.run("stop", "PAID", "--dealer", "nhn")
    assert refused.exit_code == 1
    assert "console" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("register", "OTHER"), "no template 'OTHER' is active", id="no-template"),
        pytest.param(("submit", "PAID", "--profile", "sister"), "no profile 'sister'", id="no-profile"),
        pytest.param(("submit", "PAID", "--dealer", "bizgo"), "no route through 'bizgo'", id="no-route"),
        pytest.param(("categories", "solapi"), "'solapi' cannot be asked; luna, nhn can", id="no-api"),
    ],
)
async def test_a_mistake_is_one_line(shell: Shell, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(BongsuError, match=said):
        await shell.run(*words)


async def test_kakaos_categories_are_told(shell: Shell) -> None:
    assert {"code": "999999", "group": "기타", "name": "기타"} in await shell.read("categories", "luna")


async def test_a_dealer_that_does_not_tell_is_an_error(world: World, shell: Shell) -> None:
    await world.sandbox.close()
    result = await shell.run("sync")
    assert result.exit_code == 1
    assert {line.split(" does not tell")[0] for line in result.stderr.splitlines() if "does not" in line} == {
        "bongsu: nhn",
        "bongsu: luna",
    }
