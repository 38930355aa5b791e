"""A single-node Kafka on this machine, for the demo, tests and first steps. Production uses brokers of its own."""

from streams.broker.errors import BrokerError
from streams.broker.process import Broker, stop

__all__ = ["Broker", "BrokerError", "stop"]
