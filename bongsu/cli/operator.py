"""The commands of whoever watches over sending: dealers, stops, doubts."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bongsu.cli.options import AsJson, ClockText, ConfigFile, DatabaseUrl
from bongsu.cli.output import print_rows
from shared.errors import BongsuError
from shared.sending.word import Says, Word

dealers_app = typer.Typer(help="How the dealers are, and whether they are set up.")
stops_app = typer.Typer(help="What is stopped, and what is held for it.", no_args_is_help=True)
limits_app = typer.Typer(help="What dealers allow, how much of it is used, and changing it while all runs.")
uncertain_app = typer.Typer(help="Attempts that a dealer may have or not.", no_args_is_help=True)


@dealers_app.callback(invoke_without_command=True)
def dealers(
    context: typer.Context,
    *,
    database_url: Annotated[str, typer.Option(envvar="BONGSU_DATABASE_URL", help="postgresql://…")] = "",
    config: Annotated[Path | None, typer.Option(envvar="BONGSU_CONFIG", help="the YAML file of the services")] = None,
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """Show each dealer's health, balance, limit in use, doubts, receipts awaited and held messages."""
    if context.invoked_subcommand is not None:
        return
    if not database_url or config is None:
        missing = "BONGSU_CONFIG" if config is None else "BONGSU_DATABASE_URL"
        raise BongsuError(f"{missing} is not set")
    from bongsu.cli import operating  # noqa: PLC0415 - it takes a while to import

    rows = asyncio.run(operating.overview(database_url, config, clock))
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, default=str))
    else:
        print_rows([operating.overview_row(row) for row in rows], as_json=False)


@dealers_app.command("check")
def dealers_check(config: ConfigFile, *, as_json: AsJson = False) -> None:
    """Verify credentials, sender keys, sender numbers and receipt doors, sending nothing; exit 1 if one is wrong."""
    from bongsu.cli import operating  # noqa: PLC0415 - it takes a while to import

    rows = asyncio.run(operating.check(config))
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    else:
        words = {True: "ok", False: "WRONG", None: "cannot be asked"}
        print_rows([{**row, "ok": words[row["ok"]]} for row in rows], as_json=False)
    if any(row["ok"] is False for row in rows):
        sys.exit(1)


