"""What happens to messages at any dealer: they are taken, leave, reach their fate, and are reported. No wire.

A dialect reads a call, judges it as strictly as its dealer, and gives what is left to ``Exchange.send``.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bongsu.sandbox.truth import Dispatched
from bongsu.sandbox.webhooks import Event, Webhooks

if TYPE_CHECKING:
    from bongsu.sandbox.dialect import Context
    from shared.contracts.states import Channel

NEVER = float("inf")


@dataclass(slots=True, eq=False)
class Taken:
    """A message that the dealer took. Times are rule time, in Unix seconds."""

    id: str
    """the dealer's id of it"""
    to: str
    channel: Channel
    key: str | None
    """the caller's own key, where the dealer's wire has a place for one"""
    group: str = ""
    """what it was sent with: the id of the request"""
    request: Mapping[str, Any] = field(default_factory=dict)
    """what else the dialect wants to remember of it"""
    certain: str | None = None
    """how it is sure to end, by what was asked for (a template that does not fit, say): as in a fault profile"""
    taken_at: float = 0.0
    sent: Dispatched | None = None
    visible_at: float = NEVER
    """when lookups begin to show how it ended"""
    found_from: float = 0.0
    """when lookups begin to find it at all (the dealer's index lags), on the monotonic clock"""

    def code_seen(self, now: float) -> str | None:
        """Return the code a lookup sees at ``now``; None while it is pending."""
        return self.sent.code if self.sent is not None and now >= self.visible_at else None


