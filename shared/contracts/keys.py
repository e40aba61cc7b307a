"""The request key of an attempt: what a dealer is given to tell a repeated request from a new one.

Derived from message, channel and generation, so that it is unique without an index over all partitions. At most
27 characters, all letters and digits: the narrowest field of any dealer (Luna's ``message_key``).
"""

from __future__ import annotations

from uuid import UUID

from shared.contracts.states import Channel
from shared.ids import MessageId

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
"""two digits at a time: half the divisions of a long number"""
_MESSAGE = 22
"""digits that hold 128 bits"""
_MOST = 62**4

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
    try:
        message, channel = MessageId(UUID(int=_read(key[:_MESSAGE]))), _CHANNELS[key[_MESSAGE]]
        n = _read(key[_MESSAGE + 1 :])
        ours = request_key(message, channel, n) == key
    except (ValueError, KeyError, IndexError):
        return None
    return (message, n) if ours else None


def _written(number: int) -> str:
    digits = ""
    while number:
        number, pair = divmod(number, len(_PAIRS))
        digits = _PAIRS[pair] + digits
    return digits.lstrip("0")


def _read(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * len(_DIGITS) + _VALUES[digit]
    return number
