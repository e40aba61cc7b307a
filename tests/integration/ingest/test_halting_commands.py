"""``bongsu pause``, ``resume``, ``pauses``, ``cancel`` and ``cancellations`` against a running ingest."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from bongsu.cli.app import app
from shared.errors import BongsuError
from tests.integration.ingest.parts import make_event
from tests.integration.ingest.process import KEY, Service, prepared_database, running

Run = Callable[..., str]


@pytest.fixture(scope="module")
def service(postgres_url: str) -> Iterator[Service]:
    with (
        prepared_database(postgres_url) as url,
        tempfile.TemporaryDirectory(prefix="bongsu-halting-") as directory,
        running(url, Path(directory)) as service,
    ):
        yield service


@pytest.fixture
def run(service: Service) -> Run:
    """Return what runs a command; its error is raised."""

    def run_(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--api-key", KEY, "--url", service.url])
        if done.exception is not None:
            raise done.exception
        return done.stdout

    return run_


def test_a_pause_is_ordered_shown_and_ended(run: Run) -> None:
    assert "nothing is paused" in run("pauses")
    assert "lane mass is paused: a wrong price" in run("pause", "lane", "mass", "--why", "a wrong price")
    [shown] = json.loads(run("pauses", "--json"))
    assert (shown["what"], shown["name"], shown["why"], shown["held"]) == ("lane", "mass", "a wrong price", 0)
    assert "a wrong price" in run("pauses")
    assert "lane mass goes on" in run("resume", "lane", "mass")
    with pytest.raises(BongsuError, match="not paused"):
        run("resume", "lane", "mass")
    with pytest.raises(BongsuError, match="There is no such profile"):
        run("pause", "profile", "gone", "--why", "x")


async def test_a_campaign_and_a_message_are_cancelled(run: Run, service: Service) -> None:

    answer = await service.post(make_event(str(uuid4()), profile="shop", campaign="autumn"))
    message = answer.body["messages"][0]["id"]

    def commands() -> None:
        assert "nothing was cancelled" in run("cancellations")
        made = json.loads(run("cancel", "--campaign", "autumn", "--why", "a wrong price", "--json"))
        assert "campaign autumn" in run("cancellations")
        assert json.loads(run("cancellations", made["id"], "--json"))["filter"] == {"campaign": "autumn"}
        assert "none of them leaves" in run("cancel", "--event", answer.body["event_id"], "--why", "x")
        assert f"message {message} is cancelled" in run("cancel", message)
        for words in (["cancel"], ["cancel", message, "--rule", "x"], ["cancel", "--rule", "x"]):
            with pytest.raises(BongsuError, match=r"name one message|say why"):
                run(*words)

    await asyncio.to_thread(commands)
