"""A CRM's consumer: keeps a SQLite database current from `customer-segments` and `segment-changes`.

    python crm.py --bootstrap-servers 127.0.0.1:9092 --database crm.sqlite --effects-from now

The steps are those of docs/guarantees.md, "How the CRM starts". Needs confluent-kafka; SQLite comes with Python.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from book import Book, Record
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

# Kafka keeps the null of an erased customer for a day after compaction (delete.retention.ms). Half of it leaves room.
NULLS_KEPT_S = 12 * 3600
SAY_READ_S = 60  # how often the database says that the table was read, where nothing comes
BATCH = 500
TIMEOUT_S = 30.0


def main() -> None:
    """Reads until it is killed, or with `--until-end` up to the ends that the topics have now."""
    options = _options()
    table, log = (options.topic_prefix + name for name in ("customer-segments", "segment-changes"))
    book = Book(options.database, table, log)
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap_servers,
            "group.id": "crm",  # a name in the broker's logs only: partitions are assigned here, offsets are in SQLite
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            **dict(pair.split("=", 1) for pair in options.config),
        }
    )
    # Step 1. The log's position comes first: what is emitted while the table is read is then behind it, not before.
    if not book.offsets(log):
        for partition, (beginning, end) in _bounds(consumer, log).items():
            book.go_on_from(log, partition, end if options.effects_from == "now" else beginning)
    # Step 2. The table, to the end that it has now.
    again = not book.offsets(table) or time.time() - book.fact("read_at") > NULLS_KEPT_S or book.fact("in_pass")
    if again:
        book.begin_pass()
    _read(consumer, book, [table], to_the_end=True)
    if again:
        book.end_pass()
    # Step 3. Both topics, side by side.
    _read(consumer, book, [table, log], to_the_end=options.until_end)
    consumer.close()
    book.close()


def _read(consumer: Consumer, book: Book, topics: Sequence[str], *, to_the_end: bool) -> None:
    """Takes records from where the book has got to; each batch and its offsets are one transaction."""
    ends: dict[tuple[str, int], int] = {}
    assigned = []
    for topic in topics:
        kept = book.offsets(topic)
        for partition, (beginning, end) in _bounds(consumer, topic).items():
            start = kept.get(partition, beginning)
            if topic == topics[-1] and len(topics) == 2 and start < beginning:
                raise SystemExit(
                    f"{topic}[{partition}]: changes {start} to {beginning} were deleted before they were read"
                )
            assigned.append(TopicPartition(topic, partition, max(start, beginning)))
            if max(start, beginning) < end:
                ends[topic, partition] = end
    consumer.assign(assigned)
    while not to_the_end or ends:
        messages = [_good(message) for message in consumer.consume(BATCH, 0.2)]
        if messages or time.time() - book.fact("read_at") > SAY_READ_S:
            book.take([_record(message) for message in messages], time.time())
        positions = {(tp.topic, tp.partition): tp.offset for tp in consumer.position(assigned)} if ends else {}
        ends = {at: end for at, end in ends.items() if positions[at] < end}


def _bounds(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """First and next offset of each partition."""
    partitions = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
    if not partitions:
        raise SystemExit(f"topic {topic} is not there; run `regulars topics create`, or name its --topic-prefix")
    return {partition: _patient_bounds(consumer, topic, partition) for partition in partitions}


def _patient_bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            bounds: tuple[int, int] = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=TIMEOUT_S
            )
            return bounds
        except KafkaException:  # a topic that was just made, or a leader that is being elected
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _good(message: Message) -> Message:
    if (error := message.error()) is not None:
        raise KafkaException(error)
    return message


def _record(message: Message) -> Record:
    headers = dict(message.headers() or [])
    erased = int(headers.get("regulars-sequence", b"0")) if message.value() is None else 0
    key = message.key().decode()
    return Record(message.topic(), message.partition(), message.offset(), key, message.value(), erased)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--topic-prefix", default="", help="as in REGULARS_TOPIC_PREFIX")
    parser.add_argument("--database", type=Path, default=Path("crm.sqlite"))
    parser.add_argument(
        "--effects-from",
        choices=("now", "earliest"),
        default="now",
        help="at the first start: only changes from now on have an effect, or all that the log still has",
    )
    parser.add_argument("--until-end", action="store_true", help="stop at the ends that the topics have now")
    parser.add_argument("--config", action="append", default=[], metavar="NAME=VALUE", help="any librdkafka setting")
    return parser.parse_args()


if __name__ == "__main__":
    main()
