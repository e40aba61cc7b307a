"""P3 and P8: what dealers report, in whatever order and however often."""

from __future__ import annotations

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.ids import MessageId
from tests.integration.sending.world import Insert, World


async def sent(world: World, insert: Insert) -> tuple[MessageId, str]:
    [message] = await insert()
    await world.sender(await world.jobs())
    [attempt] = await world.attempts(message)
    return message, attempt["request_key"]


async def test_a_receipt_makes_it_delivered_and_only_a_receipt(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    assert (await world.message(message))["state"] == "sent"
    world.dealer.outcomes[key] = True
    await world.push(key, key)
    assert await world.receipts.apply() == 2
    row = await world.message(message)
    assert (row["state"], row["final"], row["cost_krw"]) == ("delivered", True, 13)
    assert [t["state"] for t in await world.timeline(message)] == ["sending", "sent", "delivered"]


async def test_a_receipt_that_overtakes_the_record_of_its_sending_counts(world: World, insert: Insert) -> None:
    [message] = await insert()

    async def overtaken() -> None:
        [attempt] = await world.attempts(message)
        world.dealer.outcomes[attempt["request_key"]] = True
        world.dealer.ids[attempt["request_key"]] = "M1"
        await world.push(attempt["request_key"])
        assert await world.receipts.apply() == 1

    original = world.dealer.send

    async def send(handle: str | None, batch: object) -> object:
        results = await original(handle, batch)  # type: ignore[arg-type]  # as it came
        await overtaken()
        return results

    object.__setattr__(world.dealer, "send", send)
    await world.sender(await world.jobs())
    row = await world.message(message)
    assert (row["state"], row["final"]) == ("delivered", True)
    assert [t["state"] for t in await world.timeline(message)] == ["sending", "delivered"]


async def test_a_receipt_that_matches_nothing_yet_is_kept_until_it_does(world: World, insert: Insert) -> None:
    [message] = await insert()
    key = request_key(message, Channel.ALIMTALK, 1)
    world.dealer.ids[key] = f"M-{key}"
    world.dealer.outcomes[key] = True
    await world.push(key, by_id_alone=True)
    assert await world.receipts.apply() == 1
    assert await world.receipts.apply() == 0, "it waits before it is tried again"
    await world.sender(await world.jobs())
    world.clock.pass_(seconds=2)
    assert await world.receipts.apply() == 1
    assert (await world.message(message))["state"] == "delivered"


async def test_a_late_failure_never_overrides_delivered(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    for outcome in (True, False, True, False):
        world.dealer.outcomes[key] = outcome
        await world.push(key)
        await world.receipts.apply()
    row = await world.message(message)
    assert (row["state"], row["final"], row["cost_krw"]) == ("delivered", True, 13)


async def test_a_failure_is_asked_about_once_more(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    world.dealer.outcomes[key] = False
    await world.push(key)
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "failed"
    world.dealer.outcomes[key] = True  # the dealer takes it back, and nobody hears it
    assert await world.reconciler() == 0
    world.clock.pass_(minutes=61)
    assert await world.reconciler() == 1
    assert await world.receipts.apply() == 1
    row = await world.message(message)
    assert (row["state"], row["final"]) == ("delivered", True)


async def test_a_failure_that_is_confirmed_is_not_asked_about_again(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    world.dealer.outcomes[key] = False
    await world.push(key)
    await world.receipts.apply()
    world.clock.pass_(minutes=61)
    assert await world.reconciler() == 1
    await world.receipts.apply()
    world.clock.pass_(hours=48)
    assert await world.reconciler() == 0
    [attempt] = await world.attempts(message)
    assert (attempt["state"], attempt["check_at"]) == ("failed", None)


async def test_a_receipt_that_does_not_come_is_asked_for(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    assert await world.reconciler() == 0, "not before it is expected"
    world.clock.pass_(minutes=11)
    assert await world.reconciler() == 1
    assert (await world.message(message))["state"] == "sent"  # the dealer waits itself
    world.dealer.outcomes[key] = True
    world.clock.pass_(minutes=30)
    assert await world.reconciler() == 1
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"


async def test_a_receipt_that_never_comes_ends_in_result_timeout(world: World, insert: Insert) -> None:
    message, _ = await sent(world, insert)
    for _ in range(30):
        world.clock.pass_(hours=2)
        await world.reconciler()
        await world.receipts.apply()
    row = await world.message(message)
    assert (row["state"], row["reason"]) == ("failed", "result_timeout")


async def test_a_receipt_of_another_dealer_changes_nothing(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    world.dealer.outcomes[key] = True
    await world.push(key)
    await world.execute("UPDATE receipts SET dealer = 'forger'")
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "sent"
