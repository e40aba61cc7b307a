"""The documents say what is true of the code: links, commands, settings, refusals, metrics, tests that they name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from bongsu.cli.app import app
from services.dispatcher.settings import Settings as DispatcherSettings
from services.fallback.settings import Settings as FallbackSettings
from services.ingest.refusals import Kind
from services.ingest.settings import Settings as IngestSettings
from services.metrics.settings import Settings as MetricsSettings
from shared.config import load_config
from shared.dealers.registry import build_dealers

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for page in ROOT.rglob("*.md") if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
)
SETTINGS = (IngestSettings, DispatcherSettings, FallbackSettings, MetricsSettings)

every_page = pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])


def prose(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def code(page: Path) -> Iterator[str]:
    """Yield what stands in backticks, and each line of the fenced blocks."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", prose(page))


def anchors(page: Path) -> set[str]:
    """Return what a link may name after ``#``, made of the headings as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_commands_exist(page: Path) -> None:
    for line in code(page):
        if found := re.match(r"(?:\$ )?(?:\.venv/bin/)?bongsu (\S[^#]*)", line):
            check_command(found[1].split())


def check_command(words: list[str]) -> None:
    """Walk down the groups by ``words``, then look whether the command has the options named."""
    here = typer.main.get_command(app)
    while isinstance(here, TyperGroup) and words and re.fullmatch(r"[a-z]+", words[0]):
        assert words[0] in here.commands, f"bongsu … {words[0]}"
        here, words = here.commands[words[0]], words[1:]
    if here.name == "sandbox":
        return  # it hands its options on
    options = {option for parameter in here.params for option in parameter.opts} | {"--help"}
    for word in words:
        name = word.partition("=")[0]
        assert not name.startswith("--") or name in options, f"{here.name} {name}"


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for line in code(page):
        if found := re.match(r"make ([a-z-]+)", line):
            assert found[1] in targets, line


@every_page
def test_tests_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"\btests/[\w/.-]*\w", prose(page)):
        assert (ROOT / path).exists(), path


def variables() -> set[str]:
    """Return all variables that services or the command line read."""
    names = {"BONGSU_" + name.upper() for settings in SETTINGS for name in settings.model_fields}
    for module in (ROOT / "bongsu").rglob("*.py"):
        names.update(re.findall(r'(?:envvar=|environ\.get\()"(BONGSU_\w+)"', module.read_text(encoding="utf-8")))
    return names


@every_page
def test_variables_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(r"\bBONGSU_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert named <= variables()


def test_every_variable_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert {name for name in variables() if f"`{name}`" not in page} == set()


def test_defaults_are_those_of_the_code() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for settings in SETTINGS:
        for name, field in settings.model_fields.items():
            row = re.search(rf"^\| `BONGSU_{name.upper()}` \| (.+) \|", page, re.MULTILINE)
            assert row, name
            default = (
                "required"
                if field.is_required()
                else f"{field.default:g}"
                if field.annotation is float
                else str(field.default)
            )
            assert re.search(rf"(?<![\w.]){re.escape(default or 'empty')}(?![\w.])", row[1]), (name, default)


def test_the_configuration_that_is_shown_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"\$\{(\w+)\}", shown):
        monkeypatch.setenv(name, "made-up-and-long-enough")
    path = tmp_path / "bongsu.yaml"
    path.write_text(shown, encoding="utf-8")
    assert set(build_dealers(load_config(path))) == {"solapi"}


def kinds() -> set[str]:
    """Return the last parts of all problem types in the code."""
    found = {str(kind) for kind in Kind}
    for module in (*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="Problem"), args=[_, ast.Constant(value=str(kind)), *_]):
                    found.add(kind)
                case ast.Tuple(elts=[ast.Constant(value=str(kind)), ast.Constant()]) if module.name == "problems.py":
                    found.add(kind)  # the framework's own, by status
                case _:
                    pass
    return found


def test_every_problem_is_documented_and_no_other() -> None:
    cells = re.findall(r"^\|([^|]+)\|", (ROOT / "docs/problems.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {kind for cell in cells for kind in re.findall(r"`([a-z-]+)`", cell)} == kinds()


@every_page
def test_metrics_that_are_named_exist(page: Path) -> None:
    metrics: set[str] = set()
    for module in ROOT.glob("s*/**/telemetry.py"):
        metrics.update(re.findall(r'"(bongsu_[a-z_]+)"', module.read_text(encoding="utf-8")))
    for line in code(page):
        for name in re.findall(
            r"\bbongsu_(?:bus|dealer|dispatcher|fallback|ingest|metrics|relay|sending)_[a-z_]+", line
        ):
            assert name in metrics, name
