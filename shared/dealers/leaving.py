"""The moment from which messages may leave: an adapter that prepares a call says when it is done with that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_gate: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("gate", default=None)


async def leave() -> None:
    """Wait until messages may leave. An adapter that ``prepares`` awaits it right before that request.

    What came before (messages added under a handle) does not count against a limit, and was done while its slot
    opened. Without a limit it returns at once.
    """
    if (gate := _gate.get()) is not None:
        await gate()


@contextmanager
def gate(opens: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Let ``leave`` within the block, and in tasks that begin there, wait for ``opens``."""
    token = _gate.set(opens)
    try:
        yield
    finally:
        _gate.reset(token)
