"""P1 and P2: whatever dies when, nothing is lost, nobody gets anything twice, and every message has its end.

With every dealer that the sandbox speaks and every fault in one mix.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bongsu.killing import CARRIERS, SHARES, Outcome, Plan, run

KILLS = 60
MESSAGES = 2000


@pytest.fixture
def data() -> Iterator[Path]:
    """Where the system keeps its data. Not pytest's own folder: another run of pytest closes it to Postgres' user."""
    directory = Path(tempfile.mkdtemp(prefix="bongsu-kills-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def check(outcome: Outcome, kills: int, messages: int) -> None:
    print(outcome)  # noqa: T201 - shown when it fails, and in a soak
    assert outcome.findings == []
    assert outcome.kills.total() == kills
    assert outcome.messages >= messages
    assert outcome.states.total() == outcome.messages
    assert set(outcome.dispatched) == {*SHARES, *CARRIERS}  # it came to every dealer
    assert set(outcome.unknown) <= outcome.blind


def say(what: str) -> None:
    print(what, flush=True)  # noqa: T201 - a soak is long


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kafka", [pytest.param(False, id="embedded"), pytest.param(True, id="kafka")])
async def test_kill_9_loses_nothing_and_doubles_nothing(kafka: bool, data: Path) -> None:  # noqa: FBT001 - a parameter
    plan = Plan(messages=MESSAGES, kills=KILLS, seed=20261123, kafka=kafka, data=data, say=say)
    check(await run(plan), KILLS, MESSAGES)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kafka", [pytest.param(False, id="embedded"), pytest.param(True, id="kafka")])
async def test_500_kills_over_each_bus(kafka: bool, data: Path) -> None:  # noqa: FBT001 - a parameter
    plan = Plan(messages=16_000, kills=500, seed=7, kafka=kafka, data=data, settle_seconds=900, say=say)
    check(await run(plan), 500, 16_000)
