"""P3: receipts that stop coming are an alarm, and no campaign goes on blind."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.dispatcher.handlers import LetGo, QueueDue
from shared.contracts.states import Channel, Lane
from shared.dealers.base import Capabilities, Push
from shared.ids import MessageId
from shared.sending.pace import ENOUGH, LEARNED
from shared.sending.pace_store import read_paces
from shared.sending.silence import LEAST, Silence
from shared.sending.stop_store import lift, load_stops
from shared.sending.stops import Scope, StopKey
from tests.integration.sending.world import FakeDealer, Insert, World

KAKAO = StopKey(Scope.RECEIPTS, "solapi", "kakao")
LAG = 5
"""seconds that a receipt takes while all is well"""


@pytest.fixture
def silence(world: World) -> Silence:
    return Silence(world.sender, world.clock.now())


async def send(
    world: World,
    insert: Insert,
    count: int,
    lane: Lane = Lane.NORMAL,
    channel: Channel = Channel.ALIMTALK,
) -> list[MessageId]:
    """Send messages, a moment after whatever was before; return their ids."""
    world.clock.pass_(seconds=1)
    messages = await insert(count, lane=lane, channel=channel)
    await world.send(await world.jobs())
    return messages


def keys(world: World) -> list[str]:
    """Return the request keys that have no outcome yet, which is a delivery now."""
    unreported = [key for key in world.dealer.ids if key not in world.dealer.outcomes]
    world.dealer.outcomes |= dict.fromkeys(unreported, True)
    return unreported


async def report(world: World) -> None:
    """Let the dealer report whatever it has not reported."""
    await world.push(*keys(world))
    while await world.receipts.apply():
        pass


@pytest.fixture
async def learned(world: World, insert: Insert, silence: Silence) -> None:
    """A dealer that has reported for a while, always after ``LAG``."""
    for _ in range(3):
        await send(world, insert, LEARNED // 2)
        world.clock.pass_(seconds=LAG)
        await report(world)
        assert await silence() == 0


async def let_go(world: World) -> None:
    """Let held messages go, queue what is due, and send it, as the dispatcher's loops do."""
    await LetGo(world.sender)()
    for lane in Lane:
        await QueueDue(world.engine, world.clock, lane)()
    await world.send(await world.jobs())


async def states(world: World, messages: list[MessageId]) -> Counter[tuple[str, str | None]]:
    rows = [await world.message(each) for each in messages]
    return Counter((row["state"], row["held_by"]) for row in rows)


def alarm(channel: Channel = Channel.ALIMTALK) -> float | None:
    return REGISTRY.get_sample_value("bongsu_receipts_silent", {"dealer": "solapi", "channel": channel})


async def stops(world: World) -> set[StopKey]:
    async with world.engine.connect() as connection:
        return {key for key, stop in (await load_stops(connection)).items() if stop.is_open}


@pytest.mark.usefixtures("learned")
async def test_campaigns_wait_while_receipts_are_silent_and_nobody_else_does(
    world: World, insert: Insert, silence: Silence
) -> None:
    await send(world, insert, ENOUGH, lane=Lane.MASS)
    world.clock.pass_(seconds=LEAST.total_seconds() - 1)
    assert await silence() == 0, "they may yet come"
    assert alarm() == 0
    world.clock.pass_(seconds=2)
    with capture_logs() as logs:
        assert await silence() == 1
        assert await silence() == 0, "once"
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["receipts.silent", "stop.opened"]
    assert alarm() == 1

    mass = await send(world, insert, 5, lane=Lane.MASS)
    others = [*await send(world, insert, 5), *await send(world, insert, 5, lane=Lane.AUTH)]
    texts = await send(world, insert, 5, lane=Lane.MASS, channel=Channel.SMS)
    assert await states(world, mass) == {("scheduled", str(KAKAO)): 5}
    assert await states(world, others) == {("sent", None): 10}
    assert await states(world, texts) == {("sent", None): 5}, "of those receipts come"
    await let_go(world)
    assert await states(world, mass) == {("scheduled", str(KAKAO)): 5}

    world.clock.pass_(seconds=LAG)
    with capture_logs() as logs:
        await report(world)
    assert "receipts.heard_again" in [log["event"] for log in logs]
    assert await stops(world) == set()
    await let_go(world)
    assert await states(world, mass) == {("sent", None): 5}
    await silence()
    assert alarm() == 0


@pytest.mark.usefixtures("learned")
async def test_a_straggler_ends_nothing(world: World, insert: Insert, silence: Silence) -> None:
    [old] = await send(world, insert, 1)
    world.clock.pass_(hours=3)
    await send(world, insert, ENOUGH)
    world.clock.pass_(minutes=2)
    assert await silence() == 1
    [attempt] = await world.attempts(old)
    world.dealer.outcomes[attempt["request_key"]] = True
    await world.push(attempt["request_key"])
    await world.receipts.apply()
    assert (await world.message(old))["state"] == "delivered"
    assert await stops(world) == {KAKAO}
    assert await silence() == 0
    assert alarm() == 1


