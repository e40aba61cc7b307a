"""SOLAPI's endpoints: parse, call, answer. Facts, sections 2, 3, 6 and 12."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bongsu.sandbox.meters import SlidingWindow
from bongsu.sandbox.profile import Operation
from bongsu.sandbox.solapi import storage, views, wire
from bongsu.sandbox.solapi.auth import Signatures
from bongsu.sandbox.solapi.codes import ACCEPTED, Refused
from bongsu.sandbox.solapi.dealer import too_many
from bongsu.sandbox.solapi.inspection import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from multidict import MultiMapping

    from bongsu.sandbox.solapi.dealer import Solapi
    from bongsu.sandbox.solapi.records import Customer, Group, Stored

_MESSAGE_ID = re.compile(r"M4V[0-9A-Za-z]+")
_DEFAULT_LIMIT = 20
_MOST = 500
_FARTHEST = timedelta(days=183)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that proved who sent it."""

    customer: Customer
    path: Mapping[str, str]
    query: MultiMapping[str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint, and what kind of call it is for faults and limits."""

    method: str
    path: str
    operation: Operation
    answer: Callable[[Call], dict[str, Any] | list[str]]


class SolapiApi:
    """The endpoints of one installation."""

    def __init__(self, dealer: Solapi) -> None:
        self.dealer = dealer
        self.desk = Desk(dealer)
        self.signatures = Signatures(
            {account.api_key: account.api_secret.get_secret_value() for account in dealer.profile.accounts}
        )
        self._calls: defaultdict[tuple[str, str], SlidingWindow] = defaultdict(
            lambda: SlidingWindow(dealer.profile.limits.window_seconds)
        )

    def routes(self) -> list[Route]:
        """Return every endpoint."""
        group = "/messages/v4/groups/{group_id}"
        return [
            Route("POST", "/messages/v4/send", Operation.SEND, self.send_one),
            Route("POST", "/messages/v4/send-many/detail", Operation.SEND, self.send_many),
            Route("POST", "/messages/v4/groups", Operation.OPEN, self.open_group),
            Route("GET", "/messages/v4/groups", Operation.LOOKUP, self.list_groups),
            Route("GET", group, Operation.LOOKUP, self.get_group),
            Route("DELETE", group, Operation.REMOVE, self.delete_group),
            Route("PUT", group + "/messages", Operation.ADD, self.add_messages),
            Route("GET", group + "/messages", Operation.LOOKUP, self.list_group_messages),
            Route("DELETE", group + "/messages", Operation.REMOVE, self.remove_messages),
            Route("POST", group + "/send", Operation.SEND, self.send_group),
            Route("POST", group + "/schedule", Operation.SEND, self.schedule_group),
            Route("DELETE", group + "/schedule", Operation.REMOVE, self.unschedule_group),
            Route("GET", "/messages/v4/list", Operation.LOOKUP, self.list_messages),
            Route("GET", "/messages/v4/list-old", Operation.LOOKUP, self.list_messages),
            Route("GET", "/cash/v1/balance", Operation.LOOKUP, self.get_balance),
            Route("GET", "/pricing/v1/messaging", Operation.LOOKUP, self.get_prices),
            Route("POST", "/storage/v1/files", Operation.ADD, self.upload),
            Route("GET", "/storage/v1/files/{file_id}", Operation.LOOKUP, self.get_file),
            Route("GET", "/senderid/v1/numbers/active", Operation.LOOKUP, self.list_numbers),
            Route("GET", "/kakao/v2/channels", Operation.LOOKUP, self.list_channels),
            Route("GET", "/kakao/v2/channels/{channel_id}", Operation.LOOKUP, self.get_channel),
            *(Route(*endpoint) for endpoint in self.desk.endpoints()),
        ]

    def admit(self, route: Route, authorization: str | None) -> Customer:
        """Return who calls; raise ``Refused`` for a bad signature or too many calls."""
        api_key = self.signatures.check(authorization)
        limits = self.dealer.profile.limits
        reads = route.operation is Operation.LOOKUP
        limit = limits.lookups_per_window if reads else limits.sends_per_window
        window, now = self._calls[api_key, f"{route.method} {route.path}"], time.monotonic()
        held = window.at(now)
        if limit and limits.enforced and held >= limit:
            self.dealer.truth.counted["refused_by_call_limit"] += 1
            raise too_many(limit, 0, window.room_after(now, 1, limit))
        window.add(now, 1)
        return self.dealer.customers[api_key]

    # -- sending -------------------------------------------------------------------------------------------------

    def open_group(self, call: Call) -> dict[str, Any]:
        """Make a group; nothing is sent."""
        wanted = wire.read(call.body, wire.NewGroup)
        group = self.dealer.open_group(
            call.customer, wanted.custom_fields or {}, allow_duplicates=wanted.allow_duplicates
        )
        return self._view(group)

    def add_messages(self, call: Call) -> dict[str, Any]:
        """Register messages; nothing is sent."""
        group = self._group(call)
        stored = self.dealer.add(group, wire.read(call.body, wire.Messages).messages)
        return {
            "errorCount": sum(message.registered_as != ACCEPTED for message in stored),
            "resultList": [views.result_view(message) for message in stored],
        }

    def send_group(self, call: Call) -> dict[str, Any]:
        """Send a group."""
        group = self._group(call)
        self.dealer.send(group)
        return self._view(group)

    def send_many(self, call: Call) -> dict[str, Any]:
        """Register and send in one call."""
        wanted = wire.read(call.body, wire.SendMany)
        if not wanted.messages:
            raise Refused(400, "ValidationError", "messages 가 비어 있습니다.")
        group = self.dealer.open_group(call.customer, {}, allow_duplicates=wanted.allow_duplicates)
        stored = self.dealer.add(group, wanted.messages)
        when = None if wanted.scheduled_date is None else _read_date(wanted.scheduled_date)
        self._send_or_forget(group, when)
        answer: dict[str, Any] = {
            "failedMessageList": [
                views.result_view(message) for message in stored if message.registered_as != ACCEPTED
            ],
            "groupInfo": self._view(group),
        }
        if wanted.show_message_list:
            answer["messageList"] = [views.item_view(message) for message in stored]
        return answer

    def send_one(self, call: Call) -> dict[str, Any]:
        """Register and send one message; a refused one is answered with 200 and its code."""
        message = wire.read(call.body, wire.SendOne).message
        if not isinstance(message.to, str):
            raise Refused(400, "ValidationError", "to 는 문자열이어야 합니다.")
        group = self.dealer.open_group(call.customer, {}, allow_duplicates=False)
        (stored,) = self.dealer.add(group, [message])
        self._send_or_forget(group, None)
        return {"groupId": group.id, **views.result_view(stored)}

    def _send_or_forget(self, group: Group, when: datetime | None) -> None:
        """Send a group of a one-shot call; of a refused one nothing may stay behind."""
        try:
            if when is not None and when > self.dealer.clock.now():
                self.dealer.schedule(group, when)
            else:
                self.dealer.send(group)
        except Refused:
            self.dealer.remove_messages(group, [message.id for message in group.messages])
            del self.dealer.groups[group.id]
            raise

    def schedule_group(self, call: Call) -> dict[str, Any]:
        """Send a group later."""
        when = _read_date(wire.read(call.body, wire.Schedule).scheduled_date)
        now = self.dealer.clock.now()
        if not now < when <= now + _FARTHEST:
            raise Refused(400, "InvalidScheduledDate", "예약시간은 현재시간보다 늦게 설정 가능합니다.")
        group = self._group(call)
        self.dealer.schedule(group, when)
        return self._view(group)

    def unschedule_group(self, call: Call) -> dict[str, Any]:
        """Give up a scheduled sending."""
        group = self._group(call)
        self.dealer.unschedule(group)
        return self._view(group)

    def delete_group(self, call: Call) -> dict[str, Any]:
        """Delete a group that was not sent."""
        group = self._group(call)
        self.dealer.delete_group(group)
        return self._view(group)

    def remove_messages(self, call: Call) -> dict[str, Any]:
        """Take messages out of a group."""
        group = self._group(call)
        wanted = wire.read(call.body, wire.MessageIds).message_ids
        removed = set(self.dealer.remove_messages(group, wanted))
        return {
            "groupId": group.id,
            "errorCount": len(wanted) - len(removed),
            "resultList": [
                {"messageId": message_id, "resultCode": "Success" if message_id in removed else "NotFound"}
                for message_id in wanted
            ],
        }

    # -- lookups -------------------------------------------------------------------------------------------------

    def get_group(self, call: Call) -> dict[str, Any]:
        """Return a group, perhaps as it was a moment ago."""
        group = self._group_seen(call)
        return self._view(group, group.status_seen(time.monotonic()))

    def list_groups(self, call: Call) -> dict[str, Any]:
        """Return the newest groups."""
        query, world_now = call.query, time.monotonic()
        wanted = query.get("groupId")
        if query.get("criteria") == "groupId":
            wanted = query.get("value")
        limit, start = _limit(query), query.get("startKey")
        found: list[Group] = []
        for group in reversed(self.dealer.groups.values()):
            if group.customer is not call.customer or (wanted and group.id != wanted):
                continue
            if world_now < group.world_created + group.read_lag:
                continue
            if start and group.id != start:
                continue
            start = None
            found.append(group)
            if len(found) > limit:
                break
        return {
            "startKey": query.get("startKey"),
            "nextKey": found[limit].id if len(found) > limit else None,
            "limit": limit,
            "groupList": {group.id: self._view(group, group.status_seen(world_now)) for group in found[:limit]},
        }

    def list_group_messages(self, call: Call) -> dict[str, Any]:
        """Return messages of a group, in the order of their registration."""
        group = self._group_seen(call)
        return self._page(call, group.messages)

    def list_messages(self, call: Call) -> dict[str, Any]:
        """Return messages by id, group, recipient, sender, status or date; the newest first."""
        query, dealer = call.query, self.dealer
        ids = [
            found
            for name, value in query.items()
            if name.startswith("messageIds")
            for found in _MESSAGE_ID.findall(value)
        ]
        if "messageId" in query:
            ids.append(query["messageId"])
        if ids:
            listed: Iterable[Stored | None] = [dealer.messages.get(message_id) for message_id in ids]
        elif "groupId" in query:
            group = dealer.groups.get(query["groupId"])
            listed = group.messages if group else []
        else:
            listed = reversed(dealer.in_order)
        return self._page(call, [message for message in listed if message is not None])

    def get_balance(self, call: Call) -> dict[str, Any]:
        """Return what is left on the account."""
        return {"balance": call.customer.balance, "point": 0, "lowBalanceAlert": {"enabled": False}}

    def get_prices(self, _: Call) -> dict[str, Any]:
        """Return unit prices."""
        return {"countryId": "82", **views.price_list(self.dealer.profile.prices)}

    # -- files, sender numbers, channels ---------------------------------------------------------------------------

    def upload(self, call: Call) -> dict[str, Any]:
        """Keep a file."""
        file = storage.store(call.body, self.dealer.clock.now())
        self.dealer.files[call.customer.account.api_key][file.id] = file
        return storage.file_view(file, call.customer.account_id)

    def get_file(self, call: Call) -> dict[str, Any]:
        """Return a file."""
        file = self.dealer.files[call.customer.account.api_key].get(call.path["file_id"])
        if file is None:
            raise Refused(404, "ResourceNotFound", "파일을 찾을 수 없습니다.")
        return storage.file_view(file, call.customer.account_id)

    def list_numbers(self, call: Call) -> list[str]:
        """Return the sender numbers that may be used."""
        return sorted(call.customer.account.senders)

    def list_channels(self, call: Call) -> dict[str, Any]:
        """Return the KakaoTalk channels of the account."""
        channels = [views.channel_view(each, call.customer) for each in sorted(call.customer.account.channels)]
        return {"limit": _limit(call.query), "startKey": None, "nextKey": None, "channelList": channels}

    def get_channel(self, call: Call) -> dict[str, Any]:
        """Return a KakaoTalk channel of the account."""
        channel_id = call.path["channel_id"]
        if channel_id not in call.customer.account.channels and not self.dealer.profile.accept_any_template:
            raise Refused(404, "ResourceNotFound", "카카오톡 채널을 찾을 수 없습니다.")
        return views.channel_view(channel_id, call.customer)

    # -- small parts ---------------------------------------------------------------------------------------------

    def _view(self, group: Group, status: str | None = None) -> dict[str, Any]:
        return views.group_view(group, self.dealer.profile.prices, status or group.status)

    def _group(self, call: Call) -> Group:
        return self.dealer.find_group(call.customer, call.path["group_id"])

    def _group_seen(self, call: Call) -> Group:
        group = self._group(call)
        if time.monotonic() < group.world_created + group.read_lag:
            raise Refused(404, "ResourceNotFound", "메시지 그룹을 찾을 수 없습니다.")
        return group

    def _page(self, call: Call, messages: Iterable[Stored]) -> dict[str, Any]:
        query = call.query
        world_now, now = time.monotonic(), self.dealer.clock.now().timestamp()
        limit, start, fits = _limit(query), query.get("startKey"), _filter(query)
        shown: dict[str, dict[str, Any]] = {}
        next_key = None
        for message in messages:
            if start and message.id != start:
                continue
            start = None
            group = message.group
            if group.customer is not call.customer or world_now < group.world_changed + group.read_lag:
                continue
            code = message.code_seen(world_now, now)
            if not fits(message, code):
                continue
            if len(shown) == limit:
                next_key = message.id
                break
            shown[message.id] = views.message_view(message, code)
        return {
            "startKey": query.get("startKey"),
            "nextKey": next_key,
            "limit": limit,
            "messageList": shown,
        }


def _limit(query: MultiMapping[str]) -> int:
    text = query.get("limit", str(_DEFAULT_LIMIT))
    if not text.isdecimal() or not int(text):
        raise Refused(400, "ValidationError", "limit 은 1 이상의 정수여야 합니다.")
    return min(int(text), _MOST)


def _read_date(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(400, "ValidationError", "날짜 형식이 올바르지 않습니다.") from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _filter(query: MultiMapping[str]) -> Callable[[Stored, str], bool]:
    """Return a test of a message and its code, for the plain filters and one criteria/cond/value triple."""
    wanted = {name: query[name] for name in ("to", "from", "type", "statusCode", "groupId") if name in query}
    if "criteria" in query and "value" in query and query.get("cond", "eq") == "eq":
        wanted[query["criteria"]] = query["value"]
    since = _read_date(query["startDate"]).timestamp() if "startDate" in query else None
    before = _read_date(query["endDate"]).timestamp() if "endDate" in query else None

    def fits(message: Stored, code: str) -> bool:
        if (since is not None and message.created_at < since) or (before is not None and message.created_at > before):
            return False
        has = {
            "to": message.to,
            "from": message.from_,
            "type": message.type,
            "statusCode": code,
            "groupId": message.group.id,
            "messageId": message.id,
            "replacement": str(message.sent is not None and message.sent.substitute).lower(),
        }
        return all(has.get(name) == value for name, value in wanted.items())

    return fits
