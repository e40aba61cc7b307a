"""``/_sandbox``: what really happened, and switches. No signature is asked; a sandbox holds nobody's data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from bongsu.sandbox.profile import CallFault, FaultProfile, Operation, Template, problems_of
from shared.clock import clock_from
from shared.dealers.templates import TemplateStatus

if TYPE_CHECKING:
    from bongsu.sandbox.server import Sandbox

_ROWS_AT_ONCE = 1000
_TEMPLATES = TypeAdapter(list[Template])


def add_routes(app: web.Application, sandbox: Sandbox) -> None:
    """Add the endpoints to ``app``."""
    endpoints = _Admin(sandbox)
    app.add_routes(
        [
            web.get("/healthz", endpoints.healthz),
            web.get("/readyz", endpoints.healthz),
            web.get("/_sandbox/truth", endpoints.truth),
            web.get("/_sandbox/stats", endpoints.stats),
            web.get("/_sandbox/record", endpoints.recorded),
            web.get("/_sandbox/faults", endpoints.get_faults),
            web.post("/_sandbox/faults", endpoints.change_faults),
            web.post("/_sandbox/arrange", endpoints.arrange),
            web.post("/_sandbox/templates", endpoints.add_templates),
            web.post("/_sandbox/inspect", endpoints.inspect),
            web.post("/_sandbox/webhook", endpoints.set_webhook),
            web.post("/_sandbox/clock", endpoints.set_clock),
            web.post("/_sandbox/settle", endpoints.settle),
            web.post("/_sandbox/reset", endpoints.reset),
        ]
    )


class _Arranged(msgspec.Struct, forbid_unknown_fields=True):
    operation: Operation
    fault: CallFault
    times: int = 1
    dealer: str = "solapi"


class _Inspected(msgspec.Struct, forbid_unknown_fields=True):
    dealer: str
    code: str
    status: TemplateStatus
    comment: str = ""


class _Clock(msgspec.Struct, forbid_unknown_fields=True):
    clock: str


class _Webhook(msgspec.Struct, forbid_unknown_fields=True):
    url: str | None
    secret: str | None = None


class _Admin:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def truth(self, request: web.Request) -> web.StreamResponse:
        """Answer JSON lines, ``limit`` rows from the ``after``-th on."""
        try:
            after = int(request.query.get("after", "0"))
            limit = int(request.query["limit"]) if "limit" in request.query else None
        except ValueError:
            return _problem("after and limit are numbers")
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        lines: list[bytes] = []
        for row in self.sandbox.book.rows(after, limit):
            lines.append(msgspec.json.encode(row))
            if len(lines) == _ROWS_AT_ONCE:
                await answer.write(b"\n".join(lines) + b"\n")
                lines.clear()
        if lines:
            await answer.write(b"\n".join(lines) + b"\n")
        await answer.write_eof()
        return answer

    async def stats(self, request: web.Request) -> web.Response:
        return _json(self.sandbox.stats(request.query.get("key"), request.query.get("until", "")))

    async def recorded(self, _: web.Request) -> web.Response:
        return _json(self.sandbox.record)

    async def get_faults(self, request: web.Request) -> web.Response:
        dealer = request.query.get("dealer", "solapi")
        if dealer not in self.sandbox.chances:
            return _problem(f"no such dealer: {dealer}")
        return _json(self.sandbox.chances[dealer].profile.model_dump(mode="json"))

    async def change_faults(self, request: web.Request) -> web.Response:
        """Merge the body (RFC 7396) into the faults of ``?dealer=``, else of all; ``?replace=1`` begins from none."""
        dealer = request.query.get("dealer")
        if dealer is not None and dealer not in self.sandbox.chances:
            return _problem(f"no such dealer: {dealer}")
        chances = self.sandbox.chances.values() if dealer is None else [self.sandbox.chances[dealer]]
        try:
            patch = msgspec.json.decode(await request.read(), type=dict[str, Any])
            changed = []
            for chance in chances:
                now = {} if "replace" in request.query else chance.profile.model_dump(mode="json", exclude_unset=True)
                changed.append(FaultProfile.model_validate(merged(now, patch)))
        except msgspec.DecodeError as error:
            return _problem(str(error))
        except ValidationError as error:
            return _problem(problems_of(error))
        for chance, profile in zip(chances, changed, strict=True):
            chance.profile = profile
        return await self.get_faults(request)

    async def arrange(self, request: web.Request) -> web.Response:
        """Let a fault strike the next calls of a kind."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=_Arranged)
        except msgspec.DecodeError as error:
            return _problem(str(error))
        if wanted.dealer not in self.sandbox.chances:
            return _problem(f"no such dealer: {wanted.dealer}")
        self.sandbox.arrange(wanted.operation, wanted.fault, wanted.times, wanted.dealer)
        return _json({"arranged": wanted.times})

    async def add_templates(self, request: web.Request) -> web.Response:
        try:
            templates = _TEMPLATES.validate_json(await request.read())
        except ValidationError as error:
            return _problem(problems_of(error))
        return _json({"templates": self.sandbox.solapi.add_templates(templates)})

    async def inspect(self, request: web.Request) -> web.Response:
        """Do as a dealer's inspector to a template: approve it, reject it with a comment, let it fall dormant."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=_Inspected)
        except msgspec.DecodeError as error:
            return _problem(str(error))
        inspect = getattr(self.sandbox.dialects.get(wanted.dealer), "inspect", None)
        if inspect is None:
            return _problem(f"{wanted.dealer} has no inspection here")
        try:
            inspect(wanted.code, wanted.status.value, wanted.comment)
        except KeyError as error:
            return _problem(f"{wanted.dealer} knows no template or status {error}")
        return _json({"code": wanted.code, "status": wanted.status})

    async def set_webhook(self, request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=_Webhook)
        except msgspec.DecodeError as error:
            return _problem(str(error))
        self.sandbox.webhook_url = wanted.url
        if wanted.secret is not None:
            self.sandbox.solapi.webhooks.secret = wanted.secret
        return _json({"url": wanted.url})

    async def set_clock(self, request: web.Request) -> web.Response:
        """Go on by another clock, written as ``BONGSU_CLOCK`` is."""
        try:
            self.sandbox.clock.clock = clock_from(msgspec.json.decode(await request.read(), type=_Clock).clock)
        except (msgspec.DecodeError, ValueError) as error:
            return _problem(str(error))
        return _json({"now": self.sandbox.clock.now().isoformat()})

    async def settle(self, _: web.Request) -> web.Response:
        return _json({"settled": self.sandbox.settle()})

    async def reset(self, _: web.Request) -> web.Response:
        self.sandbox.reset()
        return _json({"reset": True})


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return ``target`` with a merge patch applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _problem(detail: str) -> web.Response:
    return web.Response(
        status=400,
        body=msgspec.json.encode({"type": "about:blank", "title": "Bad request", "detail": detail}),
        content_type="application/problem+json",
    )
