"""The HTTP answers over real counts, and their refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from services.metrics.api import StatsApi
from services.metrics.domain import slot_of
from services.metrics.handlers import Count, Refresh
from services.metrics.repository import rebuild
from shared.clock import FastClock
from shared.http.auth import ApiKeys, ensure_key, new_key
from shared.service import Health, make_app
from tests.integration.metrics.ledger_of import lives, write
from tests.unit.metrics.stories import BEGIN, Story

Answer = tuple[int, dict[str, Any]]


@dataclass
class Server:
    """Metrics' application over a counted ledger, asked without a network."""

    app: FastAPI
    key: str
    stories: list[Story]

    async def get(self, target: str, *, key: str | None = None) -> Answer:
        parts, body, status = urlsplit(target), bytearray(), 0
        token = self.key if key is None else key

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's own
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(b"authorization", f"Bearer {token}".encode())] if token else [],
            "server": ("test", 80),
            "client": ("test", 1),
            "root_path": "",
        }
        await self.app(scope, receive, send)
        return status, json.loads(body)


@pytest.fixture
async def server(ledger: AsyncEngine) -> Server:
    """Two profiles' lives, counted."""
    key, stories = new_key(), [*lives(120, seed=19), *lives(30, seed=20, profile="cafe")]
    async with ledger.begin() as connection:
        await write(connection, stories)
        await ensure_key(connection, "test", key, now=BEGIN)
    async with ledger.begin() as connection:
        await rebuild(connection)
    app = make_app("test", Health())
    app.include_router(StatsApi(ledger, {"shop": 18, "cafe": 18}, ApiKeys(ledger)).router())
    return Server(app, key, stories)


async def test_slots_add_up_and_show_what_is_pending_apart(server: Server) -> None:
    status, answer = await server.get("/v1/stats/slots")
    assert status == 200
    assert [slot["slot"] for slot in answer["slots"]] == list(range(168))
    assert answer["slots"][9] | {"slot": 9, "weekday": "mon", "hour": 9} == answer["slots"][9]
    attempts = [a for story in server.stories for a in story.attempts]
    total = answer["total"]
    assert total["pending"] == sum(a.state == "sent" for a in attempts) > 0
    assert total["delivered"] == sum(a.state == "delivered" for a in attempts) > 0
    assert total["failed"] + total["not_taken"] == sum(a.state == "failed" for a in attempts)
    not_taken = {"rate_limited", "no_balance"}  # of the reasons in these stories
    assert total["not_taken"] == sum(a.reason in not_taken for a in attempts) > 0
    assert total["sent"] == total["delivered"] + total["failed"] + total["pending"]
    assert total["rate"] == round(total["delivered"] / (total["delivered"] + total["failed"]), 4)
    for name in ("sent", "delivered", "failed", "pending", "uncertain", "not_taken"):
        assert sum(slot[name] for slot in answer["slots"]) == total[name]
    made = {slot_of(a.opened_at) for a in attempts if a.state in {"delivered", "sent"}}
    assert {slot["slot"] for slot in answer["slots"] if slot["delivered"] + slot["pending"]} == made


async def test_the_funnel_adds_up_to_the_messages(server: Server) -> None:
    status, answer = await server.get("/v1/stats/funnel?profile=shop")
    assert status == 200
    shop = [story for story in server.stories if story.message.profile == "shop"]
    assert answer["messages"] == len(shop) == sum(answer["states"].values())
    assert answer["states"]["delivered"] == sum(s.message.state == "delivered" for s in shop)
    assert answer["states"]["awaiting_fallback"] == sum(
        s.message.state == "failed" and not s.message.final for s in shop
    )
    assert sum(answer["delivered_over"].values()) == answer["states"]["delivered"]
    assert answer["fell_back"] == sum(s.fell_back is not None for s in shop) == sum(answer["fell_back_to"].values())
    assert {end["state"] for end in answer["ended"]} <= {"failed", "expired", "cancelled", "suppressed"}


