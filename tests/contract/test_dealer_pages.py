"""``docs/dealers``: a page for each dealer, and a table that is what the adapters say they can do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from bongsu.sandbox.server import DIALECTS
from shared.contracts.states import Channel
from shared.dealers.account import Account
from shared.dealers.base import Capabilities, Dealer, LookupMeans, Push
from shared.dealers.kinds import ADAPTERS

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "dealers"
OURS = sorted(kind for kind, module in ADAPTERS.items() if module.startswith("shared.dealers."))
MOST = 1_000_000
"""more than any dealer takes in a call"""
CHOICES = {"log_shows_pending", "receipts", "reports"}
"""credentials that are none, but choose a way: left at their defaults"""

LOOKUP = {
    LookupMeans.TWO_PHASE: "two-phase",
    LookupMeans.BY_KEY: "by our key",
    LookupMeans.REPLAY: "replay",
    LookupMeans.NONE: "**none**",
}
PUSH = {Push.NONE: "", Push.OPEN: "unsigned", Push.TOKEN: "a secret of ours", Push.SIGNED: "signed"}

every_dealer = pytest.mark.parametrize("kind", OURS)


def dealer_of(kind: str) -> Dealer:
    """Return an adapter with all the credentials that it has a use for."""
    credentials = {k: v for k, v in import_module(DIALECTS[kind]).credentials().items() if k not in CHOICES}
    account = Account(kind, "http://127.0.0.1:9", {}, credentials, 5, MOST, lambda: datetime.now(UTC))
    dealer: Dealer = import_module(ADAPTERS[kind]).build(account)
    return dealer


def row(kind: str, can: Capabilities) -> str:
    """Return the line of the table."""
    means = LOOKUP[can.lookup]
    if can.lookup is LookupMeans.REPLAY:
        means += f", for {span(can.replay_within)}"
    asked = can.lookup in {LookupMeans.TWO_PHASE, LookupMeans.BY_KEY} or can.receipts_polled
    receipts = [f"pushed ({PUSH[can.push]})"] if PUSH[can.push] else []
    receipts += ["asked for"] if can.receipts_polled else []
    receipts += ["fetched"] if can.receipts_pulled else []
    cells = (
        f"[{kind}]({kind}.md)",
        " ".join(channel.value for channel in Channel if channel in can.channels),
        f"{can.max_batch:,}",
        can.counts.value,
        means,
        span(can.not_found_after) if asked else "-",
        ", ".join(receipts),
        span(can.receipt_deadline.get(Channel.ALIMTALK, can.receipt_deadline.get(Channel.SMS, timedelta()))),
        span(can.unconfirmed_for) if Channel.ALIMTALK in can.channels else "-",
    )
    return f"| {' | '.join(cells)} |"


def span(of: timedelta) -> str:
    """Return a time in the largest unit that it is a whole number of."""
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        count, rest = divmod(int(of.total_seconds()), seconds)
        if not rest and (unit != "d" or count > 1):
            return f"{count} {unit}"
    raise AssertionError(of)


async def test_the_table_is_what_the_adapters_say() -> None:
    expected = []
    for kind in OURS:
        dealer = dealer_of(kind)
        expected.append(row(kind, dealer.capabilities))
        await dealer.close()
    shown = re.findall(r"^\| \[\w+\]\(\w+\.md\) .*\|$", (PAGES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == expected, "put this into docs/dealers/README.md:\n" + "\n".join(expected)


@every_dealer
def test_each_dealer_has_a_page_that_says_what_it_must(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    assert f"kind: {kind}" in page
    for subject in ("## Limits", "## What bongsu does when it fails", "nknown|ot known", "[Tt]wo.*none"):
        assert re.search(subject, page), subject


def test_the_guarantees_name_every_dealer() -> None:
    page = (ROOT / "docs" / "delivery-guarantees.md").read_text(encoding="utf-8")
    assert re.findall(r"^### .*\]\(dealers/(\w+)\.md\)", page, re.MULTILINE) == OURS
