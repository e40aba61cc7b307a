"""``bongsu.send-jobs.{auth,normal,mass}.v1``: what the dispatcher is to send."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.contracts.base import Contract
from shared.contracts.states import Channel
from shared.ids import MessageId, PersonId


class SendJob(Contract, frozen=True, kw_only=True, omit_defaults=True):
    """Tells the dispatcher to make one attempt; names the message and no personal data.

    Keyed by ``person_id``, so that one person's messages keep their order. Only the relay writes it,
    from the transition to ``queued`` that has this ``seq``.
    """

    message_id: MessageId
    person_id: PersonId
    seq: int
    """of the transition that queued it: a job whose message has moved on since is void"""
    channel: Channel
    dealer: str
    profile: str
    deadline: datetime
    """no attempt starts at or after it"""


decode_job = msgspec.json.Decoder(SendJob).decode
