"""What the sandbox is told: accounts, templates, limits and faults, in one YAML file checked before it is used."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from shared.clock import SEOUL
from shared.contracts.states import Channel
from shared.dealers.codes import REASONS
from shared.errors import BongsuError

if TYPE_CHECKING:
    import random
    from datetime import datetime
    from pathlib import Path

DEFAULT_API_KEY = "NCSANDBOX0000000"
DEFAULT_API_SECRET = "SANDBOXSECRET000000000000000000"  # noqa: S105 - opens nothing but the sandbox
DEFAULT_SENDER = "0212345678"
DEFAULT_CHANNEL = "KA01PF000000000000000000SANDBOX1"
DEFAULT_WEBHOOK_SECRET = "sandbox-webhook-secret"  # noqa: S105 - likewise
_P99 = 2.3263478740408408  # the standard normal distribution's 99th percentile


class BadProfile(BongsuError):
    """The file cannot be used; the text says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Probability = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


def _is_a_reason_or_a_code(word: str) -> str:
    if word in REASONS or re.fullmatch(r"-?\w{0,8}\d[\w.-]{0,24}|[A-Za-z]", word):
        return word
    raise ValueError(f"{word!r} is neither a reason of ours nor a dealer's code")


Code = Annotated[str, AfterValidator(_is_a_reason_or_a_code)]
"""A reason of our taxonomy (``not_kakao_user``), which each dealer says in its own code, or a dealer's own code."""


# -- distributions -----------------------------------------------------------------------------------------------


