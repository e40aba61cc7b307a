"""Every adapter meets every fault of the sandbox; then truth is held against ledger: 0 lost, 0 double, all final.

What each dealer cannot tell is written on its page in ``docs/dealers``; there an attempt may end as unknown, which
claims nothing. Everything else must be as it happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.sandbox.profile import CallFault, Operation
from bongsu.sandbox.server import DIALECTS
from shared.dealers.base import LookupMeans
from tests.integration.conformance.harness import bench

STALL = {"stall_seconds": 1.2}  # more than twice what the adapters wait
NO_LIMITS = {"messages_per_second": 0, "sends_per_window": 0, "lookups_per_window": 0}


@dataclass(frozen=True)
class Case:
    """What goes wrong."""

    arranged: tuple[tuple[Operation, CallFault, int], ...] = ()
    faults: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=lambda: dict(NO_LIMITS))
    dealer: dict[str, Any] = field(default_factory=dict)
    base_url: str | None = None


def _cases() -> dict[str, Case]:
    cases = {"nothing": Case()}
    for fault in CallFault:
        sends = tuple((operation, fault, 2) for operation in (Operation.OPEN, Operation.ADD, Operation.SEND))
        cases[f"send-{fault}"] = Case(sends)
        looks = tuple((operation, fault, 3) for operation in (Operation.LOOKUP, Operation.REMOVE))
        cases[f"lookup-{fault}"] = Case((*looks, (Operation.SEND, CallFault.CUT_AFTER, 3)))
    surely = {"probability": 1, "after": 30}
    for name in ("late", "repeated", "pending_after", "contradiction", "failure_first"):
        cases[f"receipt-{name}"] = Case(faults={"receipts": {name: surely}})
    cases["receipt-missing"] = Case(faults={"receipts": {"missing": 1}})
    cases["refused-some"] = Case(faults={"registration": {"invalid_request": 0.5}})
    cases["refused-all-no-balance"] = Case(faults={"registration": {"no_balance": 1}})
    cases["fates"] = Case(
        faults={"fates": {"alimtalk": {"not_kakao_user": 0.5}, "sms": {"handset_unreachable": 0.5}, "lms": {}}}
    )
    cases["unconfirmed"] = Case(faults={"fates": {"alimtalk": {"delivery_uncertain": 0.5}}})
    cases["limit"] = Case(limits={**NO_LIMITS, "messages_per_second": 6})
    cases["down-for-an-hour"] = Case(faults={"outages": {"daily 12:00-13:00": "error_before"}})
    cases["key-refused-for-an-hour"] = Case(faults={"outages": {"daily 12:00-13:00": "key_refused"}})
    cases["clock-skew"] = Case(dealer={"clock_skew_seconds": 3600})
    cases["tls"] = Case(base_url="https://127.0.0.1:{port}/x")
    cases["dns"] = Case(base_url="http://nowhere.invalid")
    anything = {fault.value: 0.04 for fault in CallFault if fault is not CallFault.KEY_REFUSED}
    cases["everything"] = Case(
        faults={
            "calls": {"default": {**anything, **STALL}},
            "registration": {"invalid_request": 0.05},
            "fates": {"alimtalk": {"not_kakao_user": 0.1}, "sms": {"handset_unreachable": 0.1}},
            "receipts": {
                "fate_after": {"uniform": [1, 60]},
                "late": {"probability": 0.2, "after": {"uniform": [60, 1800]}},
                "repeated": {"probability": 0.3, "after": {"uniform": [0, 120]}},
                "pending_after": {"probability": 0.2, "after": 20},
                "contradiction": {"probability": 0.1, "after": 30},
                "failure_first": {"probability": 0.05, "after": 60},
                "missing": 0.2,
            },
        }
    )
    return cases


CASES = _cases()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", DIALECTS)
async def test_nothing_is_lost_nothing_doubled_and_everything_ends(kind: str, case: str, database: AsyncEngine) -> None:
    what = CASES[case]
    faults = {"calls": {"default": STALL}, **what.faults}
    profile = {
        "faults": faults,
        "limits": what.limits,
        "dealers": {kind: what.dealer},
        "webhook": {"linger_seconds": 0},
    }
    async with bench(kind, database, profile, base_url=what.base_url) as at:
        for operation, fault, times in what.arranged:
            at.sandbox.arrange(operation, fault, times, kind)
        messages = await at.insert()
        await at.run()
        assert await at.findings() == []
        if case.startswith(("send-", "lookup-")) and at.dealer.capabilities.lookup is not LookupMeans.NONE:
            assert await at.doubts() == 0, "a dealer that can be asked leaves no doubt"
        left = {sent.to for sent in at.sandbox.truth()}
        if case in {"tls", "dns"}:
            assert not left
        elif case == "nothing":
            assert len(left) == len(messages)
