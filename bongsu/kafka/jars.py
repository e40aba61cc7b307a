"""Fetches the jars of Apache Kafka with Maven, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from shared.errors import BongsuError

VERSION = "4.1.1"
_POM = Path(__file__).with_name("pom.xml")


class KafkaUnavailable(BongsuError):
    """Kafka cannot be run here; the message is one line that says what to do."""


def java() -> str:
    """Return the path of Java. Raises ``KafkaUnavailable``."""
    return _program("java", "install a Java 17 runtime (openjdk-17-jre-headless)")


def home() -> Path:
    """Return where the jars are kept: ``BONGSU_KAFKA_HOME``, or a directory of the user's cache."""
    if chosen := os.environ.get("BONGSU_KAFKA_HOME"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "bongsu" / f"kafka-{VERSION}"


def jars() -> Path:
    """Return the directory of the jars, having fetched them if they are not there. Raises ``KafkaUnavailable``.

    They are copied beside it and renamed, so that it is whole or absent; two at once do no harm.
    """
    directory = home()
    if any(directory.glob("kafka_*.jar")):
        return directory
    maven = _program("mvn", "install Maven (maven), or point BONGSU_KAFKA_HOME at Kafka's jars")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="kafka-") as temporary:
        shutil.copy(_POM, temporary)
        copied = Path(temporary) / "jars"
        command = [maven, "-q", "-B", "-f", f"{temporary}/pom.xml", "dependency:copy-dependencies"]
        command.append(f"-DoutputDirectory={copied}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, our words
        if done.returncode or not any(copied.glob("kafka_*.jar")):
            raise KafkaUnavailable(
                f"Maven could not fetch Apache Kafka {VERSION}: is its registry within reach?"
                f" ({_first_error(done.stdout + done.stderr)})"
            )
        try:
            copied.rename(directory)
        except OSError:
            if not any(directory.glob("kafka_*.jar")):
                raise
    return directory


def _program(name: str, advice: str) -> str:
    if path := shutil.which(name):
        return path
    raise KafkaUnavailable(f"no `{name}` on the PATH: {advice}")


def _first_error(output: str) -> str:
    errors = [line.removeprefix("[ERROR]").strip() for line in output.splitlines() if "[ERROR]" in line]
    return (errors or ["no reason given"])[0][:300]
