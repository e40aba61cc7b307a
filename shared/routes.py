"""Which dealer a message goes through: a profile's routes, in order, by their shares. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.config import Route
    from shared.ids import MessageId

Usable = Callable[["Route"], bool]


def choose_route(routes: Sequence[Route], message: MessageId, usable: Usable = lambda _: True) -> Route | None:
    """Return the route of ``message``: by shares over its id, so that it is the same whoever asks; None if none is
    usable. A route that is not usable passes its messages on to the next one that is, standbys (share 0) included.
    """  # noqa: D205 - one sentence
    shares = shares_of(routes)
    start, point = 0, message.int % sum(shares)
    while point >= shares[start]:
        point -= shares[start]
        start += 1
    turned = [*routes[start:], *routes[:start]]
    return next((route for route in turned if usable(route)), None)


def shares_of(routes: Sequence[Route]) -> list[int]:
    """Return each route's share; where none has one, the first takes all and the others stand by.

    So it is where only standbys are left of a profile's routes.
    """
    given = [route.share or 0 for route in routes]
    return given if any(given) else [1] + [0] * (len(routes) - 1)
