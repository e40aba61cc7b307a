"""What the fallback counts, besides ``shared.sending.telemetry`` and ``shared.bus.telemetry``."""

from __future__ import annotations

from prometheus_client import Counter

DECISIONS = Counter(
    "bongsu_fallback_decisions_total", "What followed a failed AlimTalk: now, wait, never", ["decision", "reason"]
)
