"""``/v1/cancellations`` over HTTP: what may be named, what is answered, and once under a key."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from services.dispatcher.handlers import CancelOrdered
from services.ingest.cancelling import CancelApi
from services.ingest.pauses import PauseApi
from shared.http.auth import ApiKeys, ensure_key
from shared.service import Health, make_app
from tests.integration.ingest.parts import CONFIG, Ingest, make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

URL = "/v1/cancellations"
ALL = {"campaign": "autumn", "why": "a wrong price"}


@pytest.fixture
async def http(ingest: Ingest) -> AsyncIterator[httpx.AsyncClient]:
    """A client of these endpoints, with a key."""
    async with ingest.engine.begin() as connection:
        await ensure_key(connection, "an operator", "bk_1", now=ingest.clock.now())
        await ensure_key(connection, "another", "bk_2", now=ingest.clock.now())
    app = make_app("ingest", Health())
    app.include_router(CancelApi(ingest.engine, ApiKeys(ingest.engine), ingest.clock, ingest.intake.births).router())
    app.include_router(PauseApi(ingest.engine, ApiKeys(ingest.engine), CONFIG).router())
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Authorization": "Bearer bk_1"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as client:
        yield client


async def test_a_campaign_is_cancelled_and_its_progress_shown(ingest: Ingest, http: httpx.AsyncClient) -> None:
    for n in range(3):
        await ingest.take(make_event(f"a-{n}", campaign="autumn"), None)
    await ingest.take(make_event("w", campaign="winter"), None)
    await ingest.take(make_event("n"), None)
    ordered = await http.post(URL, json=ALL)
    assert ordered.status_code == 202
    body = ordered.json()
    assert body["filter"] == {"campaign": "autumn"}
    assert (body["by"], body["why"], body["cancelled"], body["through"]) == ("an operator", "a wrong price", 0, False)
    while await CancelOrdered(ingest.engine, ingest.clock)():
        pass
    shown = (await http.get(f"{URL}/{body['id']}")).json()
    assert shown == {**body, "cancelled": 3, "through": True}
    assert (await http.get(URL)).json() == {"cancellations": [shown]}
    rows = await ingest.rows("SELECT campaign, state FROM messages ORDER BY campaign, state")
    assert [tuple(row) for row in rows] == [("autumn", "cancelled")] * 3 + [("winter", "queued"), (None, "queued")]


async def test_what_was_made_before_the_clock_was_set_back_is_meant(ingest: Ingest, http: httpx.AsyncClient) -> None:
    await ingest.take(make_event("a", campaign="autumn"), None)
    ingest.clock.time -= timedelta(minutes=10)
    await http.post(URL, json=ALL)
    await CancelOrdered(ingest.engine, ingest.clock)()
    assert [row.state for row in await ingest.rows("SELECT state FROM messages")] == ["cancelled"]


async def test_the_events_of_a_batch(ingest: Ingest, http: httpx.AsyncClient) -> None:
    await ingest.take(make_event("a"), None)
    await ingest.take(make_event("b"), None)
    [(event,)] = await ingest.rows("SELECT id FROM events WHERE source_id = 'a'")
    await http.post(URL, json={"events": [str(event)], "why": "sent twice by our shop"})
    await CancelOrdered(ingest.engine, ingest.clock)()
    rows = await ingest.rows("SELECT m.state FROM messages m JOIN events e ON e.id = m.event_id ORDER BY e.source_id")
    assert [row.state for row in rows] == ["cancelled", "queued"]


async def test_under_a_key_it_is_ordered_once(ingest: Ingest, http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k-1"}
    first, second = await asyncio.gather(http.post(URL, json=ALL, headers=key), http.post(URL, json=ALL, headers=key))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    other = await http.post(URL, json={**ALL, "campaign": "winter"}, headers=key)
    assert (other.status_code, other.json()["type"].rpartition("/")[2]) == (422, "idempotency-key-reused")
    theirs = await http.post(URL, json=ALL, headers={**key, "Authorization": "Bearer bk_2"})
    assert theirs.json()["id"] != first.json()["id"]
    assert len(await ingest.rows("SELECT 1 FROM cancellations")) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"why": "x"}, "name at least one of"),
        ({"campaign": "autumn"}, "why"),
        ({"campaign": "", "why": "x"}, "campaign"),
        ({"campaign": "a\0", "why": "x"}, "campaign"),
        ({"campaign": "autumn", "why": "x\0"}, "why"),
        ({"campaign": "autumn", "why": "x" * 201}, "why"),
        ({"lane": "slow", "why": "x"}, "lane"),
        ({"events": [], "why": "x"}, "events"),
        ({"events": ["x"], "why": "x"}, "events"),
        ({"dealer": "solapi", "why": "x"}, "dealer"),
        ([], ""),
    ],
)
async def test_a_bad_one_is_refused_and_leaves_nothing(
    ingest: Ingest,
    http: httpx.AsyncClient,
    body: object,
    said: str,
) -> None:
    answer = await http.post(URL, json=body)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("invalid-parameter")
    assert said in answer.json()["detail"]
    assert await ingest.rows("SELECT 1 FROM cancellations") == []


async def test_refusals(http: httpx.AsyncClient) -> None:
    gone = await http.get(f"{URL}/{uuid4()}")
    assert (gone.status_code, gone.json()["type"].rpartition("/")[2]) == (404, "cancellation-not-found")
    assert (await http.get(f"{URL}/x")).status_code == 400
    for method, path in (("GET", URL), ("POST", URL), ("GET", f"{URL}/{uuid4()}")):
        answer = await http.request(method, path, json=ALL, headers={"Authorization": ""})
        assert answer.status_code == 401
    bad = await http.post(URL, json=ALL, headers={"Idempotency-Key": ""})
    assert bad.json()["type"].endswith("idempotency-key-invalid")
    assert (await http.put("/v1/pauses/lane/mass", json={"why": "\0"})).status_code == 422


@pytest.mark.parametrize("campaign", [5, "", "x" * 101, "a\nb"])
async def test_a_campaign_that_is_none_is_refused_with_its_event(ingest: Ingest, campaign: object) -> None:
    refused = await ingest.take(make_event(campaign=campaign), None)
    assert getattr(refused, "pointer", None) == "/campaign"
    assert await ingest.rows("SELECT 1 FROM events") == []
