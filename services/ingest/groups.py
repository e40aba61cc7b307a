"""Group commit: requests that arrive while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from shared.errors import Transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


class Overloaded(Transient):
    """More waits already than can be kept up with."""


class Groups(Generic[T, R]):
    """Collects what is submitted into groups of at most ``cap`` and writes up to ``flights`` of them at once.

    ``write`` takes a group and returns a result or an error for each of it, in order; what it raises, all of them get.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        cap: int = 500,
        flights: int = 2,
        most_waiting: int = 20_000,
    ) -> None:
        self._write = write
        self._cap = cap
        self._flights = flights
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, item: T) -> R:
        """Return the result once the group of ``item`` is written. Raises ``Overloaded`` at once, or as ``write``.

        Who is cancelled while waiting learns nothing: the item may be written or not.
        """
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded(f"{len(self._waiting)} wait")
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if len(self._under_way) < self._flights:
            flight = asyncio.create_task(self._fly())
            self._under_way.add(flight)
            flight.add_done_callback(self._under_way.discard)
        return await result

    async def close(self) -> None:
        """Return once nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _fly(self) -> None:
        await asyncio.sleep(0)  # who became ready in the same turn of the loop comes along
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(self._cap, len(self._waiting)))]
            try:
                results = await self._write([item for item, _ in group])
            except Exception as error:  # noqa: BLE001 - each of the group gets it, whatever it is
                for _, result in group:
                    if not result.done():
                        result.set_exception(error)
            else:
                for (_, result), value in zip(group, results, strict=True):
                    if result.done():
                        continue
                    if isinstance(value, Exception):
                        result.set_exception(value)
                    else:
                        result.set_result(value)
