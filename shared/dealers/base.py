"""The dealer boundary: what an adapter is asked, what it may answer, and what it can do, as data.

An adapter knows a wire. It keeps no state, decides nothing and never retries: each answer is a value that
says what is *certain*, and the engine in ``shared/sending`` does what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from shared.contracts.states import Channel
from shared.ids import MessageId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.dealers.templates import TemplateApi


@dataclass(frozen=True, slots=True)
class Links:
    """Where a button, a quick reply or a whole message leads."""

    url_mobile: str | None = None
    url_pc: str | None = None
    scheme_android: str | None = None
    scheme_ios: str | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """A button; ``kind`` is Kakao's code (WL AL DS BK MD BC BT AC BF P1 P2 P3 TN)."""

    kind: str
    name: str
    url_mobile: str | None = None
    url_pc: str | None = None
    scheme_android: str | None = None
    scheme_ios: str | None = None
    chat_extra: str | None = None  # BC, BT
    chat_event: str | None = None  # BT
    biz_form_id: str | None = None  # BF
    plugin_id: str | None = None  # P1, P2, P3
    relay_id: str | None = None  # P1
    one_click_id: str | None = None  # P3
    product_id: str | None = None  # P3
    phone: str | None = None  # TN


@dataclass(frozen=True, slots=True)
class QuickReply:
    """A quick reply; ``kind`` is Kakao's code (WL AL BK BC BT BF)."""

    kind: str
    name: str
    url_mobile: str | None = None
    url_pc: str | None = None
    scheme_android: str | None = None
    scheme_ios: str | None = None
    chat_extra: str | None = None
    chat_event: str | None = None
    biz_form_id: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an item list, its summary, or its highlight."""

    title: str
    description: str


@dataclass(frozen=True, slots=True)
class AlimTalk:
    """What Kakao compares with the inspected template: code, variables, and all that they give."""

    sender_key: str
    template_code: str
    variables: Mapping[str, str]
    text: str
    buttons: tuple[Button, ...] = ()
    sender: str | None = None
    """a registered sender number, which some dealers want named although no SMS will follow"""
    title: str | None = None
    """강조표기 of the kind TEXT"""
    header: str | None = None
    highlight: Item | None = None
    items: tuple[Item, ...] = ()
    summary: Item | None = None
    link: Links | None = None
    """where a touch on the message itself leads (representative link)"""
    quick_replies: tuple[QuickReply, ...] = ()
    has_image: bool = False
    """the template was inspected with an image; Kakao adds it, and some dealers want to be told (AI)"""


@dataclass(frozen=True, slots=True)
class BrandMessage:
    """A free-form brand message (formerly 친구톡): an advertisement, to friends of the channel."""

    sender_key: str
    text: str
    buttons: tuple[Button, ...] = ()
    image: str | None = None
    """as ``Dealer.upload`` named it"""
    image_link: str | None = None
    wide: bool = False
    advertising: bool = True
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """An SMS (at most 90 bytes in cp949), an LMS (2,000, with a subject of 40), or an MMS (with images)."""

    sender: str
    text: str
    subject: str | None = None
    images: tuple[str, ...] = ()
    """as ``Dealer.upload`` named them"""


Content = AlimTalk | BrandMessage | Text


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One attempt as an adapter sees it. ``to`` is a national number, digits only (``01012345678``)."""

    message_id: MessageId
    n: int
    request_key: str
    channel: Channel
    to: str
    content: Content


class LookupMeans(StrEnum):
    """How a dealer lets us find out what became of an attempt whose answer was lost."""

    TWO_PHASE = "two_phase"  # a handle is opened and kept before anything goes out under it
    BY_KEY = "by_key"
    REPLAY = "replay"  # the same request under the same key is told apart from a new one
    NONE = "none"


class Push(StrEnum):
    """What proves that a receipt call comes from the dealer."""

    NONE = "none"  # it pushes nothing
    OPEN = "open"  # nothing: the path carries a secret of ours, and addresses may be listed
    TOKEN = "token"  # noqa: S105 - a secret of ours comes back with each call; this is the word for it
    SIGNED = "signed"  # a signature, of whatever it covers


