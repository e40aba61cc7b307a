"""Group commit: requests that arrive while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from shared.errors import Transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


class Overloaded(Transient):
    """More waits already than can be kept up with."""


@dataclass(slots=True)
class _Parcel(Generic[T, R]):
    """What is written together, and in its order."""

    items: Sequence[T]
    results: asyncio.Future[Sequence[R | Exception]] = field(default_factory=asyncio.Future)


class Groups(Generic[T, R]):
    """Collects what is submitted into groups of about ``cap`` and writes up to ``flights`` of them at once.

    ``write`` takes a group and returns a result or an error for each of it, in order; what it raises, all of them get.
    Two groups may commit in either order; what must keep its order is submitted together, or one after the other.
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
        self._parcels: deque[_Parcel[T, R]] = deque()
        self._waiting = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, item: T) -> R:
        """Return the result once the group of ``item`` is written. Raises ``Overloaded`` at once, or as ``write``.

        Who is cancelled while waiting learns nothing: the item may be written or not.
        """
        (result,) = await self.submit_together([item])
        if isinstance(result, Exception):
            raise result
        return result

    async def submit_together(self, items: Sequence[T]) -> Sequence[R | Exception]:
        """Return the result of each of ``items`` once all are written, in one group even if it is over the cap."""
        if self._waiting >= self._most_waiting:
            raise Overloaded(f"{self._waiting} wait")
        parcel: _Parcel[T, R] = _Parcel(items)
        self._parcels.append(parcel)
        self._waiting += len(items)
        if len(self._under_way) < self._flights:
            flight = asyncio.create_task(self._fly())
            self._under_way.add(flight)
            flight.add_done_callback(self._under_way.discard)
        return await parcel.results

    async def close(self) -> None:
        """Return once nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _fly(self) -> None:
        await asyncio.sleep(0)  # who became ready in the same turn of the loop comes along
        while self._parcels:
            group = self._next_group()
            try:
                results = await self._write([item for parcel in group for item in parcel.items])
            except Exception as error:  # noqa: BLE001 - each of the group gets it, whatever it is
                for parcel in group:
                    if not parcel.results.done():
                        parcel.results.set_exception(error)
                continue
            start = 0
            for parcel in group:
                end = start + len(parcel.items)
                if not parcel.results.done():
                    parcel.results.set_result(results[start:end])
                start = end

    def _next_group(self) -> list[_Parcel[T, R]]:
        """Take the parcels that stand first: one, and as many more as the cap lets in."""
        group: list[_Parcel[T, R]] = []
        size = 0
        while self._parcels and (not group or size + len(self._parcels[0].items) <= self._cap):
            parcel = self._parcels.popleft()
            group.append(parcel)
            size += len(parcel.items)
        self._waiting -= size
        return group
