"""The producers of the examples: what they send is a valid event, in the partition that Kafka's murmur2 decides."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from node import installed
from streams.broker.jars import KAFKA_VERSION, find_jars
from streams.cli import main
from streams.kafka.topics import create, partition_of
from streams.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples" / "producers"


def _command(name: str, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """How an example is called, and its environment."""
    jars = str(find_jars(KAFKA_VERSION, Settings().cache_dir) / "*") if name in ("Producer.java", "console.sh") else ""
    if name == "producer.py":
        return [sys.executable, str(EXAMPLES / name)], {}
    if name == "Producer.java":
        return ["java", "-cp", jars, str(EXAMPLES / name)], {}
    if name == "console.sh":
        producer = {"CONSOLE_PRODUCER": "java org.apache.kafka.tools.ConsoleProducer", "CLASSPATH": jars}
        return ["sh", str(EXAMPLES / name)], producer
    folder = installed(tmp_path / "node", {"kafkajs": "^2.2.4"})
    shutil.copy(EXAMPLES / name, folder)
    return ["node", str(folder / name)], {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["producer.py", "producer.mjs", "Producer.java", "console.sh"])
def test_an_example_sends_a_valid_event_to_the_right_partition(name: str, settings: Settings, tmp_path: Path) -> None:
    """A first event that is sent as the page says is accepted, and names its producer."""
    asyncio.run(create(settings))
    topic = settings.topic("purchases")
    command, environment = _command(name, tmp_path)

    subprocess.run(
        [*command, settings.bootstrap_servers, topic],
        env=os.environ | environment,
        check=True,
        timeout=120,
        cwd=tmp_path,
    )
    given = {"REGULARS_BOOTSTRAP_SERVERS": settings.bootstrap_servers, "REGULARS_TOPIC_PREFIX": settings.topic_prefix}
    done = CliRunner().invoke(main, ["events", "check", "purchases", "--json"], env=given)

    assert done.exit_code == 0, done.output
    assert json.loads(done.output.splitlines()[-1])["valid"] == 1
    consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": "x"})
    consumer.assign([TopicPartition(topic, partition_of(b"c-17850", settings.partitions), 0)])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert [header for header, _ in message.headers() or []] == ["regulars-producer"]
