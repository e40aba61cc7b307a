"""Errors in one line, with what to do."""

from __future__ import annotations

import logging
import sys

import aiohttp
import typer
from pydantic import ValidationError

from shared.errors import BongsuError


def run(app: typer.Typer) -> None:
    """Run ``app``; an error that a user can mend is one line on standard error and exit status 1."""
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log is said in the error, once
    try:
        app()
    except BongsuError as error:
        _fail(str(error))
    except ValidationError as error:
        _fail(in_words(error))
    except aiohttp.ClientConnectorError as error:
        _fail(f"nobody answers at {error.host}:{error.port}: is it up? (`bongsu up` starts everything)")
    except OSError as error:
        _fail(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def in_words(error: ValidationError) -> str:
    """Name the wrong settings by their variables, without their values."""
    problems: list[str] = []
    for item in error.errors(include_input=False, include_url=False):
        name = "BONGSU_" + "_".join(map(str, item["loc"])).upper()
        problems.append(f"{name} is not set" if item["type"] == "missing" else f"{name}: {item['msg']}")
    return "; ".join(problems)


def _fail(text: str) -> None:
    typer.echo(f"bongsu: {text}", err=True)
    sys.exit(1)
