"""What the dispatcher reads from the environment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.dispatcher.settings import Settings
from shared.contracts.states import Lane
from shared.crypto import new_keys


def settings(monkeypatch: pytest.MonkeyPatch, **told: str) -> Settings:
    always = {"DATABASE_URL": "postgresql:///b", "CONFIG": "c.yaml", "ENCRYPTION_KEYS": new_keys("k")}
    for name, value in (always | told).items():
        monkeypatch.setenv(f"BONGSU_{name}", value)
    return Settings()


def test_a_process_serves_all_lanes_or_those_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch).dispatch_lanes == set(Lane)
    assert settings(monkeypatch, DISPATCH_LANES="normal, mass").dispatch_lanes == {Lane.NORMAL, Lane.MASS}


@pytest.mark.parametrize("lanes", ["", "codes", "auth,,mass"])
def test_a_lane_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, lanes: str) -> None:
    with pytest.raises(ValidationError, match="dispatch_lanes"):
        settings(monkeypatch, DISPATCH_LANES=lanes)
