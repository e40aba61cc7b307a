"""What Bizgo reports, as reports in our words; and what proves that it was Bizgo."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from shared.dealers.base import BadReceipt, Report
from shared.dealers.bizgo import wire
from shared.dealers.codes import UNKNOWN
from shared.dealers.telemetry import UNREADABLE_RECEIPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from shared.dealers.codes import CodeTable

log = structlog.get_logger()

TOLERANCE = timedelta(minutes=5)
"""how old a signature may be, as in SDK 1.2.0"""
_MILLISECONDS = 13
"""digits from which a timestamp counts milliseconds, as in SDK 1.2.0"""


class Signature:
    """``X-IB-Signature`` is the HMAC of ``X-IB-Timestamp`` alone: it proves no body, and one call's pair opens others.

    Whether it is written in hex or base64 is not known: both are taken.
    """

    def __init__(self, secret: str, now: Callable[[], datetime]) -> None:
        """``now`` is the world's time."""
        self._secret = secret.encode()
        self._now = now

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise ``BadReceipt`` unless the headers of a call are signed, and not long ago."""
        stamp = headers.get("x-ib-timestamp", "")
        if not re.fullmatch(r"[0-9]{1,16}", stamp):
            raise BadReceipt(401, "X-IB-Timestamp is missing, or no time")
        digest = hmac.new(self._secret, stamp.encode(), hashlib.sha256).digest()
        given = headers.get("x-ib-signature", "").strip()
        is_hex = hmac.compare_digest(given.lower().encode("ascii", "replace"), digest.hex().encode())
        is_base64 = hmac.compare_digest(_from_base64(given), digest)
        if not (is_hex or is_base64):
            raise BadReceipt(401, "X-IB-Signature is not the HMAC-SHA256 of X-IB-Timestamp under webhook_secret")
        signed_at = int(stamp) / (1000 if len(stamp) >= _MILLISECONDS else 1)
        if abs(self._now().timestamp() - signed_at) > TOLERANCE.total_seconds():
            raise BadReceipt(401, "X-IB-Timestamp is more than five minutes off")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


@dataclass(frozen=True, slots=True)
class Reports:
    """Reads reports by the codes' table."""

    dealer: str
    codes: CodeTable

    def readable(self, items: Iterable[bytes]) -> list[Report]:
        """Read each item; one that names no message or no result is counted and left out."""
        reports, skipped = [], 0
        for item in items:
            try:
                message = wire.read(item, wire.Message)
            except wire.Unreadable:
                message = wire.Message()
            if not message.code or not (message.id or message.key):
                UNREADABLE_RECEIPTS.labels(self.dealer).inc()
                skipped += 1
                continue
            reports.append(self.report_of(message, item))
        if skipped:
            log.warning("receipts_unreadable", dealer=self.dealer, items=skipped)
        return reports

    def report_of(self, message: wire.Message, raw: bytes, *, request_key: str | None = None) -> Report:
        """Return the report that ``message`` makes; ``request_key`` stands in where it did not carry ours.

        One that is not reported yet was taken, unless its ``responseCode`` is known to say that it was not.
        """
        code = message.code
        if code:
            meaning = self.codes.meaning(self.dealer, code, message.channel)
            delivered, reason = meaning.delivered, meaning.reason
        else:
            code = wire.code_of(message.response_code) or wire.OK
            meaning = self.codes.read(code)
            failed = meaning.known and meaning.delivered is False
            delivered, reason = (False, meaning.reason or UNKNOWN) if failed else (None, None)
        return Report(
            request_key=message.key or request_key,
            dealer_message_id=message.id,
            delivered=delivered,
            code=code,
            reason=reason,
            detail=meaning.text or message.words,
            at=message.at,
            raw=raw,
        )
