"""Asking Kafka what it may not know at once."""

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaException

T = TypeVar("T")


def patiently(ask: Callable[[], T], deadline_s: float = 20.0) -> T:
    """What `ask` answers; asked again while Kafka refuses, as a topic that was just made has no leader for a moment."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
