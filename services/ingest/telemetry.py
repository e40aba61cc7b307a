"""What ingest counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter(
    "bongsu_ingest_events_total",
    "Events, by way in and outcome: accepted, duplicate, replayed, refused, unavailable",
    ["via", "outcome"],
)
REFUSALS = Counter("bongsu_ingest_refusals_total", "Refusals, by the last part of the problem's type", ["type"])
WITHOUT_RULE = Counter("bongsu_ingest_events_without_rule_total", "Accepted events that no rule wanted")
MESSAGES = Counter("bongsu_ingest_messages_total", "Messages planned and written", ["lane", "state"])
CANCELLED = Counter("bongsu_ingest_cancelled_total", "Messages cancelled by a call")
GROUP = Histogram(
    "bongsu_ingest_group_events",
    "Events that shared a transaction",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
COMMIT = Histogram(
    "bongsu_ingest_commit_duration_seconds",
    "Time from the first statement of a group's transaction to its commit",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
LAG = Gauge(
    "bongsu_ingest_lag_seconds", "Age of the oldest change that the relay, or the embedded dispatcher, has not read"
)
BODIES = Gauge("bongsu_ingest_bodies", "Requests whose body is read or handled")
BODY_BYTES = Gauge("bongsu_ingest_body_bytes", "Bytes of bodies that are held")
RULES = Gauge("bongsu_ingest_rules", "Rules at hand")
PARTITIONS = Counter("bongsu_ingest_partitions_made_total", "Partitions of the ledger made ahead")
