"""How commands show what they found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shared.clock import SEOUL


def in_seoul(moment: str) -> str:
    """Show an ISO time as a clock in Seoul does."""
    return datetime.fromisoformat(moment).astimezone(SEOUL).strftime("%m-%d %H:%M:%S")


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as a table, or as one JSON array."""
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, default=str))
        return
    table = Table(box=None, pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


def print_message(message: dict[str, Any], console: Console | None = None) -> None:
    """Print a message as ``GET /v1/messages/{id}`` tells it."""
    console = console or Console()
    reason = f" ({message['reason']})" if message.get("reason") else ""
    console.print(
        f"[bold]{message['id']}[/]  {message['rule']} → {message['template']}  [bold]{message['state']}[/]{reason}"
    )
    timeline = Table.grid(padding=(0, 2, 0, 0))
    timeline.add_column(style="dim", no_wrap=True)
    timeline.add_column(no_wrap=True)
    timeline.add_column()
    for entry in message["timeline"]:
        timeline.add_row(in_seoul(entry["at"]), entry["state"], Text(entry["detail"]))
    console.print(Padding(timeline, (0, 0, 0, 2)))
