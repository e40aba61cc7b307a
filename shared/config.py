"""``BONGSU_CONFIG``: the dealers, profiles, routes, limits and prices of an installation, in YAML.

``${NAME}`` stands for an environment variable. Anything unknown, missing or contradictory is refused at start,
by its path in the file.
"""

from __future__ import annotations

import os
import re
from datetime import time, timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.catalog.durations import Span, format_span
from shared.contracts.states import Category, Channel, Lane
from shared.dealers.kinds import KINDS
from shared.errors import BongsuError


class BadConfig(BongsuError):
    """The file cannot be used; the text says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Allowed(_Part):
    """What a dealer allows in any sliding second, minute (60 s) and day (24 h); None: as much as one likes."""

    messages_per_second: int | None = Field(default=None, ge=1, description="recipients, or parts by `counts_as`")
    messages_per_minute: int | None = Field(default=None, ge=1)
    messages_per_day: int | None = Field(default=None, ge=1)
    requests_per_second: int | None = Field(default=None, ge=1, description="calls that send")
    requests_per_minute: int | None = Field(default=None, ge=1)
    requests_per_day: int | None = Field(default=None, ge=1)


class WarmUp(_Part):
    """A new account: limits grow day by day, from a share of them to the whole."""

    start: float = Field(gt=0, lt=1, description="the share allowed on the first day")
    days: int = Field(ge=1, le=365, description="from the first message on; then the limits are whole")


class Limits(Allowed):
    """What a dealer allows this account, and what we ask of it at once."""

    messages_per_second: int = Field(default=100, ge=1, description="recipients in any sliding second")
    per_profile: Allowed = Field(default=Allowed(), description="where the dealer limits each sender besides")
    counts_as: dict[Channel, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="as how many messages the dealer counts one; 1 if unsaid"
    )
    warm_up: WarmUp | None = None
    floors: dict[Lane, Annotated[float, Field(ge=0, le=0.5)]] = Field(
        default_factory=dict, description="share of the limit that more urgent lanes leave one that waits"
    )
    batch: int = Field(default=1000, ge=1, description="recipients in one call, at most")
    calls: int = Field(default=8, ge=1, le=1000, description="calls under way at once, for each lane and process")

    @property
    def is_per_profile(self) -> bool:
        """Whether the dealer limits each profile besides the account."""
        return self.per_profile != Allowed()

    @model_validator(mode="after")
    def _everything_fits(self) -> Limits:
        largest = max(self.counts_as.values(), default=1)
        for allowed in (self, self.per_profile):
            for name in ("messages_per_second", "messages_per_minute", "messages_per_day"):
                most = getattr(allowed, name)
                if most is not None and most < largest:
                    raise ValueError(f"{name} {most} never has room for a message that counts as {largest}")
        if sum(self.floors.values()) > 1:
            raise ValueError("floors are more than the whole limit together")
        return self


Network = IPv4Network | IPv6Network


def _network(value: object) -> object:
    if isinstance(value, str):
        try:
            return ip_network(value)
        except ValueError:
            raise ValueError('want a network without bits of a host, as "10.0.0.0/8"') from None
    return value


_Networks = tuple[Annotated[Network, BeforeValidator(_network)], ...]


class ReceiptDoor(_Part):
    """Who may post receipts of a dealer, besides what the dealer itself proves with each call."""

    token: SecretStr | None = Field(
        default=None, description="a secret that ends the path: 16 to 200 of A-Z a-z 0-9 - _"
    )
    addresses: _Networks = Field(default=(), description="where calls may come from; empty: anywhere")

    @field_validator("token")
    @classmethod
    def _is_a_path_that_nobody_guesses(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,200}", value.get_secret_value()):
            raise ValueError("want 16 to 200 letters, digits, - and _")
        return value


class Trust(StrEnum):
    """How we know that a dealer's copies of our templates are approved."""

    ASKED = "asked"  # by its template API, where it has one
    TRUSTED = "trusted"  # somebody else sees to it: a template group, a sandbox that takes any


