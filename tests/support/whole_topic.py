"""Reads everything that a topic holds, with a client that is not the product's."""

from contextlib import closing

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

PATIENCE_MS = (
    10  # the broker holds a fetch that finds nothing for so long; its default of 500 made most of a test's time
)


def read_whole(servers: str, topic: str) -> list[Message]:
    """Every record of `topic` as of now, partition by partition in order; all partitions are read at once."""
    settings: dict[str, str | int | bool] = {
        "bootstrap.servers": servers,
        "group.id": "reads-whole-topics",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": PATIENCE_MS,
    }
    with closing(Consumer(settings)) as consumer:
        partitions = sorted(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
        found: dict[int, list[Message]] = {partition: [] for partition in partitions}
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        unread = set(partitions)
        while unread:
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found[message.partition()].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                assert error.retriable(), error.str()
    return [message for partition in partitions for message in found[partition]]