@limits_app.callback(invoke_without_command=True)
def limits(
    context: typer.Context,
    *,
    database_url: Annotated[str, typer.Option(envvar="BONGSU_DATABASE_URL", help="postgresql://…")] = "",
    config: Annotated[Path | None, typer.Option(envvar="BONGSU_CONFIG", help="the YAML file of the services")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each dealer allows just now, how much of it counts, until when it is paused, and who changed it."""
    if context.invoked_subcommand is not None:
        return
    if not database_url or config is None:
        missing = "BONGSU_CONFIG" if config is None else "BONGSU_DATABASE_URL"
        raise BongsuError(f"{missing} is not set")
    from bongsu.cli import limiting  # noqa: PLC0415 - it takes a while to import

    rows = asyncio.run(limiting.listed(database_url, config))
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, default=str))
    else:
        print_rows([limiting.row_of(row) for row in rows], as_json=False)


_Most = Annotated[int | None, typer.Option(min=1)]
_Profile = Annotated[str, typer.Option(help="the limit of this profile at the dealer, not the account's")]
_By = Annotated[str, typer.Option(envvar="USER", help="who changes it")]


@limits_app.command("set")
def limits_set(  # noqa: PLR0913 - the options of a command
    dealer: Annotated[str, typer.Argument(help="its name in BONGSU_CONFIG")],
    database_url: DatabaseUrl,
    config: ConfigFile,
    by: _By,
    *,
    profile: _Profile = "",
    messages_per_second: _Most = None,
    messages_per_minute: _Most = None,
    messages_per_day: _Most = None,
    requests_per_second: _Most = None,
    requests_per_minute: _Most = None,
    requests_per_day: _Most = None,
) -> None:
    """Let limits hold in place of what the file says, at once and everywhere; what is not named stays as it is."""
    from bongsu.cli import limiting  # noqa: PLC0415 - it takes a while to import

    given = {
        "messages_per_second": messages_per_second,
        "messages_per_minute": messages_per_minute,
        "messages_per_day": messages_per_day,
        "requests_per_second": requests_per_second,
        "requests_per_minute": requests_per_minute,
        "requests_per_day": requests_per_day,
    }
    changes = {name: most for name, most in given.items() if most is not None}
    now = asyncio.run(limiting.changed(database_url, config, dealer, profile or None, changes, by))
    typer.echo(f"{dealer}: {', '.join(f'{name} {most}' for name, most in now.items())}")


@limits_app.command("reset")
def limits_reset(
    dealer: Annotated[str, typer.Argument(help="its name in BONGSU_CONFIG")],
    database_url: DatabaseUrl,
    config: ConfigFile,
    by: _By,
    *,
    profile: _Profile = "",
) -> None:
    """Let the file speak again."""
    from bongsu.cli import limiting  # noqa: PLC0415 - it takes a while to import

    asyncio.run(limiting.changed(database_url, config, dealer, profile or None, None, by))
    typer.echo(f"{dealer}: as the file says")


@stops_app.command("list")
def stops_list(database_url: DatabaseUrl, *, as_json: AsJson = False) -> None:
    """List what is stopped or about to be, why, since when, how many messages wait, and when it is tried again."""
    from bongsu.cli import operating  # noqa: PLC0415 - it takes a while to import

    rows = asyncio.run(operating.stops(database_url))
    if rows or as_json:
        print_rows(rows, as_json=as_json)
    else:
        typer.echo("nothing is stopped")


@stops_app.command("lift")
def stops_lift(
    stop: Annotated[str, typer.Argument(metavar="SCOPE/DEALER[/NAME]", help="as `bongsu stops list` shows it")],
    database_url: DatabaseUrl,
) -> None:
    """End a stop by hand; what was held for it goes on within a second."""
    from bongsu.cli import operating  # noqa: PLC0415 - it takes a while to import

    held = asyncio.run(operating.lift(database_url, stop))
    typer.echo(f"lifted {stop}; {held} held messages go on")


@uncertain_app.command("list")
def uncertain_list(
    database_url: DatabaseUrl,
    config: ConfigFile,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="how many at once")] = 50,
    after: Annotated[str, typer.Option(metavar="ID/N", help="go on behind this one")] = "",
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """List attempts in doubt, the oldest first: why, what is being done about each, and until when."""
    from bongsu.cli import operating  # noqa: PLC0415 - it takes a while to import

    page = asyncio.run(operating.doubts(database_url, config, clock, after=after, limit=limit))
    if as_json:
        typer.echo(json.dumps(page, ensure_ascii=False, default=str))
        return
    if not page["uncertain"]:
        typer.echo("nothing is in doubt" if not after else "no more")
        return
    print_rows([operating.doubt_row(row) for row in page["uncertain"]], as_json=False)
    if page["next"]:
        typer.echo(f"more: bongsu uncertain list --after {page['next']}")


@uncertain_app.command("resolve")
def uncertain_resolve(
    attempt: Annotated[str, typer.Argument(metavar="ID[/N]", help="a message; /N for its Nth attempt")],
    database_url: DatabaseUrl,
    config: ConfigFile,
    *,
    says: Annotated[Says, typer.Option("--as", help="what became of it")],
    by: Annotated[str, typer.Option(help="who found out")],
    why: Annotated[str, typer.Option(help="how you know; no personal data")],
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """End a doubt by hand. It is written in the message's timeline, and cannot be taken back."""
    from bongsu.cli import operating  # noqa: PLC0415 - it takes a while to import

    found = asyncio.run(operating.resolve(database_url, config, clock, attempt, Word(says, by, why)))
    if as_json:
        typer.echo(json.dumps(found, default=str))
    else:
        waits = f" until {found['due_at']}" if found["due_at"] else ""
        typer.echo(f"attempt {found['attempt']} is {says}; its message is {found['state']}{waits}")
