"""Frequency caps: at most so many messages to a person in any window of a length. Pure rules.

A *contact* is a message that reached a person, may have reached him, or has tried to and may yet: it counts once, when
its last attempt was made that did not certainly fail, or while it has not ended, its last attempt. So its retry, its
move to another dealer and its text are no second contact, and what certainly failed over all channels is none.
``shared.sending.contacts`` reads them off the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from shared.config import Cap
from shared.contracts.states import Category, Lane, MessageState

if TYPE_CHECKING:
    from shared.ids import MessageId, PersonId
    from shared.ledger.book import Message

REASON = "frequency_cap"


@dataclass(frozen=True, slots=True)
class Contact:
    """A message that counts, as of ``at``."""

    message_id: MessageId
    at: datetime
    profile: str
    category: Category
    lane: Lane


@dataclass(frozen=True, slots=True)
class Full:
    """A cap that a message would go over, and when it has room again if nothing else comes."""

    cap: Cap
    opens: datetime


def covers(cap: Cap, message: Message | Contact) -> bool:
    """Return whether ``message`` counts for ``cap``, and is held to it.

    A code that someone waits for does not and is not, unless the cap names its lane.
    """
    if cap.lane is None and message.lane is Lane.AUTH:
        return False
    return (
        cap.lane in {None, message.lane}
        and cap.category in {None, message.category}
        and cap.profile in {None, message.profile}
    )


def people_under(caps: Sequence[Cap], messages: Iterable[Message]) -> set[PersonId]:
    """Return whose contacts must be known to send ``messages``: nobody's, where no cap covers any."""
    if not caps:
        return set()
    return {
        message.person_id
        for message in messages
        if message.state is MessageState.QUEUED and any(covers(cap, message) for cap in caps)
    }


@dataclass(slots=True)
class Contacts:
    """The contacts of the people of a batch, with those that the batch itself makes."""

    caps: Sequence[Cap] = ()
    of: dict[PersonId, list[Contact]] = field(default_factory=dict)

    def full(self, message: Message, now: datetime) -> Full | None:
        """Return the cap that bars ``message`` at ``now``; None lets it pass. Of several, the one that opens last."""
        found = [full for cap in self.caps if (full := self._full(cap, message, now)) is not None]
        return max(found, key=lambda full: full.opens, default=None)

    def add(self, message: Message, now: datetime) -> None:
        """Note that ``message`` leaves ``now``."""
        if self.caps:
            contact = Contact(message.id, now, message.profile, message.category, message.lane)
            self.of.setdefault(message.person_id, []).append(contact)

    def _full(self, cap: Cap, message: Message, now: datetime) -> Full | None:
        if not covers(cap, message):
            return None
        # What bears a later time than now (the clock was set back) counts as well.
        counted = sorted(
            each.at
            for each in self.of.get(message.person_id, ())
            if each.message_id != message.id and each.at > now - cap.per and covers(cap, each)
        )
        return Full(cap, counted[-cap.most] + cap.per) if len(counted) >= cap.most else None


NO_CAPS = Contacts()
"""where none is configured, or none covers anything at hand; it keeps nothing"""
