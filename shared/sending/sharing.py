"""How the profiles of a lane share what may be sent: deficit round robin. Pure.

Profiles that have a backlog take turns, in the order of their names; a turn is ``share`` messages. A turn that the room
of one draw cuts short goes on with the next draw (M. Shreedhar and G. Varghese, "Efficient Fair Queueing Using Deficit
Round-Robin", 1995: messages are of one size, so that a turn is its quantum and the deficit what is left of it).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is, and the messages that are left of it. No other profile has a past, so none can claim one."""

    profile: str = ""
    left: int = 0


def share_out(room: int, shares: Mapping[str, int], turn: Turn) -> tuple[dict[str, int], Turn]:
    """Share ``room`` messages out to the profiles of ``shares``, each of which has more; return how many each gets.

    Between any two that were there all the time, what they got by their shares differs by one turn at most. The second
    value is where the next draw goes on.
    """
    given: dict[str, int] = {}
    if not shares:
        return given, turn
    order = sorted(shares)
    at = bisect_left(order, turn.profile) % len(order)
    begun = order[at] == turn.profile and turn.left > 0
    left = min(turn.left, shares[order[at]]) if begun else shares[order[at]]
    whole = sum(shares.values())
    while room:
        gets = min(room, left)
        given[order[at]] = given.get(order[at], 0) + gets
        room, left = room - gets, left - gets
        if left:
            continue
        at = (at + 1) % len(order)
        left = shares[order[at]]
        if rounds := room // whole:
            room -= rounds * whole
            for profile, share in shares.items():
                given[profile] = given.get(profile, 0) + rounds * share
    return given, Turn(order[at], left)