class Counting(StrEnum):
    """What a dealer counts against its limit."""

    RECIPIENTS = "recipients"
    REQUESTS = "requests"
    PARTS = "parts"


class ImageUse(StrEnum):
    """What an image is uploaded for."""

    MMS = "mms"
    BRAND = "brand"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a dealer can do. The engine reads this and never a dealer's name."""

    channels: frozenset[Channel]
    max_batch: int
    lookup: LookupMeans
    lookup_batch: int
    not_found_after: timedelta
    """a lookup that finds nothing means nothing before an attempt is this old (the dealer's index lags)"""
    push: Push
    receipts_polled: bool
    """``lookup`` tells of an attempt by the dealer's id as well"""
    receipt_expected_within: Mapping[Channel, timedelta]
    """when to start asking for a receipt that has not come"""
    receipt_deadline: Mapping[Channel, timedelta]
    """after this no receipt will come any more"""
    receipts_pulled: bool = False
    """``pull`` gives what was reported since, whatever it is about"""
    replay_within: timedelta = timedelta()
    """how long the dealer remembers a request key (``LookupMeans.REPLAY``)"""
    unconfirmed_for: timedelta = timedelta(days=3)
    """how long an AlimTalk that Kakao calls unconfirmed may yet arrive (3005: three days)"""
    counts: Counting = Counting.RECIPIENTS
    alimtalk_characters: int = 1000
    sms_bytes: int = 90
    lms_bytes: int = 2000
    subject_bytes: int = 40
    mms_images: int = 0
    cancels: bool = False
    """a reserved message can be taken back at the dealer"""
    schedules: bool = False
    """a message can be reserved at the dealer; bongsu never does, since its own hours are checked last"""
    uploads: frozenset[ImageUse] = frozenset()
    prepares: bool = False
    """``send`` makes all ready, and awaits ``leaving.leave`` right before the request by which messages leave"""
    fallback_off: bool = True
    """the dealer's own failover is switched off by our request, or needs one to be on"""


# -- what became of an attempt that was sent ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """The dealer took it (not: delivered)."""

    dealer_message_id: str
    cost_krw: int | None = None
    """None: the configured price"""


@dataclass(frozen=True, slots=True)
class Refused:
    """The dealer certainly did not take it, and will not: ``reason`` of ``facts/result-codes.md``."""

    reason: str
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The dealer certainly did not take it now, and may later: connection refused, limit, maintenance."""

    reason: str
    code: str = ""
    detail: str = ""
    retry_after: timedelta | None = None
    """as the dealer said, in world time"""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The dealer may have it: timeout, connection lost after bytes were written, 5xx, unreadable answer."""

    detail: str
    dealer_message_id: str | None = None
    """where the answer names the request, and does not tell which of its messages were taken"""


@dataclass(frozen=True, slots=True)
class AlreadyTaken:
    """The dealer took it before, under the same request key; what became of it is told by its receipt."""

    dealer_message_id: str | None = None


SendResult = Accepted | Refused | NotTaken | Ambiguous | AlreadyTaken


