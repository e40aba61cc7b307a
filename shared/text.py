"""How long a text is to a carrier, and what it cannot carry."""

from __future__ import annotations

from shared.contracts.states import Channel

SMS_BYTES = 90
LMS_BYTES = 2000
SUBJECT_BYTES = 40


def byte_length(text: str) -> int:
    """Return the length as carriers count it.

    They say EUC-KR and mean cp949: Python's ``euc_kr`` writes Hangul outside KS X 1001 (똠, 펲) as 8 bytes, cp949 as
    2. Raises ``UnicodeEncodeError`` for what neither has: emoji, em dash, U+20A9.
    """
    return len(text.encode("cp949"))


def uncarried(text: str) -> list[str]:
    """Return the characters of ``text`` that no carrier brings, each once, in order."""
    found: dict[str, None] = {}
    for character in text:
        try:
            character.encode("cp949")
        except UnicodeEncodeError:
            found[character] = None
    return list(found)


def channel_for(text: str) -> Channel:
    """Return SMS for up to 90 bytes, else LMS. Raises ``UnicodeEncodeError`` as ``byte_length``."""
    return Channel.SMS if byte_length(text) <= SMS_BYTES else Channel.LMS
