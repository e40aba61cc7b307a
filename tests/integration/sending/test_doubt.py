"""P2 at dealers that cannot be asked by key: a replay under the same key, a receipt, or the category's policy."""

from __future__ import annotations

import pytest

from shared.config import Uncertain, Unconfirmed
from shared.contracts.states import Category
from shared.dealers.base import LookupMeans, Refused
from tests.integration.sending.world import Insert, World


@pytest.fixture
def replaying(world: World) -> World:
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.REPLAY, False
    return world


def choose(world: World, *, uncertain: Uncertain | None = None, unconfirmed: Unconfirmed | None = None) -> World:
    """Return the world with another policy for informational messages."""
    shop = world.config.profiles["shop"]
    changed = {
        "uncertain": {Category.INFORMATIONAL: uncertain} if uncertain else {},
        "unconfirmed": {Category.INFORMATIONAL: unconfirmed} if unconfirmed else {},
    }
    config = world.config.model_copy(update={"profiles": {"shop": shop.model_copy(update=changed)}})
    return world.configured(config)


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_replay_settles_what_a_lost_answer_left_open(
    replaying: World, insert: Insert, *, arrived: bool
) -> None:
    messages = await insert(20)
    replaying.dealer.lose = lambda _: arrived
    await replaying.send(await replaying.jobs())
    replaying.dealer.lose = lambda _: None
    replaying.clock.pass_(seconds=10)
    await replaying.reconciler()
    assert {(await replaying.message(each))["state"] for each in messages} == {"sent"}
    numbers = [number for number, _, _ in replaying.dealer.given]
    assert len(numbers) == len(set(numbers)) == 20


async def test_a_replay_that_is_refused_says_nothing_of_the_first_request(replaying: World, insert: Insert) -> None:
    [message] = await insert()
    replaying.dealer.lose = lambda _: True
    await replaying.send(await replaying.jobs())
    key = next(iter(replaying.dealer.ids))
    replaying.dealer.ids.clear()  # its memory for keys is shorter than its queue
    replaying.dealer.lose = lambda _: None
    replaying.dealer.answer = lambda _: Refused("no_balance", "A320")
    replaying.clock.pass_(seconds=10)
    await replaying.reconciler()
    assert (await replaying.message(message))["state"] == "uncertain"
    replaying.dealer.ids[key], replaying.dealer.outcomes[key] = "M1", True
    await replaying.push(key)
    await replaying.receipts.apply()
    assert (await replaying.message(message))["state"] == "delivered"


async def test_a_replay_keeps_the_hours_of_rest_and_the_deadline(replaying: World, insert: Insert) -> None:
    """A replay may be what delivers, so it passes the last check like any other try."""
    await insert()
    replaying.dealer.lose = lambda _: False
    await replaying.send(await replaying.jobs())
    replaying.dealer.lose = lambda _: None
    calls = len(replaying.dealer.calls)
    replaying.clock.pass_(hours=9, minutes=30)  # 21:30 in Seoul
    for _ in range(20):
        await replaying.reconciler()
        replaying.clock.pass_(minutes=30)
    assert len(replaying.dealer.calls) == calls
    assert replaying.dealer.given == []


async def test_what_kakao_does_not_confirm_is_waited_for(world: World, insert: Insert) -> None:
    [message] = await insert()
    await world.send(await world.jobs())
    [key] = world.dealer.ids
    await world.tell(world.dealer.unconfirmed(key))
    await world.receipts.apply()
    row = await world.message(message)
    assert (row["state"], row["final"]) == ("uncertain", False)
    await world.push(key)  # "still waiting" takes nothing back
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "uncertain"
    world.clock.pass_(hours=50)
    world.dealer.outcomes[key] = True
    await world.reconciler()
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"


async def test_what_kakao_never_confirms_ends_after_three_days(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.polled, world.dealer.lookup_means = False, LookupMeans.NONE
    await world.send(await world.jobs())
    [key] = world.dealer.ids
    await world.tell(world.dealer.unconfirmed(key))
    await world.receipts.apply()
    for _ in range(71):
        world.clock.pass_(hours=1)
        await world.reconciler()
    assert (await world.message(message))["state"] == "uncertain"
    world.clock.pass_(hours=2)
    await world.reconciler()
    row = await world.message(message)
    assert (row["state"], row["reason"], row["final"]) == ("failed", "delivery_uncertain", False)


async def test_what_a_lookup_says_kakao_does_not_confirm_is_waited_for(world: World, insert: Insert) -> None:
    """Some dealers tell it only when they are asked, of a message whose id we have."""
    [message] = await insert()
    await world.send(await world.jobs())
    world.dealer.lookup_answer = lambda attempt: world.dealer.unconfirmed(attempt.request_key)
    world.clock.pass_(hours=25)  # nobody asked before its receipt deadline
    for _ in range(20):
        await world.reconciler()
        await world.receipts.apply()
        row = await world.message(message)
        assert (row["state"], row["final"]) == ("uncertain", False)
        world.clock.pass_(hours=2)
    world.clock.pass_(hours=8)  # three days and an hour
    await world.reconciler()
    row = await world.message(message)
    assert (row["state"], row["reason"], row["final"]) == ("failed", "delivery_uncertain", False)


async def test_what_kakao_had_is_not_sent_again_because_a_list_lacks_it(world: World, insert: Insert) -> None:
    [message] = await insert()
    world.dealer.lookup_means = LookupMeans.BY_KEY
    await world.send(await world.jobs())
    [key] = world.dealer.ids
    await world.tell(world.dealer.unconfirmed(key))
    await world.receipts.apply()
    await world.search_in_vain()
    assert (await world.message(message))["state"] == "uncertain"


async def test_a_text_at_once_counts_the_double_contact_later(world: World, insert: Insert) -> None:
    eager = choose(world, unconfirmed=Unconfirmed.TEXT)
    [message] = await insert()
    await eager.send(await eager.jobs())
    [key] = eager.dealer.ids
    await eager.tell(eager.dealer.unconfirmed(key))
    await eager.receipts.apply()
    row = await eager.message(message)
    assert (row["state"], row["reason"], row["final"]) == ("failed", "delivery_uncertain", False)
    eager.dealer.outcomes[key] = True
    await eager.push(key)
    await eager.receipts.apply()
    assert (await eager.message(message))["state"] == "delivered"


@pytest.mark.parametrize(
    ("uncertain", "state", "final"),
    [
        pytest.param(Uncertain.FALLBACK, "failed", False, id="a-text-may-follow"),
        pytest.param(Uncertain.HOLD, "failed", True, id="nothing-follows"),
        pytest.param(Uncertain.RESEND, "failed", False, id="too-late-to-resend"),
    ],
)
async def test_the_category_decides_when_no_receipt_can_come(
    world: World, insert: Insert, uncertain: Uncertain, state: str, *, final: bool
) -> None:
    chosen = choose(world, uncertain=uncertain)
    chosen.dealer.lookup_means, chosen.dealer.polled = LookupMeans.NONE, False
    chosen.dealer.lose = lambda _: True
    [message] = await insert()
    await chosen.send(await chosen.jobs())
    chosen.clock.pass_(hours=25)
    await chosen.reconciler()
    row = await chosen.message(message)
    assert (row["state"], row["final"]) == (state, final)
    assert len(chosen.dealer.calls) == 1
