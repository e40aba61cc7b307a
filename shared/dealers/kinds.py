"""The kinds of dealers there are: one for each folder beside this file."""

from __future__ import annotations

from pathlib import Path

KINDS = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/adapter.py")))
