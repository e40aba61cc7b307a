"""What the OpenAPI page says of each endpoint."""

from __future__ import annotations

from typing import Any

from shared.http.problems import TYPES

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. docs/problems.md has a paragraph for each type.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "stable: what a program compares"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong and what to do; never what was sent"},
        "pointer": {"type": "string", "description": "RFC 6901, into the body: the field that is wrong"},
    },
}

_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "order-10293-paid",
    "source": "https://shop.example.kr/orders",
    "type": "order.paid",
    "time": "2026-11-23T14:03:00+09:00",
    "profile": "shop",
    "data": {
        "recipient": {"phone": "010-1234-5678", "name": "김봉수"},
        "order": {
            "id": "A-10293",
            "product": "봉수 머그컵",
            "total_krw": 15000,
            "url": "https://shop.example.kr/orders/A-10293",
        },
    },
}

_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0, structured. `data` always has `recipient`; what else, the rules say.",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "maxLength": 256, "description": "with `source`, what makes it the same event"},
        "source": {"type": "string", "maxLength": 1024},
        "type": {"type": "string", "maxLength": 256},
        "time": {"type": "string", "format": "date-time"},
        "profile": {"type": "string", "maxLength": 100, "description": "who sends; by default as the rule says"},
        "campaign": {"type": "string", "maxLength": 100, "description": "what its messages can be cancelled by"},
        "data": {
            "type": "object",
            "properties": {
                "recipient": {
                    "type": "object",
                    "required": ["phone"],
                    "properties": {"phone": {"type": "string"}, "name": {"type": "string"}},
                }
            },
        },
    },
    "example": _EVENT,
}

_ACCEPTED: dict[str, Any] = {
    "event_id": "019ab0f1-2a7c-7c3e-8f00-5d0f3b8e1a11",
    "duplicate": False,
    "messages": [{"id": "019ab0f1-2a7c-7d21-9b44-0a1b2c3d4e5f", "rule": "order-paid", "state": "queued"}],
}

_MESSAGE: dict[str, Any] = {
    "id": "019ab0f1-2a7c-7d21-9b44-0a1b2c3d4e5f",
    "state": "delivered",
    "final": True,
    "reason": None,
    "channel": "alimtalk",
    "rule": "order-paid",
    "template": "ORDER-PAID",
    "profile": "shop",
    "lane": "normal",
    "category": "informational",
    "due_at": None,
    "cost_krw": 13,
    "variant": None,
    "attempts": [
        {
            "n": 1,
            "channel": "alimtalk",
            "dealer": "solapi",
            "state": "delivered",
            "code": "4000",
            "reason": None,
            "at": "2026-11-23T05:03:00.120Z",
            "cost_krw": 13,
        }
    ],
    "timeline": [
        {
            "at": "2026-11-23T05:03:00.010Z",
            "state": "accepted",
            "detail": "An event order.paid came at 2026-11-23 14:03:00 (Seoul), and the rule order-paid (revision 1)"
            " made this message of it, from the template ORDER-PAID (revision 1).",
        }
    ],
    "receipts": [],
    "explanation": "An event order.paid came at … The person has it. It has cost 13 KRW.",
}


def _problems(**kinds: tuple[str, ...]) -> dict[int | str, dict[str, Any]]:
    """Return the answers of these problem types, by status (``s401=("unauthorized",)``)."""
    return {
        int(status.removeprefix("s")): {
            "description": ", ".join(f"`{TYPES}{name}`" for name in names),
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
        for status, names in kinds.items()
    }


def _answer(description: str, example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


_READ = _problems(s401=("unauthorized",), s503=("unavailable",))
_SECURITY: dict[str, Any] = {"security": [{"ApiKey": []}]}
SECURITY_SCHEMES = {
    "ApiKey": {"type": "http", "scheme": "bearer", "description": "`bongsu keys create NAME` makes one"}
}

_BATCH: list[dict[str, Any]] = [
    {"status": 202, **_ACCEPTED},
    {
        "status": 422,
        "type": f"{TYPES}phone-missing",
        "title": "No phone number",
        "detail": 'The recipient has no phone number. Send it as a text, as "010-1234-5678".',
        "pointer": "/data/recipient/phone",
    },
]

TAKE_EVENTS: dict[str, Any] = {
    "tags": ["events"],
    "operationId": "take_events",
    "summary": "Send events",
    "description": "Answers 202 once the event and its messages are durable. The same event again (`source` and `id`) "
    "answers `duplicate: true` with the messages made the first time. An event that no rule wants is accepted with "
    "`messages: []`. A refused event leaves nothing behind.\n\n"
    "An array of events is answered by an array of the same, in order, each with its own `status`; a bad one refuses "
    "no other. The whole is 202 if all were accepted, else 207; 503 if nothing could be kept. Messages to one person "
    "leave in the order of their events.\n\n"
    "A stream of lines, of any length, is answered by a line each, 500 at a time: read while you send. It has no "
    "Idempotency-Key. Lines that have no answer when it ends were not taken.",
    "responses": {
        str(status): answer
        for status, answer in {
            202: _answer("Accepted, and kept", _ACCEPTED),
            200: {
                "description": "An answer to each line",
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            },
            207: _answer("Of an array, not all were accepted", _BATCH),
            **_READ,
            **_problems(
                s400=("broken-json", "idempotency-key-invalid"),
                s408=("body-too-slow",),
                s409=("idempotency-key-in-flight", "template-not-approved"),
                s413=("body-too-large",),
                s415=("unsupported-media-type",),
                s422=(
                    "not-an-event",
                    "unknown-profile",
                    "phone-missing",
                    "phone-not-reachable",
                    "variable-missing",
                    "variable-invalid",
                    "text-too-long",
                    "send-at-invalid",
                    "send-at-passed",
                    "send-at-too-far",
                    "idempotency-key-reused",
                ),
            ),
        }.items()
    },
    **_SECURITY,
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": 255},
            "description": "The same request under the same key gets the first one's answer, byte for byte.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": _EVENT_SCHEMA},
            "application/cloudevents-batch+json": {"schema": {"type": "array", "items": _EVENT_SCHEMA}},
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "an event a line, as application/cloudevents+json"}
            },
            "application/json": {
                "schema": _EVENT_SCHEMA,
                "description": "An event; or with its attributes in `ce-` headers, its `data` (CloudEvents binary)",
            },
        },
    },
}

