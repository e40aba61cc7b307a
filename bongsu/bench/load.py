"""A load generator: ``python -m bongsu.bench.load`` reads a ``Load`` as JSON from stdin and prints a ``Figures``.

It runs in a process of its own, writes requests that were encoded beforehand over keep-alive connections, and reads
of an answer only its status and length: about 20 us of CPU a request, where an HTTP client takes 200.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections import Counter, deque
from typing import cast
from urllib.parse import urlsplit

import msgspec

_STATUS = slice(9, 12)  # of "HTTP/1.1 202 Accepted"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where: each of ``bodies`` once, as a POST, over ``connections`` with one request in flight each."""

    url: str
    bodies: list[str]
    headers: dict[str, str]
    idempotency_keys: bool = False
    """give each request an Idempotency-Key of its own"""
    connections: int = 64


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a ``Load``."""

    began: float
    """when the first request left, by ``time.monotonic``, which all processes of a machine share"""
    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_seconds: float
    """of the generator itself"""
    last_answer: str
    """the body of one answer, a refusal if there was one, to see what was measured"""


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last is complete, until none is left."""

    def __init__(self, requests: deque[bytes], run: _Run) -> None:
        self._requests = requests
        self._run = run
        self._sent = 0.0
        self._buffer = b""
        self._body: list[bytes] = []
        self._status = b""
        self._missing = -1
        """bytes until the answer ends; -1 while its head is read"""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def next(self) -> None:
        """Send a request, or close if none is left."""
        if not self._requests:
            self._transport.close()
            return
        request = self._requests.popleft()
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            self._status = head[_STATUS]
            self._run.statuses[self._status.decode()] += 1
            self._body = [self._buffer[end + 4 :]]
            self._missing = length - len(self._body[0])
            self._buffer = b""
        else:
            self._body.append(data)
            self._missing -= len(data)
        if not self._missing:
            self._missing = -1
            self._run.took.append(time.perf_counter() - self._sent)
            if not self._run.last or self._status[:1] != b"2":
                self._run.last = self._body
            self.next()

    def connection_lost(self, _: Exception | None) -> None:
        self._run.closed()


class _Run:
    def __init__(self, connections: int) -> None:
        self.took: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.last: list[bytes] = []
        self._open = connections
        self.done = asyncio.Event()

    def closed(self) -> None:
        self._open -= 1
        if not self._open:
            self.done.set()


async def run(load: Load) -> Figures:
    """Send ``load``; return its figures. Raises ``ConnectionError`` if not every request was answered."""
    to = urlsplit(load.url)
    requests = deque(_encode(load, to.path, to.netloc, n, body.encode()) for n, body in enumerate(load.bodies))
    loop = asyncio.get_running_loop()
    running = _Run(load.connections)
    connections = [
        (await loop.create_connection(lambda: _Connection(requests, running), to.hostname or "", to.port or 80))[1]
        for _ in range(load.connections)
    ]
    began, began_at, spent = time.perf_counter(), time.monotonic(), _cpu_seconds()
    for connection in connections:
        connection.next()
    await running.done.wait()
    seconds = time.perf_counter() - began
    if len(running.took) != len(load.bodies):
        raise ConnectionError(f"{len(running.took)} of {len(load.bodies)} requests were answered")
    took = sorted(running.took)
    return Figures(
        began=began_at,
        seconds=seconds,
        statuses=dict(running.statuses),
        p50_ms=round(took[len(took) // 2] * 1000, 2),
        p99_ms=round(took[min(len(took) - 1, len(took) * 99 // 100)] * 1000, 2),
        max_ms=round(took[-1] * 1000, 2),
        cpu_seconds=round(_cpu_seconds() - spent, 3),
        last_answer=b"".join(running.last).decode(errors="replace"),
    )


def _encode(load: Load, path: str, host: str, n: int, body: bytes) -> bytes:
    headers = {**load.headers, "Host": host, "Content-Length": str(len(body))}
    if load.idempotency_keys:
        headers["Idempotency-Key"] = f"{time.time_ns():x}-{n}"
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def generate(load: Load) -> Figures:
    """Run ``load`` in a process of its own. Raises ``ConnectionError`` if that fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bongsu.bench.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, said = await process.communicate(msgspec.json.encode(load))
    if process.returncode:
        raise ConnectionError(f"the load generator failed: {said.decode(errors='replace')[-300:]}")
    return msgspec.json.decode(out, type=Figures)


def main() -> None:
    """Run the load that stands on stdin."""
    import uvloop  # noqa: PLC0415 - not on every platform; only this process needs it

    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(load))))


if __name__ == "__main__":
    main()
