"""Why a worker stops by itself. Each message says what happened, where, and the way out."""


class InfrastructureFailure(Exception):
    """The world is broken: the process ends with code 70, and nothing that was not durable is acknowledged."""


class TopicsNotReady(InfrastructureFailure):
    """A topic is missing or has the wrong number of partitions; operator action: `regulars topics create|check`."""


class BrokerLost(InfrastructureFailure):
    """Kafka did not answer for too long; a supervisor's restart tries again."""


class RecordTooLarge(InfrastructureFailure):
    """A record is larger than the broker takes; operator action: raise the topic's `max.message.bytes`."""


class StoreBroken(InfrastructureFailure):
    """The local store could not be used; operator action where the message names one, else a restart restores it."""


class ChangelogTruncated(InfrastructureFailure):
    """The changelog lost records that the local store has not seen; operator action: see the message."""


class Fenced(InfrastructureFailure):
    """Another worker has claimed the partition: this one had been out of the group without knowing."""
