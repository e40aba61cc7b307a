"""What the fallback does: decide what follows a failure, and send the texts that were decided on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from services.fallback import telemetry
from services.fallback.domain import Decision, Never, Now, WaitUntil, decide
from shared.bus import Received
from shared.catalog.repository import load_templates
from shared.catalog.template import Template, text_message
from shared.clock import Clock
from shared.config import Config, Profile, TextRoute, Uncertain, Unconfirmed
from shared.contracts.delivery import Delivery
from shared.contracts.states import Channel, MessageState
from shared.crypto import Vault
from shared.dealers.base import Dealer
from shared.errors import BongsuError
from shared.hours import next_allowed
from shared.ledger.book import UNCONFIRMED, Book, Message
from shared.ledger.personal import open_personal
from shared.ledger.repository import load, save
from shared.sending.images import brings_images
from shared.sending.lanes import Lanes
from shared.sending.sender import Job


@dataclass(frozen=True, slots=True)
class DecideFallback:
    """Decides for messages that failed and are not final. Reading a record again finds them decided."""

    engine: AsyncEngine
    config: Config
    vault: Vault
    clock: Clock
    dealers: Mapping[str, Dealer] = field(default_factory=dict)
    """asked only what they can do: a text has its images where its dealer brings them"""

    async def __call__(self, received: Sequence[Received[Delivery]]) -> None:
        """Turn each failed message of the batch to a text, let it wait for one, or end it."""
        failed = {
            each.value.message_id
            for each in received
            if each.value.state is MessageState.FAILED and not each.value.final
        }
        if not failed:
            return
        now = self.clock.now()
        async with self.engine.begin() as connection:
            book = await load(connection, failed, now=now)
            waiting = [m for m in book.messages.values() if m.state is MessageState.FAILED and not m.final]
            templates = await load_templates(connection, {(m.template, m.template_revision) for m in waiting})
            for message in waiting:
                self._decide(book, message, templates.get((message.template, message.template_revision)))
            await save(connection, book)

    def _decide(self, book: Book, message: Message, template: Template | None) -> None:
        profile = self.config.profiles.get(message.profile)
        if profile is None:
            book.move(
                message,
                MessageState.FAILED,
                final=True,
                reason=message.reason,
                detail={"no_fallback": "unknown_profile"},
            )
            return
        reason = message.reason or "unknown"
        route = profile.text if template and template.text_message else None
        images = self._images(template, route) if template and route else ()
        channel = self._channel(message, template, images) if template and route else None
        decision: Decision = decide(
            reason,
            message.category,
            text_dealer=route.dealer if route and channel else None,
            failed_dealer=message.dealer,
            now=book.now,
            opens=next_allowed(book.now, message.category, profile, lane=message.lane),
            deadline=message.deadline,
            uncertain=self._uncertain(profile, message),
        )
        telemetry.DECISIONS.labels(type(decision).__name__.lower(), reason).inc()
        without = {"images": "not_at_this_dealer"} if template and template.images and not images else {}
        match decision:
            case Never(why):
                book.move(message, MessageState.FAILED, final=True, reason=reason, detail={"no_fallback": why})
            case Now() | WaitUntil() if route is None or channel is None:
                raise AssertionError("decide() gives no text without a route")
            case Now():
                book.turn_to(message, channel, route.dealer, detail={"fallback_after": reason, **without})
            case WaitUntil(when):
                why_wait = {"fallback_after": reason, "why": "quiet_hours", **without}
                book.turn_to(message, channel, route.dealer, due_at=when, detail=why_wait)

    @staticmethod
    def _uncertain(profile: Profile, message: Message) -> Uncertain:
        """Return the policy for doubts; who wants a text before Kakao's confirmation wants it here too."""
        if profile.when_unconfirmed(message.category) is Unconfirmed.TEXT and message.reason == UNCONFIRMED:
            return Uncertain.FALLBACK
        return profile.when_uncertain(message.category)

    def _images(self, template: Template, route: TextRoute) -> list[str]:
        """Return the images that the text will have: the template's, if its dealer brings all of them, else none."""
        dealer = self.dealers.get(route.dealer)
        brings = dealer is not None and brings_images(dealer.capabilities, template)
        return [image.file for image in template.images] if brings else []

    def _channel(self, message: Message, template: Template, images: Sequence[str]) -> Channel | None:
        """Return SMS or LMS, by the length of the text, or MMS for one with images.

        None where it cannot be rendered, which planning rules out.
        """
        try:
            personal = open_personal(self.vault, message.personal, message.id)
            channel, _ = text_message(template, "", personal.variables, images)
        except (BongsuError, KeyError, ValueError) as error:
            kind = type(error).__name__
            structlog.get_logger().error("fallback.unrenderable", message_id=str(message.id), error=kind)
            return None
        return channel


@dataclass(frozen=True, slots=True)
class SendTexts:
    """Sends messages that were queued over a text channel, by the machinery that sends AlimTalks."""

    lanes: Lanes

    async def __call__(self, received: Sequence[Received[Delivery]]) -> None:
        """Begin or put away what a batch of records asks for; for records read again, do nothing."""
        jobs = [
            Job(each.message_id, each.seq, each.dealer, each.channel, each.lane, each.profile)
            for each in (record.value for record in received)
            if each.state is MessageState.QUEUED
            and each.channel is not None
            and each.channel.is_text
            and each.dealer is not None
        ]
        await self.lanes(jobs)
