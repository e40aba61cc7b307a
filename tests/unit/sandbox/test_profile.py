"""Profiles: what is shipped can be used, what is wrong is named by its place, and draws follow what is written."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from pydantic import ValidationError

from bongsu.sandbox.__main__ import PROFILES, read_arguments
from bongsu.sandbox.faults import Faults
from bongsu.sandbox.profile import (
    BadProfile,
    CallFault,
    FaultProfile,
    Operation,
    Receipts,
    load_profile,
)
from shared.clock import SEOUL, FastClock
from shared.contracts.states import Channel
from shared.dealers.codes import REASONS


@pytest.mark.parametrize("name", ["calm", "rough", "mix"])
def test_shipped_profiles_can_be_used(name: str) -> None:
    settings = read_arguments(["--profile", name, "--port", "0", "--seed", "5"])
    assert settings.profile.seed == 5
    assert settings.profile.accept_any_template


@pytest.mark.parametrize("name", ["rough", "mix"])
def test_the_rough_profiles_have_every_fault_on(name: str) -> None:
    faults = load_profile(PROFILES / f"{name}.yaml").faults
    assert all(getattr(faults.calls["default"], fault) for fault in CallFault)
    receipts = faults.receipts
    assert all(
        chance.probability
        for chance in (
            receipts.late,
            receipts.repeated,
            receipts.pending_after,
            receipts.contradiction,
            receipts.failure_first,
        )
    )
    assert receipts.missing
    assert faults.registration
    assert faults.fates.hours


def test_the_mix_speaks_in_reasons() -> None:
    faults = load_profile(PROFILES / "mix.yaml").faults
    fates = [word for channel in Channel for word in faults.fates.of(channel)]
    assert {*faults.registration, *fates, faults.receipts.contradiction.code} <= REASONS


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("limits: {messages_per_secnd: 3}", "limits.messages_per_secnd"),
        ("faults: {fates: {alimtalk: {'3104': 1.5}}}", "faults.fates.alimtalk.3104"),
        ("faults: {fates: {alimtalk: {'abc': 0.5}}}", "faults.fates.alimtalk.abc"),
        ("faults: {fates: {hours: {'someday 02:00-03:00': 2}}}", "someday"),
        ("faults: {fates: {hours: {'mon 03:00-02:00': 2}}}", "the end must come after"),
        ("faults: {calls: {send: {cut_after: 0.6, cut_before: 0.6}}}", "faults.calls.send"),
        ("faults: {calls: {sned: {}}}", "faults.calls.sned"),
        ("faults: {registration: {'3104': 0.1}}", "faults.registration"),
        ("faults: {receipts: {fate_after: {fixed: 1, uniform: [1, 2]}}}", "faults.receipts.fate_after"),
        ("faults: {receipts: {fate_after: {lognormal: {p50: 3, p99: 1}}}}", "lognormal"),
        ("templates: [{templateId: X}]", "templates.0.content"),
        ("[", "line"),
    ],
)
def test_a_mistake_is_named_by_its_place(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadProfile, match=r"profile\.yaml") as refused:
        load_profile(path)
    assert place in str(refused.value)


def test_a_missing_file_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(["--profile", "/nowhere/profile.yaml"])
    assert "/nowhere/profile.yaml" in capsys.readouterr().err


def test_the_clock_is_taken_from_the_command_line() -> None:
    settings = read_arguments(["--clock", "2026-11-23T09:00:00+09:00@1000*60"])
    assert isinstance(settings.clock, FastClock)


@pytest.mark.parametrize(
    ("spread", "p50", "p99"),
    [
        (7, 7, 7),
        ({"uniform": [0, 100]}, 50, 99),
        ({"lognormal": {"p50": 3, "p99": 60}}, 3, 60),
    ],
    ids=["fixed", "uniform", "lognormal"],
)
def test_spreads_have_their_percentiles(spread: Any, p50: float, p99: float) -> None:  # noqa: ANN401 - as in YAML
    drawn = Receipts(fate_after=spread).fate_after
    dice = random.Random(3)  # noqa: S311 - no secret
    points = quantiles((drawn.draw(dice) for _ in range(20_000)), n=100)
    assert points[49] == pytest.approx(p50, rel=0.05)
    assert points[98] == pytest.approx(p99, rel=0.15)


@pytest.mark.parametrize(
    ("local", "factor"),
    [
        ("2026-11-23T01:59", 1),  # a Monday
        ("2026-11-23T02:00", 12),
        ("2026-11-23T04:59", 12),
        ("2026-11-23T05:00", 1),
        ("2026-11-24T02:00", 4),
    ],
)
def test_hours_multiply_in_seoul(local: str, factor: float) -> None:
    faults = FaultProfile.model_validate({"fates": {"hours": {"mon 02:00-05:00": 3, "daily 02:00-05:00": 4}}})
    assert faults.fates.factor(datetime.fromisoformat(local).replace(tzinfo=SEOUL)) == factor


def test_fates_follow_their_probabilities_and_the_hour() -> None:
    profile = FaultProfile.model_validate({"fates": {"alimtalk": {"3104": 0.1, "3107": 0.05}}})
    faults = Faults(profile, seed=11)
    plain = [faults.fate(Channel.ALIMTALK, "01000000001", 1.0) for _ in range(20_000)]
    worse = [faults.fate(Channel.ALIMTALK, "01000000001", 4.0) for _ in range(20_000)]
    assert plain.count("3104") == pytest.approx(2_000, rel=0.1)
    assert plain.count("3107") == pytest.approx(1_000, rel=0.15)
    assert worse.count(None) == pytest.approx(8_000, rel=0.1)
    assert {faults.fate(Channel.SMS, "01000000001", 1.0) for _ in range(100)} == {None}


def test_the_same_seed_draws_the_same() -> None:
    profile = load_profile(PROFILES / "rough.yaml").faults
    first, second = Faults(profile, seed=4), Faults(profile, seed=4)
    for faults in (first, second):
        for operation in Operation:
            faults.latency(operation)
    assert [first.call_fault(Operation.SEND) for _ in range(500)] == [
        second.call_fault(Operation.SEND) for _ in range(500)
    ]


def test_a_contradictory_span_is_refused() -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        Receipts.model_validate({"fate_after": {}})
