"""What is certain after each answer that NHN, or something on the way, may give."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.config import BadConfig
from shared.contracts.states import Channel
from shared.dealers.base import (
    Accepted,
    Ambiguous,
    Checked,
    ImageUse,
    LookupResult,
    NotFound,
    NotTaken,
    Refused,
    Report,
    SendResult,
    StillUnknown,
    Uploaded,
)
from shared.dealers.nhn import adapter
from shared.dealers.nhn.adapter import Nhn, build
from tests.contract.dealers.fake_gateway import CUT, SILENCE, FakeGateway, Reply
from tests.contract.dealers.nhn.nhn_world import (
    ALIMTALK,
    FIND,
    FIND_SMS,
    REQUEST,
    SEND,
    SEND_BRAND,
    SEND_SMS,
    SHORT,
    account,
    attempt,
    header,
    listed,
    outgoing,
    refused,
    result,
    sent,
    sent_text,
    stored,
)

ONE, TWO, THREE = outgoing(1), outgoing(2), outgoing(3)
SMS = outgoing(4, Channel.SMS)


async def one(nhn: Nhn, fake: FakeGateway, reply: Reply | None, line: str = SEND) -> SendResult:
    fake.on(line, reply)
    [said] = await nhn.send(None, [SMS if line == SEND_SMS else ONE])
    assert fake.lines() == [line]  # once, whatever came
    return said


# -- sending -----------------------------------------------------------------------------------------------------


async def test_acceptance_is_per_recipient(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(SEND, sent(result(3, THREE), result(1, ONE), result(2, TWO, -5000)))
    assert await nhn.send(None, [ONE, TWO, THREE]) == [
        Accepted(f"{REQUEST}/1"),
        Refused("invalid_phone", "-5000", "recipient's number is not valid"),
        Accepted(f"{REQUEST}/3"),
    ]


async def test_a_recipient_that_is_not_named_is_in_doubt(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(SEND, sent(result(1, ONE)))
    taken, doubtful = await nhn.send(None, [ONE, TWO])
    assert isinstance(taken, Accepted)
    assert doubtful == Ambiguous("the answer does not name it")


async def test_a_brand_message_is_known_by_its_place_and_number(nhn: Nhn, fake: FakeGateway) -> None:
    first, second = outgoing(1, Channel.FRIENDTALK), outgoing(2, Channel.FRIENDTALK)
    items = [result(1, first, recipientGroupingKey=None), result(2, first, recipientGroupingKey=None)]
    fake.on(SEND_BRAND, sent(*items))
    taken, doubtful = await nhn.send(None, [first, second])
    assert taken == Accepted(f"{REQUEST}/1")
    assert isinstance(doubtful, Ambiguous)


async def test_texts_are_read_from_their_own_envelope(nhn: Nhn, fake: FakeGateway) -> None:
    other = outgoing(5, Channel.SMS)
    fake.on(SEND_SMS, sent_text(result(1, SMS), result(2, other, -2019)))
    taken, bad = await nhn.send(None, [SMS, other])
    assert taken == Accepted(f"{REQUEST}/1")
    assert bad == Refused("invalid_phone", "-2019", "recipient's number is not valid")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(refused(-1000), Refused("auth_failed", "-1000", "appkey is not valid"), id="key"),
        pytest.param(refused(-3005), Refused("template_not_approved", "-3005", "template is not approved"), id="known"),
        pytest.param(
            refused(-3005, 500), Refused("template_not_approved", "-3005", "template is not approved"), id="500"
        ),
        pytest.param(refused(-7777), Refused("unknown", "-7777", "Failed."), id="unknown"),
        pytest.param(refused(-7777, 401), Refused("auth_failed", "-7777", "Failed."), id="unknown-401"),
        pytest.param(Reply(401), Refused("auth_failed", "HTTP 401"), id="401"),
        pytest.param(Reply(403, raw=b"<html>"), Refused("auth_failed", "HTTP 403"), id="403"),
        pytest.param(
            Reply(404), Refused("invalid_request", "HTTP 404", "not NHN's own answer: is the host right?"), id="404"
        ),
        pytest.param(
            Reply(429, headers={"retry-after": "7"}),
            NotTaken("rate_limited", "HTTP 429", retry_after=timedelta(seconds=7)),
            id="429",
        ),
        pytest.param(refused(-9997, 429), NotTaken("rate_limited", "-9997"), id="429-with-header"),
        pytest.param(
            sent(result(1, ONE, -3049), code=-1031),
            Refused("template_mismatch", "-3049", "parameters differ from the template"),
            id="all-failed",
        ),
        pytest.param(refused(-1031), Refused("unknown", "-1031", "every recipient failed"), id="all-failed-unnamed"),
    ],
)
async def test_what_is_certainly_not_taken(nhn: Nhn, fake: FakeGateway, reply: Reply, expected: SendResult) -> None:
    assert await one(nhn, fake, reply) == expected


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(CUT, id="cut"),
        pytest.param(replace(sent(result(1, ONE)), cut_after=-1), id="cut-in-the-body"),
        pytest.param(Reply(200, raw=b""), id="empty"),
        pytest.param(Reply(200, raw=b'{"header":'), id="half"),
        pytest.param(Reply(200, raw=b"<html>"), id="html"),
        pytest.param(Reply(200, raw=b"[" * 100_000), id="deep"),
        pytest.param(Reply(200, json={"header": {"isSuccessful": "yes", "resultCode": 0}}), id="not-a-boolean"),
        pytest.param(Reply(200, json=header()), id="nothing-but-success"),
        pytest.param(Reply(302, headers={"location": "/elsewhere"}), id="redirect"),
        pytest.param(Reply(408), id="408"),
        pytest.param(Reply(500), id="500"),
        pytest.param(Reply(503, raw=b"Service Unavailable"), id="503"),
        pytest.param(sent(result(1, ONE), status=502), id="success-with-502"),
        pytest.param(refused(-7777, 503), id="unknown-code-with-503"),
        pytest.param(refused(-1005), id="idempotency-key-used"),
        pytest.param(refused(-7000), id="vendor-failed"),
        pytest.param(refused(-9999), id="system-error"),
        pytest.param(sent(result(1, ONE, -9999)), id="system-error-of-one"),
        pytest.param(sent(result(1, ONE), code=-1031), id="all-failed-and-this-one-taken"),
        pytest.param(sent(result(1, ONE), request=None), id="no-request-id"),
        pytest.param(sent(result(1, ONE), request=f"x{ONE.to}"), id="number-in-the-id"),
        pytest.param(sent(result(1, ONE, recipientSeq=None)), id="no-place"),
        pytest.param(sent(result(1, TWO)), id="somebody-else"),
        pytest.param(sent(result(1, ONE, recipientGroupingKey="another")), id="another-key"),
    ],
)
async def test_what_may_have_been_taken(nhn: Nhn, fake: FakeGateway, reply: Reply) -> None:
    assert isinstance(await one(nhn, fake, reply), Ambiguous)


async def test_a_silent_gateway_may_have_taken_it(fake: FakeGateway) -> None:
    dealer = build(account(f"http://127.0.0.1:{fake.port}", timeout_seconds=0.2))
    assert isinstance(await one(dealer, fake, SILENCE), Ambiguous)
    await dealer.close()


async def test_a_queue_that_failed_may_hold_a_part(nhn: Nhn, fake: FakeGateway) -> None:
    assert isinstance(await one(nhn, fake, refused(-2021), SEND_SMS), Ambiguous)


async def test_nobody_listening_is_certain(unused: int) -> None:
    dealer = build(account(f"http://127.0.0.1:{unused}"))
    [said] = await dealer.send(None, [ONE])
    assert isinstance(said, NotTaken)
    assert said.reason == "dealer_unavailable"
    await dealer.close()


async def test_one_request_that_fails_leaves_the_others_alone(nhn: Nhn, fake: FakeGateway) -> None:
    other = outgoing(6, Channel.ALIMTALK, replace(ALIMTALK, template_code="OTHER"))

    def answer(request: object) -> Reply:
        return refused(-3003) if '"OTHER"' in getattr(request, "body", b"").decode() else sent(result(1, ONE))

    fake.on(SEND, answer)
    bad, good = await nhn.send(None, [other, ONE])
    assert isinstance(bad, Refused)
    assert isinstance(good, Accepted)


async def test_what_cannot_be_carried_costs_no_call(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(SEND_SMS, sent_text(result(1, SMS)))
    emoji = outgoing(7, Channel.SMS, replace(SHORT, text="완료 😀"))
    bad, good = await nhn.send(None, [emoji, SMS])
    assert isinstance(bad, Refused)
    assert bad.reason == "content_charset"
    assert isinstance(good, Accepted)
    assert "😀" not in fake.requests[0].body.decode()


async def test_a_request_that_could_not_begin_in_time_does_not(
    nhn: Nhn, fake: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "SEND_WITHIN", 0.0)
    [said] = await nhn.send(None, [ONE])
    assert isinstance(said, NotTaken)
    assert fake.requests == []


# -- accounts ----------------------------------------------------------------------------------------------------


async def test_an_account_without_sms_keys_sends_no_texts(fake: FakeGateway) -> None:
    dealer = build(account(f"http://127.0.0.1:{fake.port}", credentials={"appkey": "A", "secret_key": "secret-a"}))
    assert dealer.capabilities.channels == {Channel.ALIMTALK, Channel.FRIENDTALK}
    [said] = await dealer.send(None, [SMS])
    assert isinstance(said, Refused)
    assert said.reason == "not_permitted"
    assert isinstance(await dealer.upload(ImageUse.MMS, "a.jpg", b"\xff\xd8"), Refused)
    await dealer.close()
    assert fake.requests == []


def test_half_of_the_sms_keys_is_a_mistake() -> None:
    with pytest.raises(BadConfig, match=r"dealers\.nhn\.credentials: sms_appkey and sms_secret_key go together"):
        build(account("https://nhn.example", credentials={"appkey": "A", "secret_key": "S", "sms_appkey": "B"}))


async def test_texts_go_to_their_own_host(fake: FakeGateway, unused: int) -> None:
    dealer = build(account(f"http://127.0.0.1:{unused}", urls={"sms": f"http://127.0.0.1:{fake.port}"}))
    fake.on(SEND_SMS, sent_text(result(1, SMS)))
    assert await dealer.send(None, [SMS]) == [Accepted(f"{REQUEST}/1")]
    assert fake.requests[0].headers["x-secret-key"] == "secret-b"
    await dealer.close()


async def test_checks_say_what_is_wrong(nhn: Nhn, fake: FakeGateway) -> None:
    sender = {"status": "YSC03", "kakaoStatus": "A", "kakaoProfileStatus": "A", "initialUserRestriction": True}
    base = "GET /alimtalk/v2.3/appkeys/A/senders"
    fake.on(f"{base}/GOOD", Reply(json={**header(), "sender": sender}))
    fake.on(f"{base}/BAD", Reply(json={**header(), "sender": {**sender, "kakaoProfileStatus": "B", "dormant": True}}))
    fake.on(f"{base}/NONE", refused(-2017))
    fake.on(f"{base}/DOWN", Reply(503))
    numbers = [{"sendNo": "0212345678", "useYn": "Y", "blockYn": "N"}, {"sendNo": "15990000", "blockYn": "Y"}]
    fake.on("GET /sms/v3.0/appKeys/B/sendNos", Reply(json={**header(), "body": {"data": numbers}}))
    checked = await nhn.check(["GOOD", "BAD", "NONE", "DOWN"], ["0212345678", "15990000", "0310000000"])
    assert [(check.what, check.ok) for check in checked] == [
        ("GOOD", True),
        ("BAD", False),
        ("NONE", False),
        ("DOWN", None),
        ("0212345678", True),
        ("15990000", False),
        ("0310000000", False),
    ]
    assert "newcomer" in checked[0].detail
    assert checked[2] == Checked("NONE", ok=False, detail="-2017: no such profile")


async def test_uploads(nhn: Nhn, fake: FakeGateway) -> None:
    line = "POST /brand-message/v1.0/appkeys/A/images"
    fake.on(line, Reply(json={**header(), "image": {"imageUrl": "https://a.example/1.png"}}), refused(-8001), CUT)
    picture = b"\x89PNG\r\n"
    assert await nhn.upload(ImageUse.BRAND, "a.png", picture) == Uploaded("https://a.example/1.png")
    assert b'name="imageType"' in fake.requests[0].body
    refusal = await nhn.upload(ImageUse.BRAND, "a.png", picture)
    assert refusal == Refused("invalid_attachment", "-8001", "image is not valid")
    assert isinstance(await nhn.upload(ImageUse.BRAND, "a.png", picture), NotTaken)
    for use, image in ((ImageUse.MMS, picture), (ImageUse.MMS, b"\xff\xd8" * 200_000), (ImageUse.BRAND, b"GIF89a")):
        bad = await nhn.upload(use, "a", image)
        assert isinstance(bad, Refused)
        assert bad.reason == "invalid_attachment"
    assert len(fake.requests) == 3


# -- lookups -----------------------------------------------------------------------------------------------------


async def found(nhn: Nhn, fake: FakeGateway, reply: Reply | None) -> LookupResult:
    fake.on(FIND, reply)
    [said] = await nhn.lookup([attempt(ONE)])
    return said


async def test_a_message_is_found_by_our_key(nhn: Nhn, fake: FakeGateway) -> None:
    said = await found(nhn, fake, listed(stored(ONE, 1, "1000")))
    assert isinstance(said, Report)
    assert (said.request_key, said.dealer_message_id, said.delivered) == (ONE.request_key, f"{REQUEST}/1", True)
    assert said.at == datetime(2026, 11, 23, 0, 0, 2, tzinfo=UTC)
    assert fake.requests[0].query("recipientGroupingKey") == [ONE.request_key]


@pytest.mark.parametrize(
    ("code", "fields", "delivered", "reason"),
    [
        (None, {}, None, None),
        ("1000", {}, True, None),
        ("1000", {"messageStatus": "FAILED"}, None, None),
        ("3005", {}, None, "delivery_uncertain"),
        ("3018", {"messageStatus": "FAILED"}, False, "inactive_kakao_user"),
        (None, {"messageStatus": "CANCEL"}, False, "cancelled"),
        ("-3049", {"messageStatus": "FAILED"}, False, "template_mismatch"),
        ("-9999", {"messageStatus": "FAILED"}, False, "unknown"),
        ("5555", {}, False, "unknown"),
    ],
)
async def test_what_a_stored_message_says(
    nhn: Nhn,
    fake: FakeGateway,
    code: str | None,
    fields: dict[str, object],
    delivered: bool | None,  # noqa: FBT001 - a row
    reason: str | None,
) -> None:
    said = await found(nhn, fake, listed(stored(ONE, 1, code, **fields)))
    assert isinstance(said, Report)
    assert (said.delivered, said.reason) == (delivered, reason)


async def test_of_two_messages_under_one_key_a_delivered_one_counts(nhn: Nhn, fake: FakeGateway) -> None:
    said = await found(nhn, fake, listed(stored(ONE, 1, "3018"), stored(ONE, 2, "1000"), stored(ONE, 3, None)))
    assert isinstance(said, Report)
    assert (said.delivered, said.dealer_message_id) == (True, f"{REQUEST}/2")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(listed(), NotFound, id="nothing"),
        pytest.param(listed(stored(TWO, 1, "1000")), StillUnknown, id="filter-ignored"),
        pytest.param(listed(total=1), StillUnknown, id="counted-and-not-shown"),
        pytest.param(Reply(json=header()), StillUnknown, id="no-list"),
        pytest.param(replace(listed(), cut_after=-1), StillUnknown, id="cut"),
        pytest.param(CUT, StillUnknown, id="lost"),
        pytest.param(refused(-4003), StillUnknown, id="refused"),
        pytest.param(refused(-1001), StillUnknown, id="key"),
        pytest.param(Reply(429, headers={"retry-after": "3"}), StillUnknown, id="429"),
        pytest.param(Reply(404), StillUnknown, id="404"),
        pytest.param(replace(listed(), status=503), StillUnknown, id="503"),
    ],
)
async def test_not_found_is_said_only_of_a_search_that_worked(
    nhn: Nhn, fake: FakeGateway, reply: Reply, kind: type[LookupResult]
) -> None:
    assert isinstance(await found(nhn, fake, reply), kind)


async def test_the_messages_of_a_request_are_read_by_one_call(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(FIND, listed(stored(TWO, 2, "3019"), stored(ONE, 1, "1000"), stored(THREE, 4, "1000")))
    ids = [attempt(message, f"{REQUEST}/{n}") for n, message in enumerate((ONE, TWO, THREE), 1)]
    delivered, failed, missing = await nhn.lookup(ids)
    assert isinstance(delivered, Report)
    assert delivered.delivered is True
    assert isinstance(failed, Report)
    assert failed.reason == "not_kakao_user"
    assert isinstance(missing, NotFound)
    assert len(fake.requests) == 1


async def test_an_id_that_turns_out_to_be_anothers_tells_nothing(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(f"{FIND}/{REQUEST}/1", Reply(json={**header(), "message": stored(TWO, 1, "1000")}))
    assert await nhn.lookup([attempt(ONE, f"{REQUEST}/1")]) == [NotFound("no such message under NHN's id")]


async def test_one_that_is_gone_is_not_found_by_its_id(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(f"{FIND}/{REQUEST}/1", refused(-1016))
    fake.on(f"{FIND_SMS}/{REQUEST}", Reply(json={**header(), "body": {"data": None}}))
    said = await nhn.lookup([attempt(ONE, f"{REQUEST}/1"), attempt(SMS, f"{REQUEST}/1")])
    assert [type(result) for result in said] == [NotFound, NotFound]


async def test_after_a_trouble_of_all_nothing_more_is_asked(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(FIND, listed(stored(ONE, 1, "1000")), Reply(503))
    first, second, third = await nhn.lookup([attempt(ONE), attempt(TWO), attempt(THREE)])
    assert isinstance(first, Report)
    assert isinstance(second, StillUnknown)
    assert isinstance(third, StillUnknown)
    assert len(fake.requests) == 2


async def test_a_trouble_of_one_does_not_keep_the_others_waiting(nhn: Nhn, fake: FakeGateway) -> None:
    fake.on(FIND, refused(-4017), listed(stored(TWO, 1, "1000")))
    first, second = await nhn.lookup([attempt(ONE), attempt(TWO)])
    assert isinstance(first, StillUnknown)
    assert isinstance(second, Report)
