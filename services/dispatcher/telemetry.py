"""What the dispatcher counts, besides ``shared.sending.telemetry`` and ``shared.bus.telemetry``."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

DUE = Counter("bongsu_dispatcher_due_total", "Scheduled messages whose time came, by what became of them", ["outcome"])
FORGOTTEN = Counter(
    "bongsu_dispatcher_forgotten_total",
    "Messages ended after their deadline because their job or failure never came: the bus has lost records",
)
RECEIPT_CALLS = Counter("bongsu_dispatcher_receipt_calls_total", "Receipt calls, by answer", ["dealer", "status"])
RECEIPTS_KEPT = Counter("bongsu_dispatcher_receipts_kept_total", "Reports stored to be applied", ["dealer"])
OPEN_DOORS = Gauge(
    "bongsu_dispatcher_receipt_doors_open",
    "1 for each dealer that proves nothing with its receipt calls, while no token guards their path: forgeries count",
    ["dealer"],
)
STOPS = Gauge(
    "bongsu_stops_open",
    "1 for each open stop: messages are held, or go another way, until it is over",
    ["scope", "dealer", "name", "reason"],
)
