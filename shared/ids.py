"""Ids: time-ordered UUIDs (version 7, RFC 9562 section 5.7), made by the clock that rules use.

The first 48 bits are milliseconds of Unix time, so a range of ids is a range of time: partitions are cut
by it, and the hour in which a message was born is read off its id.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NewType
from uuid import UUID

from asyncpg.pgproto import pgproto

EventId = NewType("EventId", UUID)
MessageId = NewType("MessageId", UUID)
PersonId = NewType("PersonId", UUID)  # a keyed hash of the phone number, cut to 16 bytes
ReceiptId = NewType("ReceiptId", UUID)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 7 << 76
_VARIANT = 2 << 62
_TAIL = (1 << 61) - 1  # a bit less than there is, for what is added


def new_id(now: datetime) -> UUID:
    """Return a new id born at ``now``; 73 random bits make it unique."""
    return new_ids(now, 1)[0]


def new_ids(now: datetime, number: int) -> list[UUID]:
    """Return ``number`` new ids born at ``now``, each the last one plus 1 (RFC 9562 section 6.2, method 2)."""
    return _from(_first(now), number)


def _first(now: datetime) -> int:
    random = int.from_bytes(os.urandom(10), "big")
    head = ((now - _EPOCH) // timedelta(milliseconds=1)) << 80
    return head | _VERSION | ((random >> 62) & 0xFFF) << 64 | _VARIANT | (random & _TAIL)


def _from(first: int, number: int) -> list[UUID]:
    return [uuid_of((first + n).to_bytes(16, "big")) for n in range(number)]


_STEP_BACK = timedelta(hours=2) // timedelta(milliseconds=1) << 80


@dataclass
class Births:
    """Makes ids that grow from call to call: one a process, where the order of ids is the order of things.

    Several of a millisecond grow too, and so do those made after the clock stepped back: until it has caught up they
    are born at the latest moment it told. A clock that steps back by more than two hours was wrong before, and is
    followed.
    """

    _next: int = 0

    def new(self, now: datetime, number: int) -> list[UUID]:
        """Return ``number`` new ids, each the last one plus 1, born at ``now`` or when the last were."""
        first = _first(now)
        if first < self._next < first + _STEP_BACK:
            first = self._next + int.from_bytes(os.urandom(4), "big")  # what comes next cannot be guessed
        self._next = first + number
        return _from(first, number)


def uuid_of(raw: bytes) -> UUID:
    """Return the id of these 16 bytes, as asyncpg's kind of ``UUID``: made and written in a tenth of the time."""
    made: UUID = pgproto.UUID(raw)
    return made


def first_id(moment: datetime) -> UUID:
    """Return the smallest id that could be born at ``moment``: a bound of a partition or of a query."""
    return UUID(int=((moment - _EPOCH) // timedelta(milliseconds=1)) << 80)


def born_at(identifier: UUID) -> datetime:
    """Return when ``identifier`` was made, to the millisecond, in UTC."""
    return _EPOCH + timedelta(milliseconds=identifier.int >> 80)


def bucket_of(person: PersonId) -> int:
    """Return 0 to 255: which share of all people this one belongs to; a partition is a bucket modulo their number."""
    return person.int >> 120
