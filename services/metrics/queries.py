"""What is read from the tables of counts, for the HTTP answers and the gauges."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from services.metrics.domain import NOT_TAKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which counts are wanted; None for any. ``since`` and ``until`` are whole hours, the second left out."""

    since: datetime | None = None
    until: datetime | None = None
    profile: str | None = None
    template: str | None = None
    rule: str | None = None
    lane: str | None = None
    channel: str | None = None
    dealer: str | None = None


class MessageRow(NamedTuple):
    """Messages that stand alike."""

    profile: str
    state: str
    reason: str
    channel: str
    n: int


class AttemptRow(NamedTuple):
    """Attempts that stand alike, or (state ``domain.COST``) what attempts cost."""

    profile: str
    channel: str
    dealer: str
    state: str
    reason: str
    n: int
    cost_krw: int


class SlotRow(NamedTuple):
    """Attempts made in one hour of the week that stand alike; ``taken`` is false for what the dealer did not take."""

    slot: int
    state: str
    taken: bool
    n: int


_HOURS = """
    hour >= coalesce(CAST(:since AS timestamptz), '-infinity')
    AND hour < coalesce(CAST(:until AS timestamptz), 'infinity')
    AND profile = coalesce(CAST(:profile AS text), profile)
"""
_TEMPLATE = " AND template = coalesce(CAST(:template AS text), template)"
_MESSAGES = text(f"""
    SELECT profile, state, reason, channel, sum(n)::bigint AS n FROM stats_messages
    WHERE {_HOURS} {_TEMPLATE} AND rule = coalesce(CAST(:rule AS text), rule)
      AND lane = coalesce(CAST(:lane AS text), lane)
    GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4
""")  # noqa: S608 - put together from constants
_OVER = """
    AND channel = coalesce(CAST(:channel AS text), channel) AND dealer = coalesce(CAST(:dealer AS text), dealer)
"""
_ATTEMPTS = """
    SELECT profile, channel, dealer, state, reason, sum(n)::bigint AS n, sum(cost_krw)::bigint AS cost_krw
    FROM {table} WHERE {which}
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0 OR sum(cost_krw) <> 0 ORDER BY 1, 2, 3, 4, 5
"""
# By the hour first: an hour of the week is told for each hour, and not for each row.
_SLOTS = """
    WITH hours AS (
        SELECT hour AT TIME ZONE 'Asia/Seoul' AS at, state,
               NOT (state = 'failed' AND reason = ANY(CAST(:not_taken AS text[]))) AS taken, n
        FROM (SELECT hour, state, reason, sum(n) AS n FROM {table} WHERE {which} GROUP BY hour, state, reason) AS whole
    )
    SELECT ((extract(isodow FROM at) - 1) * 24 + extract(hour FROM at))::int AS slot, state, taken,
           sum(n)::bigint AS n
    FROM hours GROUP BY 1, 2, 3 HAVING sum(n) <> 0 ORDER BY 1, 2, 3
"""


def _over(query: str) -> tuple[TextClause, TextClause]:
    """Return ``query`` over all templates, for which there is a table that does not tell them apart, and over one."""
    which = f"{_HOURS} {_OVER}"
    return (
        text(query.format(table="stats_hours", which=which)),
        text(query.format(table="stats_attempts", which=which + _TEMPLATE)),
    )


_ATTEMPTS_OF_ALL, _ATTEMPTS_OF_ONE = _over(_ATTEMPTS)
_SLOTS_OF_ALL, _SLOTS_OF_ONE = _over(_SLOTS)

# Beyond the mark of the partition that is furthest, nothing is counted: one row of the index tells since when.
_OLDEST_UNCOUNTED = text("""
    WITH furthest AS (
        SELECT xid, position FROM stats_offsets UNION ALL SELECT '0', 0 ORDER BY xid DESC, position DESC LIMIT 1
    )
    SELECT t.at FROM transitions t
    WHERE (t.xid, t.position) > ((SELECT xid FROM furthest), (SELECT position FROM furthest))
    ORDER BY t.xid, t.position LIMIT 1
""")


async def messages(connection: AsyncConnection, asked: Asked) -> Sequence[MessageRow]:
    """Return where the messages stand that were born in those hours (milestones among them)."""
    given = _given(asked, "rule", "lane")
    return [MessageRow(*row) for row in await connection.execute(_MESSAGES, given)]


async def attempts(connection: AsyncConnection, asked: Asked) -> Sequence[AttemptRow]:
    """Return where the attempts stand that were made in those hours, and what they cost."""
    query = _ATTEMPTS_OF_ALL if asked.template is None else _ATTEMPTS_OF_ONE
    return [AttemptRow(*row) for row in await connection.execute(query, _given(asked, "channel", "dealer"))]


async def slots(connection: AsyncConnection, asked: Asked) -> Sequence[SlotRow]:
    """Return where the attempts stand that were made in those hours, by the hour of the week in Asia/Seoul."""
    given = {**_given(asked, "channel", "dealer"), "not_taken": list(NOT_TAKEN)}
    query = _SLOTS_OF_ALL if asked.template is None else _SLOTS_OF_ONE
    return [SlotRow(*row) for row in await connection.execute(query, given)]


async def oldest_uncounted(connection: AsyncConnection) -> datetime | None:
    """Return when the first change of state happened that no partition has come to, or None if there is none."""
    found: datetime | None = (await connection.execute(_OLDEST_UNCOUNTED)).scalar_one_or_none()
    return found


def _given(asked: Asked, *more: str) -> dict[str, object]:
    values = asdict(asked)
    return {name: values[name] for name in ("since", "until", "profile", "template", *more)}
