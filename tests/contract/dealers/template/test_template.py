"""The template that new adapters are copied from: it runs as it is, and its marks are the steps of its page."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from aiohttp import web

from bongsu.sandbox import CallFault, Operation, Profile, Sandbox, start_sandbox
from bongsu.sandbox.server import DIALECTS
from shared.config import Config
from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    BadReceipt,
    Dealer,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Refused,
    Report,
    Text,
)
from shared.dealers.kinds import ADAPTERS
from shared.dealers.registry import build_dealers
from shared.ids import MessageId

PAGES = Path(__file__).parents[4] / "docs" / "dealers"
NAME = "somebodys_copy"

Calls = list[tuple[bytes, dict[str, str]]]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Sandbox, Dealer, Calls]]:
    """A copy of the template under another name, as an installed package adds it, and its part of a sandbox."""
    shutil.copytree(PAGES / "template", tmp_path / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ADAPTERS, NAME, f"{NAME}.adapter")
    monkeypatch.setitem(DIALECTS, NAME, f"{NAME}.dialect")
    calls: Calls = []

    async def take(request: web.Request) -> web.Response:
        calls.append((await request.read(), {name.lower(): value for name, value in request.headers.items()}))
        return web.Response()

    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_post("/", take)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        profile = Profile(accept_any_template=True)
        sandbox = await stack.enter_async_context(start_sandbox(profile, webhook_url=f"http://{host}:{port}/"))
        config = {
            "kind": NAME,
            "base_url": sandbox.url_of(NAME),
            "credentials": importlib.import_module(f"{NAME}.dialect").credentials(),
        }
        whole = Config.model_validate({"dealers": {"new": config}, "profiles": {"x": {"name": "x", "routes": [ROUTE]}}})
        dealer = build_dealers(whole.model_copy(update={"profiles": {}}))["new"]
        stack.push_async_callback(dealer.close)
        yield sandbox, dealer, calls
    for module in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[module]


ROUTE = {"dealer": "new", "sender_key": "K"}


def outgoing(n: int, text: str = "결제되었습니다.") -> Outgoing:
    message = MessageId(UUID(int=n))
    key = request_key(message, Channel.SMS, 1)
    return Outgoing(message, 1, key, Channel.SMS, f"010{n:08}", Text("0212345678", text))


def attempt(sent: Outgoing) -> OpenAttempt:
    now = datetime.now(UTC)
    return OpenAttempt(sent.message_id, sent.n, sent.request_key, sent.channel, sent.to, None, None, now)


async def test_it_sends_looks_up_and_reads_receipts(world: tuple[Sandbox, Dealer, Calls]) -> None:
    sandbox, dealer, calls = world
    taken, refused = await dealer.send(None, [outgoing(1), outgoing(2, "🎉")])
    assert isinstance(taken, Accepted)
    assert isinstance(refused, Refused)
    assert refused.reason == "content_charset"
    waiting, nothing = await dealer.lookup([attempt(outgoing(1)), attempt(outgoing(2))])
    assert isinstance(waiting, Report)
    assert waiting.delivered is None
    assert isinstance(nothing, NotFound)
    sandbox.settle()
    await sandbox.reports_pushed()
    [report] = [report for call in calls for report in dealer.read_receipts(*call)]
    assert (report.request_key, report.delivered) == (outgoing(1).request_key, True)
    with pytest.raises(BadReceipt):
        dealer.read_receipts(calls[0][0], {})


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(CallFault.CUT_AFTER, Ambiguous, id="cut-after"),
        pytest.param(CallFault.ERROR_AFTER, Ambiguous, id="error-after"),
        pytest.param(CallFault.GARBLED, Ambiguous, id="garbled"),
        pytest.param(CallFault.TRUNCATED, Ambiguous, id="truncated"),
        pytest.param(CallFault.REDIRECT, Ambiguous, id="redirect"),
        pytest.param(CallFault.KEY_REFUSED, Refused, id="key-refused"),
    ],
)
async def test_it_is_certain_of_nothing_that_it_cannot_know(
    world: tuple[Sandbox, Dealer, Calls], fault: CallFault, expected: type
) -> None:
    sandbox, dealer, _ = world
    sandbox.arrange(Operation.SEND, fault, dealer=NAME)
    [result] = await dealer.send(None, [outgoing(1)])
    assert isinstance(result, expected)
    [found] = await dealer.lookup([attempt(outgoing(1))])
    assert isinstance(found, Report if sandbox.truth() else NotFound)


async def test_over_the_limit_is_not_taken(world: tuple[Sandbox, Dealer, Calls]) -> None:
    _, dealer, _ = world
    results = await dealer.send(None, [outgoing(n) for n in range(1, 102)])
    assert {type(result) for result in results} == {NotTaken}


def test_its_marks_are_the_steps_of_the_page() -> None:
    page = (PAGES / "write-your-own.md").read_text(encoding="utf-8")
    steps = {int(number) for number in re.findall(r"^## (\d+)\. ", page, re.MULTILINE)}
    marks = {
        int(number)
        for file in (PAGES / "template").iterdir()
        if file.is_file()
        for numbers in re.findall(r"FILL IN (\d+(?: and \d+)?)", file.read_text(encoding="utf-8"))
        for number in numbers.split(" and ")
    }
    assert steps == set(range(1, 15))
    assert marks == steps - {1, 12, 13}  # which are read, run and tried
