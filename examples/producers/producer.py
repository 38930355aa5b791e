"""Sends a purchase with librdkafka (confluent-kafka): `python producer.py localhost:9092`."""

import json
import sys

from confluent_kafka import Message, Producer

event = {
    "event_id": "till-7-000123",  # begin it with the producer's name; a retry repeats it
    "customer_id": "c-17850",
    "event_time": "2026-03-01T09:30:00Z",
    "type": "purchase",
    "order_id": "o-1001",
    "amount_minor": 18000,  # pence
    "currency": "GBP",
}


def failed(error: object, message: Message) -> None:
    """Says what was not delivered."""
    if error is not None:
        sys.exit(f"not delivered: {error}")


producer = Producer(
    {
        "bootstrap.servers": sys.argv[1],
        "partitioner": "murmur2_random",  # Kafka's own; librdkafka's default is another, and splits customers in two
        "enable.idempotence": True,
        "compression.type": "zstd",
    }
)
producer.produce(
    sys.argv[2] if len(sys.argv) > 2 else "purchases",
    key=event["customer_id"].encode(),  # type: ignore[union-attr]
    value=json.dumps(event).encode(),
    headers={"regulars-producer": "till-7"},  # dead letters are grouped by it
    on_delivery=failed,
)
if producer.flush(30) > 0:
    sys.exit("no broker answered within 30 s")
