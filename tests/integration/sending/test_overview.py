"""What an operator is shown of the dealers, and what is verified before the first message."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.config import Config
from shared.contracts.states import Lane
from shared.dealers.base import Ambiguous, Capabilities, Checked, Dealer, NotTaken, Push, Refused
from shared.sending.limit_standing import in_use
from shared.sending.overview import Finding, Overview, balances, check_dealers, in_words, read_overview, senders_of
from shared.sending.stop_store import held
from tests.integration.sending.world import FakeDealer, Insert, World


async def shown(world: World) -> Overview:
    async with world.engine.connect() as connection:
        [found] = await read_overview(connection, world.config, world.sender.dealers, now=world.clock.now())
    return found


async def test_a_dealer_that_did_nothing_yet_is_well(world: World) -> None:
    found = await shown(world)
    assert (found.health, found.stops, found.uncertain, found.awaited, found.held) == ("ok", (), 0, 0, 0)
    assert (found.in_use, found.per_second, found.oldest_awaited) == (0, 10_000, None)
    assert (found.lookup, found.push, found.polled) == ("two_phase", "token", True)


async def test_what_waits_for_a_receipt_and_what_is_in_doubt_is_counted(world: World, insert: Insert) -> None:
    await insert(5)
    await world.send(await world.jobs())
    world.clock.pass_(minutes=7)
    await insert(3)
    world.dealer.answer = lambda _: Ambiguous("timeout")
    await world.send(await world.jobs())
    found = await shown(world)
    assert (found.awaited, found.oldest_awaited, found.uncertain) == (5, timedelta(minutes=7), 3)
    assert found.health == "failing"
    assert [in_words(stop) for stop in found.stops] == ["dealer/solapi: dealer_unavailable, 1 of 5"]


async def test_a_stopped_dealer_shows_why_and_what_it_holds(world: World, insert: Insert) -> None:
    await insert(20)
    world.dealer.answer = lambda _: Refused("no_balance", "402")
    await world.send(await world.jobs())
    found = await shown(world)
    assert (found.health, found.held) == ("stopped", 17)
    assert [in_words(stop) for stop in found.stops] == ["dealer/solapi: no_balance"]
    async with world.engine.connect() as connection:
        assert await held(connection) == {"dealer/solapi": 17}


async def test_a_stop_of_one_template_leaves_the_dealer_partly_well(world: World, insert: Insert) -> None:
    await insert(5)
    world.dealer.answer = lambda _: Refused("template_not_approved", "-3005")
    await world.send(await world.jobs())
    found = await shown(world)
    assert (found.health, found.held) == ("partly", 2)


async def test_the_limit_in_use_and_its_pause_are_shown(world: World, insert: Insert) -> None:
    async with world.sender.limits.take("solapi", 40, Lane.NORMAL):
        assert (await shown(world)).in_use == 40
    await insert()
    world.dealer.answer = lambda _: NotTaken("rate_limited", retry_after=timedelta(hours=1))
    await world.send(await world.jobs())
    assert (await shown(world)).paused_until is not None
    async with world.engine.connect() as connection:
        assert set(await in_use(connection)) == {"solapi"}


class Rich(FakeDealer):
    async def balance_krw(self) -> int | None:
        return 120_000


class Silent(FakeDealer):
    async def balance_krw(self) -> int | None:
        await asyncio.Event().wait()
        return 1

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        del sender_keys, sender_numbers
        await asyncio.Event().wait()
        return []


class Broken(FakeDealer):
    async def balance_krw(self) -> int | None:
        raise ZeroDivisionError

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        del sender_keys, sender_numbers
        raise ZeroDivisionError


async def test_balances_are_asked_at_once_and_one_that_is_silent_holds_nobody_up() -> None:
    dealers: dict[str, Dealer] = {"a": Silent("a"), "b": Rich("b"), "c": Broken("c"), "d": FakeDealer("d")}
    assert await balances(dealers, timeout_seconds=0.01) == {"a": None, "b": 120_000, "c": None, "d": None}


class Checking(FakeDealer):
    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        keys = [Checked(key, ok=key == "KEY-good", detail="") for key in sender_keys]
        return [Checked("credentials", ok=True), *keys, *[Checked(each, None, "no call") for each in sender_numbers]]


class Unproved(FakeDealer):
    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # as in ``FakeDealer``
        return replace(super().capabilities, push=Push.OPEN)

    async def check(self, sender_keys: Sequence[str], sender_numbers: Sequence[str]) -> list[Checked]:
        del sender_keys, sender_numbers
        return []


def configured(*, receipts: dict[str, Any] | None = None) -> Config:
    account = {"kind": "solapi", "base_url": "http://127.0.0.1:9"}
    return Config.model_validate(
        {
            "dealers": {"one": {**account, "receipts": receipts or {}}, "two": account},
            "profiles": {
                "shop": {
                    "name": "봉수",
                    "routes": [{"dealer": "one", "sender_key": "KEY-good"}, {"dealer": "two", "sender_key": "KEY-two"}],
                    "text": {"dealer": "one", "from": "0212345678"},
                },
                "cafe": {"name": "봉수", "routes": [{"dealer": "one", "sender_key": "KEY-bad"}]},
                "club": {"name": "봉수", "routes": [{"dealer": "one", "sender_key": "KEY-good"}]},
            },
        }
    )


def test_the_senders_of_a_dealer_name_their_profiles() -> None:
    assert senders_of(configured(), "one") == (
        {"KEY-good": ["shop", "club"], "KEY-bad": ["cafe"]},
        {"0212345678": ["shop"]},
    )
    assert senders_of(configured(), "two") == ({"KEY-two": ["shop"]}, {})


async def test_a_check_names_what_is_wrong_and_whom_it_concerns() -> None:
    dealers: dict[str, Dealer] = {"one": Checking("one"), "two": Silent("two")}
    found = await check_dealers(configured(), dealers, timeout_seconds=0.01)
    assert found == [
        Finding("one", "credentials", (), ok=True, detail=""),
        Finding("one", "sender key KEY-…", ("shop", "club"), ok=True, detail=""),
        Finding("one", "sender key KEY-…", ("cafe",), ok=False, detail=""),
        Finding("one", "sender number 0212345678", ("shop",), ok=None, detail="no call"),
        Finding("one", "receipts", (), ok=True, detail="proved by each call"),
        Finding("two", "account", (), ok=False, detail="no answer in time"),
        Finding("two", "receipts", (), ok=True, detail="proved by each call"),
    ]
    [broken, *_] = await check_dealers(configured(), {"one": Broken("one")}, timeout_seconds=1)
    assert (broken.ok, broken.detail) == (False, "ZeroDivisionError")


@pytest.mark.parametrize(
    ("receipts", "ok"),
    [
        pytest.param({}, False, id="anybody"),
        pytest.param({"addresses": ["203.0.113.9/32"]}, None, id="addresses-alone"),
        pytest.param({"token": "q9-k2_Zr0aB7uLx4"}, True, id="a-secret-path"),
    ],
)
async def test_a_door_that_anybody_may_knock_at_is_wrong(receipts: dict[str, Any], *, ok: bool | None) -> None:
    dealer = Unproved("one")
    [found] = await check_dealers(configured(receipts=receipts), {"one": dealer}, timeout_seconds=1)
    assert (found.what, found.ok) == ("receipts", ok)
