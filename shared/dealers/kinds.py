"""The kinds of dealers there are: a folder each beside this file, and what installed packages add.

A package adds one by an entry point of the group ``bongsu.dealers``: the kind's name, and the module that has
``CREDENTIALS`` and ``build`` (``docs/dealers/write-your-own.md``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shared.extensions import modules

if TYPE_CHECKING:
    from collections.abc import KeysView

ADAPTERS: dict[str, str] = modules(Path(__file__).parent, "shared.dealers", "adapter", group="bongsu.dealers")
"""the module of each kind"""

KINDS: KeysView[str] = ADAPTERS.keys()
