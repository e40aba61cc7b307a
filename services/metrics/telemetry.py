"""What metrics shows to Prometheus: its own work, and the figures of the last days (rule time) for the dashboard."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("bongsu_metrics_records_total", "Records counted")
REPEATED = Counter("bongsu_metrics_repeated_total", "Records that had been counted before")
FOLD = Histogram(
    "bongsu_metrics_count_duration_seconds",
    "How long a batch took, with its commit",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
LAG = Gauge(
    "bongsu_metrics_lag_seconds", "Age (rule time) of the oldest change of state that is not counted; 0 for none"
)
DROPPED = Counter("bongsu_metrics_partitions_dropped_total", "Weeks of tables that became too old", ["table"])
WEEKS_KEPT = Gauge(
    "bongsu_metrics_weeks_kept", "Weeks that are too old and have messages that have not ended or are not read"
)
FORGOTTEN = Counter("bongsu_metrics_keys_forgotten_total", "Keys of events and requests that became too old", ["table"])

MESSAGES = Gauge("bongsu_metrics_messages", "Messages born in the window, by where they stand", ["profile", "state"])
DELIVERED = Gauge("bongsu_metrics_delivered", "Messages born in the window, by what delivered them", ["channel"])
FELL_BACK = Gauge("bongsu_metrics_fell_back", "Messages born in the window that went on over a text channel")
DOUBLE_CONTACTS = Gauge("bongsu_metrics_double_contacts", "Deliveries of a message after its first, in the window")
ATTEMPTS = Gauge(
    "bongsu_metrics_attempts",
    "Attempts of the window, by where they stand",
    ["profile", "channel", "dealer", "state"],
)
FAILURES = Gauge("bongsu_metrics_failures", "Failed attempts of the window", ["channel", "reason"])
PENDING = Gauge("bongsu_metrics_pending", "Attempts of the window whose receipt is awaited", ["channel"])
COST = Gauge("bongsu_metrics_cost_krw", "Cost of the attempts of the window, KRW", ["channel"])
ALL_SMS = Gauge("bongsu_metrics_all_sms_krw", "What the deliveries of the window had cost as an SMS each, KRW")
_SLOT = ["slot", "weekday", "hour"]  # Asia/Seoul; slot 000 is hour 00 of weekday 1-mon
SLOT_SENT = Gauge("bongsu_metrics_slot_sent", "Attempts of the window that the dealer took", _SLOT)
SLOT_DELIVERED = Gauge("bongsu_metrics_slot_delivered", "Attempts of the window that were delivered", _SLOT)
SLOT_FAILED = Gauge("bongsu_metrics_slot_failed", "Attempts of the window that failed once taken", _SLOT)
