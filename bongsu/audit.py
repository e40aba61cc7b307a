"""Holds the ledger against the sandbox's truth: the judge of the demo and of the kill tests.

The truth is what the dealer really sent and what reached people; the ledger is what bongsu believes. Each finding is
a broken promise, with an example.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.contracts.keys import read_request_key
from shared.contracts.states import AttemptState, MessageState
from shared.dealers.base import Capabilities, LookupMeans


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that does not hold."""

    promise: str
    what: str
    count: int
    example: str = ""

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}: {self.count}" + (f" (such as {self.example})" if self.example else "")


@dataclass(frozen=True, slots=True)
class LedgerAttempt:
    """An attempt as the ledger has it."""

    message_id: str
    n: int
    channel: str
    state: str
    reason: str | None
    request_key: str
    opened_at: datetime
    dealer: str
    told_failed: bool = False
    """receipts said that it failed, and none that it was delivered"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What bongsu believes."""

    messages: Mapping[str, tuple[str, bool]]
    """id -> state, final"""
    attempts: Sequence[LedgerAttempt]
    double_contacts: int


async def read_ledger(connection: AsyncConnection) -> Ledger:
    """Read all messages and attempts."""
    messages = await connection.execute(text("SELECT id::text, state, final FROM messages"))
    attempts = await connection.execute(
        text("""
            WITH told AS (
                SELECT dealer, key, bool_or(delivered IS FALSE) AS failed, bool_or(delivered IS TRUE) AS delivered
                FROM (
                    SELECT dealer, request_key AS key, delivered FROM receipts
                    UNION ALL
                    SELECT dealer, dealer_message_id, delivered FROM receipts
                ) each WHERE key IS NOT NULL GROUP BY dealer, key
            )
            SELECT a.message_id::text, a.n, a.channel, a.state, a.reason, a.request_key, a.opened_at, a.dealer,
                   coalesce(ours.failed OR theirs.failed, ours.failed, theirs.failed, false)
                   AND NOT coalesce(ours.delivered OR theirs.delivered, ours.delivered, theirs.delivered, false)
            FROM attempts a
            LEFT JOIN told ours ON (ours.dealer, ours.key) = (a.dealer, a.request_key)
            LEFT JOIN told theirs ON (theirs.dealer, theirs.key) = (a.dealer, a.dealer_message_id)
            ORDER BY a.n
        """)
    )
    doubles = await connection.scalar(text("SELECT count(*) FROM transitions WHERE detail ? 'double_contact'"))
    return Ledger(
        {row.id: (row.state, row.final) for row in messages},
        [LedgerAttempt(*row) for row in attempts],
        int(doubles or 0),
    )


IN_DOUBT = frozenset({"delivery_uncertain", "result_timeout"})
"""reasons that claim nothing: nobody knows whether the person has it"""


def audit(
    ledger: Ledger,
    truth: Iterable[Mapping[str, Any]],
    accepted: Iterable[str] | None = None,
    *,
    numbers: Mapping[str, str] = MappingProxyType({}),
    blind: Collection[str] = (),
    mute: Collection[str] = (),
) -> list[Finding]:
    """Return every promise that truth and ledger together show broken.

    ``accepted`` are the ids of messages that a 202 named; None if nobody kept them. ``numbers`` (recipient -> id of its
    one message) tells the rows of dealers whose wire carries no key of ours. ``blind`` are the dealers that leave
    doubts which nothing can resolve: there an attempt may end as unknown. ``mute`` are those that cannot be asked
    whether a failure which they reported stands: one that was taken back unheard stays a failure.
    """
    rows = _named(list(truth), ledger, numbers)
    unknown = {
        attempt.request_key
        for attempt in ledger.attempts
        if (attempt.dealer in blind and claims_nothing(attempt))
        or (attempt.dealer in mute and attempt.state == AttemptState.FAILED and attempt.told_failed)
    }
    return [
        *_lost(ledger, accepted),
        *_twice(rows),
        *_disagreements(ledger, rows, unknown),
        *_doubles(ledger, rows, unknown),
    ]


def is_blind(can: Capabilities) -> bool:
    """Whether a dealer leaves doubts that nothing can resolve: its page in docs/dealers says when."""
    return can.lookup in {LookupMeans.NONE, LookupMeans.REPLAY} or not can.receipts_polled


def is_mute(can: Capabilities) -> bool:
    """Whether a dealer reports of its own accord alone: a report that did not reach us is gone."""
    return not can.receipts_polled and not can.receipts_pulled


