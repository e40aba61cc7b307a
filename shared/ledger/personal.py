"""The personal part of a message: who gets it and what it says of them. Sealed before it reaches a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.crypto import CannotOpen

if TYPE_CHECKING:
    from uuid import UUID

    from shared.crypto import Vault


class Personal(msgspec.Struct, frozen=True, array_like=True, repr_omit_defaults=True):
    """``phone`` is E.164; ``variables`` are the template's, without ``#{}``."""

    phone: str
    name: str | None
    variables: dict[str, str]

    def __repr__(self) -> str:
        return "Personal(…)"  # never into a log or a traceback


_decode = msgspec.msgpack.Decoder(Personal).decode


def seal_personal(vault: Vault, personal: Personal, row: UUID) -> bytes:
    """Return ``personal`` sealed for the message ``row``."""
    return vault.seal(msgspec.msgpack.encode(personal), row)


def open_personal(vault: Vault, sealed: bytes, row: UUID) -> Personal:
    """Return what was sealed for the message ``row``. Raises ``CannotOpen``, also for what is empty or garbled."""
    try:
        return _decode(vault.open(sealed, row))
    except (IndexError, ValueError, msgspec.DecodeError):
        raise CannotOpen("not personal data of ours") from None  # the cause may quote it
