"""``python -m bongsu.sandbox``: the sandbox in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bongsu.sandbox.profile import BadProfile, Profile, load_profile
from bongsu.sandbox.server import Sandbox, SandboxSettings, serve
from shared.clock import clock_from
from shared.service import spare_collections

PROFILES = Path(__file__).parent / "profiles"


def find_profile(name: str) -> Path:
    """Return the file of a shipped profile (``calm``, ``rough``, ``mix``), or ``name`` as a path."""
    shipped = PROFILES / f"{name}.yaml"
    return shipped if shipped.is_file() else Path(name)


def read_arguments(arguments: list[str]) -> SandboxSettings:
    """Return the settings; exits with one line for what cannot be used."""
    parser = argparse.ArgumentParser(prog="bongsu.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8009, help="0: any free one")
    parser.add_argument("--profile", help="calm, rough, mix, or a YAML file; none: no faults, any template")
    parser.add_argument("--clock", default=os.environ.get("BONGSU_CLOCK", ""), help="as BONGSU_CLOCK")
    parser.add_argument(
        "--webhook", help="where reports are pushed, in place of the profile's; {dealer} in it is the prefix"
    )
    parser.add_argument("--seed", type=int, help="in place of the profile's")
    parser.add_argument("--record", action="store_true", help="keep what is sent, for GET /_sandbox/record")
    given = parser.parse_args(arguments)
    try:
        clock = clock_from(given.clock)
        profile = load_profile(find_profile(given.profile)) if given.profile else Profile(accept_any_template=True)
    except (BadProfile, ValueError) as error:
        parser.error(str(error))
    if given.seed is not None:
        profile = profile.model_copy(update={"seed": given.seed})
    return SandboxSettings(profile, clock, given.host, given.port, given.webhook, given.record)


async def _run(settings: SandboxSettings) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Sandbox] = loop.create_future()
    serving = asyncio.create_task(serve(settings, ready=ready))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    waiting: set[asyncio.Future[Any]] = {serving, ready}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        sandbox = ready.result()
        line = msgspec.json.encode(
            {"sandbox": sandbox.origin, "solapi": sandbox.url, "dealers": list(sandbox.dialects), "pid": os.getpid()}
        )
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()
    try:
        await serving
    except asyncio.CancelledError:
        return


def main(arguments: list[str] | None = None) -> None:
    """Run until SIGTERM; the first line on standard output is JSON with the addresses."""
    spare_collections()
    uvloop.run(_run(read_arguments(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    main()
