"""What ingest refuses, whoever brings it: over HTTP a problem, from Kafka the reason of a dead letter."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """The last part of a problem's ``type``; docs/problems.md has a paragraph for each."""

    BROKEN_JSON = "broken-json"
    NOT_AN_EVENT = "not-an-event"
    UNKNOWN_PROFILE = "unknown-profile"
    PHONE_MISSING = "phone-missing"
    PHONE_NOT_REACHABLE = "phone-not-reachable"
    VARIABLE_MISSING = "variable-missing"
    VARIABLE_INVALID = "variable-invalid"
    TEXT_TOO_LONG = "text-too-long"
    SEND_AT_INVALID = "send-at-invalid"
    SEND_AT_PASSED = "send-at-passed"
    SEND_AT_TOO_FAR = "send-at-too-far"
    TEMPLATE_NOT_APPROVED = "template-not-approved"
    BODY_TOO_LARGE = "body-too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    IDEMPOTENCY_KEY_INVALID = "idempotency-key-invalid"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency-key-in-flight"
    MESSAGE_NOT_FOUND = "message-not-found"
    MESSAGE_NOT_CANCELLABLE = "message-not-cancellable"
    CANCELLATION_NOT_FOUND = "cancellation-not-found"
    NOTHING_TO_PAUSE = "nothing-to-pause"
    NOT_PAUSED = "not-paused"
    INVALID_CURSOR = "invalid-cursor"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


_KINDS: dict[Kind, tuple[int, str]] = {
    Kind.BROKEN_JSON: (400, "The body is not JSON"),
    Kind.NOT_AN_EVENT: (422, "Not a CloudEvents 1.0 event"),
    Kind.UNKNOWN_PROFILE: (422, "No such profile"),
    Kind.PHONE_MISSING: (422, "No phone number"),
    Kind.PHONE_NOT_REACHABLE: (422, "Not a Korean mobile number"),
    Kind.VARIABLE_MISSING: (422, "A value for the template is missing"),
    Kind.VARIABLE_INVALID: (422, "A value cannot stand in a template"),
    Kind.TEXT_TOO_LONG: (422, "The text is too long"),
    Kind.SEND_AT_INVALID: (422, "Not a moment to send at"),
    Kind.SEND_AT_PASSED: (422, "Too late to send"),
    Kind.SEND_AT_TOO_FAR: (422, "Too early to plan"),
    Kind.TEMPLATE_NOT_APPROVED: (409, "The template is not approved"),
    Kind.BODY_TOO_LARGE: (413, "The body is too large"),
    Kind.UNSUPPORTED_MEDIA_TYPE: (415, "Not a content type for an event"),
    Kind.IDEMPOTENCY_KEY_INVALID: (400, "Not an idempotency key"),
    Kind.IDEMPOTENCY_KEY_REUSED: (422, "The idempotency key was used for another body"),
    Kind.IDEMPOTENCY_KEY_IN_FLIGHT: (409, "A request with this idempotency key is being handled"),
    Kind.MESSAGE_NOT_FOUND: (404, "No such message"),
    Kind.MESSAGE_NOT_CANCELLABLE: (409, "Too late to cancel"),
    Kind.CANCELLATION_NOT_FOUND: (404, "No such cancellation"),
    Kind.NOTHING_TO_PAUSE: (404, "Nothing of that name"),
    Kind.NOT_PAUSED: (404, "Not paused"),
    Kind.INVALID_CURSOR: (400, "Not a cursor"),
    Kind.UNAVAILABLE: (503, "Nothing can be accepted now"),
    Kind.INTERNAL: (500, "An error of ours"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is refused and what to do. ``detail`` names fields and never shows what stands in them."""

    kind: Kind
    detail: str
    pointer: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_problem(self) -> Problem:
        """Return it for an HTTP answer."""
        status, title = _KINDS[self.kind]
        return Problem(status, self.kind, title, self.detail, self.pointer, self.headers)


def unavailable(
    detail: str = "The database is away for a moment. Send the same request again.", *, retry_after_seconds: int = 1
) -> Refusal:
    """Return the refusal of everything while nothing can be kept; nothing of the request was."""
    return Refusal(Kind.UNAVAILABLE, detail, headers={"Retry-After": str(retry_after_seconds)})
