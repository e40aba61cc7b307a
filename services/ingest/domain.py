"""The planner: an event, the rules and the time in; the messages to send out, or why not. No I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from services.ingest.refusals import Kind, Refusal
from shared.catalog.durations import format_span
from shared.catalog.room import Room
from shared.catalog.rule import FARTHEST, At, Rule
from shared.catalog.template import Template, alimtalk, brand_message, text_message, variables_of
from shared.catalog.wording import TooLong, Unfit
from shared.config import Route
from shared.copies.rules import NOTHING_CLOSED, Closed, open_routes
from shared.hours import next_allowed, next_within
from shared.phone import BadPhone, parse_mobile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.ingest.events import Event
    from shared.catalog.expressions import Expression
    from shared.config import Profile

_UNSENDABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NOW = At()
_ROUNDS = 8
_NUMBER_BITS = 128


@dataclass(frozen=True, eq=False)  # hashed as the thing it is
class Bound:
    """A rule with its template, ready to plan: what is the same for every event is done once."""

    rule: Rule
    template: Template
    condition: Expression | None
    variables: tuple[tuple[str, Expression], ...]

    @cached_property
    def room(self) -> Room:
        """What the template surely holds."""
        return Room.of(self.template)


@dataclass(frozen=True, slots=True)
class Postponement:
    """Why a message does not go at once: ``why`` is ``send_at``, ``delay``, ``hours`` or ``quiet_hours``."""

    why: str
    until: datetime


class Planned(msgspec.Struct, frozen=True):
    """A message to be. ``due_at`` is None for one that goes at once."""

    bound: Bound
    profile: str
    routes: tuple[Route, ...]
    """the ways to Kakao that are open to it; all of them, if it is to wait until one is"""
    fallback: str
    phone: str
    name: str | None
    variables: dict[str, str]
    due_at: datetime | None
    postponed: tuple[Postponement, ...]
    deadline: datetime

    def __repr__(self) -> str:
        return f"Planned({self.bound.rule.name!r}, …)"  # never who gets it into a log or a traceback


@dataclass(frozen=True, slots=True)
class Planner:
    """The rules by event type, the profiles that may send, and which of their routes are closed to which template."""

    rules: Mapping[str, tuple[Bound, ...]]
    profiles: Mapping[str, Profile]
    closed: Closed = NOTHING_CLOSED

    @classmethod
    def of(
        cls,
        rules: Iterable[Rule],
        templates: Mapping[str, Template],
        profiles: Mapping[str, Profile],
        closed: Closed = NOTHING_CLOSED,
    ) -> Planner:
        """Bind each rule to its template. A rule whose template is gone plans nothing; loading forbids it."""
        by_type: dict[str, list[Bound]] = {}
        for rule in rules:
            if (template := templates.get(rule.send.template)) is None:
                continue
            variables = tuple((name, rule.variables[name]) for name in variables_of(template))
            by_type.setdefault(rule.on, []).append(Bound(rule, template, rule.condition, variables))
        return cls({on: tuple(bound) for on, bound in by_type.items()}, profiles, closed)

    def plan(self, event: Event, now: datetime) -> list[Planned] | Refusal:
        """Return the messages that ``event`` makes (none, if no rule wants it), or why it is refused, whole."""
        if event.profile is not None and event.profile not in self.profiles:
            return Refusal(
                Kind.UNKNOWN_PROFILE,
                f"No profile of this name is configured. Use one of: {', '.join(sorted(self.profiles))}.",
                "/profile",
            )
        wanted = [b for b in self.rules.get(event.type, ()) if b.condition is None or b.condition.holds(event.document)]
        if not wanted:
            return []
        recipient = _recipient(event.document["data"])
        if isinstance(recipient, Refusal):
            return recipient
        planned = []
        for bound in wanted:
            one = self._one(bound, event, recipient, now)
            if isinstance(one, Refusal):
                return one
            planned.append(one)
        return planned

    def _one(self, bound: Bound, event: Event, recipient: tuple[str, str | None], now: datetime) -> Planned | Refusal:
        name = self._profile(bound.rule, event)
        if isinstance(name, Refusal):
            return name
        profile = self.profiles[name]
        routes = open_routes(self.closed, profile, bound.template.code)
        if not routes and bound.rule.unapproved == "refuse":
            return _not_approved(bound, name, profile)
        variables = _variables(bound, event)
        if isinstance(variables, Refusal):
            return variables
        by_text = bound.rule.fallback == "text" and profile.text is not None and bound.template.kind == "alimtalk"
        if refusal := _unrenderable(bound, variables, by_text=by_text):
            return refusal
        moment = _moment(bound, event, now)
        if isinstance(moment, Refusal):
            return moment
        due, postponed = when_due(bound.rule, profile, now, moment)
        since = due if due > now or moment is None else moment  # what is late already has so much less time
        return Planned(
            bound=bound,
            profile=name,
            routes=routes or profile.routes,
            fallback="text" if by_text else "none",
            phone=recipient[0],
            name=recipient[1],
            variables=variables,
            due_at=due if due > now else None,
            postponed=postponed,
            deadline=since + bound.rule.valid_for,
        )

    def _profile(self, rule: Rule, event: Event) -> str | Refusal:
        name = event.profile or rule.send.profile
        if name is None and len(self.profiles) == 1:
            return next(iter(self.profiles))
        if name is None:
            return Refusal(
                Kind.UNKNOWN_PROFILE,
                f"Neither the event nor the rule {rule.name!r} says who sends. "
                f'Set the attribute "profile" to one of: {", ".join(sorted(self.profiles))}.',
                "/profile",
            )
        if name not in self.profiles:
            return Refusal(
                Kind.UNKNOWN_PROFILE,
                f"The rule {rule.name!r} sends from the profile {name!r}, which is not configured. "
                f'Set the attribute "profile" to one of: {", ".join(sorted(self.profiles))}, or mend the rule.',
                "/profile",
            )
        return name


def _moment(bound: Bound, event: Event, now: datetime) -> datetime | Refusal | None:
    """Return the moment that the message is to go at, None where its rule names none."""
    rule = bound.rule
    at = rule.at if isinstance(rule.at, At) else _NOW
    if at.moment is None:
        return None
    pointer = at.moment.pointer()
    where = f"What the rule {rule.name!r} reads from {at.moment.text} for send_at"
    try:
        moment = at.of(at.moment.of(event.document))
    except ValueError as bad:
        return Refusal(Kind.SEND_AT_INVALID, f"{where} {bad}. Send one there.", pointer)
    if moment + rule.valid_for <= now:
        return Refusal(
            Kind.SEND_AT_PASSED,
            f"{where} names a moment whose deadline ({format_span(rule.valid_for)} later) has passed. Send events "
            "earlier, or give the rule a longer deadline.",
            pointer,
        )
    if moment > now + FARTHEST:
        return Refusal(
            Kind.SEND_AT_TOO_FAR,
            f"{where} names a moment more than {FARTHEST.days} days ahead. Send the event later.",
            pointer,
        )
    return moment


def when_due(
    rule: Rule, profile: Profile, now: datetime, moment_named: datetime | None = None
) -> tuple[datetime, tuple[Postponement, ...]]:
    """Return when a message of ``rule`` goes, and what puts it off: its moment or delay, its hours, quiet hours."""
    moment = now
    postponed: list[Postponement] = []

    def put_off(why: str, until: datetime) -> None:
        nonlocal moment
        if until > moment:
            moment = until
            postponed.append(Postponement(why, until))

    at = rule.at if isinstance(rule.at, At) else _NOW
    if moment_named is not None:
        put_off("send_at", moment_named)
    else:
        put_off("delay", now + at.after)
    for _ in range(_ROUNDS):  # the hours of a rule may begin in quiet hours, and quiet hours end outside of a rule's
        before = moment
        if at.between is not None:
            put_off("hours", next_within(at.between, moment))
        put_off("quiet_hours", next_allowed(moment, rule.category, profile, lane=rule.send.lane))
        if moment == before:
            break
    return moment, tuple(postponed)


def _recipient(data: Mapping[str, Any]) -> tuple[str, str | None] | Refusal:
    recipient = data.get("recipient")
    if not isinstance(recipient, dict):
        return Refusal(
            Kind.PHONE_MISSING,
            'data.recipient is missing. Send {"recipient": {"phone": …, "name": …}} in data.',
            "/data/recipient",
        )
    phone = recipient.get("phone")
    if not isinstance(phone, str) or not phone.strip():
        return Refusal(
            Kind.PHONE_MISSING,
            'The recipient has no phone number. Send it as a text, as "010-1234-5678".',
            "/data/recipient/phone",
        )
    try:
        number = parse_mobile(phone)
    except BadPhone as bad:
        return Refusal(
            Kind.PHONE_NOT_REACHABLE,
            f"No AlimTalk reaches this number: {bad.reason.in_words}. Send a Korean mobile number, "
            'as "010-1234-5678" or "+82 10 1234 5678".',
            "/data/recipient/phone",
        )
    name = recipient.get("name")
    return number, name if isinstance(name, str) else None


def _not_approved(bound: Bound, name: str, profile: Profile) -> Refusal:
    return Refusal(
        Kind.TEMPLATE_NOT_APPROVED,
        f"The template {bound.template.code!r} of the rule {bound.rule.name!r} is not approved at any dealer of the "
        f"profile {name!r} ({', '.join(route.dealer for route in profile.routes)}); `bongsu templates list` says where "
        "it stands. Send the same event again once it is approved.",
    )


def _variables(bound: Bound, event: Event) -> dict[str, str] | Refusal:
    found: dict[str, str] = {}
    for name, expression in bound.variables:
        value = expression.of(event.document)
        text = _as_text(value)
        if text is not None and text.strip():
            if _UNSENDABLE.search(text) or "#{" in text:
                return _bad_variable(bound, name, expression, "holds a control character or '#{'")
            found[name] = text
        elif value is None or text is not None:
            return Refusal(
                Kind.VARIABLE_MISSING,
                f"The template {bound.template.code!r} needs #{{{name}}}. The rule {bound.rule.name!r} reads it from "
                f"{expression.text}, where there is nothing. Send a text or a number there.",
                expression.pointer(),
            )
        else:
            return _bad_variable(bound, name, expression, "is neither a text nor a number")
    return found


def _bad_variable(bound: Bound, name: str, expression: Expression, what: str) -> Refusal:
    return Refusal(
        Kind.VARIABLE_INVALID,
        f"What the rule {bound.rule.name!r} reads from {expression.text} for #{{{name}}} {what}. "
        "Send a plain text or a number there.",
        expression.pointer(),
    )


def _as_text(value: object) -> str | None:
    """Return a text or number as it stands in a message, None for anything else."""
    match value:
        case str():
            text = value if value.isascii() else unicodedata.normalize("NFC", value)
            return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
        case bool():
            return None
        case int() if value.bit_length() <= _NUMBER_BITS:
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case _:
            return None


def _unrenderable(bound: Bound, variables: Mapping[str, str], *, by_text: bool) -> Refusal | None:
    """Return why the message cannot be rendered, None if it can: over each channel that it may take."""
    if bound.room.holds(variables):
        return None
    try:
        if bound.template.kind == "brand":
            brand_message(bound.template, "", variables)
        else:
            alimtalk(bound.template, "", "", variables)
        if by_text:
            text_message(bound.template, "", variables)
    except TooLong as long:
        return Refusal(
            Kind.TEXT_TOO_LONG,
            f"With the event's values {long.field} of the template {bound.template.code!r} comes to {long.length:,} "
            f"{long.unit} over {long.channel}, which brings {long.limit:,}. Send shorter values: "
            f"{_written(long.names)}.",
            _pointer(bound, max(long.names, key=lambda name: len(variables[name]), default=None)),
        )
    except Unfit as unfit:
        return Refusal(
            Kind.VARIABLE_INVALID,
            f"With the event's values {unfit.field} of the template {bound.template.code!r} holds {unfit.what}. "
            f"Send other values: {_written(unfit.names)}.",
            _pointer(bound, unfit.names[0]),
        )
    return None


def _written(names: Iterable[str]) -> str:
    return ", ".join(f"#{{{name}}}" for name in names)


def _pointer(bound: Bound, name: str | None) -> str | None:
    """Return where the rule finds the value of ``name``."""
    return None if name is None else dict(bound.variables)[name].pointer()
