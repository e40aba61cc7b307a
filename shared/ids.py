"""Ids: time-ordered UUIDs (version 7, RFC 9562 section 5.7), made by the clock that rules use.

The first 48 bits are milliseconds of Unix time, so a range of ids is a range of time: partitions are cut
by it, and the hour in which a message was born is read off its id.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import NewType
from uuid import UUID

EventId = NewType("EventId", UUID)
MessageId = NewType("MessageId", UUID)
PersonId = NewType("PersonId", UUID)  # a keyed hash of the phone number, cut to 16 bytes
ReceiptId = NewType("ReceiptId", UUID)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 7 << 76
_VARIANT = 2 << 62
_TAIL = (1 << 62) - 1


def new_id(now: datetime) -> UUID:
    """Return a new id born at ``now``; 74 random bits make it unique."""
    random = int.from_bytes(os.urandom(10), "big")
    head = ((now - _EPOCH) // timedelta(milliseconds=1)) << 80
    return UUID(int=head | _VERSION | ((random >> 62) & 0xFFF) << 64 | _VARIANT | (random & _TAIL))


def first_id(moment: datetime) -> UUID:
    """Return the smallest id that could be born at ``moment``: a bound of a partition or of a query."""
    return UUID(int=((moment - _EPOCH) // timedelta(milliseconds=1)) << 80)


def born_at(identifier: UUID) -> datetime:
    """Return when ``identifier`` was made, to the millisecond, in UTC."""
    return _EPOCH + timedelta(milliseconds=identifier.int >> 80)


def bucket_of(person: PersonId) -> int:
    """Return 0 to 255: which share of all people this one belongs to; a partition is a bucket modulo their number."""
    return person.int >> 120
