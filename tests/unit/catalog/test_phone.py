from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.phone import BadPhone, NotReachable, national, parse_mobile


@pytest.mark.parametrize(
    "written",
    [
        "010-1234-5678",
        "01012345678",
        "+82 10 1234 5678",
        "+821012345678",
        "+82 010-1234-5678",  # Kakao Sync, at times
        "82-10-1234-5678",
        "010.1234.5678",
        "(010) 1234 5678",
        " 010 1234 5678\n",
        "０１０-１２３４-５６７８",  # noqa: RUF001 - full-width digits, as forms in Korea bring them
        "010–1234–5678",  # noqa: RUF001 - en dashes, as word processors make them
    ],
)
def test_every_spelling_is_one_number(written: str) -> None:
    assert parse_mobile(written) == "+821012345678"


def test_old_mobile_numbers_are_reached_too() -> None:
    assert parse_mobile("011-123-4567") == "+82111234567"
    assert parse_mobile("019-1234-5678") == "+821912345678"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("+1 650 253 0000", NotReachable.FOREIGN),
        ("+81 90-1234-5678", NotReachable.FOREIGN),
        ("02-312-3456", NotReachable.LANDLINE),
        ("+82 31 234 5678", NotReachable.LANDLINE),
        ("0502-1234-5678", NotReachable.SAFE_NUMBER),
        ("050212345678", NotReachable.SAFE_NUMBER),
        ("070-7012-3456", NotReachable.NOT_MOBILE),
        ("010-1234-567", NotReachable.NOT_A_NUMBER),
        ("010-1234-56789", NotReachable.NOT_A_NUMBER),
        ("080-123-4567", NotReachable.NOT_MOBILE),
        ("010-1234-567a", NotReachable.NOT_A_NUMBER),
        ("", NotReachable.NOT_A_NUMBER),
        ("+", NotReachable.NOT_A_NUMBER),
        ("+999 1", NotReachable.NOT_A_NUMBER),
        ("0" * 5000, NotReachable.NOT_A_NUMBER),
        ("김봉수", NotReachable.NOT_A_NUMBER),
    ],
)
def test_why_a_number_is_not_reached(written: str, reason: NotReachable) -> None:
    with pytest.raises(BadPhone) as refused:
        parse_mobile(written)
    assert refused.value.reason is reason
    assert written == "" or written not in str(refused.value)


@given(st.integers(0, 10**8 - 1))
def test_national_undoes_it(number: int) -> None:
    digits = f"010{number:08}"
    assert national(parse_mobile(digits)) == digits


@given(st.text(max_size=50))
def test_anything_is_a_number_or_refused(written: str) -> None:
    try:
        assert parse_mobile(written).startswith("+821")
    except BadPhone as refused:
        assert refused.reason.in_words  # noqa: PT017 - either is right
