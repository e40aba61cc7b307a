"""Tells ingest what happens, when it happens, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus

import aiohttp
import msgspec

from bongsu.demo.day import Occurrence
from shared.clock import Clock

CONNECTIONS = 32


@dataclass
class Fed:
    """What was told and how it was answered."""

    told: int = 0
    accepted: list[str] = field(default_factory=list)
    """ids of the messages that 202 answers named"""
    numbers: dict[str, str] = field(default_factory=dict)
    """recipients, and the id of the latest message that an answer named for them"""
    refused: list[str] = field(default_factory=list)
    """titles of problems"""
    repeated: int = 0
    """requests that had to be made again: the service was away"""


async def feed(url: str, api_key: str, day: Sequence[Occurrence], clock: Clock, fed: Fed) -> None:
    """POST each occurrence when its time has come, again and again until it is answered; update ``fed``."""
    speed = clock.stretch(timedelta(seconds=1))
    room = asyncio.Semaphore(CONNECTIONS)
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/cloudevents+json"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(10)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http,
        asyncio.TaskGroup() as group,
    ):

        async def tell(occurrence: Occurrence) -> None:
            try:
                await _tell(http, f"{url}/v1/events", occurrence, fed)
            finally:
                room.release()

        for occurrence in day:
            await asyncio.sleep(max(0.0, (occurrence.at - clock.now()) / speed))
            await room.acquire()
            group.create_task(tell(occurrence))


async def _tell(http: aiohttp.ClientSession, url: str, occurrence: Occurrence, fed: Fed) -> None:
    body = msgspec.json.encode(occurrence.event)
    key = {"Idempotency-Key": f"{occurrence.event['source']}/{occurrence.event['id']}"}
    while True:
        try:
            async with http.post(url, data=body, headers=key) as answer:
                said = msgspec.json.decode(await answer.read())
                if answer.status == HTTPStatus.ACCEPTED:
                    fed.told += 1
                    fed.accepted += [message["id"] for message in said["messages"]]
                    number = occurrence.event["data"]["recipient"]["phone"].replace("-", "")
                    fed.numbers.update((number, message["id"]) for message in said["messages"])
                    return
                retry = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.CONFLICT
                if not retry:
                    fed.refused.append(said.get("title", str(answer.status)))
                    return
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            pass
        fed.repeated += 1
        await asyncio.sleep(0.1)
