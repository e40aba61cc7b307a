"""The commands for templates at the dealers: where they stand, and what inspection needs."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bongsu.cli.options import AsJson, ClockText, ConfigFile, DatabaseUrl
from bongsu.cli.output import print_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="Templates at the dealers: inspection, and where each copy stands.", no_args_is_help=True)

Code = Annotated[str, typer.Argument(help="our code of the template")]
Profile = Annotated[str | None, typer.Option(help="whose channel (default: the only one)")]
AllDealers = Annotated[str | None, typer.Option(help="at this dealer alone (default: at all of the profile's)")]
OneDealer = Annotated[str | None, typer.Option(help="at which dealer (default: the only one)")]


@app.command("list")
def list_(
    database_url: DatabaseUrl,
    *,
    template: Annotated[str | None, typer.Option(help="this one alone, by our code")] = None,
    dealer: Annotated[str | None, typer.Option(help="at this one alone")] = None,
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """Say where each copy stood when the dealer was asked last, with the inspector's latest words."""
    from bongsu.cli import at_dealers  # noqa: PLC0415 - it takes a while to import

    rows = asyncio.run(at_dealers.copies(database_url, clock, template=template, dealer=dealer))
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    elif rows:
        print_rows([at_dealers.copy_row(row) for row in rows], as_json=False)
    else:
        typer.echo("nothing is known of any; `bongsu templates sync` asks the dealers")


@app.command()
def sync(database_url: DatabaseUrl, config: ConfigFile, *, as_json: AsJson = False, clock: ClockText = "") -> None:
    """Ask the dealers now where every template stands; exit 1 if one does not tell."""
    from bongsu.cli import at_dealers  # noqa: PLC0415 - it takes a while to import

    found = asyncio.run(at_dealers.sync(database_url, config, clock))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        for change in found["changes"]:
            said = f": {change['comments'][-1]}" if change["comments"] else ""
            typer.echo(
                f"{change['template']} at {change['dealer']}: {change['was'] or 'not known'} → {change['status']}{said}"
            )
        for failure in found["failures"]:
            typer.echo(f"bongsu: {failure['dealer']} does not tell: {failure['error']}", err=True)
        if not found["changes"] and not found["failures"]:
            typer.echo("nothing has changed")
    if found["failures"]:
        sys.exit(1)


@app.command()
def register(  # noqa: PLR0913 - an option each
    code: Code,
    database_url: DatabaseUrl,
    config: ConfigFile,
    *,
    profile: Profile = None,
    dealer: AllDealers = None,
    name: Annotated[str, typer.Option(help="for people (default: its code)")] = "",
    category: Annotated[str, typer.Option(help="Kakao's code (`bongsu templates categories`)")] = "999999",
    secure: Annotated[bool, typer.Option("--secure", help="shown on the main device only (보안 템플릿)")] = False,
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """Register a template, or its new wording after a rejection; at NHN this hands it in as well."""
    from bongsu.cli import at_dealers  # noqa: PLC0415 - it takes a while to import

    said = at_dealers.Registration(name, category, secure)
    where = at_dealers.Where(profile, dealer)
    rows = asyncio.run(at_dealers.register(database_url, config, clock, code, where, said))
    _show(rows, as_json=as_json)
    for row in rows if not as_json else ():
        if row["error"] is None and row["status"] is None and row["code"] != code:
            typer.echo(f"{row['dealer']} calls it {row['code']}: put that under `codes` in its file, and apply it")


@app.command()
def submit(
    code: Code,
    database_url: DatabaseUrl,
    config: ConfigFile,
    *,
    profile: Profile = None,
    dealer: AllDealers = None,
    comment: Annotated[str, typer.Option(help="a word to the inspector (default: the template's examples)")] = "",
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """Ask for inspection, or again after a rejection."""
    from bongsu.cli import at_dealers  # noqa: PLC0415 - it takes a while to import

    where = at_dealers.Where(profile, dealer)
    _show(asyncio.run(at_dealers.submit(database_url, config, clock, code, where, comment)), as_json=as_json)


@app.command()
def stop(
    code: Code,
    database_url: DatabaseUrl,
    config: ConfigFile,
    *,
    profile: Profile = None,
    dealer: OneDealer = None,
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """Stop an approved template at a dealer, where the dealer lets us."""
    from bongsu.cli import at_dealers  # noqa: PLC0415 - it takes a while to import

    where = at_dealers.Where(profile, dealer)
    _show(asyncio.run(at_dealers.stop(database_url, config, clock, code, where)), as_json=as_json)


@app.command()
def delete(
    code: Code,
    database_url: DatabaseUrl,
    config: ConfigFile,
    *,
    profile: Profile = None,
    dealer: OneDealer = None,
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """Delete a template at a dealer that was never approved; ours stays."""
    from bongsu.cli import at_dealers  # noqa: PLC0415 - it takes a while to import

    where = at_dealers.Where(profile, dealer)
    _show(asyncio.run(at_dealers.delete(database_url, config, clock, code, where)), as_json=as_json)


@app.command()
def categories(
    dealer: Annotated[str, typer.Argument(help="which dealer to ask; they are Kakao's")],
    database_url: DatabaseUrl,
    config: ConfigFile,
    *,
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """List Kakao's categories of templates."""
    from bongsu.cli import at_dealers  # noqa: PLC0415 - it takes a while to import

    print_rows(asyncio.run(at_dealers.categories(database_url, config, clock, dealer)), as_json=as_json)


def _show(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Show what became of it at each dealer; exit 1 if it failed at one."""
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    else:
        for row in rows:
            where = f"{row['template']} at {row['dealer']}"
            if row["error"] is None:
                typer.echo(f"{where}: done, it is {row['status'] or 'not known there under this code'}")
            else:
                typer.echo(f"bongsu: {where}: {row['error']}", err=True)
    if any(row["error"] is not None for row in rows):
        sys.exit(1)
