"""Where a partition starts and ends, asked patiently."""

import time

from confluent_kafka import Consumer, KafkaException, TopicPartition


def bounds_of(consumer: Consumer, tp: TopicPartition, deadline_s: float = 20.0) -> tuple[int, int]:
    """First and end offset; a topic that was just made has no leader for a moment."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            first, last = consumer.get_watermark_offsets(tp, timeout=deadline_s)
        except KafkaException:
            if time.monotonic() > end:
                raise
        else:
            return first, last
