"""Errors that cross a module boundary.

* BongsuError
  + Refused      the caller's input is wrong; becomes an RFC 9457 problem at the HTTP edge
  + Transient    not done, and the same may succeed later
  + Permanent    it never will: a record that cannot be read goes to the dead letters
"""

from __future__ import annotations


class BongsuError(Exception):
    """Any error of ours."""


class Transient(BongsuError):
    """Not done, and the same input may succeed later."""


class Permanent(BongsuError):
    """The same input will never succeed; ``reason`` is a stable word for it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
