"""Pushes reports: batches, tries again, and gives up, in bounded memory."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bongsu.sandbox.profile import WebhookConfig


@dataclass(slots=True)
class Event:
    """One report on its way; what it looks like on the wire is the dealer's."""

    event_id: str
    subject: Any
    code: str
    at: float
    """when it was made, by the rules' clock"""
    retries: int = 0


@dataclass(slots=True)
class _Batch:
    events: list[Event]
    tries: int = 0
    retry: asyncio.TimerHandle | None = None


class Webhooks:
    """Posts events to ``url``; without one they are dropped, and only lookups tell."""

    def __init__(
        self,
        config: WebhookConfig,
        encode: Callable[[Sequence[Event]], bytes],
        headers: Callable[[str], Mapping[str, str]],
        answered: Callable[[Sequence[Event], bytes], bool] = lambda _events, _body: True,
        *,
        sign: Callable[[str, bytes], Mapping[str, str]] = lambda _secret, _body: {},
    ) -> None:
        """``answered`` says whether the body of a 200 is the answer that this dealer wants.

        ``headers`` is given the secret; ``sign`` the body as well, where the dealer signs that.
        """
        self.config = config
        self.url = config.url
        self.secret = config.secret.get_secret_value()
        self.counted: Counter[str] = Counter()
        self._encode = encode
        self._headers = headers
        self._sign = sign
        self._answered = answered
        self._ids = itertools.count(1)
        self._waiting: deque[_Batch] = deque()
        self._fresh: deque[Event] = deque()
        self._held = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._retries: set[asyncio.TimerHandle] = set()

    def new_id(self) -> str:
        """Return an id for an event."""
        return f"E4V{next(self._ids):020d}"

    def push(self, event: Event) -> None:
        """Queue an event."""
        if self.url is None or self._held >= self.config.waiting:
            self.counted["without_target" if self.url is None else "dropped"] += 1
            return
        self._held += 1
        self._idle.clear()
        self._fresh.append(event)
        self._wake.set()

    async def drained(self) -> None:
        """Wait until every event was answered or given up."""
        await self._idle.wait()

    def clear(self) -> None:
        """Forget what has not been posted."""
        for handle in self._retries:
            handle.cancel()
        self._retries.clear()
        self._waiting.clear()
        self._fresh.clear()
        self._held = 0
        self._idle.set()

    def summary(self) -> dict[str, int]:
        """Return totals."""
        return {**self.counted, "waiting": self._held}

    async def run(self) -> None:
        """Post what comes, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self.config.timeout_seconds)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            for _ in range(self.config.senders):
                tasks.create_task(self._send_all(session))

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self._wake.wait()
            if self._fresh and not self._waiting and len(self._fresh) < self.config.batch:
                await asyncio.sleep(self.config.linger_seconds)
            batch = self._take()
            if batch:
                await self._post(session, batch)

    def _take(self) -> _Batch | None:
        if self._waiting:
            return self._waiting.popleft()
        events = [self._fresh.popleft() for _ in range(min(len(self._fresh), self.config.batch))]
        if not self._fresh:
            self._wake.clear()
        return _Batch(events) if events else None

    async def _post(self, session: aiohttp.ClientSession, batch: _Batch) -> None:
        self.counted["posts"] += 1
        taken = False
        if self.url is not None:
            body = self._encode(batch.events)
            headers = {**self._headers(self.secret), **self._sign(self.secret, body)}
            try:
                async with session.post(self.url, data=body, headers=headers) as answer:
                    taken = answer.status == 200 and self._answered(batch.events, await answer.read())  # noqa: PLR2004 - the one answer that counts
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.counted["unreachable"] += 1
        if taken:
            self.counted["events_taken"] += len(batch.events)
            self._let_go(batch)
            return
        if batch.tries == len(self.config.retry_after_seconds):
            self.counted["events_given_up"] += len(batch.events)
            self._let_go(batch)
            return
        self.counted["retries"] += 1
        for event in batch.events:
            event.retries += 1
        wait = self.config.retry_after_seconds[batch.tries]
        batch.tries += 1
        batch.retry = asyncio.get_running_loop().call_later(wait, self._again, batch)
        self._retries.add(batch.retry)

    def _again(self, batch: _Batch) -> None:
        if batch.retry is not None:
            self._retries.discard(batch.retry)
        self._waiting.append(batch)
        self._wake.set()

    def _let_go(self, batch: _Batch) -> None:
        self._held = max(0, self._held - len(batch.events))
        if not self._held:
            self._idle.set()
