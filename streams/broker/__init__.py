"""A single-node Kafka for one machine: demo, tests, first steps. Production names its own brokers instead."""

from streams.broker.errors import BrokerError
from streams.broker.process import Broker, stop

__all__ = ["Broker", "BrokerError", "stop"]
