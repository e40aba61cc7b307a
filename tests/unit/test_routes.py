"""Which dealer a message goes through."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from uuid import UUID

import pytest
from pydantic import ValidationError

from shared.config import Profile, Route
from shared.ids import PersonId
from shared.routes import choose_route


def routes(**shares: int | None) -> list[Route]:
    return [Route(dealer=name, sender_key="K", share=share) for name, share in shares.items()]


def some(count: int) -> list[PersonId]:
    return [PersonId(UUID(bytes=sha256(b"%d" % n).digest()[:16])) for n in range(count)]


def test_without_shares_the_first_takes_all_and_the_others_stand_by() -> None:
    ways = routes(a=None, b=None)
    assert {choose_route(ways, each) for each in some(100)} == {ways[0]}
    assert choose_route(ways, some(1)[0], lambda route: route.dealer != "a") == ways[1]


def test_shares_are_kept_within_chance_and_a_person_keeps_the_route() -> None:
    ways = routes(a=3, b=1, standby=0)
    people = some(4000)
    counted = Counter(route.dealer for each in people if (route := choose_route(ways, each)))
    assert counted["a"] == pytest.approx(3000, abs=150)
    assert counted["standby"] == 0
    assert [choose_route(ways, each) for each in people] == [choose_route(ways, each) for each in people]


def test_what_is_not_usable_passes_on_and_nothing_usable_is_none() -> None:
    ways = routes(a=1, b=1, c=0)
    assert {choose_route(ways, each, lambda route: route.dealer == "c") for each in some(20)} == {ways[2]}
    assert choose_route(ways, some(1)[0], lambda _: False) is None


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        pytest.param([{"dealer": "a", "sender_key": "K", "share": 0}], "at least one share", id="nobody-sends"),
        pytest.param([{"dealer": "a", "sender_key": "K"}] * 2, "one route", id="one-dealer-twice"),
    ],
)
def test_routes_that_cannot_be_meant_are_refused(given: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Profile.model_validate({"name": "봉수상점", "routes": given})


def test_a_route_may_have_a_sender_number_of_its_own() -> None:
    profile = Profile.model_validate(
        {
            "name": "shop",
            "routes": [
                {"dealer": "a", "sender_key": "K", "from": "0211111111"},
                {"dealer": "b", "sender_key": "K"},
                {"dealer": "c", "sender_key": "K"},
            ],
            "text": {"dealer": "b", "from": "0222222222"},
        }
    )
    assert [profile.number_at(dealer) for dealer in "abc"] == ["0211111111", "0222222222", None]
