"""SOLAPI's behaviour: registering, sending, fates and reports. Nothing here waits, so a call is atomic."""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bongsu.sandbox.solapi import views
from bongsu.sandbox.solapi.codes import (
    ACCEPTED,
    DELIVERED,
    WAITING,
    Refused,
    code_at_registration,
    code_for,
)
from bongsu.sandbox.solapi.records import Customer, Group, Stored, new_id, new_ids
from bongsu.sandbox.solapi.rules import (
    CHANNELS,
    SMS_BYTES,
    Known,
    RegisteredTemplate,
    judge,
    judge_recipient,
    text_bytes,
)
from bongsu.sandbox.truth import Dispatched
from bongsu.sandbox.webhooks import Event, Webhooks
from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bongsu.sandbox.faults import Faults
    from bongsu.sandbox.profile import Profile, Template
    from bongsu.sandbox.solapi.storage import File
    from bongsu.sandbox.solapi.wire import Message
    from bongsu.sandbox.timers import Timers
    from bongsu.sandbox.truth import Truth
    from shared.clock import Clock

NAME = "solapi"
KEY_FIELD = "bongsu_key"
"""the custom field in which our adapter carries its key"""
PER_CALL = 10_000
PER_GROUP = 1_000_000


class Solapi:
    """One installation with all its accounts."""

    def __init__(self, profile: Profile, clock: Clock, faults: Faults, timers: Timers, truth: Truth) -> None:
        self.profile = profile
        self.clock = clock
        self.faults = faults
        self.timers = timers
        self.truth = truth
        self.templates: dict[str, RegisteredTemplate] = {}
        self.groups: dict[str, Group] = {}
        self.messages: dict[str, Stored] = {}
        self.in_order: list[Stored | None] = []
        self.customers: dict[str, Customer] = {}
        self.files: defaultdict[str, dict[str, File]] = defaultdict(dict)
        """by API key and id; an upload outlives a reset, as its caller keeps the id"""
        self._shared: dict[Any, Any] = {}
        """equal parts of many messages, kept once"""
        self.webhooks = Webhooks(profile.webhook, self.encode_events, event_headers)
        self.register_templates(profile.templates)
        self.reset()

    def reset(self) -> None:
        """Forget groups, messages and what was spent; keep templates."""
        self.groups.clear()
        self.messages.clear()
        self.in_order.clear()
        self.webhooks.clear()
        self.customers = {
            account.api_key: Customer(account, f"{20_000_000 + n}", account.balance)
            for n, account in enumerate(self.profile.accounts)
        }

    def register_templates(self, templates: Iterable[Template]) -> None:
        """Add templates, or replace those of the same id."""
        for template in templates:
            self.templates[template.template_id] = RegisteredTemplate(template)

    # -- groups --------------------------------------------------------------------------------------------------

    def open_group(self, customer: Customer, custom_fields: Mapping[str, str], *, allow_duplicates: bool) -> Group:
        """Make a group."""
        now = self.clock.now()
        group = Group(
            id=new_id("G", now),
            customer=customer,
            allow_duplicates=allow_duplicates,
            custom_fields=dict(custom_fields),
            created_at=now.timestamp(),
            world_created=time.monotonic(),
            read_lag=self.faults.profile.read_lag.draw(self.faults.dice),
            updated_at=now.timestamp(),
        )
        self.groups[group.id] = group
        return group

    def find_group(self, customer: Customer, group_id: str) -> Group:
        """Return a group of this customer's; raise ``Refused`` if there is none."""
        group = self.groups.get(group_id)
        if group is None or group.customer is not customer:
            raise Refused(404, "ResourceNotFound", "해당 그룹아이디가 존재하지 않습니다.")
        return group

    def add(self, group: Group, messages: Sequence[Message]) -> list[Stored]:
        """Register messages in a group."""
        if group.status != "PENDING":
            raise Refused(400, "InvalidGroupStatus", "처리가 가능한 그룹이 아닙니다.")
        customer = group.customer
        known = Known(
            senders=customer.account.senders,
            channels=customer.account.channels,
            templates=self.templates,
            any_template=self.profile.accept_any_template,
            any_sender=self.profile.accept_any_sender,
            files=self.files[customer.account.api_key],
        )
        recipients = [(message, to) for message in messages for to in _recipients(message)]
        if len(recipients) > PER_CALL or len(group.messages) + len(recipients) > PER_GROUP:
            raise Refused(413, "RecipientsTooMany", f"한 번에 추가할 수 있는 수신번호는 최대 {PER_CALL}건 입니다.")
        now = self.clock.now()
        moment = now.timestamp()
        ids = new_ids("M", now, len(recipients))
        stored = [
            self._register(group, message, to, known, message_id, moment)
            for (message, to), message_id in zip(recipients, ids, strict=True)
        ]
        group.messages.extend(stored)
        group.updated_at = moment
        group.world_changed = time.monotonic()
        return stored

    def _register(self, group: Group, message: Message, to: str, known: Known, message_id: str, now: float) -> Stored:
        judged = judge(message, known)
        code = judged.code
        if code == ACCEPTED:
            code = judge_recipient(to)
        if code == ACCEPTED and not group.allow_duplicates and to in group.recipients:
            code = "1026"
        if code == ACCEPTED:
            refused = self.faults.registration(to)
            code = code_at_registration(refused) if refused else ACCEPTED
        if code == ACCEPTED:
            group.recipients.add(to)
        else:
            self.truth.refused_at_registration[code] += 1
        options = message.kakao_options
        kakao = None if options is None else (options.pf_id, options.template_id, options.disable_sms)
        substitute = kakao is not None and not kakao[2]
        stored = Stored(
            id=message_id,
            group=group,
            position=len(self.in_order),
            type=judged.type,
            to=to,
            from_=self._shared.setdefault(message.from_ or "", message.from_ or ""),
            text=judged.text if self.profile.keep_texts or substitute else None,
            subject=message.subject,
            kakao=None if kakao is None else self._shared.setdefault(kakao, kakao),
            custom_fields=tuple((message.custom_fields or {}).items()),
            registered_as=code,
            created_at=now,
        )
        self.messages[message_id] = stored
        self.in_order.append(stored)
        return stored

    def remove_messages(self, group: Group, message_ids: Sequence[str]) -> list[str]:
        """Take messages out of a group; return the ids that were in it."""
        if group.status != "PENDING":
            raise Refused(400, "InvalidGroupStatus", "처리가 가능한 그룹이 아닙니다.")
        removed = []
        for message_id in message_ids:
            stored = self.messages.get(message_id)
            if stored is None or stored.group is not group:
                continue
            del self.messages[message_id]
            self.in_order[stored.position] = None
            if stored.registered_as == ACCEPTED:
                group.recipients.discard(stored.to)
            removed.append(message_id)
        gone = set(removed)
        group.messages = [message for message in group.messages if message.id not in gone]
        return removed

    def delete_group(self, group: Group) -> None:
        """Delete a group that has not been sent; it can never be sent after that."""
        if group.status != "PENDING":
            raise Refused(
                400,
                "NotOperationalStatus",
                f"PENDING 상태의 그룹만 삭제할 수 있습니다. 현재 상태는 {group.status} 입니다.",
            )
        group.deleted = True
        group.world_deleted = time.monotonic()
        group.updated_at = self.clock.now().timestamp()

    def schedule(self, group: Group, when: datetime) -> None:
        """Send a group later."""
        self._refuse_unsendable(group)
        group.scheduled_at = when.timestamp()
        self.timers.at(group.scheduled_at, self._send_scheduled, group)

    def unschedule(self, group: Group) -> None:
        """Give up a scheduled sending."""
        if group.status != "SCHEDULED":
            raise Refused(400, "InvalidStatus", "'SCHEDULED' 상태의 그룹만 취소가 가능합니다.")
        group.failed = True

    def _send_scheduled(self, group: Group) -> None:
        if group.status != "SCHEDULED":
            return
        group.scheduled_at = None
        try:
            self.send(group)
        except Refused:
            group.failed = True

    # -- sending -------------------------------------------------------------------------------------------------

    def send(self, group: Group) -> None:
        """Send what a group holds, once."""
        self._refuse_unsendable(group)
        leaving = group.accepted
        self._take_room(len(leaving))
        prices = self.profile.prices
        cost = sum(prices.get(CHANNELS[message.type], 0.0) for message in leaving)
        if group.customer.balance < cost:
            raise Refused(402, "NotEnoughBalance", "현재보유 잔액이 부족합니다.")
        group.customer.balance -= cost
        group.charged = cost
        group.recipients.clear()
        now = self.clock.now()
        if not leaving:
            group.failed = True
            return
        self.truth.count_sent(NAME, len(leaving), self.profile.limits.messages_per_second)
        group.sent_at = now.timestamp()
        group.world_sent = time.monotonic()
        group.unfinished = len(leaving)
        factor = self.faults.hour_factor(now)
        for message in leaving:
            self._dispatch(message, CHANNELS[message.type], group.sent_at, factor)

    @staticmethod
    def _refuse_unsendable(group: Group) -> None:
        match group.status:
            case "DELETED":
                raise Refused(400, "DeletedGroup", "삭제 처리된 그룹으로는 발송이 안됩니다.")
            case "FAILED":
                raise Refused(400, "FailedGroup", "그룹 생성에 실패했던 그룹입니다.")
            case "SCHEDULED":
                raise Refused(409, "ScheduledGroup", "발송 예약된 그룹이므로 발송이 불가능합니다.")
            case "SENDING":
                raise Refused(409, "GroupInProcessing", "이미 발송 요청된 그룹입니다.")
            case "COMPLETE":
                raise Refused(409, "AlreadySent", "이미 발송이 완료된 그룹입니다.")

    def _take_room(self, amount: int) -> None:
        """Refuse what would go over the limit of messages in a sliding second."""
        self.truth.count_asked(NAME, amount)
        limits = self.profile.limits
        limit = limits.messages_per_second
        if not limit or not limits.enforced:
            return
        window, now = self.truth.meter(NAME), time.monotonic()
        if window.at(now) + amount <= limit:
            return
        self.truth.counted["refused_by_message_limit"] += 1
        wait = window.room_after(now, amount, limit)
        raise too_many(limit, max(0, limit - window.total), 1.0 if math.isinf(wait) else wait)

    def _dispatch(
        self, message: Stored, channel: Channel, now: float, factor: float, *, substitute: bool = False
    ) -> None:
        faults = self.faults
        fate = faults.fate(channel, message.to, factor)
        code = DELIVERED if fate is None else code_for(fate, channel)
        message.sent = sent = Dispatched(
            dealer=NAME,
            message_id=message.id,
            group_id=message.group.id,
            to=message.to,
            channel=channel,
            custom_fields=message.custom_fields,
            key=dict(message.custom_fields).get(KEY_FIELD),
            world_at=time.time(),
            at=now,
            substitute=substitute,
            code=code,
            delivered=code == DELIVERED,
            final_at=now + faults.profile.receipts.fate_after.draw(faults.dice),
        )
        self.truth.add(sent)
        self.timers.at(sent.final_at, self._end, message)

    # -- fates and reports ---------------------------------------------------------------------------------------

    def _end(self, message: Stored) -> None:
        """Let a message reach its end, and say so; or follow a Kakao failure by the substitute SMS."""
        sent, group, now = message.sent, message.group, self.timers.now()
        if sent is None:
            return
        sent.final_at = min(sent.final_at, now)  # earlier if settled
        if sent.code == WAITING:
            return  # Kakao never says what became of it, and so neither does SOLAPI
        price = self.profile.prices.get(sent.channel, 0.0)
        if not sent.delivered:
            group.customer.balance += price
            group.refunded += price
            group.refunds += 1
            if self._substitute(message, sent, now):
                return
        message.visible_at = now + self.faults.profile.receipts.lookup_lag.draw(self.faults.dice)
        group.succeeded += sent.delivered
        group.not_delivered += not sent.delivered
        group.unfinished -= 1
        if not group.unfinished:
            group.completed_at = group.updated_at = now
        self._report(message, sent, now)

    def _substitute(self, message: Stored, sent: Dispatched, now: float) -> bool:
        if sent.channel.is_text or message.kakao is None or message.kakao[2] or message.type == "BMS_FREE":
            return False  # of a brand message there is no substitute (SOLAPI's example send_bms.js)
        size = text_bytes(message.text or "")
        channel = Channel.SMS if size is not None and size <= SMS_BYTES else Channel.LMS
        price = self.profile.prices.get(channel, 0.0)
        message.group.replaced += 1
        message.group.customer.balance -= price
        message.group.charged_for_replacement += price
        factor = self.faults.hour_factor(datetime.fromtimestamp(now, UTC))
        self._dispatch(message, channel, now, factor, substitute=True)
        return True

    def _report(self, message: Stored, sent: Dispatched, now: float) -> None:
        faults, plan = self.faults, self.faults.profile.receipts
        if faults.happens("receipt_missing", plan.missing):
            return
        when = now
        if sent.delivered and faults.happens("failure_first", plan.failure_first.probability):
            self._push(message, code_for(plan.failure_first.code, sent.channel), now)
            when += plan.failure_first.after.draw(faults.dice)
        elif faults.happens("receipt_late", plan.late.probability):
            when += plan.late.after.draw(faults.dice)
        event_id = self._push(message, sent.code, when)
        if faults.happens("receipt_repeated", plan.repeated.probability):
            same = None if faults.dice.random() < plan.repeated.new_id else event_id
            self._push(message, sent.code, when + plan.repeated.after.draw(faults.dice), same)
        if faults.happens("pending_after", plan.pending_after.probability):
            self._push(message, WAITING, when + plan.pending_after.after.draw(faults.dice))
        if sent.delivered and faults.happens("contradiction", plan.contradiction.probability):
            after = plan.contradiction.after.draw(faults.dice)
            self._push(message, code_for(plan.contradiction.code, sent.channel), when + after)

    def _push(self, message: Stored, code: str, when: float, event_id: str | None = None) -> str:
        """Report now, or when it is time; return the event's id."""
        event = Event(event_id or self.webhooks.new_id(), message, code, when, retries=int(event_id is not None))
        if when <= self.timers.now():
            self.webhooks.push(event)
        else:
            self.timers.at(when, self.webhooks.push, event)
        return event.event_id

    def encode_events(self, events: Sequence[Event]) -> bytes:
        """Return the body of a webhook call."""
        shape = self.profile.webhook.shape
        return msgspec.json.encode(
            [
                views.report_view(event) if shape == "flat" or (shape == "mixed" and n % 2) else views.envelope(event)
                for n, event in enumerate(events)
            ]
        )


def too_many(limit: int, remaining: int, wait: float) -> Refused:
    """Return the refusal of a call over a limit; ``wait`` in seconds."""
    seconds = str(max(1, math.ceil(wait)))
    headers = {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": seconds,
        "x-retry-after": seconds,
    }
    return Refused(429, "TooManyRequests", "Too many requests, please try again later.", headers)


def event_headers(secret: str) -> dict[str, str]:
    """Return the headers of a webhook call (facts, section 12)."""
    return {
        "Content-Type": "application/json",
        "X-Solapi-Secret": hashlib.sha1(secret.encode(), usedforsecurity=False).hexdigest(),
        "X-Solapi-Event-Name": "SINGLE-REPORT",
    }


def _recipients(message: Message) -> list[str]:
    numbers = [message.to] if isinstance(message.to, str) else message.to
    return [number.replace("-", "") for number in numbers]
