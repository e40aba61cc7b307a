"""``python -m bongsu.sandbox``: says where it listens, serves, and leaves on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp
import msgspec


async def test_it_says_where_it_listens_and_leaves_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bongsu.sandbox", "--port", "0", "--profile", "calm", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = msgspec.json.decode(await process.stdout.readline())
    assert told["pid"] == process.pid != os.getpid()
    assert told["solapi"] == told["sandbox"] + "/solapi"
    async with aiohttp.ClientSession() as session:
        for path in ("/healthz", "/readyz", "/_sandbox/stats", "/_sandbox/faults"):
            async with session.get(told["sandbox"] + path) as answer:
                assert answer.status == 200
    process.terminate()
    assert await process.wait() == 0
