"""Child processes that are started again when they die, as any production supervisor does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Child:
    """One process, kept alive; its standard error goes to ``log``."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    restarts: int = 0
    _process: asyncio.subprocess.Process | None = None
    _keeper: asyncio.Task[None] | None = None
    _stopping: bool = False

    @property
    def pid(self) -> int | None:
        """The process id, or None between two lives."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process else None

    async def start(self) -> None:
        """Start the process, perhaps once more after a stop, and keep it alive from now on."""
        self._stopping = False
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    def kill(self) -> None:
        """SIGKILL the process; it is started again."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self, *, grace_seconds: float = 8.0) -> None:
        """SIGTERM, and SIGKILL if that is not heeded."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), grace_seconds)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    async def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                env={**os.environ, **self.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops its children in order
            )

    async def _keep(self) -> None:
        delay = 0.1
        while self._process is not None:
            began = asyncio.get_running_loop().time()
            await self._process.wait()
            if self._stopping:
                return
            lived = asyncio.get_running_loop().time() - began
            delay = 0.1 if lived > 5 else min(delay * 2, 3.0)  # noqa: PLR2004 - seconds that count as having lived
            await asyncio.sleep(delay)
            self.restarts += 1
            await self._spawn()


@dataclass
class Family:
    """The children of one run, stopped in the reverse order of their start."""

    children: dict[str, Child] = field(default_factory=dict)

    async def add(self, child: Child) -> Child:
        """Start ``child`` and look after it."""
        self.children[child.name] = child
        await child.start()
        return child

    async def stop(self) -> None:
        """Stop all, the last first."""
        for child in reversed(list(self.children.values())):
            await child.stop()
        self.children.clear()