GET_MESSAGE: dict[str, Any] = {
    "tags": ["messages"],
    "summary": "A message, and its story in plain words",
    "responses": {200: _answer("The message", _MESSAGE), **_READ, **_problems(s404=("message-not-found",))},
    "openapi_extra": _SECURITY,
}

LIST_MESSAGES: dict[str, Any] = {
    "tags": ["messages"],
    "summary": "Messages, newest first",
    "description": "`next` is the `cursor` of the following page, null on the last.",
    "responses": {
        200: _answer(
            "A page",
            {
                "messages": [
                    {k: v for k, v in _MESSAGE.items() if k not in {"attempts", "timeline", "receipts", "explanation"}}
                ],
                "next": None,
            },
        ),
        **_READ,
        **_problems(s400=("invalid-parameter", "invalid-cursor"), s422=("phone-not-reachable",)),
    },
    "openapi_extra": _SECURITY,
}

CANCEL_MESSAGE: dict[str, Any] = {
    "tags": ["messages"],
    "summary": "Cancel a message that has not left",
    "description": "A scheduled or queued message is cancelled; one that is cancelled already stays so.",
    "responses": {
        200: _answer("Cancelled", {"id": _MESSAGE["id"], "state": "cancelled"}),
        **_READ,
        **_problems(s404=("message-not-found",), s409=("message-not-cancellable",)),
    },
    "openapi_extra": _SECURITY,
}

_PAUSE: dict[str, Any] = {
    "what": "template",
    "name": "ORDER-PAID",
    "why": "a wrong price in the text",
    "by": "shop",
    "since": "2026-11-23T03:00:00Z",
    "held": 12,
}

LIST_PAUSES: dict[str, Any] = {
    "tags": ["pauses"],
    "summary": "What is paused",
    "description": "`held` is how many messages wait for it just now.",
    "responses": {200: _answer("All pauses", {"pauses": [_PAUSE]}), **_READ},
    "openapi_extra": _SECURITY,
}

PAUSE: dict[str, Any] = {
    "tags": ["pauses"],
    "summary": "Pause a profile, a template, a lane or a dealer",
    "description": "From now on nothing of it leaves, in any process: what was not handed to a dealer is held, and "
    "goes on once it is resumed; at its deadline it expires. Where a dealer is paused, messages take another route "
    "of their profile if there is one.",
    "responses": {
        200: _answer("It is paused", _PAUSE),
        **_READ,
        **_problems(s400=("invalid-parameter",), s404=("nothing-to-pause",)),
    },
    "openapi_extra": _SECURITY,
}

RESUME: dict[str, Any] = {
    "tags": ["pauses"],
    "summary": "Resume what was paused",
    "description": "What it held goes on within two seconds, in its order.",
    "responses": {
        204: {"description": "It is not paused any more"},
        **_READ,
        **_problems(s400=("invalid-parameter",), s404=("not-paused",)),
    },
    "openapi_extra": _SECURITY,
}

_CANCELLATION: dict[str, Any] = {
    "id": "019ab0f1-2a7c-7c3e-8f00-5d0f3b8e1a11",
    "filter": {"campaign": "2026-autumn"},
    "why": "a wrong price in the text",
    "by": "shop",
    "at": "2026-11-23T03:00:00Z",
    "cancelled": 182340,
    "left": 17660,
    "through": True,
}

CANCEL_MANY: dict[str, Any] = {
    "tags": ["cancellations"],
    "summary": "Cancel a campaign, a batch, or all that a filter means",
    "description": "Means the messages made until now of which all that the body names is true. From the answer on "
    "none of them is handed to a dealer, however many there are; those that wait become `cancelled` one after another. "
    "What a dealer has already is not taken back, but is neither tried again nor followed by a text. What is made "
    "later is not touched. It cannot be undone.",
    "responses": {
        202: _answer("It holds", {**_CANCELLATION, "cancelled": 0, "left": 0, "through": False}),
        **_READ,
        **_problems(s400=("idempotency-key-invalid",), s422=("invalid-parameter", "idempotency-key-reused")),
    },
    "openapi_extra": {
        **_SECURITY,
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "maxLength": 255},
                "description": "The same request under the same key is one cancellation.",
            }
        ],
    },
}

GET_CANCELLATION: dict[str, Any] = {
    "tags": ["cancellations"],
    "summary": "How far a cancellation is",
    "description": "`cancelled`: so many messages until now. `left`: so many were with a dealer, and had not ended, as "
    "it came by. `through`: all that waited is cancelled.",
    "responses": {
        200: _answer("The cancellation", _CANCELLATION),
        **_READ,
        **_problems(s404=("cancellation-not-found",)),
    },
    "openapi_extra": _SECURITY,
}

LIST_CANCELLATIONS: dict[str, Any] = {
    "tags": ["cancellations"],
    "summary": "The latest 100 cancellations, newest first",
    "responses": {200: _answer("Cancellations", {"cancellations": [_CANCELLATION]}), **_READ},
    "openapi_extra": _SECURITY,
}
