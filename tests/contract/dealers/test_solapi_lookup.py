"""What a lookup may claim, and when it must not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from shared.dealers.base import (
    LookupResult,
    NotFound,
    NotTakenForSure,
    OpenAttempt,
    Report,
    StillUnknown,
)
from tests.contract.dealers.fake_gateway import (
    CUT,
    GROUP,
    SILENCE,
    FakeGateway,
    Reply,
    Request,
    attempt,
    group,
    page,
    stored,
)

if TYPE_CHECKING:
    from shared.dealers.solapi.adapter import Solapi
    from tests.contract.dealers.conftest import Connect

GET = f"GET /messages/v4/groups/{GROUP}"
DELETE = f"DELETE /messages/v4/groups/{GROUP}"
LIST = f"GET /messages/v4/groups/{GROUP}/messages"
BY_ID = "GET /messages/v4/list"

SENT = "2026-11-23T00:00:01.000Z"
PENDING = Reply(json=group("PENDING"))
DELETED = Reply(json=group("DELETED"))
SENDING = Reply(json=group("SENDING", dateSent=SENT, count={"total": 2}))
COMPLETE = Reply(json=group("COMPLETE", dateSent=SENT, count={"total": 0, "registeredSuccess": 2}))
MISSING = Reply(404, {"errorCode": "ResourceNotFound", "errorMessage": "…"})


async def one(dealer: Solapi, of: OpenAttempt | None = None) -> LookupResult:
    [result] = await dealer.lookup([of or attempt(1)])
    return result


async def test_nothing_goes_out_before_a_group_is_opened(dealer: Solapi, fake: FakeGateway) -> None:
    assert isinstance(await one(dealer, attempt(1, handle=None)), NotTakenForSure)
    assert fake.requests == []


# -- a group that was not sent -----------------------------------------------------------------------------------


async def test_a_group_that_was_not_sent_is_closed_before_it_is_said(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, PENDING)
    fake.on(DELETE, DELETED)
    results = await dealer.lookup([attempt(1), attempt(2)])
    assert [type(result) for result in results] == [NotTakenForSure, NotTakenForSure]
    assert fake.lines() == [GET, DELETE]


async def test_a_group_deleted_before_was_not_sent(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, DELETED)
    assert isinstance(await one(dealer), NotTakenForSure)


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(Reply(400, {"errorCode": "NotOperationalStatus", "errorMessage": "…"}), id="not-pending"),
        pytest.param(Reply(409, {"errorCode": "GroupInProcessing", "errorMessage": "…"}), id="processing"),
        pytest.param(Reply(json=group("DELETED", dateSent=SENT)), id="deleted-but-sent"),
        pytest.param(Reply(json=group("SENDING", dateSent=SENT)), id="sending"),
        pytest.param(Reply(raw=b"{}"), id="says-nothing"),
    ],
)
async def test_a_group_that_was_sent_meanwhile_is_read_again(dealer: Solapi, fake: FakeGateway, refused: Reply) -> None:
    fake.on(GET, PENDING, SENDING)
    fake.on(DELETE, refused)
    fake.on(LIST, page([stored(1, "3000")]))
    result = await one(dealer)
    assert isinstance(result, Report)
    assert (result.delivered, result.dealer_message_id, result.code) == (None, "M4V0001", "3000")
    assert fake.lines() == [GET, DELETE, GET, LIST]


async def test_a_group_that_cannot_be_closed_stays_unknown(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, PENDING)  # the list lags behind
    fake.on(DELETE, Reply(400, {"errorCode": "NotOperationalStatus"}))
    assert isinstance(await one(dealer), StillUnknown)


@pytest.mark.parametrize("lost", [CUT, Reply(500, {}), Reply(429, {}), Reply(403, {})])
async def test_a_deletion_whose_answer_is_lost_proves_nothing(dealer: Solapi, fake: FakeGateway, lost: Reply) -> None:
    fake.on(GET, PENDING)
    fake.on(DELETE, lost)
    assert isinstance(await one(dealer), StillUnknown)
    assert fake.lines() == [GET, DELETE]


async def test_a_deleted_group_that_was_sent_is_asked_for_its_messages(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, Reply(json=group("DELETED", dateSent=SENT)))
    fake.on(LIST, page([stored(1, "4000")]))
    results = await dealer.lookup([attempt(1), attempt(2)])
    assert isinstance(results[0], Report)
    assert isinstance(results[1], NotFound)


async def test_a_failed_group_never_sends_what_waits_in_it(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, Reply(json=group("FAILED")))
    fake.on(LIST, page([stored(1, "2000"), stored(2, "1042"), stored(3, "4000")]))
    waiting, refused, delivered, absent = await dealer.lookup([attempt(n) for n in range(1, 5)])
    assert isinstance(waiting, NotTakenForSure)
    assert isinstance(refused, Report)
    assert refused.reason == "template_not_found"
    assert isinstance(delivered, Report)
    assert delivered.delivered is True
    assert isinstance(absent, NotTakenForSure)


# -- a group that was sent ---------------------------------------------------------------------------------------


async def test_messages_of_a_sent_group_are_reported_by_our_key(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, SENDING)
    fake.on(
        LIST,
        page([stored(1, "2000"), stored(2, "4000", dateReceived="2026-11-23T09:00:04+09:00")], "M4V0002"),
        page([stored(3, "3104"), stored(4, "3999"), stored(5, "1042")]),
    )
    results = await dealer.lookup([attempt(n) for n in (5, 4, 3, 2, 1)])
    said = [(r.delivered, r.reason, r.request_key) for r in results if isinstance(r, Report)]
    assert said == [
        (False, "template_not_found", "key-5"),
        (False, "unknown", "key-4"),
        (False, "not_kakao_user", "key-3"),
        (True, None, "key-2"),
        (None, None, "key-1"),
    ]
    delivered = results[3]
    assert isinstance(delivered, Report)
    assert delivered.at == datetime(2026, 11, 23, 0, 0, 4, tzinfo=UTC)
    assert b'"M4V0002"' in delivered.raw
    assert [request.query("startKey") for request in fake.requests if request.line == LIST] == [[], ["M4V0002"]]


async def test_what_a_complete_group_does_not_have_was_not_taken(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, COMPLETE)
    fake.on(LIST, page([stored(1, "4000"), stored(2, "4000")]))
    results = await dealer.lookup([attempt(2), attempt(3)])
    assert isinstance(results[0], Report)
    assert isinstance(results[1], NotTakenForSure)


@pytest.mark.parametrize(
    ("state", "listed"),
    [
        pytest.param(SENDING, page([stored(1, "3000"), stored(2, "3000")]), id="still-sending"),
        pytest.param(COMPLETE, page([stored(1, "4000")]), id="its-list-lags"),
        pytest.param(Reply(json=group("COMPLETE", dateSent=SENT)), page([stored(1, "4000")]), id="no-count"),
        pytest.param(COMPLETE, page([stored(1, "4000"), stored(2, "4000")], "more"), id="more-pages"),
        pytest.param(COMPLETE, page([stored(1, "4000"), stored(2, "4000", customFields=None)]), id="one-names-no-key"),
        pytest.param(Reply(json=group("SOMETHING_NEW")), page([]), id="unknown-state"),
    ],
)
async def test_a_list_that_lacks_it_proves_nothing(
    dealer: Solapi, fake: FakeGateway, state: Reply, listed: Reply
) -> None:
    fake.on(GET, state)
    fake.on(LIST, listed)
    assert isinstance(await one(dealer, attempt(3)), NotFound)


async def test_a_group_nobody_knows_is_not_found(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, MISSING)
    assert isinstance(await one(dealer), NotFound)


async def test_pages_come_to_an_end(dealer: Solapi, fake: FakeGateway) -> None:
    pages = iter(range(1000))

    def endless(_request: Request) -> Reply:
        n = next(pages)
        return page([stored(1000 + n, "3000")], f"next-{n}")

    fake.on(GET, SENDING)
    fake.on(LIST, endless)
    assert isinstance(await one(dealer), NotFound)
    assert len(fake.requests) < 30


async def test_a_message_listed_twice_counts_as_what_reached_the_person(dealer: Solapi, fake: FakeGateway) -> None:
    other = stored(1, "3104", messageId="M4V0009")[1]
    fake.on(GET, SENDING)
    fake.on(LIST, page([stored(1, "4000"), ("M4V0009", other)]))
    result = await one(dealer)
    assert isinstance(result, Report)
    assert result.delivered is True


# -- by the dealer's id ------------------------------------------------------------------------------------------


async def test_accepted_messages_are_asked_for_by_their_ids(dealer: Solapi, fake: FakeGateway) -> None:
    asked: list[list[str]] = []

    def listed(request: Request) -> Reply:
        ids = request.query("messageIds[in]")
        asked.append(ids)
        return page([stored(int(identifier[3:]), "4000", customFields={}) for identifier in ids])

    fake.on(BY_ID, listed)
    results = await dealer.lookup([attempt(n, dealer_message_id=f"M4V{n:04}") for n in range(1, 251)])
    keys = [result.request_key for result in results if isinstance(result, Report) and result.delivered]
    assert keys == [f"key-{n}" for n in range(1, 251)]
    assert [len(ids) for ids in asked] == [100, 100, 50]


async def test_an_accepted_message_that_the_list_lacks_is_looked_for_in_its_group(
    dealer: Solapi, fake: FakeGateway
) -> None:
    fake.on(BY_ID, page([]))
    fake.on(GET, SENDING)
    fake.on(LIST, page([stored(1, "4000", customFields=None)]))
    results = await dealer.lookup(
        [attempt(1, dealer_message_id="M4V0001"), attempt(2, handle=None, dealer_message_id="M4V0002")]
    )
    assert isinstance(results[0], Report)
    assert results[0].request_key == "key-1"
    assert isinstance(results[1], NotFound)


# -- when the gateway cannot be asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Reply(429, {"message": "…"}, {"x-retry-after": "4"}), id="429"),
        pytest.param(Reply(500, {}), id="500"),
        pytest.param(Reply(403, {"errorCode": "InvalidAPIKey"}), id="403"),
        pytest.param(Reply(400, {"errorCode": "ValidationError"}), id="400"),
        pytest.param(Reply(raw=b"<html>"), id="no-json"),
        pytest.param(CUT, id="cut"),
    ],
)
@pytest.mark.parametrize("line", [GET, LIST, BY_ID])
async def test_trouble_says_nothing_and_stops_the_asking(
    dealer: Solapi, fake: FakeGateway, line: str, trouble: Reply
) -> None:
    fake.on(GET, SENDING)
    fake.on(line, trouble)
    identifier = "M4V0001" if line == BY_ID else None
    others = [attempt(n, handle=f"G4V{n}") for n in range(2, 9)]
    results = await dealer.lookup([attempt(1, dealer_message_id=identifier), *others])
    assert {type(result) for result in results} == {StillUnknown}
    if trouble.status == 429:
        assert {r.retry_after for r in results if isinstance(r, StillUnknown)} == {timedelta(seconds=4)}
    assert fake.lines()[-1] == line


async def test_a_lookup_that_is_never_answered_is_still_unknown(connect: Connect, fake: FakeGateway) -> None:
    fake.on(GET, SILENCE)
    assert isinstance(await one(connect(fake.port, timeout_seconds=0.2)), StillUnknown)


async def test_a_used_signature_is_replaced(dealer: Solapi, fake: FakeGateway) -> None:
    fake.on(GET, Reply(403, {"errorCode": "DuplicatedSignature"}), DELETED)
    assert isinstance(await one(dealer), NotTakenForSure)


async def test_no_more_groups_are_asked_for_than_the_limit_allows(dealer: Solapi, fake: FakeGateway) -> None:
    handles = [f"G4V{n}" for n in range(30)]
    for handle in handles:
        fake.on(f"GET /messages/v4/groups/{handle}", MISSING)
    results = await dealer.lookup([attempt(n, handle=handle) for n, handle in enumerate(handles)])
    assert [type(result) for result in results] == [NotFound] * 20 + [StillUnknown] * 10
