"""Shows attempts in doubt to an operator: why, what is being done about each, and until when. No personal data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from shared.contracts.states import Channel
from shared.ids import MessageId
from shared.ledger.repository import look
from shared.sending.cases import case_of
from shared.sending.policy import Case, Means, means_of, receipt_deadline

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from shared.clock import Clock
    from shared.config import Config
    from shared.dealers.base import Dealer
    from shared.ledger.book import Attempt

Place = tuple[UUID, int]
"""a message and an attempt: where a page ended"""

START: Place = (UUID(int=0), 0)

_PAGE = text("""
    SELECT a.message_id, a.n, (
        SELECT t.detail ->> 'why' FROM transitions t
        WHERE t.message_id = a.message_id AND t.attempt = a.n AND t.attempt_state = 'uncertain'
        ORDER BY t.seq DESC LIMIT 1
    ) AS why
    FROM attempts a
    WHERE a.state = 'uncertain' AND a.message_id >= :message AND (a.message_id, a.n) > (:message, :n)
    ORDER BY a.message_id, a.n LIMIT :limit
""")


class Doing(StrEnum):
    """What is done to end a doubt."""

    LOOKUP = "the dealer is asked"
    REPLAY = "it is sent again under the same key"
    RECEIPT = "a receipt is awaited"
    KAKAO = "Kakao's word is awaited"


@dataclass(frozen=True, slots=True)
class InDoubt:
    """An attempt in doubt. Times are those of the rules' clock."""

    message_id: MessageId
    n: int
    dealer: str
    channel: Channel
    opened_at: datetime
    why: str
    doing: Doing
    next_at: datetime | None
    until: datetime
    """when it ends, should nothing be learnt"""
    then: str
    """the category's policy, which follows: ``fallback``, ``hold`` or ``resend``"""


def doing_about(attempt: Attempt, case: Case) -> Doing:
    """Return what is done about an attempt in doubt."""
    if attempt.is_unconfirmed:
        return Doing.KAKAO
    match means_of(case):
        case Means.LOOKUP:
            return Doing.LOOKUP
        case Means.REPLAY:
            return Doing.REPLAY
        case None:
            return Doing.RECEIPT


async def read_doubts(
    connection: AsyncConnection,
    *,
    config: Config,
    dealers: Mapping[str, Dealer],
    clock: Clock,
    after: Place = START,
    limit: int,
) -> Sequence[InDoubt]:
    """Return up to ``limit`` attempts in doubt, the oldest message first, behind ``after``."""
    parameters = {"message": after[0], "n": after[1], "limit": limit}
    rows = (await connection.execute(_PAGE, parameters)).all()
    book = await look(connection, {row.message_id for row in rows}, now=clock.now())
    found: list[InDoubt] = []
    for row in rows:
        attempt = book.attempts[MessageId(row.message_id), row.n]
        case = case_of(book, attempt, config=config, dealers=dealers, clock=clock, jitter=0.0)
        found.append(
            InDoubt(
                message_id=attempt.message_id,
                n=attempt.n,
                dealer=attempt.dealer,
                channel=attempt.channel,
                opened_at=attempt.opened_at,
                why=row.why or "not known",
                doing=doing_about(attempt, case),
                next_at=attempt.check_at,
                until=attempt.opened_at + receipt_deadline(dealers.get(attempt.dealer), attempt),
                then=case.uncertain,
            )
        )
    return found
