"""How long a text is to a carrier, and what it cannot carry."""

from __future__ import annotations

import unicodedata

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
    if _is_carried(text):
        return []
    return [character for character in dict.fromkeys(text) if not _is_carried(character)]


def _is_carried(text: str) -> bool:
    try:
        text.encode("cp949")
    except UnicodeEncodeError:
        return False
    return True


def channel_for(text: str) -> Channel:
    """Return SMS for up to 90 bytes, else LMS. Raises ``UnicodeEncodeError`` as ``byte_length``."""
    return Channel.SMS if byte_length(text) <= SMS_BYTES else Channel.LMS


_REPLACED = str.maketrans(
    {
        "\u2014": "-",  # em dash
        "\u2013": "-",  # en dash
        "\u2010": "-",
        "\u2011": "-",
        "\u2212": "-",  # minus sign
        "\u2022": "\u00b7",  # bullet to middle dot
        "\u20a9": "원",  # won sign
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
        "\u301c": "~",  # wave dash
        "\u00a9": "(c)",
        "\u200b": "",
        "\u200c": "",
        "\u200d": "",
        "\u2060": "",
        "\ufeff": "",
        "\ufe0e": "",  # variation selectors
        "\ufe0f": "",
        "\r": "",
    }
)
"""``facts/alimtalk-rules.md`` section 5, and what goes the same way."""


def carry(text: str, *, replace_all: bool = True) -> str:
    """Return ``text`` as carriers bring it: look-alikes for what they lack, by the documented table.

    With ``replace_all`` what stands in no table goes too: an accent is left off (é, e), a letter of another script
    becomes ``?``, an emoji is dropped; that is for values, which nobody can word anew. Without it, it stays, for the
    author to be told of.
    """
    text = text.translate(_REPLACED)
    if not replace_all:
        return text
    lost = uncarried(text)
    return text.translate({ord(character): _likeness(character) for character in lost}) if lost else text


def _likeness(character: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    if plain != character and not uncarried(plain):
        return plain
    return "?" if character.isalpha() else ""
