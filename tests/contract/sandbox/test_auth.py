"""Every refusal of a signature that the facts name, and the spellings that both SDKs use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.sandbox.wire import Start, sign

_BALANCE = "/cash/v1/balance"


@pytest.mark.parametrize("capital", [False, True], ids=["node-spelling", "python-spelling"])
async def test_a_signed_call_is_answered(start: Start, capital: bool) -> None:  # noqa: FBT001 - a parameter
    client = await start()
    answer = await client.call("GET", _BALANCE, authorization=sign(capital=capital))
    assert (answer.status, answer.body["balance"]) == (200, 100_000_000)


def _ago(minutes: int) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        pytest.param("", 401, "Unauthorized", id="missing"),
        pytest.param("Bearer x", 401, "Unauthorized", id="another-method"),
        pytest.param(sign(api_key="NOBODY"), 403, "InvalidAPIKey", id="unknown-key"),
        pytest.param(sign(secret="wrong"), 403, "SignatureDoesNotMatch", id="wrong-secret"),
        pytest.param(sign(salt="short"), 403, "SignatureDoesNotMatch", id="short-salt"),
        pytest.param(sign(salt="x" * 65), 403, "SignatureDoesNotMatch", id="long-salt"),
        pytest.param(sign(date=_ago(60)), 403, "RequestTimeTooSkewed", id="too-old"),
        pytest.param(sign(date=_ago(-60)), 403, "RequestTimeTooSkewed", id="too-new"),
        pytest.param(sign(date="yesterday"), 403, "RequestTimeTooSkewed", id="no-date"),
    ],
)
async def test_a_bad_signature_is_refused(start: Start, authorization: str, status: int, code: str) -> None:
    client = await start()
    answer = await client.call("GET", _BALANCE, authorization=authorization)
    assert (answer.status, answer.body["errorCode"]) == (status, code)
    assert answer.body["errorMessage"]
    assert client.sandbox.stats()["auth_refusals"] == {code: 1}


async def test_a_signature_is_taken_once(start: Start) -> None:
    client = await start()
    once = sign()
    assert (await client.call("GET", _BALANCE, authorization=once)).status == 200
    again = await client.call("GET", _BALANCE, authorization=once)
    assert (again.status, again.body["errorCode"]) == (403, "DuplicatedSignature")
