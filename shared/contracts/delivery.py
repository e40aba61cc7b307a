"""``bongsu.delivery.v1``: every change of state, for whoever decides or counts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from shared.contracts.base import Contract
from shared.contracts.states import AttemptState, Category, Channel, Lane, MessageState
from shared.ids import MessageId, PersonId


class Delivery(Contract, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the ledger's transitions. Keyed by ``person_id``; written by the relay alone.

    Records may be repeated (a relay that died before it noted its place), and then repeat a run of
    ``(xid, position)`` that stands before; two changes of one message may swap places when their transactions
    overlapped. So a reader either asks the ledger what is true now, or adds up differences, as
    ``was`` -> ``state`` and ``attempt_was`` -> ``attempt_state`` allow in any order.
    """

    message_id: MessageId
    person_id: PersonId
    seq: int
    """1, 2, 3, … within the message"""
    xid: int
    position: int
    """``(xid, position)`` orders the ledger: a record at or below the highest seen is a repetition"""
    at: datetime
    was: MessageState | None = None
    """None for the first"""
    state: MessageState
    final: bool = False
    """whether nothing more will be tried; a late ``delivered`` may still follow ``failed``"""
    reason: str | None = None
    profile: str
    rule: str
    template: str
    lane: Lane
    category: Category
    attempt: int | None = None
    """which try of the message this is about, from 1; None when about none"""
    channel: Channel | None = None
    dealer: str | None = None
    attempt_was: AttemptState | None = None
    """None when this change opened the attempt, or is about none"""
    attempt_state: AttemptState | None = None
    reason_was: str | None = None
    """the reason of the failure that a late ``delivered`` overrides"""
    code: str | None = None
    """the dealer's own code"""
    cost_krw: int = 0
    """what this change adds to the cost; negative for a refund"""
    sent_at: datetime | None = None
    """when the attempt was made (opened, right before the call): decides its slot. Set whenever ``attempt`` is, and
    the same in all changes of one attempt, so that differences meet in the same hour"""


decode_delivery = msgspec.json.Decoder(Delivery).decode


class Interest(StrEnum):
    """Which changes a reader acts on. Most readers want a few of many, and reading costs more than acting."""

    ALL = "all"
    FAILURES = "failures"
    """of what failed and has not ended: somebody must decide what follows"""
    TEXTS = "texts"
    """what is queued to go over a text channel"""

    def wants(self, change: Delivery | _Glance) -> bool:
        """Whether ``change`` is one of these."""
        match self:
            case Interest.ALL:
                return True
            case Interest.FAILURES:
                return change.state is MessageState.FAILED and not change.final
            case Interest.TEXTS:
                return change.state is MessageState.QUEUED and change.channel is not None and change.channel.is_text

    def decode(self, value: bytes) -> Delivery | None:
        """Return what a record says, or None if it is none of these. Raises msgspec's errors."""
        return decode_delivery(value) if self is Interest.ALL or self.wants(_glance(value)) else None


class _Glance(msgspec.Struct):
    """What tells whether a record is of interest: read in a third of the time of the whole."""

    state: MessageState
    final: bool = False
    channel: Channel | None = None


_glance = msgspec.json.Decoder(_Glance).decode
