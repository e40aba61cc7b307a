"""A real Apache Kafka of one node on this machine, for development and tests.

Everything about it lies in one directory, so that ``up`` and ``down`` may be called by different processes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from random import SystemRandom
from string import Template
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil

from bongsu.kafka.jars import KafkaUnavailable, jars, java

if TYPE_CHECKING:
    from collections.abc import Collection

_HERE = Path(__file__).parent
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


class KafkaServer:
    """A broker whose data, settings and log lie in ``directory``; it keeps its port over restarts."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self._directory = directory.absolute()
        self._port = port
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients. Raises ``KafkaUnavailable`` when it was never up."""
        try:
            return f"127.0.0.1:{int(self._port_file.read_text())}"
        except FileNotFoundError:
            raise KafkaUnavailable(f"no Kafka was ever up in {self._directory}") from None

    @property
    def pid(self) -> int | None:
        """The process that runs it; None when none does."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid  # known without its command line, which is empty for a moment at its start
        try:
            pid = int(self._pid_file.read_text())
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and str(self._settings) in process.cmdline():
                return pid
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            pass
        return None

    def up(self) -> str:
        """Start it, unless it runs, and return its address once it takes connections. Raises ``KafkaUnavailable``."""
        if self.pid is None:
            classpath = f"{jars()}/*"
            if not self._settings.exists():
                self._format(classpath)
            self._start(classpath)
        self._await_port()
        return self.bootstrap_servers

    def down(self) -> None:
        """Stop it in good order; nothing if it does not run."""
        self._signal(signal.SIGTERM)

    def kill9(self) -> None:
        """End it as a power cut would, the kernel's buffers apart."""
        self._signal(signal.SIGKILL)

    def restart(self) -> str:
        """Stop it and start it again on its port, with its data."""
        self.down()
        return self.up()

    @property
    def _settings(self) -> Path:
        return self._directory / "server.properties"

    @property
    def _pid_file(self) -> Path:
        return self._directory / "pid"

    @property
    def _port_file(self) -> Path:
        return self._directory / "port"

    @property
    def _log(self) -> Path:
        return self._directory / "kafka.log"

    def _format(self, classpath: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        port = self._port or _free_port()
        values = {"port": port, "controller_port": _free_port({port}), "directory": self._directory}
        text = Template((_HERE / "server.properties").read_text()).substitute(values)
        draft = self._directory / "server.properties.draft"
        draft.write_text(text)
        self._port_file.write_text(str(port))
        command = [*self._java(classpath, "-Xmx128m"), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
        command += [f"--cluster-id={cluster}", "--config", str(draft)]  # an id may begin with a dash
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, our words
        if done.returncode:
            lines = (done.stderr + done.stdout).splitlines()
            why = [line for line in lines if "Exception" in line or "Error" in line] or lines or ["no reason given"]
            raise KafkaUnavailable(f"Kafka could not format {self._directory}/data: {why[0][:300]}")
        draft.rename(self._settings)  # it stands once the data directory is whole

    def _start(self, classpath: str) -> None:
        command = [*self._java(classpath, "-Xmx512m"), "kafka.Kafka", str(self._settings)]
        with (self._directory / "out").open("wb") as out:
            self._child = subprocess.Popen(  # noqa: S603 - no shell, our words
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._directory,
                start_new_session=True,  # a Ctrl-C meant for whoever started it is not meant for it
            )
        self._pid_file.write_text(str(self._child.pid))

    def _java(self, classpath: str, heap: str) -> list[str]:
        return [
            java(),
            heap,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # it lives for minutes: start fast
            "-Duser.language=en",
            "-Dfile.encoding=UTF-8",
            f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}",
            f"-Dbongsu.kafka.log={self._log}",
            "-cp",
            classpath,
        ]

    def _await_port(self) -> None:
        host, port = self.bootstrap_servers.split(":")
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self.pid is None:
                break
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.kill9()
        raise KafkaUnavailable(f"Kafka did not start: {self._directory}/out and kafka.log say why")

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is None:
            return
        process = psutil.Process(pid)
        os.kill(pid, number)
        try:
            process.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
        if self._child is not None:
            self._child.wait()
            self._child = None
        self._pid_file.unlink(missing_ok=True)


def _free_port(but: Collection[int] = ()) -> int:
    """Return a port that is free and that no outgoing connection is given, so that it is still free after a restart."""
    for port in SystemRandom().sample(sorted(set(range(20_000, 32_000)) - set(but)), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise KafkaUnavailable("no free port between 20000 and 32000")
