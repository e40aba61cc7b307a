"""Puts together all that decides what follows a failure, from the ledger and the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.config import Config, Uncertain, Unconfirmed
from shared.hours import next_allowed
from shared.sending.policy import Case

if TYPE_CHECKING:
    from shared.clock import Clock
    from shared.dealers.base import Dealer
    from shared.ledger.book import Attempt, Book


def case_of(
    book: Book, attempt: Attempt, *, config: Config, dealers: Mapping[str, Dealer], clock: Clock, jitter: float
) -> Case:
    """Return the case of ``attempt`` at ``book.now``; ``jitter`` is in [0, 1)."""
    message = book.messages[attempt.message_id]
    profile, dealer = config.profiles.get(message.profile), dealers.get(attempt.dealer)
    opens = next_allowed(book.now, message.category, profile, lane=message.lane) if profile else book.now
    return Case(
        capabilities=dealer.capabilities if dealer else None,
        channel=attempt.channel,
        uncertain=profile.when_uncertain(message.category) if profile else Uncertain.HOLD,
        unconfirmed=profile.when_unconfirmed(message.category) if profile else Unconfirmed.WAIT,
        deadline=message.deadline,
        opened_at=attempt.opened_at,
        tries=message.tries,
        now=book.now,
        checks=attempt.checks,
        has_id=attempt.dealer_message_id is not None,
        replays_at=opens if opens > book.now else None,
        jitter=jitter,
        speed=clock.stretch(timedelta(seconds=1)).total_seconds(),
    )
