"""Each contract reads every record ever written under its version. Records are added to ``golden/``, never changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.contracts.base import Contract
from shared.contracts.delivery import Delivery, decode_delivery
from shared.contracts.jobs import SendJob, decode_job
from shared.contracts.states import AttemptState, MessageState

GOLDEN = Path(__file__).parent / "golden"
CONTRACTS: dict[str, tuple[type[Contract], Callable[[bytes], Contract]]] = {
    "delivery.v1": (Delivery, decode_delivery),
    "send-job.v1": (SendJob, decode_job),
}


def records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return found


EVERY = [
    pytest.param(name, record, id=f"{name}-{n}")
    for name in CONTRACTS
    for n, record in enumerate(records(name), start=1)
]


@pytest.mark.parametrize(("name", "record"), EVERY)
def test_a_record_written_once_is_read_for_good(name: str, record: dict[str, Any]) -> None:
    contract, decode = CONTRACTS[name]
    read = decode(json.dumps(record).encode())
    assert isinstance(read, contract)
    assert set(record) <= set(contract.__struct_fields__)  # a renamed field would be read as absent
    for field, value in record.items():
        assert msgspec.json.decode(msgspec.json.encode(getattr(read, field))) == _as_written(value)


def _as_written(value: object) -> object:
    """Times may be written with an offset of zero and are encoded with a Z."""
    return value.replace("+00:00", "Z") if isinstance(value, str) else value


@pytest.mark.parametrize(("name", "record"), EVERY)
def test_what_was_read_is_written_so_that_it_reads_the_same(name: str, record: dict[str, Any]) -> None:
    _, decode = CONTRACTS[name]
    read = decode(json.dumps(record).encode())
    assert decode(read.encode()) == read


@pytest.mark.parametrize(("name", "record"), EVERY)
def test_a_producer_may_add_a_field_first(name: str, record: dict[str, Any]) -> None:
    _, decode = CONTRACTS[name]
    assert decode(json.dumps({**record, "of_the_next_version": [1]}).encode()) == decode(json.dumps(record).encode())


@pytest.mark.parametrize("name", CONTRACTS)
def test_what_a_record_must_have_is_what_the_first_ones_had(name: str) -> None:
    """A field that becomes required would make older records poison."""
    contract, _ = CONTRACTS[name]
    required = {field.name for field in msgspec.structs.fields(contract) if field.required}
    assert all(required <= set(record) for record in records(name))


def test_the_words_of_the_states_are_those_on_the_topic() -> None:
    """A word that is dropped or spelt anew would make older records poison."""
    assert [str(state) for state in MessageState] == [
        "accepted",
        "scheduled",
        "queued",
        "sending",
        "uncertain",
        "sent",
        "delivered",
        "failed",
        "suppressed",
        "expired",
        "cancelled",
    ]
    assert [str(state) for state in AttemptState] == ["sending", "uncertain", "sent", "delivered", "failed"]


def test_times_come_back_aware() -> None:
    read = decode_delivery(json.dumps(records("delivery.v1")[0]).encode())
    assert read.at == datetime(2026, 11, 23, 0, 0, 0, 128_000, tzinfo=UTC)


def test_no_contract_has_a_place_for_personal_data() -> None:
    for contract, _ in CONTRACTS.values():
        names = set(contract.__struct_fields__)
        assert not names & {"phone", "name", "variables", "text", "to", "recipient", "personal"}
