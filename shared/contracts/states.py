"""The words for what can be true of a message and of an attempt, and which move may follow which."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """How a message reaches a person."""

    ALIMTALK = "alimtalk"
    FRIENDTALK = "friendtalk"
    SMS = "sms"
    LMS = "lms"
    MMS = "mms"

    @property
    def is_text(self) -> bool:
        """Whether carriers bring it, not Kakao."""
        return self is Channel.SMS or self is Channel.LMS or self is Channel.MMS


class Lane(StrEnum):
    """Who waits for it: someone typing a code, someone with an order, or nobody."""

    AUTH = "auth"
    NORMAL = "normal"
    MASS = "mass"


class Category(StrEnum):
    """What the law calls it (정보성, 광고성)."""

    INFORMATIONAL = "informational"
    ADVERTISING = "advertising"


class MessageState(StrEnum):
    """Where a message is on its way; ``is_final`` for ends. ``failed`` is an end once nothing more is tried."""

    ACCEPTED = "accepted"  # shown in a timeline, never kept: the first row tells it with the first state
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    UNCERTAIN = "uncertain"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """What is known of one try.

    ``sending``: written down, the call may be under way. ``uncertain``: the dealer may have it, or Kakao sent it
    and has no confirmation (then ``sent`` may have come before).
    ``sent``: the dealer took it. ``delivered`` and ``failed`` are ends, and only ``failed`` may yet
    become ``delivered``, by a late receipt.
    """

    SENDING = "sending"
    UNCERTAIN = "uncertain"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"


_A = AttemptState
ATTEMPT_MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    _A.SENDING: frozenset({_A.UNCERTAIN, _A.SENT, _A.DELIVERED, _A.FAILED}),
    _A.UNCERTAIN: frozenset({_A.SENT, _A.DELIVERED, _A.FAILED}),
    _A.SENT: frozenset({_A.UNCERTAIN, _A.DELIVERED, _A.FAILED}),
    _A.FAILED: frozenset({_A.DELIVERED}),
    _A.DELIVERED: frozenset(),
}
"""What may follow what: a receipt may outrun the record of its own sending, and nothing overrides ``delivered``."""

OPEN_ATTEMPTS = frozenset({_A.SENDING, _A.UNCERTAIN, _A.SENT})
"""States in which a person may still get this attempt: a second one over the same channel is forbidden."""

# By their words: a look into a table costs a third of a call of the class, and rows come by the thousand.
CHANNELS = {each.value: each for each in Channel}
LANES = {each.value: each for each in Lane}
CATEGORIES = {each.value: each for each in Category}
MESSAGE_STATES = {each.value: each for each in MessageState}
ATTEMPT_STATES = {each.value: each for each in AttemptState}