class DealerConfig(_Part):
    """An account at a dealer."""

    kind: str = Field(description="the adapter: a folder of `shared/dealers`")
    base_url: str
    urls: dict[str, str] = Field(default_factory=dict, description="further hosts, where the dealer has several")
    credentials: dict[str, SecretStr] = Field(default_factory=dict)
    limits: Limits = Limits()
    prices: dict[Channel, int] = Field(default_factory=dict, description="KRW a message, VAT apart")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    templates: Trust = Field(default=Trust.ASKED, description="asked: a route is open to what the dealer approved")
    receipts: ReceiptDoor = ReceiptDoor()
    not_found_after_seconds: float | None = Field(
        default=None,
        gt=0,
        description="what a lookup does not find is believed missing then; None: as the adapter says",
    )

    @field_validator("kind")
    @classmethod
    def _there_is_an_adapter(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"{value!r} is not one of {', '.join(KINDS)}")
        return value


class Uncertain(StrEnum):
    """What follows when no receipt can come any more, and nobody knows whether the person has the message."""

    FALLBACK = "fallback"  # a text, which may be the second contact
    HOLD = "hold"  # nothing: it ends as failed, unless somebody resolves it by hand
    RESEND = "resend"  # the same channel again, which may double it


class Unconfirmed(StrEnum):
    """What follows when Kakao sent a message and has no confirmation (3005): it may arrive within three days."""

    WAIT = "wait"
    TEXT = "text"  # at once, and a double contact is counted if it arrives after all


class QuietHours(_Part):
    """Hours of rest in Asia/Seoul, from ``start`` until ``end``, over midnight if ``end`` is earlier."""

    start: time
    end: time


def _quiet_hours(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d\d:\d\d)-(\d\d:\d\d)", value)
        if not match or match[1] == match[2]:
            raise ValueError('want two different times, as "21:00-08:00"')
        return {"start": match[1], "end": match[2]}
    return value


class Route(_Part):
    """A way to Kakao: which dealer, and the sender key it gave the profile's channel."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    dealer: str
    sender_key: str = Field(min_length=1)
    sender: str | None = Field(
        default=None, alias="from", pattern=r"^\d{8,12}$", description="where a dealer wants one with every message"
    )
    share: int | None = Field(default=None, ge=0, description="of the messages; 0 or unsaid beside others: a standby")


class TextRoute(_Part):
    """A way to the carriers, from a sender number registered with the dealer (발신번호 사전등록)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    dealer: str
    sender: str = Field(alias="from", pattern=r"^\d{8,12}$")


class Profile(_Part):
    """Who sends: a Kakao channel and an SMS sender number."""

    name: str = Field(min_length=1, description="as people know it")
    routes: tuple[Route, ...] = Field(min_length=1)
    text: TextRoute | None = None
    share: int = Field(default=1, ge=1, le=1000, description="of what a lane sends, while others have a backlog too")
    uncertain: dict[Category, Uncertain] = Field(default_factory=dict)
    unconfirmed: dict[Category, Unconfirmed] = Field(default_factory=dict)
    quiet_hours: dict[Category, Annotated[QuietHours, BeforeValidator(_quiet_hours)]] = Field(default_factory=dict)

    @field_validator("routes")
    @classmethod
    def _somebody_sends(cls, value: tuple[Route, ...]) -> tuple[Route, ...]:
        dealers = [route.dealer for route in value]
        if len(set(dealers)) < len(dealers):
            raise ValueError("a dealer has one route in a profile")
        if any(route.share is not None for route in value) and not any(route.share for route in value):
            raise ValueError("at least one share is above 0")
        return value

    def route(self, dealer: str) -> Route | None:
        """Return the route through ``dealer``."""
        return next((route for route in self.routes if route.dealer == dealer), None)

    def number_at(self, dealer: str) -> str | None:
        """Return the sender number registered with ``dealer``: its route's, else that of texts which go through it."""
        route = self.route(dealer)
        if route is not None and route.sender is not None:
            return route.sender
        return self.text.sender if self.text is not None and self.text.dealer == dealer else None

    def when_uncertain(self, category: Category) -> Uncertain:
        """Return the policy; by default an advertisement is never followed by another, and nothing is resent."""
        default = Uncertain.HOLD if category is Category.ADVERTISING else Uncertain.FALLBACK
        return self.uncertain.get(category, default)

    def when_unconfirmed(self, category: Category) -> Unconfirmed:
        """Return the policy; by default it is waited for."""
        return self.unconfirmed.get(category, Unconfirmed.WAIT)


