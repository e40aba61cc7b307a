"""What sending counts; the same in the dispatcher and in the fallback, told apart by their Prometheus job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from shared.contracts.states import Lane
    from shared.sending.backlog import Standing

CLAIMED = Counter("bongsu_sending_attempts_total", "Attempts written down")
VOID = Counter("bongsu_sending_void_jobs_total", "Jobs whose message had moved on, expired or rests")
CANCELLED = Counter("bongsu_sending_cancelled_total", "Messages cancelled with many others")
CAPPED = Counter("bongsu_sending_capped_total", "Messages suppressed, by the frequency cap that was full", ["cap"])
RESULTS = Counter(
    "bongsu_sending_results_total",
    "What dealers answered, by message: accepted, refused, nottaken, ambiguous",
    ["dealer", "channel", "result"],
)
DURATION = Histogram(
    "bongsu_sending_call_duration_seconds",
    "How long a dealer took for a batch",
    ["dealer"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RECEIPTS = Counter("bongsu_sending_receipts_total", "Receipts applied, by what they changed", ["dealer", "outcome"])
PULLED = Counter("bongsu_sending_receipts_pulled_total", "Receipts fetched from dealers that keep them", ["dealer"])
SILENT = Gauge("bongsu_receipts_silent", "1 while receipts are missing that ought to have come", ["dealer", "channel"])
LOOKUPS = Counter("bongsu_sending_lookups_total", "What dealers answered when asked", ["dealer", "answer"])
UNCERTAIN = Counter("bongsu_sending_uncertain_total", "Attempts that became uncertain", ["dealer"])
UNMAPPED = Counter("bongsu_sending_unmapped_codes_total", "Result codes of no table", ["dealer", "channel"])
BACKLOG = Gauge("bongsu_sending_backlog_jobs", "Jobs that wait for tokens of a dealer's limit", ["lane", "dealer"])
BACKLOG_OLDEST = Gauge(
    "bongsu_sending_backlog_oldest_seconds", "How long the job has waited that waits longest", ["lane", "dealer"]
)
PUT_AWAY = Counter(
    "bongsu_sending_put_away_jobs_total", "Jobs that had to wait for tokens, or for a call to end", ["lane", "dealer"]
)


def show_backlog(standing: Sequence[Standing], counted: Mapping[tuple[Lane, str], int] | None) -> None:
    """Show what waits; ``counted`` is None when nobody counted, and what was counted before stays."""
    if not standing:
        counted = {}
    BACKLOG_OLDEST.clear()
    longest: dict[tuple[Lane, str], float] = {}
    for each in standing:
        key = each.lane, each.dealer
        longest[key] = max(longest.get(key, 0.0), each.waited_seconds)
    for (lane, dealer), seconds in longest.items():
        BACKLOG_OLDEST.labels(lane, dealer).set(seconds)
    if counted is not None:
        BACKLOG.clear()
        for (lane, dealer), jobs in counted.items():
            BACKLOG.labels(lane, dealer).set(jobs)
