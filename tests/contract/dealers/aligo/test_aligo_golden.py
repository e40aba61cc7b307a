"""The requests that go to Aligo, against files that are never edited: a change of ours must be seen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgspec
import pytest

from shared.contracts.states import Channel
from shared.dealers.aligo.adapter import Aligo
from shared.dealers.aligo.gateway import Gateway
from shared.dealers.base import AlimTalk, Button, Outgoing, Text
from shared.dealers.templates import TemplateDraft
from shared.ids import MessageId
from tests.contract.dealers.fake_gateway import FakeGateway, Reply

GOLDEN = Path(__file__).parents[1] / "golden" / "aligo"
SENDER_KEY = "0123456789abcdef0123456789abcdef01234567"

ORDER = AlimTalk(
    sender_key=SENDER_KEY,
    template_code="TA1234",
    variables={"이름": "김봉수", "주문번호": "A-1001"},
    text="김봉수님, 주문 A-1001이 결제되었습니다.\n감사합니다.",
    buttons=(Button("WL", "주문 보기", "https://shop.example/o/A-1001", "https://shop.example/pc/o/A-1001"),),
    sender="0212345678",
)
FULL = AlimTalk(
    sender_key=SENDER_KEY,
    template_code="TA5678",
    variables={"이름": "이연수"},
    text="이연수님, 상품이 출발했습니다 🚚\n송장번호 1234567890",
    buttons=(
        Button("AC", "채널 추가"),
        Button("DS", "배송 조회"),
        Button("AL", "앱에서 보기", "https://shop.example/d", scheme_android="shop://d?a=1&b=2", scheme_ios="shop://d"),
        Button("BK", "문의하기"),
        Button("MD", "상담 요청"),
    ),
    sender="0212345678",
    title="배송 출발",
    has_image=True,
)
PLAIN = AlimTalk(SENDER_KEY, "TA1234", {}, "가입을 축하합니다.", sender="0212345678")
SHORT = Text("0212345678", "[봉수상점] 결제 완료 +1,000원 & 배송비")
LONG = Text("0212345678", '주문이 결제되었습니다.\n감사합니다 "봉수"상점', subject="결제 안내")


def message(n: int, channel: Channel, to: str, content: AlimTalk | Text) -> Outgoing:
    return Outgoing(MessageId(UUID(int=n)), 1, f"000000000000000000000{n}{channel[0]}1", channel, to, content)


BATCHES = {
    "alimtalk": [message(1, Channel.ALIMTALK, "01012345678", ORDER)],
    "alimtalk-full": [message(2, Channel.ALIMTALK, "01012345678", FULL)],
    "alimtalk-batch": [
        message(3, Channel.ALIMTALK, "01012345678", PLAIN),
        message(4, Channel.ALIMTALK, "01087654321", PLAIN),
        message(5, Channel.ALIMTALK, "01012345678", PLAIN),  # the same person once more: a request of its own
        message(6, Channel.ALIMTALK, "01012345679", FULL),
    ],
    "sms": [message(7, Channel.SMS, "0111234567", SHORT)],
    "sms-equal": [message(8, Channel.SMS, "01012345678", SHORT), message(9, Channel.SMS, "01087654321", SHORT)],
    "lms-different": [
        message(1, Channel.LMS, "01012345678", LONG),
        message(2, Channel.LMS, "01087654321", Text("0212345678", "다른 글", subject="결제 안내")),
    ],
}

DRAFT = TemplateDraft(
    code="ORDER_PAID",
    name="결제 완료",
    text="#{이름}님, 주문이 결제되었습니다.",
    title="결제 완료",
    subtitle="봉수상점",
    buttons=(
        Button("AC", "채널 추가"),
        Button("WL", "주문 보기", "https://shop.example/#{주문번호}", "https://shop.example/#{주문번호}"),
        Button("AL", "앱", scheme_android="shop://a", scheme_ios="shop://i"),
    ),
)


def adapter(fake: FakeGateway) -> Aligo:
    origin = f"http://127.0.0.1:{fake.port}"
    return Aligo("aligo", Gateway(origin, origin, apikey="APIKEY", userid="userid", timeout_seconds=5), batch=500)


def seen(fake: FakeGateway) -> list[dict[str, Any]]:
    requests = []
    for request in fake.requests:
        fields = parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True)
        assert urlencode(fields).encode() == request.body  # so the fields are the request, to the byte
        requests.append(
            {
                "request": f"{request.method} {request.path}",
                "content_type": request.headers["content-type"],
                "fields": [list(field) for field in fields],
            }
        )
    return requests


def golden(name: str) -> Any:  # noqa: ANN401 - JSON
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", BATCHES)
async def test_requests_are_as_ever(fake: FakeGateway, name: str) -> None:
    for path in ("/akv10/alimtalk/send/", "/send/", "/send_mass/"):
        fake.on(f"POST {path}", Reply(json={"code": -99, "result_code": -99, "message": "포인트가 부족합니다."}))
    dealer = adapter(fake)
    await dealer.send(None, BATCHES[name])
    await dealer.close()
    assert seen(fake) == golden(name)


async def test_a_template_is_registered_as_ever(fake: FakeGateway) -> None:
    fake.on("POST /akv10/template/list/", Reply(json={"code": 0, "message": "", "list": []}))
    fake.on("POST /akv10/template/add/", Reply(json={"code": 0, "message": "", "data": {"templtCode": "TA0001"}}))
    dealer = adapter(fake)
    assert await dealer.templates.register(SENDER_KEY, DRAFT) == "TA0001"
    await dealer.close()
    assert seen(fake) == golden("template")
