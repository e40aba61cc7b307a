"""What the bus counts, in every process that reads or relays."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("bongsu_bus_records_total", "Records handled and committed", ["topic"])
BURIED = Counter("bongsu_bus_dead_letters_total", "Records put among the dead letters", ["topic"])
REFUSED = Counter("bongsu_bus_commits_refused_total", "Commits that came after a rebalance")
BATCH = Histogram(
    "bongsu_bus_batch_records",
    "Records a handler was given at once",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
)

RELAY_LEADER = Gauge("bongsu_relay_leader", "1 in the process that relays the ledger to Kafka")
RELAY_RECORDS = Counter("bongsu_relay_records_total", "Records published, repetitions included", ["topic"])
RELAY_LAST = Gauge("bongsu_relay_last_timestamp_seconds", "When (rule time) the last transition published was made")
RELAY_FAILURES = Counter("bongsu_relay_failures_total", "Times the relay backed off and began again")
