"""What is certain after each answer of the hub, by status and body."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest
from aiohttp import web

from shared.dealers.base import Accepted, AlreadyTaken, Ambiguous, Dealer, NotTaken, Refused, SendResult
from shared.dealers.telemetry import UNMAPPED_CODES
from tests.contract.dealers.luna.luna_world import dealer_at, outgoing

ONE = outgoing(n=1)
KEY = ONE.request_key


@dataclass(slots=True)
class Hub:
    """Answers every call with the same."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    agent_keys: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer."""
        self.agent_keys.append(request.headers.get("agentKey", ""))
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    app = web.Application()
    app.router.add_post("/{path:.*}", hub.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    hub.url = f"http://{host}:{port}"
    yield hub
    await runner.cleanup()


@pytest.fixture
async def dealer(hub: Hub) -> AsyncIterator[Dealer]:
    async with dealer_at(hub.url, agent_key="my-key") as dealer:
        yield dealer


def said(code: object, **fields: object) -> bytes:
    return msgspec.json.encode({"code": code, "message_key": KEY, **fields})


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, said("LS0000"), Accepted(KEY), id="queued"),
        pytest.param(200, b'{"code":"LS0000"}', Accepted(KEY), id="queued-without-a-key"),
        pytest.param(200, said("0000"), Accepted(KEY), id="delivered-is-not-said-here"),
        pytest.param(200, said("3005"), Accepted(KEY), id="sent-and-not-confirmed"),
        pytest.param(200, said("3012"), AlreadyTaken(KEY), id="known-key"),
        pytest.param(400, said("3012"), AlreadyTaken(KEY), id="known-key-as-an-error"),
        pytest.param(200, said("LS0000") + b"}", Ambiguous, id="no-json"),
        pytest.param(200, b"", Ambiguous, id="empty"),
        pytest.param(200, b"[]", Ambiguous, id="no-object"),
        pytest.param(200, said(None), Ambiguous, id="no-code"),
        pytest.param(200, b'{"code":"LS0000","message_key":"other"}', Ambiguous, id="another-message"),
        pytest.param(200, b'{"code":"LS0000","message_key":7}', Ambiguous, id="another-kind-of-key"),
        pytest.param(200, said("LS0101"), Ambiguous, id="kakao-timed-out"),
        pytest.param(200, said("LS0102"), Ambiguous, id="kakao-broke"),
        pytest.param(200, said("LS9999"), Ambiguous, id="internal-error"),
        pytest.param(200, said("9999"), Ambiguous, id="unknown-error"),
        pytest.param(200, said("4711"), Ambiguous, id="unknown-code"),
        pytest.param(201, said("LS0000"), Ambiguous, id="another-success"),
        pytest.param(302, said("LS0000"), Ambiguous, id="redirect"),
        pytest.param(500, said("LS9999"), Ambiguous, id="500"),
        pytest.param(502, b"<html>", Ambiguous, id="502"),
        pytest.param(503, said("1003"), Ambiguous, id="503-whatever-it-says"),
        pytest.param(408, b"", Ambiguous, id="408"),
        pytest.param(400, said("LS0000"), Ambiguous, id="queued-and-refused"),
        pytest.param(400, said("LS0101"), Ambiguous, id="refused-in-doubt"),
        pytest.param(400, said("LS0001"), Refused("invalid_request", "LS0001", "malformed JSON or query"), id="json"),
        pytest.param(200, said("LS0002"), Refused("auth_failed", "LS0002", "no such agentKey"), id="agent-key"),
        pytest.param(401, b"", Refused, id="401"),
        pytest.param(403, b"<html>", Refused, id="403"),
        pytest.param(404, b"", Refused("unknown", "HTTP 404"), id="404"),
        pytest.param(400, said("4711"), Refused("unknown", "4711"), id="refused-by-an-unknown-code"),
        pytest.param(200, said("3016"), Refused, id="mismatch"),
        pytest.param(200, said("2004"), NotTaken, id="not-matched"),
        pytest.param(200, said("3006"), NotTaken, id="not-sent"),
        pytest.param(429, b"", NotTaken("rate_limited", "HTTP 429", retry_after=timedelta(seconds=2)), id="429"),
    ],
)
async def test_what_an_answer_makes_certain(
    hub: Hub, dealer: Dealer, status: int, body: bytes, expected: SendResult | type[SendResult]
) -> None:
    hub.status, hub.body = status, body
    if status == 429:
        hub.headers["Retry-After"] = "2"
    [result] = await dealer.send(None, [ONE])
    if isinstance(expected, type):
        assert type(result) is expected
    else:
        assert result == expected
    assert hub.agent_keys == ["my-key"]


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [(401, "auth_failed", "HTTP 401"), (403, "auth_failed", "HTTP 403")],
)
async def test_a_refusal_without_a_code(hub: Hub, dealer: Dealer, status: int, reason: str, code: str) -> None:
    hub.status = status
    [result] = await dealer.send(None, [ONE])
    assert isinstance(result, Refused)
    assert (result.reason, result.code) == (reason, code)


async def test_an_unknown_code_is_counted(hub: Hub, dealer: Dealer) -> None:
    counter = UNMAPPED_CODES.labels("luna", "alimtalk")
    before = counter._value.get()  # noqa: SLF001 - the client has no other way to read one child
    hub.body = said("4712")
    await dealer.send(None, [ONE])
    assert counter._value.get() == before + 1  # noqa: SLF001 - likewise
