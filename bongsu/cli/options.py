"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

INGEST = "http://127.0.0.1:8000"
"""where `bongsu up` has it"""

DatabaseUrl = Annotated[str, typer.Option(envvar="BONGSU_DATABASE_URL", help="postgresql://…")]
ConfigFile = Annotated[Path, typer.Option("--config", envvar="BONGSU_CONFIG", help="the YAML file of the services")]
Bootstrap = Annotated[str, typer.Option(envvar="BONGSU_KAFKA_BOOTSTRAP_SERVERS", help="HOST:PORT,…")]
Url = Annotated[str, typer.Option(envvar="BONGSU_URL", help="where ingest listens")]
ApiKey = Annotated[str, typer.Option(envvar="BONGSU_API_KEY", help="an API key (`bongsu keys create NAME`)")]
AsJson = Annotated[bool, typer.Option("--json", help="for a program to read")]
ClockText = Annotated[str, typer.Option(envvar="BONGSU_CLOCK", help="empty: the system's clock", hidden=True)]
