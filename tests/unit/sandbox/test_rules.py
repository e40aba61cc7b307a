"""Rendering and recognising: what a template was filled to is always recognised as that template."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bongsu.sandbox.profile import Template
from bongsu.sandbox.solapi.rules import RegisteredTemplate, text_bytes

_PLAIN = st.text(alphabet="가나다abc .(*)\n", max_size=8)
_VALUES = st.text(max_size=12)


@given(st.lists(_PLAIN, min_size=1, max_size=5), st.lists(_VALUES, min_size=5, max_size=5))
def test_a_filled_template_is_recognised(parts: list[str], values: list[str]) -> None:
    content = "".join(f"{part}#{{v{n}}}" for n, part in enumerate(parts))
    registered = RegisteredTemplate(Template(template_id="T", content=content))
    filled = registered.content.fill({f"#{{v{n}}}": value for n, value in enumerate(values)})
    assert registered.content.fits(filled)


def test_variables_of_buttons_count() -> None:
    template = Template.model_validate(
        {
            "templateId": "T",
            "content": "#{이름}님",
            "buttons": [{"buttonName": "보기", "buttonType": "WL", "linkMo": "https://shop.example/#{번호}"}],
        }
    )
    assert RegisteredTemplate(template).variables == {"#{이름}", "#{번호}"}


def test_bytes_are_those_of_cp949() -> None:
    assert text_bytes("가a") == 3
    assert text_bytes("뷁") == 2  # beyond EUC-KR, within cp949
    assert text_bytes("😀") is None
