"""Errors of Kafka on the command line: one line for the user, and a traceback only for what nobody foresaw."""

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from streams.commands.failures import failure_of, kafka_errors_as_failures
from streams.commands.options import Failure
from streams.kafka.errors import AccessRefused, BrokerLost, TopicsNotReady


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (BrokerLost.at("kafka-1:9092", "TimeoutError"), "--bootstrap-servers"),
        (TopicsNotReady.missing("shop-purchases", "kafka-1:9092"), "regulars topics create"),
        (AccessRefused("kafka-1:9092 speaks TLS; set REGULARS_SECURITY_PROTOCOL to SSL"), "REGULARS_SECURITY_PROTOCOL"),
        (TopicAuthorizationFailedError("shop-purchases"), "docs/operations.md"),
        (KafkaConnectionError("nobody answers"), "regulars broker start"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_command_names_the_way_out_of_a_known_error(error: Exception, way_out: str) -> None:
    """Exit code 1, one line, with what the operator can do."""
    failure = failure_of(error)

    assert failure is not None
    assert failure.exit_code == 1
    assert way_out in failure.message
    assert "\n" not in failure.message


@pytest.mark.parametrize("error", [KafkaError("odd"), ValueError("odd")])
def test_an_unknown_error_is_left_to_the_command(error: Exception) -> None:
    """What an error means that Kafka raises for many reasons, only the command can say."""
    assert failure_of(error) is None


def test_a_command_says_what_any_other_error_of_kafka_means() -> None:
    """Why, the error, and the command's way out."""
    with (
        pytest.raises(Failure, match=r"^Kafka refused: KafkaError\('odd'\); run it again$"),
        kafka_errors_as_failures("Kafka refused", "run it again"),
    ):
        raise KafkaError("odd")


@pytest.mark.parametrize("error", [AccessRefused("no"), TopicAuthorizationFailedError(), BrokerLost("gone")])
def test_a_known_error_passes_a_command_unchanged(error: Exception) -> None:
    """The command line says the same of it for every command."""
    with pytest.raises(type(error)), kafka_errors_as_failures("Kafka refused", "run it again"):
        raise error