class Percentiles(_Part):
    """A lognormal distribution by its median and its 99th percentile."""

    p50: float = Field(gt=0)
    p99: float = Field(gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.p99 < self.p50:
            raise ValueError("p99 is smaller than p50")
        return self


def _number_is_fixed(value: object) -> object:
    return {"fixed": value} if isinstance(value, int | float) else value


class _Spread(_Part):
    fixed: Seconds | None = None
    uniform: tuple[Seconds, Seconds] | None = None
    lognormal: Percentiles | None = None

    @model_validator(mode="after")
    def _just_one(self) -> Self:
        if sum(value is not None for value in (self.fixed, self.uniform, self.lognormal)) != 1:
            raise ValueError("want a number or exactly one of fixed, uniform, lognormal")
        return self

    def draw(self, dice: random.Random) -> float:
        """Return a span in seconds."""
        if self.fixed is not None:
            return self.fixed
        if self.uniform is not None:
            return dice.uniform(*self.uniform)
        assert self.lognormal is not None  # noqa: S101 - the validator left nothing else
        middle = math.log(self.lognormal.p50)
        return dice.lognormvariate(middle, (math.log(self.lognormal.p99) - middle) / _P99)


Spread = Annotated[_Spread, BeforeValidator(_number_is_fixed)]
"""A span in seconds: a number, ``{uniform: [1, 3]}`` or ``{lognormal: {p50: 1, p99: 30}}``."""


def spread(seconds: float) -> _Spread:
    """Return the span that is always ``seconds``."""
    return _Spread(fixed=seconds)


# -- faults ------------------------------------------------------------------------------------------------------


class Operation(StrEnum):
    """A kind of call, whatever the dealer names it."""

    OPEN = "open"  # a handle or group is made; nothing goes out
    ADD = "add"  # messages are registered under it
    SEND = "send"  # messages go out
    REMOVE = "remove"  # a group or its messages are taken back
    LOOKUP = "lookup"


class CallFault(StrEnum):
    """What may become of a call."""

    CUT_BEFORE = "cut_before"  # the connection closes, the request was not processed
    CUT_AFTER = "cut_after"  # it was processed, the connection closes without an answer
    ERROR_BEFORE = "error_before"  # 503, not processed
    ERROR_AFTER = "error_after"  # 502 or 504, though processed
    STALL_AFTER = "stall_after"  # processed, and the answer held back for ``stall_seconds``
    GARBLED = "garbled"  # processed; 200 with a body that is not what it says
    TRUNCATED = "truncated"  # processed; the connection closes in the middle of the answer
    WRONG_TYPE = "wrong_type"  # processed; the answer calls itself text/html
    REDIRECT = "redirect"  # not processed; 302 to another place
    TRICKLE = "trickle"  # processed; the answer comes a byte at a time, for ``stall_seconds``
    KEY_REFUSED = "key_refused"  # not processed; the dealer says that it does not know the key


class CallFaults(_Part):
    """How calls of one kind go wrong. All in world time."""

    latency: Spread = spread(0)
    cut_before: Probability = 0
    cut_after: Probability = 0
    error_before: Probability = 0
    error_after: Probability = 0
    stall_after: Probability = 0
    garbled: Probability = 0
    truncated: Probability = 0
    wrong_type: Probability = 0
    redirect: Probability = 0
    trickle: Probability = 0
    key_refused: Probability = 0
    stall_seconds: Seconds = 30

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if sum(getattr(self, fault) for fault in CallFault) > 1:
            raise ValueError("the probabilities add up to more than 1")
        return self


class _Window(_Part):
    """Minutes of the day in Asia/Seoul, on some days of the week."""

    days: frozenset[int]
    start: int
    end: int

    def holds_at(self, when: datetime) -> bool:
        """Say whether ``when`` lies in it."""
        local = when.astimezone(SEOUL)
        return local.weekday() in self.days and self.start <= local.hour * 60 + local.minute < self.end


class HourFactor(_Window):
    """Failures are ``factor`` times as likely."""

    factor: float = Field(ge=0)


class Outage(_Window):
    """Every call meets ``fault``."""

    fault: CallFault


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(rf"(daily|{'|'.join(_DAYS)}) (\d\d):(\d\d)-(\d\d):(\d\d)")


def _windows(value: object, what: str) -> object:
    """Read ``{"mon 02:00-05:00": 4, "daily 00:00-24:00": 1.5}``; ``what`` names the value."""
    if not isinstance(value, dict):
        return value
    windows = []
    for window, said in value.items():
        match = _WINDOW.fullmatch(str(window))
        if not match:
            raise ValueError(f'{window!r}: want "mon 02:00-05:00" or "daily 02:00-05:00"')
        start, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
        if not start < end <= 24 * 60:
            raise ValueError(f"{window!r}: the end must come after the start, and no later than 24:00")
        days = range(7) if match[1] == "daily" else [_DAYS.index(match[1])]
        windows.append({"days": days, "start": start, "end": end, what: said})
    return windows


def _hours(value: object) -> object:
    return _windows(value, "factor")


def _outages(value: object) -> object:
    return _windows(value, "fault")


class Fates(_Part):
    """What becomes of messages that were sent: failure codes by probability; the rest is delivered (4000)."""

    alimtalk: dict[Code, Probability] = Field(default_factory=dict)
    friendtalk: dict[Code, Probability] = Field(default_factory=dict)
    sms: dict[Code, Probability] = Field(default_factory=dict)
    lms: dict[Code, Probability] = Field(default_factory=dict)
    mms: dict[Code, Probability] = Field(default_factory=dict)
    hours: Annotated[tuple[HourFactor, ...], BeforeValidator(_hours)] = ()
    numbers: dict[str, Code] = Field(
        default_factory=dict, description="a recipient's certain code; 1xxx is refused at registration"
    )

    def of(self, channel: Channel) -> dict[str, float]:
        """Return the failures of a channel."""
        return getattr(self, channel)  # type: ignore[no-any-return]  # the fields are named after the channels

    def factor(self, when: datetime) -> float:
        """Return how much more likely failures are at ``when``."""
        return math.prod(window.factor for window in self.hours if window.holds_at(when))


class Chance(_Part):
    """Something that happens to a share of the messages, ``after`` so many seconds of rule time."""

    probability: Probability = 0
    after: Spread = spread(0)


class Repeats(Chance):
    """The same report once more; a share of the repetitions comes under a new event id."""

    new_id: Probability = 0.5


class WrongReports(Chance):
    """A report that says ``code``, which is not what became of the message."""

    code: Code = "handset_unreachable"


class Receipts(_Part):
    """When and how messages are reported. All in rule time."""

    fate_after: Spread = spread(1)
    """from the sending until it reaches the person or fails; the report leaves at once unless it is late"""
    lookup_lag: Spread = spread(0)
    """how much later than the report a lookup shows it"""
    late: Chance = Chance()
    repeated: Repeats = Repeats()
    pending_after: Chance = Chance()
    """a 3000 (waiting) reported after the final one: out of order"""
    contradiction: WrongReports = WrongReports()
    """a failure reported after the success; the success is true"""
    failure_first: WrongReports = WrongReports()
    """a failure reported when it happens, the true success only ``after``"""
    missing: Probability = 0
    """never pushed; a lookup finds it"""


class FaultProfile(_Part):
    """Everything that may go wrong; the default is a dealer on a good day."""

    calls: dict[Operation | Literal["default"], CallFaults] = Field(default_factory=dict)
    """``default`` is for the kinds that are not named"""
    registration: dict[Code, Probability] = Field(default_factory=dict)
    """refusals of single messages, the rest of the call being accepted"""
    outages: Annotated[tuple[Outage, ...], BeforeValidator(_outages)] = ()
    """``{"daily 12:00-14:00": cut_before}``, by the rules' clock: the dealer is down, or refuses its keys"""
    read_lag: Spread = spread(0)
    """how old what lookups read may be, in world time: a group just made is not found, one just sent looks unsent"""
    fates: Fates = Fates()
    receipts: Receipts = Receipts()

    @field_validator("registration")
    @classmethod
    def _registration_codes(cls, value: dict[str, float]) -> dict[str, float]:
        if any(code.isdigit() and not code.startswith("1") for code in value):
            raise ValueError("SOLAPI's codes at registration begin with 1")
        return value


# -- what the dealer knows ---------------------------------------------------------------------------------------


class Account(_Part):
    """Who may call."""

    api_key: str = DEFAULT_API_KEY
    api_secret: SecretStr = SecretStr(DEFAULT_API_SECRET)
    balance: float = 100_000_000
    senders: frozenset[str] = frozenset({DEFAULT_SENDER})
    channels: frozenset[str] = frozenset({DEFAULT_CHANNEL})


class _OnTheWire(BaseModel):
    """Is written as the dealer writes it (``templateId``), or in our way (``template_id``)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=AliasGenerator(alias=to_camel),
    )


class TemplateButton(_OnTheWire):
    """A button of a registered template."""

    button_name: str
    button_type: str
    link_mo: str | None = None
    link_pc: str | None = None
    link_and: str | None = None
    link_ios: str | None = None


class Template(_OnTheWire):
    """A template as it was inspected; only an approved one is sent."""

    template_id: str
    pf_id: str = DEFAULT_CHANNEL
    content: str
    buttons: tuple[TemplateButton, ...] = ()
    status: Literal["PENDING", "INSPECTING", "APPROVED", "REJECTED"] = "APPROVED"


class Limits(_Part):
    """What the account may do; each window slides in world time. 0: no limit."""

    messages_per_second: int = Field(default=100, ge=0, description="recipients, when they are sent")
    sends_per_window: int = Field(default=100, ge=0, description="calls of one path that change something")
    lookups_per_window: int = Field(default=20, ge=0, description="calls of one path that read")
    window_seconds: float = Field(default=5, gt=0)
    enforced: bool = Field(default=True, description="False: counted, and nothing refused")


class WebhookConfig(_Part):
    """How reports are pushed."""

    url: str | None = None
    secret: SecretStr = SecretStr(DEFAULT_WEBHOOK_SECRET)
    shape: Literal["envelope", "flat", "mixed"] = "envelope"
    batch: int = Field(default=100, ge=1, le=1000, description="events in one call, at most")
    senders: int = Field(default=2, ge=1, le=32, description="calls at the same time")
    linger_seconds: Seconds = Field(default=0.02, description="world time in which events gather")
    timeout_seconds: float = Field(default=5, gt=0)
    retry_after_seconds: tuple[Seconds, ...] = Field(
        default=(0.5, 1, 2, 4), description="world time between the tries; one try more than there are spans"
    )
    waiting: int = Field(default=200_000, ge=1, description="events kept; those above are only in lookups")


class DealerProfile(_Part):
    """What is different at one dealer."""

    faults: FaultProfile | None = Field(default=None, description="None: those of all")
    limits: Limits | None = Field(default=None, description="None: those of all; calls are limited at SOLAPI only")
    webhook: WebhookConfig | None = Field(default=None, description="None: that of all")
    clock_skew_seconds: float = Field(default=0, description="how far its clock is ahead of the world")
    options: dict[str, str | int | float | bool | list[str]] = Field(default_factory=dict)
    """account keys and the like; each dialect says which it knows, and refuses to start with others"""


class Profile(_Part):
    """The whole file."""

    seed: int | None = Field(default=None, description="None: each run draws anew")
    accounts: tuple[Account, ...] = Field(default=(Account(),), min_length=1)
    templates: tuple[Template, ...] = ()
    accept_any_template: bool = Field(default=False, description="and any channel: for simple runs")
    accept_any_sender: bool = False
    keep_texts: bool = Field(default=True, description="False: lookups show no text, and memory lasts longer")
    prices: dict[Channel, float] = Field(
        default_factory=lambda: {
            Channel.ALIMTALK: 13.0,
            Channel.FRIENDTALK: 19.0,
            Channel.SMS: 18.0,
            Channel.LMS: 45.0,
            Channel.MMS: 110.0,
        },
        description="KRW a message, VAT apart",
    )
    limits: Limits = Limits()
    webhook: WebhookConfig = WebhookConfig()
    faults: FaultProfile = FaultProfile()
    dealers: dict[str, DealerProfile] = Field(default_factory=dict, description="by prefix: nhn, luna, ...")

    def of(self, dealer: str) -> DealerProfile:
        """Return what is different at ``dealer``."""
        return self.dealers.get(dealer, DealerProfile())


def load_profile(path: Path) -> Profile:
    """Read and check a profile. Raises ``BadProfile``, which names the place."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadProfile(f"{path}: {error}") from error
    try:
        return Profile.model_validate(raw or {})
    except ValidationError as error:
        raise BadProfile(f"{path}: {problems_of(error)}") from error


def problems_of(error: ValidationError) -> str:
    """Return what is wrong and where, in one line."""
    return "; ".join(
        ".".join(map(str, item["loc"])) + ": " + item["msg"]
        for item in error.errors(include_input=False, include_url=False)
    )
