"""Figures for people: slots, the funnel, reasons, costs. Values in, answers out, no I/O.

What is not known yet is never a failure: an attempt whose receipt is awaited is ``pending``, and rates are over
those whose receipt is known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.metrics.domain import COST, DOUBLE_CONTACT, FELL_BACK, NOT_TAKEN, SLOTS, WEEKDAYS
from shared.contracts.states import AttemptState, MessageState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.metrics.queries import AttemptRow, MessageRow, SlotRow

AWAITING_FALLBACK = "awaiting_fallback"
"""``failed``, and what follows is not decided yet"""


@dataclass(slots=True)
class Slot:
    """What became of the attempts made in one hour of the week."""

    delivered: int = 0
    failed: int = 0
    pending: int = 0
    uncertain: int = 0
    not_taken: int = 0

    @property
    def sent(self) -> int:
        """Attempts that the dealer took."""
        return self.delivered + self.failed + self.pending

    @property
    def rate(self) -> float | None:
        """The delivered among those whose receipt is known; None before any is."""
        known = self.delivered + self.failed
        return round(self.delivered / known, 4) if known else None

    def add(self, row: SlotRow) -> None:
        """Add the attempts of ``row``."""
        match AttemptState(row.state), row.taken:
            case AttemptState.DELIVERED, _:
                self.delivered += row.n
            case AttemptState.FAILED, True:
                self.failed += row.n
            case AttemptState.FAILED, False:
                self.not_taken += row.n
            case AttemptState.SENT, _:
                self.pending += row.n
            case ((AttemptState.SENDING | AttemptState.UNCERTAIN), _):
                self.uncertain += row.n

    def as_dict(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "sent": self.sent,
            "delivered": self.delivered,
            "failed": self.failed,
            "pending": self.pending,
            "rate": self.rate,
            "uncertain": self.uncertain,
            "not_taken": self.not_taken,
        }


def by_slot(rows: Iterable[SlotRow]) -> list[Slot]:
    """Return all 168 slots, from Monday 00:00 in Asia/Seoul."""
    slots = [Slot() for _ in range(SLOTS)]
    for row in rows:
        if row.state != COST:
            slots[row.slot].add(row)
    return slots


def slots_report(rows: Sequence[SlotRow]) -> dict[str, Any]:
    """Return every slot and their sum."""
    total = Slot()
    for row in rows:
        if row.state != COST:
            total.add(row)
    return {
        "unit": "attempts, by the hour of the week (Asia/Seoul) in which they were made",
        "fields": {
            "sent": "the dealer took it: delivered + failed + pending",
            "pending": "its receipt is awaited; not counted as failed",
            "rate": "delivered / (delivered + failed); null before a receipt is known",
            "uncertain": "being sent, or the dealer may have it; not in sent",
            "not_taken": "failed at the dealer's door for reasons that say nothing of the person; not in sent",
        },
        "slots": [
            {"slot": n, "weekday": WEEKDAYS[n // 24], "hour": n % 24, **slot.as_dict()}
            for n, slot in enumerate(by_slot(rows))
        ],
        "total": total.as_dict(),
    }


@dataclass(frozen=True, slots=True)
class Funnel:
    """Where messages stand. Their states add up to ``messages``; the milestones stand beside them."""

    messages: int
    states: Mapping[str, int]
    delivered: Mapping[str, int]
    fell_back: Mapping[str, int]
    double_contacts: int
    ends: Sequence[tuple[str, str, int]]


def funnel(rows: Iterable[MessageRow]) -> Funnel:
    """Add messages up."""
    states: Counter[str] = Counter(dict.fromkeys(MessageState, 0))
    states[AWAITING_FALLBACK] = 0
    delivered: Counter[str] = Counter()
    fell_back: Counter[str] = Counter()
    ends: Counter[tuple[str, str]] = Counter()
    double_contacts = 0
    for row in rows:
        if row.state == FELL_BACK:
            fell_back[row.channel] += row.n
        elif row.state == DOUBLE_CONTACT:
            double_contacts += row.n
        elif row.state == MessageState.FAILED and not row.reason:
            states[AWAITING_FALLBACK] += row.n
        else:
            states[row.state] += row.n
            if row.reason:
                ends[row.state, row.reason] += row.n
            if row.state == MessageState.DELIVERED:
                delivered[row.channel] += row.n
    return Funnel(
        messages=states.total(),
        states=dict(states),
        delivered=dict(sorted(delivered.items())),
        fell_back=dict(sorted(fell_back.items())),
        double_contacts=double_contacts,
        ends=[(state, reason, n) for (state, reason), n in ends.most_common()],
    )


def funnel_report(rows: Iterable[MessageRow]) -> dict[str, Any]:
    """Return the funnel."""
    found = funnel(rows)
    known = found.states[MessageState.DELIVERED] + found.states[MessageState.FAILED]
    return {
        "unit": "messages, by the state they are in now; from and to are when they were born",
        "messages": found.messages,
        "states": found.states,
        "delivered_over": found.delivered,
        "delivered_share": round(found.states[MessageState.DELIVERED] / known, 4) if known else None,
        "fell_back": sum(found.fell_back.values()),
        "fell_back_to": found.fell_back,
        "double_contacts": found.double_contacts,
        "ended": [{"state": state, "reason": reason, "n": n} for state, reason, n in found.ends],
    }


def reasons_report(rows: Iterable[AttemptRow]) -> dict[str, Any]:
    """Return why attempts failed, the most frequent first."""
    failures: Counter[tuple[str, str, str]] = Counter()
    pending = known = 0
    for row in rows:
        match row.state:
            case AttemptState.FAILED:
                failures[row.reason, row.channel, row.dealer] += row.n
                known += row.n
            case AttemptState.DELIVERED:
                known += row.n
            case AttemptState.SENT:
                pending += row.n
    failed = failures.total()
    return {
        "unit": "failed attempts, by the hour in which they were made; share is of all that failed",
        "failed": failed,
        "failed_share": round(failed / known, 4) if known else None,
        "pending": pending,
        "reasons": [
            {
                "reason": reason,
                "channel": channel,
                "dealer": dealer,
                "n": n,
                "share": round(n / failed, 4),
                "taken": reason not in NOT_TAKEN,
            }
            for (reason, channel, dealer), n in sorted(failures.items(), key=lambda item: (-item[1], item[0]))
        ],
    }


@dataclass(frozen=True, slots=True)
class Costs:
    """What attempts cost, and what their deliveries had cost as an SMS each (None where a price is not known)."""

    by_channel: Mapping[str, int]
    delivered: Mapping[str, int]
    all_sms_krw: int | None


def costs(rows: Iterable[AttemptRow], sms_prices: Mapping[str, int]) -> Costs:
    """Add costs up. ``sms_prices``: KRW by profile."""
    by_channel: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    all_sms: int | None = 0
    for row in rows:
        if row.state == COST:
            by_channel[row.channel] += row.cost_krw
        elif row.state == AttemptState.DELIVERED:
            delivered[row.channel] += row.n
            price = sms_prices.get(row.profile)
            all_sms = None if price is None or all_sms is None else all_sms + row.n * price
    return Costs(dict(sorted(by_channel.items())), dict(sorted(delivered.items())), all_sms)


def costs_report(rows: Iterable[AttemptRow], sms_prices: Mapping[str, int]) -> dict[str, Any]:
    """Return what was paid, by channel, and against a world in which every delivery was one SMS."""
    found = costs(rows, sms_prices)
    paid = sum(found.by_channel.values())
    return {
        "unit": "KRW, VAT apart, by the hour in which attempts were made; what failed is not paid for",
        "cost_krw": paid,
        "channels": [
            {
                "channel": channel,
                "delivered": found.delivered.get(channel, 0),
                "cost_krw": found.by_channel.get(channel, 0),
            }
            for channel in sorted({*found.by_channel, *found.delivered})
        ],
        "all_sms_krw": found.all_sms_krw,
        "saved_krw": None if found.all_sms_krw is None else found.all_sms_krw - paid,
    }
