"""Request bodies as they arrive."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from bongsu.sandbox.solapi.codes import Refused


class Button(msgspec.Struct, rename="camel"):
    """A button as sent."""

    button_name: str | None = None
    button_type: str | None = None
    link_mo: str | None = None
    link_pc: str | None = None
    link_and: str | None = None
    link_ios: str | None = None
    chat_extra: str | None = None


class QuickReply(msgspec.Struct, rename="camel"):
    """A quick reply as sent."""

    name: str | None = None
    link_type: str | None = None
    link_mo: str | None = None
    link_pc: str | None = None
    link_and: str | None = None
    link_ios: str | None = None
    chat_extra: str | None = None


class KakaoOptions(msgspec.Struct, rename="camel"):
    """What makes a message one for Kakao."""

    pf_id: str | None = None
    template_id: str | None = None
    variables: dict[str, str] | None = None
    disable_sms: bool = False
    buttons: list[Button] | None = None
    quick_replies: list[QuickReply] | None = None
    bms: dict[str, Any] | None = None


class Message(msgspec.Struct, rename="camel"):
    """One message, to one or several recipients."""

    to: str | list[str] = ""
    from_: str | None = msgspec.field(default=None, name="from")
    text: str | None = None
    type: str | None = None
    country: str = "82"
    subject: str | None = None
    image_id: str | None = None
    custom_fields: dict[str, str] | None = None
    kakao_options: KakaoOptions | None = None


class Messages(msgspec.Struct):
    """Body of PUT ``/groups/{id}/messages``."""

    messages: list[Message]


class SendMany(msgspec.Struct, rename="camel"):
    """Body of POST ``/send-many/detail``."""

    messages: list[Message]
    allow_duplicates: bool = False
    show_message_list: bool = False
    scheduled_date: str | None = None


class SendOne(msgspec.Struct):
    """Body of POST ``/send``."""

    message: Message


class NewGroup(msgspec.Struct, rename="camel"):
    """Body of POST ``/groups``."""

    allow_duplicates: bool = False
    custom_fields: dict[str, str] | None = None
    app_id: str | None = None


class MessageIds(msgspec.Struct, rename="camel"):
    """Body of DELETE ``/groups/{id}/messages``."""

    message_ids: list[str]


class Schedule(msgspec.Struct, rename="camel"):
    """Body of POST ``/groups/{id}/schedule``."""

    scheduled_date: str


T = TypeVar("T")


def read(body: bytes, kind: type[T]) -> T:
    """Return the body as a ``kind``, or raise the dealer's ``ValidationError``."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise Refused(400, "ValidationError", str(error)) from error