# -- what a lookup or a receipt says -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """A dealer's word on an attempt, pushed or polled.

    It names the attempt by our key, by the dealer's id, or both. ``state`` is None while the dealer waits
    itself. ``reason`` is set for a failure; an unknown code is the failure ``unknown``, never success.
    """

    request_key: str | None
    dealer_message_id: str | None
    delivered: bool | None
    """True delivered, False failed, None taken and not yet reported"""
    code: str
    reason: str | None = None
    """of a failure; ``delivery_uncertain`` with ``delivered`` None is Kakao's "sent, not confirmed" """
    detail: str = ""
    at: datetime | None = None
    """when it happened, by the dealer's clock"""
    event_id: str | None = None
    """the dealer's id of the report itself, if it has one"""
    raw: bytes = b""
    """as it came, for the timeline; stored encrypted, since it holds a phone number"""
    leg: Channel | None = None
    """set where it tells of the dealer's own failover over another channel, not of the attempt itself"""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What ``pull`` gave; the dealer gives it again until ``batch_id`` is acknowledged."""

    reports: Sequence[Report]
    batch_id: str


@dataclass(frozen=True, slots=True)
class NotTakenForSure:
    """The dealer does not have the attempt and never will: what it was opened under is closed or gone."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotFound:
    """The dealer knows nothing of it, which its index may yet belie (``Capabilities.not_found_after``)."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class StillUnknown:
    """The lookup itself failed; ask again later."""

    detail: str
    retry_after: timedelta | None = None


LookupResult = Report | NotTakenForSure | NotFound | StillUnknown


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt to be looked up."""

    message_id: MessageId
    n: int
    request_key: str
    channel: Channel
    to: str
    handle: str | None
    dealer_message_id: str | None
    opened_at: datetime


class BadReceipt(Exception):
    """A receipt call that is refused whole. ``status`` is 400, 401 or 403."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check before the first message found; ``ok`` is None where the dealer cannot be asked."""

    what: str
    ok: bool | None
    detail: str = ""


class Uploaded(str):
    """How a dealer names an image that it was given."""

    __slots__ = ()


class Dealer(Protocol):
    """One account at one dealer. Concurrent calls are safe; no call raises for what a gateway may do.

    An adapter inherits from this; what is not every dealer's has a body here that says "it cannot".
    """

    name: str
    """its name in ``BONGSU_CONFIG``"""
    capabilities: Capabilities

    async def open(self) -> str | NotTaken:
        """Open a handle to send one batch under (``LookupMeans.TWO_PHASE`` only); nothing goes out by it.

        The caller commits the handle before it calls ``send``.
        """
        problem = f"{self.name} has no two-phase send"  # beside a bare raise mypy would call this abstract
        raise NotImplementedError(problem)

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:
        """Send ``batch`` (one channel, at most ``max_batch``); results in its order.

        At a dealer of ``LookupMeans.REPLAY`` the same ``Outgoing`` may be sent again to find out what became of it.
        """
        ...

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts`` (at most ``lookup_batch``); results in their order.

        By our key, by the dealer's id, or by both; one that can be found by neither is ``StillUnknown``.
        For attempts that are ``sending`` or ``uncertain`` a two-phase dealer closes the handle for good
        before it says ``NotTakenForSure``, so that no late call can still send under it.
        """
        return [StillUnknown("the dealer cannot be asked")] * len(attempts)

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Check and read a pushed receipt call (header names in lower case).

        Raises ``BadReceipt``. One unreadable item does not refuse its neighbours.
        """
        raise BadReceipt(404, "this dealer pushes no receipts")

    def answer_receipts(self, reports: Sequence[Report]) -> bytes:
        """Return the JSON body by which the dealer knows that its call was taken."""
        return b'{"received":%d}' % len(reports)

    async def pull(self) -> Pulled | None:
        """Fetch what was reported since the last acknowledgement (``receipts_pulled`` only); None for nothing."""
        return None

    async def acknowledge(self, pulled: Pulled) -> None:
        """Say that ``pulled`` is stored; when this is lost the dealer gives it again, which does no harm."""
        return

    async def balance_krw(self) -> int | None:
        """Return what is left on the account, or None where the dealer does not say."""
        return None

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        """Verify credentials, sender keys and sender numbers, without sending anything."""
        return [Checked(what, None, "this dealer has no call that tells") for what in (*sender_keys, *sender_numbers)]

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        """Upload an image; the caller keeps the answer by the image's hash."""
        return Refused("not_permitted", "", f"this dealer takes no images for {use}")

    @property
    def templates(self) -> TemplateApi | None:
        """Return its template API, or None where templates are kept by hand in the dealer's console."""
        return None

    async def close(self) -> None:
        """Close connections."""
        ...
