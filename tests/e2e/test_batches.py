"""``POST /v1/events`` beyond one structured event: arrays, streams of lines, and attributes in headers.

Against ``python -m services.ingest``, as a process of its own over a real Postgres.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.db.engine import engine_for
from shared.http.problems import TYPES
from tests.integration.ingest.parts import make_data, make_event
from tests.integration.ingest.process import Service, prepared_database, running

BATCH = "application/cloudevents-batch+json"
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def service(postgres_url: str) -> Iterator[Service]:
    with (
        prepared_database(postgres_url) as url,
        tempfile.TemporaryDirectory(prefix="bongsu-batches-") as directory,
        running(url, Path(directory)) as service,
    ):
        yield service


def shop(id_: str | None = None, **changed: object) -> bytes:
    """An event of the shop, by default with an id of its own."""
    return make_event(id_ or str(uuid4()), **{"profile": "shop", **changed})


def array(*events: bytes) -> bytes:
    return b"[" + b",".join(events) + b"]"


WRONG = shop(data=make_data("02-312-3456"))


async def test_a_batch_is_answered_in_order_and_one_bad_event_refuses_no_other(service: Service) -> None:
    same = shop("twice")
    answer = await service.post(array(shop(), WRONG, same, b"7", same), Content_Type=BATCH)
    assert answer.status == 207
    assert [each["status"] for each in answer.body] == [202, 422, 202, 422, 202]
    assert [each.get("duplicate") for each in answer.body] == [False, None, False, None, True]
    assert answer.body[1]["type"] == TYPES + "phone-not-reachable"
    assert answer.body[1]["pointer"] == "/data/recipient/phone"
    assert answer.body[3]["type"] == TYPES + "not-an-event"
    assert answer.body[2]["messages"] == answer.body[4]["messages"]


async def test_a_batch_of_which_all_are_accepted_is_202(service: Service) -> None:
    assert (await service.post(array(*(shop() for _ in range(3))), Content_Type=BATCH)).status == 202
    empty = await service.post(b"[]", Content_Type=BATCH)
    assert (empty.status, empty.body) == (202, [])


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b"[{]", b'[{"a": 1},]'])
async def test_what_is_no_array_is_refused_whole(service: Service, body: bytes) -> None:
    before = await service.counts()
    answer = await service.post(body, Content_Type=BATCH)
    assert (answer.status, answer.body["type"]) == (400, TYPES + "broken-json")
    assert await service.counts() == before


async def test_what_was_accepted_once_stays_so_in_a_batch(service: Service) -> None:
    await service.post(shop("once"))
    answer = await service.post(array(shop("once", profile="gone"), shop("new", profile="gone")), Content_Type=BATCH)
    assert [each["status"] for each in answer.body] == [202, 422]
    assert answer.body[0]["duplicate"]


async def test_a_key_replays_the_answer_of_a_batch_and_refuses_another(service: Service) -> None:
    key, body = str(uuid4()), array(shop(), WRONG)
    first = await service.post(body, Content_Type=BATCH, Idempotency_Key=key)
    before = await service.counts()
    again = await service.post(body, Content_Type=BATCH, Idempotency_Key=key)
    assert (again.status, again.body) == (first.status, first.body) == (207, first.body)
    other = await service.post(array(shop()), Content_Type=BATCH, Idempotency_Key=key)
    assert (other.status, other.body["type"]) == (422, TYPES + "idempotency-key-reused")
    assert await service.counts() == before


async def test_a_batch_that_was_cut_off_goes_on_under_its_key(service: Service) -> None:
    key, body = str(uuid4()), array(shop("cut-1"), shop("cut-2"))
    first = await service.post(body, Content_Type=BATCH, Idempotency_Key=key)
    engine = engine_for(service.database_url, pool_size=1)
    async with engine.begin() as connection:  # as if the process had died before it could keep the answer
        await connection.execute(
            text("UPDATE idempotency_keys SET response = '' WHERE response = :was"),
            {"was": json.dumps(first.body, separators=(",", ":")).encode()},
        )
    await engine.dispose()
    again = await service.post(body, Content_Type=BATCH, Idempotency_Key=key)
    assert [each["duplicate"] for each in again.body] == [True, True]
    assert [each["messages"] for each in again.body] == [each["messages"] for each in first.body]


async def test_lines_are_answered_by_lines_in_order(service: Service) -> None:
    too_long = shop(data=make_data() | {"padding": "x" * 1024 * 1024})
    answer = await service.post(
        b"\n".join([shop(), b"", WRONG, b"{", too_long, shop() + b"\r", shop()]), Content_Type=LINES
    )
    assert answer.status == 200
    kinds = [each.get("type", "").removeprefix(TYPES) for each in answer.body]
    assert kinds == ["", "phone-not-reachable", "broken-json", "body-too-large", "", ""]
    assert [each["status"] for each in answer.body] == [202, 422, 400, 413, 202, 202]


async def test_a_stream_far_over_the_limit_of_a_body_is_taken(service: Service) -> None:
    """Of any length: nothing of it is held but a group of lines."""
    number = 3000
    padding = "x" * 1000

    async def stream() -> AsyncIterator[bytes]:
        for n in range(number):
            yield shop(f"long-{n}", data=make_data() | {"padding": padding}) + b"\n"

    answer = await service.post(stream(), Content_Type=LINES)
    assert [each["status"] for each in answer.body] == [202] * number
    assert len({each["event_id"] for each in answer.body}) == number


async def test_lines_have_no_idempotency_key(service: Service) -> None:
    answer = await service.post(shop(), Content_Type=LINES, Idempotency_Key="k")
    assert (answer.status, answer.body["type"]) == (400, TYPES + "idempotency-key-invalid")
    nothing = await service.post(b"\n\n", Content_Type=LINES)
    assert (nothing.status, nothing.body) == (200, [])


@pytest.mark.parametrize("content_type", [BATCH, LINES])
async def test_messages_to_one_person_stand_in_the_order_of_their_events(service: Service, content_type: str) -> None:
    """Promise P7: also over more events than share a transaction, while others come in between."""
    prefix, number = uuid4().hex, 1200
    phone = f"010-5{uuid4().int % 1000:03}-{uuid4().int % 10000:04}"
    events = [shop(f"{prefix}-{n}", data=make_data(phone)) for n in range(number)]
    body = array(*events) if content_type == BATCH else b"\n".join(events)
    others = asyncio.gather(*(service.post(shop()) for _ in range(50)))
    await service.post(body, Content_Type=content_type)
    await others
    engine = engine_for(service.database_url, pool_size=1)
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT e.source_id FROM transitions t JOIN messages m ON m.id = t.message_id
                JOIN events e ON e.id = m.event_id
                WHERE t.state = 'queued' AND e.source_id LIKE :prefix ORDER BY t.xid, t.position
            """),
            {"prefix": f"{prefix}-%"},
        )
        assert list(rows.scalars()) == [f"{prefix}-{n}" for n in range(number)]
    await engine.dispose()


