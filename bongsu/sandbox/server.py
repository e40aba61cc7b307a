"""The sandbox as a server: each dealer under its own prefix, and ``/_sandbox`` for whoever judges."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bongsu.sandbox import admin
from bongsu.sandbox.dialect import Context, Dialect, Endpoint, Reply, Request
from bongsu.sandbox.faults import Faults
from bongsu.sandbox.profile import CallFault, FaultProfile, Operation, Profile, Template
from bongsu.sandbox.solapi.dialect import SolapiDialect
from bongsu.sandbox.timers import Timers, TurnedClock
from bongsu.sandbox.truth import Truth
from shared.clock import Clock, SystemClock
from shared.extensions import modules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from bongsu.sandbox.truth import Dispatched

DIALECTS = modules(Path(__file__).parent, "bongsu.sandbox", "dialect", group="bongsu.sandbox")
"""the dealers that the sandbox speaks, a prefix each: our folders, and what installed packages add"""

_BODY_BYTES = 15 * 1024 * 1024  # of SOLAPI's add call (facts, section 3), the largest of all
_LINE_BYTES = 64 * 1024  # 500 message ids in one query


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How a sandbox is started."""

    profile: Profile = field(default_factory=Profile)
    clock: Clock = field(default_factory=SystemClock)
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one"""
    webhook_url: str | None = None
    """in place of the profile's; ``{dealer}`` in it stands for the dealer's prefix"""
    record: bool = False
    """keep what was sent, for golden files; without what authorizes"""


class Sandbox:
    """A running sandbox. ``url_of(dealer)`` is what an adapter is given as its base address."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.profile = settings.profile
        self.clock = TurnedClock(settings.clock)
        self.timers = Timers(self.clock)
        self.book = Truth()
        self.chances: dict[str, Faults] = {}
        self.dialects: dict[str, Dialect] = {}
        self.record: list[dict[str, Any]] = []
        self.origin = ""
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        for name in DIALECTS:
            self._add(name)

    def _add(self, name: str) -> None:
        own = self.profile.of(name)
        faults = self.chances[name] = Faults(own.faults or self.profile.faults, self.profile.seed)
        context = Context(name, self.profile, own, self.clock, faults, self.timers, self.book)
        dialect = import_module(DIALECTS[name]).build(context)
        self.dialects[name] = dialect
        if self.settings.webhook_url is not None and dialect.webhooks is not None:
            dialect.webhooks.url = self.settings.webhook_url.replace("{dealer}", name)

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and let time pass."""
        app = web.Application(client_max_size=_BODY_BYTES)
        for name, dialect in self.dialects.items():
            for endpoint in dialect.endpoints():
                app.router.add_route(endpoint.method, f"/{name}{endpoint.path}", self._answering(name, endpoint))
        admin.add_routes(app, self)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, max_line_size=_LINE_BYTES)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.settings.host, self.settings.port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.origin = f"http://{host}:{port}"
        self._tasks = [asyncio.create_task(self.timers.run(), name="sandbox timers")]
        for name, dialect in self.dialects.items():
            if dialect.webhooks is not None:
                self._tasks.append(asyncio.create_task(dialect.webhooks.run(), name=f"sandbox webhooks of {name}"))

    async def run(self) -> None:
        """Wait until cancelled; raise what timers or webhooks die of."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop; whatever was not yet pushed never will be."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        for dialect in self.dialects.values():
            if dialect.webhooks is not None:
                dialect.webhooks.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def url_of(self, dealer: str) -> str:
        """Return a dealer's base address here."""
        return f"{self.origin}/{dealer}"

    @property
    def url(self) -> str:
        """Return SOLAPI's base address here."""
        return self.url_of("solapi")

    # -- what tests and the judge do -----------------------------------------------------------------------------

    @property
    def solapi(self) -> SolapiDialect:
        """Return SOLAPI's part."""
        dialect = self.dialects["solapi"]
        assert isinstance(dialect, SolapiDialect)  # noqa: S101 - its folder builds nothing else
        return dialect

    @property
    def faults(self) -> FaultProfile:
        """Return what may go wrong; assign another to change it at once, at every dealer."""
        return self.chances["solapi"].profile

    @faults.setter
    def faults(self, profile: FaultProfile) -> None:
        for chance in self.chances.values():
            chance.profile = profile

    @property
    def webhook_url(self) -> str | None:
        """Return where SOLAPI's reports are pushed; assign to change it."""
        return self.solapi.webhooks.url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        self.solapi.webhooks.url = url

    def arrange(self, operation: Operation, fault: CallFault, times: int = 1, dealer: str = "solapi") -> None:
        """Let ``fault`` strike the next ``times`` calls of a kind at ``dealer``."""
        self.chances[dealer].arrange(operation, fault, times)

    def add_templates(self, templates: Iterable[Template]) -> None:
        """Register templates with SOLAPI."""
        self.solapi.add_templates(templates)

    def truth(self) -> list[Dispatched]:
        """Return every message that left, in order."""
        return list(self.book.sent)

    def stats(self, key: str | None = None, until: str = "") -> dict[str, Any]:
        """Return totals; with ``key`` also duplicates, by this custom field (``Truth.duplicates``)."""
        pushed: Counter[str] = Counter()
        met: Counter[str] = Counter()
        for name, dialect in self.dialects.items():
            met.update(self.chances[name].met)
            if dialect.webhooks is not None:
                pushed.update(dialect.webhooks.summary())
        return {
            **self.book.summary(key, until),
            "faults": dict(met),
            **self.solapi.summary(),
            "dealers": {name: dialect.summary() for name, dialect in self.dialects.items()},
            "pending_events": len(self.timers),
            "webhooks": dict(pushed),
        }

    def settle(self) -> int:
        """Let everything that waits for its rule time happen now; return how much that was."""
        return self.timers.run_due(until=float("inf"))

    async def reports_pushed(self) -> None:
        """Wait until every report that is due was taken or given up."""
        for dialect in self.dialects.values():
            if dialect.webhooks is not None:
                await dialect.webhooks.drained()

    def reset(self) -> None:
        """Forget messages, groups and figures; keep templates and faults."""
        self.timers.clear()
        self.book.clear()
        self.record.clear()
        for name, dialect in self.dialects.items():
            self.chances[name].met.clear()
            if dialect.webhooks is not None:
                dialect.webhooks.counted.clear()
            dialect.reset()

    # -- one call ------------------------------------------------------------------------------------------------

    def _answering(self, dealer: str, endpoint: Endpoint) -> Any:  # noqa: ANN401 - aiohttp's type is not public
        chance = self.chances[dealer]

        async def handle(call: web.Request) -> web.StreamResponse:
            request = await _read(call, dealer)
            self._note(dealer, request)
            fault = chance.outage(self.clock.now()) or chance.call_fault(endpoint.operation)
            if latency := chance.latency(endpoint.operation):
                await asyncio.sleep(latency)
            if (refusal := self._unprocessed(fault, call, dealer)) is not None:
                return refusal
            self.book.counted[f"calls_{endpoint.operation}"] += 1
            reply = endpoint.answer(request)
            return await self._processed(fault, call, reply, chance, endpoint.operation)

        return handle

    def _unprocessed(self, fault: CallFault | None, call: web.Request, dealer: str) -> web.Response | None:
        """Return what a call meets that is not processed."""
        match fault:
            case CallFault.CUT_BEFORE:
                return self._cut(call, self.chances[dealer])
            case CallFault.ERROR_BEFORE:
                return web.Response(status=503, text="Service Unavailable")
            case CallFault.REDIRECT:
                return web.Response(status=302, headers={"Location": f"{self.origin}/moved"})
            case CallFault.KEY_REFUSED:
                return _response(self.dialects[dealer].refuse_key())
            case _:
                return None

    async def _processed(
        self, fault: CallFault | None, call: web.Request, reply: Reply, chance: Faults, operation: Operation
    ) -> web.StreamResponse:
        """Return what becomes of the answer to a call that was processed."""
        stall = chance.of_calls(operation).stall_seconds
        match fault:
            case CallFault.CUT_AFTER:
                return self._cut(call, chance)
            case CallFault.ERROR_AFTER:
                return web.Response(status=chance.dice.choice((502, 504)), text="Bad Gateway")
            case CallFault.TRUNCATED | CallFault.TRICKLE:
                return await self._broken(call, reply, stall, fault)
            case CallFault.GARBLED:
                reply = replace(reply, status=200, body=b'{"\xff<html>' + reply.body[:7])
            case CallFault.WRONG_TYPE:
                reply = replace(reply, content_type="text/html")
            case CallFault.STALL_AFTER:
                await asyncio.sleep(stall)
        return _response(reply)

    def _note(self, dealer: str, request: Request) -> None:
        if not self.settings.record:
            return
        headers = {name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS}
        self.record.append(
            {
                "dealer": dealer,
                "method": request.method,
                "target": request.target,
                "headers": headers,
                "body": request.body.decode("utf-8", "replace"),
            }
        )

    async def _broken(self, call: web.Request, reply: Reply, seconds: float, fault: CallFault) -> web.StreamResponse:
        """Answer half of the body and close, or all of it very slowly."""
        answer = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.content_type})
        answer.content_length = len(reply.body)
        await answer.prepare(call)
        if fault is CallFault.TRUNCATED:
            await answer.write(reply.body[: len(reply.body) // 2])
            if call.transport is not None:
                call.transport.close()
            return answer
        with suppress(ConnectionError):
            for byte in reply.body:
                await answer.write(bytes([byte]))
                await asyncio.sleep(seconds / max(1, len(reply.body)))
            await answer.write_eof()
        return answer

    def _cut(self, call: web.Request, chance: Faults) -> web.Response:
        """Close the connection, at once or politely; the response returned goes nowhere."""
        if call.transport is not None:
            if chance.dice.random() < 0.5:  # noqa: PLR2004 - as often a reset as an end of file
                call.transport.abort()
            else:
                call.transport.close()
        return web.Response(status=500)


_SECRET_HEADERS = frozenset(
    {"authorization", "x-secret-key", "agentkey", "x-ncp-apigw-signature-v2", "x-ncp-iam-access-key"}
)


async def _read(call: web.Request, dealer: str) -> Request:
    return Request(
        method=call.method,
        target=call.raw_path.removeprefix(f"/{dealer}"),
        path=call.match_info,
        query=call.query,
        headers={name.lower(): value for name, value in call.headers.items()},
        body=await call.read(),
    )


def _response(reply: Reply) -> web.Response:
    headers = {"Content-Type": reply.content_type, **reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


@asynccontextmanager
async def start_sandbox(
    profile: Profile | None = None,
    *,
    clock: Clock | None = None,
    webhook_url: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Sandbox]:
    """Run a sandbox in this process, by default one that accepts any template and has no faults."""
    sandbox = Sandbox(
        SandboxSettings(
            profile=profile if profile is not None else Profile(accept_any_template=True),
            clock=clock or SystemClock(),
            host=host,
            port=port,
            webhook_url=webhook_url,
        )
    )
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


async def serve(settings: SandboxSettings, *, ready: asyncio.Future[Sandbox] | None = None) -> None:
    """Run a sandbox until cancelled; ``ready`` gets it once it listens."""
    sandbox = Sandbox(settings)
    await sandbox.start()
    if ready is not None:
        ready.set_result(sandbox)
    try:
        await sandbox.run()
    finally:
        await sandbox.close()
