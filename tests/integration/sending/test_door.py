"""The receipt door over HTTP: secret paths, address lists, and floods that hurt nobody."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import msgspec
import pytest
import structlog
from prometheus_client import REGISTRY

from services.dispatcher.api import ReceiptApi, warn_of_open_doors
from services.dispatcher.settings import Settings
from shared.config import Config
from shared.dealers.base import Push, Report
from shared.groups import Groups
from shared.service import Health, make_app
from tests.integration.sending.world import World

TOKEN = "q9-k2_Zr0aB7uLx4"
BODY = msgspec.json.encode([Report("key", "M1", delivered=True, code="4000")])


@asynccontextmanager
async def door(world: World, *, peer: str = "203.0.113.9", **receipts: object) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that calls from ``peer``, of a dispatcher whose dealer has these ``receipts``."""
    raw = world.config.model_dump(by_alias=True, mode="json")
    proxies = receipts.pop("proxies", [])
    raw["dealers"]["solapi"].update({"receipts": receipts, "credentials": {}})
    config = Config.model_validate({**raw, "trusted_proxies": proxies})
    app = make_app("test", Health())
    limit = Settings.model_fields["receipt_body_limit"].default
    api = ReceiptApi(world.sender.dealers, config, Groups(world.receipts.take), limit)
    app.include_router(api.router())
    transport = httpx.ASGITransport(app=app, client=(peer, 1234), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://dispatcher") as client:
        yield client


async def kept(world: World) -> int:
    [row] = await world.rows("SELECT count(*) AS n FROM receipts")
    return int(row["n"])


async def test_only_the_secret_path_takes_receipts(world: World) -> None:
    async with door(world, token=TOKEN) as client:
        for path in ("solapi", "solapi/", f"solapi/{TOKEN[:-1]}x", f"other/{TOKEN}", f"solapi/{TOKEN}/more"):
            answer = await client.post(f"/v1/receipts/{path}", content=BODY)
            assert answer.status_code in {404, 307}, path
            assert TOKEN not in answer.text
        assert await kept(world) == 0
        assert (await client.post(f"/v1/receipts/solapi/{TOKEN}", content=BODY)).status_code == 200
        assert await kept(world) == 1


async def test_a_wrong_token_and_an_unknown_dealer_look_alike(world: World) -> None:
    async with door(world, token=TOKEN) as client:
        wrong = await client.post("/v1/receipts/solapi/wrong", content=BODY)
        unknown = await client.post("/v1/receipts/nobody/wrong", content=BODY)
    assert wrong.json() == unknown.json()
    assert wrong.json()["type"].endswith("/unknown-dealer")


async def test_only_listed_addresses_are_let_in(world: World) -> None:
    listed = ["203.0.113.0/28", "2001:db8::/32"]
    for peer, status in (("203.0.113.9", 200), ("2001:db8::7", 200), ("203.0.113.16", 403), ("127.0.0.1", 403)):
        async with door(world, peer=peer, addresses=listed) as client:
            answer = await client.post("/v1/receipts/solapi", content=BODY)
            assert answer.status_code == status, peer
    assert await kept(world) == 2


async def test_a_forwarded_address_counts_only_behind_our_proxy(world: World) -> None:
    claim = {"X-Forwarded-For": "203.0.113.9"}
    for proxies, status in (([], 403), (["10.0.0.0/8"], 200)):
        async with door(world, peer="10.1.2.3", addresses=["203.0.113.9/32"], proxies=proxies) as client:
            assert (await client.post("/v1/receipts/solapi", content=BODY, headers=claim)).status_code == status


async def test_a_body_over_the_limit_is_refused_and_not_kept(world: World) -> None:
    async with door(world) as client:
        answer = await client.post("/v1/receipts/solapi", content=b"[" + b" " * (4 * 1024 * 1024) + b"]")
    assert answer.status_code == 413
    assert await kept(world) == 0


async def test_the_token_stands_in_no_log_and_no_metric(world: World) -> None:
    """Not even where a mistake of ours is logged."""

    def stumble(*_: object) -> list[Report]:
        raise ZeroDivisionError

    lines = io.StringIO()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(lines), cache_logger_on_first_use=False)
    object.__setattr__(world.dealer, "read_receipts", stumble)
    try:
        async with door(world, token=TOKEN) as client:
            answer = await client.post(f"/v1/receipts/solapi/{TOKEN}", content=BODY)
            metrics = (await client.get("/metrics")).text
    finally:
        structlog.reset_defaults()
    assert answer.status_code == 500
    assert "http.unforeseen" in lines.getvalue()
    assert "/v1/receipts/{dealer}/{token}" in lines.getvalue()
    assert TOKEN not in lines.getvalue() + answer.text + metrics


@pytest.mark.parametrize(
    ("push", "receipts", "warned"),
    [
        pytest.param(Push.OPEN, {}, True, id="anybody"),
        pytest.param(Push.OPEN, {"addresses": ["203.0.113.9/32"]}, True, id="addresses-alone"),
        pytest.param(Push.OPEN, {"token": TOKEN}, False, id="a-secret-path"),
        pytest.param(Push.SIGNED, {}, False, id="signed"),
        pytest.param(Push.NONE, {}, False, id="none-pushed"),
    ],
)
def test_a_door_that_stands_open_is_said_loudly(
    world: World, push: Push, receipts: dict[str, object], *, warned: bool
) -> None:
    raw = world.config.model_dump(by_alias=True, mode="json")
    raw["dealers"]["solapi"].update({"receipts": receipts, "credentials": {}})
    capabilities = replace(world.dealer.capabilities, push=push)
    dealer = type("Pushing", (type(world.dealer),), {"capabilities": capabilities})()
    with structlog.testing.capture_logs() as logs:
        warn_of_open_doors({"solapi": dealer}, Config.model_validate(raw))
    assert [line["log_level"] for line in logs if line["event"] == "receipts.door_open"] == ["error"] * warned
    assert REGISTRY.get_sample_value("bongsu_dispatcher_receipt_doors_open", {"dealer": "solapi"}) == float(warned)
