"""All that Kakao lets a template have, from the file to what a dealer is given."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from shared.catalog.check import disagreements
from shared.catalog.parts import TemplateButton, TemplateQuickReply, is_amount
from shared.catalog.rule import Rule
from shared.catalog.template import (
    ALIMTALK_CHARACTERS,
    ITEM_LIST_CHARACTERS,
    SENTENCE,
    Template,
    alimtalk,
    brand_message,
    variables_of,
)
from shared.catalog.wording import TooLong, Unfit
from shared.contracts.states import Channel
from shared.dealers.base import BrandMessage, Button, Item, Links, QuickReply

WL = {"kind": "WL", "name": "보기", "url_mobile": "https://shop.example.kr/#{번호}"}
AC = {"kind": "AC", "name": "채널 추가"}
LIST = [{"title": "예약일", "description": "#{날짜}"}, {"title": "장소", "description": "봉수상점 #{지점}점"}]
FULL: dict[str, Any] = {
    "code": "FULL",
    "text": "#{이름}님, 예약이 확정되었습니다.",
    "header": "#{이름}님의 예약",
    "highlight": {"title": "#{상품}", "description": "#{옵션}"},
    "items": LIST,
    "summary": {"title": "합계", "description": "#{금액}원"},
    "has_image": True,
    "link": {"url_mobile": "https://shop.example.kr/r/#{번호}", "url_pc": "https://shop.example.kr/r/#{번호}"},
    "buttons": [
        {"kind": "AL", "name": "앱에서 보기", "scheme_android": "shop://r/#{번호}", "scheme_ios": "shop://r/#{번호}"},
        {"kind": "BT", "name": "문의", "chat_extra": "#{번호}", "chat_event": "reserve_1"},
    ],
    "quick_replies": [{"kind": "BK", "name": "변경"}, {**WL, "name": "자주 묻는 질문"}],
}
VALUES = {
    "이름": "봉수",
    "상품": "머그",
    "옵션": "흰색",
    "날짜": "11월 23일",
    "지점": "강남",
    "금액": "15,000",
    "번호": "7",
}


def template(**changed: object) -> Template:
    return Template.model_validate({"code": "T", "text": "글 #{이름}", **changed})


def full(**changed: object) -> Template:
    return Template.model_validate({**FULL, **changed})


def test_everything_is_rendered() -> None:
    assert set(variables_of(full())) == set(VALUES)
    content = alimtalk(full(text_message="#{이름} #{비밀}"), "d", "K", {**VALUES, "비밀": "x"})
    assert content.variables == VALUES  # what stands in the SMS alone is nothing to Kakao
    assert (content.header, content.highlight) == ("봉수님의 예약", Item("머그", "흰색"))
    assert content.items == (Item("예약일", "11월 23일"), Item("장소", "봉수상점 강남점"))
    assert (content.summary, content.has_image) == (Item("합계", "15,000원"), True)
    assert content.link == Links("https://shop.example.kr/r/7", "https://shop.example.kr/r/7")
    assert content.buttons == (
        Button("AL", "앱에서 보기", scheme_android="shop://r/7", scheme_ios="shop://r/7"),
        Button("BT", "문의", chat_extra="7", chat_event="reserve_1"),
    )
    assert content.quick_replies == (
        QuickReply("BK", "변경"),
        QuickReply("WL", "자주 묻는 질문", url_mobile="https://shop.example.kr/7"),
    )


def test_a_title_is_rendered_and_its_subtitle_is_kakaos() -> None:
    content = alimtalk(template(title="#{금액}원", subtitle="결제 금액"), "d", "K", {"이름": "봉수", "금액": "15,000"})
    assert content.title == "15,000원"


def test_a_template_file_can_say_all_that_a_dealer_can_be_given() -> None:
    assert {f.name for f in fields(Button)} == set(TemplateButton.model_fields)
    assert {f.name for f in fields(QuickReply)} == set(TemplateQuickReply.model_fields)


@pytest.mark.parametrize(
    "button",
    [
        {**WL, "url_pc": "https://shop.example.kr/"},
        {"kind": "AL", "name": "앱", "url_mobile": "https://a.kr", "scheme_ios": "a://b"},
        {"kind": "DS", "name": "배송 조회"},
        {"kind": "BK", "name": "키워드"},
        {"kind": "MD", "name": "전달"},
        {"kind": "BC", "name": "상담", "chat_extra": "#{이름}"},
        {"kind": "BT", "name": "봇"},
        AC,
        {"kind": "BF", "name": "톡에서 예약하기", "biz_form_id": "123"},
        {"kind": "P1", "name": "이미지", "plugin_id": "p", "relay_id": "#{이름}"},
        {"kind": "P2", "name": "개인정보", "plugin_id": "p"},
        {"kind": "P3", "name": "결제", "plugin_id": "p", "product_id": "#{이름}"},
        {"kind": "TN", "name": "전화 연결", "phone": "02-1234-5678"},
    ],
    ids=lambda button: button["kind"],
)
def test_every_kind_of_button_is_carried(button: dict[str, str]) -> None:
    [carried] = alimtalk(template(buttons=[button]), "d", "K", {"이름": "봉수", "번호": "7"}).buttons
    for name, value in button.items():
        assert getattr(carried, name) == value.replace("#{이름}", "봉수").replace("#{번호}", "7")


@pytest.mark.parametrize(
    ("changed", "field", "length", "limit"),
    [
        pytest.param({"이름": "가" * 12}, "header", 17, 16, id="header"),
        pytest.param({"상품": "가" * 31}, "highlight.title", 31, 30, id="highlight"),
        pytest.param({"옵션": "가" * 20}, "highlight.description", 20, 19, id="highlight-description"),
        pytest.param({"날짜": "가" * 24}, "items[0].description", 24, 23, id="item"),
        pytest.param({"금액": "1" * 14}, "summary.description", 15, 14, id="summary"),
        pytest.param({"번호": "1" * 51}, "buttons[1].chat_extra", 51, 50, id="chat-extra"),
    ],
)
def test_what_gets_too_long_is_named(changed: dict[str, str], field: str, length: int, limit: int) -> None:
    with pytest.raises(TooLong) as refused:
        alimtalk(full(), "d", "K", {**VALUES, **changed})
    assert (refused.value.field, refused.value.length, refused.value.limit) == (field, length, limit)
    assert refused.value.names == tuple(changed)


def test_a_thumbnail_leaves_less_room() -> None:
    highlight = {"title": "#{상품}", "description": "흰색", "thumbnail": True}
    one = full(highlight=highlight)
    values = {name: VALUES[name] for name in variables_of(one)}
    assert alimtalk(one, "d", "K", {**values, "상품": "가" * 21}).highlight == Item("가" * 21, "흰색")
    with pytest.raises(TooLong):
        alimtalk(one, "d", "K", {**values, "상품": "가" * 22})


def test_the_sign_for_struck_through_is_not_counted() -> None:
    one = template(title="#{정가}")
    assert alimtalk(one, "d", "K", {"이름": "봉수", "정가": "9" * 50 + "\\s"}).title == "9" * 50 + "\\s"
    with pytest.raises(TooLong):
        alimtalk(one, "d", "K", {"이름": "봉수", "정가": "9" * 51})


@pytest.mark.parametrize(
    ("changed", "room"),
    [
        ({}, ALIMTALK_CHARACTERS),
        ({"buttons": [AC]}, ALIMTALK_CHARACTERS - SENTENCE),
        ({"items": LIST, "has_image": True}, ITEM_LIST_CHARACTERS),
    ],
)
def test_what_else_is_there_takes_from_the_text(changed: dict[str, object], room: int) -> None:
    one = template(**changed)
    values = dict.fromkeys(variables_of(one), "7")
    fits = "가" * (room - len("글 "))
    assert len(alimtalk(one, "d", "K", {**values, "이름": fits}).text) == room
    with pytest.raises(TooLong):
        alimtalk(one, "d", "K", {**values, "이름": fits + "가"})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("15,000원", True),
        ("KRW 15,000", True),
        ("$1.50", True),
        ("￦7", True),
        ("", True),
        ("열 원", False),
        ("KR", False),
    ],
)
def test_a_summary_is_an_amount(text: str, *, holds: bool) -> None:
    assert is_amount(text) is holds


@pytest.mark.parametrize(
    ("changed", "field", "names"),
    [
        pytest.param({"금액": "만 오천"}, "summary.description", ["금액"], id="no-amount"),
        pytest.param({"번호": "7 8"}, "buttons[0]", ["번호"], id="space-in-a-link"),
    ],
)
def test_a_value_that_cannot_stand_there_is_named(changed: dict[str, str], field: str, names: list[str]) -> None:
    with pytest.raises(Unfit) as refused:
        alimtalk(full(), "d", "K", {**VALUES, **changed})
    assert (refused.value.field, refused.value.names) == (field, names)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"title": "가" * 51}, "51 characters where Kakao takes at most 50", id="title-long"),
        pytest.param({"subtitle": "부제"}, "there is none", id="subtitle-alone"),
        pytest.param({"title": "제목", "subtitle": "#{이름}"}, "no variable here", id="subtitle-with-variable"),
        pytest.param({"title": "제목", "has_image": True}, "not by both", id="title-and-image"),
        pytest.param({"title": "제목", "items": LIST}, "belongs to no item list", id="title-and-items"),
        pytest.param({"header": "머리"}, "there are no items", id="header-alone"),
        pytest.param({"summary": {"title": "합", "description": "1원"}}, "there are no items", id="summary-alone"),
        pytest.param({"items": LIST}, "a header, a highlight or an image", id="items-alone"),
        pytest.param({"items": LIST[:1], "header": "머리"}, "2 to 10", id="one-item"),
        pytest.param({"items": LIST * 6, "header": "머리"}, "at most 10", id="twelve-items"),
        pytest.param({"items": LIST, "header": "가" * 17}, "17 characters", id="header-long"),
        pytest.param(
            {"items": [{"title": "일곱글자제목", "description": "x"}] * 2 + [{"title": "가" * 7, "description": "x"}]},
            "at most 6",
            id="item-title-long",
        ),
        pytest.param(
            {"items": [{"title": "#{이름}", "description": "x"}] * 2}, "no variable here", id="item-title-variable"
        ),
        pytest.param({"items": LIST, "header": "머리", "text": "가" * 701}, "has 700", id="text-beside-items"),
        pytest.param({"buttons": [AC], "text": "가" * 965}, "has 964", id="text-beside-add-channel"),
        pytest.param(
            {"items": LIST, "header": "머리", "summary": {"title": "합", "description": "총 #{금액}"}},
            "a currency only",
            id="summary-words",
        ),
        pytest.param(
            {"items": LIST, "highlight": {"title": "가" * 22, "description": "x", "thumbnail": True}},
            "at most 21",
            id="highlight-thumbnail",
        ),
        pytest.param({"link": {}}, "leads nowhere", id="link-nowhere"),
        pytest.param(
            {"buttons": [{"kind": "DS", "name": "조회", "url_mobile": "https://a.kr"}]}, "DS has no", id="odd"
        ),
        pytest.param({"buttons": [{"kind": "WL", "name": "x", "scheme_ios": "a://b"}]}, "WL has no", id="odd-wl"),
        pytest.param({"buttons": [{"kind": "BF", "name": "톡에서 예약하기"}]}, "needs biz_form_id", id="no-form"),
        pytest.param(
            {"buttons": [{"kind": "BF", "name": "예약", "biz_form_id": "1"}]}, "톡에서 예약하기", id="form-name"
        ),
        pytest.param({"buttons": [{"kind": "TN", "name": "전화", "phone": "02-1"}]}, "전화 연결", id="phone-name"),
        pytest.param({"buttons": [{"kind": "TN", "name": "전화 연결", "phone": "02 1"}]}, "match pattern", id="phone"),
        pytest.param({"buttons": [{"kind": "AC", "name": "추가"}]}, "채널 추가", id="add-channel-name"),
        pytest.param({"buttons": [WL, AC]}, "stands first", id="add-channel-second"),
        pytest.param(
            {"buttons": [{"kind": "P3", "name": "결제", "plugin_id": "p"}]}, "one_click_id", id="pays-nothing"
        ),
        pytest.param({"buttons": [{"kind": "BT", "name": "봇", "chat_event": "예약"}]}, "pattern", id="event"),
        pytest.param({"buttons": [{"kind": "XX", "name": "x"}]}, "Input should be", id="kind"),
        pytest.param({"buttons": [WL] * 3, "quick_replies": [WL]}, "at most 2", id="buttons-beside-replies"),
        pytest.param({"quick_replies": [WL] * 11}, "at most 10", id="eleven-replies"),
        pytest.param({"quick_replies": [{"kind": "DS", "name": "x"}]}, "Input should be", id="reply-kind"),
        pytest.param({"quick_replies": [{**WL, "name": "#{이름}"}]}, "no variable here", id="reply-name"),
    ],
)
def test_what_kakao_would_refuse_is_refused_first(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        template(**changed)


# -- brand messages ----------------------------------------------------------------------------------------------

BRAND: dict[str, Any] = {
    "code": "SALE",
    "kind": "brand",
    "text": "#{이름}님, 겨울 세일이 시작되었습니다.",
    "image": "sale.jpg",
    "image_link": "https://shop.example.kr/sale?u=#{번호}",
    "buttons": [{"kind": "WL", "name": "보러 가기", "url_mobile": "https://shop.example.kr/sale?u=#{번호}"}],
}


def test_a_brand_message_is_rendered() -> None:
    one = Template.model_validate(BRAND)
    assert (one.channel, variables_of(one)) == (Channel.FRIENDTALK, ("이름", "번호"))
    assert template().channel is Channel.ALIMTALK
    assert brand_message(one, "K", {"이름": "봉수", "번호": "7"}, "IMG") == BrandMessage(
        sender_key="K",
        text="봉수님, 겨울 세일이 시작되었습니다.",
        buttons=(Button("WL", "보러 가기", url_mobile="https://shop.example.kr/sale?u=7"),),
        image="IMG",
        image_link="https://shop.example.kr/sale?u=7",
    )


@pytest.mark.parametrize(("image", "room"), [(None, 1300), ("a.jpg", 400)])
def test_a_brand_message_has_room_by_its_image(image: str | None, room: int) -> None:
    one = Template.model_validate({"code": "T", "kind": "brand", "text": "글 #{이름}", "image": image})
    assert len(brand_message(one, "K", {"이름": "가" * (room - 2)}).text) == room
    with pytest.raises(TooLong) as refused:
        brand_message(one, "K", {"이름": "가" * (room - 1)})
    assert refused.value.channel is Channel.FRIENDTALK


def test_a_space_in_the_link_of_an_image_is_named() -> None:
    with pytest.raises(Unfit, match="image_link"):
        brand_message(Template.model_validate(BRAND), "K", {"이름": "봉수", "번호": "7 8"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"kind": "alimtalk"}, "image: not of an AlimTalk", id="image-of-an-alimtalk"),
        pytest.param({"title": "제목"}, "title: not of a brand message", id="title"),
        pytest.param({"codes": {"nhn": "X"}}, "codes: not of a brand message", id="codes"),
        pytest.param({"text_message": "글"}, "no text follows a brand message", id="text"),
        pytest.param({"image": None}, "there is no image", id="link-of-no-image"),
        pytest.param({"buttons": [{"kind": "DS", "name": "조회"}]}, "DS is not of a brand message", id="button"),
        pytest.param({"text": "가" * 401}, "has 400", id="long"),
    ],
)
def test_what_a_brand_message_cannot_have_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        Template.model_validate({**BRAND, **changed})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"category": "informational"}, ["category: 'SALE' is a brand message, which is advertising always"]),
        ({"fallback": "text"}, ["fallback: no text follows the brand message 'SALE'"]),
    ],
)
def test_a_rule_of_a_brand_message_is_advertising(changed: dict[str, Any], said: list[str]) -> None:
    send = {"template": "SALE", "variables": {"이름": "data.name", "번호": "data.id"}}
    rule = Rule.model_validate({"name": "r", "on": "x", "category": "advertising", "send": send, **changed})
    found = disagreements(rule, {"SALE": Template.model_validate(BRAND)})
    assert [each[: len(words)] for each, words in zip(found, said, strict=True)] == said