class Exchange:
    """The messages of one dealer."""

    def __init__(
        self,
        context: Context,
        *,
        delivered: Callable[[Channel], str],
        code: Callable[[str, Channel], str],
        pending: str = "",
        webhooks: Webhooks | None = None,
    ) -> None:
        """``delivered`` gives the dealer's code of success, ``code`` its code for a reason of our taxonomy.

        ``code`` is given anything that stands in a fault profile, and returns what is no such reason as it is.
        ``pending`` is the code of a report that says "not yet"; empty where the dealer has none.
        """
        self.context = context
        self.webhooks = webhooks
        self.by_id: dict[str, Taken] = {}
        self.by_key: defaultdict[str, list[Taken]] = defaultdict(list)
        self.by_group: defaultdict[str, list[Taken]] = defaultdict(list)
        self._delivered = delivered
        self._code = code
        self._pending = pending
        self._ids = itertools.count(1)

    def reset(self) -> None:
        """Forget every message."""
        self.by_id.clear()
        self.by_key.clear()
        self.by_group.clear()
        if self.webhooks is not None:
            self.webhooks.clear()

    def number(self) -> int:
        """Return a number that was not given before: for ids."""
        return next(self._ids)

    def now(self) -> float:
        """Return rule time."""
        return self.context.timers.now()

    # -- calls ---------------------------------------------------------------------------------------------------

    def wait_for_room(self, amount: int) -> float | None:
        """Count ``amount`` (as this dealer counts) against its limit; return seconds to wait if it is refused.

        What is allowed is counted as sent.
        """
        context, now = self.context, time.monotonic()
        limits = context.profile.limits or context.sandbox.limits
        context.truth.count_asked(context.name, amount)
        meter = context.truth.meter(context.name)
        limit = limits.messages_per_second
        if limit and limits.enforced and meter.at(now) + amount > limit:
            context.truth.counted["refused_by_message_limit"] += 1
            wait = meter.room_after(now, amount, limit)
            return 1.0 if wait == NEVER else wait
        context.truth.count_sent(context.name, amount, limit)
        return None

    def refusal(self, to: str, channel: Channel) -> str | None:
        """Return the code by which chance refuses a message at acceptance, or None."""
        word = self.context.faults.registration(to)
        if word is None:
            return None
        code = self._code(word, channel)
        self.context.truth.refused_at_registration[code] += 1
        return code

    # -- messages ------------------------------------------------------------------------------------------------

    def send(self, messages: Sequence[Taken]) -> None:
        """Let messages leave."""
        context, now = self.context, self.now()
        faults = context.faults
        lag = faults.profile.read_lag.draw(faults.dice)
        for message in messages:
            message.taken_at = now
            message.found_from = time.monotonic() + lag
            self.by_id[message.id] = message
            if message.key is not None:
                self.by_key[message.key].append(message)
            if message.group:
                self.by_group[message.group].append(message)
            fate = message.certain or faults.fate(message.channel, message.to, faults.hour_factor(context.clock.now()))
            message.sent = Dispatched(
                dealer=context.name,
                message_id=message.id,
                group_id=message.group,
                to=message.to,
                channel=message.channel,
                custom_fields=(),
                key=message.key,
                world_at=time.time(),
                at=now,
                substitute=False,
                code=self._delivered(message.channel) if fate is None else self._code(fate, message.channel),
                delivered=fate is None,
                final_at=now + faults.profile.receipts.fate_after.draw(faults.dice),
            )
            context.truth.add(message.sent)
            context.timers.at(message.sent.final_at, self._end, message)

    def found(self, messages: Sequence[Taken]) -> list[Taken]:
        """Return those that lookups find by now."""
        return [message for message in messages if time.monotonic() >= message.found_from]

    def _end(self, message: Taken) -> None:
        sent, now, faults = message.sent, self.now(), self.context.faults
        if sent is None:
            return
        sent.final_at = min(sent.final_at, now)  # earlier if settled
        message.visible_at = now + faults.profile.receipts.lookup_lag.draw(faults.dice)
        self._report(message, sent, now)

    def _report(self, message: Taken, sent: Dispatched, now: float) -> None:
        if self.webhooks is None:
            return
        faults, plan = self.context.faults, self.context.faults.profile.receipts
        if faults.happens("receipt_missing", plan.missing):
            return
        when = now
        if sent.delivered and faults.happens("failure_first", plan.failure_first.probability):
            self._push(message, self._code(plan.failure_first.code, message.channel), now)
            when += plan.failure_first.after.draw(faults.dice)
        elif faults.happens("receipt_late", plan.late.probability):
            when += plan.late.after.draw(faults.dice)
        event_id = self._push(message, sent.code, when)
        if faults.happens("receipt_repeated", plan.repeated.probability):
            same = None if faults.dice.random() < plan.repeated.new_id else event_id
            self._push(message, sent.code, when + plan.repeated.after.draw(faults.dice), same)
        if self._pending and faults.happens("pending_after", plan.pending_after.probability):
            self._push(message, self._pending, when + plan.pending_after.after.draw(faults.dice))
        if sent.delivered and faults.happens("contradiction", plan.contradiction.probability):
            after = plan.contradiction.after.draw(faults.dice)
            self._push(message, self._code(plan.contradiction.code, message.channel), when + after)

    def push(self, message: Taken) -> None:
        """Report what is known of a message once more, now."""
        if self.webhooks is not None and (code := message.code_seen(self.now())) is not None:
            self._push(message, code, self.now())

    def _push(self, message: Taken, code: str, when: float, event_id: str | None = None) -> str:
        """Report now, or when it is time; return the event's id."""
        assert self.webhooks is not None  # noqa: S101 - asked before
        event = Event(event_id or self.webhooks.new_id(), message, code, when, retries=int(event_id is not None))
        if when <= self.now():
            self.webhooks.push(event)
        else:
            self.context.timers.at(when, self.webhooks.push, event)
        return event.event_id


def codes_by_reason(tables: Mapping[Channel | None, Mapping[str, str]]) -> Callable[[str, Channel], str]:
    """Return what translates a reason of our taxonomy into a dealer's code; any other word stays as it is.

    ``tables`` holds codes by reason for a channel, and under None for those that have none of their own.
    """

    def code(word: str, channel: Channel) -> str:
        own = tables.get(channel, {})
        return own.get(word) or tables.get(None, {}).get(word, word)

    return code
