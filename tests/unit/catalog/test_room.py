from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.apply import SHOP, read_directory
from shared.catalog.room import Room
from shared.catalog.template import Template, alimtalk, text_message, variables_of
from shared.text import byte_length, carry

WIDE = Template.model_validate(
    {
        "code": "WIDE",
        "text": "#{a} 와 #{a}, 그리고 #{b}",
        "header": "#{a}님",
        "items": [{"title": "상품", "description": "#{b}"}, {"title": "금액", "description": "#{c}"}],
        "buttons": [
            {"kind": "WL", "name": "보기", "url_mobile": "https://shop.example/#{c}"},
            {"kind": "BC", "name": "상담", "chat_extra": "#{a}"},
        ],
        "text_message": "\u212b #{a} #{b}",
    }
)
PLAIN = Template.model_validate({"code": "PLAIN", "text": "#{a} 와 #{b}", "text_message": "#{a}#{b}#{b} — 안내"})
SHIPPED = list(read_directory(SHOP).templates.values())
CHARACTERS = st.sampled_from("가힣漢0 W\n©é🎁\u212b\uf900\u0301\u1112")


@pytest.mark.parametrize("template", [WIDE, PLAIN, SHIPPED[0]], ids=lambda template: template.code)
@settings(deadline=None)
@given(data=st.data())
def test_what_the_room_holds_can_be_rendered(template: Template, data: st.DataObject) -> None:
    names = variables_of(template)
    room = Room.of(template)
    most = room.characters // len(names) + 3
    values = {name: data.draw(st.text(CHARACTERS, max_size=5)) * data.draw(st.integers(0, most // 3)) for name in names}
    if room.holds(values):
        alimtalk(template, "", "", values)
        if template.text_message is not None:
            text_message(template, "", values)


def test_no_character_that_carriers_bring_takes_more_than_two_bytes() -> None:
    """Nor does what stands for it once it is normalized."""
    for point in range(0x10000):  # cp949 knows no other plane
        try:
            chr(point).encode("cp949")
        except UnicodeEncodeError:
            continue
        assert byte_length(carry(unicodedata.normalize("NFC", chr(point)))) <= 2


def test_the_room_is_that_of_the_narrowest_text() -> None:
    assert Room.of(WIDE).characters == 15  # the header: 16 characters, of which one is fixed
    assert Room.of(PLAIN).characters == (2000 - 7) // 2 // 2  # of the text, b twice, two bytes a character


def test_an_ordinary_event_is_known_to_fit() -> None:
    for template in SHIPPED:
        assert Room.of(template).holds(dict.fromkeys(variables_of(template), "봉수상점-2026"))


def test_a_space_in_a_link_is_looked_at() -> None:
    room = Room.of(WIDE)
    assert room.holds({"a": "가 나", "b": "나", "c": "다"})
    assert not room.holds({"a": "가", "b": "나", "c": "다 라"})
