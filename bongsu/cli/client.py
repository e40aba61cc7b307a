"""bongsu's own HTTP API, as the commands use it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from shared.errors import BongsuError

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

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        if body is not None:
            headers["Content-Type"] = "application/cloudevents+json"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(15)) as http,
            http.request(method, self.url + path, headers=headers, data=json.dumps(body) if body else None) as answer,
        ):
            said: dict[str, Any] = await answer.json(content_type=None)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            where = f" ({said['pointer']})" if said.get("pointer") else ""
            raise ApiRefused(f"{said.get('title', answer.status)}{where}: {said.get('detail', '')}")
        return said
