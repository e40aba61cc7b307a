"""Receipts that are fetched: whatever dies between any two steps, all are stored, and each is applied once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from shared.bell import Bell
from shared.db.engine import engine_for
from shared.dealers.base import Capabilities, Pulled, Push, Report
from shared.sending.pull import Pull
from shared.sending.receipts import keep
from tests.integration.sending.world import Crash, FakeDealer, Insert, World, crash


@dataclass
class Mailbox(FakeDealer):
    """A dealer that keeps reports until they are acknowledged, and gives ``size`` of them at a time."""

    kept: list[Report] = field(default_factory=list)
    size: int = 2
    pulls: int = 0
    deaf: bool = False
    """acknowledgements are lost"""

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # as with any fake of ours
        return replace(super().capabilities, push=Push.NONE, receipts_pulled=True)

    async def pull(self) -> Pulled | None:
        self._step(self.before, "pull")
        self.pulls += 1
        if self.gate is not None:
            self.called.set()
            await self.gate.wait()
        given = self.kept[: self.size]
        self._step(self.after, "pull")
        return Pulled(given, ",".join(str(report.request_key) for report in given)) if given else None

    async def acknowledge(self, pulled: Pulled) -> None:
        self._step(self.before, "acknowledge")
        if not self.deaf:
            self.kept = [report for report in self.kept if report not in pulled.reports]
        self._step(self.after, "acknowledge")


@pytest.fixture
def dealer() -> Mailbox:
    return Mailbox()


def pulling(world: World, mailbox: Mailbox) -> Pull:
    return Pull(world.sender, mailbox, Bell())


async def delivered(world: World, insert: Insert, mailbox: Mailbox, count: int = 5) -> Sequence[object]:
    """Send messages whose receipts wait in the mailbox."""
    messages = await insert(count)
    await world.send(await world.jobs())
    for key in world.dealer.ids:
        world.dealer.outcomes[key] = True
        mailbox.kept.append(world.dealer.report(key))
    return messages


async def states(world: World) -> set[tuple[str, int]]:
    rows = await world.rows("SELECT state, count(*)::int AS n FROM messages GROUP BY state")
    return {(row["state"], row["n"]) for row in rows}


async def drain(pull: Pull) -> int:
    """Pull as the loop does: at once again while something is new."""
    total = 0
    while new := await pull():
        total += new
    return total


async def test_what_waits_at_the_dealer_is_stored_and_acknowledged(
    world: World, insert: Insert, dealer: Mailbox
) -> None:
    await delivered(world, insert, dealer)
    pull = pulling(world, dealer)
    assert await drain(pull) == 5
    assert pull.bell.rings
    assert dealer.kept == []
    assert {row["via"] for row in await world.rows("SELECT via FROM receipts")} == {"pull"}
    assert await world.receipts.apply() == 5
    assert await states(world) == {("delivered", 5)}


@pytest.mark.parametrize("when", ["before pull", "after pull", "after keep", "before acknowledge", "after acknowledge"])
async def test_a_death_between_any_two_steps_loses_nothing_and_applies_once(
    world: World, insert: Insert, dealer: Mailbox, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await delivered(world, insert, dealer)
    moment, step = when.split()
    if step == "keep":  # within its transaction, which is then not committed

        async def keep_and_die(*args: object, **named: object) -> None:
            await keep(*args, **named)  # type: ignore[arg-type]  # as it came
            raise Crash

        monkeypatch.setattr("shared.sending.pull.keep", keep_and_die)
    else:
        steps = dealer.before if moment == "before" else dealer.after
        steps[step] = crash
    with pytest.raises(Crash):
        await pulling(world, dealer)()
    monkeypatch.undo()
    dealer.before.clear()
    dealer.after.clear()

    replica = world.replica()
    await drain(pulling(replica, dealer))
    while await replica.receipts.apply():
        pass
    assert await states(world) == {("delivered", 5)}
    [counted] = await world.rows("SELECT count(*)::int AS n, sum(cost_krw)::int AS krw FROM messages")
    assert counted == {"n": 5, "krw": 65}
    [changes] = await world.rows("SELECT count(*)::int AS n FROM transitions WHERE state = 'delivered'")
    assert changes["n"] == 5
    given_again = when == "before acknowledge"
    assert len(await world.rows("SELECT id FROM receipts")) == (7 if given_again else 5)


async def test_a_batch_whose_acknowledgement_is_lost_is_stored_once_by_a_process(
    world: World, insert: Insert, dealer: Mailbox
) -> None:
    await delivered(world, insert, dealer)
    dealer.deaf = True
    pull = pulling(world, dealer)
    assert [await pull() for _ in range(4)] == [2, 0, 0, 0]
    assert len(await world.rows("SELECT id FROM receipts")) == 2
    dealer.deaf = False
    assert await pull() == 0
    assert await drain(pull) == 3


async def test_one_replica_pulls_at_a_time(world: World, insert: Insert, dealer: Mailbox, database_url: str) -> None:
    await delivered(world, insert, dealer)
    dealer.gate = asyncio.Event()
    first = asyncio.create_task(pulling(world, dealer)())
    await dealer.called.wait()
    other = engine_for(database_url, pool_size=2)
    replica = pulling(world.replica(other), dealer)
    assert await replica() == 0
    assert dealer.pulls == 1
    dealer.gate.set()
    assert await first == 2
    assert await drain(replica) == 3
    await other.dispose()


async def test_a_pull_that_is_broken_off_leaves_no_lock(world: World, insert: Insert, dealer: Mailbox) -> None:
    await delivered(world, insert, dealer)
    dealer.gate = asyncio.Event()
    pull = pulling(world, dealer)
    under_way = asyncio.create_task(pull())
    await dealer.called.wait()
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    dealer.gate = None
    assert await drain(pull) == 5
    assert await world.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") == []


async def test_what_cannot_be_read_is_acknowledged_too(world: World, dealer: Mailbox) -> None:
    """Or it would be given again for ever, and nothing after it."""
    acknowledged: list[str] = []

    async def pull() -> Pulled | None:
        return None if acknowledged else Pulled([], "B1")

    async def acknowledge(pulled: Pulled) -> None:
        acknowledged.append(pulled.batch_id)

    object.__setattr__(dealer, "pull", pull)
    object.__setattr__(dealer, "acknowledge", acknowledge)
    assert await pulling(world, dealer)() == 0
    assert acknowledged == ["B1"]
