"""``bongsu dealers``, ``stops`` and ``uncertain`` as an operator types them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from typer.testing import CliRunner

from bongsu.cli.app import app
from bongsu.cli.operating import age
from shared.contracts.states import Lane
from shared.dealers.base import LookupMeans, Refused
from shared.errors import BongsuError
from tests.integration.sending.world import Insert, World

_RUNNER = CliRunner()


class Run(Protocol):
    """Runs a command; returns its exit status and what it wrote, or raises what the user would read as one line."""

    async def __call__(self, *arguments: str) -> tuple[int, str]: ...


@pytest.fixture
def run(world: World, database_url: str, tmp_path: Path) -> Run:
    """Commands over the world's ledger, at the world's time."""
    raw = world.config.model_dump(by_alias=True, mode="json", exclude_unset=True)
    raw["dealers"]["solapi"].update(credentials={"api_key": "made-up", "api_secret": "made-up"}, timeout_seconds=1)
    path = tmp_path / "bongsu.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")

    async def run_(*arguments: str) -> tuple[int, str]:
        started = world.clock.now()
        env = {
            "BONGSU_DATABASE_URL": database_url,
            "BONGSU_CONFIG": str(path),
            "BONGSU_CLOCK": f"{started.isoformat()}@0*0.0000000001",  # it stands still
            "COLUMNS": "250",
        }
        done = await asyncio.to_thread(_RUNNER.invoke, app, arguments, env=env)
        if isinstance(done.exception, BongsuError):
            raise done.exception
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return run_


async def lost(world: World, insert: Insert, count: int) -> list[str]:
    """Return the attempts of messages whose answers were lost."""
    messages = await insert(count)
    world.dealer.lookup_means, world.dealer.polled = LookupMeans.NONE, False
    world.dealer.lose = lambda _: True
    await world.send(await world.jobs())
    return [f"{message}/1" for message in messages]


async def test_doubts_are_listed_in_pages_and_resolved(world: World, insert: Insert, run: Run) -> None:
    assert await run("uncertain", "list") == (0, "nothing is in doubt\n")
    attempts = await lost(world, insert, 5)
    world.clock.pass_(minutes=65)
    seen: list[dict[str, Any]] = []
    following: list[str] = []
    while True:
        page = json.loads((await run("uncertain", "list", "--limit", "2", "--json", *following))[1])
        seen += page["uncertain"]
        if page["next"] is None:
            break
        following = ["--after", page["next"]]
    assert [each["attempt"] for each in seen] == attempts
    assert (seen[0]["dealer"], seen[0]["channel"], seen[0]["why"]) == ("solapi", "alimtalk", "timeout")
    assert (seen[0]["age_seconds"], seen[0]["then"]) == (3900, "fallback")
    _, shown = await run("uncertain", "list", "--limit", "2")
    assert f"--after {attempts[1]}" in shown
    assert "1 h 05 min" in shown

    resolve = ("uncertain", "resolve", "--by", "김당번", "--why", "seen in the console")
    assert (await run(*resolve, attempts[0], "--as", "delivered"))[1].endswith("its message is delivered\n")
    message = attempts[1].partition("/")[0]
    found = json.loads((await run(*resolve, message, "--as", "failed", "--json"))[1])
    assert found == {"attempt": attempts[1], "state": "failed", "due_at": None}
    assert "scheduled until" in (await run(*resolve, attempts[2], "--as", "not-taken"))[1]
    assert len(json.loads((await run("uncertain", "list", "--json"))[1])["uncertain"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("not-an-id",), "names no attempt", id="no-id"),
        pytest.param(("01a2057f-0000-7000-8000-000000000000",), "there is no message", id="unknown"),
        pytest.param(("01a2057f-0000-7000-8000-000000000000/x",), "names no attempt", id="no-number"),
    ],
)
async def test_what_cannot_be_resolved_is_said_in_one_line(run: Run, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(BongsuError, match=says) as refused:
        await run("uncertain", "resolve", *arguments, "--as", "failed", "--by", "kim", "--why", "seen")
    assert "\n" not in str(refused.value)


async def test_stops_are_listed_and_lifted(world: World, insert: Insert, run: Run) -> None:
    assert await run("stops", "list") == (0, "nothing is stopped\n")
    await insert(20)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    [row] = json.loads((await run("stops", "list", "--json"))[1])
    assert (row["stop"], row["state"], row["reason"], row["held"]) == ("dealer/solapi", "open", "no_balance", 17)
    assert row["since"] < row["next_probe"]
    assert "no_balance" in (await run("stops", "list"))[1]
    assert await run("stops", "lift", "dealer/solapi") == (0, "lifted dealer/solapi; 17 held messages go on\n")
    with pytest.raises(BongsuError, match="there is no stop"):
        await run("stops", "lift", "dealer/solapi")
    with pytest.raises(BongsuError, match="is no stop"):
        await run("stops", "lift", "solapi")


async def test_messages_that_wait_for_an_approval_are_listed_and_not_lifted(
    world: World, insert: Insert, run: Run
) -> None:
    await insert(2)
    await world.execute("UPDATE messages SET state = 'scheduled', due_at = deadline, held_by = 'approval/shop/PAID'")
    [row] = json.loads((await run("stops", "list", "--json"))[1])
    assert (row["stop"], row["state"], row["reason"], row["held"]) == (
        "approval/shop/PAID", "waiting", "template_not_approved", 2,
    )  # fmt: skip
    with pytest.raises(BongsuError, match="is no stop"):
        await run("stops", "lift", "approval/shop/PAID")


async def test_dealers_are_shown_with_their_health(world: World, insert: Insert, run: Run) -> None:
    await lost(world, insert, 3)
    status, said = await run("dealers", "--json")
    [row] = json.loads(said)
    assert status == 0
    assert {key: row[key] for key in ("dealer", "health", "uncertain", "balance_krw", "lookup", "push")} == {
        "dealer": "solapi",
        "health": "failing",
        "uncertain": 3,
        "balance_krw": None,  # nobody listens where its API should be
        "lookup": "two_phase",
        "push": "open",  # no webhook_secret
    }
    _, shown = await run("dealers")
    assert "failing" in shown
    assert "not told" in shown


async def test_a_check_that_finds_something_wrong_exits_with_1(run: Run) -> None:
    status, said = await run("dealers", "check", "--json")
    assert status == 1
    rows = {row["what"]: row for row in json.loads(said)}
    assert rows["receipts"]["ok"] is False
    assert rows["sender number 0212345678"]["profiles"] == "shop"
    status, shown = await run("dealers", "check")
    assert status == 1
    assert "WRONG" in shown
    assert "made-up" not in shown + said


async def test_a_config_that_is_missing_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    del run
    monkeypatch.delenv("BONGSU_CONFIG", raising=False)
    done = await asyncio.to_thread(_RUNNER.invoke, app, ["dealers"], env={"BONGSU_DATABASE_URL": "postgresql://x"})
    assert str(done.exception) == "BONGSU_CONFIG is not set"


@pytest.mark.parametrize(
    ("span", "said"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3900, "1 h 05 min"), (190_000, "2 d 4 h")]
)
def test_an_age_is_said_as_people_do(span: int, said: str) -> None:
    assert age(timedelta(seconds=span)) == said


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_limits_are_shown_changed_and_given_back_to_the_file(run: Run, world: World) -> None:
    async with world.sender.limits.take("solapi", 40, Lane.NORMAL):
        [row] = json.loads((await run("limits", "--json"))[1])
    assert row["limits"] == [{"what": "messages_per_second", "limit": 10_000, "used": 40, "by_hand": False}]
    status, said = await run("limits", "set", "solapi", "--messages-per-second", "7", "--by", "min")
    assert (status, "messages_per_second 7" in said) == (0, True)
    await run("limits", "set", "solapi", "--messages-per-day", "500", "--by", "min")
    [row] = json.loads((await run("limits", "--json"))[1])
    assert [(each["what"], each["limit"], each["by_hand"]) for each in row["limits"]] == [
        ("messages_per_second", 7, True),
        ("messages_per_day", 500, True),
    ]
    assert row["changed_by"] == "min"
    assert "(by hand)" in (await run("limits"))[1]
    await run("limits", "reset", "solapi", "--by", "min")
    [row] = json.loads((await run("limits", "--json"))[1])
    assert [(each["limit"], each["by_hand"]) for each in row["limits"]] == [(10_000, False)]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nobody", "--messages-per-second", "1"), "is no dealer"),
        (("solapi",), "name a limit"),
        (("solapi", "--messages-per-second", "1", "--profile", "shop"), "does not limit each profile"),
    ],
)
async def test_a_limit_that_cannot_be_set_is_refused(run: Run, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(BongsuError, match=why):
        await run("limits", "set", *arguments, "--by", "min")
