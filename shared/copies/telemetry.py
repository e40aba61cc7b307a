"""What is counted of our templates at the dealers."""

from __future__ import annotations

from collections import Counter as Count
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.copies.rules import Copy

COPIES = Gauge("bongsu_template_copies", "Copies of our templates, by where they stand", ["dealer", "status"])
DORMANT_SOON = Gauge(
    "bongsu_template_dormant_soon", "Copies that fall dormant within a month unless they are used", ["dealer"]
)
FAILURES = Counter("bongsu_template_sync_failures_total", "Lists of templates that could not be had", ["dealer"])


def show(copies: Iterable[Copy], fading: Iterable[Copy]) -> None:
    """Set the gauges to what there is now."""
    COPIES.clear()
    for (dealer, status), count in Count((copy.key.dealer, copy.status.value) for copy in copies).items():
        COPIES.labels(dealer, status).set(count)
    DORMANT_SOON.clear()
    for dealer, count in Count(copy.key.dealer for copy in fading).items():
        DORMANT_SOON.labels(dealer).set(count)
