"""What is certain after each answer of SENS, and that no answer can do more than that."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    AlimTalk,
    Ambiguous,
    ImageUse,
    LookupMeans,
    NotFound,
    NotTaken,
    OpenAttempt,
    Outgoing,
    Push,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Text,
    Uploaded,
)
from shared.dealers.codes import load_table
from shared.dealers.http import Answer, Lost, NotReached, Outcome, Query
from shared.dealers.sens import answers
from shared.dealers.sens.adapter import Sens, capabilities
from shared.dealers.sens.gateway import Gateway
from shared.dealers.templates import TemplateCallFailed, TemplateStatus
from shared.ids import MessageId

NOW = datetime(2026, 11, 23, tzinfo=UTC)
Answering = Callable[[str, Sequence[str], bytes | None], Outcome]


class Scripted(Gateway):
    """A way to a SENS that answers as it is told."""

    def __init__(self, answer: Answering) -> None:
        super().__init__("http://x", access_key="A", secret_key="S", timeout_seconds=1, now=lambda: NOW)
        self.answer = answer
        self.asked: list[str] = []

    async def call(self, method: str, *path: str, body: bytes | None = None, query: Query = ()) -> Outcome:
        self.asked.append(f"{method} {'/'.join(path)}" + "".join(f"?{k}={v}" for k, v in query))
        return self.answer(method, path, body)


def sens(answer: Answering | Outcome, *, texts: bool = True) -> Sens:
    gateway = Scripted(answer if callable(answer) else lambda *_: answer)
    return Sens(
        "sens",
        gateway,
        codes=load_table("shared.dealers.sens"),
        batch=1000,
        service_id="kko",
        sms_service_id="sms" if texts else None,
    )


def alimtalk(n: int) -> Outgoing:
    content = AlimTalk("@shop", "WELCOME", {}, "안녕하세요")
    return Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", Channel.ALIMTALK, f"0101234000{n}", content)


def text(n: int) -> Outgoing:
    return Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", Channel.SMS, f"0101234000{n}", Text("0212345678", "안녕"))


def attempt(n: int, dealer_message_id: str | None, channel: Channel = Channel.ALIMTALK) -> OpenAttempt:
    return OpenAttempt(MessageId(UUID(int=n)), 1, f"key{n}", channel, f"0101234000{n}", None, dealer_message_id, NOW)


def answer(value: object, status: int = 202) -> Answer:
    return Answer(status, value if isinstance(value, bytes) else msgspec.json.encode(value))


def taken(n: int, **fields: object) -> dict[str, object]:
    return {
        "messageId": f"m-{n}",
        "to": f"0101234000{n}",
        "requestStatusCode": "A000",
        "requestStatusName": "success",
        **fields,
    }


def request(*messages: object, **fields: object) -> dict[str, object]:
    return {"requestId": "r-1", "statusCode": "202", "statusName": "success", "messages": messages, **fields}


# -- sending -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(NotReached("refused"), NotTaken("dealer_unavailable", detail="refused"), id="refused"),
        pytest.param(Lost("POST TimeoutError"), Ambiguous("POST TimeoutError"), id="timeout"),
        pytest.param(answer(b"", 500), Ambiguous("HTTP 500"), id="500"),
        pytest.param(answer({"error": {"errorCode": "500"}}, 503), Ambiguous("HTTP 503"), id="503"),
        pytest.param(answer(b"", 302), Ambiguous("HTTP 302"), id="redirect"),
        pytest.param(answer(b"", 409), Ambiguous("HTTP 409"), id="undocumented-4xx"),
        pytest.param(answer(b"", 202), Ambiguous("HTTP 202 with an answer that cannot be read"), id="empty"),
        pytest.param(
            answer(b'{"requestId":"r-1","mess', 202), Ambiguous("HTTP 202 with an answer that cannot be read"), id="cut"
        ),
        pytest.param(
            answer({"error": {"errorCode": "200", "message": "Authentication Failed"}}, 401),
            Refused("auth_failed", "401/200", "Authentication Failed"),
            id="bad-key",
        ),
        pytest.param(
            answer({"error": {"errorCode": "210", "message": "Permission Denied"}}, 401),
            Refused("not_permitted", "401/210", "Permission Denied"),
            id="no-right",
        ),
        pytest.param(
            answer(b"", 403), Refused("auth_failed", "403", "no access, or the project has not this channel"), id="403"
        ),
        pytest.param(
            answer({"status": 400, "errors": ["bad to: 010-1234-5678"]}, 400),
            Refused("invalid_request", "400", "bad to: #"),
            id="bad-request",
        ),
        pytest.param(
            answer({"error": {"errorCode": "410", "message": "Throttle Limited"}}, 429),
            NotTaken("rate_limited", "429/410", "Throttle Limited"),
            id="throttled",
        ),
        pytest.param(
            Answer(429, b"", timedelta(seconds=3)),
            NotTaken("rate_limited", "429", "too many requests", timedelta(seconds=3)),
            id="wait",
        ),
        pytest.param(
            answer({"error": {"errorCode": "777"}}, 401),
            Refused("auth_failed", "401/777", "not authenticated"),
            id="new-code",
        ),
    ],
)
async def test_what_holds_for_a_whole_request(outcome: Outcome, expected: SendResult) -> None:
    assert await sens(outcome).send(None, [alimtalk(1), alimtalk(2)]) == [expected] * 2
    assert await sens(outcome).send(None, [text(1), text(2)]) == [expected] * 2


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        pytest.param(taken(1), Accepted("m-1"), id="taken"),
        pytest.param(taken(1, to="821012340001"), Accepted("m-1"), id="number-with-country"),
        pytest.param(taken(1, messageId=None), Accepted("r-1#0"), id="no-id-of-its-own"),
        pytest.param(taken(1, messageId="x-01012340001"), Accepted("r-1#0"), id="an-id-that-holds-the-number"),
        pytest.param(taken(1, messageId="../../files"), Accepted("r-1#0"), id="an-id-that-leads-away"),
        pytest.param(
            taken(1, requestStatusCode="3016", requestStatusName="fail"),
            Refused("template_mismatch", "3016", "the text differs from the template"),
            id="refused",
        ),
        pytest.param(
            taken(1, requestStatusCode="Z999", requestStatusName="fail"),
            Refused("unknown", "Z999"),
            id="unknown-refusal",
        ),
        pytest.param(
            taken(1, requestStatusCode="Z999"),
            Ambiguous("the answer says Z999 of the recipient", "r-1#0"),
            id="unknown-code",
        ),
        pytest.param(
            taken(1, requestStatusName="fail"),
            Ambiguous("the answer says A000 of the recipient", "r-1#0"),
            id="contradiction",
        ),
        pytest.param(
            taken(1, requestStatusCode="3005", requestStatusName="fail"),
            Ambiguous("the answer says 3005 of the recipient", "r-1#0"),
            id="no-refusal",
        ),
        pytest.param(
            {}, Ambiguous("the answer does not name the recipient, or does so twice", "r-1#0"), id="not-named"
        ),
        pytest.param(
            5, Ambiguous("the answer does not name the recipient, or does so twice", "r-1#0"), id="no-message"
        ),
        pytest.param(
            taken(2), Ambiguous("the answer does not name the recipient, or does so twice", "r-1#0"), id="somebody-else"
        ),
    ],
)
async def test_partial_acceptance_is_per_recipient(mine: object, expected: SendResult) -> None:
    told = answer(request(mine, taken(3)))  # in whatever order
    results = await sens(told).send(None, [alimtalk(1), alimtalk(3)])
    assert results == [expected, Accepted("m-3")]


async def test_a_number_that_is_told_of_twice_is_in_doubt() -> None:
    told = answer(request(taken(1), taken(1, requestStatusCode="3016", requestStatusName="fail"), taken(3)))
    results = await sens(told).send(None, [alimtalk(1), alimtalk(3)])
    assert [type(result) for result in results] == [Ambiguous, Accepted]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(request(), [Accepted("r-1#0"), Accepted("r-1#1")], id="taken"),
        pytest.param(
            request(statusName="fail"),
            [Ambiguous("the answer does not say that the request was taken", f"r-1#{n}") for n in (0, 1)],
            id="fail",
        ),
        pytest.param(
            {"statusCode": "202", "statusName": "success"},
            [Ambiguous("the answer does not say that the request was taken", None)] * 2,
            id="no-request-id",
        ),
        pytest.param({}, [Ambiguous("the answer does not say that the request was taken", None)] * 2, id="nothing"),
    ],
)
async def test_texts_are_taken_as_a_whole(told: object, expected: list[SendResult]) -> None:
    assert await sens(answer(told)).send(None, [text(1), text(2)]) == expected


async def test_without_an_sms_service_there_are_no_texts() -> None:
    dealer = sens(answer(request()), texts=False)
    assert await dealer.send(None, [text(1)]) == [Refused("not_permitted", "", "no sms_service_id is configured")]
    assert dealer.capabilities.channels == {Channel.ALIMTALK, Channel.FRIENDTALK}


async def test_one_bad_message_refuses_no_other() -> None:
    bad = Outgoing(MessageId(UUID(int=9)), 1, "key9", Channel.SMS, "01012340009", Text("02", "😀"))
    results = await sens(answer(request())).send(None, [bad, text(1)])
    assert [type(result) for result in results] == [Refused, Accepted]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["messageId", "to", "requestStatusCode", "requestStatusName", "messageStatusCode", "messageStatusName"]
FIELDS += ["status", "statusCode", "statusName", "completeTime", "requestId", "nextToken", "messages", "error"]
objects = st.dictionaries(
    st.sampled_from(FIELDS), json_values | st.lists(st.dictionaries(st.sampled_from(FIELDS), json_values))
)
hostile = st.binary(max_size=60) | objects.map(msgspec.json.encode) | json_values.map(msgspec.json.encode)


@given(st.integers(200, 599), hostile)
async def test_nothing_is_taken_or_delivered_by_an_answer_that_does_not_say_so(status: int, body: bytes) -> None:
    dealer = sens(Answer(status, body))
    for batch in ([alimtalk(1), alimtalk(2)], [text(1), text(2)]):
        for result in await dealer.send(None, batch):
            if isinstance(result, Accepted):
                assert status in {200, 201, 202}
                assert result.dealer_message_id.isascii()
                assert len(result.dealer_message_id) < 110
                assert batch[0].channel is not Channel.ALIMTALK or b"A000" in body
    asked = [attempt(1, "m-1"), attempt(1, "r-1#0", Channel.SMS), attempt(2, None), attempt(3, "r-1#4")]
    for told in await dealer.lookup(asked):
        if isinstance(told, Report):
            assert told.delivered is not True or b"0" in body
            assert told.code.isascii()
    await dealer.check(["@shop"], ["0212345678"])


# -- looking up --------------------------------------------------------------------------------------------------


def lone(n: int, fields: dict[str, object]) -> dict[str, object]:
    return {"requestId": "r-1", **taken(n), **fields}


def listed(n: int = 1, **fields: object) -> dict[str, object]:
    return {"messageId": f"m-{n}", "to": f"0101234000{n}", "requestId": "r-1", **fields}


@pytest.mark.parametrize(
    ("told", "delivered", "reason"),
    [
        pytest.param({}, None, None, id="accepted-only"),
        pytest.param({"messageStatusName": "processing"}, None, None, id="processing"),
        pytest.param({"messageStatusCode": "0000", "messageStatusName": "success"}, True, None, id="delivered"),
        pytest.param({"messageStatusCode": "0000", "messageStatusName": "fail"}, None, None, id="contradiction"),
        pytest.param({"messageStatusCode": "3019", "messageStatusName": "fail"}, False, "not_kakao_user", id="no-user"),
        pytest.param({"messageStatusCode": "3005", "messageStatusName": "fail"}, None, "delivery_uncertain", id="3005"),
        pytest.param({"messageStatusCode": "3012", "messageStatusName": "fail"}, None, "delivery_uncertain", id="3012"),
        pytest.param({"messageStatusCode": "4001", "messageStatusName": "fail"}, None, None, id="not-known-yet"),
        pytest.param(
            {"messageStatusCode": "7777", "messageStatusName": "fail"}, False, "unknown", id="unknown-failure"
        ),
        pytest.param({"messageStatusCode": "7777", "messageStatusName": "success"}, None, None, id="never-success"),
        pytest.param(
            {"requestStatusCode": "3016", "requestStatusName": "fail"}, False, "template_mismatch", id="request-failed"
        ),
    ],
)
async def test_what_became_of_an_alimtalk(
    told: dict[str, object], *, delivered: bool | None, reason: str | None
) -> None:
    dealer = sens(answer(lone(1, told), 200))
    [report] = await dealer.lookup([attempt(1, "m-1")])
    assert isinstance(report, Report)
    assert (report.request_key, report.dealer_message_id) == ("key1", "m-1")
    assert (report.delivered, report.reason) == (delivered, reason)


@pytest.mark.parametrize(
    ("item", "delivered", "reason"),
    [
        pytest.param({"status": "READY"}, None, None, id="waiting"),
        pytest.param({"status": "PROCESSING", "statusCode": "0"}, None, None, id="processing"),
        pytest.param({"status": "COMPLETED", "statusCode": "0", "statusName": "success"}, True, None, id="delivered"),
        pytest.param({"status": "COMPLETED", "statusCode": 0, "statusName": "success"}, True, None, id="a-number"),
        pytest.param(
            {"status": "COMPLETED", "statusCode": "3001", "statusName": "fail"}, False, "no_subscriber", id="failed"
        ),
        pytest.param(
            {"status": "COMPLETED", "statusCode": "3333", "statusName": "fail"}, False, "unknown", id="unknown"
        ),
        pytest.param(
            {"status": "COMPLETED", "statusCode": "3333", "statusName": "success"}, None, None, id="never-success"
        ),
    ],
)
async def test_what_became_of_a_text(item: dict[str, object], *, delivered: bool | None, reason: str | None) -> None:
    dealer = sens(answer(request(listed(2, status="READY"), listed(1, **item)), 200))
    [report] = await dealer.lookup([attempt(1, "r-1#0", Channel.SMS)])
    assert isinstance(report, Report)
    assert (report.request_key, report.dealer_message_id) == ("key1", "r-1#0")
    assert (report.delivered, report.reason) == (delivered, reason)


async def test_a_list_without_states_leads_to_the_message_itself() -> None:
    def answering(_method: str, path: Sequence[str], _body: bytes | None) -> Outcome:
        if path[-1] == "messages":
            return answer(request(listed(1), listed(2)), 200)
        return answer(request({"to": "x", "status": "COMPLETED", "statusCode": "0", "statusName": "success"}), 200)

    dealer = sens(answering)
    [report] = await dealer.lookup([attempt(2, "r-1#1", Channel.LMS)])
    assert isinstance(report, Report)
    assert report.delivered is True
    gateway = dealer._gateway  # noqa: SLF001 - what it asked
    assert isinstance(gateway, Scripted)
    assert gateway.asked == [
        "GET sms/v2/services/sms/messages?requestId=r-1?pageSize=100",
        "GET sms/v2/services/sms/messages/m-2",
    ]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(answer(b"", 404), StillUnknown("its request is not listed"), id="404"),
        pytest.param(answer(request(), 200), StillUnknown("its request is not listed"), id="empty"),
        pytest.param(answer(request(listed(2)), 200), NotFound("not in the list of its request"), id="others-only"),
        pytest.param(
            answer(request(listed(2), listed(1, to="010****0001")), 200),
            StillUnknown("the list of its request hides numbers"),
            id="masked",
        ),
        pytest.param(
            answer(request(listed(1), listed(1)), 200),
            StillUnknown("its number stands twice in its request"),
            id="twice",
        ),
        pytest.param(answer(b"{", 200), StillUnknown("the list cannot be read"), id="cut"),
        pytest.param(answer(request(nextToken="t"), 200), StillUnknown("its request is not listed"), id="same-page"),
        pytest.param(answer(b"", 401), StillUnknown("the lookup failed: 401 not authenticated"), id="bad-key"),
        pytest.param(
            Answer(429, b"", timedelta(seconds=9)),
            StillUnknown("the lookup failed: too many requests", timedelta(seconds=9)),
            id="throttled",
        ),
        pytest.param(Lost("GET TimeoutError"), StillUnknown("the lookup failed: GET TimeoutError"), id="timeout"),
    ],
)
async def test_a_list_that_does_not_tell(outcome: Outcome, expected: object) -> None:
    assert await sens(outcome).lookup([attempt(1, "r-1#0", Channel.SMS)]) == [expected]


async def test_an_attempt_that_was_never_answered_cannot_be_asked_about() -> None:
    dealer = sens(answer(lone(1, {"messageStatusCode": "0000"}), 200))
    assert await dealer.lookup([attempt(1, None)]) == [StillUnknown("SENS knows messages by its own ids only")]
    gateway = dealer._gateway  # noqa: SLF001 - what it asked
    assert isinstance(gateway, Scripted)
    assert gateway.asked == []


async def test_an_answer_about_another_message_says_nothing() -> None:
    assert await sens(answer(lone(2, {}), 200)).lookup([attempt(1, "m-1")]) == [
        StillUnknown("the answer tells of another message")
    ]
    assert await sens(answer(b"", 404)).lookup([attempt(1, "m-1")]) == [NotFound("no message of this id")]


# -- what else it is asked ----------------------------------------------------------------------------------------


def test_what_it_can_do() -> None:
    can = capabilities(1000, texts=True)
    assert can.max_batch == 100
    assert (can.lookup, can.push, can.receipts_polled) == (LookupMeans.NONE, Push.NONE, True)
    assert can.receipt_deadline.keys() == can.channels


@pytest.mark.parametrize(
    ("channel", "ok"),
    [
        pytest.param({"channelId": "@shop", "channelStatus": "ACTIVE"}, True, id="active"),
        pytest.param({"channelId": "@shop", "channelStatus": "ACTIVE", "isBlock": True}, False, id="blocked"),
        pytest.param({"channelId": "@shop", "channelStatus": "DELETED"}, False, id="deleted"),
        pytest.param({"channelId": "@other", "channelStatus": "ACTIVE"}, False, id="missing"),
    ],
)
async def test_check_reads_the_channels(channel: object, *, ok: bool) -> None:
    checked = await sens(answer([channel], 200)).check(["@shop"], ["0212345678"])
    assert [(one.what, one.ok) for one in checked] == [("credentials", True), ("@shop", ok), ("0212345678", None)]


async def test_check_tells_bad_keys_from_no_answer() -> None:
    assert [one.ok for one in await sens(answer(b"", 401)).check(["@shop"], [])] == [False, None]
    assert [one.ok for one in await sens(NotReached("x")).check(["@shop"], [])] == [None, None]


JPEG = b"\xff\xd8\xff\xe0" + b"0" * 100


@pytest.mark.parametrize(
    ("use", "image", "outcome", "expected"),
    [
        pytest.param(ImageUse.MMS, JPEG, answer({"fileId": "f-1"}, 200), Uploaded("f-1"), id="taken"),
        pytest.param(ImageUse.MMS, b"GIF89a", answer({"fileId": "f-1"}, 200), Refused, id="no-jpeg"),
        pytest.param(ImageUse.MMS, JPEG * 4000, answer({"fileId": "f-1"}, 200), Refused, id="too-large"),
        pytest.param(ImageUse.BRAND, JPEG, answer({"fileId": "f-1"}, 200), Refused, id="not-for-brand"),
        pytest.param(ImageUse.MMS, JPEG, answer(b"{}", 200), NotTaken, id="no-id"),
        pytest.param(ImageUse.MMS, JPEG, answer(b"", 500), NotTaken, id="500"),
        pytest.param(ImageUse.MMS, JPEG, Lost("x"), NotTaken, id="lost"),
    ],
)
async def test_upload(use: ImageUse, image: bytes, outcome: Outcome, expected: object) -> None:
    got = await sens(outcome).upload(use, "any name.png", image)
    assert got == expected or (isinstance(expected, type) and isinstance(got, expected))


async def test_images_of_one_size_are_files_of_two_names() -> None:
    names: list[Any] = []

    def answering(_method: str, _path: Sequence[str], body: bytes | None) -> Outcome:
        names.append(msgspec.json.decode(body or b"{}")["fileName"])
        return answer({"fileId": "f-1"}, 200)

    dealer = sens(answering)
    for image in (JPEG + b"1", JPEG + b"2", JPEG + b"1"):
        await dealer.upload(ImageUse.MMS, "image.jpg", image)
    assert names[0] == names[2] != names[1]
    assert all(len(name) <= 40 and name.endswith(".jpg") for name in names)


@pytest.mark.parametrize(
    ("inspection", "state", "expected"),
    [
        pytest.param("COMPLETE", "ACTIVE", TemplateStatus.APPROVED, id="approved"),
        pytest.param("COMPLETE", "READY", TemplateStatus.APPROVED, id="approved-and-not-used"),
        pytest.param("COMPLETE", "STOP", TemplateStatus.STOPPED, id="stopped"),
        pytest.param("REJECT", "READY", TemplateStatus.REJECTED, id="rejected"),
        pytest.param("INSPECT", "READY", TemplateStatus.INSPECTING, id="inspecting"),
        pytest.param("SOMETHING", "ACTIVE", TemplateStatus.INSPECTING, id="unknown-is-not-approved"),
    ],
)
async def test_a_template(inspection: str, state: str, expected: TemplateStatus) -> None:
    template = {
        "templateCode": "WELCOME",
        "content": "안녕하세요",
        "templateInspectionStatus": inspection,
        "templateStatus": state,
        "comments": [
            {"content": "나중", "createTime": "2026-11-02T00:00:00.000"},
            {"content": "먼저", "createTime": "2026-11-01T00:00:00.000"},
        ],
    }
    for told in ([template], template):
        copy = await sens(answer(told, 200)).templates.get("@shop", "WELCOME")
        assert (copy.status, copy.text, copy.comments) == (expected, "안녕하세요", ("먼저", "나중"))


async def test_templates_that_cannot_be_read_and_calls_that_are_not_there() -> None:
    templates = sens(answer([], 200)).templates
    assert (await templates.get("@shop", "X")).status is TemplateStatus.MISSING
    with pytest.raises(TemplateCallFailed, match="console"):
        await templates.submit("@shop", "X", "")
    for outcome in (answer(b"{", 200), answer(b"", 500), Lost("x"), NotReached("x"), answer(b"", 401)):
        with pytest.raises(TemplateCallFailed):
            await sens(outcome).templates.every("@shop")


def test_every_code_has_a_source_and_success_is_one_code_a_family() -> None:
    folder = Path(answers.__file__).parent
    for name, successes in (("codes.csv", {"0000", "0"}), ("calls.csv", set())):
        rows = list(csv.DictReader((folder / name).read_text(encoding="utf-8").splitlines()))
        assert all(row["source"] and row["text"] for row in rows)
        assert {row["code"] for row in rows if row["outcome"] == "delivered"} == successes
        load_table("shared.dealers.sens", name)


def test_a_code_means_what_its_channel_says() -> None:
    table = load_table("shared.dealers.sens")
    assert table.read("3018", Channel.ALIMTALK).reason == "inactive_kakao_user"
    assert table.read("3018", Channel.LMS).reason == "sender_number_blocked"
    assert table.read("0000", Channel.SMS).delivered is False
