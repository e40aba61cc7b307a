"""Phone numbers of Korea, in whatever way they are written, as E.164; and why another number gets no AlimTalk."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

import phonenumbers
from phonenumbers import PhoneNumberType

from shared.errors import BongsuError

_SEPARATORS = re.compile(r"[\s().\-\u2010-\u2015\u30fb\u00b7]+")
_AS_MOST_WRITE_IT = re.compile(r"010-?([0-9]{4})-?([0-9]{4})")
_MOBILE = re.compile(r"01(?:0\d{8}|[16789]\d{7,8})")  # facts/alimtalk-rules.md, "Phone numbers"
_SAFE = re.compile(r"050\d{8,9}")
_LONGEST = 40


class NotReachable(StrEnum):
    """Why a number gets no AlimTalk."""

    NOT_A_NUMBER = "not_a_number"
    FOREIGN = "foreign"
    LANDLINE = "landline"
    SAFE_NUMBER = "safe_number"
    NOT_MOBILE = "not_mobile"

    @property
    def in_words(self) -> str:
        """What is the matter with such a number; never the number itself."""
        return _WORDS[self]


_WORDS = {
    NotReachable.NOT_A_NUMBER: "it is no phone number",
    NotReachable.FOREIGN: "it is a number outside Korea",
    NotReachable.LANDLINE: "it is a landline",
    NotReachable.SAFE_NUMBER: "it is a 050 safe number, which gets texts but no AlimTalk",
    NotReachable.NOT_MOBILE: "it is a Korean number, but not of a mobile phone",
}


class BadPhone(BongsuError):
    """The number is none that an AlimTalk can reach."""

    def __init__(self, reason: NotReachable) -> None:
        super().__init__(reason.in_words)
        self.reason = reason


def parse_mobile(written: str) -> str:
    """Return a Korean mobile number as E.164 (``+821012345678``).

    It may be written ``010-1234-5678``, ``01012345678``, ``+82 10 1234 5678``, and as Kakao Sync at times does,
    ``+82 010-1234-5678``. Raises ``BadPhone``.
    """
    if plain := _AS_MOST_WRITE_IT.fullmatch(written):
        return f"+8210{plain[1]}{plain[2]}"
    if len(written) > _LONGEST:
        raise BadPhone(NotReachable.NOT_A_NUMBER)
    bare = _SEPARATORS.sub("", unicodedata.normalize("NFKC", written))
    digits = bare.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        raise BadPhone(NotReachable.NOT_A_NUMBER)
    if bare != digits and not digits.startswith("82"):
        raise BadPhone(_foreign(bare))
    if digits.startswith("82"):
        digits = "0" + digits.removeprefix("82").removeprefix("0")
    if _MOBILE.fullmatch(digits):
        return "+82" + digits[1:]
    raise BadPhone(_korean(digits))


def national(e164: str) -> str:
    """Return a Korean E.164 number as people dial it, digits only: ``01012345678``."""
    return "0" + e164.removeprefix("+82")


def _foreign(number: str) -> NotReachable:
    try:
        known = phonenumbers.is_possible_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        known = False
    return NotReachable.FOREIGN if known else NotReachable.NOT_A_NUMBER


def _korean(digits: str) -> NotReachable:
    if _SAFE.fullmatch(digits):
        return NotReachable.SAFE_NUMBER
    try:
        number = phonenumbers.parse(digits, "KR")
    except phonenumbers.NumberParseException:
        return NotReachable.NOT_A_NUMBER
    match phonenumbers.number_type(number):
        case PhoneNumberType.FIXED_LINE:
            return NotReachable.LANDLINE
        case PhoneNumberType.UNKNOWN | PhoneNumberType.MOBILE:  # a mobile number would have matched: digits are missing
            return NotReachable.NOT_A_NUMBER
        case _:
            return NotReachable.NOT_MOBILE
