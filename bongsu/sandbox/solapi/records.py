"""What SOLAPI remembers: groups and messages, small enough for hundreds of thousands of them."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from bongsu.sandbox.solapi.codes import ACCEPTED, WAITING
from shared.clock import SEOUL

if TYPE_CHECKING:
    from bongsu.sandbox.profile import Account
    from bongsu.sandbox.truth import Dispatched

NEVER = float("inf")


@dataclass(slots=True)
class Customer:
    """An account and its money."""

    account: Account
    account_id: str
    balance: float


@dataclass(slots=True)
class Group:
    """A group; ``world_*`` are readings of the monotonic clock, all other times are rule time."""

    id: str
    customer: Customer
    allow_duplicates: bool
    custom_fields: dict[str, str]
    created_at: float
    world_created: float
    read_lag: float
    messages: list[Stored] = field(default_factory=list)
    recipients: set[str] = field(default_factory=set)
    updated_at: float = 0.0
    world_changed: float = 0.0
    sent_at: float | None = None
    world_sent: float = NEVER
    completed_at: float | None = None
    scheduled_at: float | None = None
    deleted: bool = False
    world_deleted: float = NEVER
    failed: bool = False
    unfinished: int = 0
    succeeded: int = 0
    not_delivered: int = 0
    replaced: int = 0
    charged: float = 0.0
    charged_for_replacement: float = 0.0
    refunded: float = 0.0
    refunds: int = 0

    @property
    def status(self) -> str:
        """Return the true status."""
        return self.status_seen(NEVER)

    def status_seen(self, world_now: float) -> str:
        """Return the status as a lookup sees it, which may be behind."""
        seen = world_now - self.read_lag
        if self.deleted and seen >= self.world_deleted:
            return "DELETED"
        if self.failed:
            return "FAILED"
        if self.sent_at is not None and seen >= self.world_sent:
            return "SENDING" if self.unfinished else "COMPLETE"
        return "PENDING" if self.scheduled_at is None else "SCHEDULED"

    @property
    def accepted(self) -> list[Stored]:
        """Return the messages that sending it sends."""
        return [message for message in self.messages if message.registered_as == ACCEPTED]


@dataclass(slots=True, eq=False)
class Stored:
    """A message."""

    id: str
    group: Group
    position: int
    type: str
    to: str
    from_: str
    text: str | None
    subject: str | None
    kakao: tuple[str | None, str | None, bool] | None
    """pfId, templateId, disableSms"""
    custom_fields: tuple[tuple[str, str], ...]
    registered_as: str
    created_at: float
    sent: Dispatched | None = None
    """its last leg: the substitute SMS once there is one"""
    visible_at: float = NEVER
    """when lookups begin to show how it ended"""

    def code_seen(self, world_now: float, now: float) -> str:
        """Return the status code as a lookup sees it."""
        if self.sent is None or world_now - self.group.read_lag < self.group.world_sent:
            return self.registered_as
        return self.sent.code if now >= self.visible_at else WAITING


def new_id(kind: str, now: datetime) -> str:
    """Return an id as SOLAPI's look: ``G4V`` or ``M4V``, the time in Seoul, 15 random characters."""
    random = base64.b32encode(os.urandom(10)).decode()[:15]
    return f"{kind}4V{now.astimezone(SEOUL):%Y%m%d%H%M%S}{random}"


def new_ids(kind: str, now: datetime, count: int) -> list[str]:
    """Return ``count`` ids."""
    head = f"{kind}4V{now.astimezone(SEOUL):%Y%m%d%H%M%S}"
    random = base64.b32encode(os.urandom(10 * count)).decode()
    return [head + random[n : n + 15] for n in range(0, 16 * count, 16)]
