"""What the dealers' edge counts."""

from __future__ import annotations

from prometheus_client import Counter

UNMAPPED_CODES = Counter(
    "bongsu_dealer_unmapped_codes_total",
    "Codes a dealer used that our table does not have; the log event dealer_code_unmapped names them",
    ["dealer", "channel"],
)
UNREADABLE_RECEIPTS = Counter(
    "bongsu_dealer_unreadable_receipts_total",
    "Items of pushed receipt calls that were skipped because they name no message or no status",
    ["dealer"],
)