async def test_reasons_are_of_failures_alone(server: Server) -> None:
    status, answer = await server.get("/v1/stats/reasons?channel=alimtalk")
    assert status == 200
    failed = [a for s in server.stories for a in s.attempts if a.state == "failed" and a.channel == "alimtalk"]
    assert answer["failed"] == len(failed) == sum(line["n"] for line in answer["reasons"])
    assert sum(line["share"] for line in answer["reasons"]) == pytest.approx(1, abs=0.001)
    assert [line["n"] for line in answer["reasons"]] == sorted((line["n"] for line in answer["reasons"]), reverse=True)


async def test_costs_are_those_of_the_ledger(server: Server) -> None:
    status, answer = await server.get("/v1/stats/costs")
    assert status == 200
    assert answer["cost_krw"] == sum(s.message.cost_krw for s in server.stories)
    delivered = sum(a.state == "delivered" for s in server.stories for a in s.attempts)
    assert answer["all_sms_krw"] == 18 * delivered
    assert answer["saved_krw"] == answer["all_sms_krw"] - answer["cost_krw"]


@pytest.mark.parametrize(
    ("period", "there"),
    [
        pytest.param("from=2026-11-23&to=2026-11-24", True, id="a-day-in-seoul"),
        pytest.param("from=2026-11-24", False, id="the-day-after"),
        pytest.param("to=2026-11-23", False, id="until-midnight-left-out"),
        pytest.param("from=2026-11-23T17:00:00+09:00", True, id="a-plus-sign-not-escaped"),
        pytest.param("from=2026-11-23T17:00:00%2B09:00&to=2026-11-23T09:00:00Z", True, id="offsets"),
    ],
)
async def test_periods_are_of_hours(server: Server, period: str, there: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    status, answer = await server.get(f"/v1/stats/funnel?{period}")
    assert (status, answer["messages"] > 0) == (200, there)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        pytest.param("channel=pigeon", "channel", id="no-such-channel"),
        pytest.param("chanel=sms", "chanel", id="no-such-parameter"),
        pytest.param("from=yesterday", "want a date", id="not-a-time"),
        pytest.param("from=2026-11-23T09:00:00", "no offset", id="no-offset"),
        pytest.param("from=2026-11-23T09:30:00Z", "whole hour", id="not-a-whole-hour"),
        pytest.param("from=2026-11-23&to=2026-11-23", "later", id="ends-before-it-begins"),
        pytest.param("from=1000000000", "want a date", id="seconds"),
        pytest.param("profile=", "profile", id="empty"),
    ],
)
async def test_refusals_name_the_parameter(server: Server, query: str, says: str) -> None:
    status, problem = await server.get(f"/v1/stats/slots?{query}")
    assert status == 400
    assert problem["type"].endswith("/invalid-parameter")
    assert says in problem["detail"]


@pytest.mark.parametrize("path", ["slots", "funnel", "reasons", "costs"])
async def test_no_figures_without_a_key(server: Server, path: str) -> None:
    for key in ("", "bk_of-somebody-else"):
        status, problem = await server.get(f"/v1/stats/{path}", key=key)
        assert (status, problem["status"]) == (401, 401)


async def test_the_gauges_show_the_tables(server: Server, ledger: AsyncEngine) -> None:
    clock = FastClock(BEGIN, 0, 0.000001)
    count = Count(ledger, clock)
    await Refresh(ledger, clock, {"shop": 18, "cafe": 18}, timedelta(days=7), lambda: count.latest)()
    delivered = [a for s in server.stories for a in s.attempts if a.state == "delivered"]
    shown = REGISTRY.get_sample_value(
        "bongsu_metrics_attempts",
        {"profile": "cafe", "channel": "alimtalk", "dealer": "solapi", "state": "delivered"},
    )
    cafe = {s.message.id for s in server.stories if s.message.profile == "cafe"}
    assert shown == sum(a.message_id in cafe and a.channel == "alimtalk" for a in delivered)
    metric = next(m for m in REGISTRY.collect() if m.name == "bongsu_metrics_slot_delivered")
    assert len(metric.samples) == 168
    assert sum(sample.value for sample in metric.samples) == len(delivered)
    assert REGISTRY.get_sample_value("bongsu_metrics_lag_seconds") == 0