@pytest.mark.usefixtures("learned")
async def test_a_probe_finds_out_that_receipts_come_again(world: World, insert: Insert, silence: Silence) -> None:
    """A profile that sends nothing but campaigns would wait for ever."""
    await send(world, insert, ENOUGH, lane=Lane.MASS)
    world.clock.pass_(minutes=2)
    await silence()
    mass = await send(world, insert, 5, lane=Lane.MASS)
    await world.execute("UPDATE stops SET probe_at = now() - interval '1 second'")
    sent = len(world.dealer.given)
    await let_go(world)
    assert len(world.dealer.given) == sent + 1
    [(_, _, key)] = world.dealer.given[sent:]
    world.clock.pass_(seconds=LAG)
    world.dealer.outcomes[key] = True
    await world.push(key)
    await world.receipts.apply()
    await let_go(world)
    assert (await states(world, mass))["scheduled", str(KAKAO)] == 0


@pytest.mark.usefixtures("learned")
async def test_what_is_missing_is_asked_about_at_once_and_again(world: World, insert: Insert, silence: Silence) -> None:
    await send(world, insert, ENOUGH, lane=Lane.MASS)
    world.clock.pass_(minutes=2)
    assert await world.reconciler() == 0, "its time would come later"
    await silence()
    assert await world.reconciler() == ENOUGH
    while await world.receipts.apply():
        pass
    assert await stops(world) == {KAKAO}, "the dealer waits itself"
    await silence()
    assert await world.reconciler() == 0
    world.clock.pass_(seconds=31)
    await silence()
    assert await world.reconciler() == ENOUGH


@pytest.mark.usefixtures("learned")
async def test_answers_end_the_pause_and_not_the_alarm(world: World, insert: Insert, silence: Silence) -> None:
    """The webhook is broken and lookups are not: it is known what happens, and somebody must mend the webhook."""
    await send(world, insert, ENOUGH, lane=Lane.MASS)
    world.clock.pass_(minutes=2)
    await silence()
    keys(world)
    await world.reconciler()
    await world.receipts.apply()
    assert await stops(world) == set()
    await silence()
    assert alarm() == 1
    for _ in range(5):  # and it goes on so, without stopping campaigns time and again
        await send(world, insert, ENOUGH, lane=Lane.MASS)
        world.clock.pass_(seconds=20)
        assert await silence() == 0
        keys(world)
        await world.reconciler()
        await world.receipts.apply()
        world.clock.pass_(seconds=20)
        assert await stops(world) == set()
    assert alarm() == 1


@pytest.mark.usefixtures("learned")
async def test_what_an_operator_lifts_stays_lifted(world: World, insert: Insert, silence: Silence) -> None:
    await send(world, insert, ENOUGH, lane=Lane.MASS)
    world.clock.pass_(minutes=2)
    await silence()
    async with world.engine.begin() as connection:
        assert await lift(connection, KAKAO)
    await send(world, insert, ENOUGH, lane=Lane.MASS)
    world.clock.pass_(hours=1)
    assert await silence() == 0
    assert await stops(world) == set()
    assert alarm() == 1


@pytest.mark.usefixtures("learned")
async def test_replicas_find_a_silence_once(world: World, insert: Insert, silence: Silence) -> None:
    await send(world, insert, ENOUGH)
    world.clock.pass_(minutes=2)
    replica = Silence(world.replica().sender, silence.since)
    assert sorted(await asyncio.gather(silence(), replica())) == [0, 1]


@pytest.mark.usefixtures("learned")
async def test_what_is_stored_and_not_yet_applied_is_not_missing(
    world: World, insert: Insert, silence: Silence
) -> None:
    await send(world, insert, ENOUGH)
    await world.push(*keys(world))
    world.clock.pass_(minutes=2)
    assert await silence() == 0


@pytest.mark.usefixtures("learned")
async def test_few_messages_and_a_quiet_night_are_no_silence(world: World, insert: Insert, silence: Silence) -> None:
    world.clock.pass_(hours=21)
    assert await silence() == 0
    await send(world, insert, ENOUGH - 1)
    world.clock.pass_(hours=2)
    assert await silence() == 0


async def test_a_dispatcher_that_was_away_misses_nothing_of_that_time(world: World, insert: Insert) -> None:
    await send(world, insert, 3 * ENOUGH)
    world.clock.pass_(hours=1)
    assert await Silence(world.sender, world.clock.now())() == 0


@dataclass
class OnlyAnswers(FakeDealer):
    """A dealer that pushes nothing: what became of an attempt is learnt by asking."""

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # as with any fake of ours
        return replace(super().capabilities, push=Push.NONE)


async def test_at_a_dealer_that_only_answers_the_answers_are_its_receipts(world: World, insert: Insert) -> None:
    dealer = OnlyAnswers(ids=world.dealer.ids, outcomes=world.dealer.outcomes, handles=world.dealer.handles)
    world.sender.dealers["solapi"] = dealer
    for _ in range(2):
        await send(world, insert, LEARNED // 2)
        world.clock.pass_(minutes=11)
        keys(world)
        await world.reconciler()
        await world.receipts.apply()
    async with world.engine.connect() as connection:
        [(key, pace)] = (await read_paces(connection)).items()
    assert (key, pace.seen) == (("solapi", Channel.ALIMTALK), LEARNED)
    assert timedelta(minutes=9) < pace.lag < timedelta(minutes=12)


async def test_a_dealer_that_never_reported_is_found(world: World, insert: Insert, silence: Silence) -> None:
    """The webhook was never set: for a month nobody knew that nothing arrived."""
    await send(world, insert, ENOUGH)
    world.clock.pass_(minutes=29)
    assert await silence() == 0, "three times what the adapter expects"
    world.clock.pass_(minutes=2)
    assert await silence() == 1
    assert await stops(world) == {KAKAO}
