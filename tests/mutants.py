"""Take one safeguard out at a time, in a copy of the tree, and show that a test fails: ``make mutants``.

A safeguard whose absence no test notices is a hope. This is slow (a pytest and mostly a Postgres for each), so that it
is run by hand and by whoever changes what sends; that the list still fits the code is a test of ``make test``.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, its own folder stands first

from tests.safeguards import SAFEGUARDS, Change, Safeguard  # noqa: E402 - after the path

PAGE = ROOT / "docs" / "delivery-guarantees.md"
BEGIN, END = "<!-- made by make mutants -->", "<!-- end of what make mutants made -->"
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", ".bongsu", "*.egg-info", "build"
)
HANGS_SECONDS = 120


class Moved(Exception):
    """A text that a safeguard names does not stand exactly once where it should."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of taking one out. ``failed`` is the test that noticed; None: nobody did, or ``trouble`` says why."""

    safeguard: str
    where: str
    without: str
    failed: str | None
    seconds: float
    trouble: str = ""


def taken_out(changes: Sequence[Change], root: Path = ROOT) -> dict[str, str]:
    """Return the files without a safeguard, by path. Raises ``Moved``."""
    files: dict[str, str] = {}
    for change in changes:
        text = files.get(change.path) or (root / change.path).read_text(encoding="utf-8")
        if (count := text.count(change.old)) != 1:
            raise Moved(f"{change.path} has this {count} times, not once:\n{change.old}")
        files[change.path] = text.replace(change.old, change.new)
    return files


def where(safeguard: Safeguard, root: Path = ROOT) -> str:
    """Return file and line of the first change."""
    change = safeguard.changes[0]
    text = (root / change.path).read_text(encoding="utf-8")
    start = text.find(change.old)
    start += len(change.old) - len(change.old.lstrip())
    return f"{change.path}:{text.count(chr(10), 0, start) + 1}"


def run_tests(tree: Path, tests: Sequence[str], *options: str) -> tuple[int, str]:
    """Run ``tests`` in ``tree`` until one fails; return pytest's status and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider",
         f"--timeout={HANGS_SECONDS}", *options, *tests],
        cwd=tree, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def judge(safeguard: Safeguard, tree: Path) -> Verdict:
    """Take ``safeguard`` out of ``tree``, see which test fails, and put it back."""
    started = time.perf_counter()
    failed, trouble = None, ""
    before = {change.path: (tree / change.path).read_text(encoding="utf-8") for change in safeguard.changes}
    try:
        for path, text in taken_out(safeguard.changes, tree).items():
            compile(text, path, "exec")
            (tree / path).write_text(text, encoding="utf-8")
        status, said = run_tests(tree, safeguard.tests)
        found = re.search(r"^FAILED (.+?)(?: - .*)?$", said, re.MULTILINE)
        if status == 1 and found:
            failed = found[1]
        elif status == 0:
            trouble = "SURVIVED: no test noticed"
        else:
            trouble = f"pytest ended with {status}: {said[-800:]}"
    except (Moved, SyntaxError) as error:
        trouble = f"cannot be taken out: {error}"
    finally:
        for path, text in before.items():
            (tree / path).write_text(text, encoding="utf-8")
    seconds = round(time.perf_counter() - started, 1)
    return Verdict(safeguard.name, where(safeguard), safeguard.without, failed, seconds, trouble)


def judge_all(safeguards: Sequence[Safeguard], jobs: int) -> list[Verdict]:
    """Judge ``safeguards``, ``jobs`` at once, each in a copy of its own. Ends the process where tests fail anyway."""
    with tempfile.TemporaryDirectory(prefix="bongsu-mutants-") as directory:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for n in range(jobs):
            tree = Path(directory) / str(n)
            shutil.copytree(ROOT, tree, ignore=NOT_COPIED, symlinks=True)
            trees.put(tree)

        def one(safeguard: Safeguard) -> Verdict:
            tree = trees.get()
            try:
                verdict = judge(safeguard, tree)
            finally:
                trees.put(tree)
            say(sys.stderr, f"{verdict.safeguard}: {verdict.failed or verdict.trouble}")
            return verdict

        whole = trees.get()
        imported = subprocess.run(
            [sys.executable, "-c", "import shared; print(shared.__file__)"],
            cwd=whole, env={**os.environ, "PYTHONPATH": str(whole)}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        if not imported.startswith(str(whole)):
            raise SystemExit(f"the copy is not what is imported, but {imported}")
        status, said = run_tests(whole, sorted({test for each in safeguards for test in each.tests}), "-n", str(jobs))
        if status:
            raise SystemExit(f"tests fail with every safeguard in place:\n{said[-2000:]}")
        trees.put(whole)
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, safeguards))


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a table of Markdown, without what changes from run to run."""
    rows = ["| safeguard | where | without it | the test that fails |", "|---|---|---|---|"]
    for verdict in verdicts:
        path, test = verdict.where.partition(":")[0], (verdict.failed or verdict.trouble).partition("[")[0]
        file, _, name = test.partition("::")
        rows.append(f"| {verdict.safeguard} | `{path}` | {verdict.without} | `{Path(file).name}`: `{name}` |")
    return "\n".join(rows)


def write(verdicts: Sequence[Verdict], page: Path) -> None:
    """Put the table into ``page``, between its marks."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n{table(verdicts)}\n{END}{tail}", encoding="utf-8")


def say(where_to: TextIO, line: str) -> None:
    """Write a line, at once."""
    where_to.write(line + "\n")
    where_to.flush()


def main() -> None:
    """Run from the command line; the status is 1 if any safeguard could go unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of names; none: all")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once, each in a copy of its own")
    parser.add_argument("--json", action="store_true", help="the verdicts as JSON")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    chosen = [each for each in SAFEGUARDS if not given.only or any(part in each.name for part in given.only)]
    started = time.perf_counter()
    verdicts = judge_all(chosen, given.jobs)
    if given.json:
        say(sys.stdout, json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    else:
        for verdict in verdicts:
            outcome = verdict.failed or verdict.trouble
            line = f"{verdict.safeguard:52} {verdict.where:44} {verdict.seconds:6.1f} s  {outcome}"
            say(sys.stdout, line)
    unnoticed = [verdict for verdict in verdicts if verdict.failed is None]
    took = time.perf_counter() - started
    say(sys.stderr, f"{len(verdicts)} safeguards, {len(unnoticed)} of them unnoticed, {took:.0f} s")
    if given.write and not unnoticed:
        write(verdicts, PAGE)
    sys.exit(bool(unnoticed))


if __name__ == "__main__":
    main()
