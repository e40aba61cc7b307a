"""A rule: which event, under which condition, makes which message, when, and what if Kakao cannot deliver it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared.catalog.durations import Hours, Span, TimeOfDay, read_moment
from shared.catalog.expressions import Expression, compile_expression
from shared.clock import SEOUL
from shared.contracts.states import Category, Lane

DEADLINES: dict[Lane, timedelta] = {
    Lane.AUTH: timedelta(minutes=3),
    Lane.NORMAL: timedelta(hours=24),
    Lane.MASS: timedelta(hours=24),
}
"""How long after it is due a message may still be sent, where its rule does not say."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Send(_Part):
    """Which template, from whom, on which lane, and where its variables are found in the event."""

    template: str
    profile: str | None = Field(default=None, description="unless the event names one; else the only one there is")
    lane: Lane = Lane.NORMAL
    variables: Mapping[str, str] = Field(default_factory=dict, description="name -> JMESPath over the event")

    @field_validator("variables")
    @classmethod
    def _compile(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, expression in value.items():
            try:
                compile_expression(expression)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return value


FARTHEST = timedelta(days=30)
"""How long ahead a message may be planned: its order among its person's messages is known a few days longer."""
LONGEST = timedelta(days=366)
"""of ``before``: what expires is told of in good time"""


class At(_Part):
    """When: at a moment that the event names, or once it came; earlier or later than that; within hours of the day.

    All hours and days are of Asia/Seoul, which has no daylight saving time: a day is 24 hours.
    """

    send_at: str | None = Field(default=None, description="JMESPath to a moment in the event; a literal for one of all")
    zone: Literal["Asia/Seoul"] | None = Field(
        default=None, description="of a moment without an offset, which is refused otherwise"
    )
    before: Span = Field(default=timedelta(0), description="so much earlier than send_at")
    after: Span = Field(default=timedelta(0), description="so much later than send_at, or than the event came")
    time: TimeOfDay | None = Field(default=None, description="at this time of the day that comes of send_at")
    between: Hours | None = None

    @field_validator("send_at")
    @classmethod
    def _compile(cls, value: str | None) -> str | None:
        if value is not None:
            compile_expression(value)
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> At:
        if self.send_at is None:
            for name in ("zone", "before", "time"):
                if name in self.model_fields_set and getattr(self, name):
                    raise ValueError(f"{name}: says something of send_at, which is not there")
        for name in ("before", "after"):
            if getattr(self, name) > (LONGEST if name == "before" else FARTHEST):
                raise ValueError(f"{name}: is too long; nothing is planned more than {FARTHEST.days} days ahead")
        return self

    @cached_property
    def moment(self) -> Expression | None:
        """``send_at``, compiled."""
        return None if self.send_at is None else compile_expression(self.send_at)

    def of(self, named: object) -> datetime:
        """Return when a message goes whose event names the moment ``named``, in UTC. Raises ``ValueError``."""
        moment = read_moment(named, in_seoul=self.zone is not None) - self.before + self.after
        if self.time is None:
            return moment
        return datetime.combine(moment.astimezone(SEOUL).date(), self.time, SEOUL).astimezone(UTC)


class Rule(_Part):
    """One revision of a rule."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    revision: int = Field(default=0, ge=0, description="given by the database; 0 before")
    on: str = Field(min_length=1, description="the event's type")
    when: str | None = Field(default=None, description="JMESPath over the event; true for anything not empty or false")
    send: Send
    at: Literal["now"] | At = "now"
    fallback: Literal["none", "text"] = "none"
    unapproved: Literal["refuse", "hold"] = Field(
        default="refuse",
        description="what becomes of an event while no dealer of the profile has approved the template",
    )
    deadline: Span | None = Field(default=None, description="after it is due; by default 3 min on auth, else 24 h")
    category: Category = Category.INFORMATIONAL

    @field_validator("when")
    @classmethod
    def _compile(cls, value: str | None) -> str | None:
        if value is not None:
            compile_expression(value)
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Rule:
        if self.deadline is not None and self.deadline <= timedelta(0):
            raise ValueError("deadline: must be longer than nothing")
        if self.send.lane is Lane.AUTH and self.at != "now":
            raise ValueError("at: someone waits for a message of the auth lane, so it goes now")
        if self.send.lane is Lane.AUTH and self.category is Category.ADVERTISING:
            raise ValueError("category: a message of the auth lane is no advertisement; nobody waits for one")
        return self

    @cached_property
    def condition(self) -> Expression | None:
        """``when``, compiled."""
        return None if self.when is None else compile_expression(self.when)

    @cached_property
    def variables(self) -> dict[str, Expression]:
        """The variables' expressions, compiled."""
        return {name: compile_expression(text) for name, text in self.send.variables.items()}

    @property
    def valid_for(self) -> timedelta:
        """How long after it is due the message may still be sent."""
        return self.deadline or DEADLINES[self.send.lane]
