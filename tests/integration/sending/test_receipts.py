"""P3 and P8: what dealers report, in whatever order and however often."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from shared.contracts.keys import request_key
from shared.contracts.states import Channel
from shared.dealers.base import Report
from shared.ids import MessageId
from shared.sending.receipts import GIVE_UP_AFTER, Arrived
from tests.integration.sending.world import Crash, Insert, World


async def sent(world: World, insert: Insert) -> tuple[MessageId, str]:
    [message] = await insert()
    await world.send(await world.jobs())
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
    await world.send(await world.jobs())
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
    await world.send(await world.jobs())
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


@pytest.mark.parametrize("order", list(permutations(["kakao", "leg failed", "leg delivered"])))
async def test_a_leg_of_the_dealers_own_is_an_attempt_and_a_double_contact(
    world: World, insert: Insert, order: tuple[str, ...]
) -> None:
    """Its own failover is off in what we send; a setting of its console may bring it back."""
    message, key = await sent(world, insert)
    world.dealer.outcomes[key] = True
    kakao = world.dealer.report(key)
    leg = replace(kakao, leg=Channel.SMS, code="4100")
    no_leg = replace(leg, delivered=False, reason="no_subscriber", code="4400")
    reports = {"kakao": kakao, "leg delivered": leg, "leg failed": no_leg}
    for each in (*order, *order):
        await world.tell(reports[each])
        await world.receipts.apply()
    row = await world.message(message)
    assert (row["state"], row["final"], row["cost_krw"]) == ("delivered", True, 31)
    first, second = await world.attempts(message)
    assert (first["state"], first["leg_of"]) == ("delivered", None)
    assert (second["n"], second["state"], second["leg_of"], second["channel"]) == (2, "delivered", 1, "sms")
    assert (second["cost_krw"], second["check_at"]) == (18, None)
    details = [step["detail"] or {} for step in await world.timeline(message)]
    assert [detail["double_contact"] for detail in details if "double_contact" in detail] == [["alimtalk", "sms"]]
    assert {each["attempt"] for each in await world.rows("SELECT attempt FROM receipts")} == {1, 2}


async def test_a_leg_in_one_batch_with_its_attempt_is_known_apart(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    world.dealer.outcomes[key] = False
    kakao = world.dealer.report(key)
    await world.tell(
        replace(kakao, leg=Channel.LMS, delivered=True, reason=None), kakao, replace(kakao, leg=Channel.LMS)
    )
    assert await world.receipts.apply() == 3
    assert [(a["channel"], a["state"]) for a in await world.attempts(message)] == [
        ("alimtalk", "failed"),
        ("lms", "delivered"),
    ]
    row = await world.message(message)
    assert (row["state"], row["cost_krw"]) == ("delivered", 45)


async def test_a_leg_that_is_still_under_way_is_no_attempt_yet(world: World, insert: Insert) -> None:
    message, key = await sent(world, insert)
    await world.tell(replace(world.dealer.report(key), leg=Channel.SMS))
    assert await world.receipts.apply() == 1
    assert len(await world.attempts(message)) == 1


def unknown(count: int, start: int = 0) -> list[Report]:
    """Return receipts of another system that uses the account, or of somebody who makes them up."""
    return [Report(None, f"X-{n}", delivered=True, code="4000", raw=b"{}") for n in range(start, start + count)]


async def test_a_flood_of_unknown_receipts_delays_no_other(world: World, insert: Insert) -> None:
    """What came before the flood, and what comes behind it, is applied in the first round."""
    messages = await insert(40)
    await world.send(await world.jobs())
    keys = list(world.dealer.ids)
    world.dealer.outcomes.update(dict.fromkeys(keys, True))
    await world.push(*keys[:20])
    world.clock.pass_(seconds=1)
    await world.tell(*unknown(5000))
    world.clock.pass_(seconds=1)
    await world.push(*keys[20:])
    assert await world.receipts.apply() == 500
    assert {(await world.message(each))["state"] for each in messages} == {"delivered"}


async def test_tries_in_vain_stand_behind_a_first_one(world: World, insert: Insert) -> None:
    messages = await insert(20)
    await world.send(await world.jobs())
    keys = list(world.dealer.ids)
    world.dealer.outcomes.update(dict.fromkeys(keys, True))
    await world.tell(*unknown(3000))
    rounds = 0
    while await world.receipts.apply():
        rounds += 1
    assert rounds == 6
    world.clock.pass_(hours=2)  # all of them are due again, for longer than the known ones that come now
    await world.push(*keys)
    await world.receipts.apply()
    assert {(await world.message(each))["state"] for each in messages} == {"delivered"}
    [row] = await world.rows("SELECT count(*) AS n FROM receipts WHERE apply_at IS NOT NULL")
    assert row["n"] == 3000, "none is forgotten"


async def test_unknown_receipts_are_given_up_and_kept(world: World) -> None:
    await world.tell(*unknown(3))
    for _ in range(GIVE_UP_AFTER + 2):
        await world.receipts.apply()
        world.clock.pass_(hours=1, seconds=1)
    [row] = await world.rows("SELECT count(*) AS n, count(apply_at) AS waiting, max(tried) AS tried FROM receipts")
    assert row == {"n": 3, "waiting": 0, "tried": GIVE_UP_AFTER + 1}


async def test_what_is_pushed_is_kept_and_applied_in_one_go(world: World, insert: Insert) -> None:
    [message] = await insert()
    await world.send(await world.jobs())
    [(_, _, key)] = world.dealer.given
    world.dealer.outcomes[key] = True
    stranger = replace(world.dealer.report(key), request_key=None, dealer_message_id="M-nobody")
    arrived = [Arrived("solapi", "push", report) for report in (stranger, world.dealer.report(key))]
    assert await world.receipts.take(arrived) == [False, True]
    assert (await world.message(message))["state"] == "delivered"
    rows = await world.rows("SELECT message_id, attempt, apply_at, tried FROM receipts ORDER BY message_id")
    assert [(row["message_id"], row["attempt"], row["apply_at"] is None, row["tried"]) for row in rows] == [
        (message, 1, True, 1),
        (None, None, False, 1),
    ]


async def _fail(*_: object) -> None:
    raise Crash


async def test_what_cannot_be_applied_is_kept(world: World, insert: Insert, monkeypatch: pytest.MonkeyPatch) -> None:
    [message] = await insert()
    await world.send(await world.jobs())
    [(_, _, key)] = world.dealer.given
    world.dealer.outcomes[key] = True
    arrived = [Arrived("solapi", "push", world.dealer.report(key))]
    with monkeypatch.context() as broken:
        broken.setattr("shared.sending.receipts.hear", _fail)
        assert await world.receipts.take(arrived) == [False]
    assert (await world.message(message))["state"] == "sent"
    await world.receipts.apply()
    assert (await world.message(message))["state"] == "delivered"
