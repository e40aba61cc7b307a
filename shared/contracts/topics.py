"""The topics, by name. A change that is not an added optional field is a new version of the topic."""

from __future__ import annotations

from shared.contracts.states import Lane

EVENTS = "bongsu.events.v1"
DELIVERY = "bongsu.delivery.v1"
SEND_JOBS: dict[Lane, str] = {lane: f"bongsu.send-jobs.{lane}.v1" for lane in Lane}
ALL = (EVENTS, DELIVERY, *SEND_JOBS.values())


def dead_letters(topic: str) -> str:
    """Return the topic where records of ``topic`` go that can never be handled; the reason is in a header."""
    return f"{topic}.dead"
