"""What a dealer's part of the sandbox is: endpoints that answer calls, and the shape of its reports.

A dialect is a folder beside this file whose ``dialect.py`` has ``build(context) -> Dialect``, or a module that an
installed package names in the entry point group ``bongsu.sandbox``. Nothing in it waits, so each call is atomic; what
goes wrong with a call, and when, is the server's and the profile's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bongsu.sandbox.profile import Operation

if TYPE_CHECKING:
    from multidict import MultiMapping

    from bongsu.sandbox.faults import Faults
    from bongsu.sandbox.profile import DealerProfile, Profile
    from bongsu.sandbox.timers import Timers
    from bongsu.sandbox.truth import Truth
    from bongsu.sandbox.webhooks import Webhooks
    from shared.clock import Clock


@dataclass(frozen=True, slots=True)
class Request:
    """A call as it came. Header names are in lower case; ``target`` is path and query as the caller wrote them,
    without the sandbox's prefix: what signatures cover.
    """  # noqa: D205 - one sentence

    method: str
    target: str
    path: Mapping[str, str]
    query: MultiMapping[str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What the dealer answers."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, **headers: str) -> Reply:
        """Return an answer in JSON; ``_`` in a header's name stands for ``-``."""
        return cls(status, msgspec.json.encode(value), headers={k.replace("_", "-"): v for k, v in headers.items()})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint, and what kind of call it is for faults. ``path`` is aiohttp's: ``/v1/messages/{id}``."""

    method: str
    path: str
    operation: Operation
    answer: Callable[[Request], Reply]


@dataclass(frozen=True, slots=True)
class Context:
    """What the sandbox gives a dialect."""

    name: str
    """its folder's name, which is its prefix: ``/nhn``"""
    sandbox: Profile
    profile: DealerProfile
    clock: Clock
    faults: Faults
    timers: Timers
    truth: Truth

    def world_now(self) -> datetime:
        """Return the world's time as this dealer's clock shows it, which may be skewed."""
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + self.profile.clock_skew_seconds, UTC)

    def option(self, name: str, default: Any) -> Any:  # noqa: ANN401 - YAML
        """Return one of the profile's options for this dealer (account keys, for example)."""
        return self.profile.options.get(name, default)


class Dialect(Protocol):
    """A dealer's part of the sandbox."""

    webhooks: Webhooks | None
    """None where it pushes nothing"""

    def endpoints(self) -> list[Endpoint]:
        """Return what it answers."""
        ...

    def refuse_key(self) -> Reply:
        """Return the answer to a call with a key that is not, or not any more, valid."""
        ...

    def reset(self) -> None:
        """Forget messages; keep templates."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """Return figures of its own."""
        ...
