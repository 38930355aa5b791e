"""What an error of Kafka becomes on the command line: one line and exit code 1, the same for every command."""

import contextlib
from collections.abc import Iterator

from streams.commands.options import Failure


def failure_of(exc: BaseException) -> Failure | None:
    """The failure to show for `exc`; None: it is no error of Kafka, or a command has to say what it means."""
    from aiokafka.errors import KafkaConnectionError

    from streams.kafka.errors import DENIALS, AccessRefused, BrokerLost, SpoolBroken, TopicsNotReady, denied

    if isinstance(exc, (AccessRefused, BrokerLost, TopicsNotReady)):
        return Failure(str(exc))
    if isinstance(exc, SpoolBroken):
        return Failure(str(exc), "make room there, or set TMPDIR to another folder")
    if isinstance(exc, DENIALS):
        return Failure(denied(exc))
    if isinstance(exc, KafkaConnectionError):
        return Failure(
            f"no Kafka broker answers: {exc}",
            "start one with `regulars broker start`, or set REGULARS_BOOTSTRAP_SERVERS",
        )
    return None


@contextlib.contextmanager
def kafka_errors_as_failures(why: str, way_out: str) -> Iterator[None]:
    """A block in which any other error of Kafka becomes a failure that begins with `why` and ends with `way_out`.

    Raises:
        Failure: Kafka refused a request for another reason than those that `failure_of` knows.
    """
    from aiokafka.errors import KafkaError

    from streams.kafka.errors import DENIALS, AccessRefused

    try:
        yield
    except (AccessRefused, *DENIALS):
        raise  # `failure_of` says the same for every command
    except KafkaError as exc:
        raise Failure(f"{why}: {exc!r}", way_out) from exc