def in_headers(**changed: str | None) -> dict[str, str | None]:
    attributes = {"specversion": "1.0", "id": str(uuid4()), "source": "/shop", "type": "order.paid", "profile": "shop"}
    named = {f"ce_{name}": value for name, value in {**attributes, **changed}.items() if value is not None}
    return {"Content_Type": "application/json", **named}


async def test_attributes_may_stand_in_headers(service: Service) -> None:
    headers = in_headers(source="/shop/%ED%95%9C")
    data = json.dumps(make_data()).encode()
    first = await service.post(data, **headers)
    assert (first.status, first.body["messages"][0]["rule"]) == (202, "order-paid")
    structured = shop(str(headers["ce_id"]), source="/shop/한")
    assert (await service.post(structured)).body == {**first.body, "duplicate": True}, "it is the same event"


@pytest.mark.parametrize(
    ("headers", "body", "status", "kind"),
    [
        (in_headers(id=None), b"{}", 422, "not-an-event"),
        (in_headers(specversion="0.3"), b"{}", 422, "not-an-event"),
        (in_headers(), b"[]", 422, "not-an-event"),
        (in_headers(), b'{}, "id": "smuggled"', 400, "broken-json"),
        (in_headers(profile="gone"), b"{}", 422, "unknown-profile"),
    ],
)
async def test_wrong_attributes_in_headers_are_refused(
    service: Service, headers: dict[str, str | None], body: bytes, status: int, kind: str
) -> None:
    before = await service.counts()
    answer = await service.post(body, **headers)
    assert (answer.status, answer.body["type"]) == (status, TYPES + kind)
    assert await service.counts() == before


def test_nothing_went_wrong(service: Service) -> None:
    assert "http.unforeseen" not in service.log.read_text()
