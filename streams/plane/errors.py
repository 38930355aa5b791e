"""Why a worker stops while Kafka is well. Each message says what happened, where, and the way out."""

from streams.kafka.errors import InfrastructureFailure


class StoreBroken(InfrastructureFailure):
    """The local store could not be used; operator action where the message names one, else a restart restores it."""


class ChangelogTruncated(InfrastructureFailure):
    """The changelog lost records that the local store has not seen; operator action: see the message."""


class Fenced(InfrastructureFailure):
    """Another worker has claimed the partition: this one was out of the group and did not know it."""