def claims_nothing(attempt: LedgerAttempt) -> bool:
    """Whether an attempt ended in doubt."""
    return attempt.reason in IN_DOUBT and attempt.state != AttemptState.DELIVERED


def _named(rows: Iterable[Mapping[str, Any]], ledger: Ledger, numbers: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Give rows without a key that of the latest attempt that they can be."""
    latest = {(attempt.message_id, attempt.channel, attempt.dealer): attempt.request_key for attempt in ledger.attempts}
    return [
        row if row["key"] else {**row, "key": latest.get((numbers.get(row["to"], ""), row["channel"], row["dealer"]))}
        for row in rows
    ]


def _lost(ledger: Ledger, accepted: Iterable[str] | None) -> Iterable[Finding]:
    missing = [each for each in accepted or () if each not in ledger.messages]
    if missing:
        yield Finding("P1", "messages that a 202 named and the ledger does not have", len(missing), missing[0])
    open_ = [(each, state) for each, (state, final) in ledger.messages.items() if not final]
    if open_:
        states = dict(Counter(state for _, state in open_))
        yield Finding("P1", f"messages that are not final {states}", len(open_), open_[0][0])


def _twice(rows: Sequence[Mapping[str, Any]]) -> Iterable[Finding]:
    sent: Counter[tuple[str, str]] = Counter()
    got: Counter[tuple[str, str]] = Counter()
    unknown = 0
    for row in rows:
        key = row["key"]
        if key is None:
            unknown += 1
            continue
        message = message_of(key)
        sent[message, row["channel"]] += 1
        got[message, row["channel"]] += bool(row["delivered"])
    if unknown:
        yield Finding("P2", "messages sent without our request key", unknown)
    if twice := [key for key, n in got.items() if n > 1]:
        yield Finding("P2", "people who got a message twice over a channel", len(twice), "/".join(twice[0]))
    if twice := [key for key, n in sent.items() if n > 1]:
        yield Finding("P2", "messages sent twice over a channel", len(twice), "/".join(twice[0]))
    if substitutes := sum(bool(row["substitute"]) for row in rows):
        yield Finding("P2", "texts that the dealer sent of its own accord", substitutes)


def _disagreements(ledger: Ledger, rows: Sequence[Mapping[str, Any]], unknown: Collection[str]) -> Iterable[Finding]:
    truth = {row["key"]: row for row in rows}
    known = {attempt.request_key for attempt in ledger.attempts}
    if stray := [key for key in truth if key is not None and key not in known]:
        yield Finding("P2", "messages sent that the ledger does not know", len(stray), stray[0])
    wrong: dict[str, list[str]] = defaultdict(list)
    for attempt in ledger.attempts:
        if attempt.request_key in unknown:
            continue
        row = truth.get(attempt.request_key)
        reached = bool(row and row["delivered"])
        if attempt.state == AttemptState.DELIVERED and not reached:
            wrong["attempts called delivered that reached nobody"].append(attempt.request_key)
        elif attempt.state != AttemptState.DELIVERED and reached:
            wrong["attempts that reached somebody and are not called delivered"].append(attempt.request_key)
        elif attempt.state == AttemptState.SENT and row is None:
            wrong["attempts called sent that the dealer never sent"].append(attempt.request_key)
    for what, keys in wrong.items():
        yield Finding("P3", what, len(keys), keys[0])
    people = {message_of(key) for key, row in truth.items() if key and row["delivered"]}
    believed = {each for each, (state, _) in ledger.messages.items() if state == MessageState.DELIVERED}
    if differ := (people ^ believed) - {message_of(key) for key in unknown}:
        yield Finding("P8", "messages whose end is not what happened", len(differ), next(iter(differ)))


def _doubles(ledger: Ledger, rows: Sequence[Mapping[str, Any]], unknown: Collection[str]) -> Iterable[Finding]:
    channels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["delivered"] and (key := row["key"]) and key not in unknown:
            channels[message_of(key)].add(row["channel"])
    truly = sum(len(each) > 1 for each in channels.values())
    if truly != ledger.double_contacts:
        yield Finding("P8", f"double contacts: {truly} happened, {ledger.double_contacts} were counted", 1)


def message_of(key: str) -> str:
    """Return the id of the message that a request key is about, or the key if it is none of ours."""
    known = read_request_key(key)
    return str(known[0]) if known else key
