"""The HTTP side of ingest but for events: parse, call, answer."""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import documented, telemetry
from services.ingest.answering import as_json, refusal_of
from services.ingest.reading import Story, Summary, read_page, read_story
from services.ingest.refusals import Kind, Refusal
from services.ingest.story import explain, timeline
from shared.clock import Clock
from shared.contracts.states import MessageState
from shared.crypto import Vault
from shared.http.auth import ApiKeys
from shared.http.problems import Problem
from shared.ids import MessageId
from shared.ledger.repository import load, save
from shared.phone import BadPhone, parse_mobile
from shared.sending.cancellations import CANCELLABLE

Authorization = Annotated[str | None, Header(include_in_schema=False)]


@dataclass(frozen=True, slots=True)
class Api:
    """The collaborators of the endpoints."""

    engine: AsyncEngine
    keys: ApiKeys
    vault: Vault
    clock: Clock

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1", default_response_class=Response)
        router.add_api_route("/messages", self.list_messages, methods=["GET"], **documented.LIST_MESSAGES)
        router.add_api_route("/messages/{message_id}", self.get_message, methods=["GET"], **documented.GET_MESSAGE)
        router.add_api_route(
            "/messages/{message_id}/cancel", self.cancel_message, methods=["POST"], **documented.CANCEL_MESSAGE
        )
        return router

    async def get_message(self, message_id: UUID, authorization: Authorization = None) -> Response:
        """Return a message with its attempts, its timeline and its explanation."""
        await self.keys.check(authorization)
        try:
            async with self.engine.connect() as connection:
                story = await read_story(connection, MessageId(message_id))
        except Exception as error:
            raise refusal_of(error) from error
        if story is None:
            raise _not_found()
        return as_json(_told(story))

    async def list_messages(
        self,
        state: MessageState | None = None,
        profile: Annotated[str | None, Query(max_length=100)] = None,
        template: Annotated[str | None, Query(max_length=100)] = None,
        phone: Annotated[str | None, Query(max_length=40, description="whose messages")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: Annotated[str | None, Query(max_length=100, description="`next` of the page before")] = None,
        authorization: Authorization = None,
    ) -> Response:
        """Return messages, newest first."""
        await self.keys.check(authorization)
        before = None if cursor is None else _read_cursor(cursor)
        try:
            async with self.engine.connect() as connection:
                page = await read_page(
                    connection,
                    before=before,
                    limit=limit + 1,
                    person=None if phone is None else self.vault.person(_mobile(phone)),
                    state=state,
                    profile=_storable(profile),
                    template=_storable(template),
                )
        except Exception as error:
            raise refusal_of(error) from error
        shown = page[:limit]
        following = _cursor(shown[-1].id) if len(page) > limit else None
        return as_json({"messages": [_summary(each) for each in shown], "next": following})

    async def cancel_message(self, message_id: UUID, authorization: Authorization = None) -> Response:
        """Cancel a message that has not been handed to a dealer."""
        await self.keys.check(authorization)
        wanted = MessageId(message_id)
        try:
            async with self.engine.begin() as connection:
                book = await load(connection, [wanted], now=self.clock.now())
                message = book.messages.get(wanted)
                if message is not None and message.state in CANCELLABLE:
                    book.move(message, MessageState.CANCELLED, final=True, reason="cancelled")
                    await save(connection, book)
                    telemetry.CANCELLED.inc()
        except Exception as error:
            raise refusal_of(error) from error
        if message is None:
            raise _not_found()
        if message.state is not MessageState.CANCELLED:
            raise _too_late(message.state)
        return as_json({"id": str(message_id), "state": message.state})


def _not_found() -> Problem:
    return Refusal(
        Kind.MESSAGE_NOT_FOUND, "There is no message of this id. Take it from the answer to an event."
    ).as_problem()


def _too_late(state: MessageState) -> Problem:
    why = {
        MessageState.SENDING: "it is being handed to the dealer just now",
        MessageState.UNCERTAIN: "the dealer may have it already",
        MessageState.SENT: "the dealer has it already",
        MessageState.DELIVERED: "the person has it already",
    }.get(state, f"it has ended: {state}")
    return Refusal(
        Kind.MESSAGE_NOT_CANCELLABLE,
        f"The message cannot be cancelled, because {why}. Only a scheduled or queued message can.",
    ).as_problem()


def _mobile(phone: str) -> str:
    try:
        return parse_mobile(phone)
    except BadPhone as bad:
        raise Refusal(
            Kind.PHONE_NOT_REACHABLE, f"phone: {bad.reason.in_words}. Give a Korean mobile number."
        ).as_problem() from bad


def _storable(value: str | None) -> str | None:
    """Return ``value`` without what Postgres cannot compare with."""
    return None if value is None else value.replace("\0", "")


def _cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def _read_cursor(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise Refusal(
            Kind.INVALID_CURSOR, "The cursor is none that a page gave. Leave it out to begin anew."
        ).as_problem() from error


def _summary(summary: Summary) -> dict[str, Any]:
    return {**asdict(summary), "variant": None}


def _told(story: Story) -> dict[str, Any]:
    return {
        **_summary(story.summary),
        "attempts": [asdict(attempt) for attempt in story.attempts],
        "timeline": [entry._asdict() for entry in timeline(story)],
        "receipts": [asdict(receipt) for receipt in story.receipts],
        "explanation": explain(story),
    }
