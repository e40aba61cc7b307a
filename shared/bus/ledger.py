"""The ledger's transitions, read in their order as records of the topics.

Sequence numbers are drawn in one order and commit in another, so ``WHERE position > last`` skips rows. Order here is
``(xid, position)``, and only rows below the horizon are read: ``pg_snapshot_xmin(pg_current_snapshot())``, the lowest
transaction still running. Below it nothing can appear any more (docs/adr/0004). The price: a transaction that has
written anything, anywhere in the cluster, holds back what came after it until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.contracts.delivery import Delivery, Interest
from shared.contracts.jobs import SendJob
from shared.contracts.states import ATTEMPT_STATES, CATEGORIES, CHANNELS, LANES, MESSAGE_STATES, MessageState
from shared.contracts.topics import DELIVERY, SEND_JOBS
from shared.ledger.repository import ring

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from shared.bus.connection import BusConnection

__all__ = ["END", "START", "TOPICS", "Entry", "Page", "Place", "read", "ring"]

TOPICS = frozenset({DELIVERY, *SEND_JOBS.values()})
"""The topics that the ledger makes."""


class Place(NamedTuple):
    """Where in the ledger; a cursor at it has read everything up to and including it."""

    xid: int
    position: int


START = Place(0, 0)
END = Place(2**63 - 1, 2**63 - 1)


class Entry(msgspec.Struct, frozen=True):
    """A transition, and what of its message never changes."""

    delivery: Delivery
    bucket: int
    deadline: datetime

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.delivery.xid, self.delivery.position)

    @property
    def job_topic(self) -> str | None:
        """The topic of the job that this transition is; None when it is none, or one that ``fallback`` does itself."""
        change = self.delivery
        if change.state is not MessageState.QUEUED or change.channel is None or change.channel.is_text:
            return None
        return SEND_JOBS[change.lane]

    def value(self, topic: str) -> bytes:
        """Return what ``topic`` says of it: a ``Delivery``, or a ``SendJob`` (see ``job_topic``)."""
        change = self.delivery
        if topic == DELIVERY:
            return change.encode()
        if topic != self.job_topic or change.channel is None:
            raise ValueError(f"this transition is none of {topic}")
        return SendJob(
            message_id=change.message_id,
            person_id=change.person_id,
            seq=change.seq,
            channel=change.channel,
            dealer=change.dealer or "",
            profile=change.profile,
            deadline=self.deadline,
        ).encode()


@dataclass(frozen=True, slots=True)
class Page:
    """What one look found."""

    entries: Sequence[Entry]
    upto: Place
    """everything asked for up to here is in ``entries``: where to go on"""
    waiting: bool
    """rows have been committed that a running transaction holds back: look again shortly"""


_FILTERS = {
    DELIVERY: "true",
    **{
        # kept equal to Entry.job_topic by a test
        topic: f"t.lane = '{lane}' AND t.state = 'queued' AND t.channel NOT IN ('sms', 'lms', 'mms')"
        for lane, topic in SEND_JOBS.items()
    },
}
_INTERESTS = {
    # kept equal to Interest.wants by a test
    Interest.ALL: "true",
    Interest.FAILURES: "t.state = 'failed' AND NOT t.final",
    Interest.TEXTS: "t.state = 'queued' AND t.channel IN ('sms', 'lms', 'mms')",
}

# The sets of rows are cut to size before messages are looked up, one by one through their key.
_READ = {
    (topic, interest): f"""
    WITH horizon AS (
        SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid,
               EXISTS (SELECT FROM transitions WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())) AS waiting
    ), page AS MATERIALIZED (
        SELECT t.* FROM transitions t
        WHERE (t.xid, t.position) > ($1::text::xid8, $2::bigint)
          AND (t.xid, t.position) <= ($3::text::xid8, $4::bigint)
          AND t.xid < pg_snapshot_xmin(pg_current_snapshot())
          AND {condition} AND {wanted}
          AND t.bucket % $5::int = ANY($6::int[])
        ORDER BY t.xid, t.position
        LIMIT $7
    )
    SELECT h.xid::text AS horizon, h.waiting,
           p.xid::text AS xid, p.position, p.message_id, p.seq, p.at, p.bucket, p.lane, p.was, p.state, p.final,
           p.reason, p.attempt, p.channel, p.dealer, p.attempt_was, p.attempt_state, p.reason_was, p.code, p.cost_krw,
           p.sent_at, m.person_id, m.profile, m.rule, m.template, m.category, m.deadline
    FROM horizon h
    LEFT JOIN (
        page p LEFT JOIN LATERAL (
            SELECT person_id, profile, rule, template, category, deadline
            FROM messages WHERE id = p.message_id LIMIT 1
        ) m ON true
    ) ON true
    ORDER BY p.xid, p.position
    """  # noqa: S608 - the conditions are the constants above
    for topic, condition in _FILTERS.items()
    for interest, wanted in _INTERESTS.items()
}


async def read(  # noqa: PLR0913 - what one look asks for, by keyword
    bus: BusConnection,
    topic: str,
    after: Place,
    *,
    until: Place = END,
    partitions: int = 1,
    owned: Collection[int] = (0,),
    limit: int,
    interest: Interest = Interest.ALL,
    session: int | None = None,
) -> Page:
    """Return up to ``limit`` entries of ``topic``, of this ``interest``, above ``after`` and not above ``until``.

    Only people whose bucket modulo ``partitions`` is in ``owned``. Raises ``BusAway``.
    """
    rows = await bus.fetch(
        _READ[topic, interest],
        str(after.xid),
        after.position,
        str(until.xid),
        until.position,
        partitions,
        list(owned),
        limit,
        session=session,
    )
    horizon, waiting, xid, *_ = rows[0]
    found = [] if xid is None else rows
    if len(found) >= limit:
        _, _, xid, position, *_ = found[-1]
        upto = Place(int(xid), position)
    else:
        upto = max(after, min(until, Place(int(horizon), 0)))
    entries = map(_entry, found)
    return Page([entry for entry in entries if entry is not None], upto, waiting)


def _entry(row: Sequence[Any]) -> Entry | None:
    # Unpacked, and by tables: this runs for every transition and every reader, and names cost twice as much.
    (
        _, _, xid, position, message_id, seq, at, bucket, lane, was, state, final, reason, attempt, channel, dealer,
        attempt_was, attempt_state, reason_was, code, cost_krw, sent_at, person_id, profile, rule, template, category,
        deadline,
    ) = row  # fmt: skip
    if person_id is None:
        return None  # a message is dropped with its transitions, but not in the same instant
    delivery = Delivery(
        message_id=message_id,
        person_id=person_id,
        seq=seq,
        xid=int(xid),
        position=position,
        at=at,
        was=None if was is None else MESSAGE_STATES[was],
        state=MESSAGE_STATES[state],
        final=final,
        reason=reason,
        profile=profile,
        rule=rule,
        template=template,
        lane=LANES[lane],
        category=CATEGORIES[category],
        attempt=attempt,
        channel=None if channel is None else CHANNELS[channel],
        dealer=dealer,
        attempt_was=None if attempt_was is None else ATTEMPT_STATES[attempt_was],
        attempt_state=None if attempt_state is None else ATTEMPT_STATES[attempt_state],
        reason_was=reason_was,
        code=code,
        cost_krw=cost_krw,
        sent_at=sent_at,
    )
    return Entry(delivery, bucket, deadline)
