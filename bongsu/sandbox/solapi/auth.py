"""Checks ``Authorization: HMAC-SHA256 apiKey=…, date=…, salt=…, signature=…`` (facts, section 1)."""

from __future__ import annotations

import hmac
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bongsu.sandbox.solapi.codes import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SKEW = timedelta(minutes=15)
_DIGESTS = {"HMAC-SHA256": "sha256", "HMAC-MD5": "md5"}
_SALT_BYTES = range(12, 65)


def read_header(header: str) -> tuple[str, dict[str, str]]:
    """Return the method and the parameters, their names in lower case: SDKs spell them differently."""
    method, _, rest = header.partition(" ")
    pairs = (part.strip().partition("=") for part in rest.split(","))
    return method, {name.lower(): value for name, _, value in pairs}


class Signatures:
    """Knows the accounts' secrets and the signatures of the last 15 minutes, in world time."""

    def __init__(self, secrets: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.refused: Counter[str] = Counter()
        self._secrets = secrets
        self._now = now
        self._seen: set[str] = set()
        self._order: deque[tuple[datetime, str]] = deque()

    def check(self, header: str | None) -> str:
        """Return the API key that signed; raise ``Refused`` for a header that proves nothing."""
        try:
            return self._check(header)
        except Refused as refused:
            self.refused[refused.error_code] += 1
            raise

    def _check(self, header: str | None) -> str:
        if not header:
            raise Refused(401, "Unauthorized", "Authorization 헤더가 없습니다.")
        method, given = read_header(header)
        if method not in _DIGESTS or not {"apikey", "date", "salt", "signature"} <= given.keys():
            raise Refused(401, "Unauthorized", "Authorization 헤더의 형식이 올바르지 않습니다.")
        secret = self._secrets.get(given["apikey"])
        if secret is None:
            raise Refused(403, "InvalidAPIKey", "유효한 API Key가 아닙니다.")
        signed = (given["date"] + given["salt"]).encode()
        wanted = hmac.new(secret.encode(), signed, _DIGESTS[method]).hexdigest()
        salt_fits = len(given["salt"].encode()) in _SALT_BYTES
        if not salt_fits or not hmac.compare_digest(wanted.encode(), given["signature"].encode()):
            raise Refused(403, "SignatureDoesNotMatch", "생성한 Signature가 일치하지 않습니다.")
        self._check_date(given["date"])
        self._check_first_use(wanted)
        return given["apikey"]

    def _check_date(self, text: str) -> None:
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            date = None
        if date is None or date.tzinfo is None or abs(date - self._now()) > SKEW:
            raise Refused(403, "RequestTimeTooSkewed", "시간 값이 서버 시간을 15분 이상 벗어났습니다.")

    def _check_first_use(self, signature: str) -> None:
        now = self._now()
        while self._order and self._order[0][0] < now - SKEW:
            self._seen.discard(self._order.popleft()[1])
        if signature in self._seen:
            raise Refused(403, "DuplicatedSignature", "15분 안에 동일한 signature 값이 사용되었습니다.")
        self._seen.add(signature)
        self._order.append((now, signature))
