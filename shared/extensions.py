"""What is a folder of ours, and what other installed packages add to it under an entry point."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def modules(folder: Path, package: str, leaf: str, *, group: str) -> dict[str, str]:
    """Return modules by name, in its order: ``leaf`` of each folder of ``package``, and the entry points of ``group``.

    ``folder`` is where ``package`` lies. Nothing is imported. A name of ours stays ours, whoever else uses it.
    """
    others = {point.name: point.module for point in entry_points(group=group)}
    names = [path.parent.name for path in folder.glob(f"*/{leaf}.py")]
    return dict(sorted((others | {name: f"{package}.{name}.{leaf}" for name in names}).items()))
