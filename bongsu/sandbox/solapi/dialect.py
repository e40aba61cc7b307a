"""SOLAPI as one of the sandbox's dealers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bongsu.sandbox.dialect import Context, Endpoint, Reply, Request
from bongsu.sandbox.profile import DEFAULT_API_KEY, DEFAULT_API_SECRET, DEFAULT_WEBHOOK_SECRET
from bongsu.sandbox.solapi.api import Call, Route, SolapiApi
from bongsu.sandbox.solapi.codes import Refused
from bongsu.sandbox.solapi.dealer import Solapi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bongsu.sandbox.profile import Template


class SolapiDialect:
    """``Dialect`` over an installation of SOLAPI."""

    def __init__(self, context: Context) -> None:
        profile, own = context.sandbox, context.profile
        changed = {"limits": own.limits or profile.limits, "webhook": own.webhook or profile.webhook}
        self.installation = Solapi(
            profile.model_copy(update=changed), context.clock, context.faults, context.timers, context.truth
        )
        self.api = SolapiApi(self.installation)
        self.webhooks = self.installation.webhooks
        self._counted = context.truth.counted

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        return [
            Endpoint(route.method, route.path, route.operation, self._answering(route)) for route in self.api.routes()
        ]

    def refuse_key(self) -> Reply:
        """Return the answer to an unknown key."""
        return self._refused(Refused(403, "InvalidAPIKey", "유효하지 않은 API 키입니다."))

    def reset(self) -> None:
        """Forget messages; keep templates."""
        self.api.signatures.refused.clear()
        self.installation.reset()

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        return {
            "auth_refusals": dict(self.api.signatures.refused),
            "groups": len(self.installation.groups),
            "messages": len(self.installation.messages),
        }

    def add_templates(self, templates: Iterable[Template]) -> int:
        """Register templates; return how many there are."""
        self.installation.register_templates(templates)
        return len(self.installation.templates)

    def inspect(self, code: str, status: str, comment: str = "") -> None:
        """Let the inspectors decide, in our words. Raises ``KeyError`` for what SOLAPI does not have."""
        self.api.desk.inspect(code, status, comment)

    def _answering(self, route: Route) -> Callable[[Request], Reply]:
        def answer(request: Request) -> Reply:
            try:
                customer = self.api.admit(route, request.headers.get("authorization"))
                return Reply.json(route.answer(Call(customer, request.path, request.query, request.body)))
            except Refused as refused:
                return self._refused(refused)

        return answer

    def _refused(self, refused: Refused) -> Reply:
        self._counted[f"answers_{refused.status}"] += 1
        return Reply.json(
            refused.as_body(), refused.status, **{k.replace("-", "_"): v for k, v in refused.headers.items()}
        )


def build(context: Context) -> SolapiDialect:
    """Return SOLAPI."""
    return SolapiDialect(context)


def credentials(context_options: Mapping[str, Any] = MappingProxyType({})) -> dict[str, str]:
    """Return the credentials that an adapter needs here: accounts are in the profile, not in the options."""
    del context_options
    return {
        "api_key": DEFAULT_API_KEY,
        "api_secret": DEFAULT_API_SECRET,
        "webhook_secret": DEFAULT_WEBHOOK_SECRET,
    }
