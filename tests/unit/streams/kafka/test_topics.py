"""Laws of what topics must be: nothing that is acknowledged is lost with one broker."""

import pytest

from streams.kafka.topics import topics, unsafe
from streams.settings import Settings

SAFE = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


def test_three_replicas_come_with_two_that_must_have_a_record_and_no_unclean_election() -> None:
    """With fewer replicas the cluster's own settings stay: two of two would stop all writes with one broker."""
    for replicas in (3, 5):
        for topic in topics(Settings(replication_factor=replicas)):
            assert topic.replicas == replicas
            assert dict(topic.config).items() >= SAFE.items()
    for replicas in (1, 2):
        assert not any(topic.config.keys() & SAFE.keys() for topic in topics(Settings(replication_factor=replicas)))


@pytest.mark.parametrize(
    ("replicas", "wanted", "changed", "differences"),
    [
        (3, 3, {}, []),
        (3, 1, {}, []),
        (1, 1, {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}, []),
        (1, 3, {"min.insync.replicas": "1"}, ["1 replicas, must be at least 3"]),
        (3, 3, {"min.insync.replicas": "1"}, ["min.insync.replicas 1, must be at least 2"]),
        (3, 3, {"unclean.leader.election.enable": "true"}, ["unclean.leader.election.enable true, must be false"]),
        (2, 2, {}, ["min.insync.replicas 2, must be below the 2 replicas: one broker less stops all writes"]),
    ],
)
def test_what_can_lose_acknowledged_records_is_a_difference(
    replicas: int, wanted: int, changed: dict[str, str], differences: list[str]
) -> None:
    """Judged by the replicas that a topic has, whatever number was wanted."""
    assert unsafe(replicas, wanted, SAFE | changed) == differences


def test_a_worker_depends_on_every_topic_that_it_reads_or_writes() -> None:
    """The changelog among them."""
    settings = Settings()
    names = {topic.name for topic in topics(settings, "worker")}
    assert {"clickstream", "policies", "model-train", settings.changelog_topic} <= names
