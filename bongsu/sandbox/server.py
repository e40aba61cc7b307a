"""The sandbox as a server: each dealer under its own prefix, and ``/_sandbox`` for whoever judges."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from bongsu.sandbox import admin
from bongsu.sandbox.faults import Faults
from bongsu.sandbox.profile import CallFault, FaultProfile, Operation, Profile, Template
from bongsu.sandbox.solapi.api import Call, SolapiApi
from bongsu.sandbox.solapi.codes import Refused
from bongsu.sandbox.solapi.dealer import Solapi
from bongsu.sandbox.timers import Timers
from bongsu.sandbox.truth import Truth
from shared.clock import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from bongsu.sandbox.solapi.api import Route
    from bongsu.sandbox.truth import Dispatched

PREFIX = "/solapi"
_BODY_BYTES = 15 * 1024 * 1024  # of an add call (facts, section 3)
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
    """in place of the profile's"""


class Sandbox:
    """A running sandbox. ``url`` is what an adapter is given as SOLAPI's base address."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.profile = settings.profile
        self.chance = Faults(self.profile.faults, self.profile.seed)
        self.timers = Timers(settings.clock)
        self.book = Truth()
        self.solapi = Solapi(self.profile, settings.clock, self.chance, self.timers, self.book)
        self.api = SolapiApi(self.solapi)
        self.origin = ""
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        if settings.webhook_url is not None:
            self.solapi.webhooks.url = settings.webhook_url

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and let time pass."""
        app = web.Application(client_max_size=_BODY_BYTES)
        for route in self.api.routes():
            app.router.add_route(route.method, PREFIX + route.path, self._endpoint(route))
        admin.add_routes(app, self)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, max_line_size=_LINE_BYTES)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.settings.host, self.settings.port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.origin = f"http://{host}:{port}"
        self._tasks = [
            asyncio.create_task(self.timers.run(), name="sandbox timers"),
            asyncio.create_task(self.solapi.webhooks.run(), name="sandbox webhooks"),
        ]

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
        self.solapi.webhooks.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """Return SOLAPI's base address here."""
        return self.origin + PREFIX

    # -- what tests and the judge do -----------------------------------------------------------------------------

    @property
    def faults(self) -> FaultProfile:
        """Return what may go wrong; assign another to change it at once."""
        return self.chance.profile

    @faults.setter
    def faults(self, profile: FaultProfile) -> None:
        self.chance.profile = profile

    @property
    def webhook_url(self) -> str | None:
        """Return where reports are pushed; assign to change it."""
        return self.solapi.webhooks.url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        self.solapi.webhooks.url = url

    def arrange(self, operation: Operation, fault: CallFault, times: int = 1) -> None:
        """Let ``fault`` strike the next ``times`` calls of a kind."""
        self.chance.arrange(operation, fault, times)

    def add_templates(self, templates: Iterable[Template]) -> None:
        """Register templates with the dealer."""
        self.solapi.register_templates(templates)

    def truth(self) -> list[Dispatched]:
        """Return every message that left, in order."""
        return list(self.book.sent)

    def stats(self, key: str | None = None, until: str = "") -> dict[str, Any]:
        """Return totals; with ``key`` also duplicates, by this custom field (``Truth.duplicates``)."""
        return {
            **self.book.summary(key, until),
            "faults": dict(self.chance.met),
            "auth_refusals": dict(self.api.signatures.refused),
            "groups": len(self.solapi.groups),
            "messages": len(self.solapi.messages),
            "pending_events": len(self.timers),
            "webhooks": self.solapi.webhooks.summary(),
        }

    def settle(self) -> int:
        """Let everything that waits for its rule time happen now; return how much that was."""
        return self.timers.run_due(until=float("inf"))

    async def reports_pushed(self) -> None:
        """Wait until every report that is due was taken or given up."""
        await self.solapi.webhooks.drained()

    def reset(self) -> None:
        """Forget messages, groups and figures; keep templates and faults."""
        self.timers.clear()
        self.book = self.solapi.truth = Truth()
        self.chance.met.clear()
        self.solapi.webhooks.counted.clear()
        self.api.signatures.refused.clear()
        self.solapi.reset()

    # -- one call ------------------------------------------------------------------------------------------------

    def _endpoint(self, route: Route) -> Any:  # noqa: ANN401 - aiohttp's handler type is not public
        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            fault = self.chance.call_fault(route.operation)
            if latency := self.chance.latency(route.operation):
                await asyncio.sleep(latency)
            match fault:
                case CallFault.CUT_BEFORE:
                    return self._cut(request)
                case CallFault.ERROR_BEFORE:
                    return web.Response(status=503, text="Service Unavailable")
            answer = self._answer(route, request, body)
            match fault:
                case CallFault.CUT_AFTER:
                    return self._cut(request)
                case CallFault.ERROR_AFTER:
                    return web.Response(status=self.chance.dice.choice((502, 504)), text="Bad Gateway")
                case CallFault.STALL_AFTER:
                    await asyncio.sleep(self.chance.of_calls(route.operation).stall_seconds)
            return answer

        return handle

    def _answer(self, route: Route, request: web.Request, body: bytes) -> web.Response:
        """Process a call at one go: nothing else happens in between."""
        self.book.counted[f"calls_{route.operation}"] += 1
        try:
            customer = self.api.admit(route, request.headers.get("Authorization"))
            call = Call(customer, request.match_info, request.query, body)
            return web.Response(body=msgspec.json.encode(route.answer(call)), content_type="application/json")
        except Refused as refused:
            self.book.counted[f"answers_{refused.status}"] += 1
            return web.Response(
                status=refused.status,
                body=msgspec.json.encode(refused.as_body()),
                content_type="application/json",
                headers=refused.headers,
            )

    def _cut(self, request: web.Request) -> web.Response:
        """Close the connection, at once or politely; the response returned goes nowhere."""
        if request.transport is not None:
            if self.chance.dice.random() < 0.5:  # noqa: PLR2004 - as often a reset as an end of file
                request.transport.abort()
            else:
                request.transport.close()
        return web.Response(status=500)


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
