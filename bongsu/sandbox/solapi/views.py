"""Groups, messages and reports as SOLAPI shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bongsu.sandbox.solapi.codes import ACCEPTED, DELIVERED, WAITING, text_of
from bongsu.sandbox.solapi.rules import CHANNELS
from bongsu.sandbox.truth import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bongsu.sandbox.solapi.records import Customer, Group, Stored
    from bongsu.sandbox.webhooks import Event
    from shared.contracts.states import Channel

_TYPES = ("sms", "lms", "mms", "ata", "cta", "cti", "nsa", "rcs_sms", "rcs_lms", "rcs_mms", "rcs_tpl", "bms_free")
_NO_PROFIT = dict.fromkeys(_TYPES, 0)


def iso_or_none(moment: float | None) -> str | None:
    """Return a Unix time as SOLAPI writes it."""
    return None if moment is None else iso(moment)


def price_list(prices: Mapping[Channel, float]) -> dict[str, float]:
    """Return unit prices by message type."""
    return {kind.lower(): prices.get(channel, 0) for kind, channel in CHANNELS.items()}


def group_view(group: Group, prices: Mapping[Channel, float], status: str) -> dict[str, Any]:
    """Return a group."""
    accepted = sum(message.registered_as == ACCEPTED for message in group.messages)
    charge: dict[str, dict[str, int]] = {kind: {} for kind in _TYPES}
    for message in group.messages:
        if message.registered_as == ACCEPTED:
            of_kind = charge[message.type.lower()]
            of_kind["82"] = of_kind.get("82", 0) + 1
    sent = accepted if status in {"SENDING", "COMPLETE"} else 0
    return {
        "groupId": group.id,
        "accountId": group.customer.account_id,
        "masterAccountId": None,
        "status": status,
        "allowDuplicates": group.allow_duplicates,
        "isRefunded": bool(group.refunds),
        "apiVersion": "4",
        "count": {
            "total": len(group.messages),
            "sentTotal": sent,
            "sentFailed": group.not_delivered,
            "sentSuccess": group.succeeded,
            "sentPending": group.unfinished if sent else 0,
            "sentReplacement": group.replaced,
            "refund": group.refunds,
            "registeredFailed": len(group.messages) - accepted,
            "registeredSuccess": accepted,
        },
        "countForCharge": charge,
        "balance": {
            "requested": group.charged,
            "replacement": group.charged_for_replacement,
            "refund": group.refunded,
            "sum": group.charged + group.charged_for_replacement - group.refunded,
        },
        "point": {"requested": 0, "replacement": 0, "refund": 0, "sum": 0},
        "app": {"profit": _NO_PROFIT, "appId": None},
        "log": [],
        "price": {"82": price_list(prices)},
        "customFields": group.custom_fields,
        "scheduledDate": iso_or_none(group.scheduled_at),
        "dateSent": iso_or_none(group.sent_at) if sent else None,
        "dateCompleted": iso_or_none(group.completed_at) if status == "COMPLETE" else None,
        "dateCreated": iso(group.created_at),
        "dateUpdated": iso(group.updated_at),
    }


def channel_view(channel_id: str, customer: Customer) -> dict[str, Any]:
    """Return a KakaoTalk channel (Node SDK 6.0.1, ``kakaoChannelSchema``)."""
    return {
        "channelId": channel_id,
        "searchId": "@bongsu",
        "accountId": customer.account_id,
        "phoneNumber": "01000000000",
        "sharedAccountIds": [],
        "dateCreated": "2026-01-01T00:00:00.000Z",
        "dateUpdated": "2026-01-01T00:00:00.000Z",
    }


def result_view(message: Stored) -> dict[str, Any]:
    """Return a message as the answer to its registration shows it."""
    code = message.registered_as
    return {
        "to": message.to,
        "from": message.from_,
        "type": message.type,
        "country": "82",
        "messageId": message.id,
        "statusCode": code,
        "statusMessage": text_of(code),
        "accountId": message.group.customer.account_id,
        "customFields": dict(message.custom_fields),
    }


def item_view(message: Stored) -> dict[str, Any]:
    """Return a message as the messageList of a one-shot sending shows it: without its recipient."""
    return {
        "messageId": message.id,
        "statusCode": message.registered_as,
        "statusMessage": text_of(message.registered_as),
        "customFields": dict(message.custom_fields),
    }


def message_view(message: Stored, code: str) -> dict[str, Any]:
    """Return a message as lookups show it."""
    status = {ACCEPTED: "PENDING", WAITING: "SENDING"}.get(code, "COMPLETE")
    sent = message.sent
    ended = iso(sent.final_at) if sent is not None and status == "COMPLETE" else None
    return {
        "_id": message.id,
        "messageId": message.id,
        "groupId": message.group.id,
        "accountId": message.group.customer.account_id,
        "type": message.type,
        "country": "82",
        "to": message.to,
        "from": message.from_,
        "text": message.text,
        "subject": message.subject,
        "imageId": None,
        "status": status,
        "statusCode": code,
        "statusMessage": text_of(code),
        "reason": None if code in {ACCEPTED, WAITING, DELIVERED} else text_of(code),
        "networkCode": None,
        "networkName": "ETC",
        "replacement": sent is not None and sent.substitute,
        "autoTypeDetect": True,
        "resendCount": 0,
        "customFields": dict(message.custom_fields),
        "kakaoOptions": _kakao_view(message),
        "log": [],
        "queues": [],
        "dateCreated": iso(message.created_at),
        "dateProcessed": iso(sent.at) if sent is not None and status != "PENDING" else None,
        "dateReported": ended,
        "dateReceived": ended if code == DELIVERED else None,
        "dateUpdated": ended or iso(message.created_at),
    }


def _kakao_view(message: Stored) -> dict[str, Any] | None:
    if message.kakao is None:
        return None
    pf_id, template_id, disable_sms = message.kakao
    return {"pfId": pf_id, "templateId": template_id, "disableSms": disable_sms, "buttons": []}


def report_view(event: Event) -> dict[str, Any]:
    """Return what a webhook says of a message."""
    message: Stored = event.subject
    sent = message.sent
    return {
        "messageId": message.id,
        "groupId": message.group.id,
        "accountId": message.group.customer.account_id,
        "type": message.type,
        "to": message.to,
        "from": message.from_,
        "country": "82",
        "statusCode": event.code,
        "statusMessage": text_of(event.code),
        "replacement": sent is not None and sent.substitute,
        "networkCode": None,
        "kakaoOptions": _kakao_view(message),
        "customFields": dict(message.custom_fields),
        "dateProcessed": None if sent is None else iso(sent.at),
        "dateReported": iso(event.at),
        "dateReceived": iso(sent.final_at) if sent and event.code == DELIVERED else None,
    }


def envelope(event: Event) -> dict[str, Any]:
    """Return a report in the newer shape."""
    return {"eventDataId": event.event_id, "data": report_view(event), "retryCount": event.retries}
