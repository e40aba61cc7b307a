"""The commands that hold back what has not left: pause, resume, cancel."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from bongsu.cli.client import Client
from bongsu.cli.options import INGEST, ApiKey, AsJson, Url
from bongsu.cli.output import in_seoul, print_rows
from shared.errors import BongsuError
from shared.sending.stops import Pausable

_What = Annotated[Pausable, typer.Argument(help="what is meant by NAME")]
_Name = Annotated[str, typer.Argument(help="of the profile, template, lane or dealer")]
_Why = Annotated[str, typer.Option(help="shown to whoever looks; no personal data")]


def pause(what: _What, name: _Name, api_key: ApiKey, *, why: _Why, url: Url = INGEST, as_json: AsJson = False) -> None:
    """Let nothing of a profile, template, lane or dealer leave until it is resumed."""
    made = asyncio.run(Client(url, api_key).pause(what, name, why))
    typer.echo(json.dumps(made, ensure_ascii=False) if as_json else f"{what} {name} is paused: {made['why']}")


def resume(what: _What, name: _Name, api_key: ApiKey, *, url: Url = INGEST) -> None:
    """End a pause; what it held goes on within two seconds."""
    asyncio.run(Client(url, api_key).resume(what, name))
    typer.echo(f"{what} {name} goes on")


def pauses(api_key: ApiKey, *, url: Url = INGEST, as_json: AsJson = False) -> None:
    """List what is paused, why, by whom, since when, and how many messages wait."""
    rows = asyncio.run(Client(url, api_key).pauses())
    if rows or as_json:
        print_rows(rows if as_json else [{**row, "since": in_seoul(row["since"])} for row in rows], as_json=as_json)
    else:
        typer.echo("nothing is paused")


def cancel(  # noqa: PLR0913 - the options of a command
    api_key: ApiKey,
    message_id: Annotated[str, typer.Argument(metavar="[ID]", help="one message; else name what is meant")] = "",
    *,
    campaign: Annotated[str, typer.Option(help="the attribute `campaign` of their events")] = "",
    rule: Annotated[str, typer.Option()] = "",
    template: Annotated[str, typer.Option()] = "",
    profile: Annotated[str, typer.Option()] = "",
    lane: Annotated[str, typer.Option()] = "",
    event: Annotated[list[str] | None, typer.Option(help="an `event_id` as its answer named it; any number")] = None,
    why: Annotated[str, typer.Option(help="shown with the cancellation; no personal data")] = "",
    url: Url = INGEST,
    as_json: AsJson = False,
) -> None:
    """Cancel one message, or all made until now of which all that is named is true. It cannot be undone."""
    named: dict[str, Any] = {
        "campaign": campaign, "rule": rule, "template": template, "profile": profile, "lane": lane, "events": event,
    }  # fmt: skip
    which = {name: value for name, value in named.items() if value}
    if bool(message_id) is bool(which):
        raise BongsuError("name one message by its ID, or many by --campaign, --rule, --template, --profile, --lane …")
    client = Client(url, api_key)
    if message_id:
        done = asyncio.run(client.cancel_message(message_id))
        typer.echo(json.dumps(done) if as_json else f"message {done['id']} is cancelled")
        return
    if not why:
        raise BongsuError("say why, by --why")
    made = asyncio.run(client.cancel(which, why))
    if as_json:
        typer.echo(json.dumps(made, ensure_ascii=False))
    else:
        typer.echo(f"none of them leaves any more; how far it is: bongsu cancellations {made['id']}")


def cancellations(
    api_key: ApiKey,
    cancellation: Annotated[str, typer.Argument(metavar="[ID]", help="one; else the latest 100")] = "",
    *,
    url: Url = INGEST,
    as_json: AsJson = False,
) -> None:
    """Show how far cancellations of many are: how many messages were cancelled, and how many had left."""
    client = Client(url, api_key)
    rows = [asyncio.run(client.cancellation(cancellation))] if cancellation else asyncio.run(client.cancellations())
    if as_json:
        typer.echo(json.dumps(rows[0] if cancellation else rows, ensure_ascii=False))
    elif rows:
        typer.echo("\n".join(map(_line, rows)))
    else:
        typer.echo("nothing was cancelled with others")


def _line(row: dict[str, Any]) -> str:
    named = row["filter"].items()
    meant = ", ".join(f"{len(value)} events" if name == "events" else f"{name} {value}" for name, value in named)
    so_far = f"{row['cancelled']:,} cancelled, {row['left']:,} had left{'' if row['through'] else ', going on'}"
    return f"{row['id']}  {in_seoul(row['at'])}  {meant}: {so_far} ({row['by']}: {row['why']})"
