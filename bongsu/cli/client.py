"""bongsu's own HTTP API, as the commands use it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from shared.errors import BongsuError

JSON = "application/json"

_ORDER = {"id": "20261123-000001", "product": "머그 2개"}
_DELIVERY = {"carrier": "우체국택배", "tracking_number": "123456789012", "url": "https://shop.bongsu.example/t/1"}
_PAID = {**_ORDER, "total_krw": 42000, "url": "https://shop.bongsu.example/orders/1"}
_SAMPLES: dict[str, dict[str, Any]] = {
    "lead.created": {"lead": {"id": "L1", "product": "상담", "form": "홈페이지 상담 신청"}},
    "order.paid": {"order": _PAID},
    "order.cancelled": {"order": _PAID},
    "delivery.started": {"order": _ORDER, "delivery": _DELIVERY},
    "delivery.completed": {"order": _ORDER, "delivery": _DELIVERY},
    "member.joined": {"member": {"id": "M1"}},
}


class ApiRefused(BongsuError):
    """The service answered with a problem."""


@dataclass(frozen=True, slots=True)
class Client:
    """One ingest service."""

    url: str
    api_key: str

    @staticmethod
    def sample(event_type: str) -> dict[str, Any]:
        """Return made-up data for an event that the shipped rules know. Raises ``ApiRefused`` for another."""
        if event_type not in _SAMPLES:
            raise ApiRefused(f"no sample data for {event_type!r}: give --data (samples: {', '.join(_SAMPLES)})")
        return _SAMPLES[event_type]

    async def send(self, event_type: str, profile: str, data: dict[str, Any]) -> dict[str, Any]:
        """POST one event."""
        event = {
            "specversion": "1.0",
            "type": event_type,
            "source": "/bongsu/cli",
            "id": str(uuid.uuid4()),
            "time": datetime.now(UTC).isoformat(),
            "profile": profile,
            "data": data,
        }
        return await self._call("POST", "/v1/events", event)

    async def message(self, message_id: str) -> dict[str, Any]:
        """GET one message with its timeline."""
        return await self._call("GET", f"/v1/messages/{message_id}")

    async def pauses(self) -> list[dict[str, Any]]:
        """GET what is paused."""
        found: list[dict[str, Any]] = (await self._call("GET", "/v1/pauses"))["pauses"]
        return found

    async def pause(self, what: str, name: str, why: str) -> dict[str, Any]:
        """PUT a pause."""
        return await self._call("PUT", f"/v1/pauses/{what}/{quote(name, safe='')}", {"why": why}, JSON)

    async def resume(self, what: str, name: str) -> None:
        """DELETE a pause."""
        await self._call("DELETE", f"/v1/pauses/{what}/{quote(name, safe='')}")

    async def cancel_message(self, message_id: str) -> dict[str, Any]:
        """POST that one message is not wanted any more."""
        return await self._call("POST", f"/v1/messages/{quote(message_id, safe='')}/cancel")

    async def cancel(self, which: dict[str, Any], why: str) -> dict[str, Any]:
        """POST a cancellation of many."""
        return await self._call("POST", "/v1/cancellations", {**which, "why": why}, JSON)

    async def cancellation(self, cancellation: str) -> dict[str, Any]:
        """GET how far a cancellation is."""
        return await self._call("GET", f"/v1/cancellations/{quote(cancellation, safe='')}")

    async def cancellations(self) -> list[dict[str, Any]]:
        """GET the latest cancellations."""
        found: list[dict[str, Any]] = (await self._call("GET", "/v1/cancellations"))["cancellations"]
        return found

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        content_type: str = "application/cloudevents+json",
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        if body is not None:
            headers["Content-Type"] = content_type
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(15)) as http,
            http.request(method, self.url + path, headers=headers, data=json.dumps(body) if body else None) as answer,
        ):
            said: dict[str, Any] = await answer.json(content_type=None) or {}
        if answer.status >= HTTPStatus.BAD_REQUEST:
            where = f" ({said['pointer']})" if said.get("pointer") else ""
            raise ApiRefused(f"{said.get('title', answer.status)}{where}: {said.get('detail', '')}")
        return said
