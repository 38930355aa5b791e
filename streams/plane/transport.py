"""What faust makes its consumer and its producer from; here they get the neighbours that faust does not know of."""

from typing import Any

from faust.transport.drivers import aiokafka as base
from faust.types.transports import ConsumerCallback

from streams.plane import consumer, producer
from streams.plane.lease import Lease
from streams.plane.pipeline import Pipeline
from streams.plane.ports import World
from streams.plane.topic_layout import TopicLayout


class Transport(base.Transport):
    """Faust's aiokafka transport, with the data plane's consumer and producer.

    Args:
        url: the brokers, as faust has them.
        app: the Faust app.
        pipeline, lease, world: the consumer's; see `consumer.Consumer`.
        layout: the producer's: how many partitions each topic has.
    """

    Consumer = consumer.Consumer
    Producer = producer.Producer

    def __init__(
        self, url: Any, app: Any, *, pipeline: Pipeline, lease: Lease, world: World, layout: TopicLayout
    ) -> None:
        super().__init__(url, app)
        self._pipeline, self._lease, self._world, self._layout = pipeline, lease, world, layout

    def create_consumer(self, callback: ConsumerCallback, **kwargs: Any) -> consumer.Consumer:
        """The consumer of this worker."""
        made: consumer.Consumer = super().create_consumer(
            callback, pipeline=self._pipeline, lease=self._lease, world=self._world, **kwargs
        )
        return made

    def create_producer(self, **kwargs: Any) -> producer.Producer:
        """The producer of this worker."""
        made: producer.Producer = super().create_producer(layout=self._layout, **kwargs)
        return made