LONGEST_CAP = timedelta(days=90)


class Cap(_Part):
    """At most ``most`` messages to a person in any window of ``per``: of all, or of those that it names."""

    most: int = Field(ge=1, le=10_000)
    per: Span = Field(gt=timedelta(0), le=LONGEST_CAP)
    category: Category | None = None
    profile: str | None = None
    lane: Lane | None = Field(default=None, description="`auth` is meant only where it is named")

    def __str__(self) -> str:
        messages = "1 message" if self.most == 1 else f"{self.most} messages"
        parts = [str(self.category)] if self.category else []
        parts += [f"from {self.profile}"] if self.profile else []
        parts += [f"on the lane {self.lane}"] if self.lane else []
        of = f" ({', '.join(parts)})" if parts else ""
        return f"{messages} in {format_span(self.per)}{of}"


class Config(_Part):
    """The whole file."""

    dealers: dict[str, DealerConfig] = Field(min_length=1)
    profiles: dict[str, Profile] = Field(min_length=1)
    caps: tuple[Cap, ...] = ()
    trusted_proxies: _Networks = Field(
        default=(), description="whose X-Forwarded-For is believed when the address of a receipt call is looked at"
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> Config:
        for name, profile in self.profiles.items():
            texts = [profile.text.dealer] if profile.text else []
            for dealer in [route.dealer for route in profile.routes] + texts:
                if dealer not in self.dealers:
                    raise ValueError(f"profile {name!r} names the dealer {dealer!r}, which is not defined")
        for cap in self.caps:
            if cap.profile is not None and cap.profile not in self.profiles:
                raise ValueError(f"a cap names the profile {cap.profile!r}, which is not defined")
        return self

    @field_validator("caps")
    @classmethod
    def _each_is_said_once(cls, value: tuple[Cap, ...]) -> tuple[Cap, ...]:
        seen: dict[Cap, Cap] = {}
        for cap in value:
            other = seen.setdefault(cap.model_copy(update={"most": 1}), cap)
            if other is not cap:
                raise ValueError(f"two caps are of the same messages and span: {other}; {cap}")
        return value


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_config(path: Path) -> Config:
    """Read and check a configuration file. Raises ``BadConfig``."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadConfig(f"{path}: {error}") from error
    try:
        return Config.model_validate(_fill(raw, str(path)))
    except ValidationError as error:
        problems = "; ".join(
            ".".join(map(str, item["loc"])) + ": " + item["msg"] for item in error.errors(include_input=False)
        )
        raise BadConfig(f"{path}: {problems}") from error


def _fill(value: Any, where: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    match value:
        case str():

            def variable(match: re.Match[str]) -> str:
                if match[1] not in os.environ:
                    raise BadConfig(f"{where}: the environment variable {match[1]} is not set")
                return os.environ[match[1]]

            return _VARIABLE.sub(variable, value)
        case dict():
            return {key: _fill(item, f"{where}.{key}") for key, item in value.items()}
        case list():
            return [_fill(item, f"{where}[{n}]") for n, item in enumerate(value)]
        case _:
            return value
