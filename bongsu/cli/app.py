"""The commands."""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
import tempfile
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bongsu.cli import errors, halting, operator, templates
from bongsu.cli.client import Client
from bongsu.cli.options import INGEST, ApiKey, AsJson, Bootstrap, ClockText, DatabaseUrl, Url
from bongsu.cli.output import print_message, print_rows

app = typer.Typer(
    name="bongsu",
    help="A messaging backend for Kakao AlimTalk.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
kafka_app = typer.Typer(help="A real Apache Kafka on this machine, for development.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys, and the keys that seal personal data.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure, as JSON.", no_args_is_help=True)
app.add_typer(kafka_app, name="kafka")
app.add_typer(keys_app, name="keys")
app.add_typer(bench_app, name="bench")
app.add_typer(operator.dealers_app, name="dealers")
app.add_typer(operator.limits_app, name="limits")
app.add_typer(operator.stops_app, name="stops")
app.add_typer(operator.uncertain_app, name="uncertain")
app.add_typer(templates.app, name="templates")
for command in (halting.pause, halting.resume, halting.pauses, halting.cancel, halting.cancellations):
    app.command()(command)


class Service(StrEnum):
    """A deployable."""

    INGEST = "ingest"
    DISPATCHER = "dispatcher"
    FALLBACK = "fallback"
    METRICS = "metrics"


# -- running ------------------------------------------------------------------------------------------


@app.command()
def up(
    *,
    data: Annotated[Path | None, typer.Option(help="keep data here between runs (default: forget it)")] = None,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help='use this Kafka; "local" starts one (default: embedded bus)')
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="use this Postgres (default: an embedded one)")] = None,
    config: Annotated[Path | None, typer.Option(help="dealers and profiles (default: the sandbox)")] = None,
    sandbox_profile: Annotated[str, typer.Option(help="calm, rough, or a file of faults")] = "calm",
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="any free ports (default: 8000 to 8003, 8009)")
    ] = False,
    codes_apart: Annotated[
        bool, typer.Option("--codes-apart", help="a dispatcher of their own for codes, so that no campaign slows them")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole system on this machine until Ctrl-C."""
    from bongsu.box import Box, BoxOptions  # noqa: PLC0415 - it takes a while to import

    options = BoxOptions(
        data=data,
        kafka=kafka,
        database_url=database_url,
        config=config,
        sandbox_profile=sandbox_profile,
        fixed_ports=not free_ports,
        codes_apart=codes_apart,
    )

    async def stay() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        async with Box(options) as box:
            if as_json:
                typer.echo(json.dumps({**box.urls, "api_key": box.api_key, "pids": box.pids}))
            else:
                for name, url in box.urls.items():
                    typer.echo(f"{name:<11} {url}")
                typer.echo(f"{'database':<11} {box.database_url}")
                typer.echo(f"{'data':<11} {box.directory}")
                typer.echo(f"{'api key':<11} {box.api_key}")
                typer.echo(f"\nexport BONGSU_API_KEY={box.api_key} BONGSU_DATABASE_URL='{box.database_url}'")
                typer.echo("bongsu send 010-1234-5678 --name 홍길동     sends a first message; Ctrl-C stops everything")
            sys.stdout.flush()
            await stopping.wait()

    asyncio.run(stay())


@app.command()
def serve(service: Service) -> None:
    """Run one service, for production; it reads its settings from BONGSU_* variables."""
    importlib.import_module(f"services.{service}.app").start()


@app.command()
def demo(
    *,
    events: Annotated[int, typer.Option(min=10, max=50_000, help="how much happens in the day")] = 2000,
    seed: Annotated[int, typer.Option(help="another day")] = 1,
    speed: Annotated[float, typer.Option(min=60, max=3000, help="how much faster than the world")] = 1100,
    kafka: Annotated[bool, typer.Option("--kafka", help="over a real Kafka, not the embedded bus")] = False,
    data: Annotated[Path | None, typer.Option(help="keep data and logs here")] = None,
) -> None:
    """Run a shop's day in under two minutes, with every fault on and a dealer down; exit 1 if a promise is broken."""
    from bongsu.demo.run import run_demo  # noqa: PLC0415 - it takes a while to import

    sys.exit(asyncio.run(run_demo(events=events, seed=seed, speed=speed, kafka=kafka, data=data)))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def sandbox(context: typer.Context) -> None:
    """Run the dealer sandbox alone (its options: bongsu sandbox --help)."""
    from bongsu.sandbox.__main__ import main as sandbox_main  # noqa: PLC0415 - it takes a while to import

    sandbox_main(context.args)


@kafka_app.command("up")
def kafka_up(
    *,
    data: Annotated[Path, typer.Option(help="where it keeps its log")] = Path(".bongsu/kafka"),
    port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 9092,
    as_json: AsJson = False,
) -> None:
    """Start Apache Kafka 4.1 (KRaft, one node) and leave it running."""
    from bongsu.kafka import KafkaServer  # noqa: PLC0415 - it takes a while to import

    server = KafkaServer(data, port=port)
    server.up()
    found = {"bootstrap_servers": server.bootstrap_servers, "pid": server.pid}
    typer.echo(json.dumps(found) if as_json else f"{server.bootstrap_servers} (pid {server.pid}, data in {data})")


@kafka_app.command("down")
def kafka_down(data: Annotated[Path, typer.Option(help="as given to `up`")] = Path(".bongsu/kafka")) -> None:
    """Stop the Kafka that `bongsu kafka up` started."""
    from bongsu.kafka import KafkaServer  # noqa: PLC0415 - it takes a while to import

    server = KafkaServer(data)
    running = server.pid is not None
    server.down()
    typer.echo("stopped" if running else "none was running")


# -- setting up ------------------------------------------------------------------------------------------


@app.command()
def migrate(database_url: DatabaseUrl, clock: ClockText = "") -> None:
    """Create or upgrade the schema, and make partitions ahead."""
    from bongsu.cli import setup  # noqa: PLC0415 - it takes a while to import

    asyncio.run(setup.migrate(database_url, clock))
    typer.echo("the schema is the newest")


@app.command()
def topics(
    bootstrap: Bootstrap,
    partitions: Annotated[int, typer.Option(min=1, help="of each topic")] = 12,
    replication: Annotated[int, typer.Option(min=1, help="3 in production")] = 1,
) -> None:
    """Create the topics that are missing."""
    from bongsu.cli import setup  # noqa: PLC0415 - it takes a while to import

    made = asyncio.run(setup.topics(bootstrap, partitions, replication))
    typer.echo("\n".join(made) if made else "all topics are there")


@app.command()
def apply(
    directory: Annotated[Path, typer.Argument(help="YAML files of templates and rules", exists=True, file_okay=False)],
    database_url: DatabaseUrl,
    *,
    prune: Annotated[bool, typer.Option(help="take what stands in no file out of use")] = False,
    as_json: AsJson = False,
    clock: ClockText = "",
) -> None:
    """Make the templates and rules of a directory the active ones: all of them, or none."""
    from bongsu.cli import setup  # noqa: PLC0415 - it takes a while to import

    changed = asyncio.run(setup.apply(database_url, directory, clock, prune=prune))
    if as_json:
        typer.echo(json.dumps(changed))
    else:
        for kind, names in changed.items():
            typer.echo(f"{kind}: {', '.join(names) if names else 'none'}")


@keys_app.command("create")
def keys_create(name: str, database_url: DatabaseUrl, *, as_json: AsJson = False, clock: ClockText = "") -> None:
    """Make an API key. It is shown once; only its hash is kept."""
    from bongsu.cli import setup  # noqa: PLC0415 - it takes a while to import

    key = asyncio.run(setup.create_key(database_url, name, clock))
    typer.echo(json.dumps({"name": name, "api_key": key}) if as_json else key)


@keys_app.command("list")
def keys_list(database_url: DatabaseUrl, *, as_json: AsJson = False) -> None:
    """List API keys by name."""
    from bongsu.cli import setup  # noqa: PLC0415 - it takes a while to import

    print_rows(asyncio.run(setup.list_keys(database_url)), as_json=as_json)


@keys_app.command("revoke")
def keys_revoke(name: str, database_url: DatabaseUrl, clock: ClockText = "") -> None:
    """Revoke the API keys of this name; they may still be taken for five seconds."""
    from bongsu.cli import setup  # noqa: PLC0415 - it takes a while to import

    typer.echo(f"revoked {asyncio.run(setup.revoke_key(database_url, name, clock))}")


@keys_app.command("encryption")
def keys_encryption(name: Annotated[str, typer.Argument(help="of the sealing key, as 2026a")] = "first") -> None:
    """Print a fresh value for BONGSU_ENCRYPTION_KEYS."""
    from shared.crypto import new_keys  # noqa: PLC0415 - it takes a while to import

    typer.echo(new_keys(name))


# -- every day ------------------------------------------------------------------------------------------


@app.command()
def send(
    phone: Annotated[str, typer.Argument(help="of the recipient, as 010-1234-5678")],
    api_key: ApiKey,
    *,
    name: Annotated[str, typer.Option(help="of the recipient")] = "홍길동",
    event_type: Annotated[str, typer.Option("--type", help="which event to tell of")] = "lead.created",
    profile: Annotated[str, typer.Option(help="who sends")] = "shop",
    data: Annotated[str, typer.Option(help="the event's data as JSON, besides the recipient")] = "",
    url: Url = INGEST,
    as_json: AsJson = False,
) -> None:
    """Tell bongsu of one event, as another service would."""
    body = json.loads(data) if data else Client.sample(event_type)
    whole = {"recipient": {"phone": phone, "name": name}, **body}
    made = asyncio.run(Client(url, api_key).send(event_type, profile, whole))
    if as_json:
        typer.echo(json.dumps(made, ensure_ascii=False))
        return
    typer.echo(f"event {made['event_id']}{' (seen before)' if made['duplicate'] else ''}")
    for message in made["messages"]:
        waits = " (it waits: `bongsu explain ID` says until when)" if message["state"] == "scheduled" else ""
        typer.echo(f"message {message['id']} by rule {message['rule']}: {message['state']}{waits}")
    if not made["messages"]:
        typer.echo("no rule wants it, so nobody is messaged")


@app.command()
def explain(
    message_id: Annotated[str, typer.Argument(metavar="ID")],
    api_key: ApiKey,
    url: Url = INGEST,
    as_json: AsJson = False,  # noqa: FBT002 - typer's way of an option
) -> None:
    """Say in plain words what became of a message, and why."""
    found = asyncio.run(Client(url, api_key).message(message_id))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        print_message(found)


@app.command()
def tail(
    database_url: DatabaseUrl,
    *,
    since: Annotated[str, typer.Option(help="now, or start for all there is")] = "now",
    for_seconds: Annotated[float | None, typer.Option(help="stop after (default: Ctrl-C)")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow every change of state as it is committed."""
    from bongsu.cli.tail import follow  # noqa: PLC0415 - it takes a while to import

    limit = None if for_seconds is None else timedelta(seconds=for_seconds)
    asyncio.run(follow(database_url, from_start=since == "start", limit=limit, as_json=as_json))


@app.command()
def recount(
    database_url: DatabaseUrl,
    *,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="replace the statistics by the recount first")] = False,
    as_json: AsJson = False,
) -> None:
    """Recount the statistics from the ledger and compare; exit 1 if they differ."""
    from bongsu.cli import setup  # noqa: PLC0415 - it takes a while to import

    if rebuild:
        asyncio.run(setup.rebuild(database_url))
    rows = asyncio.run(setup.recount(database_url))
    if rows or as_json:
        print_rows(rows, as_json=as_json)
    if rows:
        sys.exit(1)
    if not as_json:
        typer.echo("the statistics equal the recount, to the unit")


@bench_app.command("path")
def bench_path(
    *,
    messages: Annotated[int, typer.Option(min=500, help="single events a round; four times as many in batches")] = 5000,
    rounds: Annotated[int, typer.Option(min=1, help="of which the median is taken")] = 3,
    buses: Annotated[str, typer.Option(help="kafka,embedded")] = "kafka,embedded",
    peers: Annotated[Path | None, typer.Option(help="a folder with peer_celery.py, to be measured too")] = None,
    python: Annotated[str, typer.Option(help="the interpreter that has what it needs")] = sys.executable,
) -> None:
    """Events over HTTP to a gateway, beside a hand-tuned pipe and a queue: rates, latency, CPU, memory, ratios."""
    from bongsu.bench.ways import bench  # noqa: PLC0415 - it takes a while to import

    work = bench(messages, rounds, buses=buses.split(","), peers=peers, python=python)
    typer.echo(json.dumps(asyncio.run(work), ensure_ascii=False, indent=2))


@bench_app.command("lanes")
def bench_lanes(
    *,
    messages: Annotated[int, typer.Option(min=1000, help="mass messages that wait")] = 1_000_000,
    rate: Annotated[int, typer.Option(min=10, help="the dealer's limit, in messages a second")] = 500,
    seconds: Annotated[float, typer.Option(min=5, help="how long codes are measured, idle and then loaded")] = 30.0,
    kafka: Annotated[bool, typer.Option("--kafka", help="over a real Kafka, not the embedded bus")] = False,
) -> None:
    """Codes behind a campaign: from the 202 to the dealer, idle and loaded; and how two profiles share a lane."""
    from bongsu.bench.lanes import bench  # noqa: PLC0415 - it takes a while to import

    typer.echo(json.dumps(asyncio.run(bench(messages, rate, seconds, kafka=kafka)), ensure_ascii=False, indent=2))


@bench_app.command("ingest")
def bench_ingest(
    *,
    events: Annotated[int, typer.Option(min=500, help="single events a round; five times as many in batches")] = 5000,
    rounds: Annotated[int, typer.Option(min=1, help="of which the median is taken")] = 3,
    kafka: Annotated[bool, typer.Option("--kafka", help="let the hand-tuned endpoint produce to a Kafka too")] = False,
) -> None:
    """Events into ingest, beside an echo, FastAPI and a hand-tuned endpoint: rates, latency, CPU, ratios."""
    from bongsu.bench.ingest import bench  # noqa: PLC0415 - it takes a while to import

    typer.echo(json.dumps(asyncio.run(bench(events, rounds, kafka=kafka)), ensure_ascii=False, indent=2))


@bench_app.command("stages")
def bench_stages(
    *,
    batch: Annotated[int, typer.Option(min=10, max=5000, help="messages that go through together")] = 500,
    rounds: Annotated[int, typer.Option(min=1, help="batches")] = 12,
) -> None:
    """Show what a message costs by stage: microseconds of Python and of Postgres."""
    from bongsu.bench.stages import bench  # noqa: PLC0415 - it takes a while to import

    typer.echo(json.dumps(asyncio.run(bench(batch, rounds)), ensure_ascii=False, indent=2))


@bench_app.command("fill")
def bench_fill(
    *,
    messages: Annotated[int, typer.Option(min=1, help="how many messages to make; each takes 4.5 kB of disk")],
    weeks: Annotated[int, typer.Option(min=1, max=200, help="over how many weeks they are spread")] = 8,
    data: Annotated[Path | None, typer.Option(help="the ledger of `bongsu up --data DIR`, which must not run")] = None,
    database_url: Annotated[
        str | None, typer.Option(envvar="BONGSU_DATABASE_URL", help="or the ledger of this Postgres, used by nobody")
    ] = None,
) -> None:
    """Fill a ledger with messages that have ended; print how long it took, and bytes a message by table."""
    from bongsu.bench.fill import bench  # noqa: PLC0415 - it takes a while to import

    where = data.expanduser().resolve() if data is not None else None
    figures = asyncio.run(bench(messages, weeks=weeks, data=where, database_url=database_url))
    typer.echo(json.dumps(figures, ensure_ascii=False, indent=2))


@bench_app.command("ledger")
def bench_ledger(
    *,
    messages: Annotated[
        int, typer.Option(min=100, help="how many the large ledger has; each takes 4.5 kB")
    ] = 1_000_000,
    against: Annotated[int, typer.Option(min=100, help="how many the small one has")] = 10_000,
    weeks: Annotated[int, typer.Option(min=1, max=200, help="over how many weeks they are spread")] = 8,
    sent: Annotated[int, typer.Option(min=100, help="events that are sent through each, a round")] = 3000,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="how often, in turn")] = 5,
    data: Annotated[Path | None, typer.Option(help="keep both ledgers here, or use those that are")] = None,
) -> None:
    """Compare a large ledger with a small one: throughput, explaining a message, the heatmap, disk."""
    from bongsu.bench.ledger import bench  # noqa: PLC0415 - it takes a while to import

    with tempfile.TemporaryDirectory(prefix="bongsu-ledger-") as forgotten:
        where = (data or Path(forgotten)).expanduser().resolve()
        work = bench((against, messages), weeks=weeks, messages=sent, rounds=rounds, directory=where)
        typer.echo(json.dumps(asyncio.run(work), ensure_ascii=False, indent=2))


@bench_app.command("limit")
def bench_limit(
    *,
    seconds: Annotated[float, typer.Option(min=2, max=600, help="for each rate")] = 60,
    rates: Annotated[str, typer.Option(help="messages a second")] = "200,1000,5000",
) -> None:
    """Keep a limit while workers die and join: windows exceeded, use, what codes wait, CPU of the limiter."""
    from bongsu.bench.limit import bench  # noqa: PLC0415 - it takes a while to import

    found = asyncio.run(bench([int(rate) for rate in rates.split(",")], seconds))
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


@bench_app.command("due")
def bench_due(
    *,
    messages: Annotated[int, typer.Option(min=1000, help="how many are due in one minute")] = 1_000_000,
    limit: Annotated[int, typer.Option(min=1, help="messages a second that the dealer takes")] = 500,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="how long codes and orders come while idle")] = 20,
) -> None:
    """Let a campaign be due in one minute: how long to queue it, what codes and orders wait, what left at night."""
    from bongsu.bench.due import bench  # noqa: PLC0415 - it takes a while to import

    found = asyncio.run(bench(messages, limit=limit, idle_seconds=seconds))
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


@bench_app.command("memory")
def bench_memory(
    *,
    messages: Annotated[int, typer.Option(min=1000, help="how many wait, as a backlog")] = 1_000_000,
    events: Annotated[int, typer.Option(min=500, help="that come as fast as they are taken")] = 5000,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="how long to look, idle and with the backlog")] = 30,
) -> None:
    """Look at each process: memory idle, at full load and with a backlog, CPU while idle, seconds to start."""
    from bongsu.bench.memory import bench  # noqa: PLC0415 - it takes a while to import

    found = asyncio.run(bench(messages, events=events, seconds=seconds))
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


def main() -> None:
    """Run the command line."""
    errors.run(app)
