"""What Faust makes its consumer and producer from."""

from typing import Any

from faust.transport.drivers import aiokafka as base

from streams.plane import consumer, producer
from streams.plane.lease import Lease
from streams.plane.pipeline import Pipeline
from streams.plane.ports import World


class Transport(base.Transport):
    """Faust's transport, whose consumers know the pipeline that they feed.

    Args:
        url: of the brokers, as Faust has it.
        app: Faust's.
        pipeline: takes what is polled.
        lease: renewed by heartbeats.
        world: is ended by what Kafka refuses.
    """

    Consumer = consumer.Consumer
    Producer = producer.Producer

    def __init__(self, url: Any, app: Any, *, pipeline: Pipeline, lease: Lease, world: World) -> None:
        super().__init__(url, app)
        self.pipeline, self.lease, self.world = pipeline, lease, world
