from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from services.ingest.lines import Cutter, lines_of
from shared.http.body import Bodies
from shared.http.problems import Problem


class Sender:
    """Plays a client: gives its parts one by one, then keeps silent."""

    def __init__(self, *parts: bytes, ends: bool = True) -> None:
        self._parts: Iterator[tuple[int, bytes]] = iter(enumerate(parts, start=1))
        self._last = len(parts) if ends else 0

    async def __call__(self) -> dict[str, Any]:
        for n, part in self._parts:
            return {"type": "http.request", "body": part, "more_body": n != self._last}
        await asyncio.Event().wait()
        raise AssertionError


async def read(bodies: Bodies, sender: Receive, declared: str = "") -> bytes | int:
    try:
        with bodies.open(sender, declared) as body:
            return await body.read()
    except Problem as problem:
        return problem.status


async def test_a_body_is_read_in_one_piece_or_several() -> None:
    assert await read(Bodies(10), Sender(b"0123456789")) == b"0123456789"
    assert await read(Bodies(10), Sender(b"01234", b"", b"56789", b"")) == b"0123456789"
    assert await read(Bodies(10), Sender(b"")) == b""


async def test_one_that_is_too_long_is_refused_by_what_it_says_or_by_what_comes() -> None:
    assert await read(Bodies(9), Sender(b"0123456789"), "10") == 413
    assert await read(Bodies(9), Sender(b"0123456789")) == 413
    assert await read(Bodies(9), Sender(b"01234", b"56789")) == 413


async def test_one_that_does_not_come_is_let_go() -> None:
    bodies = Bodies(1000, grace_seconds=0.01)
    assert await read(bodies, Sender(ends=False)) == 408
    assert await read(bodies, Sender(b"some", ends=False)) == 408
    assert (bodies.under_way, bodies.held) == (0, 0)


def trickle(parts: int) -> Receive:
    """A client that sends a byte now and then."""
    left = iter(range(parts, 0, -1))

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": next(left) > 1}

    return receive


async def test_one_that_trickles_is_let_go_and_a_far_one_is_not() -> None:
    bodies = Bodies(1000, grace_seconds=0.3)
    assert await read(bodies, trickle(1000)) == 408, "a byte each 10 ms, and 1,000 a second are wanted"
    bodies.least_pace = 1
    assert await read(bodies, trickle(50)) == b"x" * 50, "though it took longer than the grace"


async def test_more_bodies_than_are_kept_up_with_are_refused_at_once() -> None:
    bodies = Bodies(10, most=1)
    with bodies.open(Sender(b"")):
        assert await read(bodies, Sender(b"")) == 503
    assert await read(bodies, Sender(b"")) == b""


async def test_more_bytes_than_may_be_held_are_refused_until_others_are_answered() -> None:
    bodies = Bodies(10, most_bytes=15)
    with bodies.open(Sender(b"0123456789")) as first:
        await first.read()
        assert await read(bodies, Sender(b"0123456789")) == 503
        assert await read(bodies, Sender(b"01234")) == b"01234"
        assert bodies.held == 10, "until it is answered"
    assert bodies.held == 0
    assert await read(bodies, Sender(b"0123456789")) == b"0123456789"


async def test_a_client_that_is_gone_is_no_error_of_ours() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect), Bodies(10).open(gone) as body:
        await body.read()


def cut(longest: int, *parts: bytes) -> list[bytes | None]:
    cutter = Cutter(longest)
    found = [line for part in parts for line in cutter.cut(part)]
    assert len(cutter.rest) <= longest
    return found


def test_lines_are_cut_wherever_parts_end() -> None:
    whole = b"one\ntwo\n\n \nthree\n"
    for n in range(len(whole)):
        assert cut(10, whole[:n], whole[n:]) == [b"one", b"two", b"three"]


def test_a_line_that_is_too_long_is_known_once_and_never_held() -> None:
    assert cut(3, b"abcd\nabc\n") == [None, b"abc"]
    assert cut(3, b"ab", b"cd", b"efgh", b"\nabc\nab", b"cd\n") == [None, b"abc", None]


async def test_a_stream_is_held_by_the_group_however_long_it_is() -> None:
    bodies = Bodies(100)
    line = b"{}" + b" " * 97 + b"\n"
    most, groups = 0, []
    with bodies.open(Sender(*[line * 100] * 50)) as body:
        async for group in lines_of(body, 100):
            groups.append(len(group))
            most = max(most, bodies.held)
    assert groups == [500] * 10
    assert most <= 60_000
    assert bodies.held == 0
