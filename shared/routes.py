"""Which dealer a message goes through: a profile's routes, in order, by their shares. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.config import Route
    from shared.ids import PersonId

Usable = Callable[["Route"], bool]


def choose_route(routes: Sequence[Route], person: PersonId, usable: Usable = lambda _: True) -> Route | None:
    """Return the route to ``person``, None if none is usable.

    By shares over the person, so that it is the same whoever asks, and a person's messages go one way, in their order
    (promise P7). A route that is not usable passes on to the next one that is, standbys (share 0) included.
    """
    if len(routes) == 1:
        return routes[0] if usable(routes[0]) else None
    shares = shares_of(routes)
    start, point = 0, person.int % sum(shares)
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
