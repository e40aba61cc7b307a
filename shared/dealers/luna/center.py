"""One call to Luna's center API, which keeps sender profiles, templates and images, and sends nothing."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from shared.dealers.base import Checked, NotTaken, Refused, Uploaded
from shared.dealers.codes import UNKNOWN, CodeTable
from shared.dealers.http import Answer, Body, Http, Outcome, Query
from shared.dealers.templates import TemplateCallFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_IMAGE_BYTES = 5 * 1024 * 1024
"""of a brand message's image (upload-api.md 2.5)"""
_DONE = frozenset({"200", "0000"})
_IMAGES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_FORM = "application/x-www-form-urlencoded; charset=utf-8"


class CenterAnswer(msgspec.Struct, rename="camel"):
    """What the center answers; a list of changed templates stands beside ``data``, not in it."""

    code: Any = None
    data: Any = None
    list: Any = None
    has_next: Any = None
    image: Any = None
    message: Any = None


_ANSWER = msgspec.json.Decoder(CenterAnswer)


class CenterCallFailed(TemplateCallFailed):
    """The center did not do it; ``code`` is its own."""

    def __init__(self, reason: str, code: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.code = code


class Center:
    """The account's way to the center API."""

    def __init__(self, http: Http, *, agent_key: str, codes: CodeTable) -> None:
        self._http = http
        self._agent_key = agent_key
        self._codes = codes

    async def get(self, *path: str, query: Query = ()) -> CenterAnswer:
        """Fetch something. Raises ``CenterCallFailed``."""
        return self._read(await self._call("GET", path, query=query))

    async def post(self, *path: str, form: Sequence[tuple[str, str]]) -> CenterAnswer:
        """Have something done. Raises ``CenterCallFailed``."""
        return self._read(await self._call("POST", path, body=urlencode(form).encode(), content_type=_FORM))

    async def check_sender(self, sender_key: str) -> Checked:
        """Say whether a sender profile is there, open and not blocked (center-api.md 2.5)."""
        try:
            profile = (await self.get("api", "v3", "sender", query=[("senderKey", sender_key)])).data
        except CenterCallFailed as failure:
            unasked = failure.reason in {"dealer_unavailable", "dealer_error", UNKNOWN}
            return Checked(sender_key, None if unasked else False, failure.detail)
        if not isinstance(profile, dict):
            return Checked(sender_key, None, "the answer cannot be read")
        wrong = [
            f"{field} is {str(profile.get(field))[:20]}"
            for field, good in {"status": "A", "profileStatus": "A", "block": False, "dormant": False}.items()
            if profile.get(field) != good
        ]
        return Checked(sender_key, not wrong, ", ".join(wrong))

    async def upload_brand_image(self, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        """Upload an image for brand messages (upload-api.md 2.5); the address it got is what messages name."""
        kind = next((kind for head, kind in _IMAGES.items() if image.startswith(head)), None)
        if kind is None:
            return Refused("invalid_attachment", "", "Luna takes JPEG and PNG")
        if len(image) > MAX_IMAGE_BYTES:
            return Refused("invalid_attachment", "", f"Luna takes images of at most {MAX_IMAGE_BYTES} bytes")
        form = aiohttp.FormData()
        form.add_field("image", image, filename=name, content_type=kind)
        try:
            answer = self._read(await self._call("POST", ("api", "v1", "image", "friendtalk"), body=form))
        except CenterCallFailed as failure:
            if failure.reason in {"dealer_unavailable", "rate_limited"}:
                return NotTaken(failure.reason, failure.code, failure.detail)
            return Refused(failure.reason, failure.code, failure.detail)
        if not isinstance(answer.image, str) or not answer.image.isascii() or not answer.image.isprintable():
            return NotTaken("dealer_unavailable", detail="the answer names no image")
        return Uploaded(answer.image)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def _call(
        self, method: str, path: Sequence[str], *, query: Query = (), body: Body = None, content_type: str | None = None
    ) -> Outcome:
        headers = {"agentKey": self._agent_key}
        if content_type is not None:
            headers["Content-Type"] = content_type
        return await self._http.call(method, self._http.url(*path, query=query), headers=headers, body=body)

    def _read(self, outcome: Outcome) -> CenterAnswer:
        if not isinstance(outcome, Answer):
            raise CenterCallFailed("dealer_unavailable", "", outcome.detail)
        try:
            answer = _ANSWER.decode(outcome.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            answer = CenterAnswer()
        code = str(answer.code)[:16] if isinstance(answer.code, str | int) else ""
        if outcome.status == HTTPStatus.OK and code in _DONE:
            return answer
        raise self._failure(outcome, code, answer)

    def _failure(self, outcome: Answer, code: str, answer: CenterAnswer) -> CenterCallFailed:
        meaning = self._codes.read(code)
        match outcome.status:
            case HTTPStatus.TOO_MANY_REQUESTS:
                reason = "rate_limited"
            case HTTPStatus.UNAUTHORIZED:
                reason = "auth_failed"
            case HTTPStatus.FORBIDDEN if not meaning.known:
                reason = "auth_failed"
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR or not code:
                reason = "dealer_unavailable"
            case _:
                reason = meaning.reason or UNKNOWN
        said = answer.message if isinstance(answer.message, str) else meaning.text
        return CenterCallFailed(reason, code or f"HTTP {outcome.status}", said[:500] or f"HTTP {outcome.status}")
