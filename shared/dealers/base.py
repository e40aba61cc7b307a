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


@dataclass(frozen=True, slots=True)
class Button:
    """A button of an AlimTalk; ``kind`` is Kakao's code (WL, AL, DS, BK, MD, BC, BT, AC)."""

    kind: str
    name: str
    url_mobile: str | None = None
    url_pc: str | None = None
    scheme_android: str | None = None
    scheme_ios: str | None = None


@dataclass(frozen=True, slots=True)
class AlimTalk:
    """What Kakao compares with the inspected template: code, variables, and the text and buttons they give."""

    sender_key: str
    template_code: str
    variables: Mapping[str, str]
    text: str
    buttons: tuple[Button, ...] = ()
    sender: str | None = None
    """a registered sender number, which some dealers want named although no SMS will follow"""


@dataclass(frozen=True, slots=True)
class Text:
    """An SMS (at most 90 bytes in cp949) or an LMS (2,000, with a subject of 40)."""

    sender: str
    text: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One attempt as an adapter sees it. ``to`` is a national number, digits only (``01012345678``)."""

    message_id: MessageId
    n: int
    request_key: str
    channel: Channel
    to: str
    content: AlimTalk | Text


class LookupMeans(StrEnum):
    """How a dealer lets us find out what became of an attempt whose answer was lost."""

    TWO_PHASE = "two_phase"  # a handle is opened and kept before anything goes out under it
    BY_KEY = "by_key"
    REPLAY = "replay"  # the same request under the same key is told apart from a new one
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a dealer can do. The engine reads this and never a dealer's name."""

    channels: frozenset[Channel]
    max_batch: int
    lookup: LookupMeans
    lookup_batch: int
    not_found_after: timedelta
    """a lookup that finds nothing means nothing before an attempt is this old (the dealer's index lags)"""
    receipts_pushed: bool
    receipts_polled: bool
    receipt_expected_within: Mapping[Channel, timedelta]
    """when to start asking for a receipt that has not come"""
    receipt_deadline: Mapping[Channel, timedelta]
    """after this no receipt will come any more"""


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


SendResult = Accepted | Refused | NotTaken | Ambiguous


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
    detail: str = ""
    at: datetime | None = None
    """when it happened, by the dealer's clock"""
    event_id: str | None = None
    """the dealer's id of the report itself, if it has one"""
    raw: bytes = b""
    """as it came, for the timeline; stored encrypted, since it holds a phone number"""


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


class Dealer(Protocol):
    """One account at one dealer. Concurrent calls are safe; no call raises for what a gateway may do."""

    @property
    def name(self) -> str:
        """Its name in ``BONGSU_CONFIG``."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def open(self) -> str | NotTaken:
        """Open a handle to send one batch under (``LookupMeans.TWO_PHASE`` only); nothing goes out by it.

        The caller commits the handle before it calls ``send``.
        """
        ...

    async def send(self, handle: str | None, batch: Sequence[Outgoing]) -> list[SendResult]:
        """Send ``batch`` (one channel, at most ``max_batch``); results in its order."""
        ...

    async def lookup(self, attempts: Sequence[OpenAttempt]) -> list[LookupResult]:
        """Find out what became of ``attempts`` (at most ``lookup_batch``); results in their order.

        For attempts that are ``sending`` or ``uncertain`` a two-phase dealer closes the handle for good
        before it says ``NotTakenForSure``, so that no late call can still send under it.
        """
        ...

    def read_receipts(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Check and read a pushed receipt call (header names in lower case).

        Raises ``BadReceipt``. One unreadable item does not refuse its neighbours.
        """
        ...

    async def balance_krw(self) -> int | None:
        """Return what is left on the account, or None where the dealer does not say."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
