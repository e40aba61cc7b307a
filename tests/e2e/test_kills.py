"""P1 and P2: whatever dies when, nothing is lost, nobody gets anything twice, and every message has its end."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bongsu.killing import Outcome, Plan, run

KILLS = 60
MESSAGES = 2000


@pytest.fixture
def data() -> Iterator[Path]:
    """Where the system keeps its data. Not pytest's own folder: another run of pytest closes it to Postgres' user."""
    directory = Path(tempfile.mkdtemp(prefix="bongsu-kills-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def check(outcome: Outcome, kills: int, messages: int) -> None:
    print(outcome)  # noqa: T201 - shown when it fails
    assert outcome.findings == []
    assert outcome.kills.total() == kills
    assert outcome.messages >= messages
    assert outcome.states.total() == outcome.messages


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kafka", [pytest.param(False, id="embedded"), pytest.param(True, id="kafka")])
async def test_kill_9_loses_nothing_and_doubles_nothing(kafka: bool, data: Path) -> None:  # noqa: FBT001 - a parameter
    plan = Plan(messages=MESSAGES, kills=KILLS, seed=20261123, kafka=kafka, data=data)
    check(await run(plan), KILLS, MESSAGES)


@pytest.mark.soak
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("kafka", [pytest.param(False, id="embedded"), pytest.param(True, id="kafka")])
async def test_a_thousand_kills(kafka: bool, data: Path) -> None:  # noqa: FBT001 - a parameter
    plan = Plan(messages=20_000, kills=500, seed=7, kafka=kafka, data=data, settle_seconds=600)
    check(await run(plan), 500, 20_000)
