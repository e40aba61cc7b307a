"""Messages and answers as NHN shows them, and the ranges that its searches take."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bongsu.sandbox.dialect import Reply
from bongsu.sandbox.exchange import Taken
from bongsu.sandbox.nhn.rules import Refusal
from shared.clock import SEOUL
from shared.contracts.states import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bongsu.sandbox.webhooks import Event

_SENDER_TYPES = {Channel.SMS: "NORMAL_SMS", Channel.LMS: "NORMAL_LMS", Channel.MMS: "NORMAL_MMS"}


def told(message: Taken, now: float) -> dict[str, Any]:
    """Return a message as lists tell of it at ``now``."""
    code = message.code_seen(now)
    created = message.request["created"]
    shown = {
        "requestId": message.group,
        "recipientSeq": message.request["seq"],
        "recipientNo": message.to,
        "resultCode": code,
        "senderGroupingKey": message.request["senderGroupingKey"],
        "recipientGroupingKey": message.key,
    }
    if message.channel.is_text:
        status = "2" if code is None else {"1000": "3", "E915": "5"}.get(code, "0")
        return shown | {
            "requestDate": f"{created:%Y-%m-%d %H:%M:%S}.0",
            "resultDate": None if code is None else f"{created:%Y-%m-%d %H:%M:%S}.0",
            "msgStatus": status,
            "messageType": message.channel.upper(),
            "messageCount": 1,
        }
    return shown | {
        "requestDate": f"{created:%Y-%m-%d %H:%M:%S}",
        "createDate": f"{created:%Y-%m-%d %H:%M:%S}",
        "receiveDate": None if code is None else f"{created:%Y-%m-%d %H:%M:%S}",
        "resendStatus": "RSC01",
        "messageStatus": "COMPLETED" if code in {None, "1000"} else "FAILED",
    }


def _hook(event: Event, message: Taken, date_format: str) -> dict[str, Any]:
    return {
        "hookId": event.event_id,
        "requestId": message.group,
        "recipientSeq": message.request["seq"],
        "requestDate": message.request["created"].strftime(date_format),
        "receiveDate": datetime.fromtimestamp(event.at, SEOUL).strftime(date_format),
        "recipientNo": message.to,
        "resultCode": event.code,
        "senderGroupingKey": message.request["senderGroupingKey"],
    }


def kakao_hook(event: Event, message: Taken) -> dict[str, Any]:
    """Return a hook of KakaoTalk Bizmessage."""
    kind = "ALIMTALK_NORMAL" if message.channel is Channel.ALIMTALK else "BRAND_MESSAGE_NORMAL"
    return {
        "kakaoMessageType": kind,
        **_hook(event, message, "%Y-%m-%d %H:%M:%S"),
        "recipientGroupingKey": message.key,
        "isAddedChannel": None,
    }


def text_hook(event: Event, message: Taken) -> dict[str, Any]:
    """Return a hook of the SMS service."""
    status = {"1000": "COMPLETED", "E915": "DUPLICATED"}.get(event.code, "FAILED")
    return {
        "senderType": _SENDER_TYPES[message.channel],
        **_hook(event, message, "%Y-%m-%dT%H:%M:%S"),
        "messageStatus": status,
        "recipientGropuingKey": message.key,  # as the guide's sample spells it
        "messageCount": 1,
    }


def signed(secret: str) -> dict[str, str]:
    """Return the headers of a webhook call: the signature is the word itself."""
    return {"Content-Type": "application/json;charset=UTF-8", "X-Toast-Webhook-Signature": secret}


def header(code: int = 0, words: str = "SUCCESS") -> dict[str, Any]:
    """Return the part that every answer has."""
    return {"header": {"isSuccessful": code == 0, "resultCode": code, "resultMessage": words}}


def json_of(said: Mapping[str, Any]) -> Reply:
    """Return the answer to a call that succeeded."""
    return Reply.json({**header(), **said})


def refused(refusal: Refusal) -> Reply:
    """Return the answer to a call that did not."""
    return Reply.json(header(refusal.code, refusal.words))


def kakao_answer(request_id: str, body: Mapping[str, Any], results: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    """Return what is said of an AlimTalk request; nothing taken is a failure of all (-1031)."""
    message = {
        "requestId": request_id,
        "senderGroupingKey": body.get("senderGroupingKey"),
        "sendResults": results,
    }
    failed = all(result["resultCode"] for result in results)
    return (
        {**header(-1031, "All of receivers are failed to send."), "message": message}
        if failed
        else {"message": message}
    )


def brand_answer(request_id: str, body: Mapping[str, Any], results: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    """Return what is said of a brand message request."""
    for result in results:
        del result["recipientGroupingKey"]  # no key comes back
    return kakao_answer(request_id, body, results)


def text_answer(request_id: str, body: Mapping[str, Any], results: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    """Return what is said of a text request."""
    data = {
        "requestId": request_id,
        "statusCode": "2",
        "senderGroupingKey": body.get("senderGroupingKey"),
        "sendResultList": results,
    }
    return {"body": {"data": data}}


def letters(number: int) -> str:
    """Return ten letters for a number, so that no id can hold a phone number."""
    written = ""
    for _ in range(10):
        number, letter = divmod(number, 26)
        written = chr(ord("A") + letter) + written
    return written


def integer(value: str | None, default: int) -> int:
    """Return a number of a query, -1 for what is none."""
    if value is None:
        return default
    return int(value) if value.isascii() and value.isdigit() else -1


def window(query: Mapping[str, str], place: Channel) -> tuple[datetime, datetime]:
    """Return the range of dates that a search names; brand messages have no creation date to search by."""
    names = ("RequestDate",) if place is Channel.FRIENDTALK else ("CreateDate", "RequestDate")
    text_format = "%Y-%m-%d %H:%M:%S" if place.is_text else "%Y-%m-%d %H:%M"
    for name in names:
        start, end = query.get(f"start{name}"), query.get(f"end{name}")
        if start is None or end is None:
            continue
        try:
            first, last = (datetime.strptime(date, text_format).replace(tzinfo=SEOUL) for date in (start, end))
        except ValueError as error:
            raise Refusal(-2000 if place.is_text else -4000, "Date format error.") from error
        if last - first > timedelta(days=31):
            raise Refusal(-4000 if place.is_text else -4003, "Search is possible within 31 days.")
        return first, last
    raise Refusal(-2011 if place.is_text else -4103, "RequestId or startRequestDate/endRequestDate is invalid.")
