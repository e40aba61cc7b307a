"""What SENS is told, and what is refused before it is told anything."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.states import Channel
from shared.dealers.base import (
    AlimTalk,
    BrandMessage,
    Button,
    Content,
    Item,
    Links,
    Outgoing,
    QuickReply,
    Refused,
    Text,
)
from shared.dealers.sens import wire
from shared.dealers.sens.gateway import signature
from shared.ids import MessageId


def outgoing(content: Content, channel: Channel = Channel.ALIMTALK, to: str = "01012345678", n: int = 1) -> Outgoing:
    return Outgoing(MessageId(UUID(int=n)), 1, f"key{n}", channel, to, content)


def alimtalk(**fields: Any) -> AlimTalk:  # noqa: ANN401 - its fields
    return AlimTalk("@shop", "WELCOME", {}, **{"text": "안녕하세요", **fields})


def body(*some: Outgoing) -> Any:  # noqa: ANN401 - JSON
    return msgspec.json.decode(wire.encode(some))


def test_the_signature_that_the_documents_describe() -> None:
    # computed by openssl dgst -sha256 -hmac SECRET
    assert (
        signature(
            "SECRET",
            method="POST",
            target="/sms/v2/services/ncp:sms:kr:1:shop/messages",
            timestamp="1521787414578",
            access_key="ACCESS",
        )
        == "J9Tsv0cdeLtOlgqu8tgDpMwpnNbIJOB3XOUsgWHl+3U="
    )


def test_the_dealers_own_failover_is_off_in_every_message_to_kakao() -> None:
    brand = outgoing(BrandMessage("@shop", "광고"), Channel.FRIENDTALK)
    for one in (outgoing(alimtalk()), brand):
        assert [message["useSmsFailover"] for message in body(one)["messages"]] == [False]


@given(st.lists(st.tuples(st.sampled_from(["010", "011", "016"]), st.sampled_from(["@a", "@b"])), max_size=250))
def test_a_batch_leaves_once_in_order_and_names_no_number_twice_in_a_request(rows: list[tuple[str, str]]) -> None:
    batch = [outgoing(AlimTalk(channel, "T", {}, str(n)), to=to, n=n + 1) for n, (to, channel) in enumerate(rows)]
    sent: list[Outgoing] = []
    for calls in wire.waves(batch):
        for call in calls:
            numbers = [message["to"] for message in msgspec.json.decode(call.body)["messages"]]
            assert numbers == [one.to for one in call.some]
            assert 0 < len(numbers) == len(set(numbers)) <= wire.MAX_RECIPIENTS
        sent += [one for call in calls for one in call.some]
    assert sorted(sent, key=lambda one: one.message_id.int) == batch
    for number in {one.to for one in batch}:
        assert [one for one in sent if one.to == number] == [one for one in batch if one.to == number]


def test_a_request_holds_a_hundred() -> None:
    batch = [outgoing(alimtalk(), to=f"0101{n:07}", n=n + 1) for n in range(250)]
    assert [[len(call.some) for call in calls] for calls in wire.waves(batch)] == [[100, 100, 50]]


def test_texts_of_two_senders_are_two_requests() -> None:
    batch = [
        outgoing(Text(sender, "안녕"), Channel.SMS, f"0101000000{n}", n + 1)
        for n, sender in enumerate(["02-123-4567", "0310000000", "02-123-4567"])
    ]
    [calls] = wire.waves(batch)
    told = [msgspec.json.decode(call.body) for call in calls]
    assert [(one["from"], len(one["messages"])) for one in told] == [("021234567", 2), ("0310000000", 1)]


def test_an_sms_has_no_subject() -> None:
    one = outgoing(Text("0212345678", "안녕", subject="제목"), Channel.SMS)
    assert wire.refusal(one) is None
    assert body(one)["messages"] == [{"to": "01012345678", "content": "안녕"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [pytest.param("(광고) 할인", "AD", id="labelled"), pytest.param("할인 (광고)", "COMM", id="not-labelled")],
)
def test_a_text_that_calls_itself_an_advertisement_is_sent_as_one(text: str, expected: str) -> None:
    assert body(outgoing(Text("0212345678", text), Channel.SMS))["contentType"] == expected


@pytest.mark.parametrize(
    ("channel", "content", "reason", "word"),
    [
        pytest.param(Channel.ALIMTALK, alimtalk(link=Links("https://a.example")), "invalid_request", "link", id="link"),
        pytest.param(
            Channel.ALIMTALK, alimtalk(quick_replies=(QuickReply("BK", "네"),)), "invalid_request", "quick", id="quick"
        ),
        pytest.param(
            Channel.ALIMTALK, alimtalk(summary=Item("합계", "1,000원")), "invalid_request", "summary", id="summary"
        ),
        *(
            pytest.param(Channel.ALIMTALK, alimtalk(buttons=(Button(kind, "x"),)), "invalid_request", kind, id=kind)
            for kind in ("BC", "BT", "BF", "P1", "P2", "P3", "TN")
        ),
        pytest.param(
            Channel.ALIMTALK,
            alimtalk(buttons=(Button("WL", "x", "https://a.example", chat_extra="e"),)),
            "invalid_request",
            "chat_extra",
            id="chat-extra",
        ),
        pytest.param(
            Channel.ALIMTALK, alimtalk(buttons=(Button("WL", "x"),)), "invalid_request", "WL", id="wl-no-link"
        ),
        pytest.param(
            Channel.ALIMTALK,
            alimtalk(buttons=(Button("AL", "x", scheme_ios="a://"),)),
            "invalid_request",
            "AL",
            id="al-one-scheme",
        ),
        pytest.param(Channel.ALIMTALK, alimtalk(items=(Item("a", "b"),)), "invalid_request", "2 to 10", id="one-item"),
        pytest.param(Channel.ALIMTALK, alimtalk(text=""), "invalid_request", "no text", id="no-alimtalk"),
        pytest.param(Channel.FRIENDTALK, BrandMessage("@a", ""), "invalid_request", "no text", id="no-brand"),
        pytest.param(Channel.SMS, Text("02", ""), "invalid_request", "no text", id="no-sms"),
        pytest.param(Channel.ALIMTALK, alimtalk(text="가" * 1001), "content_too_long", "1000", id="long"),
        pytest.param(Channel.ALIMTALK, alimtalk(text="\ud800"), "content_charset", "surrogate", id="no-text"),
        pytest.param(
            Channel.FRIENDTALK, BrandMessage("@a", "x", advertising=False), "invalid_request", "advert", id="no-ad"
        ),
        pytest.param(Channel.FRIENDTALK, BrandMessage("@a", "x", wide=True), "invalid_request", "image", id="wide"),
        pytest.param(
            Channel.FRIENDTALK,
            BrandMessage("@a", "x" * 77, image="i", wide=True),
            "content_too_long",
            "76",
            id="wide-long",
        ),
        pytest.param(Channel.SMS, Text("02", "😀"), "content_charset", "U+1F600", id="emoji"),
        pytest.param(Channel.SMS, Text("02", "가" * 46), "content_too_long", "92 bytes", id="sms-long"),
        pytest.param(Channel.LMS, Text("02", "가" * 1001), "content_too_long", "2002 bytes", id="lms-long"),
        pytest.param(Channel.LMS, Text("02", "x", "가" * 21), "content_too_long", "42 bytes", id="subject-long"),
        pytest.param(Channel.LMS, Text("02", "x", "—"), "content_charset", "U+2014", id="subject-dash"),
        pytest.param(Channel.MMS, Text("02", "x"), "invalid_attachment", "images", id="mms-without-image"),
        pytest.param(Channel.LMS, Text("02", "x", images=("f",)), "invalid_request", "images", id="lms-with-image"),
    ],
)
def test_what_sens_cannot_carry_is_refused_by_name(channel: Channel, content: Content, reason: str, word: str) -> None:
    refused = wire.refusal(outgoing(content, channel))
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert word in refused.detail


@pytest.mark.parametrize(
    "to", ["", "010-1234-5678", "+821012345678", "\uff10\uff11\uff10\uff11\uff12\uff13\uff14\uff15"]
)
def test_a_number_is_digits(to: str) -> None:
    refused = wire.refusal(outgoing(alimtalk(), to=to))
    assert refused is not None
    assert refused.reason == "invalid_phone"


def test_hangul_outside_ksx1001_is_two_bytes() -> None:
    assert wire.refusal(outgoing(Text("02", "똠" * 45), Channel.SMS)) is None
