"""What every record on a topic has in common."""

from __future__ import annotations

import msgspec


class Contract(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record on a topic: frozen, and deaf to unknown fields, so that a producer may add an optional one first."""

    def encode(self) -> bytes:
        """Return the record as JSON."""
        return msgspec.json.encode(self)
