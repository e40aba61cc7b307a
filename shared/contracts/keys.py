"""The request key of an attempt: what a dealer is given to tell a repeated request from a new one.

Derived from message, channel and generation, so that it is unique without an index over all partitions. At most
27 characters, all letters and digits: the narrowest field of any dealer (Luna's ``message_key``).
"""

from __future__ import annotations

from shared.contracts.states import Channel
from shared.ids import MessageId, uuid_of

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
"""two digits at a time: half the divisions of a long number"""
_PAIR_VALUES = {pair: value for value, pair in enumerate(_PAIRS)}
_MESSAGE = 22
"""digits that hold 128 bits"""
_GENERATION = 4
"""digits at most"""
_MOST = 62**_GENERATION

_LETTERS = {
    Channel.ALIMTALK: "a",
    Channel.FRIENDTALK: "f",
    Channel.SMS: "s",
    Channel.LMS: "l",
    Channel.MMS: "m",
}
_CHANNELS = {letter: channel for channel, letter in _LETTERS.items()}


def request_key(message: MessageId, channel: Channel, generation: int) -> str:
    """Return our key for the ``generation``-th attempt of ``message``, in [1, 62^4)."""
    if not 0 < generation < _MOST:
        raise ValueError(f"no generation of an attempt: {generation}")
    return _written(message.int).rjust(_MESSAGE, "0") + _LETTERS[channel] + _written(generation)


def read_request_key(key: str) -> tuple[MessageId, int] | None:
    """Return the message and generation of a ``request_key``, or None if it is none of ours.

    Only the one way in which we write it, so that no two texts name one attempt.
    """
    written = key[_MESSAGE + 1 :]
    if not 0 < len(written) <= _GENERATION or written[0] == "0" or key[_MESSAGE] not in _CHANNELS:
        return None
    try:
        return MessageId(uuid_of(_read(key[:_MESSAGE]).to_bytes(16, "big"))), _read(written)
    except (OverflowError, KeyError):
        return None


def _written(number: int) -> str:
    digits = ""
    while number:
        number, pair = divmod(number, len(_PAIRS))
        digits = _PAIRS[pair] + digits
    return digits.lstrip("0")


def _read(digits: str) -> int:
    number = 0
    for n in range(0, len(digits) - 1, 2):
        number = number * len(_PAIRS) + _PAIR_VALUES[digits[n : n + 2]]
    return number * len(_DIGITS) + _VALUES[digits[-1]] if len(digits) % 2 else number
