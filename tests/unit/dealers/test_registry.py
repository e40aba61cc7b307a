from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.config import BadConfig, Config
from shared.contracts.states import Channel
from shared.dealers.base import LookupMeans
from shared.dealers.registry import build_dealers

CREDENTIALS = {"api_key": "K", "api_secret": "S"}


def config(credentials: dict[str, str] | None = None, **fields: Any) -> Config:  # noqa: ANN401 - YAML
    dealer = {
        "kind": "solapi",
        "base_url": "https://api.solapi.com",
        "credentials": CREDENTIALS if credentials is None else credentials,
        **fields,
    }
    profile = {"name": "봉수상점", "routes": [{"dealer": "main", "sender_key": "PF"}]}
    return Config.model_validate({"dealers": {"main": dealer}, "profiles": {"shop": profile}})


async def test_every_dealer_stands_under_its_name() -> None:
    dealers = build_dealers(config(limits={"messages_per_second": 10, "batch": 500}))
    assert list(dealers) == ["main"]
    dealer = dealers["main"]
    assert dealer.name == "main"
    assert dealer.capabilities.max_batch == 500
    assert dealer.capabilities.lookup is LookupMeans.TWO_PHASE
    assert dealer.capabilities.channels == frozenset(Channel)
    assert dealer.capabilities.receipt_deadline[Channel.LMS] == timedelta(hours=80)
    await dealer.close()


def test_no_batch_is_larger_than_solapi_takes() -> None:
    dealers = build_dealers(config(limits={"messages_per_second": 10, "batch": 50_000}))
    assert dealers["main"].capabilities.max_batch == 10_000


async def test_an_operator_may_know_better_how_far_an_index_lags() -> None:
    assert build_dealers(config())["main"].capabilities.not_found_after == timedelta(minutes=2)
    dealer = build_dealers(config(not_found_after_seconds=600))["main"]
    assert dealer.capabilities.not_found_after == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("credentials", "complaint"),
    [
        pytest.param({"api_key": "K"}, r"dealers\.main\.credentials\.api_secret: is missing", id="missing"),
        pytest.param(CREDENTIALS | {"api_key": ""}, r"dealers\.main\.credentials\.api_key: ", id="empty"),
        pytest.param(CREDENTIALS | {"webhook_secret": ""}, r"credentials\.webhook_secret: ", id="no-secret"),
        pytest.param(CREDENTIALS | {"apikey": "K"}, r"dealers\.main\.credentials: apikey is not", id="unknown"),
    ],
)
def test_bad_credentials_are_refused_at_start(credentials: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadConfig, match=complaint):
        build_dealers(config(credentials))
