"""What happens to a shop in a day: a list of events with their times, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

# How busy each hour of the day is, from 0 to 23 o'clock in Seoul: lunch and the evening are.
_BUSY = (2, 1, 0.5, 0.3, 0.3, 0.5, 1.5, 3, 5, 7, 9, 10, 12, 9, 8, 8, 8, 9, 10, 12, 13, 11, 8, 5)

_FAMILY = "김이박최정강조윤장임한오서신권황안송류홍"
_GIVEN = (
    "서연",
    "민준",
    "지우",
    "하윤",
    "도윤",
    "예은",
    "시우",
    "수아",
    "주원",
    "지호",
    "은서",
    "건우",
    "유나",
    "현우",
)
_PRODUCTS = ("머그 2개", "원두 500g", "드립 세트", "텀블러", "에코백", "핸드크림", "수건 세트", "디퓨저")
_COURSES = ("임플란트 상담", "도수치료 상담", "피부 관리 상담", "인테리어 견적")
_CARRIERS = ("우체국택배", "한진택배", "롯데택배", "로젠택배")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event and when the shop's systems tell of it."""

    at: datetime
    event: dict[str, Any]


def a_day(starts: datetime, events: int, seed: int, *, lasts: timedelta = timedelta(hours=24)) -> list[Occurrence]:
    """Return about ``events`` occurrences within ``lasts`` from ``starts``, in order of time."""
    chance = random.Random(seed)  # noqa: S311 - a demo wants the same day each time
    hours = [starts + timedelta(hours=n) for n in range(int(lasts.total_seconds() // 3600))]
    weights = [_BUSY[hour.hour] for hour in hours]
    found: list[Occurrence] = []
    number = 0
    while len(found) < events:
        number += 1
        at = chance.choices(hours, weights)[0] + timedelta(seconds=chance.uniform(0, 3600))
        story = _story(chance, number, at)
        found += (each for each in story if each.at < starts + lasts)
    return sorted(found, key=lambda each: each.at)[:events]


def _story(chance: random.Random, number: int, at: datetime) -> Iterator[Occurrence]:
    """Yield what one person sets going: an order and what follows it, a lead, or a new member."""
    recipient = {
        "phone": f"010-{chance.randrange(2000, 10000)}-{chance.randrange(10000):04}",
        "name": chance.choice(_FAMILY) + chance.choice(_GIVEN),
    }
    match chance.choices(("order", "lead", "member"), (6, 3, 1))[0]:
        case "order":
            order = {
                "id": f"{at:%Y%m%d}-{number:06}",
                "product": chance.choice(_PRODUCTS),
                "total_krw": chance.randrange(90, 900) * 100,
                "url": f"https://shop.bongsu.example/orders/{number}",
            }
            yield _event(at, "order.paid", number, {"recipient": recipient, "order": order})
            if chance.random() < 0.06:  # noqa: PLR2004 - of a hundred orders, six
                later = at + timedelta(minutes=chance.uniform(5, 240))
                yield _event(later, "order.cancelled", number, {"recipient": recipient, "order": order})
                return
            short = {"id": order["id"], "product": order["product"]}
            tracking = str(chance.randrange(10**11, 10**12))
            delivery = {
                "carrier": chance.choice(_CARRIERS),
                "tracking_number": tracking,
                "url": f"https://shop.bongsu.example/tracking/{tracking}",
            }
            data = {"recipient": recipient, "order": short, "delivery": delivery}
            started = at + timedelta(hours=chance.uniform(1, 8))
            yield _event(started, "delivery.started", number, data)
            yield _event(started + timedelta(hours=chance.uniform(2, 8)), "delivery.completed", number, data)
        case "lead":
            lead = {"id": f"L{number:06}", "product": chance.choice(_COURSES), "form": "홈페이지 상담 신청"}
            yield _event(at, "lead.created", number, {"recipient": recipient, "lead": lead})
        case _:
            member = {"id": f"M{number:06}"}
            yield _event(at, "member.joined", number, {"recipient": recipient, "member": member})


def _event(at: datetime, kind: str, number: int, data: dict[str, Any]) -> Occurrence:
    event = {
        "specversion": "1.0",
        "type": kind,
        "source": "/demo/shop",
        "id": f"{kind}-{number}",
        "time": at.isoformat(),
        "profile": "shop",
        "datacontenttype": "application/json",
        "data": data,
    }
    return Occurrence(at, event)
