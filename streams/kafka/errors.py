"""Every reason why Kafka cannot be used, one class per reason. Each message says what happened, where, and the way out."""

from typing import Self

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

DENIALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


class InfrastructureFailure(Exception):
    """What a worker needs is broken: it ends with code 70 and acknowledges nothing that is not durable."""


class TopicsNotReady(InfrastructureFailure):
    """A topic is missing or has the wrong number of partitions; operator action: `regulars topics create|check`."""

    @classmethod
    def missing(cls, topic: str, servers: str) -> Self:
        """The error for a topic that does not exist at the brokers `servers`."""
        return cls(f"topic {topic} does not exist at {servers}; make it with `regulars topics create`")


class BrokerLost(InfrastructureFailure):
    """No broker answers, or none did for too long; operator action: start it, or name another one."""

    @classmethod
    def at(cls, servers: str, why: object) -> Self:
        """The error of a client that could not connect to `servers`."""
        return cls(
            f"no Kafka broker answers at {servers} ({why}); start one with `regulars broker start`, "
            f"or name another with --bootstrap-servers or REGULARS_BOOTSTRAP_SERVERS"
        )


class RecordTooLarge(InfrastructureFailure):
    """A record is larger than the broker takes; operator action: raise the topic's `max.message.bytes`."""


class SpoolBroken(OSError):
    """A temporary folder that holds what was read cannot be used; operator action: make room, or set TMPDIR."""


class TopicRefused(Exception):
    """The cluster would not make a topic: no right to, too few brokers for the replicas, a broker's policy."""


class AccessRefused(KafkaError):
    """Kafka refuses this client, or what it asked for; operator action: the message names the setting."""

    def __str__(self) -> str:
        return str(self.args[0])


def denied(exc: BaseException, purpose: str = "") -> str:
    """The message for one of `DENIALS`: Kafka let the client in but does not allow what it asked for.

    Args:
        exc: one of `DENIALS`.
        purpose: what the client wanted, as `writing to policies`; an idempotent producer that may write nowhere is refused
            as a client of the cluster, and Kafka's own message names no topic.
    """
    reason = ": ".join(part for part in (purpose, str(exc) or type(exc).__name__) if part)
    return f"Kafka does not allow that ({reason}); give the client's user what docs/operations.md lists for the command"
