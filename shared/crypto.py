"""Personal data at rest: sealed with AES-256-GCM, and a person known by a keyed hash of the number.

``BONGSU_ENCRYPTION_KEYS`` is a list ``NAME:BASE64,NAME:BASE64,…`` of 32-byte keys. The one named ``person`` keys
the hash and is never rotated, since the hash is how a person is found again. The first of the others seals; all
of them open, by the key's name in the ciphertext. ``bongsu keys encryption`` prints such a list.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import BongsuError
from shared.ids import PersonId, uuid_of

_KEY_BYTES = 32
_NONCE_BYTES = 12
_PERSON = "person"


class CannotOpen(BongsuError):
    """The ciphertext was sealed for another row, by a key that is gone, or was changed."""


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals and opens personal data, and names people."""

    sealing: str
    keys: dict[str, AESGCM]
    person_hash: hmac.HMAC
    """keyed, and copied for each number: a new one takes twice the time"""

    @classmethod
    def from_text(cls, text: str) -> Vault:
        """Read a key list. Raises ``ValueError`` that says what is wrong and never shows a key."""
        found: dict[str, bytes] = {}
        for n, part in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
            name, colon, encoded = part.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"key {n} is not base64") from error
            if not colon or not name or len(name) > 255 or len(key) != _KEY_BYTES:  # noqa: PLR2004 - one byte holds the length
                raise ValueError(f"key {n} is not NAME:BASE64 of {_KEY_BYTES} bytes")
            if name in found:
                raise ValueError(f"key name {name!r} stands twice")
            found[name] = key
        person = found.pop(_PERSON, None)
        if person is None or not found:
            raise ValueError(f"wants a key named {_PERSON!r} and at least one other")
        keys = {name: AESGCM(key) for name, key in found.items()}
        return cls(next(iter(found)), keys, hmac.new(person, digestmod="sha256"))

    def seal(self, plain: bytes, row: UUID) -> bytes:
        """Return ciphertext that opens only for ``row``: name length, name, nonce, sealed bytes with tag."""
        name = self.sealing.encode()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self.keys[self.sealing].encrypt(nonce, plain, row.bytes)
        return bytes((len(name),)) + name + nonce + sealed

    def open(self, sealed: bytes, row: UUID) -> bytes:
        """Return what was sealed for ``row``. Raises ``CannotOpen``."""
        start = 1 + sealed[0]
        name = sealed[1:start].decode(errors="replace")
        key = self.keys.get(name)
        if key is None:
            raise CannotOpen(f"no key named {name!r} is loaded")
        try:
            return key.decrypt(sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :], row.bytes)
        except InvalidTag as error:
            raise CannotOpen("sealed for another row, or changed") from error

    def person(self, phone: str) -> PersonId:
        """Return who owns ``phone``, an E.164 number: HMAC-SHA256, cut to 16 bytes."""
        hashed = self.person_hash.copy()
        hashed.update(phone.encode())
        return PersonId(uuid_of(hashed.digest()[:16]))


def new_keys(name: str) -> str:
    """Return a fresh key list, the sealing key under ``name``."""
    made = (base64.b64encode(os.urandom(_KEY_BYTES)).decode() for _ in range(2))
    return ",".join(f"{n}:{key}" for n, key in zip((_PERSON, name), made, strict=True))
